"""What a deposited document is, shown page by page: parsed by a confined child program, never in this process.

The parent keeps the key and decrypts the ranges the child asks for; no plaintext touches the disk, and neither process
holds the whole file. Everything the child sends back is checked as a stranger's word.
"""

import contextlib
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from mespieces.errors import Invalid, NotFound, Refusal, Unavailable, Unsupported

MEDIA_TYPES: dict[str, str] = {
    "application/pdf": ".pdf",
    "image/jpeg": ".jpg",
    "image/png": ".png",
    "image/tiff": ".tiff",
    "image/heic": ".heic",
    "image/webp": ".webp",
}
NOTICES = frozenset({"factur-x", "attachments", "javascript", "form", "launch", "no-text", "signed"})
PAGES = 2000
PATIENCE = 90.0  # seconds to wait for one result: an inspection, a page, the text of a page
_LARGEST_READ = 1 << 20
_LARGEST_FRAME = 64 << 20
_LARGEST_TEXT = 64 << 20
_LARGEST_ATTACHED = 16 << 20
_MOST_ATTACHED = 600
_NOTHING: dict[str, str] = {}
CHILDREN = max(2, os.cpu_count() or 1)
_SLOTS = threading.BoundedSemaphore(CHILDREN)  # each child may take 1.5 GiB: forty phones must not fell the machine
_STRANGERS = threading.BoundedSemaphore(1)  # what anybody sends never takes every place from the readers
_CHILD = Path(__file__).with_name("preview_child.py")


class Source(Protocol):
    """A document's bytes, read anywhere."""

    @property
    def size(self) -> int:
        """The whole length in bytes."""

    def read_at(self, offset: int, length: int) -> bytes:
        """Return `length` bytes from `offset`, fewer at the end."""


@dataclass(frozen=True)
class Inspection:
    """What a document is: its media type, its number of pages, and what the office should know of it."""

    media_type: str
    pages: int
    notices: tuple[str, ...]


class PasswordNeeded(Unsupported):
    """The document opens only with a password: an unreasonable effort for the recipient (art. 2)."""

    message = (
        "Le fichier « {filename} » demande un mot de passe : le destinataire ne pourrait pas l’ouvrir. "
        "Ouvrez-le avec son mot de passe, enregistrez-en une copie sans protection (« Imprimer », puis "
        "« Enregistrer au format PDF »), et déposez cette copie."
    )


class EmptyFile(Invalid):
    """The file holds no byte."""

    message = (
        "Le fichier « {filename} » est vide. Vérifiez-le sur votre poste, puis déposez-le de nouveau ; s’il vient "
        "d’un courriel, enregistrez d’abord la pièce jointe."
    )


class NotSupportedFormat(Unsupported):
    """The content is none of the formats any phone opens."""

    message = (
        "Le fichier « {filename} » n’est ni un PDF, ni une image JPEG, PNG, TIFF, HEIC ou WebP, quelle que soit la fin "
        "de son nom. Ouvrez-le avec son logiciel, enregistrez-le au format PDF, et déposez ce PDF."
    )


class Unreadable(Unsupported):
    """The document is cut short or broken."""

    message = (
        "Le fichier « {filename} » est incomplet ou abîmé : il ne s’ouvre pas correctement. Copiez-le de nouveau depuis "
        "son origine, ou ouvrez-le et réenregistrez-le au format PDF, puis déposez-le."
    )


class NoPages(Unsupported):
    """The PDF opens, with nothing to show."""

    message = "Le fichier « {filename} » ne contient aucune page. Déposez la version qui contient le document."


class TrailingData(Unsupported):
    """Something else, such as an archive, hides behind the document's end."""

    message = (
        "Le fichier « {filename} » contient, après la fin du document, des données que le destinataire ne verrait pas "
        "(une archive, par exemple). Ouvrez-le, réenregistrez-le au format PDF, et déposez cette copie ; les documents "
        "joints se déposent un par un."
    )


class TooManyPages(Unsupported):
    """More pages than can be shown in reasonable time."""

    message = "Le fichier « {filename} » dépasse 2 000 pages. Partagez-le en plusieurs pièces plus courtes."


class ImageTooLarge(Unsupported):
    """An image of more than 200 million pixels, which no phone can show."""

    message = (
        "L’image « {filename} » dépasse 200 millions de pixels : un téléphone ne pourrait pas l’afficher. "
        "Numérisez-la avec une définition plus basse (300 points par pouce suffisent), puis déposez-la."
    )


class PageMissing(NotFound):
    """The document has fewer pages."""

    message = "Cette page n’existe pas dans la pièce."


class PreviewFailed(Unavailable):
    """The page could not be drawn; the original is intact."""

    message = "L’aperçu n’a pas pu être préparé. Le document d’origine est intact : réessayez, ou téléchargez-le."


class TooBusy(Unavailable):
    """Every place to read documents in has been taken for too long."""

    message = "Trop de documents sont en cours de lecture : réessayez dans quelques instants."


_REFUSALS: dict[str, type[Refusal]] = {
    state.__name__: state
    for state in (
        PasswordNeeded,
        NotSupportedFormat,
        Unreadable,
        NoPages,
        TrailingData,
        TooManyPages,
        ImageTooLarge,
        PageMissing,
    )
}


def inspect(source: Source, filename: str) -> Inspection:
    """Tell what a document is, from its content alone (art. 2: what a phone opens without effort).

    Raises `EmptyFile`, `PasswordNeeded`, `NotSupportedFormat`, `Unreadable`, `NoPages`, `TrailingData`, `TooManyPages`
    or `ImageTooLarge`, each naming `filename` and the cure. A document that kills its reader is `Unreadable`.
    """
    if not source.size:
        raise EmptyFile(filename=filename)
    try:
        found = [json.loads(body) for kind, body in _run(source, {"operation": "inspect", "cpu": 60}) if kind == b"I"]
        inspection = Inspection(found[0]["media_type"], int(found[0]["pages"]), tuple(found[0]["notices"]))
    except _Refused as refused:
        raise _REFUSALS.get(refused.name, Unreadable)(filename=filename) from None
    except (_Died, LookupError, ValueError, TypeError):
        raise Unreadable(filename=filename) from None
    if (
        inspection.media_type not in MEDIA_TYPES
        or not 0 < inspection.pages <= PAGES
        or set(inspection.notices) - NOTICES
    ):
        raise Unreadable(filename=filename)
    return inspection


def render(source: Source, media_type: str, pages: Iterable[int], width: int = 1240) -> Iterator[tuple[int, bytes]]:
    """Draw pages (numbered from 1) as WebP, each given as soon as it is drawn, by one child for all.

    Raises `PageMissing` and `PreviewFailed`. Closing the iterator ends the child.
    """
    wanted = list(dict.fromkeys(pages))
    if any(page < 1 for page in wanted):
        raise PageMissing
    job = {"operation": "render", "media_type": media_type, "pages": wanted, "width": width}
    drawn = set()
    for body in _results(source, job | {"cpu": 30 + 10 * len(wanted)}, b"P"):
        page = int.from_bytes(body[:4], "big")
        if page not in wanted or page in drawn or body[4:8] != b"RIFF" or body[12:16] != b"WEBP":
            raise PreviewFailed
        drawn.add(page)
        yield page, body[4:]
    if len(drawn) != len(wanted):
        raise PreviewFailed


def text(source: Source, media_type: str) -> list[str]:
    """Return the text of each page, empty where there is none. Raises `PreviewFailed`."""
    texts: list[str] = []
    length = 0
    for body in _results(source, {"operation": "text", "media_type": media_type, "cpu": 120}, b"T"):
        length += len(body)
        if length > _LARGEST_TEXT or len(texts) >= PAGES:
            raise PreviewFailed
        texts.append(body.decode("utf-8", "replace"))
    return texts


def attached(data: bytes) -> list[bytes]:
    """Return the JSON files attached to a PDF that anybody may have sent, in its order: 600, of 16 MiB in all, at most.

    Nothing when it cannot be read: encrypted, broken, too costly. At most one such PDF is read at a time. Raises `TooBusy`.
    """
    if not _STRANGERS.acquire(timeout=PATIENCE / 3):
        raise TooBusy
    found: list[bytes] = []
    job = {"operation": "attached", "media_type": "application/pdf", "cpu": 10}
    try:
        with contextlib.closing(_run(_Bytes(data), job)) as frames:
            for kind, body in frames:
                found.append(body)
                if kind != b"A" or len(found) > _MOST_ATTACHED or sum(map(len, found)) > _LARGEST_ATTACHED:
                    return []
    except (_Refused, _Died):
        return []
    finally:
        _STRANGERS.release()
    return found


@dataclass(frozen=True)
class _Bytes:
    """Bytes in memory, as a source."""

    data: bytes

    @property
    def size(self) -> int:
        return len(self.data)

    def read_at(self, offset: int, length: int) -> bytes:
        return self.data[offset : offset + length]


class _Refused(Exception):  # noqa: N818 — the child's word, not yet a refusal
    """The child refused the document."""

    def __init__(self, name: str) -> None:
        self.name = name


class _Died(Exception):  # noqa: N818 — the child's state
    """The child ended, hung or spoke out of turn."""


def _results(source: Source, job: dict[str, Any], kind: bytes) -> Iterator[bytes]:
    try:
        with contextlib.closing(_run(source, job)) as frames:
            for found, body in frames:
                if found == kind:
                    yield body
    except _Refused as refused:
        raise (PageMissing if refused.name == "PageMissing" else PreviewFailed) from None
    except _Died:
        raise PreviewFailed from None


def _run(source: Source, job: dict[str, Any]) -> Generator[tuple[bytes, bytes], None, None]:
    """Start a child for one job and give the frames it sends, answering its reads in between."""
    if not _SLOTS.acquire(timeout=PATIENCE):
        raise TooBusy
    try:
        yield from _run_alone(source, job)
    finally:
        _SLOTS.release()


def _run_alone(source: Source, job: dict[str, Any]) -> Generator[tuple[bytes, bytes], None, None]:
    ours, theirs = socket.socketpair()
    command = [sys.executable, "-I", "-B", str(_CHILD)]
    with ours:
        with theirs:
            child = subprocess.Popen(
                command,
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=_NOTHING,
                cwd="/",
            )
        try:
            yield from _converse(ours, source, {"media_type": "", **job, "size": source.size})
        finally:
            child.kill()
            child.wait()


def _converse(channel: socket.socket, source: Source, job: dict[str, Any]) -> Iterator[tuple[bytes, bytes]]:
    deadline = time.monotonic() + PATIENCE
    order = json.dumps(job).encode()
    _send(channel, struct.pack(">I", len(order)) + order, deadline)
    while True:
        kind, length = struct.unpack(">cI", _receive(channel, 5, deadline))
        if length > _LARGEST_FRAME:
            raise _Died
        body = _receive(channel, length, deadline)
        if kind == b"R" and length == 12:
            offset, wanted = struct.unpack(">QI", body)
            answer = source.read_at(offset, min(wanted, _LARGEST_READ)) if offset < source.size else b""
            _send(channel, struct.pack(">I", len(answer)) + answer, deadline)
        elif kind == b"D":
            return
        elif kind == b"E":
            raise _Refused(body.decode("ascii", "replace"))
        else:
            yield kind, body
            deadline = time.monotonic() + PATIENCE  # the caller's own time does not count


def _send(channel: socket.socket, message: bytes, deadline: float) -> None:
    try:
        channel.settimeout(max(0.001, deadline - time.monotonic()))
        channel.sendall(message)
    except OSError:  # TimeoutError is one
        raise _Died from None


def _receive(channel: socket.socket, length: int, deadline: float) -> bytes:
    parts = bytearray()
    while len(parts) < length:
        try:
            channel.settimeout(max(0.001, deadline - time.monotonic()))
            part = channel.recv(min(length - len(parts), 1 << 18))
        except OSError:  # TimeoutError is one
            raise _Died from None
        if not part:
            raise _Died
        parts += part
    return bytes(parts)
