"""Opaque bytes kept under names: a folder of files, or memory; what they mean is the vault's affair."""

import contextlib
import errno
import io
import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO, Protocol, Self
from urllib.parse import unquote, urlsplit

from mespieces.errors import Unavailable
from mespieces.gateways import disk
from mespieces.gateways.clock import SystemClock

NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}(/[A-Za-z0-9_-][A-Za-z0-9._-]{0,199})*")
"""No part begins with a point: neither `..` nor a hidden folder can be named."""

REASONS = {
    errno.ENOSPC: "le disque est plein",
    errno.EDQUOT: "le quota du disque est atteint",
    errno.EFBIG: "le fichier est plus grand que le système ne le permet",
    errno.EROFS: "le disque est en lecture seule",
    errno.EACCES: "le service n’a pas le droit d’y accéder",
    errno.EPERM: "le service n’a pas le droit d’y accéder",
    errno.EIO: "le disque est défaillant",
}


class StorageUnavailable(Unavailable):
    """The storage refused to read or write; nothing half-written is visible. `where` is in the details."""

    message = "Le stockage des pièces ne répond pas : {reason}. Rien n’a été enregistré ; réessayez plus tard."


class StorageUnknown(Unavailable):
    """The address of the storage is none that the product knows."""

    message = (
        "L’adresse du stockage (« {scheme} ») n’est pas reconnue. Donnez un dossier sous la forme « file:///dossier »."
    )


class Missing(Unavailable):
    """Nothing is stored under this name."""

    message = "Ce fichier manque dans le stockage des pièces : il a été perdu ou détruit."


@dataclass(frozen=True, slots=True)
class Stored:
    """What is known of stored bytes without reading them."""

    name: str
    size: int
    modified: datetime


class Sink(Protocol):
    """Takes bytes for one name; leaving it without `commit` forgets them."""

    def write(self, data: bytes, /) -> None:
        """Take `data` after what came before. Raises `StorageUnavailable`, and is then aborted."""

    def commit(self) -> None:
        """Make the bytes visible under the name, durably and at once. Raises `StorageUnavailable`."""

    def abort(self) -> None:
        """Forget the bytes; without effect once committed or aborted."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.abort()


class Storage(Protocol):
    """Keeps bytes under relative names made of `[A-Za-z0-9._-]` parts and slashes; other names raise ValueError."""

    def create(self, name: str) -> Sink:
        """Take bytes for `name`, replacing what was there at commit. Raises `StorageUnavailable`."""

    def open(self, name: str) -> BinaryIO:
        """Return the bytes, seekable, to be closed by the caller. Raises `Missing`, `StorageUnavailable`."""

    def delete_all(self, prefix: str) -> int:
        """Delete `prefix` and all below `prefix/`; return how many there were. Raises `StorageUnavailable`."""

    def names(self, prefix: str = "") -> Iterator[Stored]:
        """Give what is stored at `prefix` and below `prefix/`, sorted. Raises `StorageUnavailable`."""

    def check(self) -> None:
        """Make sure that bytes can be written now. Raises `StorageUnavailable`."""

    def sweep_incoming(self, older_than: datetime) -> int:
        """Delete what writers left unfinished, untouched since `older_than`; return how many there were."""


def open_storage(url: str) -> Storage:
    """Return the storage at `file:///folder` or `memory:`. Raises `StorageUnknown`."""
    parts = urlsplit(url)
    if parts.scheme == "file" and parts.netloc in {"", "localhost"} and parts.path.startswith("/"):
        return FolderStorage(Path(unquote(parts.path)))
    if url == "memory:":
        return MemoryStorage()
    raise StorageUnknown(scheme=parts.scheme)


class FolderStorage:
    """Files below `root`, readable by their owner alone.

    Bytes arrive under `root/.incoming` and are renamed once they are all on the disk: a crash leaves no half object.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._incoming = root / ".incoming"

    def create(self, name: str) -> Sink:
        """Take bytes for `name`. Raises `StorageUnavailable`."""
        return _FolderSink(self._incoming, self._path(name), self._root)

    def open(self, name: str) -> BinaryIO:
        """Return the file. Raises `Missing`, `StorageUnavailable`."""
        path = self._path(name)
        with _named(path):
            try:
                return _Raw(path)
            except (FileNotFoundError, IsADirectoryError, NotADirectoryError) as error:
                raise Missing(name=name) from error

    def delete_all(self, prefix: str) -> int:
        """Delete the file or the folder, and the folders left empty above it. Raises `StorageUnavailable`."""
        path = self._path(prefix)
        with _named(path):
            deleted = disk.delete_tree(path) if path.is_dir() and not path.is_symlink() else disk.delete(path)
            self._remove_empty(path.parent)
            return deleted

    def names(self, prefix: str = "") -> Iterator[Stored]:
        """Give the files at `prefix` and below, sorted. Raises `StorageUnavailable`."""
        path = self._path(prefix) if prefix else self._root
        with _named(path):
            if path.is_file():
                yield _stored(prefix, path.stat())
            elif path.is_dir():
                yield from sorted(self._walk(path), key=lambda stored: stored.name)

    def check(self) -> None:
        """Write a few bytes down to the disk and take them away. Raises `StorageUnavailable`."""
        with _FolderSink(self._incoming, self._root / "check", self._root) as sink:
            sink.write(b"check")
            sink.sync()

    def sweep_incoming(self, older_than: datetime) -> int:
        """Delete the temporary files untouched since `older_than`, and the folders that a deletion cut short left empty.

        Raises `StorageUnavailable`.
        """
        swept = 0
        with _named(self._incoming):
            for path in self._incoming.glob("*"):
                with contextlib.suppress(FileNotFoundError):  # committed or aborted meanwhile
                    if path.stat().st_mtime < older_than.timestamp():
                        path.unlink()
                        swept += 1
        with _named(self._root):
            for here, folders, files in os.walk(self._root, topdown=False, onerror=disk.unless_gone):
                if not folders and not files:
                    with contextlib.suppress(FileNotFoundError):  # removed meanwhile
                        if Path(here).stat().st_mtime < older_than.timestamp():  # else it may be about to be filled
                            self._remove_empty(Path(here))
        return swept

    def _remove_empty(self, folder: Path) -> None:
        """Remove a folder that is empty, and those left empty above it."""
        while folder not in {self._root, self._incoming} and disk.remove_empty(folder):
            folder = folder.parent

    def _path(self, name: str) -> Path:
        return self._root / _checked(name)

    def _walk(self, folder: Path) -> Iterator[Stored]:
        for here, folders, files in os.walk(folder, onerror=disk.unless_gone):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for file in files:
                path = Path(here, file)
                with contextlib.suppress(FileNotFoundError):  # deleted meanwhile
                    yield _stored(path.relative_to(self._root).as_posix(), path.stat())


class _FolderSink(Sink):
    """Writes a temporary file, renamed over the target at commit."""

    def __init__(self, incoming: Path, target: Path, root: Path) -> None:
        self._target, self._root = target, root
        self._temporary = incoming / secrets.token_hex(16)
        self._over = False
        with _named(target):
            root.mkdir(mode=0o700, parents=True, exist_ok=True)
            incoming.mkdir(mode=0o700, exist_ok=True)
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
            self._file = os.fdopen(os.open(self._temporary, flags, 0o600), "wb")

    def write(self, data: bytes, /) -> None:
        with self._aborted_on_failure():
            self._file.write(data)

    def sync(self) -> None:
        with self._aborted_on_failure():
            self._file.flush()
            os.fsync(self._file.fileno())

    def commit(self) -> None:
        self.sync()
        with self._aborted_on_failure():
            self._file.close()
            self._publish()
            self._over = True
            disk.sync_folder(self._target.parent)

    def abort(self) -> None:
        if self._over:
            return
        self._over = True
        with contextlib.suppress(OSError):  # a full disk refuses the last buffer again; what matters is the unlink
            self._file.close()
        with contextlib.suppress(OSError):  # a dead disk refuses even this; the sweep comes back to it
            self._temporary.unlink()

    def _publish(self) -> None:
        for attempts_left in (2, 1, 0):
            disk.make_folders(self._target.parent, self._root)
            try:
                self._temporary.replace(self._target)
            except FileNotFoundError:  # a deletion took the folder away, still empty
                if not attempts_left:
                    raise
            else:
                return

    @contextlib.contextmanager
    def _aborted_on_failure(self) -> Iterator[None]:
        if self._over:
            raise ValueError("these bytes were committed or aborted")
        try:
            with _named(self._target):
                yield
        except BaseException:
            self.abort()
            raise


class _Raw(io.FileIO):
    """A file whose failures are named."""

    def readinto(self, buffer: bytearray | memoryview, /) -> int | None:  # type: ignore[override]
        with _named(self.name):
            return super().readinto(buffer)

    def read(self, size: int | None = -1, /) -> bytes:
        with _named(self.name):
            return super().read(size) or b""


class MemoryStorage:
    """Bytes in memory, gone with the process: for tests and for trying."""

    def __init__(self) -> None:
        self._objects: dict[str, tuple[bytes, datetime]] = {}

    def create(self, name: str) -> Sink:
        """Take bytes for `name`."""
        return _MemorySink(self._objects, _checked(name))

    def open(self, name: str) -> BinaryIO:
        """Return the bytes. Raises `Missing`."""
        try:
            return io.BytesIO(self._objects[_checked(name)][0])
        except KeyError as error:
            raise Missing(name=name) from error

    def delete_all(self, prefix: str) -> int:
        """Delete `prefix` and all below."""
        names = [stored.name for stored in self.names(_checked(prefix))]
        return sum(self._objects.pop(name, None) is not None for name in names)

    def names(self, prefix: str = "") -> Iterator[Stored]:
        """Give what is stored at `prefix` and below, sorted."""
        prefix = prefix and _checked(prefix)
        for name, (data, modified) in sorted(self._objects.items()):
            if not prefix or name == prefix or name.startswith(prefix + "/"):
                yield Stored(name, len(data), modified)

    def check(self) -> None:
        """Memory can always be written."""

    def sweep_incoming(self, older_than: datetime) -> int:  # noqa: ARG002 — the protocol's signature
        """Find nothing: an unfinished writer takes its bytes with it."""
        return 0


class _MemorySink(Sink):
    """Holds bytes until commit."""

    def __init__(self, objects: dict[str, tuple[bytes, datetime]], name: str) -> None:
        self._objects, self._name = objects, name
        self._data = bytearray()
        self._over = False

    def write(self, data: bytes, /) -> None:
        self._refuse_when_over()
        self._data += data

    def commit(self) -> None:
        self._refuse_when_over()
        self._over = True
        self._objects[self._name] = (bytes(self._data), SystemClock().now())

    def abort(self) -> None:
        self._over = True
        self._data = bytearray()

    def _refuse_when_over(self) -> None:
        if self._over:
            raise ValueError("these bytes were committed or aborted")


def _checked(name: str) -> str:
    if not NAME.fullmatch(name):
        raise ValueError(f"not a name of the storage: {name!r}")
    return name


@contextlib.contextmanager
def _named(where: object) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        reason = REASONS.get(error.errno or 0, "une opération a échoué")
        raise StorageUnavailable(reason=reason, where=str(where)) from error


def _stored(name: str, status: os.stat_result) -> Stored:
    return Stored(name, status.st_size, datetime.fromtimestamp(status.st_mtime, UTC))
