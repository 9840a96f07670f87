"""Recipients (*destinataires*): a person, or a company with its representative; one access each."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from uuid import UUID

from mespieces import models
from mespieces.domain import deposits, journal, once, text
from mespieces.errors import Invalid, NotFound
from mespieces.gateways import Gateways
from mespieces.models import Deposit, Member, Recipient

MOST = 500  # recipients of one deposit
CORRECTED = ("kind", "name", "representative", "address")
"""What is corrected of a recipient after filing; the e-mail address changes with the way to receive codes."""


class RecipientMissing(NotFound):
    """No such recipient in this deposit."""


class TooManyRecipients(Invalid):
    """More recipients than one deposit takes."""

    field = "name"
    message = "Ce dépôt compte déjà {most} destinataires : ouvrez un second dépôt."


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Whom the documents are for, as the office typed it."""

    kind: str
    name: str
    representative: str
    address: str
    email: str


def read(typed: dict[str, str]) -> Person:
    """Return the recipient typed in a form. Raises `Invalid` naming the field at fault."""
    kind = "company" if typed.get("kind") == "company" else "person"
    return Person(
        kind=kind,
        name=text.line(typed.get("name"), "name"),
        representative=text.line(typed.get("representative"), "representative", needed=False),
        address=text.lines(typed.get("address"), "address", needed=False),
        email=text.email(typed.get("email"), needed=False),
    )


def add(
    gateways: Gateways,
    deposit_id: UUID,
    person: Person,
    *,
    by: journal.Author,
    member: Member | None = None,
    key: str = "",
) -> Recipient:
    """Add a recipient, to a draft or to a filed deposit (an heir, a guardian).

    Posting the same form again, known by its `key`, gives the recipient it added.
    Raises `TooManyRecipients`, `AlreadyWithdrawn`.
    """
    identifier = once.identify(deposit_id, key, person)
    with models.write():
        deposit = models.locked(Deposit.select().where(Deposit.id == deposit_id)).first()
        if deposit is None or deposit.ended_at:
            raise deposits.DepositMissing
        if deposit.withdrawn_at:
            raise deposits.AlreadyWithdrawn(reference=deposit.office_reference)
        known = Recipient.get_or_none(Recipient.id == identifier)
        if known is not None:
            return known
        if deposit.recipients.count() >= MOST:
            raise TooManyRecipients(most=MOST)
        recipient = Recipient.create(
            id=identifier,
            deposit=deposit,
            kind=person.kind,
            name=person.name,
            representative=person.representative,
            address=person.address,
            email=person.email,
            email_set_by="office" if person.email else "",
            added_at=gateways.clock.now(),
            added_by=member,
        )
        if deposit.filed_at:
            deposits.give_reference(gateways, recipient)
            journal.append(
                gateways,
                "recipient.added",
                author=by,
                recipient=recipient,
                detail={"name": person.name, "representative": person.representative, "kind": person.kind},
            )
    return recipient


def correct(gateways: Gateways, recipient_id: UUID, typed: Mapping[str, str], *, by: journal.Author) -> bool:
    """Correct whom a filed deposit is for, but for the e-mail address; False when nothing differs.

    Records already written keep the name they were written with. Raises `Invalid` naming the field at fault,
    `StillDraft`, `AlreadyWithdrawn`, `AlreadyEnded`.
    """
    deposit_id = Recipient.get_by_id(recipient_id).deposit_id
    with models.write():
        # Names change under the deposit's lock alone: what is read after it is what the record finds.
        deposits.filed(deposit_id, gateways.clock.now())
        person = read({name: typed.get(name, "") for name in CORRECTED})
        motive = text.line(typed.get("motive"), "motive", most=deposits.LONGEST_MOTIVE)
        recipient = Recipient.get_by_id(recipient_id)
        before = {name: getattr(recipient, name) for name in CORRECTED}
        after = {name: getattr(person, name) for name in CORRECTED}
        if before == after:
            return False
        Recipient.update(**after).where(Recipient.id == recipient_id).execute()
        detail = {"from": before, "to": after, "motive": motive}
        journal.append(gateways, "recipient.corrected", author=by, recipient=recipient, detail=detail)
    return True


def remove(deposit_id: UUID, recipient_id: UUID) -> None:
    """Take a recipient out of a draft. Raises `DepositFiled`."""
    with models.write():
        deposits.draft(deposit_id)
        Recipient.delete().where(Recipient.id == recipient_id, Recipient.deposit == deposit_id).execute()


def listed(deposit: Deposit) -> list[Recipient]:
    """Return the deposit's recipients in the order they were added."""
    return list(deposit.recipients.order_by(Recipient.added_at, Recipient.id))


def names(rows: Iterable[Recipient]) -> dict[str, str]:
    """Return recipients' names by their identifier, as records write it."""
    return {str(row.id): row.name for row in rows}


def find(deposit: Deposit, recipient_id: UUID) -> Recipient:
    """Return the deposit's recipient. Raises `RecipientMissing`."""
    found = Recipient.get_or_none(Recipient.id == recipient_id, Recipient.deposit == deposit)
    if found is None:
        raise RecipientMissing
    return found
