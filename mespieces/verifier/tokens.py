"""The tokens of one journal of an export: those that its records name are there, unchanged, beside their checkpoints."""

import hashlib
import re
from collections.abc import Collection, Mapping, Sequence
from contextlib import suppress
from typing import NamedTuple

from cryptography import x509

from mespieces.verifier import export, record, timestamp
from mespieces.verifier.export import Source

NAMED = re.compile(r"(0|[1-9][0-9]{0,15})\.([1-9][0-9]{0,8})\.tsr").fullmatch
_CERTIFICATES = "certificates.pem"


Named = dict[tuple[str, int], set[str]]
"""The SHA-256 of each token that a journal names for a checkpoint, by the journal and the checkpoint's size."""


class Tokens(NamedTuple):
    """The tokens that are there, the checkpoints (sizes) they rightly stand over, the last certain date once checked."""

    names: list[str]
    stamped: dict[int, str]
    """The earliest date over each checkpoint, empty where it was not checked."""
    dated: str
    faults: list[tuple[int, str]]
    """Each fault's checkpoint, 0 for none in particular, and its file."""


def examine(
    where: Source, folder: str, sizes: Collection[int], recorded: Mapping[str, str], roots: Sequence[x509.Certificate]
) -> Tokens:
    """Examine the tokens of the journal in `folder`, given the sizes of its checkpoints.

    `recorded` is each token's SHA-256 by file name, as the journal says it. Without `roots` dates are not checked.
    """
    names = sorted(filter(NAMED, where.names(f"{folder}timestamps")), key=_place)
    stamped: dict[int, str] = {}
    dated, faults = "", []
    for name in sorted({*names, *filter(NAMED, recorded)}, key=_place):
        size, path = _place(name)[0], f"{folder}timestamps/{name}"
        token = export.read(where, path) or b""
        time = _time(where, f"{folder}checkpoints/{size}.note", token, roots)
        same = recorded.get(name, "") in {"", hashlib.sha256(token).hexdigest()}
        if name in names and size in sizes and same and time is not None:
            stamped[size] = min(time, stamped.get(size, time))
            dated = max(dated, time)
        else:
            faults.append((size, path))
    if not faults and not _repeated(where, f"{folder}timestamps", names):
        faults.append((0, f"{folder}timestamps/{_CERTIFICATES}"))
    return Tokens(names, stamped, dated, faults)


def named(recorded: Mapping[str, str], log: str, sizes: Collection[int]) -> Named:
    """Return the hashes that the journal gives of its tokens over these checkpoints."""
    found: Named = {}
    for name in filter(NAMED, recorded):
        if _place(name)[0] in sizes:
            found.setdefault((log, _place(name)[0]), set()).add(recorded[name])
    return found


def _place(name: str) -> tuple[int, int]:
    size, number, _ = name.split(".")
    return int(size), int(number)


def _time(where: Source, note: str, token: bytes, roots: Sequence[x509.Certificate]) -> str | None:
    """Return the certain date that a token gives its checkpoint, "" when it is not checked, None when it gives none."""
    if not roots:
        return ""
    with suppress(timestamp.TokenRefused):
        return record.format_time(timestamp.verify(export.read(where, note) or b"", token, roots).time)
    return None


def _repeated(where: Source, folder: str, names: Sequence[str]) -> bool:
    """Tell whether the certificates kept beside the tokens, if they are, are those that the tokens carry."""
    held = export.read(where, f"{folder}/{_CERTIFICATES}")
    return held is None or held == timestamp.certificates(
        export.read(where, f"{folder}/{name}") or b"" for name in names
    )
