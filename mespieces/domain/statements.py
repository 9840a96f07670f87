"""What a statement of consultations says: recipient by recipient, all that the journal knows up to the end of a day.

It states that nothing else stands in the journal; that nothing else happened, no journal proves. Everything here reads
inside the caller's `journal.snapshot()`, and writes nothing.
"""

from collections import defaultdict
from collections.abc import Sequence
from datetime import date, datetime
from typing import Any
from uuid import UUID

from mespieces.domain import (
    accesses,
    attested,
    calendar,
    codes,
    evidence,
    filings,
    french,
    journal,
    offices,
    opened,
    text,
)
from mespieces.domain import recipients as people
from mespieces.errors import Invalid
from mespieces.models import Access, Deposit, Recipient


class DayToCome(Invalid):
    """Nobody knows what will be consulted."""

    field = "until"
    message = "Cette date est à venir : le relevé dit ce qui s’est passé jusqu’à aujourd’hui au plus tard."


class DayBeforeFiling(Invalid):
    """Nothing could be consulted yet."""

    field = "until"
    message = "Les pièces ont été déposées le {filed} : choisissez cette date, ou une plus récente."


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
    recipient, then the newest. Raises `JournalDisagrees`.
    """
    until = calendar.end_of(day, offices.zone(deposit.office))
    filing = filings.read(deposit)
    openings = [one for one in opened.among(deposit.id) if one.opened_at < until]
    by_recipient = _by_recipient(openings)
    firsts = sorted((own[0] for own in by_recipient.values()), key=lambda one: one.opened_at, reverse=True)
    listed, numbers = opened.listed(openings, firsts[: opened.MOST_RECORDS]), filing.numbers()
    known, references = people.listed(deposit), accesses.by_deposit(deposit)
    names = {one.id: one.name for one in known}
    for one in openings:
        if one.recipient not in names:
            raise evidence.disagreement(one.log, one.sequence, "who opened is no recipient of the deposit")
    common, total = attested.common(filing, by=by, now=now), len(openings)
    log = journal.head().log
    base = [filing.record] if filing.record.body and not listed else []  # what a statement of nothing rests on
    shown = common | {
        "title": "Relevé des consultations",
        "reference": f"dossier {deposit.office_reference}",
        "day": french.day(day),
        "until": attested.moment(min(until, now)),
        "total": total,
        "documents": attested.pieces(len(numbers)),
        "recipients": [_person(one, references.get(one.id), by_recipient.get(one.id)) for one in known],
        "records": [
            attested.opening_line(one, numbers, log) | {"recipient": one.name or names[one.recipient]} for one in listed
        ],
        "base": [attested.record_line(one, "Dépôt des pièces", log) for one in base],
        "listed": len(listed),
        "unlisted": attested.unlisted(total - len(listed)),
        "silent": opened.untold(opened.silent(deposit.id, until)),
    }
    return attested.Attested(shown, [(one.log, one.sequence) for one in (listed or base)])


def _person(recipient: Recipient, access: Access | None, openings: Sequence[opened.Opening] | None) -> dict[str, Any]:
    return {
        "name": recipient.name,
        "reference": codes.show(access.reference) if access else "",
        "times": french.number(len(openings)) if openings else "",
        "documents": attested.pieces(len({one.document for one in openings})) if openings else "",
        "first": french.instant_short(openings[0].opened_at) if openings else "",
        "last": french.instant_short(openings[-1].opened_at) if openings else "",
    }


def _by_recipient(openings: Sequence[opened.Opening]) -> dict[UUID, list[opened.Opening]]:
    """Return each recipient's consultations, in the order they were opened."""
    found: dict[UUID, list[opened.Opening]] = defaultdict(list)
    for one in openings:
        found[one.recipient].append(one)
    return found
