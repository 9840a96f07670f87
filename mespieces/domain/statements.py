"""What a statement of consultations says: recipient by recipient, all that the journal knows up to the end of a day.

It states that nothing else stands in the journal; that nothing else happened, no journal proves. Everything here reads
inside the caller's `journal.snapshot()`, and writes nothing.
"""

from datetime import date, datetime
from typing import Any, NamedTuple
from uuid import UUID

import peewee as pw

from mespieces import models
from mespieces.domain import accesses, attested, calendar, codes, documents, french, journal, offices, opened, text
from mespieces.domain import recipients as people
from mespieces.errors import Invalid
from mespieces.models import Access, Consultation, Deposit, Document, Recipient, Session


class DayToCome(Invalid):
    """Nobody knows what will be consulted."""

    field = "until"
    message = "Cette date est à venir : le relevé dit ce qui s’est passé jusqu’à aujourd’hui au plus tard."


class DayBeforeFiling(Invalid):
    """Nothing could be consulted yet."""

    field = "until"
    message = "Les pièces ont été déposées le {filed} : choisissez cette date, ou une plus récente."


class Count(NamedTuple):
    """What one recipient consulted: how many times, how many documents, first and last when."""

    times: int
    documents: int
    first: datetime
    last: datetime


def read_day(typed: str, deposit: Deposit, now: datetime) -> date:
    """Return the day somebody chose, today when they chose none. Raises `NotADate`, `DayToCome`, `DayBeforeFiling`."""
    zone = offices.zone(deposit.office)
    today = now.astimezone(zone).date()
    day = text.day(typed, "until", latest=date.max, needed=False) or today
    if day > today:
        raise DayToCome
    filed = deposit.filed_at.astimezone(zone).date()
    if day < filed:
        raise DayBeforeFiling(filed=french.day(filed))
    return day


def facts(deposit: Deposit, day: date, *, by: journal.Author, now: datetime) -> attested.Attested:
    """Return what `statement_attestation.typ` shows; the consultations listed one by one are cited.

    However many there are, each recipient is counted, and at most `opened.MOST_RECORDS` are listed: the first of each
    recipient, then the newest.
    """
    until = calendar.end_of(day, offices.zone(deposit.office))
    counts = _counts(deposit, until)
    listed = opened.among(deposit, _listed(deposit, until))
    numbers = {document.id: document.number for document in documents.listed(deposit)}
    known, references = people.listed(deposit), accesses.by_deposit(deposit)
    names = {one.id: one.name for one in known}
    common, total = attested.common(deposit, by=by, now=now), sum(count.times for count in counts.values())
    log = common["journal"]["log"]
    shown = common | {
        "title": "Relevé des consultations",
        "reference": f"dossier {deposit.office_reference}",
        "day": french.day(day),
        "until": attested.moment(min(until, now)),
        "total": total,
        "documents": attested.pieces(len(numbers)),
        "recipients": [_person(one, references.get(one.id), counts.get(one.id)) for one in known],
        "records": [
            attested.opening_line(one, numbers[one.document], log) | {"recipient": names.get(one.recipient, "")}
            for one in listed
        ],
        "listed": len(listed),
        "unlisted": attested.unlisted(total - len(listed)),
    }
    return attested.Attested(shown, [(one.log, one.sequence) for one in listed])


def _person(recipient: Recipient, access: Access | None, count: Count | None) -> dict[str, Any]:
    return {
        "name": recipient.name,
        "reference": codes.show(access.reference) if access else "",
        "times": french.number(count.times) if count else "",
        "documents": attested.pieces(count.documents) if count else "",
        "first": french.instant_short(count.first) if count else "",
        "last": french.instant_short(count.last) if count else "",
    }


def _counts(deposit: Deposit, until: datetime) -> dict[UUID, Count]:
    at = Consultation.opened_at
    query = _consulted(
        deposit, until, Access.recipient, pw.fn.COUNT(Consultation.id),
        pw.fn.COUNT(pw.fn.DISTINCT(Consultation.document)), pw.fn.MIN(at), pw.fn.MAX(at),
    ).group_by(Access.recipient)  # fmt: skip
    return {
        recipient: Count(times, read, at.python_value(first), at.python_value(last))
        for recipient, times, read, first, last in query.tuples()
    }


def _listed(deposit: Deposit, until: datetime) -> list[UUID]:
    """Return which consultations are listed one by one: the first of each recipient, then the newest."""
    at = Consultation.opened_at
    place = pw.fn.ROW_NUMBER().over(partition_by=[Access.recipient], order_by=[at, Consultation.sequence])
    ranked = _consulted(deposit, until, Consultation.id, at, place.alias("place")).alias("ranked")
    later = pw.Case(None, [(ranked.c.place == 1, 0)], 1)
    query = pw.Select([ranked], [ranked.c.id]).order_by(later, ranked.c.opened_at.desc()).limit(opened.MOST_RECORDS)
    rows = query.bind(models.database.obj).tuples()
    return [Consultation.id.python_value(row[0]) for row in rows]


def _consulted(deposit: Deposit, until: datetime, *columns: object) -> Any:
    return (
        Consultation.select(*columns)
        .join(Session)
        .join(Access)
        .switch(Consultation)
        .join(Document)
        .where(Document.deposit == deposit, Consultation.opened_at < until)
    )
