"""The journal's Merkle tree as it is published: roots, signed checkpoints.

The tree is a pure function of the records (RFC 6962): appending never touches it. Complete subtrees are kept as they
are met, so that a root costs O(log n).
"""

import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

from peewee import chunked

from mespieces import models
from mespieces.domain import journal, subtrees
from mespieces.errors import Unavailable
from mespieces.gateways import Gateways
from mespieces.models import JournalCheckpoint, JournalLog, JournalRecord, JournalSubtree
from mespieces.verifier import merkle, note, record

log = logging.getLogger(__name__)

AT_ONCE = 1_000  # checkpoints read at once
KEPT_LEVEL = subtrees.LOWEST
MOST_STRANGERS = 100  # checkpoints that are not ours looked through: none is, unless somebody else writes in the tables


class TreeAltered(Unavailable):
    """The tables no longer give the root of the newest checkpoint: whatever were signed now would contradict it."""

    message = (
        "Le journal de ce service ne correspond plus à ce qui en a été publié : rien de nouveau ne peut être signé "
        "tant que la personne qui exploite le service ne l’a pas remis en état. Les documents restent consultables."
    )
    advice = "Réessayer n’y changera rien. Appelez le numéro figurant sur l’acte, et donnez la référence ci-dessous."


@dataclass(frozen=True, slots=True)
class Head:
    """What anybody may know of the journal: hashes in lowercase hexadecimal."""

    log: str
    origin: str
    size: int
    head: str
    root: str
    time: str
    sound: bool = True
    """Whether the tables agree with what was published: if not, this is the newest checkpoint, and nothing more is signed."""


def head(gateways: Gateways) -> Head:
    """Return the journal's head and its root at the same size. Raises `JournalClosed`.

    Where the tables contradict our newest checkpoint, it is the one of that checkpoint: what is printed or mailed stays true.
    """
    row, found = _ends(gateways)
    try:
        tree = _grown(row, found)
        return Head(row.log, row.origin, row.size, row.head, tree.root().hex(), row.time)
    except TreeAltered:
        known = found.checkpoint if found else note.Checkpoint(row.origin, 0, merkle.EMPTY_ROOT)
        last = JournalRecord.get_or_none(log=row.log, sequence=known.size - 1)
        head, time = (last.hash, last.time) if last else (record.FIRST_PREVIOUS, "")
        return Head(row.log, row.origin, known.size, head, known.root.hex(), time, sound=False)


def root(log: str, size: int) -> bytes:
    """Return the RFC 6962 root over the first `size` records of `log`."""
    return merkle.root_at(size, subtree(log))


def contains(log: str, known: note.Checkpoint) -> bool:
    """Tell whether the first records of `log` are those of a checkpoint, read one by one where the stored hashes deny it."""
    return root(log, known.size) == known.root or _read_root(log, known.size) == known.root


def publish(gateways: Gateways) -> bytes:
    """Sign and keep a checkpoint of the present size, unless it is kept already, and return its note.

    1. The tables still give the root of our newest checkpoint.
    2. What was stored beside the records since then is made from them, never believed; they are those of the chain.
    3. Only then is the new root signed, which extends the one before.

    Raises `JournalClosed`, `TreeAltered`.
    """
    row, found = _ends(gateways)
    try:
        tree = _frontier(row, found)  # (1)
        if found is not None and found.checkpoint.size == row.size:
            return found.signed
        _keep_subtrees(row.log, subtrees.grow(tree, row.log, row.size, _chained))  # (2)
        signed = sign(gateways, row, row.size, tree.root())
        with models.write():
            if not keep(gateways, row.log, row.size, signed):  # (3)
                raise TreeAltered
    except TreeAltered:
        log.critical(
            "nothing is signed: the journal is not the one of its newest checkpoint, or of its own chain; see docs/journal.md"
        )
        raise
    return signed


def finish(gateways: Gateways, row: JournalLog) -> note.Checkpoint | None:
    """Sign and keep a checkpoint of the open journal's end inside the transaction that closes it, and return what it says.

    None where nothing of ours was published that it would extend: a journal whose key was replaced, or that was changed.
    """
    found = newest(gateways, row)
    if found is None:
        return None
    try:
        tree = _grown(row, found)
    except TreeAltered:
        return None
    if not keep(gateways, row.log, row.size, sign(gateways, row, row.size, tree.root())):
        return None
    return note.Checkpoint(row.origin, row.size, tree.root())


def keep(gateways: Gateways, log: str, size: int, signed: bytes) -> bool:
    """Keep a signed note inside the caller's transaction unless another of that size is, which never changes; tell whether it is."""
    # Two publishers write the same bytes, for Ed25519 is deterministic. SQLite, which has one writer, refuses even to ignore a second.
    if kept(log, size) is None:
        row = {"log": log, "size": size, "note": signed, "created_at": gateways.clock.now()}
        JournalCheckpoint.insert(row).on_conflict_ignore().execute()
    return bytes(JournalCheckpoint.get(log=log, size=size).note) == signed


def sign(gateways: Gateways, row: JournalLog, size: int, root: bytes) -> bytes:
    """Return the signed note (C2SP tlog-checkpoint) of `row`'s first `size` records, whose root is given."""
    return note.sign_checkpoint(note.Checkpoint(row.origin, size, root), gateways.journal_key)


def agrees(gateways: Gateways, row: JournalLog, size: int, root: bytes) -> bool:
    """Tell whether the checkpoint kept of that size is ours and has this root; none, of no record, agrees with anything."""
    if size == 0:
        return True
    found = kept(row.log, size)
    known = found and _own(gateways, row, found)
    return known is not None and known.root == root


def vkey(gateways: Gateways) -> str:
    """Return the public key that verifies the open journal's checkpoints, in the signed-note form."""
    return vkey_of(gateways, journal.head())


def vkey_of(gateways: Gateways, row: JournalLog) -> str:
    """Return the public key that verifies the checkpoints of a journal, open or closed."""
    return note.format_vkey(note.verifier(row.origin, gateways.journal_key))


class Published(NamedTuple):
    """A checkpoint of ours: the signed note's bytes, and what they say."""

    signed: bytes
    checkpoint: note.Checkpoint


def newest(gateways: Gateways, row: JournalLog) -> Published | None:
    """Return our newest checkpoint kept of a journal; a row that we never signed says nothing, and is passed over."""
    query = JournalCheckpoint.select().where(JournalCheckpoint.log == row.log).order_by(JournalCheckpoint.size.desc())
    for found in query.limit(MOST_STRANGERS):
        if known := _own(gateways, row, found):
            return Published(bytes(found.note), known)
    return None


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
        return subtrees.leaves(log, number << KEPT_LEVEL, (number + 1) << KEPT_LEVEL)

    def within(start: int, end: int) -> list[bytes]:
        first = start >> KEPT_LEVEL
        return block(first)[start - (first << KEPT_LEVEL) : end - (first << KEPT_LEVEL)]

    def read(start: int, end: int) -> list[bytes]:
        return subtrees.leaves(log, start, end)

    def kept(level: int, index: int) -> bytes | None:
        row = JournalSubtree.get_or_none(log=log, level=level, index=index)
        return bytes(row.hash) if row else None

    return merkle.stored(within if neighbours else read, kept, KEPT_LEVEL)


def _ends(gateways: Gateways) -> tuple[JournalLog, Published | None]:
    """Return the open journal's row and our newest checkpoint, read first: no other process makes it the longer one."""
    while True:
        found = newest(gateways, before := journal.head())
        row = journal.head()
        if before.log == row.log:
            return row, found


def _own(gateways: Gateways, row: JournalLog, found: JournalCheckpoint) -> note.Checkpoint | None:
    """Return what a kept checkpoint says, our own signature under it verified, None when it is not ours."""
    with suppress(note.NoteRefused, note.CheckpointRefused):
        known = note.read_checkpoint(bytes(found.note), [note.verifier(row.origin, gateways.journal_key)])
        return known if known.size == found.size else None
    return None


def _frontier(row: JournalLog, published: Published | None) -> merkle.Frontier:
    """Return the tree as it was at the newest checkpoint, whose root it has. Raises `TreeAltered`.

    It goes on growing from the records alone, so that what is stored beside them makes no root that denies this one.
    """
    if published is None:
        return merkle.Frontier()
    known = published.checkpoint
    if known.size <= row.size:
        found = merkle.frontier_at(known.size, subtree(row.log))
        if found.root() == known.root:
            return found
    raise TreeAltered


def _grown(row: JournalLog, published: Published | None) -> merkle.Frontier:
    """Return the tree of all the records. Raises `TreeAltered`."""
    tree = _frontier(row, published)
    for _ in subtrees.grow(tree, row.log, row.size, _chained):
        pass
    return tree


def _chained(log: str, start: int, end: int) -> list[bytes]:
    """Return the hashes of records, which are those that the next ones were chained to. Raises `TreeAltered`."""
    found = subtrees.leaves(log, start, end)
    query = JournalRecord.select(JournalRecord.hash).where(
        JournalRecord.log == log, JournalRecord.sequence >= start, JournalRecord.sequence < end
    )
    # A head that counts more records than there are would have them signed for.
    if len(found) != end - start or [leaf.hex() for leaf in found] != [
        kept for (kept,) in query.order_by(JournalRecord.sequence).tuples()
    ]:
        raise TreeAltered
    return found


def _read_root(log: str, size: int) -> bytes:
    frontier = merkle.Frontier()
    for _ in subtrees.grow(frontier, log, size):
        pass
    return frontier.root()


def _keep_subtrees(log: str, made: Iterable[tuple[subtrees.Place, bytes]]) -> None:
    """Keep these subtrees, made from the records. Raises `TreeAltered` where another is kept already."""
    for some in map(dict, chunked(made, AT_ONCE)):
        rows = [{"log": log, "level": level, "index": index, "hash": each} for (level, index), each in some.items()]
        with models.write():
            JournalSubtree.insert_many(rows).on_conflict_ignore().execute()  # another process keeps the same
            found = subtrees.held(log, some)
            if any(found.get(place) != each for place, each in some.items()):
                raise TreeAltered
