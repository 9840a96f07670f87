"""What an export says of itself, read before anything is verified: it explains, and proves nothing by itself."""

import io
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from mespieces.verifier import canonical, export, note, purge, record
from mespieces.verifier.export import Source


def announced(where: Source, name: str) -> tuple[list[purge.Purge], dict[str, str]]:
    """Return what the journal says of its own payloads and tokens: its purges, and each token's SHA-256 by file name.

    Raises `Unreadable`.
    """
    purges: list[purge.Purge] = []
    anchors: dict[str, str] = {}
    for line in _telling(where, name):
        with suppress(export.LineRefused, record.HeaderNotCanonical, canonical.NotCanonical):
            data, payload, _ = export.parse_line(line)
            header = record.parse(data)
            if isinstance(payload, tuple) and record.commit("proof", *payload) == header.proof:
                purges += purge.announced(header, payload[1]) if header.operation == "journal.purged" else []
                anchors |= _anchor(header, payload[1])
    return purges, anchors


def cited(where: Source, name: str) -> dict[str, Any]:
    """Return what the first line of a journal says of the journal that it continues. Raises `Unreadable`."""
    with suppress(export.LineRefused):
        _, payload, _ = export.parse_line(next(export.lines(where, name), b""))
        return citation(payload[1]) if isinstance(payload, tuple) else {}
    return {}


def own_key(about: dict[str, Any]) -> list[note.Verifier]:
    """Return the key the export names itself: it shows damage, and proves nothing."""
    with suppress(note.NoteRefused):
        return [note.parse_vkey(str(about.get("vkey")))]
    return []


def citation(body: bytes) -> dict[str, Any]:
    """Return what the first record of a reopened journal says of the one before: `detail.reopened`."""
    with suppress(canonical.NotCanonical):
        detail: Any = canonical.parse_object(body).get("detail")
        cited = detail.get("reopened") if isinstance(detail, dict) else None
        return cited if isinstance(cited, dict) else {}
    return {}


def is_whole(line: bytes) -> bool:
    """Tell whether an export that ends with this line shows everything: it was made by no office, or hides who made it."""
    with suppress(export.LineRefused, record.HeaderNotCanonical, canonical.NotCanonical):
        data, payload, _ = export.parse_line(line)
        about: Any = canonical.parse_object(payload[1]).get("object") if isinstance(payload, tuple) else None
        return record.parse(data).operation == "journal.exported" and not (
            isinstance(about, dict) and "office" in about
        )
    return False


def _telling(where: Source, name: str) -> Iterator[bytes]:
    """Yield the lines that may announce a purge or name a token: a run of lines that holds none is not cut."""
    for block in export.blocks(where, name):
        if _PURGED in block or _ANCHORED in block:
            yield from (line for line in io.BytesIO(block) if _PURGED in line or _ANCHORED in line)


def _anchor(header: record.Header, body: bytes) -> dict[str, str]:
    """Return the SHA-256 that a `journal.anchored` record gives of its token, by the token's file name."""
    detail: Any = canonical.parse_object(body).get("detail")
    if header.operation != "journal.anchored" or not isinstance(detail, dict):
        return {}
    return {f"{detail.get('size')}.{detail.get('number')}.tsr": str(detail.get("sha256"))}


_PURGED = rb"\"operation\":\"journal.purged\""
_ANCHORED = rb"\"operation\":\"journal.anchored\""
