"""How far the reading of a long export is, shown to a person who waits: on a terminal, and nowhere else."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, Self, TextIO, cast

from mespieces.verifier import export
from mespieces.verifier.export import Source

EVERY = 0.2  # seconds between two pictures
AFTER = 1.0  # a shorter wait needs none
WIDTH = 30
READ_TWICE = 2
_JOURNAL = "journal.jsonl"


@contextmanager
def shown(where: Source, screen: TextIO, after: float = AFTER) -> Iterator[Source]:
    """Let `where` be read, and draw on `screen`, when it is a terminal, how much was, once `after` seconds have gone by."""
    if not screen.isatty():
        yield where
        return
    watched = _Watched(where, screen, after)
    try:
        yield watched
    finally:
        watched.erase()


class _Watched:
    """An export of which every byte read counts."""

    def __init__(self, where: Source, screen: TextIO, after: float) -> None:
        self._where, self._screen = where, screen
        self.names, self.size = where.names, where.size
        self._total = READ_TWICE * sum(where.size(f"{folder}{_JOURNAL}") for folder in export.folders(where))
        self._read, self._drawn, self._next = 0, False, time.monotonic() + after

    def open(self, name: str) -> IO[bytes]:
        """Open a file for reading."""
        stream = self._where.open(name)
        return cast("IO[bytes]", _Counted(stream, self._advance)) if name.endswith(_JOURNAL) else stream

    def erase(self) -> None:
        """Leave the screen as it was."""
        if self._drawn:
            self._screen.write("\r\033[K")
            self._screen.flush()

    def _advance(self, count: int) -> None:
        self._read += count
        now = time.monotonic()
        if now >= self._next:
            self._next, self._drawn = now + EVERY, True
            part = min(self._read / max(self._total, 1), 1.0)
            done = round(part * WIDTH)
            self._screen.write(f"\r[{'█' * done}{'·' * (WIDTH - done)}] {part:4.0%}")
            self._screen.flush()


class _Counted:
    def __init__(self, stream: IO[bytes], advance: Callable[[int], None]) -> None:
        self._stream, self._advance = stream, advance

    def read(self, size: int) -> bytes:
        piece = self._stream.read(size)
        self._advance(len(piece))
        return piece

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._stream.close()
