"""The journal handed to an auditor: a folder that verifies without this product (`docs/journal-format.md`)."""

import json
import os
from pathlib import Path

from mespieces import models
from mespieces.domain import anchors, checkpoints, journal
from mespieces.errors import Refused
from mespieces.gateways import Gateways
from mespieces.models import JournalCheckpoint, JournalLog
from mespieces.verifier import export


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
        # Seen under the head's lock, a checkpoint beyond the end is no other process's: it shows what was cut.
        published = checkpoints.newest()
    row = journal.head()
    (folder / "checkpoints").mkdir(parents=True)
    (folder / "checkpoints" / f"{size}.note").write_bytes(checkpoints.sign(gateways, row, size))
    _write_log(gateways, row, size, folder, reach=max(size, published.size if published else 0))
    for earlier in JournalLog.select().where(JournalLog.closed_at.is_null(False)):
        _write_log(gateways, earlier, earlier.size, folder / "previous" / earlier.log, reach=2**63)
    return size


def _write_log(gateways: Gateways, row: JournalLog, size: int, folder: Path, *, reach: int) -> None:
    """Write one journal, and its checkpoints up to `reach`: one beyond its end shows what it has lost."""
    for part in ("checkpoints", "timestamps"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    _write_records(row, size, folder / "journal.jsonl")
    # Over the one just signed, if that size was published already: they differ when the records were changed since.
    for kept in JournalCheckpoint.select().where(JournalCheckpoint.log == row.log):
        if kept.size <= reach:
            (folder / "checkpoints" / f"{kept.size}.note").write_bytes(bytes(kept.note))
    anchors.export(row.log, size, folder / "timestamps")
    facts = {"log": row.log, "origin": row.origin, "vkey": checkpoints.vkey_of(gateways, row)}
    (folder / "log.json").write_text(json.dumps(facts, indent=1) + "\n", encoding="utf-8")


def _write_records(row: JournalLog, size: int, path: Path) -> None:
    with path.open("wb") as lines:
        for line in journal.lines(row.log, stop=size):
            lines.write(export.write_line(line.header, line.proof, line.trace))
        lines.flush()
        os.fsync(lines.fileno())
