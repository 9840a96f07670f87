"""Bytes leaving: what was asked of a file (RFC 9110, section 14), sent piece by piece, and how it ended.

No database work happens inside a generator: the end is journaled when the server closes the response.
"""

import base64
import errno
import hashlib
import unicodedata
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from flask import Response
from werkzeug.datastructures import Range
from werkzeug.exceptions import RequestedRangeNotSatisfiable

from mespieces import models
from mespieces.domain import receipts
from mespieces.gateways.vault import Corrupted


@dataclass(frozen=True, slots=True)
class Part:
    """The bytes to send: from `start` up to `stop` excluded, of `size`."""

    start: int
    stop: int
    size: int
    partial: bool

    @property
    def length(self) -> int:
        """How many bytes that is."""
        return self.stop - self.start

    @property
    def whole(self) -> bool:
        """Whether that is the file from its first byte to its last."""
        return self.length == self.size


def wanted(asked: Range | None, if_range: str | None, size: int, etag: str) -> Part:
    """Return the part of a file a request wants: one range, or all of it.

    Several ranges, or a range of another version, are answered by the whole file, as RFC 9110 allows.
    Raises `RequestedRangeNotSatisfiable`.
    """
    whole = Part(0, size, size, partial=False)
    if asked is None or asked.units != "bytes" or len(asked.ranges) != 1:
        return whole
    if if_range is not None and if_range.strip() != f'"{etag}"':  # a date or a weak tag is not strong enough to resume
        return whole
    if asked.ranges[0][0] < -size:  # the last bytes, more of them than there are: all of them
        return Part(0, size, size, partial=True)
    found = asked.range_for_length(size)
    if found is None:
        raise RequestedRangeNotSatisfiable(length=size)
    return Part(found[0], found[1], size, partial=True)


class Handing:
    """Hands bytes to the server, counts them, and says at the end how many left."""

    def __init__(
        self, chunks: Iterator[bytes], finish: Callable[[int], None], corrupted: Callable[[], None] | None = None
    ) -> None:
        self._chunks = chunks
        self._finish: Callable[[int], None] | None = finish
        self._corrupted = corrupted
        self._met_corruption = False
        self._sent = 0

    def __iter__(self) -> Iterator[bytes]:
        try:
            for chunk in self._chunks:
                yield chunk
                self._sent += len(chunk)  # counted once the server asks for more: it has taken these
        except Corrupted as error:
            self._met_corruption = True
            # The headers have left: the one honest thing is to break the connection, as servers understand it.
            raise ConnectionResetError(errno.ECONNRESET, "the document cannot be read further") from error

    def close(self) -> None:
        """Say once, on a connection of its own, how many bytes left: the request's is already closed."""
        finish, self._finish = self._finish, None
        if finish is not None:
            with models.database.connection_context():
                if self._met_corruption and self._corrupted:
                    self._corrupted()
                finish(self._sent)


def send(handing: Handing, part: Part, media_type: str, headers: dict[str, str]) -> Response:
    """Return the response that streams `part`."""
    response = Response(handing, status=206 if part.partial else 200, mimetype=media_type, direct_passthrough=True)
    response.headers.update(headers)
    response.headers["Content-Length"] = str(part.length)
    if part.partial:
        response.headers["Content-Range"] = f"bytes {part.start}-{part.stop - 1}/{part.size}"
    return response


def described(document: Any, *, inline: bool = False) -> dict[str, str]:
    """Return the headers that name a document and let anyone check it: RFC 9530 digest, RFC 6266 name."""
    digest = base64.b64encode(bytes.fromhex(document.fingerprint)).decode()
    return {
        "Repr-Digest": f"sha-256=:{digest}:",
        "Accept-Ranges": "bytes",
        "ETag": f'"{document.fingerprint}"',
        "Content-Disposition": named(document.filename, inline=inline),
    }


def exported(row: Any) -> dict[str, str]:
    """Return the headers of an export of the journal: its digest (RFC 9530), and a name that says when it was made."""
    digest = base64.b64encode(bytes.fromhex(row.fingerprint)).decode()
    name = f"journal-{row.finished_at:%Y-%m-%d-%H%M%S}.zip"
    return {"Repr-Digest": f"sha-256=:{digest}:", "Content-Disposition": named(name)}


def attestation(made: bytes, filename: str) -> Response:
    """Return the response that gives a PDF to keep: shown inline, a browser would ask again, for another, to save it."""
    return kept(made, "application/pdf", filename)


def receipt(made: receipts.Receipt) -> Response:
    """Return the response that gives a receipt to keep, its name saying of what."""
    return kept(made.data, "application/json", made.title)


def kept(made: bytes, media_type: str, filename: str) -> Response:
    """Return the response that gives bytes to keep, with their digest (RFC 9530)."""
    response = Response(made, mimetype=media_type)
    response.headers.update(keeping(hashlib.sha256(made).digest(), filename))
    return response


def keeping(digest: bytes, filename: str) -> dict[str, str]:
    """Return the headers of what is given to keep: its SHA-256 (RFC 9530) and its name."""
    return {
        "Repr-Digest": f"sha-256=:{base64.b64encode(digest).decode()}:",
        "Content-Disposition": named(filename),
    }


def named(filename: str, *, inline: bool = False) -> str:
    """Return a Content-Disposition for any file name (RFC 6266, RFC 8187)."""
    kind = "inline" if inline else "attachment"
    letters = "".join(c for c in unicodedata.normalize("NFKD", filename) if not unicodedata.combining(c))
    plain = "".join(c if c.isascii() and (c.isalnum() or c in " .-_()") else "_" for c in letters)
    return f"{kind}; filename=\"{plain}\"; filename*=UTF-8''{quote(filename, safe='')}"
