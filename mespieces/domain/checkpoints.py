"""The journal's Merkle tree as it is published: roots, signed checkpoints.

The tree is a pure function of the records (RFC 6962): appending never touches it. Complete subtrees are kept as they
are met, so that a root costs O(log n).
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from mespieces import models
from mespieces.domain import journal
from mespieces.gateways import Gateways
from mespieces.models import JournalCheckpoint, JournalLog, JournalRecord, JournalSubtree
from mespieces.verifier import merkle, note

AT_ONCE = 1_000  # checkpoints read at once
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
