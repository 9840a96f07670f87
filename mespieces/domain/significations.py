"""Significations: when the act was served on a recipient. The latest counts, and keeps the documents a month more."""

from datetime import date
from uuid import UUID

from mespieces import models
from mespieces.domain import deposits, journal, offices, text
from mespieces.errors import Invalid, NotFound
from mespieces.gateways import Gateways
from mespieces.models import Deposit, Member, Recipient, Signification

MANNERS = {
    "personne": "à personne",
    "domicile": "à domicile",
    "etude": "à l’étude",
    "recherches": "procès-verbal de recherches (art. 659)",
    "electronique": "par voie électronique",
}
"""How an act is served (CPC 654 to 659, 662-1), and the words for it."""


class SignifiedInFuture(Invalid):
    """An act is not served on a day to come."""

    field = "signified_on"
    message = "La date de signification ne peut pas être postérieure à aujourd’hui."


class SignificationMissing(NotFound):
    """No such signification."""


def record(
    gateways: Gateways,
    recipient_id: UUID,
    typed: dict[str, str],
    *,
    by: journal.Author,
    member: Member | None = None,
) -> Signification:
    """Record that the act was served; the end of availability moves on when art. 5 asks it.

    Raises `Invalid`, `AlreadyWithdrawn`.
    """
    recipient = Recipient.get_by_id(recipient_id)
    day = _day(gateways, recipient.deposit, typed)
    manner = typed.get("manner", "")
    if manner and manner not in MANNERS:
        raise Invalid(field="manner")
    with models.write():
        deposit = models.locked(Deposit.select().where(Deposit.id == recipient.deposit_id)).first()
        if not deposit.filed_at or deposit.ended_at:
            raise deposits.DepositMissing
        if deposit.withdrawn_at:
            raise deposits.AlreadyWithdrawn(reference=deposit.office_reference)
        known = latest(deposit).get(recipient_id)
        if known and (known.signified_on, known.manner) == (day, manner):
            return known  # the same form posted twice corrects nothing
        now = gateways.clock.now()
        before = (
            Signification.update(cancelled_at=now)
            .where(Signification.recipient == recipient, Signification.cancelled_at.is_null())
            .execute()
        )
        signification = Signification.create(
            recipient=recipient, signified_on=day, manner=manner, recorded_at=now, recorded_by=member
        )
        _move_end(deposit)
        operation = "signification.corrected" if before else "signification.recorded"
        journal.append(
            gateways,
            operation,
            author=by,
            recipient=recipient,
            detail={"signified_on": day, "manner": manner, "available_until": deposit.expires_at.isoformat()},
        )
    return signification


def latest(deposit: Deposit) -> dict[UUID, Signification]:
    """Return the signification that counts for each recipient of the deposit."""
    query = (
        Signification.select()
        .join(Recipient)
        .where(Recipient.deposit == deposit, Signification.cancelled_at.is_null())
        .order_by(Signification.recorded_at)
    )
    return {row.recipient_id: row for row in query}


def _day(gateways: Gateways, deposit: Deposit, typed: dict[str, str]) -> date:
    today = gateways.clock.now().astimezone(offices.zone(deposit.office)).date()
    day = text.needed_day(typed.get("signified_on"), "signified_on", latest=date.max)
    if day > today:
        raise SignifiedInFuture
    return day


def _move_end(deposit: Deposit) -> None:
    days = [
        row.signified_on
        for row in Signification.select(Signification.signified_on)
        .join(Recipient)
        .where(Recipient.deposit == deposit, Signification.cancelled_at.is_null())
    ]
    # Never earlier than what was promised: the end only moves on.
    deposit.expires_at = max(deposit.expires_at, deposits.end_with(deposit, days))
    deposit.save(only=[Deposit.expires_at])
