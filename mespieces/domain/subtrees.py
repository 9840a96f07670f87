"""The stored hashes of complete subtrees, which save time: made from the records, compared with them, and made anew.

Nothing that is signed believes them further than the newest checkpoint does (`checkpoints.py`).
"""

from collections.abc import Callable, Collection, Iterator

import peewee as pw
from peewee import SQL, chunked

from mespieces import models
from mespieces.errors import Refused
from mespieces.models import JournalLog, JournalRecord, JournalSubtree
from mespieces.verifier import merkle, record

_AT_ONCE = 1_000  # rows of one level read at once
_HIGHEST = 52  # the format counts below 2^53
LOWEST = 8
"""Level from which they are stored: one row per 256 leaves, and about as many again above."""
_BLOCK = 1 << LOWEST

Place = tuple[int, int]
"""Level and index of a complete subtree."""

Leaves = Callable[[str, int, int], list[bytes]]
"""Reads the hashes of the records `start` ≤ sequence < `end` of a journal."""


class SubtreesProtected(Refused):
    """The database lets the service add to what is stored, never change it."""

    message = (
        "La base de données ne laisse pas le service corriger ces empreintes : lancez cette commande sous le rôle qui "
        "possède les tables (docs/postgresql.md)."
    )


class Growth:
    """The complete subtrees of a journal read record by record: a dozen hashes for each 256 records."""

    def __init__(self, frontier: merkle.Frontier) -> None:
        self._frontier = frontier
        self._peaks: list[bytes] = []

    def closes(self) -> bool:
        """Tell whether the next leaf is the last of a block, which closes one subtree after the other; then it must be told."""
        if self._frontier.size % _BLOCK != _BLOCK - 1:
            return False
        self._peaks = self._frontier.peaks[:]
        return True

    def completed(self, leaf: bytes) -> Iterator[tuple[Place, bytes]]:
        """Yield the subtrees from 256 leaves on that the leaf appended since has completed, with their hashes."""
        size, level = self._frontier.size - 1, 0
        while size & 1:
            leaf, size, level = merkle.node(self._peaks.pop(), leaf), size >> 1, level + 1
            if level >= LOWEST:
                yield (level, size), leaf


def leaves(log: str, start: int, end: int) -> list[bytes]:
    """Return the hashes of the records `start` ≤ sequence < `end`, from their headers: the column beside them is a projection."""
    query = JournalRecord.select(JournalRecord.header).where(
        JournalRecord.log == log, JournalRecord.sequence >= start, JournalRecord.sequence < end
    )
    return [record.record_hash(bytes(header)) for (header,) in query.order_by(JournalRecord.sequence).tuples()]


def grow(frontier: merkle.Frontier, log: str, size: int, read: Leaves = leaves) -> Iterator[tuple[Place, bytes]]:
    """Append the records of `log` to a tree that has its first ones, up to `size`; yield the subtrees that this completes."""
    growth = Growth(frontier)
    for start in range(frontier.size, size, _AT_ONCE):
        leaves = read(log, start, min(start + _AT_ONCE, size))
        if not leaves:  # no journal is so long: whoever counts on it sees that the tree is not
            return
        for leaf in leaves:
            closes = growth.closes()
            frontier.append(leaf)
            if closes:
                yield from growth.completed(leaf)


def held(log: str, places: Collection[tuple[int, int]]) -> dict[tuple[int, int], bytes]:
    """Return the hashes kept at these places, and maybe at others."""
    kept, (levels, indices) = JournalSubtree, zip(*places, strict=True)
    query = kept.select(kept.level, kept.index, kept.hash).where(
        kept.log == log, kept.level.in_(levels), kept.index.in_(indices)
    )
    return {(level, index): bytes(each) for level, index, each in query.tuples()}


class Comparison:
    """Compares what is stored of a journal with what its records make, in constant memory."""

    def __init__(self, log: str) -> None:
        self._log = log
        self._levels: dict[int, Iterator[tuple[int, bytes]]] = {}
        self._next: dict[int, tuple[int, bytes]] = {}

    def differs(self, place: Place, made: bytes) -> bool:
        """Tell whether another hash is stored at a place; they come in order, and one that is not stored is no fault."""
        level, index = place
        rows = self._levels.setdefault(level, _rows(self._log, level))
        at, stored = self._next.get(level) or (-1, b"")
        while at < index:
            at, stored = next(rows, (2**63, b""))
        self._next[level] = at, stored
        return at == index and stored != made


def strangers(log: str, size: int) -> Iterator[Place]:
    """Yield the places stored that no complete subtree of the first `size` records has."""
    kept = JournalSubtree
    query = kept.select(kept.level, kept.index).where(
        kept.log == log,
        ~kept.level.between(LOWEST, _HIGHEST)
        | (kept.index < 0)
        | (kept.index >= SQL("(? >> level)" if models.is_sqlite() else "(%s >> level)", (size,))),
    )
    yield from query.order_by(kept.level, kept.index).tuples().iterator()


def last_record(place: Place) -> int:
    """Return the sequence of the last record that a subtree is made of."""
    level, index = place
    return ((index + 1) << min(max(level, 0), _HIGHEST)) - 1


def remake() -> int:
    """Make what is stored of every journal anew from its records, and return how many hashes that changed.

    Raises `SubtreesProtected`.
    """
    try:
        return sum(_remake(row) for row in JournalLog.select())
    except pw.ProgrammingError as error:
        raise SubtreesProtected from error


def _remake(row: JournalLog) -> int:
    changed = 0
    for made in chunked(grow(merkle.Frontier(), row.log, row.size), _AT_ONCE):
        changed += _mend(row.log, dict(made))
    for places in chunked(list(strangers(row.log, row.size)), _AT_ONCE):
        with models.write():
            changed += len(places)
            for place in places:
                JournalSubtree.delete().where(_at(row.log, place)).execute()
    return changed


def _mend(log: str, made: dict[Place, bytes]) -> int:
    """Store what the records make where something else, or nothing, is stored."""
    wrong = 0
    with models.write():
        found = held(log, made)
        for place, each in made.items():
            if found.get(place) == each:
                continue
            wrong += 1
            if place in found:
                JournalSubtree.update(hash=each).where(_at(log, place)).execute()
            else:
                JournalSubtree.insert(log=log, level=place[0], index=place[1], hash=each).execute()
    return wrong


def _at(log: str, place: Place) -> pw.Expression:
    kept, (level, index) = JournalSubtree, place
    return (kept.log == log) & (kept.level == level) & (kept.index == index)


def _rows(log: str, level: int) -> Iterator[tuple[int, bytes]]:
    kept, after = JournalSubtree, -1
    query = kept.select(kept.index, kept.hash).where(kept.log == log, kept.level == level).order_by(kept.index)
    while rows := list(query.where(kept.index > after).limit(_AT_ONCE).tuples()):
        yield from ((index, bytes(each)) for index, each in rows)
        after = rows[-1][0]
