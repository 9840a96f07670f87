"""An unpacked *dossier de preuve*: what it says of its own PDFs, which only a receipt confirms."""

import re
import unicodedata
from contextlib import suppress
from pathlib import Path

READ_ME = "LISEZ-MOI.txt"
_LARGEST = 1024 * 1024  # bytes


def announced(folder: Path) -> dict[str, str]:
    """Return the SHA-256 of each PDF that a dossier's own list announces, by its place in the folder; nothing for no dossier.

    It may have been changed as well: it accuses a PDF only where a receipt says that this SHA-256 was issued.
    """
    path, data = folder / READ_ME, b""
    if path.is_file():  # and no pipe, which nobody fills
        with suppress(OSError), path.open("rb") as file:
            data = file.read(_LARGEST)
    return {spelled(name): sha256 for name, sha256 in _LISTED.findall(data.decode("utf-8-sig", "replace"))}


def spelled(name: str) -> str:
    """Return a name as it is compared: disks and archivers write one accent in two ways."""
    return unicodedata.normalize("NFC", name)


_LISTED = re.compile(r"^ *(\S[^\r\n]*\.pdf)\r?\n *SHA-256 ([0-9a-f]{64})\r?$", re.MULTILINE)
