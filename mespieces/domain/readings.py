"""Reading the journal: what an office wants of its own records, and the record that each reading leaves."""

from collections.abc import Iterable, Mapping
from datetime import date
from uuid import UUID

import peewee as pw

from mespieces import models
from mespieces.domain import codes, journal, records, text
from mespieces.domain.records import Page, Place, Wanted
from mespieces.errors import Invalid, NotFound
from mespieces.gateways import Gateways
from mespieces.models import Access, Deposit, JournalLog, Office, Recipient
from mespieces.verifier import record

MOST_RECIPIENTS = 50


class PeriodInverted(Invalid):
    """The last day comes before the first."""

    field = "au"
    message = "La période finit avant d’avoir commencé : échangez les deux dates."


class KindUnknown(Invalid):
    """Not a kind of operation."""

    field = "genre"
    message = "Ce genre d’opération n’existe pas : choisissez-en un dans la liste."


class NoSuchDeposit(Invalid):
    """No deposit of the office bears that reference."""

    field = "depot"
    message = "Aucun dépôt de l’étude ne porte cette référence : recopiez-la en entier, comme l’étude l’a saisie."


class NoSuchRecipient(Invalid):
    """No recipient of these deposits has that name or reference, or their name was erased."""

    field = "destinataire"
    message = (
        "Aucun destinataire ne porte ce nom ou cette référence. Un nom effacé au terme des délais ne se retrouve plus."
    )


class TooManyRecipients(Invalid):
    """The name fits too many people."""

    field = "destinataire"
    message = "Ce nom désigne plus de {most} destinataires : écrivez-le plus complètement."


class RecordMissing(NotFound):
    """No such record, or not one of this office."""

    message = "Cet enregistrement n’existe pas, ou ne concerne pas votre étude."


def read(office: Office, typed: Mapping[str, str], *, today: date) -> Wanted:
    """Return what a form wants. Raises `Invalid` naming the field at fault."""
    first = text.day(typed.get("du"), "du", latest=today, needed=False)
    last = text.day(typed.get("au"), "au", latest=today, needed=False)
    if first and last and last < first:
        raise PeriodInverted
    kind = typed.get("genre", "")
    if kind and kind not in records.KINDS:
        raise KindUnknown
    reference = text.line(typed.get("depot"), "depot", most=60, needed=False)
    name = text.line(typed.get("destinataire"), "destinataire", needed=False)
    deposits = _deposits(office, reference) if reference else None
    if not name:
        return Wanted(first, last, kind, deposits)
    found = _recipients(office, name, deposits)
    return Wanted(first, last, kind, tuple({row.deposit_id for row in found}), tuple(row.id for row in found))


def page(gateways: Gateways, office: Office, wanted: Wanted, below: Place | None, *, by: journal.Author) -> Page:
    """Return the newest records wanted, from `below` on, after journaling that they are read."""
    detail = wanted.told() | ({"before": below.sequence} if below else {})
    with models.write():
        journal.append(gateways, "journal.read", author=by, office=office, detail=detail)
    return records.collect(office, wanted, below)


def one(gateways: Gateways, office: Office, where: Place, *, by: journal.Author) -> journal.Line:
    """Return one record of the office with all that is kept of it, after journaling that it is read. Raises `RecordMissing`."""
    known = JournalLog.select().where(JournalLog.log == text.storable(where.log)).exists()
    line = next(journal.lines(where.log, where.sequence, where.sequence + 1), None) if known else None
    if line is None or line.office != office.id:
        raise RecordMissing
    with models.write():
        detail = {"log": where.log, "record": where.sequence}
        journal.append(gateways, "journal.read", author=by, office=office, detail=detail)
    return line


def altered(log: str, line: journal.Line) -> bool:
    """Tell whether a record, or what stands beside it, is not what the chain commits to any more."""
    salt, body = line.proof or (None, None)
    if not records.is_sealed(log, line.sequence, line.operation, line.hash, line.header, salt, body):
        return True
    return line.trace is not None and record.commit("trace", *line.trace) != record.parse(line.header).trace


def deposit_of(office: Office, line: journal.Line) -> Deposit | None:
    """Return the office's deposit that a record is about, None when it is about none, or one that is no more."""
    return Deposit.get_or_none(Deposit.id == line.deposit, Deposit.office == office) if line.deposit else None


def subjects(office: Office, entries: Iterable[journal.Entry]) -> dict[str, str]:
    """Return by identifier what the office calls the deposits and recipients that records are about, while it knows."""
    about = [entry.body["object"] for entry in entries if entry.body]
    deposits, people = ({UUID(what[key]) for what in about if key in what} for key in ("deposit", "recipient"))
    named = Deposit.select(Deposit.id, Deposit.office_reference).where(
        Deposit.office == office, Deposit.id.in_(list(deposits))
    )
    known = Recipient.select(Recipient.id, Recipient.name).join(Deposit)
    known = known.where(Deposit.office == office, Recipient.id.in_(list(people)))
    return {str(row.id): row.office_reference for row in named} | {str(row.id): row.name for row in known}


def _deposits(office: Office, reference: str) -> tuple[UUID, ...]:
    bears = pw.fn.LOWER(Deposit.office_reference) == reference.lower()
    found = Deposit.select(Deposit.id).where(Deposit.office == office, bears)
    if not (ids := tuple(row.id for row in found)):
        raise NoSuchDeposit
    return ids


def _recipients(office: Office, name: str, deposits: tuple[UUID, ...] | None) -> list[Recipient]:
    """Return the office's recipients whose name holds `name`, or whose act bears that reference."""
    named = pw.fn.LOWER(Recipient.name).contains(name.lower())
    query = Recipient.select(Recipient.id, Recipient.deposit).join(Deposit).where(Deposit.office == office)
    query = query.where(named | Recipient.id.in_(_holders(name)))
    if deposits is not None:
        query = query.where(Recipient.deposit.in_(deposits))
    found = list(query.limit(MOST_RECIPIENTS + 1))
    if not found:
        raise NoSuchRecipient
    if len(found) > MOST_RECIPIENTS:
        raise TooManyRecipients(most=MOST_RECIPIENTS)
    return found


def _holders(typed: str) -> list[UUID]:
    try:
        reference = codes.read_reference(typed)
    except codes.ReferenceMistyped:
        return []
    return [row.recipient_id for row in Access.select(Access.recipient).where(Access.reference == reference)]
