"""The Merkle tree over record hashes: roots, inclusion and consistency proofs (RFC 6962 §2.1, RFC 9162 §2.1).

Leaves are already hashed (`record.record_hash`). Everything that builds a proof asks for hashes of complete subtrees
through a `Subtree` function, so a store that keeps some of them answers in O(log n).
"""

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256

EMPTY_ROOT = sha256(b"").digest()

Subtree = Callable[[int, int], bytes]
"""`subtree(level, index)` is the hash of the complete subtree over leaves [index·2^level, (index + 1)·2^level)."""


def node(left: bytes, right: bytes) -> bytes:
    """Return the hash of an inner node: SHA-256(0x01 ‖ left ‖ right)."""
    return sha256(b"\1" + left + right).digest()


class Frontier:
    """A growing tree reduced to its complete subtrees: appends in O(1), gives its root in O(log n), holds O(log n)."""

    def __init__(self, size: int = 0, peaks: Iterable[bytes] = ()) -> None:
        self.size = size
        self.peaks = list(peaks)
        if len(self.peaks) != size.bit_count():
            raise ValueError(f"a tree of {size} leaves has {size.bit_count()} complete subtrees")

    def append(self, leaf: bytes) -> None:
        """Add one leaf's hash."""
        size = self.size
        while size & 1:
            leaf = node(self.peaks.pop(), leaf)
            size >>= 1
        self.peaks.append(leaf)
        self.size += 1

    def root(self) -> bytes:
        """Return the root over all leaves so far."""
        return _fold(self.peaks)


def root(leaves: Sequence[bytes]) -> bytes:
    """Return the root over `leaves`."""
    frontier = Frontier()
    for leaf in leaves:
        frontier.append(leaf)
    return frontier.root()


def root_at(size: int, subtree: Subtree) -> bytes:
    """Return the root over the first `size` leaves."""
    return _range(0, size, subtree)


def frontier_at(size: int, subtree: Subtree) -> Frontier:
    """Return the state from which a tree of `size` leaves goes on growing."""
    return Frontier(size, [subtree(level, index) for level, index in _complete(0, size)])


def inclusion(index: int, size: int, subtree: Subtree) -> list[bytes]:
    """Return the proof that leaf `index` is in the tree of `size` leaves, sibling first. Raises `ValueError` outside it."""
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not in a tree of {size}")
    path: list[bytes] = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _split(end - start)
        if index < middle:
            path.append(_range(middle, end, subtree))
            end = middle
        else:
            path.append(_range(start, middle, subtree))
            start = middle
    return path[::-1]


def consistency(old: int, new: int, subtree: Subtree) -> list[bytes]:
    """Return the proof that the tree of `new` leaves extends that of `old` (RFC 9162 §2.1.4.1). Raises `ValueError`."""
    if not 0 <= old <= new:
        raise ValueError(f"a tree of {new} leaves cannot extend one of {old}")
    if old in {0, new}:
        return []
    path: list[bytes] = []
    start, end, whole = 0, new, True
    while end != old:
        middle = start + _split(end - start)
        if old <= middle:
            path.append(_range(middle, end, subtree))
            end = middle
        else:
            path.append(_range(start, middle, subtree))
            start, whole = middle, False
    if not whole:
        path.append(_range(start, end, subtree))
    return path[::-1]


def includes(leaf: bytes, index: int, size: int, path: Sequence[bytes], expected: bytes) -> bool:
    """Tell whether `path` proves that `leaf` stands at `index` in the tree of `size` and root `expected` (RFC 9162 §2.1.3.2)."""
    if not 0 <= index < size:
        return False
    position, last, current = index, size - 1, leaf
    for sibling in path:
        if last == 0:
            return False
        if position & 1 or position == last:
            current = node(sibling, current)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            current = node(current, sibling)
        position, last = position >> 1, last >> 1
    return last == 0 and current == expected


def extends(old: int, old_root: bytes, new: int, new_root: bytes, path: Sequence[bytes]) -> bool:
    """Tell whether `path` proves that the tree (`new`, `new_root`) extends (`old`, `old_root`) (RFC 9162 §2.1.4.2)."""
    if not 0 <= old <= new:
        return False
    if old == new:
        return not path and old_root == new_root
    if old == 0:
        return not path and old_root == EMPTY_ROOT
    hashes = list(path) if old & (old - 1) else [old_root, *path]
    if not hashes:
        return False
    position, last = old - 1, new - 1
    while position & 1:
        position, last = position >> 1, last >> 1
    before = after = hashes[0]
    for sibling in hashes[1:]:
        if last == 0:
            return False
        if position & 1 or position == last:
            before, after = node(sibling, before), node(sibling, after)
            while not position & 1 and position:
                position, last = position >> 1, last >> 1
        else:
            after = node(after, sibling)
        position, last = position >> 1, last >> 1
    return last == 0 and before == old_root and after == new_root


def completed(size: int, lowest: int = 8) -> list[tuple[int, int]]:
    """Return the (level, index) of the subtrees of level `lowest` or more that the leaf number `size` has just completed.

    Storing each as it completes costs one row per 2^`lowest` leaves, and about as many again for the levels above.
    """
    if not size or size % (1 << lowest):
        return []
    highest = (size & -size).bit_length() - 1
    return [(level, (size >> level) - 1) for level in range(lowest, highest + 1)]


def stored(
    leaves: Callable[[int, int], Sequence[bytes]], kept: Callable[[int, int], bytes | None], lowest: int = 8
) -> Subtree:
    """Make a `Subtree` of a store: `leaves(start, end)` reads leaf hashes, `kept(level, index)` a stored subtree or None."""

    def subtree(level: int, index: int) -> bytes:
        if level >= lowest:
            found = kept(level, index)
            if found is not None:
                return found
            if level > lowest:
                return node(subtree(level - 1, 2 * index), subtree(level - 1, 2 * index + 1))
        return root(leaves(index << level, (index + 1) << level))

    return subtree


def of_leaves(leaves: Sequence[bytes]) -> Subtree:
    """Make a `Subtree` of leaf hashes held in memory."""
    return stored(lambda start, end: leaves[start:end], lambda _level, _index: None)


def _split(width: int) -> int:
    """Return the largest power of two strictly below `width` (RFC 6962 §2.1)."""
    return 1 << ((width - 1).bit_length() - 1)


def _complete(start: int, end: int) -> list[tuple[int, int]]:
    """Cut [start, end), where `start` is a multiple of the range's power of two, into complete subtrees, widest first."""
    pieces: list[tuple[int, int]] = []
    while start < end:
        level = (end - start).bit_length() - 1
        pieces.append((level, start >> level))
        start += 1 << level
    return pieces


def _range(start: int, end: int, subtree: Subtree) -> bytes:
    return _fold([subtree(level, index) for level, index in _complete(start, end)])


def _fold(peaks: Sequence[bytes]) -> bytes:
    if not peaks:
        return EMPTY_ROOT
    current = peaks[-1]
    for peak in reversed(peaks[:-1]):
        current = node(peak, current)
    return current
