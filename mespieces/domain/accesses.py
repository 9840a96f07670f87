"""Accesses: what is printed on the act for one recipient (art. 3). Printing a sheet draws a new secret."""

from uuid import UUID

from mespieces import models
from mespieces.domain import codes, deposits, journal, passwords, sessions, text
from mespieces.errors import Invalid, NotFound, Refused
from mespieces.gateways import Gateways
from mespieces.models import Access, CodeKey, Deposit, Member, Recipient, SignIn


class AccessMissing(NotFound):
    """No such access."""


class MotiveNeeded(Invalid):
    """After the first identification a new secret needs a stated reason."""

    field = "motive"
    message = "Ce destinataire s’est déjà identifié : indiquez pourquoi un nouveau code d’accès est nécessaire."


class NotFiled(Refused):
    """A sheet is printed once the deposit is filed."""

    message = "Le feuillet d’accès s’imprime une fois le dépôt effectué."


def of(recipient: Recipient) -> Access:
    """Return the recipient's access. Raises `AccessMissing` before filing."""
    found = Access.get_or_none(Access.recipient == recipient)
    if found is None:
        raise AccessMissing
    return found


def issue(
    gateways: Gateways,
    recipient: Recipient,
    *,
    by: journal.Author,
    member: Member | None = None,
    motive: str = "",
) -> tuple[Access, str]:
    """Draw a new secret for the recipient and return it, the only time it is known; the old one stops at once.

    Its sessions and sign-ins in progress end with it. Raises `MotiveNeeded` after the first identification, `NotFiled`,
    `AlreadyWithdrawn`.
    """
    motive = text.line(motive, "motive", needed=False)
    secret = codes.draw_secret()
    stretched = passwords.stretch(secret)
    with models.write():
        deposit = models.locked(Deposit.select().where(Deposit.id == recipient.deposit_id)).first()
        now = gateways.clock.now()
        if deposit.withdrawn_at:
            raise deposits.AlreadyWithdrawn(reference=deposit.office_reference)
        if deposits.state(deposit, now) != deposits.State.FILED:
            raise NotFiled
        access = models.locked(Access.select().where(Access.recipient == recipient)).get()
        if access.first_identified_at and not motive:
            raise MotiveNeeded
        Access.update(secret_hash=stretched, issued_at=now, issued_by=member).where(Access.id == access.id).execute()
        sessions.end_all(access, now)
        SignIn.update(closed_at=now).where(SignIn.access == access, SignIn.closed_at.is_null()).execute()
        journal.append(
            gateways,
            "recipient.access_issued",
            author=by,
            recipient=recipient,
            detail={"again": access.issued_at is not None, **({"motive": motive} if motive else {})},
        )
    return access, secret


def by_deposit(deposit: Deposit) -> dict[UUID, Access]:
    """Return the access of each recipient of the deposit."""
    query = Access.select().join(Recipient).where(Recipient.deposit == deposit)
    return {row.recipient_id: row for row in query}


def forget_keys(deposit: Deposit) -> None:
    """Erase what could still open the deposit, inside the caller's transaction."""
    ids = Access.select(Access.id).join(Recipient).where(Recipient.deposit == deposit)
    CodeKey.delete().where(CodeKey.access.in_(ids)).execute()
    SignIn.delete().where(SignIn.access.in_(ids)).execute()
