"""An export opened for reading: a folder or a `.zip`, its lines, and its files, never more than a few lines in memory."""

import io
import json
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any, Protocol

import orjson

from mespieces.verifier import canonical
from mespieces.verifier.chain import WITHHELD, Payload, Withheld
from mespieces.verifier.faults import Fault

LONGEST_LINE = 8 * 1024 * 1024
LARGEST_FILE = 1024 * 1024
BLOCK = 256 * 1024
SALT = 32


class Unreadable(Fault):
    """The export cannot be read: nothing can be said of the journal."""


class LineRefused(Fault):
    """A line that is not what the format writes; `header` is its header's text when that part at least is whole."""

    def __init__(self, header: bytes | None = None) -> None:
        self.header = header
        super().__init__("this line is not of the export's form")


class Source(Protocol):
    """Where an export's files are."""

    def open(self, name: str) -> IO[bytes]:
        """Open a file for reading. Raises `KeyError` or `OSError` when it is not there."""

    def names(self, folder: str) -> list[str]:
        """Return the names directly inside a folder, none when it is not there."""

    def size(self, name: str) -> int:
        """Return a file's length, 0 when it is not there."""


class Folder:
    """An export in a folder."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def open(self, name: str) -> IO[bytes]:
        """Open a file for reading."""
        return (self._path / name).open("rb")

    def names(self, folder: str) -> list[str]:
        """Return the names directly inside a folder."""
        path = self._path / folder
        return sorted(item.name for item in path.iterdir()) if path.is_dir() else []

    def size(self, name: str) -> int:
        """Return a file's length."""
        path = self._path / name
        return path.stat().st_size if path.is_file() else 0


class Archive:
    """An export in a `.zip`. Raises `Unreadable` when a name stands twice in it: two readers could see two journals."""

    def __init__(self, archive: zipfile.ZipFile) -> None:
        self._archive = archive
        names = archive.namelist()
        if len(set(names)) != len(names):
            raise Unreadable("un même nom figure deux fois dans l’archive")
        self._folders: dict[str, set[str]] = {}
        for name in names:
            parts = name.rstrip("/").split("/")
            for depth, part in enumerate(parts):
                self._folders.setdefault("/".join(parts[:depth]), set()).add(part)

    def open(self, name: str) -> IO[bytes]:
        """Open a file for reading."""
        return io.BufferedReader(self._archive.open(name), 1 << 20)  # type: ignore[type-var]  # a reader in all but name

    def names(self, folder: str) -> list[str]:
        """Return the names directly inside a folder."""
        return sorted(self._folders.get(folder.rstrip("/"), ()))

    def size(self, name: str) -> int:
        """Return a file's length, as the archive tells it."""
        return self._archive.NameToInfo[name].file_size if name in self._archive.NameToInfo else 0


@contextmanager
def source(path: Path) -> Iterator[Source]:
    """Open the export at `path`. Raises `Unreadable`, also for what goes wrong while it is being read."""
    try:
        if path.is_dir():
            yield Folder(path)
        else:
            with zipfile.ZipFile(path) as archive:
                yield Archive(archive)
    except (OSError, EOFError, RuntimeError, zipfile.BadZipFile, zipfile.LargeZipFile, zlib.error) as error:
        raise Unreadable(f"l’export ne peut pas être lu ({error})") from error


def read(where: Source, name: str) -> bytes | None:
    """Return a small file's bytes, or None when it is not there. Raises `Unreadable` when it is not small."""
    try:
        with where.open(name) as stream:
            data = stream.read(LARGEST_FILE + 1)
    except (KeyError, FileNotFoundError, NotADirectoryError, IsADirectoryError):
        return None
    if len(data) > LARGEST_FILE:
        raise Unreadable(f"{name} est trop grand")
    return data


def read_json(where: Source, name: str) -> dict[str, Any]:
    """Return the members of a small JSON object. Raises `Unreadable`."""
    try:
        value = json.loads(read(where, name) or b"")
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"{name} manque ou n’est pas lisible") from error
    if not isinstance(value, dict):
        raise Unreadable(f"{name} n’est pas lisible")
    return value


def blocks(where: Source, name: str) -> Iterator[bytes]:
    """Yield a journal in runs of whole lines, each with its line feed but perhaps the last. Raises `Unreadable`."""
    try:
        stream = where.open(name)
    except (KeyError, FileNotFoundError) as error:
        raise Unreadable(f"{name} manque") from error
    rest = b""
    with stream:
        while piece := stream.read(BLOCK):
            end = piece.rfind(b"\n") + 1
            if end:
                yield rest + piece[:end]
                rest = b""
            rest += piece[end:]
            if len(rest) >= LONGEST_LINE:
                raise Unreadable(f"une ligne de {name} est trop longue")
    if rest:
        yield rest


def lines(where: Source, name: str) -> Iterator[bytes]:
    """Yield the lines of a journal, each with its line feed. Raises `Unreadable`."""
    for block in blocks(where, name):
        yield from io.BytesIO(block)


def write_line(header: bytes, proof: Payload, trace: Payload) -> bytes:
    """Return the line of one record: the RFC 8785 bytes of the object, and a line feed."""
    parts = (canonical.quote(header.decode()), _write(proof), _write(trace))
    return '{{"header":{},"proof":{},"trace":{}}}\n'.format(*parts).encode()


def parse_line(line: bytes) -> tuple[bytes, Payload, Payload]:
    """Return the header and the two payloads of a line. Raises `LineRefused` unless it is exactly what `write_line` writes.

    A body is canonical bytes to be judged by who reads it; here only its place in the line is.
    """
    try:
        entry = orjson.loads(line)
        if orjson.dumps(entry, option=_AS_WRITTEN) == line and len(entry) == len(_KEYS):
            return entry["header"].encode("ascii"), _payload(entry["proof"]), _payload(entry["trace"])
    except (ValueError, KeyError, TypeError, AttributeError):  # orjson's errors are ValueErrors and TypeErrors
        pass
    raise LineRefused(_header_of(line))


def _header_of(line: bytes) -> bytes | None:
    """Return the header of canonical JSON around payloads of another shape: it can still take its place in the chain."""
    try:
        entry = json.loads(line)
        header: bytes = entry["header"].encode("ascii")
        return header if entry.keys() == _KEYS and _is_canonical(entry, line) else None
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return None


def _is_canonical(entry: dict[str, Any], line: bytes) -> bool:
    plain = json.dumps(entry, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return plain.encode(errors="surrogatepass") + b"\n" == line


def _payload(value: Any) -> Payload:
    if value is None:
        return None
    if len(value) == 1 and value["withheld"] is True:
        return WITHHELD
    salt = bytes.fromhex(value["salt"])
    if len(value) != len(("body", "salt")) or len(salt) != SALT or salt.hex() != value["salt"]:  # a space, a capital
        raise ValueError
    return salt, value["body"].encode()


def _write(payload: Payload) -> str:
    if payload is None:
        return "null"
    if isinstance(payload, Withheld):
        return '{"withheld":true}'
    salt, body = payload
    return f'{{"body":{canonical.quote(body.decode())},"salt":"{salt.hex()}"}}'


_AS_WRITTEN = orjson.OPT_SORT_KEYS | orjson.OPT_APPEND_NEWLINE
_KEYS = {"header", "proof", "trace"}
