"""The journal handed to an auditor: a folder that verifies without this product (`docs/journal-format.md`)."""

import json
import os
from pathlib import Path
from typing import Any

from mespieces import models
from mespieces.domain import anchors, checkpoints, journal
from mespieces.errors import Refused
from mespieces.gateways import Gateways
from mespieces.models import JournalCheckpoint, JournalLog
from mespieces.verifier import canonical


class FolderNotEmpty(Refused):
    """An export never mixes with something else."""

    message = "Le dossier {folder} n’est pas vide : choisissez un dossier nouveau."


def write(gateways: Gateways, folder: Path, *, by: journal.Author) -> int:
    """Export the whole journal into `folder` and return how many records it holds.

    `journal.exported` is appended first, then a checkpoint of exactly that size is signed, so that a cut is seen.
    Raises `FolderNotEmpty`.
    """
    if folder.exists() and any(folder.iterdir()):
        raise FolderNotEmpty(folder=folder)
    with models.write():
        size = journal.append(gateways, "journal.exported", author=by) + 1
    row = journal.head()
    for part in ("checkpoints", "timestamps"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    _write_records(row, size, folder / "journal.jsonl")
    _write_checkpoints(gateways, row, size, folder / "checkpoints")
    anchors.export(row.log, size, folder / "timestamps")
    facts = {"log": row.log, "origin": row.origin, "vkey": checkpoints.vkey(gateways)}
    (folder / "log.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")
    return size


def _write_records(row: JournalLog, size: int, path: Path) -> None:
    with path.open("wb") as lines:
        for batch in journal.records(row.log):
            payloads = journal.payloads(row.log, batch[0].sequence, batch[-1].sequence + 1)
            for record in batch:
                if record.sequence >= size:
                    break
                line: dict[str, Any] = {"header": bytes(record.header).decode()}
                line |= {group: _payload(payloads.get((record.sequence, group))) for group in ("proof", "trace")}
                lines.write(canonical.encode(line) + b"\n")
        lines.flush()
        os.fsync(lines.fileno())


def _payload(kept: tuple[bytes, bytes] | None) -> dict[str, str] | None:
    return kept and {"body": kept[1].decode(), "salt": kept[0].hex()}


def _write_checkpoints(gateways: Gateways, row: JournalLog, size: int, folder: Path) -> None:
    query = JournalCheckpoint.select().where(JournalCheckpoint.log == row.log, JournalCheckpoint.size <= size)
    for kept in query:
        (folder / f"{kept.size}.note").write_bytes(bytes(kept.note))
    (folder / f"{size}.note").write_bytes(checkpoints.sign(gateways, row, size))
