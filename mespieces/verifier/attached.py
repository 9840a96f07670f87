"""Receipts carried by a PDF attestation: files embedded in it (PDF/A-3), read without showing any page."""

import io
import json

import pikepdf

from mespieces.verifier.faults import Fault

MOST = 2_000
LARGEST = 1024 * 1024  # bytes


class PdfRefused(Fault):
    """Bytes that are not a PDF whose embedded files can be read."""


def receipts(data: bytes) -> dict[str, bytes]:
    """Return the receipts embedded in a PDF, by file name, in the file's order. Raises `PdfRefused`.

    Embedded files that are no JSON, beyond 1 MiB each, or beyond the two-thousandth, are left out.
    """
    found: dict[str, bytes] = {}
    try:
        with pikepdf.open(io.BytesIO(data)) as document:
            for name, attached in list(document.attachments.items())[:MOST]:
                text = attached.get_file().read_bytes() if int(attached.get_file().size) <= LARGEST else b""
                if _is_object(text):
                    found[name] = text
    except (pikepdf.PdfError, ValueError, TypeError, RuntimeError) as error:
        raise PdfRefused(f"this is not a PDF that can be read: {error}") from error
    return found


def _is_object(text: bytes) -> bool:
    try:
        return isinstance(json.loads(text), dict)
    except (ValueError, RecursionError):
        return False
