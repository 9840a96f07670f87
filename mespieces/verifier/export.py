"""An export opened for reading: a folder or a `.zip`, its lines, and its files, never more than a few lines in memory."""

import io
import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from errno import ENOENT
from pathlib import Path
from typing import IO, Any, Protocol

import orjson

from mespieces.verifier import canonical, packed
from mespieces.verifier.chain import WITHHELD, Payload, Withheld
from mespieces.verifier.faults import Fault, Unreadable, why

LONGEST_LINE = 8 * 1024 * 1024
ABOUT = "log.json"
LARGEST_FILE = 1024 * 1024
BLOCK = 64 * 1024  # what a processor keeps at hand: larger, and it is read again from memory
SALT = 32


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
    """An export in a folder. Raises `Unreadable` for a link among its files: it could lead back, or anywhere.

    Links that lie beside an export, in the folder that was given, are nothing of it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def open(self, name: str) -> IO[bytes]:
        """Open a file for reading; what is there and no file, as a pipe that nobody fills, is not."""
        path = self._at(name)
        if not path.is_file():
            raise FileNotFoundError(ENOENT, "no file", str(path))
        return path.open("rb")

    def names(self, folder: str) -> list[str]:
        """Return the names directly inside a folder."""
        path = self._at(folder)
        names = sorted(item.name for item in path.iterdir()) if path.is_dir() else []
        if folder:
            return [self._at(f"{folder}/{name}").name for name in names]
        return [name for name in names if not (path / name).is_symlink()]

    def size(self, name: str) -> int:
        """Return a file's length."""
        with suppress(Unreadable):
            path = self._at(name)
            return path.stat().st_size if path.is_file() else 0
        return 0

    def _at(self, name: str) -> Path:
        path = self._path
        for part in filter(None, name.split("/")):
            path /= part
            if path.is_symlink():
                raise Unreadable(f"« {name} » est un lien, et les liens ne sont pas suivis : donnez l’export lui-même")
        return path


class Within:
    """An export in the one folder of another place."""

    def __init__(self, where: Source, folder: str) -> None:
        self._where, self._folder = where, folder

    def open(self, name: str) -> IO[bytes]:
        """Open a file for reading."""
        return self._where.open(f"{self._folder}/{name}")

    def names(self, folder: str) -> list[str]:
        """Return the names directly inside a folder."""
        return self._where.names(f"{self._folder}/{folder}")

    def size(self, name: str) -> int:
        """Return a file's length."""
        return self._where.size(f"{self._folder}/{name}")


def found(where: Source) -> Source:
    """Return the export that is in this place: there, or in the only folder there that holds one. Raises `Unreadable`.

    File managers pack a folder with its name; of two exports one reader could see the one, another the other.
    """
    if ABOUT in where.names(""):
        return where
    folders = [name for name in where.names("") if where.size(f"{name}/{ABOUT}")]
    if len(folders) > 1:
        raise Unreadable(f"{len(folders)} exports sont à cet endroit : donnez-en un seul")
    if not folders:
        raise Unreadable(f"ce n’est pas un export du journal : {ABOUT} n’y est pas")
    return Within(where, folders[0])


@contextmanager
def source(path: Path) -> Iterator[Source]:
    """Open the export at `path`. Raises `Unreadable`, also for what goes wrong while it is being read."""
    try:
        if path.is_dir():
            yield found(Folder(path))
            return
        with path.open("rb") as file:
            yield found(packed.opened(file))
    except OSError as error:
        words = why(error) if error.filename is not None else packed.NOT_WHOLE
        raise Unreadable(f"l’export ne peut pas être lu : {words}") from error


def folders(where: Source) -> Iterator[str]:
    """Yield the folders of the journals in an export: its own, "", and those of earlier ones, as they are nested.

    What a file manager leaves beside them, with a name that begins with a dot, is no journal.
    """
    waiting = [""]
    while waiting:
        folder = waiting.pop()
        yield folder
        earlier = (name for name in reversed(where.names(f"{folder}previous")) if not name.startswith("."))
        waiting += (f"{folder}previous/{name}/" for name in earlier)


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
    data = read(where, name) or b""
    try:
        value = json.loads(data)
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
    written = value["salt"]
    salt = bytes.fromhex(written)
    if salt.hex() != written or len(salt) != SALT or len(value) != 2:
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
