"""What a journal announces as erased, and how early it may be (the format's « Purge », after art. 5)."""

from bisect import bisect_right
from calendar import monthrange
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Any, NamedTuple

from mespieces.verifier import canonical
from mespieces.verifier.findings import Code, Finding
from mespieces.verifier.record import Group, Header

BEYOND = 2**53
"""Where an announcement that another journal bears stands in the one that it is about: beyond its end."""
MONTHS: dict[Group, int] = {"proof": 18, "trace": 12}
ENDS_OF_DEPOSIT = frozenset({"deposit.filed", "deposit.withdrawn"})


class Purge(NamedTuple):
    """One announced range: by which record and when, which records and group, and the filing that started the delay.

    `log` is the journal that they are of: the one that announces, or one that it says it continues.
    """

    announced: int
    time: str
    first: int
    last: int
    group: Group
    filed: int | None
    log: str


def announced(header: Header, body: bytes) -> list[Purge]:
    """Return what a `journal.purged` record announces; a range that is not of the format's form announces nothing."""
    try:
        detail: Any = canonical.parse_object(body).get("detail")
    except canonical.NotCanonical:
        return []
    ranges = detail.get("ranges") if isinstance(detail, dict) else None
    log = _about(header, detail) if isinstance(detail, dict) else None
    found = [_range(header, log, item) for item in ranges] if log and isinstance(ranges, list) else []
    return [purge for purge in found if purge]


def earlier(log: str, before: Mapping[str, str]) -> Iterator[str]:
    """Yield the journals that `log` continues, the last one first; `before` tells which one each journal cites."""
    seen = {log}
    while (log := before.get(log, "")) and log not in seen:
        seen.add(log)
        yield log


def about(purges: Iterable[Purge], log: str, by: str) -> Iterator[Purge]:
    """Yield which of the purges that journal `by` announces are of `log`, itself or one that comes before it."""
    for one in purges:
        if one.log == log:
            # The whole of an earlier journal stands before what a later one announces.
            yield one if log == by else one._replace(announced=BEYOND)


def bounded(purges: Iterable[Purge], stamped: Mapping[int, str]) -> Iterator[Purge]:
    """Yield purges, each made at the latest when a third party dated it, whatever its own clock said.

    `stamped` is the earliest checked date over each checkpoint, by its size.
    """
    sizes = sorted(stamped)
    earliest = list(accumulate((stamped[size] for size in reversed(sizes)), min))[::-1]
    for one in purges:
        place = bisect_right(sizes, one.announced)
        yield one._replace(time=min([one.time, *earliest[place : place + 1]]))


def months_after(time: str, months: int) -> str:
    """Return the header time `months` calendar months later, on the same day-number or the month's last day."""
    months += int(time[:4]) * 12 + int(time[5:7]) - 1
    year, month = divmod(months, 12)
    if year > 9999:
        return "9999-12-31T23:59:59.999999Z"
    day = min(int(time[8:10]), monthrange(year, month + 1)[1])
    return f"{year:04}-{month + 1:02}-{day:02}{time[10:]}"


class Ledger:
    """Judges absent payloads against what is announced, in one pass and without remembering records."""

    def __init__(self, purges: Iterable[Purge]) -> None:
        self._waiting = sorted(
            (_Watched(purge) for purge in purges), key=lambda watched: watched.purge.first, reverse=True
        )
        self._open: list[_Watched] = []
        self._by_filing: dict[int, list[_Watched]] = {}
        for watched in self._waiting:
            if watched.purge.group == "proof" and watched.purge.filed is not None:
                self._by_filing.setdefault(watched.purge.filed, []).append(watched)

    @property
    def idle(self) -> bool:
        """Whether no announcement waits for a record to go by."""
        return not self._by_filing

    def absent(self, header: Header, group: Group) -> Iterator[Finding]:
        """Judge one absent payload: unannounced, announced too early, or of a kind that is never erased."""
        covering = [watched for watched in self._covering(header.sequence) if watched.purge.group == group]
        if not covering or header.operation.startswith("journal."):
            code = Code.PURGED_TOO_EARLY if covering else Code.PAYLOAD_MISSING
            yield Finding(code, header.sequence, header.log, group)
            return
        for watched in covering:
            if not (group == "proof" and watched.purge.filed is not None):
                watched.allowed = watched.purge.time >= months_after(header.time, MONTHS[group])
            yield from watched.touch(header)

    def passed(self, header: Header) -> Iterator[Finding]:
        """Note that a record went by: announcements that count from it can now be judged."""
        for watched in self._by_filing.pop(header.sequence, ()):
            due = months_after(header.time, MONTHS["proof"])
            watched.allowed = header.operation in ENDS_OF_DEPOSIT and watched.purge.time >= due
            yield from watched.judge(header.log)

    def finish(self, log: str) -> Iterator[Finding]:
        """Judge the announcements whose filing never came."""
        for watched in (item for group in self._by_filing.values() for item in group):
            watched.allowed = False
            yield from watched.judge(log)

    def _covering(self, sequence: int) -> list["_Watched"]:
        while self._waiting and self._waiting[-1].purge.first <= sequence:
            self._open.append(self._waiting.pop())
        self._open = [watched for watched in self._open if sequence <= watched.purge.last]
        return self._open


class _Watched:
    """A purge on which judgement may wait: the first absent payload it explains, and whether it was due."""

    __slots__ = ("allowed", "blamed", "purge", "touched")

    def __init__(self, purge: Purge) -> None:
        # A range may not reach its own record: what it says of later ones is no announcement.
        self.purge = purge._replace(last=min(purge.last, purge.announced - 1))
        self.allowed: bool | None = None
        self.touched: int | None = None
        self.blamed = False

    def touch(self, header: Header) -> Iterator[Finding]:
        # Without a filing each record has its own term: the one to name is the first that was not due.
        if self.touched is None or (self.allowed is False and not self.blamed):
            self.touched = header.sequence
        yield from self.judge(header.log)

    def judge(self, log: str) -> Iterator[Finding]:
        if self.touched is not None and self.allowed is False and not self.blamed:
            self.blamed = True
            yield Finding(Code.PURGED_TOO_EARLY, self.touched, log, self.purge.group)


def _about(header: Header, detail: Mapping[str, Any]) -> str | None:
    """Return the journal that an announcement is about, None when what it names can be none: its own is never named."""
    if "log" not in detail:
        return header.log
    named = detail["log"]
    return named if isinstance(named, str) and named != header.log else None


def _range(header: Header, log: str, item: Any) -> Purge | None:
    if not isinstance(item, dict):
        return None
    group, first, last, filed = (item.get(key) for key in ("group", "from", "to", "filed"))
    if not isinstance(group, str) or group not in MONTHS:
        return None
    if not isinstance(first, int) or not isinstance(last, int) or not isinstance(filed, int | None):
        return None
    if isinstance(filed, bool) or not 0 <= first <= last:
        return None
    return Purge(header.sequence, header.time, first, last, group, filed, log)
