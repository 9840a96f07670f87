"""What an export says of itself, read before anything is verified: it explains, and proves nothing by itself."""

import io
from collections.abc import Iterator
from contextlib import suppress
from typing import Any, NamedTuple

from mespieces.verifier import canonical, export, note, purge, record
from mespieces.verifier.export import Source


class Told(NamedTuple):
    """What a journal says of its own payloads and tokens."""

    purges: list[purge.Purge]
    tokens: dict[str, str]
    """Each token's SHA-256 by file name, as the first record that names it says."""
    contradicted: list[tuple[int, str]]
    """The records (sequence, file name) that name a token otherwise than a first one, or before its checkpoint could be."""


def announced(where: Source, name: str) -> Told:
    """Return what the journal says of its purges and tokens. Raises `Unreadable`."""
    told = Told([], {}, [])
    for line in _telling(where, name):
        with suppress(export.LineRefused, record.HeaderNotCanonical, canonical.NotCanonical):
            data, payload, _ = export.parse_line(line)
            header = record.parse(data)
            if isinstance(payload, tuple) and record.commit("proof", *payload) == header.proof:
                if header.operation == "journal.purged":
                    told.purges.extend(purge.announced(header, payload[1]))
                elif header.operation == "journal.anchored":
                    _bind(told, header, payload[1])
    return told


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


def _bind(told: Told, header: record.Header, body: bytes) -> None:
    """Bind a token's file name to the SHA-256 that a `journal.anchored` record gives of it: once, whatever is said later."""
    detail: Any = canonical.parse_object(body).get("detail")
    if not isinstance(detail, dict):
        return
    size, sha256 = detail.get("size"), str(detail.get("sha256"))
    name = f"{size}.{detail.get('number')}.tsr"
    early = isinstance(size, int) and size > header.sequence
    if early or told.tokens.setdefault(name, sha256) != sha256:
        told.contradicted.append((header.sequence, name))


_PURGED = rb"\"operation\":\"journal.purged\""
_ANCHORED = rb"\"operation\":\"journal.anchored\""
