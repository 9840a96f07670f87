"""The full verification: every journal read again, record by record, as the tables hold it today."""

import itertools
import json
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from typing import Any
from uuid import UUID

from mespieces import models
from mespieces.domain import (
    activity,
    anchors,
    checkpoints,
    citations,
    clockwork,
    continuity,
    contradictions,
    evidence,
    journal,
    purges,
    subtrees,
    tokens,
)
from mespieces.gateways import Gateways
from mespieces.models import Fact, JournalLog
from mespieces.verifier import note, purge
from mespieces.verifier.chain import Chain

logger = logging.getLogger(__name__)

VERIFIED = "journal.verified"
OVERDUE = timedelta(days=2)
"""The worker reads the journal again every hour: when it has not for so long, something keeps it from it."""
FIRST = 20
"""Findings of one kind that are kept; the others are counted: a ruined journal must not fill the memory."""
STEP = 2_000
"""Records read between two rests."""
_NONE = (0, b"")


class Beside(StrEnum):
    """What is found wrong beside the records (`docs/journal.md`): the format names what is wrong with the records themselves."""

    PROJECTION_ALTERED = "PROJECTION_ALTERED"
    TABLE_ALTERED = "TABLE_ALTERED"
    SUBTREE_ALTERED = "SUBTREE_ALTERED"
    ACTIVITY_ALTERED = "ACTIVITY_ALTERED"
    VALUE_UNREADABLE = "VALUE_UNREADABLE"


@dataclass(frozen=True, slots=True)
class Verification:
    """The result of a full verification: what was found wrong (nothing when intact), `SEQUENCE CODE` or `DAY CODE`.

    `findings` are the `FIRST` of each code, in the order they were found; `counts` tells how many there were of each.
    """

    at: datetime
    size: int
    seconds: float
    findings: tuple[str, ...]
    counts: dict[str, int]


Lines = Callable[[str, int], Iterator[journal.Line]]
"""Reads the records of a journal, up to a size."""


def verify(gateways: Gateways, *, gently: bool = False) -> Verification:
    """Read the whole journal again, record by record, and those it continues; keep the result and return it.

    What is found in an earlier journal bears its name. `gently` leaves half of a core to those who are served meanwhile.
    """
    started, lines = time.perf_counter(), _gently if gently else _steadily
    with journal.snapshot():
        row, findings, counts = journal.head(), [], Counter[str]()
        everywhere = _walk_all(gateways, row, lines), _astray(), _outside(gateways, row)
        for found in itertools.chain.from_iterable(everywhere):
            code = _code_of(found)
            counts[code] += 1
            if counts[code] <= FIRST:
                findings.append(found)
    taken = time.perf_counter() - started
    result = Verification(gateways.clock.now(), row.size, taken, tuple(findings), dict(counts))
    told = {"size": result.size, "seconds": result.seconds, "findings": findings, "counts": result.counts}
    with models.write():
        clockwork.set_fact(VERIFIED, result.at, json.dumps(told))
    return result


def by_code(found: Verification, most: int = FIRST) -> list[tuple[str, list[str], int]]:
    """Return, code by code, the first findings, `most` at most, and how many others there were."""
    told = []
    for code, count in found.counts.items():
        first = [one for one in found.findings if _code_of(one) == code][:most]
        told.append((code, first, count - len(first)))
    return told


def last() -> Verification | None:
    """Return the result of the last full verification, None before the first, or when what was kept of it says nothing."""
    row = Fact.get_or_none(Fact.name == VERIFIED)
    try:
        known = json.loads(row.detail) if row else {}
        return Verification(row.at, known["size"], known["seconds"], tuple(known["findings"]), known["counts"])
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def _outside(gateways: Gateways, row: JournalLog) -> Iterator[str]:
    """Compare the open journal with the checkpoint kept outside the database."""
    try:
        continuity.check(gateways.settings.newest_checkpoint_file)
    except continuity.JournalRestored as restored:
        known = int(str(restored.details["known"]))
        yield f"{row.size} TAIL_TRUNCATED" if known > row.size else f"{known - 1} CHECKPOINT_MISMATCH"
    except continuity.CheckpointUnreadable:
        pass  # it says nothing of the journal; who starts the service is told


def overdue(found: Verification, now: datetime) -> bool:
    """Tell whether a verification is so old that it says nothing of the journal of today."""
    return now - found.at > OVERDUE


def _steadily(log: str, size: int) -> Iterator[journal.Line]:
    return journal.lines(log, stop=size)


def _gently(log: str, size: int) -> Iterator[journal.Line]:
    """Rest after each batch as long as it took."""
    since = time.perf_counter()
    for count, line in enumerate(journal.lines(log, stop=size), 1):
        yield line
        if count % STEP == 0:
            time.sleep(time.perf_counter() - since)
            since = time.perf_counter()


def _code_of(found: str) -> str:
    return found.split(" ")[1]


def _walk_all(gateways: Gateways, newest: JournalLog, lines: Lines) -> Iterator[str]:
    """Yield the findings of every journal, from the newest back: each cites how the one before ended."""
    rows, citations_by = {row.log: row for row in JournalLog.select()}, citations.every()
    name, cited = newest.log, None
    while name in rows:
        row = rows.pop(name)
        named = f" {name}" if row.closed_at else ""
        yield from (f"{found}{named}" for found in _walk(gateways, row, cited, lines))
        if cited := citations_by.get(name):
            ended = rows.get(cited.log)
            if ended is None:
                yield f"0 TAIL_TRUNCATED {cited.log}"
            elif cited.size == ended.size and cited.head != ended.head:
                yield f"0 PREVIOUS_MISMATCH{named}"
        name = cited.log if cited and cited.log in rows else next(iter(rows), "")


def _walk(gateways: Gateways, row: JournalLog, cited: citations.Cited | None, lines: Lines) -> Iterator[str]:
    """Yield the findings of the chain up to `row`'s size, all that stands beside it and the kept checkpoints included.

    `cited` is what the journal that continues it says of its end: what it says was lost is no fault of the tables.
    A value that is nothing the service writes ends the walk, and is named by the record that was reached.
    """
    chain = Chain(row.log)
    try:
        purged = list(announced(row))
        chain = Chain(row.log, purged)
        yield from _compared(gateways, row, cited, lines(row.log, row.size), chain, _Beside(row.log, purged))
    except (ValueError, TypeError, AttributeError):
        logger.exception("the journal %s is not read beyond record %d", row.log, chain.size)
        yield f"{chain.size} {Beside.VALUE_UNREADABLE}"


def _compared(
    gateways: Gateways, row: JournalLog, cited: citations.Cited | None, records: Iterator[journal.Line], chain: Chain,
    beside: "_Beside",
) -> Iterator[str]:  # fmt: skip
    """Feed every record to the chain, and to what stands beside it."""
    growth, stored = subtrees.Growth(chain.frontier), subtrees.Comparison(row.log)
    published = checkpoints.notes(row.log)
    size, signed = next(published, _NONE)
    key = [note.verifier(row.origin, gateways.journal_key)]
    for line in records:
        before, closes = chain.last, growth.closes()
        # A million times: what finds nothing must cost nothing.
        if found := chain.feed(line.header, line.proof, line.trace):
            yield from (f"{f.sequence} {f.code}" for f in found)
        if wrong := beside.feed(line, chain, parsed=chain.last is not before):
            yield from wrong
        if closes:
            yield from (
                _at(line.sequence + 1, Beside.SUBTREE_ALTERED)
                for one in growth.completed(chain.head)
                if stored.differs(*one)
            )
        wrong = ()
        if size == chain.size:
            wrong = _checkpoint_wrong(signed, chain, key)
            yield from beside.published(size, signed)
            size, signed = next(published, _NONE)
        if cited and cited.known == chain.size and cited.root != chain.root().hex():
            wrong = wrong or [f"{chain.size - 1} CHECKPOINT_MISMATCH"]
        if wrong:
            yield from wrong
    yield from (f"{f.sequence} {f.code}" for f in chain.finish())
    ended, known = (cited.size, cited.known) if cited else (0, 0)
    whole = (chain.size, chain.head.hex()) == (row.size, row.head) and chain.size >= ended
    reach = max(itertools.chain((size,), (beyond for beyond, _ in published)))
    if not whole or reach > max(chain.size, known):
        yield f"{chain.size} TAIL_TRUNCATED"
    if whole and chain.time != row.time:  # what the next record is compared with, and pages tell
        yield f"{chain.size - 1} {Beside.PROJECTION_ALTERED}"
    yield from beside.finish()
    yield from (f"{sequence} {Beside.TABLE_ALTERED}" for sequence in contradictions.orphans(row.log, chain.size))
    yield from (
        f"{subtrees.last_record(one)} {Beside.SUBTREE_ALTERED}" for one in subtrees.strangers(row.log, chain.size)
    )


def _astray() -> Iterator[str]:
    """Yield the rows that tell of records which no journal could have."""
    yield from (f"{sequence} {Beside.TABLE_ALTERED}" for sequence in contradictions.astray())


def _at(size: int, code: str) -> str:
    """Name a fault of what covers the first `size` records, at the last of them."""
    return f"{size - 1} {code}"


class _Beside:
    """What stands beside the records, told record by record, and compared with them."""

    def __init__(self, log: str, purged: Sequence[purge.Purge]) -> None:
        self._tally, self._rows = activity.Tally(log), contradictions.Comparison(log)
        self._tokens, self._owners = tokens.Comparison(log), purges.Owners(log, purged)

    def feed(self, line: journal.Line, chain: Chain, *, parsed: bool) -> Sequence[str]:
        """Take the record that the chain has just read: whether its header could be. What cannot be read has been named."""
        found: list[str] = []
        self._tally.feed(line.sequence, line.operation, line.time)
        if (
            line.stray
            or (parsed and not _projects(line, chain))
            or (chain.proof is not None and not _belongs(line, chain.proof))
        ):
            found.append(f"{line.sequence} {Beside.PROJECTION_ALTERED}")
        if differing := self._rows.feed(line, chain.last if parsed else None, chain.proof):
            found += [f"{sequence} {Beside.TABLE_ALTERED}" for sequence in differing]
        if line.proof is None and not self._owners.agree(line):
            found.append(f"{line.sequence} PURGED_TOO_EARLY")
        if chain.proof is not None and line.operation == anchors.ANCHORED:
            found += [f"{one} BAD_TIMESTAMP" for one in self._tokens.anchored(line.sequence, chain.proof)]
        return found

    def published(self, size: int, signed: bytes) -> Iterator[str]:
        """Take a checkpoint that was reached."""
        yield from (f"{one} BAD_TIMESTAMP" for one in self._tokens.over(size, signed))

    def finish(self) -> Iterator[str]:
        """Yield what only the end tells."""
        yield from (f"{sequence} {Beside.TABLE_ALTERED}" for sequence in self._rows.finish())
        yield from (f"{one} BAD_TIMESTAMP" for one in self._tokens.finish())
        yield from (f"{day} {Beside.ACTIVITY_ALTERED}" for day in self._tally.wrong())


def announced(row: JournalLog) -> Iterator[purge.Purge]:
    """Yield the purges announced of a journal: read beforehand, for they stand after what they explain, or in a later one.

    No journal has more to purge than its payloads, two a record: what a forged one announces beyond explains nothing.
    """
    return itertools.islice(evidence.purges(row.log), 2 * row.size)


def _projects(line: journal.Line, chain: Chain) -> bool:
    """Tell whether the columns beside a header, by which records are found, say what the header says."""
    read = chain.last
    return read is not None and line[:5] == (
        read.sequence, read.previous, chain.head.hex(), read.operation, read.time,
    )  # fmt: skip


def _belongs(line: journal.Line, proof: Mapping[str, Any]) -> bool:
    """Tell whether the deposit and the office a record is found by are those that its verified payload names.

    They decide to whom it is shown, and what attestations say. Once the payload was purged nothing tells any more.
    """
    what = proof.get("object")
    return (
        isinstance(what, dict)
        and what.get("deposit") == _spelled(line.deposit)
        and what.get("office") == _spelled(line.office)
    )


@lru_cache(maxsize=1024)
def _spelled(name: UUID | None) -> str | None:
    return None if name is None else str(name)


def _checkpoint_wrong(signed: bytes, chain: Chain, key: list[note.Verifier]) -> list[str]:
    try:
        published = note.read_checkpoint(signed, key)
    except (note.NoteRefused, note.CheckpointRefused):
        return [f"{chain.size - 1} BAD_SIGNATURE"]
    return [] if published.root == chain.root() else [f"{chain.size - 1} CHECKPOINT_MISMATCH"]
