"""The journal's Merkle tree as it is published: roots, signed checkpoints, the verification of the whole chain.

The tree is a pure function of the records (RFC 6962): appending never touches it. Complete subtrees are kept as they
are met, so that a root costs O(log n).
"""

import itertools
import json
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from uuid import UUID

import orjson

from mespieces import models
from mespieces.domain import activity, citations, clockwork, journal
from mespieces.gateways import Gateways
from mespieces.models import Fact, JournalCheckpoint, JournalLog, JournalPayload, JournalRecord, JournalSubtree
from mespieces.verifier import merkle, note, purge, record
from mespieces.verifier.chain import Chain

VERIFIED = "journal.verified"
FIRST = 20
"""Findings of one kind that are kept; the others are counted: a ruined journal must not fill the memory."""
AT_ONCE = 1_000  # checkpoints read at once
_NONE = (0, b"")
KEPT_LEVEL = 8  # one row per 256 leaves, and about as many again above


@dataclass(frozen=True, slots=True)
class Head:
    """What anybody may know of the journal: hashes in lowercase hexadecimal."""

    log: str
    origin: str
    size: int
    head: str
    root: str
    time: str


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


def head() -> Head:
    """Return the journal's head and its root at the same size. Raises `JournalClosed`."""
    row = journal.head()
    return Head(row.log, row.origin, row.size, row.head, root(row.log, row.size).hex(), row.time)


def root(log: str, size: int) -> bytes:
    """Return the RFC 6962 root over the first `size` records of `log`."""
    return merkle.root_at(size, subtree(log))


def publish(gateways: Gateways) -> bytes:
    """Sign and keep a checkpoint of the present size, unless it is kept already, and return its note."""
    row = journal.head()
    _keep_subtrees(row.log, row.size)
    found = kept(row.log, row.size)
    if found is not None:
        return bytes(found.note)
    signed = sign(gateways, row, row.size)
    with models.write():
        keep(gateways, row.log, row.size, signed)
    return signed


def keep(gateways: Gateways, log: str, size: int, signed: bytes) -> None:
    """Keep a signed note inside the caller's transaction, unless there is one of that size: it never changes."""
    # Two publishers write the same bytes, for Ed25519 is deterministic. SQLite, which has one writer, refuses even to ignore a second.
    if kept(log, size) is None:
        row = {"log": log, "size": size, "note": signed, "created_at": gateways.clock.now()}
        JournalCheckpoint.insert(row).on_conflict_ignore().execute()


def sign(gateways: Gateways, row: JournalLog, size: int) -> bytes:
    """Return the signed note (C2SP tlog-checkpoint) of `row`'s first `size` records."""
    return note.sign_checkpoint(note.Checkpoint(row.origin, size, root(row.log, size)), gateways.journal_key)


def vkey(gateways: Gateways) -> str:
    """Return the public key that verifies the open journal's checkpoints, in the signed-note form."""
    return vkey_of(gateways, journal.head())


def vkey_of(gateways: Gateways, row: JournalLog) -> str:
    """Return the public key that verifies the checkpoints of a journal, open or closed."""
    return note.format_vkey(note.verifier(row.origin, gateways.journal_key))


def newest() -> JournalCheckpoint | None:
    """Return the newest checkpoint kept of the open journal."""
    row = journal.head()
    query = JournalCheckpoint.select().where(JournalCheckpoint.log == row.log)
    return query.order_by(JournalCheckpoint.size.desc()).first()


def kept(log: str, size: int) -> JournalCheckpoint | None:
    """Return the checkpoint kept of a journal at that size, None when there is none."""
    return JournalCheckpoint.get_or_none(log=log, size=size)


def recent(log: str, limit: int, *, most: int | None = None) -> Sequence[JournalCheckpoint]:
    """Return the newest checkpoints of a journal, newest first; `most` bounds their size."""
    query = JournalCheckpoint.select().where(JournalCheckpoint.log == log)
    if most is not None:
        query = query.where(JournalCheckpoint.size <= most)
    return list(query.order_by(JournalCheckpoint.size.desc()).limit(limit))


def notes(log: str, reach: int = 2**53) -> Iterator[tuple[int, bytes]]:
    """Yield the checkpoints kept of a journal up to the size `reach`, in order: (size, note), in constant memory."""
    kept, after = JournalCheckpoint, 0
    among = kept.select(kept.size, kept.note).where(kept.log == log, kept.size <= reach).order_by(kept.size)
    while rows := list(among.where(kept.size > after).limit(AT_ONCE).tuples()):
        yield from ((size, bytes(note)) for size, note in rows)
        after = rows[-1][0]


def verify(gateways: Gateways) -> Verification:
    """Read the whole journal again, record by record, and those it continues; keep the result and return it.

    What is found in an earlier journal bears its name.
    """
    started = time.perf_counter()
    with journal.snapshot():
        row, findings, counts = journal.head(), [], Counter[str]()
        for found in _walk_all(gateways, row):
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


def last_verification() -> Verification | None:
    """Return the result of the last full verification, None before the first."""
    row = Fact.get_or_none(Fact.name == VERIFIED)
    if row is None:
        return None
    known = json.loads(row.detail)
    return Verification(row.at, known["size"], known["seconds"], tuple(known["findings"]), known["counts"])


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
    chain, tally = Chain(row.log, announced(row)), activity.Tally(row.log)
    published = notes(row.log)
    size, signed = next(published, _NONE)
    key = [note.verifier(row.origin, gateways.journal_key)]
    for line in journal.lines(row.log, stop=row.size):
        before = chain.last
        tally.feed(line.sequence, line.operation, line.time)
        if found := chain.feed(line.header, line.proof, line.trace):
            yield from (f"{f.sequence} {f.code}" for f in found)
        # A header or a payload that cannot be read has been named.
        if (chain.last is not before and not _projects(line, chain)) or (not found and not _belongs(line)):
            yield f"{line.sequence} PROJECTION_ALTERED"
        wrong: list[str] = []
        if size == chain.size:
            wrong = _checkpoint_wrong(signed, chain, key)
            size, signed = next(published, _NONE)
        if cited and cited.known == chain.size and cited.root != chain.root().hex():
            wrong = wrong or [f"{chain.size - 1} CHECKPOINT_MISMATCH"]
        yield from wrong
    yield from (f"{f.sequence} {f.code}" for f in chain.finish())
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
    return itertools.islice(_announced(row.log), 2 * row.size)


def _announced(log: str) -> Iterator[purge.Purge]:
    """Yield every purge announced; a body that is not the one committed to announces nothing, and is named in its turn."""
    query = (
        JournalRecord.select(JournalRecord.header, JournalPayload.salt, JournalPayload.body)
        .join(
            JournalPayload,
            on=((JournalPayload.log == JournalRecord.log) & (JournalPayload.sequence == JournalRecord.sequence)),
        )
        .where(
            JournalRecord.log == log,
            JournalRecord.operation == "journal.purged",
            JournalPayload.group == "proof",
            JournalPayload.body.is_null(False),
        )
        .order_by(JournalRecord.sequence)
        .tuples()
    )
    for header, salt, body in query.iterator():
        with suppress(record.HeaderNotCanonical):
            read = record.parse(bytes(header))
            if record.commit("proof", bytes(salt), bytes(body)) == read.proof:
                yield from purge.announced(read, bytes(body))


def _projects(line: journal.Line, chain: Chain) -> bool:
    """Tell whether the columns beside a header, by which records are found, say what the header says."""
    read = chain.last
    return read is not None and line[:5] == (
        read.sequence, read.previous, chain.head.hex(), read.operation, read.time,
    )  # fmt: skip


def _belongs(line: journal.Line) -> bool:
    """Tell whether the deposit and the office a record is found by are those that its verified payload names.

    They decide to whom it is shown, and what attestations say. Once the payload was purged nothing tells any more.
    """
    if line.proof is None:
        return True
    what = orjson.loads(line.proof[1])["object"]
    return what.get("deposit") == _spelled(line.deposit) and what.get("office") == _spelled(line.office)


@lru_cache(maxsize=1024)
def _spelled(name: UUID | None) -> str | None:
    return None if name is None else str(name)


def _checkpoint_wrong(signed: bytes, chain: Chain, key: list[note.Verifier]) -> list[str]:
    try:
        published = note.read_checkpoint(signed, key)
    except (note.NoteRefused, note.CheckpointRefused):
        return [f"{chain.size - 1} BAD_SIGNATURE"]
    return [] if published.root == chain.root() else [f"{chain.size - 1} CHECKPOINT_MISMATCH"]


def subtree(log: str, *, neighbours: bool = False) -> merkle.Subtree:
    """Return how hashes of complete subtrees of `log` are found: kept from 256 leaves on, computed below.

    With `neighbours`, leaves are read and remembered 256 at a time: for many proofs, within one `journal.snapshot()`.
    """

    @lru_cache(64)
    def block(number: int) -> list[bytes]:
        return read(number << KEPT_LEVEL, (number + 1) << KEPT_LEVEL)

    def within(start: int, end: int) -> list[bytes]:
        first = start >> KEPT_LEVEL
        return block(first)[start - (first << KEPT_LEVEL) : end - (first << KEPT_LEVEL)]

    def read(start: int, end: int) -> list[bytes]:
        query = JournalRecord.select(JournalRecord.hash).where(
            JournalRecord.log == log, JournalRecord.sequence >= start, JournalRecord.sequence < end
        )
        return [bytes.fromhex(row.hash) for row in query.order_by(JournalRecord.sequence)]

    def kept(level: int, index: int) -> bytes | None:
        row = JournalSubtree.get_or_none(log=log, level=level, index=index)
        return bytes(row.hash) if row else None

    return merkle.stored(within if neighbours else read, kept, KEPT_LEVEL)


def _keep_subtrees(log: str, size: int) -> None:
    """Keep the complete subtrees up to `size` that are not kept yet."""
    tree = subtree(log)
    query = JournalSubtree.select().where(JournalSubtree.log == log, JournalSubtree.level == KEPT_LEVEL)
    last = query.order_by(JournalSubtree.index.desc()).first()
    done = (last.index + 1 if last else 0) << KEPT_LEVEL
    for end in range(done + (1 << KEPT_LEVEL), size + 1, 1 << KEPT_LEVEL):
        rows = [
            {"log": log, "level": level, "index": index, "hash": tree(level, index)}
            for level, index in merkle.completed(end, KEPT_LEVEL)
        ]
        with models.write():
            JournalSubtree.insert_many(rows).on_conflict_ignore().execute()
