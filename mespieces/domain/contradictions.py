"""Rows that the journal contradicts: consultations and documents, compared with the records that tell of them.

Attestations are composed of records; pages still show these rows, and they alone remember once the journal forgot.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from mespieces import models
from mespieces.domain import deposits, journal
from mespieces.models import Consultation, Deposit, Document, JournalLog, JournalPayload
from mespieces.verifier import record

BATCH = 1_000  # consultations read at once
_ANY = 2**63
FILINGS = 100  # filings whose documents are read at once
_COMPARED = frozenset({"document.consulted", "deposit.filed"})
MOMENT = timedelta(minutes=5)
"""A consultation's row is written with its record: what it waited for in between, the record's hour counts."""


class _Row(NamedTuple):
    """A consultation's row: identifiers as 32 hexadecimal digits."""

    sequence: int
    id: str
    document: str
    recipient: str
    deposit: str
    way: str
    opened_at: datetime


class Comparison:
    """Compares the rows of one journal's consultations, and of the documents filed in it, as its records go by in order.

    Holds a page of rows and a few filings: not the journal.
    """

    def __init__(self, log: str) -> None:
        self._rows = _rows(log)
        self._row = next(self._rows, None)
        self._filings: dict[UUID, tuple[int, Any]] = {}

    def feed(self, line: journal.Line, header: record.Header | None, proof: Mapping[str, Any] | None) -> Sequence[int]:
        """Return the sequences of rows found wrong now; `header` and `proof` are what the record says, None where it does not verify."""
        if line.operation not in _COMPARED and (self._row is None or self._row.sequence > line.sequence):
            return ()
        return list(self._compare(line, header, proof))

    def _compare(
        self, line: journal.Line, header: record.Header | None, proof: Mapping[str, Any] | None
    ) -> Iterator[int]:
        yield from self._passed_over(line.sequence)
        row = self._row if self._row and self._row.sequence == line.sequence else None
        if row:
            self._row = next(self._rows, None)
        if line.operation == "document.consulted":
            if header and proof is not None and not _confirms(header, proof, row):
                yield line.sequence
        elif row:
            yield line.sequence
        elif line.operation == "deposit.filed" and proof is not None and line.deposit:
            self._filings[line.deposit] = line.sequence, _member(proof, "detail").get("documents")
            if len(self._filings) == FILINGS:
                yield from self._compare_filings()

    def finish(self) -> Iterator[int]:
        """Yield the sequences of what is left: rows of records that are not there, filings not compared yet."""
        yield from self._passed_over(_ANY)
        yield from self._compare_filings()

    def _passed_over(self, sequence: int) -> Iterator[int]:
        """Yield the sequences of rows before that record, of which none was theirs."""
        while (row := self._row) and row.sequence < sequence:
            self._row = next(self._rows, None)
            yield row.sequence

    def _compare_filings(self) -> Iterator[int]:
        found: dict[UUID, list[dict[str, Any]]] = {deposit: [] for deposit in self._filings}
        erased = set()  # their titles went with the names, while a closed journal still tells them
        query = (
            Document.select(Document, Deposit.id, Deposit.erased_at)
            .join(Deposit)
            .where(Document.deposit.in_(list(found)))
        )
        for row in query.order_by(Document.deposit, Document.number).iterator():
            found[row.deposit_id].append(deposits.listed(row))
            if row.deposit.erased_at:
                erased.add(row.deposit_id)
        for deposit, (sequence, told) in self._filings.items():
            untitled = deposit in erased
            if _documents(told, untitled=untitled) != _documents(found[deposit], untitled=untitled):
                yield sequence
        self._filings.clear()


def _documents(listed: Any, *, untitled: bool) -> Any:
    whole = not untitled or not isinstance(listed, list)
    return listed if whole else [one | {"title": ""} for one in listed if isinstance(one, dict)]


def _confirms(header: record.Header, told: Mapping[str, Any], row: _Row | None) -> bool:
    """Tell whether a consultation's row says what its record does; a member's reading has none."""
    if row is None or _member(told, "author").get("kind") != "recipient":
        return row is None and _member(told, "author").get("kind") != "recipient"
    what = _member(told, "object")
    names = [_digits(what.get(key)) for key in ("consultation", "document", "recipient", "deposit")]
    return (
        names == [row.id, row.document, row.recipient, row.deposit]
        and _member(told, "identified").get("way") == row.way
        and abs(record.parse_time(header.time) - row.opened_at) <= MOMENT
    )


def _member(told: Any, key: str) -> Mapping[str, Any]:
    found = told.get(key) if isinstance(told, dict) else None
    return found if isinstance(found, dict) else {}


def _digits(name: object) -> str:
    return str(name).replace("-", "")


# Written out, and read as the database gives it: peewee's way takes longer than reading the records themselves.
_READ = (
    "SELECT c.sequence, c.id, c.document_id, a.recipient_id, r.deposit_id, s.way, c.opened_at FROM consultation AS c "
    "JOIN session AS s ON s.id = c.session_id JOIN access AS a ON a.id = s.access_id "
    "JOIN recipient AS r ON r.id = a.recipient_id "
    "WHERE c.log = ? AND c.sequence > ? ORDER BY c.sequence LIMIT ?"
)


def astray() -> Iterator[int]:
    """Yield the sequences, of no record that any journal could have, that rows of consultations name."""
    known = JournalLog.select(JournalLog.log)
    query = Consultation.select(Consultation.sequence).where(
        (Consultation.sequence < 0) | Consultation.log.not_in(known)
    )
    yield from (sequence for (sequence,) in query.tuples().iterator())


def orphans(log: str, size: int) -> Iterator[int]:
    """Yield the sequences of payloads beyond a journal's records: the next record would find its place taken."""
    query = JournalPayload.select(JournalPayload.sequence).where(
        JournalPayload.log == log, JournalPayload.sequence >= size
    )
    yield from (sequence for (sequence,) in query.distinct().order_by(JournalPayload.sequence).tuples().iterator())


def _rows(log: str) -> Iterator[_Row]:
    """Yield the rows of a journal's consultations in the order of their records, in constant memory."""
    after = -1
    while rows := models.execute(_READ, log, after, BATCH).fetchall():
        for sequence, which, what, who, where, way, at in rows:
            instant = _instant(at) if isinstance(at, str) else at
            yield _Row(sequence, _digits(which), _digits(what), _digits(who), _digits(where), way, instant)
        after = rows[-1][0]


def _instant(written: str) -> datetime:
    """Return an instant as SQLite keeps it, one that no record has where it is none."""
    with suppress(ValueError):
        return record.parse_time(written)
    return datetime.min.replace(tzinfo=UTC)
