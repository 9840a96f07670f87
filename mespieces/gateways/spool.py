"""A spool: bytes that wait on a disk to be handed over, under a key that nobody but this process ever holds."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from typing import Self

from mespieces.gateways import streaming


class Spool:
    """Takes bytes in order, then gives them back; in constant memory, unreadable to who reads the disk."""

    size: int
    """Bytes taken so far."""

    def __init__(self) -> None:
        self._file = tempfile.TemporaryFile()  # noqa: SIM115 — closed by `close`
        self._key = os.urandom(streaming.KEY)
        self._writer = streaming.Writer(self._file, self._key, b"spool")
        self._digest = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        """Take some bytes. Raises `OSError` when the disk is full."""
        self._digest.update(data)
        self._writer.write(data)
        self.size += len(data)

    def finish(self) -> str:
        """Take no more, and return the SHA-256 of all, in lowercase hexadecimal."""
        self._writer.finish()
        self._file.flush()
        return self._digest.hexdigest()

    def chunks(self) -> Iterator[bytes]:
        """Give back what was taken, once finished."""
        return streaming.Reader(self._file, self._key, b"spool").chunks()

    def close(self) -> None:
        """Forget it: the file had no name, its key goes with this object."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
