"""Withdrawals: a mistake found after filing; from that instant no recipient reads the deposit any more.

The documents stay in the vault until the deposit's end (art. 5), so that the office can still prove what had been put
at disposal: its members alone open them, journaled each time. Then they go as any other deposit's do.
"""

from uuid import UUID

from mespieces import models
from mespieces.domain import announcements, deposits, journal, text
from mespieces.gateways import Gateways
from mespieces.models import Access, Deposit, Member, Recipient, SignIn


def withdraw(
    gateways: Gateways, deposit_id: UUID, motive: str, *, by: journal.Author, member: Member | None = None
) -> Deposit:
    """Withdraw a filed deposit, and have those who had access told by mail.

    1. Lock the deposit, as opening a document does: a recipient who reads meanwhile gets a journaled whole document
       or the refusal.
    2. Close the identifications in progress: no code leaves for documents that cannot be read.
    3. Leave the sessions: what their owners ask for tells them of the withdrawal, where a session ended would not.

    Raises `Needed`, `TooLong`, `StillDraft`, `AlreadyWithdrawn`, `AlreadyEnded`, `DepositMissing`.
    """
    with models.write():
        now = gateways.clock.now()
        deposit = deposits.filed(deposit_id, now)  # (1)
        motive = text.line(motive, "motive", most=deposits.LONGEST_MOTIVE)  # no form asks for it in other states
        deposit.withdrawn_at, deposit.withdrawn_by, deposit.withdrawn_because = now, member, motive
        deposit.save(only=[Deposit.withdrawn_at, Deposit.withdrawn_by, Deposit.withdrawn_because])
        accesses = Access.select(Access.id).join(Recipient).where(Recipient.deposit == deposit)
        SignIn.update(closed_at=now).where(SignIn.access.in_(accesses), SignIn.closed_at.is_null()).execute()  # (2)
        told = announcements.tell(gateways, deposit.id, "withdrawn")
        detail = {"draft": False, "motive": motive, "recipients": deposit.recipients.count(), "told": told}
        journal.append(gateways, "deposit.withdrawn", author=by, deposit=deposit, detail=detail)
    gateways.bell.ring("mail")
    return deposit
