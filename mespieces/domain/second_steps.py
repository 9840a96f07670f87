"""A member's second step: the code of their application, or a recovery code; counted for the day wherever it is asked."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mespieces.domain import codes, recovery_codes, text, throttle, totp
from mespieces.errors import Invalid
from mespieces.gateways import Gateways
from mespieces.models import Member, RecoveryCode

TRIES = 5
DIGITS = 6


class CodeWrong(Invalid):
    """Not the code of the member's application at this moment, or one already used."""

    field = "code"
    message = "Ce code n’est pas le bon, ou il a déjà servi : attendez le suivant. Essais restants : {left}."


class RecoveryWrong(CodeWrong):
    """Not one of the member's recovery codes, or one already used."""

    field = "recovery"
    message = "Ce code de secours n’est pas le bon, ou il a déjà servi : prenez-en un autre. Essais restants : {left}."


@dataclass(frozen=True, slots=True)
class Typed:
    """What was typed: the digits of the application, or a recovery code and the row it was found to be."""

    digits: str
    recovery: bool
    found: RecoveryCode | None


def read(member: Member, code: str, recovery: str, now: datetime) -> Typed:
    """Return what was typed, ready to be compared; outside any transaction, for it stretches.

    Nothing is stretched for who has no try left today, and is refused whatever was typed: ten stretchings at will would
    keep from the machine those who wait for theirs. Raises `RecoveryMistyped`, `CodeIncomplete`: what cannot be a code is no attempt.
    """
    if recovery.strip():
        found = None if exhausted(member, now) else recovery_codes.find(member, text.storable(recovery))
        return Typed("", recovery=True, found=found)
    return Typed(codes.read_digits(code, DIGITS), recovery=False, found=None)


def exhausted(member: Member, now: datetime) -> int:
    """Return how many seconds a member waits who gave too many wrong codes today, 0 when they may try."""
    return throttle.exhausted(_daily(member), now)


def accept(gateways: Gateways, member: Member, typed: Typed, key: bytes, now: datetime) -> dict[str, Any] | None:
    """Spend what was typed if it is right and say how, for the journal; None, and counted, when it is wrong.

    Inside the transaction that locked the member: each step of time and each recovery code serves once.
    """
    if typed.recovery:
        if recovery_codes.use(gateways, member, typed.found):
            return {"recovery": True, "left": recovery_codes.left(member)}
    else:
        step = totp.matching_step(key, typed.digits, now, after=member.totp_last_step)
        if step is not None:
            Member.update(totp_last_step=step).where(Member.id == member.id).execute()
            return {}
    throttle.fail(_daily(member), now)
    return None


def wrong(typed: Typed, tries: int) -> CodeWrong:
    """Return the refusal of what was typed, after that many tries."""
    return (RecoveryWrong if typed.recovery else CodeWrong)(left=max(0, TRIES - tries))


def _daily(member: Member) -> str:
    return throttle.key("member-code", str(member.id))
