"""Purges: personal data leaves the journal when its time is over, announced first, and the chain still verifies (art. 5, 6).

Rules of `docs/journal-format.md`, *Purge*: `trace` 12 months after its record; `proof` with its deposit, 18 months after
the filing at the earliest and some months after the end of the availability; what concerns no deposit, 18 months after
its record. A closed journal is purged as the open one is, which announces it.
"""

from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from dateutil.relativedelta import relativedelta
from peewee import chunked

from mespieces import models
from mespieces.domain import citations, clockwork, journal, retention
from mespieces.gateways import Gateways
from mespieces.models import Deposit, Document, Fact, JournalLog, JournalPayload, JournalRecord
from mespieces.verifier import purge, record
from mespieces.verifier.record import Group

BATCH = 1_000
"""Records looked at, or erased, in one transaction: others append in between."""
MARGIN = timedelta(days=1)
"""Waited beyond each delay, so that a clock set back a little makes no purge too early."""


TOLD = timedelta(days=14)
"""The least an office has, once told, to keep the proof of a deposit before the journal forgets it."""


class Range(NamedTuple):
    """Records from `first` to `last`, both included, whose payloads of one group go; `filed` starts their delay."""

    first: int
    last: int
    group: Group
    filed: int | None = None

    def told(self) -> dict[str, Any]:
        """Return the range as `journal.purged` writes it."""
        start = {} if self.filed is None else {"filed": self.filed}
        return {"from": self.first, "to": self.last, "group": self.group, **start}


def run(gateways: Gateways) -> int:
    """Erase what is due and return how many payloads that was. Can be cut anywhere and run again.

    Nothing goes while a jump of the clock waits to be confirmed.
    """
    now = gateways.clock.now()
    if clockwork.jumped(now):
        return 0
    erased = sum(_of_deposit(gateways, deposit) for deposit in over(gateways, now))
    groups: tuple[Group, ...] = ("trace", "proof")
    return erased + sum(_in_order(gateways, log, group) for log in _journals() for group in groups)


def due_at(gateways: Gateways, deposit: Deposit) -> datetime | None:
    """Return when the journal forgets what a deposit's records say, None while its documents are kept.

    Those of a withdrawn deposit are kept until the end it would have had, which a signification still moves on.
    """
    if deposit.ended_at is None:
        return None
    after = deposit.expires_at + relativedelta(months=gateways.settings.purge_months)
    return max(after, deposit.filed_at + relativedelta(months=purge.MONTHS["proof"])) + MARGIN


def forgets_at(gateways: Gateways, deposit: Deposit) -> datetime | None:
    """Return when the records of a deposit whose office was told are purged, None while it was not, or once they are."""
    due = due_at(gateways, deposit)
    if due is None or deposit.purge_told_at is None or deposit.purged_at:
        return None
    return max(due, deposit.purge_told_at + TOLD)


def over(gateways: Gateways, now: datetime) -> list[Deposit]:
    """Return the deposits whose records must be purged now: nothing is left in the vault, and their office was told in time."""
    kept = Document.select(Document.deposit).where(Document.deleted_at.is_null())
    query = Deposit.select().where(
        Deposit.filed_at < now - relativedelta(months=purge.MONTHS["proof"]),
        Deposit.purged_at.is_null(),
        Deposit.ended_at.is_null(False),
        Deposit.id.not_in(kept),
    )
    return [deposit for deposit in query if (due := forgets_at(gateways, deposit)) and due <= now]


def _of_deposit(gateways: Gateways, deposit: Deposit) -> int:
    """Erase every `proof` of a deposit: in several transactions when there are many, the last one remembering it."""
    *closed, last = _journals()
    erased = sum(_of_deposit_in(gateways, deposit, log) for log in closed)
    return erased + _of_deposit_in(gateways, deposit, last, last=True)


def _journals() -> list[str]:
    """Return the journals that can be purged, oldest first: the open one, and those of which it can announce it."""
    log = journal.head().log
    return [*reversed(list(purge.earlier(log, citations.before()))), log]


def _of_deposit_in(gateways: Gateways, deposit: Deposit, log: str, *, last: bool = False) -> int:
    """Erase a deposit's `proof` in one journal; in the `last` one, remember that nothing is left of them."""
    filed, erased = deposit.filed_sequence if _filed_here(log, deposit) else None, 0
    while True:
        with models.write():
            row = models.locked(Deposit.select().where(Deposit.id == deposit.id)).get()
            due = _sequences(log, row, filed, gateways.clock.now())
            erased += _erase(gateways, log, list(_joined(due, filed)))
            if len(due) < BATCH:
                if last:
                    Deposit.update(purged_at=gateways.clock.now()).where(Deposit.id == deposit.id).execute()
                return erased


class Owners:
    """Tells whether what was erased with a deposit was that deposit's: the column beside a payload outlives it."""

    def __init__(self, log: str, purges: Iterable[purge.Purge]) -> None:
        told = [(one.first, one.last, one.filed) for one in purges if one.group == "proof" and one.filed is not None]
        self._waiting = sorted(told, reverse=True)
        self._open: list[tuple[int, int, int]] = []
        self._deposits: dict[int, UUID | None] = {}
        payload = JournalPayload
        query = payload.select(payload.sequence, payload.deposit).where(payload.log == log, payload.group == "proof")
        for some in chunked(sorted({filed for _, _, filed in told}), BATCH):
            self._deposits.update(query.where(payload.sequence.in_(some)).tuples())

    def agree(self, line: journal.Line) -> bool:
        """Tell whether every filing that explains why a record's `proof` is absent is that of its own deposit; in order."""
        while self._waiting and self._waiting[-1][0] <= line.sequence:
            self._open.append(self._waiting.pop())
        self._open = [one for one in self._open if line.sequence <= one[1]]
        return all(self._deposits.get(filed) == line.deposit for _, _, filed in self._open)


def _filed_here(log: str, deposit: Deposit) -> bool:
    """Tell whether the filing stands in this journal rather than in one that it continues."""
    return (
        JournalPayload.select()
        .join(
            JournalRecord,
            on=((JournalRecord.log == JournalPayload.log) & (JournalRecord.sequence == JournalPayload.sequence)),
        )
        .where(
            JournalPayload.log == log,
            JournalPayload.sequence == deposit.filed_sequence,
            JournalPayload.deposit == deposit.id,
            JournalRecord.operation == "deposit.filed",
        )
        .exists()
    )


def _sequences(log: str, deposit: Deposit, filed: int | None, now: datetime) -> list[int]:
    """Return the deposit's records to erase, a batch at most; those that count from themselves only when they are due."""
    query = (
        JournalPayload.select(JournalPayload.sequence, JournalRecord.time)
        .join(
            JournalRecord,
            on=((JournalRecord.log == JournalPayload.log) & (JournalRecord.sequence == JournalPayload.sequence)),
        )
        .where(
            JournalPayload.deposit == deposit.id,
            JournalPayload.log == log,
            JournalPayload.group == "proof",
            JournalPayload.body.is_null(False),
        )
        .order_by(JournalPayload.sequence)
        .limit(BATCH)
        .tuples()
    )
    return [sequence for sequence, time in query if filed is not None or _is_due("proof", time, now)]


def _joined(sequences: list[int], filed: int | None) -> Iterator[Range]:
    """Join neighbours into ranges: a range names no record of anybody else's."""
    start = None
    for place, sequence in enumerate(sequences):
        start = sequence if start is None else start
        if place + 1 == len(sequences) or sequences[place + 1] != sequence + 1:
            yield Range(start, sequence, "proof", filed)
            start = None


def _in_order(gateways: Gateways, log: str, group: Group) -> int:
    """Erase one group of a journal's records that count from themselves, going on from where the last run stopped."""
    name, erased = f"purged.{group}.{log}", 0
    while True:
        with models.write():
            now = gateways.clock.now()
            fact = Fact.get_or_none(Fact.name == name)
            start = int(fact.detail) if fact else 0
            lines = [line for line in journal.lines(log, start, start + BATCH) if _is_due(group, line.time, now)]
            # A record that is not due yet stops the walk, even if one after it were (the clock was set back).
            lines = [line for place, line in enumerate(lines) if line.sequence == start + place]
            if not lines:
                return erased
            kept = _held(line.deposit for line in lines) if group == "proof" else frozenset()
            erased += _erase(gateways, log, list(_spanned(lines, group, kept)))
            clockwork.set_fact(name, now, str(start + len(lines)))


def _held(deposits: Iterator[UUID | None]) -> frozenset[UUID]:
    """Return those of the deposits whose records go with them: filed ones, until they are purged."""
    named = {deposit for deposit in deposits if deposit}
    query = Deposit.select(Deposit.id).where(
        Deposit.id.in_(list(named)), Deposit.filed_at.is_null(False), Deposit.purged_at.is_null()
    )
    return frozenset(row.id for row in query)


def _spanned(lines: list[journal.Line], group: Group, kept: frozenset[UUID]) -> Iterator[Range]:
    """Join records that go into ranges, across those of `journal.*`, which hold nobody's data and stay."""
    first = last = None
    for line in lines:
        payload = line.proof if group == "proof" else line.trace
        if line.operation.startswith("journal."):
            continue
        if payload is not None and line.deposit not in kept:
            first, last = line.sequence if first is None else first, line.sequence
        elif first is not None and last is not None:
            yield Range(first, last, group)
            first = None
    if first is not None and last is not None:
        yield Range(first, last, group)


def _is_due(group: Group, time: str, now: datetime) -> bool:
    return purge.months_after(time, purge.MONTHS[group]) <= record.format_time(now - MARGIN)


def _erase(gateways: Gateways, log: str, ranges: list[Range]) -> int:
    """Erase, and announce it in the open journal, inside the caller's transaction."""
    if not ranges:
        return 0
    erased = 0
    for one in ranges:
        never = JournalRecord.select(JournalRecord.sequence).where(
            JournalRecord.log == log,
            JournalRecord.sequence.between(one.first, one.last),
            JournalRecord.operation.startswith("journal."),
        )
        erased += (
            JournalPayload.update(salt=None, body=None)
            .where(
                JournalPayload.log == log,
                JournalPayload.sequence.between(one.first, one.last),
                JournalPayload.group == one.group,
                JournalPayload.body.is_null(False),
                JournalPayload.sequence.not_in(never),
            )
            .execute()
        )
    clockwork.set_fact(retention.UNSETTLED, gateways.clock.now())
    # Locked: were the journal closed meanwhile, the one that continues it would have to be told whose records went.
    head = models.locked(JournalLog.select().where(JournalLog.closed_at.is_null())).first()
    elsewhere = {"log": log} if head and head.log != log else {}
    told = {"ranges": [one.told() for one in ranges], "reason": "retention", **elsewhere}
    journal.append(gateways, "journal.purged", detail=told)
    return erased
