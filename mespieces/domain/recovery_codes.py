"""Recovery codes: ten that replace, once each, a member's lost application. Shown once, stored stretched.

They hold 55 bits: below the 112 from which NIST SP 800-63B-4 (3.1.2.2) lets look-up secrets be hashed plainly, so each
is stretched like a password, and what is typed is compared with one after the other.
"""

from mespieces import models
from mespieces.domain import codes, journal, outbox, passwords
from mespieces.gateways import Gateways
from mespieces.models import Member, RecoveryCode

DRAWN = 10


def draw(gateways: Gateways, member: Member, trace: journal.Trace) -> list[str]:
    """Return ten fresh codes, the only time they are known; those drawn before stop at once."""
    drawn = [codes.draw_recovery() for _ in range(DRAWN)]
    stretched = [passwords.stretch(code) for code in drawn]
    with models.write():
        row = models.locked(Member.select().where(Member.id == member.id)).get()
        forget(row)
        now = gateways.clock.now()
        for one in stretched:
            RecoveryCode.create(member=row, code_hash=one, drawn_at=now)
        detail = {"changed": ["recovery_codes"], "left": DRAWN}
        journal.append(gateways, "member.changed", author=journal.member(row, trace), member=row, detail=detail)
    return drawn


def left(member: Member) -> int:
    """Return how many codes the member has not used yet."""
    return int(RecoveryCode.select().where(RecoveryCode.member == member, RecoveryCode.used_at.is_null()).count())


def find(member: Member, typed: str) -> RecoveryCode | None:
    """Return the member's unused code that `typed` means, None when there is none. Raises `RecoveryMistyped`."""
    meant = codes.read_recovery(typed)
    unused = RecoveryCode.select().where(RecoveryCode.member == member, RecoveryCode.used_at.is_null())
    return next((row for row in list(unused) if passwords.matches(meant, row.code_hash)), None)


def use(gateways: Gateways, member: Member, code: RecoveryCode | None) -> bool:
    """Spend a code that was found, inside the transaction that locked the member; False when it was spent meanwhile.

    The member is told by mail.
    """
    if code is None:
        return False
    spent = RecoveryCode.update(used_at=gateways.clock.now()).where(
        RecoveryCode.id == code.id, RecoveryCode.used_at.is_null()
    )
    if not spent.execute():
        return False
    outbox.queue(gateways, "recovery_used", member=member)
    return True


def forget(member: Member) -> None:
    """Erase the member's codes, inside the caller's transaction."""
    RecoveryCode.delete().where(RecoveryCode.member == member).execute()
