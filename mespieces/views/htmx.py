"""What the browser's htmx says of a request, read as its present version says it, and the body kept out of memory.

htmx-flask knows htmx 1: version 4 sends `HX-Target: div#documents`, and `HX-Source` instead of `HX-Trigger`.
"""

import contextlib
from functools import cached_property
from typing import IO, Any

from flask import Request as FlaskRequest
from flask import Response
from htmx_flask.requests import HtmxHeaders as OldHeaders
from werkzeug.exceptions import BadRequest

from mespieces.domain.documents import Arrival

_PIECE = 256 * 1024


class Headers(OldHeaders):
    """The request headers of htmx 4."""

    @cached_property
    def target(self) -> str | None:
        """The id of the element the answer goes to."""
        sent = self._headers.get("HX-Target")
        return sent.rpartition("#")[2] if sent else None

    @cached_property
    def trigger(self) -> str | None:
        """The id of the element that asked."""
        sent = self._headers.get("HX-Source")
        return sent.rpartition("#")[2] if sent else None


class FileIntoVault:
    """What the form parser writes a file into: straight to the vault, never to a temporary file in clear."""

    def __init__(self, arrival: Arrival) -> None:
        self.arrival = arrival

    def write(self, data: bytes) -> int:
        """Take some bytes of the file. Raises `DocumentTooLarge`."""
        self.arrival.write(data)
        return len(data)

    def seek(self, *_: object) -> int:
        """Do nothing: the parser rewinds what it wrote, and nobody reads it here."""
        return 0

    def close(self) -> None:
        """Drop the file unless it was taken."""
        self.arrival.abort()


class Request(FlaskRequest):
    """A request that knows htmx, and takes files only where a view opened the door for them."""

    files_into: Any = None
    """Called without argument to open an `Arrival` for each file of a form; None where no file is expected."""

    @cached_property
    def htmx(self) -> Headers:
        """What htmx says of this request; falsy when it did not send it."""
        return Headers(self.headers)

    def _load_form_data(self) -> None:
        """Read the form. Raises `BadRequest` for a part without a name, which no browser sends."""
        super()._load_form_data()
        if None in self.form or None in self.files:
            raise BadRequest

    def hear_out(self, most: int) -> None:
        """Read up to `most` bytes of what is still being sent: a browser cut while it sends never reads the answer."""
        # Whatever gives way here, the answer is still tried: it is a refusal already.
        with contextlib.suppress(Exception):
            while most > 0 and (piece := self.stream.read(min(most, _PIECE))):
                most -= len(piece)

    def _get_file_stream(  # type: ignore[override]
        self, *_: object, **__: object
    ) -> IO[bytes] | FileIntoVault:
        if self.files_into is None:
            return _Nowhere()  # type: ignore[return-value]
        return FileIntoVault(self.files_into())


class _Nowhere:
    """Swallows a file nobody asked for."""

    def write(self, data: bytes) -> int:
        return len(data)

    def seek(self, *_: object) -> int:
        return 0

    def close(self) -> None:
        pass


def vary(response: Response) -> Response:
    """Tell caches that an htmx request is answered by a fragment."""
    response.vary.add("HX-Request")
    return response
