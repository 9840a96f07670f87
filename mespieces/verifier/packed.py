"""An export packed in a `.zip`: its names, and its files unpacked as they are read."""

import io
import unicodedata
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from typing import IO, Any

from mespieces.verifier.faults import Fault, Unreadable

NOT_WHOLE = "il n’est pas entier, ou n’est ni un dossier ni une archive .zip"
_PACKED = (
    "son archive est abîmée, ou bien compressée ou chiffrée d’une façon que ce programme ne lit pas ; "
    "décompressez-la, et donnez le dossier"
)


class Archive:
    """An export in a `.zip`. Raises `Unreadable` for names that two readers could take for two journals.

    A name stands twice in it, but for capitals or accents as some disks have it; or it leads elsewhere than it says.
    """

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        names = archive.namelist()
        if len({unicodedata.normalize("NFC", name).casefold() for name in names}) != len(names):
            raise Unreadable("un même nom figure deux fois dans l’archive")
        if any({"", ".", ".."} & set(name.removesuffix("/").split("/")) or "\\" in name for name in names):
            raise Unreadable("un nom de l’archive mène ailleurs que dans l’export")
        self._folders: dict[str, set[str]] = {}
        for name in names:
            parts = name.rstrip("/").split("/")
            for depth, part in enumerate(parts):
                self._folders.setdefault("/".join(parts[:depth]), set()).add(part)

    def open(self, name: str) -> IO[bytes]:
        """Open a file for reading."""
        with _unpacking():
            return io.BufferedReader(_Unpacked(self._archive.open(name)), 1 << 20)

    def names(self, folder: str) -> list[str]:
        """Return the names directly inside a folder."""
        return sorted(self._folders.get(folder.rstrip("/"), ()))

    def size(self, name: str) -> int:
        """Return a file's length, as the archive tells it."""
        return self._archive.NameToInfo[name].file_size if name in self._archive.NameToInfo else 0


class _Unpacked(io.RawIOBase):
    """A file of an archive. Raises `Unreadable` for what does not unpack."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream = stream

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        with _unpacking():
            data = self._stream.read(len(buffer))
            buffer[: len(data)] = data
            return len(data)


def opened(file: IO[bytes]) -> Archive:
    """Open an archive. Raises `Unreadable`."""
    with _unpacking():
        return Archive(zipfile.ZipFile(file))


@contextmanager
def _unpacking() -> Iterator[None]:
    """Turn what each way of packing raises of its own for a damaged archive into one refusal; a `KeyError` says that a file is absent."""
    try:
        yield
    except (KeyError, Fault):
        raise
    except RuntimeError as error:
        raise Unreadable(f"l’export ne peut pas être lu : {_PACKED}") from error
    except Exception as error:
        raise Unreadable(f"l’export ne peut pas être lu : {NOT_WHOLE}") from error
