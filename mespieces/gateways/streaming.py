"""Encrypted streams in Google Tink's AES256_GCM_HKDF_1MB wire format, written in one pass and read anywhere.

Format (https://developers.google.com/tink/streaming-aead/aes_gcm_hkdf_streaming):

    header  = 40 (one byte) ‖ salt (32) ‖ nonce prefix (7)
    key     = HKDF-SHA256(data key, salt, info = associated data), 32 bytes
    segment = AES-256-GCM(key, nonce = prefix ‖ number (4, big-endian) ‖ last (0 or 1)), tag of 16 bytes included

Every segment but the last ends at a multiple of 1 MiB of the file; the first one shares its MiB with the header.
"""

import os
from collections.abc import Iterator
from typing import BinaryIO, Protocol

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.kdf.hkdf import HKDF

from mespieces.errors import Unavailable

SEGMENT = 1 << 20
TAG = 16
SALT = 32
PREFIX = 7
HEADER = 1 + SALT + PREFIX
KEY = 32
ROOM = SEGMENT - TAG
"""Plaintext bytes of a full segment; the first one has room for HEADER fewer."""


class Corrupted(Unavailable):
    """The encrypted bytes are not those that were sealed, or not under this key: none of them is served."""

    message = (
        "Ce fichier ne peut pas être déchiffré : il a été altéré ou tronqué depuis son dépôt. "
        "Il n’est donc pas remis ; prévenez l’étude."
    )


class Target(Protocol):
    """Whatever takes bytes in order."""

    def write(self, data: bytes, /) -> object:
        """Take all of `data`."""


class Writer:
    """Encrypts what is written into `target`, holding one segment in memory; unreadable until `finish`."""

    def __init__(self, target: Target, key: bytes, associated: bytes) -> None:
        salt, self._prefix = os.urandom(SALT), os.urandom(PREFIX)
        self._target = target
        self._cipher = _cipher(key, salt, associated)
        self._header = bytes([HEADER]) + salt + self._prefix
        self._buffer = bytearray()
        self._number = 0
        self._over = False

    def write(self, data: bytes) -> None:
        """Encrypt `data` after what was written before. Raises what `target` raises, and is then unusable."""
        self._begin()
        rest = memoryview(data)
        while rest:
            room = ROOM if self._number else ROOM - HEADER
            if len(self._buffer) == room:  # only now is it known that this segment is not the last
                self._flush(last=False)
                continue
            taken = rest[: room - len(self._buffer)]
            self._buffer += taken
            rest = rest[len(taken) :]
        self._over = False

    def finish(self) -> None:
        """Write the last segment, without which no reader accepts the stream. Raises what `target` raises."""
        self._begin()
        self._flush(last=True)

    def _begin(self) -> None:
        if self._over:
            raise ValueError("this stream is finished, or failed while writing")
        self._over = True  # stays so if what follows fails: a broken stream must never get its last segment

    def _flush(self, *, last: bool) -> None:
        sealed = self._cipher.encrypt(_nonce(self._prefix, self._number, last=last), self._buffer, None)
        if self._number == 0:
            self._target.write(self._header)
        self._target.write(sealed)
        self._buffer.clear()
        self._number += 1


class Reader:
    """Decrypts any part of a sealed stream; for one thread at a time.

    The last segment is decrypted first, so that a truncated stream is refused before its byte 0 is served.
    Everything raises `Corrupted`.
    """

    size: int
    """Bytes of plaintext."""

    def __init__(self, raw: BinaryIO, key: bytes, associated: bytes) -> None:
        self._raw = raw
        self._length = raw.seek(0, os.SEEK_END)
        self._count = -(-self._length // SEGMENT)
        self.size = self._length - HEADER - TAG * self._count
        if self._length < HEADER + TAG or 0 < self._length % SEGMENT < TAG or self._count > 1 << 32:
            raise Corrupted
        header = self._fetch(0, HEADER)
        if header[0] != HEADER:
            raise Corrupted
        self._prefix = header[1 + SALT :]
        self._cipher = _cipher(key, header[1 : 1 + SALT], associated)
        self._held = (-1, b"")
        self._segment(self._count - 1)

    def read_at(self, offset: int, length: int) -> bytes:
        """Return up to `length` bytes from `offset`, fewer only at the end. Raises `Corrupted`."""
        return b"".join(self.chunks(offset, offset + length))

    def chunks(self, start: int = 0, stop: int | None = None) -> Iterator[bytes]:
        """Give the bytes from `start` up to `stop` excluded, a segment at a time. Raises `Corrupted`."""
        if start < 0:
            raise ValueError("a stream has no byte before its first")
        stop = self.size if stop is None else min(stop, self.size)
        while start < stop:
            number = (start + HEADER) // ROOM  # the header takes room as plaintext would
            skipped = start if number == 0 else start + HEADER - number * ROOM
            chunk = self._segment(number)[skipped : skipped + stop - start]
            yield chunk
            start += len(chunk)

    def _segment(self, number: int) -> bytes:
        if self._held[0] != number:
            start = number * SEGMENT if number else HEADER
            last = number == self._count - 1
            sealed = self._fetch(start, min((number + 1) * SEGMENT, self._length) - start)
            try:
                plain = self._cipher.decrypt(_nonce(self._prefix, number, last=last), sealed, None)
            except InvalidTag as error:
                raise Corrupted from error
            self._held = (number, plain)
        return self._held[1]

    def _fetch(self, offset: int, length: int) -> bytes:
        self._raw.seek(offset)
        found = bytearray()
        while len(found) < length:
            part = self._raw.read(length - len(found))
            if not part:  # shortened since it was opened
                raise Corrupted
            found += part
        return bytes(found)


def _cipher(key: bytes, salt: bytes, associated: bytes) -> AESGCM:
    if len(key) != KEY:
        raise ValueError(f"a data key has {KEY} bytes")
    return AESGCM(HKDF(SHA256(), KEY, salt, associated).derive(key))


def _nonce(prefix: bytes, number: int, *, last: bool) -> bytes:
    return prefix + number.to_bytes(4, "big") + bytes([last])
