"""Exports of the journal for an office's auditors: asked for, prepared by the worker, kept sealed for a day, then destroyed.

An export holds every header, for the chain to be verified, and of what stands beside it the office's own records and
those that hold nobody's data (`docs/journal-format.md`).
"""

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import IO, Any, cast
from uuid import UUID

from mespieces import models
from mespieces.domain import clockwork, documents, exports, journal, offices, retention
from mespieces.errors import Expired, NotFound, Refused
from mespieces.gateways import Gateways
from mespieces.gateways.vault import Plaintext, Sealed, Sealing
from mespieces.models import JournalExport, Member, Office

LASTS = timedelta(hours=24)
SILENT = timedelta(minutes=1)
"""A preparation that says nothing for so long was killed: it is begun again."""
TRIES = 5
MOST = 3
"""Exports of one office kept at once: each may weigh as much as the journal."""

NOBODYS = frozenset({"journal.opened", "journal.anchored", "journal.purged", "journal.exported", "clock.anomaly"})
"""Operations whose records hold nobody's data where they concern no office: every auditor sees them."""


class ExportMissing(NotFound):
    """No such export in this office."""


class ExportOver(Expired):
    """A day has gone by since the export was ready."""

    message = "Cet export n’est plus là : il est supprimé 24 heures après sa préparation. Demandez-en un autre."
    advice = "Revenez à la page des exports du journal."


class TooManyExports(Refused):
    """Each weighs as much as the journal."""

    message = "Trois exports sont déjà prêts : téléchargez-les, ou supprimez-en un avant d’en demander un autre."
    advice = "Revenez à la page des exports du journal."


class _Superseded(Exception):  # noqa: N818 — a state
    """The export was dropped, or another worker took it over, thinking this one dead."""


def listed(office: Office, now: datetime) -> list[JournalExport]:
    """Return the office's exports that are under way, failed or can be had, the newest first."""
    query = JournalExport.select(JournalExport, Member).join(Member).where(JournalExport.office == office)
    return [row for row in query.order_by(JournalExport.asked_at.desc()) if not _over(row, now)]


def under_way(row: JournalExport) -> bool:
    """Tell whether an export is still to be prepared."""
    return row.finished_at is None and row.failed_at is None


def ends(row: JournalExport) -> datetime:
    """Return when a prepared export is destroyed."""
    return row.finished_at + LASTS


def ask(gateways: Gateways, member: Member, trace: journal.Trace) -> None:
    """Have an export prepared for the member's office, journaled; nothing more while one is under way.

    Raises `TooManyExports`.
    """
    office, now = member.office, gateways.clock.now()
    with models.write():
        models.locked(Office.select().where(Office.id == office.id)).get()
        rows = listed(office, now)
        if any(under_way(row) for row in rows):
            return
        if len([row for row in rows if row.finished_at]) >= MOST:
            raise TooManyExports
        row = JournalExport.create(office=office, asked_by=member, asked_at=now)
        author = journal.member(member, trace)
        journal.append(gateways, "journal.read", author=author, office=office, detail={"export": row.id})
    gateways.bell.ring("exports")


def prepare(gateways: Gateways) -> int:
    """Prepare the exports that wait, one after the other, and return how many were. Can be killed and run again."""
    done = 0
    while row := _claim(gateways):
        done += _prepare(gateways, row)
    return done


def download(
    gateways: Gateways, member: Member, export_id: UUID, trace: journal.Trace
) -> tuple[JournalExport, Plaintext]:
    """Open a prepared export of the member's office, journaled before anything is returned.

    Raises `ExportMissing`, `ExportOver`, and as the vault.
    """
    row = _find(member.office, export_id)
    if row.finished_at is None:
        raise ExportMissing
    if _over(row, gateways.clock.now()):
        raise ExportOver
    plaintext = gateways.vault.open(_file(row), row.wrapped_key, str(row.id), str(row.id))
    try:
        with models.write():
            author, detail = journal.member(member, trace), {"export": row.id, "downloaded": True}
            journal.append(gateways, "journal.read", author=author, office=member.office, detail=detail)
    except BaseException:
        plaintext.close()
        raise
    return row, plaintext


def drop(gateways: Gateways, office: Office, export_id: UUID) -> None:
    """Destroy an export of the office before its time, or give up its preparation. Raises `ExportMissing`."""
    _destroy(gateways, _find(office, export_id))


def sweep(gateways: Gateways) -> None:
    """Destroy the exports whose day is over, and what a cut left of others."""
    now = gateways.clock.now()
    for row in list(JournalExport.select()):
        if _over(row, now):
            _destroy(gateways, row)


def shown(office: UUID, line: journal.Line) -> bool:
    """Tell whether the office's auditors may see what stands beside a record: its own, or nobody's; else never."""
    return line.office == office or (line.office is None and line.operation in NOBODYS)


def _over(row: JournalExport, now: datetime) -> bool:
    since = row.finished_at or row.failed_at
    return row.deleted_at is not None or bool(since and since + LASTS <= now)


def _find(office: Office, export_id: UUID) -> JournalExport:
    row = JournalExport.get_or_none(JournalExport.id == export_id, JournalExport.office == office)
    if row is None:
        raise ExportMissing
    return row


def _claim(gateways: Gateways) -> JournalExport | None:
    """Take the oldest export that waits, or whose preparation was killed; give up one that was tried too often."""
    now = gateways.clock.now()
    with models.write():
        waiting = JournalExport.select().where(JournalExport.finished_at.is_null(), JournalExport.failed_at.is_null())
        # Heard of later than now: the clock was set back since.
        idle = JournalExport.seen_at.is_null() | ~JournalExport.seen_at.between(now - SILENT, now + SILENT)
        for row in models.locked(waiting.where(idle).order_by(JournalExport.asked_at)):
            if row.tries >= TRIES:
                JournalExport.update(failed_at=now).where(JournalExport.id == row.id).execute()
                continue
            row.tries, row.seen_at, row.done, row.total = row.tries + 1, now, 0, 0
            row.save()
            return row
    return None


def _prepare(gateways: Gateways, row: JournalExport) -> bool:
    """Make one export and keep it sealed; False when it was not finished, for whatever reason that lets it be tried again."""
    asker = Member.get_by_id(row.asked_by_id)
    if asker.left_at or asker.role not in offices.AUDITORS:
        _destroy(gateways, row)
        return False
    key = gateways.vault.new_key(str(row.id))
    try:
        with gateways.vault.seal(_file(row), key, str(row.id), str(row.id)) as sealing:
            sealed = _write(gateways, row, asker, sealing)
        _advance(
            row, wrapped_key=key, bytes=sealed.size, fingerprint=sealed.fingerprint, finished_at=gateways.clock.now()
        )
    except _Superseded:
        gateways.vault.delete_all(_file(row))
        return False
    return True


def _write(gateways: Gateways, row: JournalExport, asker: Member, sealing: Sealing) -> Sealed:
    office = row.office
    begun = exports.begin(gateways, by=journal.member(asker), office=office, detail={"export": row.id})
    row.total = exports.total(begun)

    def told(count: int) -> None:
        row.done += count
        _advance(row, seen_at=gateways.clock.now(), done=row.done, total=row.total)

    told(0)
    with _archive(sealing) as archive:
        exports.write_files(
            gateways, begun, _opener(archive, begun), shown=lambda line: shown(office.id, line), told=told
        )
    if not exports.holds(begun):
        _advance(row, seen_at=None)  # at once again
        raise _Superseded
    return sealing.commit()


def _advance(row: JournalExport, **facts: Any) -> None:
    """Keep how far a preparation is. Raises `_Superseded` when it is nobody's any more, or another's."""
    with models.write():
        mine = (JournalExport.id == row.id) & (JournalExport.tries == row.tries) & JournalExport.finished_at.is_null()
        if not JournalExport.update(**facts).where(mine, JournalExport.failed_at.is_null()).execute():
            raise _Superseded


def _destroy(gateways: Gateways, row: JournalExport) -> None:
    """Erase the key: from here on nobody can read the export; then its bytes, then its row."""
    with models.write():
        now = gateways.clock.now()
        JournalExport.update(wrapped_key=None, deleted_at=now).where(JournalExport.id == row.id).execute()
        clockwork.set_fact(retention.UNSETTLED, now)
    gateways.vault.delete_all(documents.folder(row.id))
    with models.write():
        JournalExport.delete().where(JournalExport.id == row.id).execute()


def _file(row: JournalExport) -> str:
    """Return the vault's name of an export: each attempt writes its own."""
    return f"{documents.folder(row.id)}/export-{row.tries}"


class _Into:
    """The sealing as an archive writes to it; after a failure it takes and keeps nothing more, so that closing raises nothing."""

    def __init__(self, sealing: Sealing) -> None:
        self._sealing, self._failed = sealing, False

    def write(self, data: bytes) -> int:
        if not self._failed:
            self._failed = True
            self._sealing.write(data)
            self._failed = False
        return len(data)

    def flush(self) -> None:
        pass

    def give_up(self) -> None:
        self._failed = True


@contextmanager
def _archive(sealing: Sealing) -> Iterator[zipfile.ZipFile]:
    into = _Into(sealing)
    archive = zipfile.ZipFile(cast("IO[bytes]", into), "w", zipfile.ZIP_DEFLATED, compresslevel=1)
    try:
        yield archive
    except BaseException:
        into.give_up()
        raise
    finally:
        archive.close()


def _opener(archive: zipfile.ZipFile, begun: exports.Begun) -> exports.Opener:
    when = (begun.row.time[:19]).replace("T", "-").replace(":", "-").split("-")

    @contextmanager
    def create(name: str) -> Iterator[IO[bytes]]:
        about = zipfile.ZipInfo(name, tuple(map(int, when)))  # type: ignore[arg-type]
        about.compress_type = zipfile.ZIP_DEFLATED
        with archive.open(about, "w", force_zip64=True) as file:
            yield file

    return create
