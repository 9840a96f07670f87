"""Receipts carried by a PDF attestation: files embedded in it (PDF/A-3), read without showing any page."""

import io
import json
import logging
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime

import pikepdf
from pikepdf.models.metadata import decode_pdf_date

from mespieces.verifier.faults import Fault

MOST = 2_000
LARGEST = 1024 * 1024  # bytes

# It writes of what it repairs, in English, on the screen of whoever verifies.
logging.getLogger("pikepdf").addHandler(logging.NullHandler())


class PdfRefused(Fault):
    """Bytes that are not a PDF whose embedded files can be read."""


class PdfLocked(PdfRefused):
    """A PDF that a password protects: none that a journal issued has one."""


def receipts(data: bytes) -> dict[str, bytes]:
    """Return the receipts embedded in a PDF, by file name, in the file's order. Raises `PdfRefused`.

    Embedded files that are no JSON, beyond 1 MiB each, or beyond the two-thousandth, are left out; so are those packed in
    another way than attestations pack them.
    """
    found: dict[str, bytes] = {}
    with _opened(data) as document:
        for name, attached in list(document.attachments.items())[:MOST]:
            text = _content(attached.get_file().obj)
            if _is_object(text):
                found[name] = text
    return found


def made(data: bytes) -> datetime | None:
    """Return when a PDF says that it was made, None when it does not. Raises `PdfRefused`."""
    with _opened(data) as document, suppress(ValueError, TypeError, OverflowError):
        said = decode_pdf_date(str(document.docinfo["/CreationDate"])) if "/CreationDate" in document.docinfo else None
        return said.replace(tzinfo=said.tzinfo or UTC) if said else None
    return None


@contextmanager
def _opened(data: bytes) -> Iterator[pikepdf.Pdf]:
    try:
        with pikepdf.open(io.BytesIO(data)) as document:
            yield document
    except pikepdf.PasswordError as error:
        raise PdfLocked("a password protects this PDF") from error
    except Exception as error:  # of what is not of the shape it expects, the library says so in any kind
        raise PdfRefused(f"this is not a PDF that can be read: {error}") from error


def _content(stream: pikepdf.Object) -> bytes:
    """Return a stream's content, b"" when it is too long, whatever its length is said to be: a few bytes can hold gigabytes.

    Attestations pack it once, or not at all; packed in another way it comes out as something else than a receipt.
    """
    data = stream.read_raw_bytes()
    with suppress(zlib.error):
        data = zlib.decompressobj().decompress(data, LARGEST + 1) if "/Filter" in stream else data
        return data if len(data) <= LARGEST else b""
    return b""


def _is_object(text: bytes) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False
