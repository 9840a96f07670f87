"""An export opened for reading: a folder or a `.zip`, its lines, and its files, never more than a line in memory."""

import io
import json
import re
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Any, Protocol

from mespieces.verifier import canonical
from mespieces.verifier.chain import WITHHELD, Payload, Withheld
from mespieces.verifier.faults import Fault

LONGEST_LINE = 8 * 1024 * 1024
LARGEST_FILE = 1024 * 1024


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


def lines(where: Source, name: str) -> Iterator[bytes]:
    """Yield the lines of a journal, each with its line feed. Raises `Unreadable`."""
    try:
        stream = where.open(name)
    except (KeyError, FileNotFoundError) as error:
        raise Unreadable(f"{name} manque") from error
    with stream:
        while line := stream.readline(LONGEST_LINE):
            if len(line) == LONGEST_LINE:
                raise Unreadable(f"une ligne de {name} est trop longue")
            yield line


def write_line(header: bytes, proof: Payload, trace: Payload) -> bytes:
    """Return the line of one record: the RFC 8785 bytes of the object, and a line feed."""
    parts = (canonical.quote(header.decode()), _write(proof), _write(trace))
    return '{{"header":{},"proof":{},"trace":{}}}\n'.format(*parts).encode()


def parse_line(line: bytes) -> tuple[bytes, Payload, Payload]:
    """Return the header and the two payloads of a line. Raises `LineRefused` unless it is exactly what `write_line` writes."""
    match = _PLAIN_LINE(line)
    if match and (line.isascii() or _is_text(line)):
        header, body, salt, trace_body, trace_salt = match.groups()
        proof = (bytes.fromhex(salt.decode()), body.replace(b'\\"', b'"'))
        trace = (bytes.fromhex(trace_salt.decode()), trace_body.replace(b'\\"', b'"'))
        return header.replace(b'\\"', b'"'), proof, trace
    return _parse_any_line(line)


def _parse_any_line(line: bytes) -> tuple[bytes, Payload, Payload]:
    try:
        entry = json.loads(line)
        header = entry["header"].encode("ascii")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise LineRefused from error
    with suppress(ValueError, KeyError, TypeError, AttributeError):
        proof, trace = _payload(entry["proof"]), _payload(entry["trace"])
        if write_line(header, proof, trace) == line:
            return header, proof, trace
    # Canonical JSON around payloads of another shape: the header can still take its place in the chain.
    raise LineRefused(header if entry.keys() == _KEYS and _is_canonical(entry, line) else None)


def _is_text(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _is_canonical(entry: dict[str, Any], line: bytes) -> bool:
    plain = json.dumps(entry, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return plain.encode(errors="surrogatepass") + b"\n" == line


def _payload(value: Any) -> Payload:
    if value is None:
        return None
    if "withheld" in value:
        return WITHHELD
    salt = value["salt"]
    if not _SALT(salt):
        raise LineRefused
    return bytes.fromhex(salt), value["body"].encode()


def _write(payload: Payload) -> str:
    if payload is None:
        return "null"
    if isinstance(payload, Withheld):
        return '{"withheld":true}'
    salt, body = payload
    return f'{{"body":{canonical.quote(body.decode())},"salt":"{salt.hex()}"}}'


# Nearly every line: both payloads there, and no escape but that of quotes. One expression then decides that the line is
# canonical; the texts in it are judged by those who read them (a header is ASCII, a body is UTF-8 in canonical form).
_TEXT = rb'"([^"\\\x00-\x1f]*+(?:\\"[^"\\\x00-\x1f]*+)*+)"'
_PAYLOAD = rb'\{"body":' + _TEXT + rb',"salt":"([0-9a-f]{64})"\}'
_PLAIN_LINE = re.compile(
    rb'\{"header":' + _TEXT + b',"proof":' + _PAYLOAD + b',"trace":' + _PAYLOAD + rb"\}\n"
).fullmatch
_KEYS = {"header", "proof", "trace"}
_SALT = re.compile("[0-9a-f]{64}").fullmatch
