"""The journal handed to an auditor: files that verify without this product (`docs/journal-format.md`)."""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import IO, Any, NamedTuple

from mespieces import models
from mespieces.domain import anchors, checkpoints, journal
from mespieces.errors import Refused, Unavailable
from mespieces.gateways import Gateways, disk
from mespieces.models import JournalLog, JournalRecord, Office
from mespieces.verifier import export, merkle, record
from mespieces.verifier.chain import WITHHELD, Payload

STEP = 5_000  # records between two words on how far it is

Opener = Callable[[str], AbstractContextManager[IO[bytes]]]
"""Opens a file of the export, by its name, for writing."""


class FolderNotEmpty(Refused):
    """An export never mixes with something else."""

    message = "Le dossier {folder} n’est pas vide : choisissez un dossier nouveau."


class FolderUnwritable(Unavailable):
    """The folder cannot be made, or written to the end."""

    message = "L’export ne peut pas être écrit dans {folder} : {reason}. Rien n’y est laissé."


class PurgedMeanwhile(Refused):
    """The journal forgot something while it was being written: what is gone would look taken away."""

    message = (
        "Le journal a effacé des noms pendant l’export, qui n’est pas complet : recommencez dans un dossier nouveau."
    )


class Begun(NamedTuple):
    """What an export is of: the open journal as it was, its size with `journal.exported`, its newest published size."""

    row: JournalLog
    size: int
    published: int


def begin(
    gateways: Gateways, *, by: journal.Author, office: Office | None = None, detail: Mapping[str, Any] | None = None
) -> Begun:
    """Append `journal.exported`, the record that an export ends with."""
    with models.write():
        size = journal.append(gateways, "journal.exported", author=by, office=office, detail=detail) + 1
        # Seen under the head's lock, a checkpoint beyond the end is no other process's: it shows what was cut.
        row = journal.head()
        published = checkpoints.newest(gateways, row)
        return Begun(row, size, published.checkpoint.size if published else 0)


def records() -> int:
    """Return how many records an export begun now holds: its own, and those of earlier journals. Raises `JournalClosed`."""
    return int(journal.head().size) + 1 + sum(earlier.size for earlier in _earlier())


def total(begun: Begun) -> int:
    """Return how many records a begun export holds, those of earlier journals included."""
    return begun.size + sum(earlier.size for earlier in _earlier())


def write(gateways: Gateways, folder: Path, *, by: journal.Author, told: Callable[[int], None] = lambda _: None) -> int:
    """Export the whole journal into `folder` and return how many records it holds; `told` hears of each batch.

    `journal.exported` is appended first, then a checkpoint of exactly that size is signed, so that a cut is seen.
    Raises `FolderNotEmpty`, `FolderUnwritable` (then nothing is left there), `PurgedMeanwhile`.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise FolderNotEmpty(folder=folder)
    except OSError as error:
        raise FolderUnwritable(folder=folder, reason=disk.reason(error)) from error

    @contextmanager
    def create(name: str) -> Iterator[IO[bytes]]:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        with (folder / name).open("wb") as file:
            yield file
            if name.endswith("journal.jsonl"):  # a full disk is told before the export is called whole
                file.flush()
                os.fsync(file.fileno())

    begun = begin(gateways, by=by)
    try:
        write_files(gateways, begun, create, shown=lambda _: True, told=told)
    except OSError as error:
        with suppress(OSError):
            disk.delete_tree(folder)
        raise FolderUnwritable(folder=folder, reason=disk.reason(error)) from error
    if not holds(begun):
        raise PurgedMeanwhile
    return begun.size


def write_files(
    gateways: Gateways,
    begun: Begun,
    create: Opener,
    *,
    shown: Callable[[journal.Line], bool],
    told: Callable[[int], None],
) -> None:
    """Write the export's files, withholding the payloads of the records that are not `shown`; each file once, in constant memory."""
    row, size = begun.row, begun.size
    for log, held, folder in [(row, size, ""), *((one, one.size, f"previous/{one.log}/") for one in _earlier())]:
        tree, then = _write_records(log, held, folder, create, shown, told, begun.published)
        # A checkpoint beyond the end shows what was lost.
        reach, signed = 2**53 if folder else max(size, begun.published), {}
        # Records that contradict what was published leave as they are, for whoever examines them, and nothing new is signed.
        if not folder and checkpoints.agrees(gateways, row, begun.published, then):
            signed = {size: checkpoints.sign(gateways, row, size, tree.root())}
        for length, note in checkpoints.notes(log.log, reach):
            # Over the one just signed, if that size was published already: they differ when the records were changed since.
            signed.pop(length, None)
            _put(create, f"{folder}checkpoints/{length}.note", note)
        for length, note in signed.items():
            _put(create, f"{folder}checkpoints/{length}.note", note)
        for name, data in anchors.files(log.log, held):
            _put(create, f"{folder}timestamps/{name}", data)
        facts = {"log": log.log, "origin": log.origin, "vkey": checkpoints.vkey_of(gateways, log)}
        _put(create, f"{folder}log.json", (json.dumps(facts, indent=1) + "\n").encode())


def holds(begun: Begun) -> bool:
    """Tell whether what was read since is the journal as it stood: no purge came in between, nor another journal.

    A purge announced beyond the export's end would make what it erased look missing.
    """
    purged = JournalRecord.select().where(
        JournalRecord.log == begun.row.log,
        JournalRecord.sequence >= begun.size,
        JournalRecord.operation == "journal.purged",
    )
    return journal.head().log == begun.row.log and not purged.exists()


def _earlier() -> list[JournalLog]:
    return list(JournalLog.select().where(JournalLog.closed_at.is_null(False)).order_by(JournalLog.opened_at))


def _write_records(
    log: JournalLog, size: int, folder: str, create: Opener,
    shown: Callable[[journal.Line], bool], told: Callable[[int], None], published: int,
) -> tuple[merkle.Frontier, bytes]:  # fmt: skip
    """Write the records; return their tree, and its root when it had `published` leaves, empty if it never had."""
    with create(f"{folder}journal.jsonl") as file:
        since, tree, then = 0, merkle.Frontier(), b""
        for line in journal.lines(log.log, stop=size):
            proof, trace = (line.proof, line.trace) if shown(line) else (_withheld(line.proof), _withheld(line.trace))
            file.write(export.write_line(line.header, proof, trace))
            tree.append(record.record_hash(line.header))
            then = tree.root() if tree.size == published else then
            since += 1
            if since == STEP:
                told(since)
                since = 0
        told(since)
    return tree, then


def _withheld(payload: tuple[bytes, bytes] | None) -> Payload:
    """Return what stands for a payload that the reader may not see: what was erased is erased for everybody."""
    return None if payload is None else WITHHELD


def _put(create: Opener, name: str, data: bytes) -> None:
    with create(name) as file:
        file.write(data)
