"""Records of one office, found by what they are filed under: never by a search through the whole journal.

Whatever is wanted, one page looks through a bounded number of records.
"""

from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime, time, timedelta
from functools import reduce
from itertools import pairwise
from operator import or_
from typing import Any, NamedTuple
from uuid import UUID

import peewee as pw

from mespieces import models
from mespieces.domain import evidence, journal, offices
from mespieces.models import JournalLog, JournalPayload, JournalRecord, Office
from mespieces.verifier import record

PAGE = 50
LOOKED_THROUGH = 20_000
"""Records of the office looked through for one page, when only some kinds are wanted."""

_CONSULTATIONS = frozenset({"document.consulted", "document.delivered", "document.interrupted", "document.corrupted"})
_OF_A_DEPOSIT = frozenset({"recipient.added", "recipient.corrected"})
_KIND_OF = {
    "deposit": "deposits", "document": "deposits", "signification": "deposits", "attestation": "deposits",
    "recipient": "identifications", "code": "identifications", "member": "members", "office": "members",
}  # fmt: skip


def kind_of(operation: str) -> str:
    """Return the kind an operation is of: consultations, deposits, identifications, members, or else journal."""
    if operation in _CONSULTATIONS:
        return "consultations"
    if operation in _OF_A_DEPOSIT:
        return "deposits"
    return _KIND_OF.get(operation.partition(".")[0], "journal")


KINDS: dict[str, tuple[str, ...]] = {
    kind: tuple(sorted(operation for operation in record.OPERATIONS if kind_of(operation) == kind))
    for kind in ("deposits", "consultations", "identifications", "members", "journal")
}
"""The operations of each kind: every operation is of one."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which records are wanted; None where anything will do. `first` and `last` are days where the office is."""

    first: date | None = None
    last: date | None = None
    kind: str = ""
    deposits: tuple[UUID, ...] | None = None
    recipients: tuple[UUID, ...] | None = None

    def told(self) -> dict[str, Any]:
        """Return what the journal keeps of it: nothing that was typed, and nobody's name or identifier."""
        told: dict[str, Any] = {"from": self.first, "to": self.last, "kind": self.kind}
        told["deposits"] = None if self.deposits is None else list(self.deposits)
        told["recipients"] = None if self.recipients is None else len(self.recipients)
        return {key: value for key, value in told.items() if value is not None and value != ""}


class Place(NamedTuple):
    """A record's place, or where a page begins: below it."""

    log: str
    sequence: int

    def __str__(self) -> str:
        return f"{self.log}.{self.sequence}"


@dataclass(frozen=True, slots=True)
class Line:
    """One record of a page; not `sealed` when it is not what the chain commits to any more: then its words are left out."""

    place: Place
    entry: journal.Entry
    sealed: bool = True


@dataclass(frozen=True, slots=True)
class Page:
    """Some records, newest first; `older` is where the next page begins, None at the end.

    `reached` is the time of the oldest record looked at, when the page is not full and older ones were not looked at.
    """

    lines: tuple[Line, ...]
    older: Place | None = None
    reached: datetime | None = None


def place(text_of_it: str) -> Place | None:
    """Return the place that `str(place)` wrote, None for anything else."""
    log, _, digits = text_of_it.partition(".")
    return Place(log, int(digits)) if digits.isascii() and digits.isdigit() and len(digits) <= 15 else None


def collect(office: Office, wanted: Wanted, below: Place | None) -> Page:
    """Return the newest of the office's records that are wanted, from `below` on."""
    lines: list[Line] = []
    looked = 0
    for low, high in _spans(office, wanted, below):
        bottom, seen = _bottom(office, low, high, wanted, LOOKED_THROUGH - looked)
        lines += _found(office, wanted, bottom, high, PAGE + 1 - len(lines))
        if len(lines) > PAGE:
            return Page(tuple(lines[:PAGE]), older=lines[PAGE - 1].place)
        looked += seen
        if bottom.sequence > low.sequence or looked >= LOOKED_THROUGH:
            return Page(tuple(lines), older=bottom, reached=record.parse_time(_time_at(bottom.log, bottom.sequence)))
    return Page(tuple(lines))


def _spans(office: Office, wanted: Wanted, below: Place | None) -> Iterator[tuple[Place, Place]]:
    """Yield from where, included, to where, excluded, each journal holds the wanted period; the newest journal first."""
    start, stop = _period(office, wanted)
    reached = below is None
    for log in JournalLog.select().order_by(JournalLog.closed_at.is_null().desc(), JournalLog.opened_at.desc()):
        low, high = _between(log, start, stop)
        if below and below.log == log.log:
            reached, high = True, min(high, below.sequence)
        if reached and low < high:
            yield Place(log.log, low), Place(log.log, high)


def _period(office: Office, wanted: Wanted) -> tuple[str | None, str | None]:
    """Return from when, included, to when, excluded, as headers write the time."""
    zone, after = offices.zone(office), wanted.last and wanted.last + timedelta(days=1)
    start, stop = (
        record.format_time(datetime.combine(day, time.min, zone)) if day else None for day in (wanted.first, after)
    )
    return start, stop


def _between(log: JournalLog, start: str | None, stop: str | None) -> tuple[int, int]:
    """Return the sequences within which a journal's records from `start` up to `stop` lie.

    Time never goes back but where a `clock.anomaly` says so: between two of these it is searched by halves.
    """
    if not (start or stop):
        return 0, log.size
    turns = [0, *(row.sequence for row in _anomalies(log.log)), log.size]
    rising = [(low, high) for low, high in pairwise(turns) if low < high]
    lows = [found for low, high in rising if (found := _first(log.log, low, high, start)) < high]
    highs = [found for low, high in rising if (found := _first(log.log, low, high, stop, otherwise=high)) > low]
    return min(lows, default=log.size), max(highs, default=0)


def _anomalies(log: str) -> pw.ModelSelect:
    # Written out, for no parameter leads to the index that holds these alone; it is short enough to be read whole.
    written = (pw.SQL("operation = 'clock.anomaly'"), ~(JournalRecord.log != log))
    return JournalRecord.select(JournalRecord.sequence).where(*written).order_by(JournalRecord.sequence)


def _first(log: str, low: int, high: int, at: str | None, otherwise: int | None = None) -> int:
    """Return the first sequence from `low` up to `high` whose time is not before `at`, `high` when there is none."""
    if not at:
        return low if otherwise is None else otherwise
    while low < high:
        middle = (low + high) // 2
        if _time_at(log, middle) < at:
            low = middle + 1
        else:
            high = middle
    return low


def _time_at(log: str, sequence: int) -> str:
    return str(JournalRecord.select(JournalRecord.time).where(_at(log, sequence)).scalar())


def _at(log: str, sequence: int) -> pw.Expression:
    return (JournalRecord.log == log) & (JournalRecord.sequence == sequence)


def _bottom(office: Office, low: Place, high: Place, wanted: Wanted, budget: int) -> tuple[Place, int]:
    """Return down to where one page looks, and how many records that costs: what an index leads to costs nothing."""
    if not wanted.kind or wanted.deposits is not None:
        return low, 0
    seen, last = _counted(office, low, high, budget).scalar(as_tuple=True)
    return (Place(low.log, last) if seen == budget else low), seen


def _counted(office: Office, low: Place, high: Place, most: int) -> Any:
    payload = JournalPayload
    newest = payload.select(payload.sequence).where(payload.office == office.id, *_within(low, high))
    newest = newest.order_by(payload.sequence.desc()).limit(most).alias("newest")
    found = pw.Select([newest], [pw.fn.COUNT(newest.c.sequence), pw.fn.MIN(newest.c.sequence)])
    return found.bind(models.database)


def _within(low: Place, high: Place) -> Iterable[Any]:
    """Return what bounds a search; said so that SQLite goes through what the search is for, not through the whole journal."""
    payload = JournalPayload
    same = ~(payload.log != low.log), ~(payload.group != "proof")
    return (*same, payload.sequence >= low.sequence, payload.sequence < high.sequence)


def _found(office: Office, wanted: Wanted, low: Place, high: Place, most: int) -> list[Line]:
    rows = _query(office, wanted, low, high, most)
    lines = []
    for sequence, at, operation, *stored in rows:
        sealed = is_sealed(low.log, sequence, operation, *stored)
        entry = journal.read_entry(sequence, at, operation, stored[-1] if sealed else None)
        lines.append(Line(Place(low.log, sequence), entry, sealed))
    return lines


def is_sealed(
    log: str, sequence: int, operation: str, hashed: str, header: bytes, salt: bytes | None, body: bytes | None
) -> bool:
    """Tell whether a record is what its hash is of, and its `proof`, if still held, what its header commits to."""
    with suppress(evidence.JournalDisagrees):
        evidence.verified(log, sequence, operation, hashed, header, salt, body)
        return True
    return False


def _query(office: Office, wanted: Wanted, low: Place, high: Place, most: int) -> Any:
    payload, header = JournalPayload, JournalRecord
    query = (
        payload.select(
            payload.sequence, header.time, header.operation, header.hash, header.header, payload.salt, payload.body
        )
        .join(header, on=((header.log == payload.log) & (header.sequence == payload.sequence)))
        .where(*_within(low, high))
    )
    if wanted.deposits is None:
        query = query.where(payload.office == office.id)
    else:
        query = query.where(payload.deposit.in_(wanted.deposits), ~(payload.office != office.id))
    if wanted.kind:
        query = query.where(header.operation.in_(KINDS[wanted.kind]))
    if wanted.recipients is not None:
        query = query.where(_names(wanted.recipients))
    start, stop = _period(office, wanted)
    if start:
        query = query.where(header.time >= start)
    if stop:
        query = query.where(header.time < stop)
    return query.order_by(payload.sequence.desc()).limit(most).tuples()


def _names(recipients: tuple[UUID, ...]) -> Any:
    """Tell whether a body names one of them, as its author or its object; an erased one names nobody."""
    body = JournalPayload.body

    def holds(within: bytes) -> Any:
        if models.is_sqlite():
            return pw.fn.INSTR(body, within) > 0
        return pw.NodeList((pw.SQL("position("), pw.Value(within), pw.SQL(" IN "), body, pw.SQL(") > 0")))

    return reduce(or_, (holds(str(recipient).encode()) for recipient in recipients))
