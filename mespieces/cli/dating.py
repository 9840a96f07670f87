"""The authorities that date the journal, asked by `check` as the worker asks them: what they answer now, not what was kept."""

from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import NamedTuple

from mespieces.config import Settings, SettingWrong
from mespieces.domain import anchors, french
from mespieces.errors import Refusal
from mespieces.gateways.clock import SystemClock
from mespieces.gateways.timestamps import AuthorityUnreachable, TokenRefused, open_authorities

ASKED = b"mespieces check\n"
"""What is dated, and forgotten: an authority receives its fingerprint alone, as of a checkpoint."""
_CURE = (
    "Tant que cela dure, elle ne date pas le journal : vérifiez MESPIECES_TSA_URL et MESPIECES_TSA_ROOTS, et que cette machine peut "
    "la joindre."
)


class Answers(NamedTuple):
    """What the authorities answered: refusals, and for each other one (by its address) how many seconds our clock is ahead of it."""

    refusals: tuple[Refusal, ...] = ()
    drifts: Mapping[str, float] = MappingProxyType({})


def ask(settings: Settings) -> Answers:
    """Ask each configured authority for a token that is thrown away; none when what names them is wrong, which is told apart."""
    refusals: list[Refusal] = []
    drifts: dict[str, float] = {}
    try:
        authorities = open_authorities(settings)
    except SettingWrong:
        return Answers()
    for authority in authorities:
        try:
            drifts[authority.url] = authority.stamp(ASKED, SystemClock()).drift
        except (AuthorityUnreachable, TokenRefused) as error:
            refusals.append(error)
    return Answers(tuple(refusals), drifts)


def problems(answers: Answers) -> Iterator[str]:
    """Tell which authorities date nothing."""
    for refusal in answers.refusals:
        yield f"{refusal} {_CURE}"


def remarks(answers: Answers) -> Iterator[str]:
    """Tell that the machine's clock is that of no authority, or else which of them is alone to have another."""
    ahead = min(answers.drifts.values(), key=abs, default=0.0)
    if abs(ahead) <= anchors.LARGEST_DRIFT:
        for url, seconds in answers.drifts.items():
            if abs(seconds) > anchors.LARGEST_DRIFT:
                apart = french.counted(round(abs(seconds)), "seconde")
                yield f"L’horloge de l’autorité d’horodatage {url} s’écarte d’environ {apart} de celle de cette machine et d’une autre autorité."
    else:
        yield (
            f"L’horloge de cette machine s’écarte d’environ {french.counted(round(abs(ahead)), 'seconde')} de celle de l’autorité "
            "d’horodatage : réglez-la (service NTP)."
        )
