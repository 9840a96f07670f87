"""Deposits: opened as a draft, filed once, then only consulted until the law has them end."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any
from uuid import UUID, uuid4

import peewee as pw

from mespieces import models
from mespieces.domain import announcements, calendar, codes, journal, offices, once, text
from mespieces.errors import Expired, Invalid, NotFound, Refused
from mespieces.gateways import Gateways
from mespieces.models import Access, Consultation, Deposit, Document, Member, Office, Recipient, Signification

PAGE = 25  # deposits a page of the list
FORGOTTEN_SOON = "forgotten"
"""The search for deposits that the journal forgets soon, their office told."""
LONGEST_MOTIVE = 400  # characters


class State(StrEnum):
    """Where a deposit stands."""

    DRAFT = "draft"
    FILED = "filed"
    ENDED = "ended"
    WITHDRAWN = "withdrawn"


class DepositMissing(NotFound):
    """No such deposit in this office."""


class DepositFiled(Refused):
    """Nothing can be added to, or taken from, a filed deposit."""

    message = "Le dépôt {reference} est déposé : ses pièces ne peuvent plus être modifiées."


class StillDraft(Refused):
    """What is done to filed deposits cannot be done to a draft."""

    message = "Le dépôt {reference} n’est encore qu’un brouillon : corrigez-le directement."


class AlreadyWithdrawn(Refused):
    """Nothing changes any more in a withdrawn deposit."""

    message = "Le dépôt {reference} est déjà retiré : rien de plus n’y a été changé. Sa page dit quand et pourquoi."


class AlreadyEnded(Refused):
    """Nothing changes any more in a deposit past its end."""

    message = "La mise à disposition du dépôt {reference} est terminée : rien n’y a été changé."


class DepositEmpty(Invalid):
    """A deposit is filed with documents."""

    field = "documents"
    message = "Ajoutez au moins une pièce avant de déposer."


class DepositForNobody(Invalid):
    """A deposit is filed for somebody."""

    field = "recipients"
    message = "Ajoutez au moins un destinataire avant de déposer."


class AvailabilityOver(Expired):
    """The 18 months are over (art. 5)."""

    message = "La mise à disposition de ces documents est terminée : ils ne peuvent plus être consultés, comme la loi le prévoit."
    heading = "Mise à disposition terminée"
    advice = "Les documents ne peuvent plus être lus ici. Pour toute question, appelez le numéro figurant sur l’acte."


class DepositWithdrawn(Expired):
    """The office withdrew the deposit."""

    message = "L’étude a retiré ces documents. Elle peut vous dire pourquoi, au numéro figurant sur l’acte."
    heading = "Documents retirés"
    advice = "Ils ne peuvent plus être lus ici. Pour toute question, appelez l’étude."


class DepositReplaced(DepositWithdrawn):
    """The office withdrew the deposit and put other documents at disposal, whose reference it gives itself."""

    message = "L’étude a retiré ces documents, et en a mis d’autres à disposition."
    advice = (
        "Ceux d’ici ne peuvent plus être lus. Les nouveaux s’ouvrent avec un nouveau feuillet d’accès, que l’étude "
        "vous donne. Pour l’obtenir, appelez le numéro figurant sur l’acte."
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """What identifies the *requête*: typed by the office, cleaned by `read_case`."""

    creditor: str
    court: str
    order_number: str
    order_date: date
    office_reference: str


def read_case(typed: dict[str, str], *, today: date) -> Case:
    """Return the case typed in a form or on the command line. Raises `Invalid` naming the field at fault."""
    return Case(  # in the form's order: the first mistake is the one shown
        creditor=text.line(typed.get("creditor"), "creditor"),
        office_reference=text.line(typed.get("office_reference"), "office_reference", most=60),
        court=text.line(typed.get("court"), "court"),
        order_number=text.line(typed.get("order_number"), "order_number", most=60),
        order_date=text.needed_day(typed.get("order_date"), "order_date", latest=today),
    )


def open_draft(
    gateways: Gateways, case: Case, *, office: Office, by: journal.Author, member: Member | None, key: str = ""
) -> Deposit:
    """Open a draft for `case`; posting the same form again, known by its `key`, gives the draft it opened."""
    identifier = once.identify(office.id, key, case)
    with models.write():
        models.locked(Office.select().where(Office.id == office.id)).get()  # two posts at once take their turn
        known = Deposit.get_or_none(Deposit.id == identifier)
        if known is not None:
            return known
        if journal.mentions(identifier):  # dropped since: the journal never tells two stories under one name
            identifier = uuid4()
        deposit = Deposit.create(
            id=identifier, office=office, created_at=gateways.clock.now(), created_by=member, **_columns(case)
        )
        journal.append(gateways, "deposit.created", author=by, deposit=deposit, detail=_columns(case))
    return deposit


def change(deposit_id: UUID, case: Case) -> Deposit:
    """Correct the case of a draft. Raises `DepositFiled`."""
    with models.write():
        draft(deposit_id)
        Deposit.update(**_columns(case)).where(Deposit.id == deposit_id).execute()
    return Deposit.get_by_id(deposit_id)


def find(office: Office, deposit_id: UUID) -> Deposit:
    """Return the office's deposit. Raises `DepositMissing`, also when it is another office's."""
    found = Deposit.get_or_none(Deposit.id == deposit_id, Deposit.office == office)
    if found is None:
        raise DepositMissing
    return found


def draft(deposit_id: UUID) -> Deposit:
    """Return the deposit, locked until the caller's transaction ends. Raises `DepositFiled`, `DepositMissing`."""
    deposit = models.locked(Deposit.select().where(Deposit.id == deposit_id)).first()
    if deposit is None:
        raise DepositMissing
    if deposit.filed_at:
        raise DepositFiled(reference=deposit.office_reference)
    return deposit


def filed(deposit_id: UUID, now: datetime) -> Deposit:
    """Return the deposit at disposal, locked until the caller's transaction ends.

    Raises `StillDraft`, `AlreadyWithdrawn`, `AlreadyEnded`, `DepositMissing`.
    """
    deposit = models.locked(Deposit.select().where(Deposit.id == deposit_id)).first()
    if deposit is None:
        raise DepositMissing
    refusals = {State.DRAFT: StillDraft, State.WITHDRAWN: AlreadyWithdrawn, State.ENDED: AlreadyEnded}
    if refusal := refusals.get(state(deposit, now)):
        raise refusal(reference=deposit.office_reference)
    return deposit


def file(gateways: Gateways, deposit_id: UUID, *, by: journal.Author, member: Member | None = None) -> Deposit:
    """Close the list of documents and start the 18 months (art. 5); filing a filed deposit changes nothing.

    When it replaces a withdrawn one, those who had access to that one are told.
    Raises `DepositEmpty`, `DepositForNobody`, `DepositMissing`.
    """
    with models.write():
        deposit = models.locked(Deposit.select().where(Deposit.id == deposit_id)).first()
        if deposit is None:
            raise DepositMissing
        if deposit.filed_at:
            return deposit
        documents = list(deposit.documents.order_by(Document.number))
        recipients = list(deposit.recipients.order_by(Recipient.added_at))
        if not documents:
            raise DepositEmpty
        if not recipients:
            raise DepositForNobody
        now = gateways.clock.now()
        deposit.filed_at, deposit.filed_by = now, member
        deposit.expires_at = _end(deposit, now)
        for recipient in recipients:
            give_reference(gateways, recipient)
            journal.append(gateways, "recipient.added", author=by, recipient=recipient, detail=_named(recipient))
        if deposit.replaces_id:
            announcements.tell(gateways, deposit.replaces_id, "replaced")
        deposit.filed_sequence = journal.append(
            gateways,
            "deposit.filed",
            author=by,
            deposit=deposit,
            detail={
                "documents": [listed(document) for document in documents],
                "recipients": len(recipients),
                "available_until": deposit.expires_at.isoformat(),
            },
        )
        deposit.save()
    gateways.bell.ring("previews")
    if deposit.replaces_id:
        gateways.bell.ring("mail")
    return deposit


def listed(document: Document) -> dict[str, Any]:
    """Return what the filing's record says of a document; a day as text."""
    return {
        "number": document.number,
        "document": str(document.id),
        "fingerprint": document.fingerprint,
        "title": text.storable(document.title),
        "nature": document.nature,
        "dated": document.dated and document.dated.isoformat(),
        "pages": document.pages,
        "size": document.size,
    }


def give_reference(gateways: Gateways, recipient: Recipient) -> Access:
    """Give a recipient the public reference of their access, inside the caller's transaction."""
    while True:
        reference = codes.draw_reference()
        if not Access.select().where(Access.reference == reference).exists():
            return Access.create(recipient=recipient, reference=reference, created_at=gateways.clock.now())


def state(deposit: Deposit, now: datetime) -> State:
    """Return where the deposit stands at `now`: the date alone ends it, whether or not a worker has run."""
    if deposit.withdrawn_at:
        return State.WITHDRAWN
    if not deposit.filed_at:
        return State.DRAFT
    if deposit.ended_at or deposit.expires_at is None or deposit.expires_at <= now:
        return State.ENDED
    return State.FILED


def check(deposit: Deposit, now: datetime) -> Deposit:
    """Return the deposit when recipients may read it at `now`; an unknown end means refused (art. 5).

    Raises `AvailabilityOver`, `DepositWithdrawn`, `DepositReplaced`.
    """
    found = state(deposit, now)
    if found == State.WITHDRAWN:
        raise DepositReplaced if _replaced(deposit, now) else DepositWithdrawn
    if found != State.FILED:
        raise AvailabilityOver
    return deposit


def end_if_filed(deposit: Deposit, now: datetime) -> datetime:
    """Return the instant a draft would end if it were filed at `now`."""
    return calendar.end_of_availability(now, [], zone=offices.zone(deposit.office), territory=deposit.office.territory)


def end_with(deposit: Deposit, significations: Sequence[date]) -> datetime:
    """Return the instant a filed deposit ends given its significations and what was already promised (art. 5)."""
    office = deposit.office
    end = calendar.end_of_availability(
        deposit.filed_at, significations, zone=offices.zone(office), territory=office.territory
    )
    if deposit.prolonged_until:
        end = max(end, calendar.end_of(deposit.prolonged_until, offices.zone(office)))
    return end


@dataclass(frozen=True, slots=True)
class Listed:
    """One line of the list of deposits."""

    deposit: Deposit
    recipients: tuple[str, ...]
    documents: int
    consulted: int


def search(office: Office, words: str, wanted: str, now: datetime, *, page: int = 1) -> tuple[list[Listed], int]:
    """Return a page of the office's deposits, newest first, and how many there are in all.

    Each word must appear in the case, a recipient's name or an access reference.
    """
    query = Deposit.select().where(Deposit.office == office)
    if (condition := _in_state(wanted, now)) is not None:
        query = query.where(condition)
    for word in text.storable(words).split()[:8]:
        query = query.where(_mentions(word))
    total = query.count()
    rows = list(query.order_by(Deposit.created_at.desc(), Deposit.id).paginate(page, PAGE))
    return _with_counts(rows), total


def warning(deposit: Deposit, now: datetime) -> date | None:
    """Return the day before which the order must be served, while a recipient of the deposit has not been."""
    signified = Signification.select(Signification.recipient).where(Signification.cancelled_at.is_null())
    waiting = deposit.recipients.where(Recipient.id.not_in(signified)).exists()
    open_to_change = state(deposit, now) in {State.DRAFT, State.FILED}
    return calendar.lapse_of_order(deposit.order_date) if waiting and open_to_change else None


def _end(deposit: Deposit, filed_at: datetime) -> datetime:
    deposit.filed_at = filed_at
    query = (
        Signification.select(Signification.signified_on)
        .join(Recipient)
        .where(Recipient.deposit == deposit, Signification.cancelled_at.is_null())
    )
    return end_with(deposit, [row.signified_on for row in query])


def _replaced(deposit: Deposit, now: datetime) -> bool:
    """Tell whether what replaces a withdrawn deposit is at disposal; what replaces it may be withdrawn in its turn."""
    while following := Deposit.get_or_none(Deposit.replaces == deposit):
        found = state(following, now)
        if found != State.WITHDRAWN:
            return found == State.FILED
        deposit = following
    return False


def _columns(case: Case) -> dict[str, object]:
    return {
        "creditor": case.creditor,
        "court": case.court,
        "order_number": case.order_number,
        "order_date": case.order_date,
        "office_reference": case.office_reference,
    }


def _named(recipient: Recipient) -> dict[str, object]:
    return {"name": recipient.name, "representative": recipient.representative, "kind": recipient.kind}


def _in_state(wanted: str, now: datetime) -> pw.Expression | None:
    conditions = {
        State.DRAFT: Deposit.filed_at.is_null() & Deposit.withdrawn_at.is_null(),
        State.FILED: (Deposit.expires_at > now) & Deposit.ended_at.is_null() & Deposit.withdrawn_at.is_null(),
        State.ENDED: ((Deposit.expires_at <= now) | Deposit.ended_at.is_null(False)) & Deposit.withdrawn_at.is_null(),
        State.WITHDRAWN: Deposit.withdrawn_at.is_null(False),
    }
    if wanted == FORGOTTEN_SOON:
        return Deposit.purge_told_at.is_null(False) & Deposit.purged_at.is_null()
    return conditions[State(wanted)] if wanted in conditions else None


def _mentions(word: str) -> pw.Expression:
    reference, lowered = word.replace("-", "").upper(), word.lower()

    def holds(column: pw.Field) -> pw.Expression:
        return pw.fn.LOWER(column).contains(lowered)

    named = (
        Recipient.select(Recipient.deposit)
        .join(Access, pw.JOIN.LEFT_OUTER)
        .where(holds(Recipient.name) | holds(Recipient.representative) | (Access.reference == reference))
    )
    found = Deposit.id.in_(named)
    for column in (Deposit.office_reference, Deposit.creditor, Deposit.court, Deposit.order_number):
        found |= holds(column)
    return found


def _with_counts(rows: list[Deposit]) -> list[Listed]:
    """Gather what the list shows in three queries, however many deposits."""
    ids = [row.id for row in rows]
    names: dict[UUID, list[str]] = {}
    for recipient in Recipient.select().where(Recipient.deposit.in_(ids)).order_by(Recipient.added_at):
        names.setdefault(recipient.deposit_id, []).append(recipient.name)
    documents = dict(
        Document.select(Document.deposit, pw.fn.COUNT(Document.id))
        .where(Document.deposit.in_(ids))
        .group_by(Document.deposit)
        .tuples()
    )
    consulted = dict(
        Consultation.select(Document.deposit, pw.fn.COUNT(Consultation.id)).join(Document)
        .where(Document.deposit.in_(ids)).group_by(Document.deposit).tuples()
    )  # fmt: skip
    return [
        Listed(row, tuple(names.get(row.id, ())), documents.get(row.id, 0), consulted.get(row.id, 0)) for row in rows
    ]
