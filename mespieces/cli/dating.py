"""The authorities that date the journal, asked by `check` as the worker asks them: what they answer now, not what was kept."""

from collections.abc import Iterator
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
    """What the configured authorities answered: their refusals, and by how many seconds our clock is ahead of each other one."""

    refusals: tuple[Refusal, ...] = ()
    drifts: tuple[float, ...] = ()


def ask(settings: Settings) -> Answers:
    """Ask each configured authority for a token that is thrown away; none when what names them is wrong, which is told apart."""
    refusals: list[Refusal] = []
    drifts: list[float] = []
    try:
        authorities = open_authorities(settings)
    except SettingWrong:
        return Answers()
    for authority in authorities:
        try:
            drifts.append(authority.stamp(ASKED, SystemClock()).drift)
        except (AuthorityUnreachable, TokenRefused) as error:
            refusals.append(error)
    return Answers(tuple(refusals), tuple(drifts))


def problems(answers: Answers) -> Iterator[str]:
    """Tell which authorities date nothing."""
    for refusal in answers.refusals:
        yield f"{refusal} {_CURE}"


def remarks(answers: Answers) -> Iterator[str]:
    """Tell that the machine's clock is that of no authority."""
    ahead = min(answers.drifts, key=abs, default=0.0)  # where one agrees, it is another's that is wrong
    if abs(ahead) > anchors.LARGEST_DRIFT:
        yield (
            f"L’horloge de cette machine s’écarte d’environ {french.counted(round(abs(ahead)), 'seconde')} de celle de l’autorité "
            "d’horodatage : réglez-la (service NTP)."
        )
