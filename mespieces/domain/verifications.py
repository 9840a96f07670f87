"""The full verification: every journal read again, record by record, as the tables hold it today."""

import itertools
import json
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

from mespieces import models
from mespieces.domain import activity, checkpoints, citations, clockwork, continuity, contradictions, evidence, journal
from mespieces.gateways import Gateways
from mespieces.models import Fact, JournalLog
from mespieces.verifier import note, purge
from mespieces.verifier.chain import Chain

VERIFIED = "journal.verified"
OVERDUE = timedelta(days=2)
"""The worker reads the journal again every day: when it has not for so long, something keeps it from it."""
FIRST = 20
"""Findings of one kind that are kept; the others are counted: a ruined journal must not fill the memory."""
_NONE = (0, b"")


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


def verify(gateways: Gateways) -> Verification:
    """Read the whole journal again, record by record, and those it continues; keep the result and return it.

    What is found in an earlier journal bears its name.
    """
    started = time.perf_counter()
    with journal.snapshot():
        row, findings, counts = journal.head(), [], Counter[str]()
        for found in itertools.chain(_walk_all(gateways, row), _outside(gateways, row)):
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
    """Return the result of the last full verification, None before the first."""
    row = Fact.get_or_none(Fact.name == VERIFIED)
    if row is None:
        return None
    known = json.loads(row.detail)
    return Verification(row.at, known["size"], known["seconds"], tuple(known["findings"]), known["counts"])


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


def _code_of(found: str) -> str:
    return found.split(" ")[1]


def _walk_all(gateways: Gateways, newest: JournalLog) -> Iterator[str]:
    """Yield the findings of every journal, from the newest back: each cites how the one before ended."""
    rows, citations_by = {row.log: row for row in JournalLog.select()}, citations.every()
    name, cited = newest.log, None
    while name in rows:
        row = rows.pop(name)
        named = f" {name}" if row.closed_at else ""
        yield from (f"{found}{named}" for found in _walk(gateways, row, cited))
        if cited := citations_by.get(name):
            ended = rows.get(cited.log)
            if ended is None:
                yield f"0 TAIL_TRUNCATED {cited.log}"
            elif cited.size == ended.size and cited.head != ended.head:
                yield f"0 PREVIOUS_MISMATCH{named}"
        name = cited.log if cited and cited.log in rows else next(iter(rows), "")


def _walk(gateways: Gateways, row: JournalLog, cited: citations.Cited | None) -> Iterator[str]:
    """Yield the findings of the chain up to `row`'s size, the projections and the kept checkpoints included.

    `cited` is what the journal that continues it says of its end: what it says was lost is no fault of the tables.
    """
    chain, tally, rows = Chain(row.log, announced(row)), activity.Tally(row.log), contradictions.Comparison(row.log)
    published = checkpoints.notes(row.log)
    size, signed = next(published, _NONE)
    key = [note.verifier(row.origin, gateways.journal_key)]
    for line in journal.lines(row.log, stop=row.size):
        before = chain.last
        tally.feed(line.sequence, line.operation, line.time)
        if found := chain.feed(line.header, line.proof, line.trace):
            yield from (f"{f.sequence} {f.code}" for f in found)
        # A header or a payload that cannot be read has been named.
        if (chain.last is not before and not _projects(line, chain)) or (
            chain.proof is not None and not _belongs(line, chain.proof)
        ):
            yield f"{line.sequence} PROJECTION_ALTERED"
        yield from (f"{sequence} TABLE_ALTERED" for sequence in rows.feed(line, verified=not found))
        wrong: Sequence[str] = ()
        if size == chain.size:
            wrong = _checkpoint_wrong(signed, chain, key)
            size, signed = next(published, _NONE)
        if cited and cited.known == chain.size and cited.root != chain.root().hex():
            wrong = wrong or [f"{chain.size - 1} CHECKPOINT_MISMATCH"]
        if wrong:
            yield from wrong
    yield from (f"{f.sequence} {f.code}" for f in chain.finish())
    yield from (f"{sequence} TABLE_ALTERED" for sequence in rows.finish())
    ended, known = (cited.size, cited.known) if cited else (0, 0)
    whole = (chain.size, chain.head.hex()) == (row.size, row.head) and chain.size >= ended
    reach = max(itertools.chain((size,), (beyond for beyond, _ in published)))
    if not whole or reach > max(chain.size, known):
        yield f"{chain.size} TAIL_TRUNCATED"
    yield from (f"{day} ACTIVITY_ALTERED" for day in tally.wrong())


def announced(row: JournalLog) -> Iterator[purge.Purge]:
    """Yield the purges a journal announces: read beforehand, for they stand after what they explain.

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
