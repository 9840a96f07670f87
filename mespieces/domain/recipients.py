"""Recipients (*destinataires*): a person, or a company with its representative; one access each."""

from dataclasses import dataclass
from uuid import UUID

from mespieces import models
from mespieces.domain import deposits, journal, once, text
from mespieces.errors import Invalid, NotFound
from mespieces.gateways import Gateways
from mespieces.models import Deposit, Member, Recipient

MOST = 500  # recipients of one deposit


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
    """Add a recipient, to a draft or to a filed deposit (an heir, a guardian). Raises `TooManyRecipients`.

    Posting the same form again, known by its `key`, gives the recipient it added.
    """
    identifier = once.identify(deposit_id, key, person)
    with models.write():
        deposit = models.locked(Deposit.select().where(Deposit.id == deposit_id)).first()
        if deposit is None or deposit.ended_at or deposit.withdrawn_at:
            raise deposits.DepositMissing
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


def remove(deposit_id: UUID, recipient_id: UUID) -> None:
    """Take a recipient out of a draft. Raises `DepositFiled`."""
    with models.write():
        deposits.draft(deposit_id)
        Recipient.delete().where(Recipient.id == recipient_id, Recipient.deposit == deposit_id).execute()


def listed(deposit: Deposit) -> list[Recipient]:
    """Return the deposit's recipients in the order they were added."""
    return list(deposit.recipients.order_by(Recipient.added_at, Recipient.id))


def find(deposit: Deposit, recipient_id: UUID) -> Recipient:
    """Return the deposit's recipient. Raises `RecipientMissing`."""
    found = Recipient.get_or_none(Recipient.id == recipient_id, Recipient.deposit == deposit)
    if found is None:
        raise RecipientMissing
    return found
