"""Replacements: the new deposit that is prepared from a withdrawn one, for the same case and the same people."""

from dataclasses import fields
from datetime import datetime, timedelta
from uuid import UUID

from mespieces import models
from mespieces.domain import deposits, journal
from mespieces.errors import Refused
from mespieces.gateways import Gateways
from mespieces.models import Deposit, Member, Recipient


class NotWithdrawn(Refused):
    """Only what was withdrawn is replaced."""

    message = "Le dépôt {reference} n’est pas retiré : retirez-le d’abord, puis préparez celui qui le remplace."


def prepare(gateways: Gateways, deposit_id: UUID, *, by: journal.Author, member: Member | None = None) -> Deposit:
    """Open the draft that replaces a withdrawn deposit, without documents, or return the one already open.

    A deposit is replaced by one other at most: when that one is withdrawn in its turn, it is the one to replace.
    Raises `NotWithdrawn`, `DepositMissing`.
    """
    with models.write():
        withdrawn = models.locked(Deposit.select().where(Deposit.id == deposit_id)).first()
        if withdrawn is None:
            raise deposits.DepositMissing
        if not withdrawn.withdrawn_at:
            raise NotWithdrawn(reference=withdrawn.office_reference)
        # Locked, so that a draft being dropped is seen gone.
        if present := models.locked(Deposit.select().where(Deposit.replaces == withdrawn)).first():
            return present
        case = {field.name: getattr(withdrawn, field.name) for field in fields(deposits.Case)}
        now = gateways.clock.now()
        draft = Deposit.create(
            office=withdrawn.office_id, replaces=withdrawn, created_at=now, created_by=member, **case
        )
        _copy_recipients(withdrawn, draft, now, member)
        detail = {**case, "replaces": str(withdrawn.id)}
        journal.append(gateways, "deposit.created", author=by, deposit=draft, detail=detail)
    return draft


def of(deposit: Deposit) -> Deposit | None:
    """Return the deposit that replaces `deposit`, draft or filed, None while there is none."""
    return Deposit.get_or_none(Deposit.replaces == deposit)


def _copy_recipients(withdrawn: Deposit, draft: Deposit, now: datetime, member: Member | None) -> None:
    """Copy whom the office meant; what recipients chose for themselves, they choose anew with the new act."""
    query = withdrawn.recipients.order_by(Recipient.added_at, Recipient.id)
    for position, former in enumerate(query):
        email = former.email if former.email_set_by == "office" else ""
        Recipient.create(
            deposit=draft,
            kind=former.kind,
            name=former.name,
            representative=former.representative,
            address=former.address,
            email=email,
            email_set_by="office" if email else "",
            added_at=now + timedelta(microseconds=position),  # they stay in their order
            added_by=member,
        )
