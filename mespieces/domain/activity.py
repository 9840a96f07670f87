"""The journal's activity: how many operations of each kind were recorded on each day, and nobody's name.

The counts are a projection of the records' headers. The worker brings it up to date in batches, appending never touches
it, the full verification compares it with the chain, and it can always be counted again.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

from peewee import EXCLUDED, SQL, fn

from mespieces import models
from mespieces.models import JournalDay, JournalLog, JournalRecord

BATCH = 10_000
"""Records counted in one transaction."""
FEWEST = 10
"""Fewer operations than this are never told from none, deposits apart, which are the office's own: where little happens, a
count would say that somebody read."""
KINDS: Mapping[str, frozenset[str]] = {
    "deposits": frozenset({"deposit.filed", "document.deposited"}),
    "consultations": frozenset({"document.consulted"}),
    "refusals": frozenset({"recipient.refused", "member.refused", "document.corrupted"}),
}
"""What is counted apart; whatever else is recorded is among `others`."""
COUNTS = (*KINDS, "others")
_KIND = {operation: kind for kind, operations in KINDS.items() for operation in operations}


@dataclass(frozen=True, slots=True)
class Day:
    """One day (UTC): the operations of each of `COUNTS`, None where they are too few to be told."""

    day: date
    counts: Mapping[str, int | None]


def days(now: datetime, length: int) -> list[Day]:
    """Return the last `length` days, today the last: of all journals together, the open one and those it continues."""
    today = now.astimezone(UTC).date()
    wanted = [today - timedelta(days=back) for back in range(length)][::-1]
    sums = [fn.SUM(getattr(JournalDay, kind)).alias(kind) for kind in COUNTS]
    query = JournalDay.select(JournalDay.day, *sums).where(
        JournalDay.log.in_(JournalLog.select(JournalLog.log)),  # by its key, whatever lies before
        JournalDay.day.between(wanted[0].isoformat(), today.isoformat()),
    )
    known = {row.day: row for row in query.group_by(JournalDay.day)}
    return [Day(day, {kind: _sayable(known.get(day.isoformat()), kind) for kind in COUNTS}) for day in wanted]


def keep_up() -> None:
    """Count the records that are not counted yet, batch after batch: those of a journal that was closed meanwhile as well."""
    counted = dict(JournalDay.select(JournalDay.log, fn.MAX(JournalDay.size)).group_by(JournalDay.log).tuples())
    for row in JournalLog.select():
        if counted.get(row.log, 0) < row.size:
            while _count(row.log, row.size):
                pass


def recount() -> None:
    """Forget the counts of every journal and make them anew."""
    with models.write():
        JournalDay.delete().execute()
    keep_up()


class Tally:
    """What the counts of a journal should be, told record by record, to be compared with what is kept."""

    def __init__(self, log: str) -> None:
        self._kept = {row.day: row for row in JournalDay.select().where(JournalDay.log == log)}
        self._counted = max((row.size for row in self._kept.values()), default=0)
        self._seen: Counter[tuple[str, str]] = Counter()

    def feed(self, sequence: int, operation: str, time: str) -> None:
        """Take one record."""
        if sequence < self._counted:
            self._seen[time[:10], operation] += 1

    def wrong(self) -> list[str]:
        """Return the days whose counts are not the records', in order."""
        true: Counter[tuple[str, str]] = Counter()
        for (day, operation), count in self._seen.items():
            true[day, kind_of(operation)] += count
        days = sorted(self._kept.keys() | {day for day, _ in true})
        return [day for day in days if any(getattr(self._kept.get(day), kind, 0) != true[day, kind] for kind in COUNTS)]


def kind_of(operation: str) -> str:
    """Return under which of `COUNTS` an operation is counted."""
    return _KIND.get(operation, "others")


def _sayable(row: JournalDay | None, kind: str) -> int | None:
    count = int(getattr(row, kind)) if row else 0
    return count if count >= FEWEST or kind == "deposits" else None


def _counted(log: str) -> int:
    """Return how many records of `log` are counted."""
    return JournalDay.select(fn.MAX(JournalDay.size)).where(JournalDay.log == log).scalar() or 0


def _count(log: str, size: int) -> bool:
    """Count one batch and tell whether there was any; the reading is done before the head's lock is taken."""
    start = _counted(log)
    stop = min(start + BATCH, size)
    if start >= stop:
        return False
    rows = _rows(log, stop, _read(log, start, stop))
    if not rows:  # cut out of the journal: the verification names them
        return False
    with models.write():
        models.locked(JournalLog.select().where(JournalLog.log == log)).get()
        if _counted(log) == start:  # another worker may have counted them meanwhile
            kept = {getattr(JournalDay, kind): getattr(JournalDay, kind) + getattr(EXCLUDED, kind) for kind in COUNTS}
            JournalDay.insert_many(rows).on_conflict(
                conflict_target=[JournalDay.log, JournalDay.day], update=kept | {JournalDay.size: EXCLUDED.size}
            ).execute()
    return True


def _read(log: str, start: int, stop: int) -> Iterable[tuple[str, str, int]]:
    """Return how often each operation was recorded on each day, among the records `start` ≤ sequence < `stop`."""
    day = fn.SUBSTR(
        JournalRecord.time, SQL("1"), SQL("10")
    )  # written out: PostgreSQL compares parameters with no other
    return (
        JournalRecord.select(day, JournalRecord.operation, fn.COUNT(JournalRecord.sequence))
        .where(JournalRecord.log == log, JournalRecord.sequence >= start, JournalRecord.sequence < stop)
        .group_by(day, JournalRecord.operation)
        .tuples()
    )


def _rows(log: str, stop: int, read: Iterable[tuple[str, str, int]]) -> Sequence[Mapping[str, object]]:
    days: dict[str, dict[str, int]] = {}
    for day, operation, count in read:
        days.setdefault(day, dict.fromkeys(COUNTS, 0))[kind_of(operation)] += count
    return [{"log": log, "day": day, "size": stop, **counts} for day, counts in days.items()]
