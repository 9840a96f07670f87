"""The tokens of one journal of an export: those that its records name are there, unchanged, beside their checkpoints."""

import hashlib
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from cryptography import x509

from mespieces.verifier import export, record, timestamp
from mespieces.verifier.export import Source
from mespieces.verifier.logs import LogReport

NAMED = re.compile(r"(0|[1-9][0-9]{0,15})\.([1-9][0-9]{0,8})\.tsr").fullmatch
_CERTIFICATES = "certificates.pem"


Named = dict[tuple[str, int], set[str]]
"""The SHA-256 of each token that a journal names for a checkpoint, by the journal and the checkpoint's size."""


class Tokens(NamedTuple):
    """The tokens that are there, the checkpoints (sizes) they rightly stand over, the last certain date once checked."""

    names: list[str]
    stamped: dict[int, str]
    """The earliest date over each checkpoint, at the latest that its token allows: those that were checked."""
    checked: int
    last: timestamp.Stated | None
    unvouched: list[str]
    """Those that the journal names, of an authority that no given root vouches for: they date nothing."""
    faults: list[tuple[int, str]]
    """Each fault's checkpoint, 0 for none in particular, and its file."""

    def tell(self, seen: LogReport) -> None:
        """Write in `seen` what was seen of them."""
        seen.timestamps, seen.checked, seen.unvouched = self.names, self.checked, self.unvouched
        if self.last:
            seen.dated, seen.accuracy = timestamp.written(self.last.time), self.last.accuracy
            seen.latest = timestamp.written(self.last.latest)


def examine(
    where: Source, folder: str, sizes: Collection[int], recorded: Mapping[str, str], roots: Sequence[x509.Certificate]
) -> Tokens:
    """Examine the tokens of the journal in `folder`, given the sizes of its checkpoints.

    `recorded` is each token's SHA-256 by file name, as the journal says it. Without `roots` dates are not checked.
    """
    names = sorted(filter(NAMED, where.names(f"{folder}timestamps")), key=_place)
    dates: list[tuple[int, timestamp.Stated]] = []
    unvouched, faults = [], []
    for name in sorted({*names, *filter(NAMED, recorded)}, key=_place):
        size, path = _place(name)[0], f"{folder}timestamps/{name}"
        token = export.read(where, path) or b""
        same = recorded.get(name, "") in {"", hashlib.sha256(token).hexdigest()}
        if name not in names or size not in sizes or not same:
            faults.append((size, path))
            continue
        try:
            signed = export.read(where, f"{folder}checkpoints/{size}.note") or b""
            dates += [(size, timestamp.verify(signed, token, roots))] if roots else []
        except timestamp.TokenRefused as refused:
            if isinstance(refused, timestamp.AnotherAuthority) and recorded.get(name):
                unvouched.append(name)
            else:
                faults.append((size, path))
    if not faults and not _repeated(where, f"{folder}timestamps", names):
        faults.append((0, f"{folder}timestamps/{_CERTIFICATES}"))
    last = max((stated for _, stated in dates), key=lambda one: one.latest, default=None)
    return Tokens(names, _earliest(dates), len(dates), last, unvouched, faults)


def _earliest(dates: Iterable[tuple[int, timestamp.Stated]]) -> dict[int, str]:
    stamped: dict[int, str] = {}
    for size, stated in dates:
        time = record.format_time(stated.latest)
        stamped[size] = min(time, stamped.get(size, time))
    return stamped


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


def _repeated(where: Source, folder: str, names: Sequence[str]) -> bool:
    """Tell whether the certificates kept beside the tokens, if they are, are those that the tokens carry."""
    held = export.read(where, f"{folder}/{_CERTIFICATES}")
    return held is None or held == timestamp.certificates(
        export.read(where, f"{folder}/{name}") or b"" for name in names
    )
