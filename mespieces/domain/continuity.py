"""Continuity: a database put back from a backup has lost records that people hold proofs of, and must not go on unnoticed.

The newest checkpoint is kept in a file outside the database. Unless the database contains it (its root, not only its
size), nothing is appended any more until the operator opens a new journal, which says what it continues and what was lost.
Looked at when a process starts, and by the worker before each work: its finding stands in the database, for every process.
"""

import logging
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from mespieces import models
from mespieces.domain import checkpoints, citations, clockwork, french, journal
from mespieces.errors import Unavailable
from mespieces.gateways import Gateways, disk
from mespieces.models import JournalLog
from mespieces.verifier import note

log = logging.getLogger(__name__)


class JournalRestored(Unavailable):
    """The database does not contain the newest checkpoint that left it: records are missing or were rewritten."""

    message = (
        "Le journal de cette base de données s’arrête à {size} enregistrements et ne contient pas le dernier point de "
        "contrôle connu ({known} enregistrements, gardé dans {path}) : une sauvegarde a sans doute été restaurée. Remettez "
        "la base la plus récente ; si elle est perdue, lancez « mespieces journal reopen »."
    )


class CheckpointUnreadable(Unavailable):
    """What is kept outside the database is no checkpoint."""

    message = (
        "Le fichier {path} n’est pas un point de contrôle lisible : remettez-le depuis une sauvegarde, ou supprimez-le si "
        "vous savez pourquoi il est abîmé."
    )


def keep(gateways: Gateways, signed: bytes) -> None:
    """Write a checkpoint outside the database, unless one as new stands there.

    Raises `JournalRestored` rather than forget what the database has lost meanwhile, `CheckpointUnreadable`, OSError.
    """
    path = gateways.settings.newest_checkpoint_file
    check(path)
    known, new = newest_known(path), _parse(signed)
    if known is None or known.origin != new.origin or known.size < new.size:
        disk.write(path, signed)


def newest_known(path: Path) -> note.Checkpoint | None:
    """Return the checkpoint kept outside the database, None when there is none. Raises `CheckpointUnreadable`."""
    try:
        return _parse(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, note.NoteRefused, note.CheckpointRefused) as error:
        raise CheckpointUnreadable(path=path) from error


def check(path: Path) -> None:
    """Make sure that the database contains the checkpoint that stands outside it. Raises `JournalRestored`, `CheckpointUnreadable`."""
    known = newest_known(path)
    if known is None:
        return
    row = JournalLog.get_or_none(JournalLog.log == known.origin.rpartition("/")[2])
    if row and row.closed_at:  # the journal that continues it has said what was lost
        return
    if row and row.size >= known.size and checkpoints.contains(row.log, known):
        return
    size = row.size if row else 0
    raise JournalRestored(size=size, known=known.size, path=path)


def watch(gateways: Gateways) -> Unavailable | None:
    """Return what forbids to add to the journal, None while nothing does, and have every process heed it."""
    wrong: Unavailable | None = None
    try:
        check(gateways.settings.newest_checkpoint_file)
    except (JournalRestored, CheckpointUnreadable) as error:
        wrong = error
    now = JournalLog.get_or_none(JournalLog.closed_at.is_null())
    if now is not None and journal.suspended() != (wrong is not None):
        with models.write():
            # It names the journal it is about: one opened meanwhile is not concerned.
            clockwork.set_fact(journal.SUSPENDED, gateways.clock.now(), now.log if wrong else "")
    return wrong


def reopen(gateways: Gateways) -> JournalLog:
    """Close the journal and open one that cites it, with the newest checkpoint known of it; return the new one's row.

    1. The old journal's head and the newest checkpoint known, inside or outside the database, are cited. Where the journal still
       holds the one that stands outside, a last one is signed first, of its end: its last records have receipts too.
    2. The note that proves what was lost is kept with the old journal, to be exported with it; or beside the file that held
       it, when it is of a journal unknown to the database, which was opened since the backup and is lost whole.
    3. The new journal's first checkpoint replaces the one kept outside.

    Raises `JournalClosed`.
    """
    old, known = journal.head(), _known(gateways)
    with models.write():
        row = models.locked(JournalLog.select().where(JournalLog.log == old.log)).get()
        cited = {"log": row.log, "size": row.size, "head": row.head}
        if _extends(gateways, row):  # (1)
            known = checkpoints.finish(gateways, row) or known
        if known:
            cited["checkpoint"] = {"size": known.size, "root": known.root.hex()}
            _remember(gateways, row.log, known)  # (2)
        if missing := _missing(gateways):
            cited["missing"] = {"log": _log_of(missing), "size": missing.size, "root": missing.root.hex()}
        JournalLog.update(closed_at=gateways.clock.now()).where(JournalLog.log == row.log).execute()
        opened = journal.open_in_place(gateways, cited)
    disk.write(gateways.settings.newest_checkpoint_file, checkpoints.publish(gateways))  # (3)
    log.warning("journal %s continues %s at %d records", opened, row.log, row.size)
    return journal.head()


def continued(log: str) -> JournalLog | None:
    """Return the row of the journal that `log` continues, None when it continues none that is still here."""
    cited = citations.every().get(log)
    return JournalLog.get_or_none(JournalLog.log == cited.log) if cited else None


@dataclass(frozen=True, slots=True)
class Loss:
    """What a closed journal is known to have lost: `kept` records are left, and a signed checkpoint covered `known`.

    What was recorded after that checkpoint may be lost besides, and nobody knows how much. `replaced`: no number is missing, but
    other records stand where the signed ones stood.
    """

    log: str
    closed_at: datetime
    kept: int
    known: int
    replaced: bool


def losses() -> list[Loss]:
    """Return what closed journals are known to have lost, as the one that continues each has cited it, the newest first."""
    closed = {row.log: row for row in journal.closed()}
    found = []
    for cited in citations.every().values() if closed else ():
        row = closed.get(cited.log)
        if row and row.closed_at and (cited.known > cited.size or _replaced(cited)):
            found.append(Loss(row.log, row.closed_at, cited.size, cited.known, cited.known <= cited.size))
        if row and row.closed_at and cited.missing:
            found.append(Loss(cited.missing.log, row.closed_at, 0, cited.missing.known, replaced=False))
    return found


def tell(loss: Loss) -> str:
    """Return what was lost in a sentence, in French, and what still proves it."""
    count, last = loss.known - loss.kept, french.number(loss.known - 1)
    closed = f"Le journal {loss.log}, fermé à {_records(loss.kept)},"
    if loss.replaced:
        return (
            f"{closed} n’est plus celui dont un point de contrôle de {_records(loss.known)} a été signé : du n° 0 au n° {last}, "
            "un ou plusieurs ont été remplacés. Les reçus de ceux qui ont disparu les prouvent toujours."
        )
    first = french.number(loss.kept)
    if not loss.kept:
        closed = f"Le journal {loss.log}, dont cette base ne contient rien,"
    lost = (
        f"{french.number(count)} sont perdus, du n° {first} au n° {last}"
        if count > 1
        else f"1 est perdu, le n° {first}"
    )
    return (
        f"{closed} en comptait au moins {french.number(loss.known)}, dit un point de contrôle signé : {lost}, sans compter ce qui "
        "a pu suivre. Les reçus de ces enregistrements les prouvent toujours."
    )


def _records(count: int) -> str:
    return f"{french.number(count)} enregistrement{'s' if count > 1 else ''}"


def _replaced(cited: citations.Cited) -> bool:
    return cited.known > 0 and checkpoints.root(cited.log, cited.known).hex() != cited.root


def _known(gateways: Gateways) -> note.Checkpoint | None:
    """Return the newest checkpoint known of the open journal, the one outside the database first."""
    outside = _outside(gateways)
    if outside and _log_of(outside) == journal.head().log:
        return outside
    kept = checkpoints.newest(gateways, journal.head())
    return kept.checkpoint if kept else None


def _extends(gateways: Gateways, row: JournalLog) -> bool:
    """Tell whether a journal holds the checkpoint outside the database: without one, a backup of it may be what is closed."""
    outside = _outside(gateways)
    return (
        outside is not None
        and _log_of(outside) == row.log
        and outside.size <= row.size
        and checkpoints.contains(row.log, outside)
    )


def _missing(gateways: Gateways) -> note.Checkpoint | None:
    """Return the checkpoint outside the database when it is of a journal that the database does not know, its note kept."""
    outside = _outside(gateways)
    if outside is None or JournalLog.get_or_none(JournalLog.log == _log_of(outside)):
        return None
    path = gateways.settings.newest_checkpoint_file
    disk.write(path.with_name(f"{path.name}.{_log_of(outside)[:8]}"), path.read_bytes())
    return outside


def _outside(gateways: Gateways) -> note.Checkpoint | None:
    with suppress(CheckpointUnreadable):
        return newest_known(gateways.settings.newest_checkpoint_file)
    return None


def _remember(gateways: Gateways, of: str, known: note.Checkpoint) -> None:
    path = gateways.settings.newest_checkpoint_file
    with suppress(OSError):
        signed = path.read_bytes()
        if _parse(signed) == known:
            checkpoints.keep(gateways, of, known.size, signed)


def _log_of(known: note.Checkpoint) -> str:
    return known.origin.rpartition("/")[2]


def _parse(signed: bytes) -> note.Checkpoint:
    return note.parse_checkpoint(note.split(signed)[0])
