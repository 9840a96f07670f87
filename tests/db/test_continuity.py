"""A restored backup is noticed: nothing more is journaled until a new journal says what it continues and what was lost."""

import make
import pytest

from mespieces import models
from mespieces.domain import checkpoints, continuity, exports, journal
from mespieces.models import JournalCheckpoint, JournalLog, JournalPayload, JournalRecord
from mespieces.verifier import audit, export, note


def append(gateways, count=1):
    for _ in range(count):
        with models.write():
            journal.append(gateways, "incident.recorded")


def publish(gateways):
    signed = checkpoints.publish(gateways)
    continuity.keep(gateways, signed)
    return signed


@pytest.fixture
def gateways(gateways):
    gateways.settings.newest_checkpoint_file.parent.mkdir(parents=True, exist_ok=True)
    append(gateways, 3)
    return gateways


def restore(gateways, size):
    """Put the database back as it was at that size, as a backup does."""
    kept = JournalRecord.get(JournalRecord.sequence == size - 1)
    with models.write():
        for statement in (
            ["DROP TRIGGER journal_record_no_delete"]
            if models.is_sqlite()
            else ["ALTER TABLE journal_record DISABLE TRIGGER ALL"]
        ):
            models.database.execute_sql(statement)
        JournalPayload.delete().where(JournalPayload.sequence >= size).execute()
        JournalRecord.delete().where(JournalRecord.sequence >= size).execute()
        JournalCheckpoint.delete().where(JournalCheckpoint.size > size).execute()
        JournalLog.update(size=size, head=kept.hash, time=kept.time).execute()


def verified(folder, *vkeys):
    with export.source(folder) as where:
        return audit.verify(where, audit.Trust(keys=[note.parse_vkey(vkey) for vkey in vkeys]))


def test_the_newest_checkpoint_stands_outside_the_database(gateways):
    signed = publish(gateways)
    path = gateways.settings.newest_checkpoint_file
    assert path.read_bytes() == signed

    append(gateways)
    newer = publish(gateways)
    assert path.read_bytes() == newer
    continuity.keep(gateways, signed)  # another process was slower
    assert path.read_bytes() == newer
    continuity.check(gateways.settings.newest_checkpoint_file)


def test_a_database_that_never_published_is_not_suspected(gateways):
    continuity.check(gateways.settings.newest_checkpoint_file)


def test_a_restored_database_is_refused_at_start_in_words(gateways):
    publish(gateways)
    restore(gateways, 2)

    with pytest.raises(continuity.JournalRestored, match=r"s’arrête à 2 enregistrements.*4 enregistrements.*reopen"):
        continuity.check(gateways.settings.newest_checkpoint_file)


def test_a_database_restored_and_grown_again_is_refused_by_its_root(gateways):
    publish(gateways)
    restore(gateways, 2)
    append(gateways, 5)

    with pytest.raises(continuity.JournalRestored):
        continuity.check(gateways.settings.newest_checkpoint_file)
    with pytest.raises(continuity.JournalRestored):  # and the worker does not write over the proof of it
        publish(gateways)


def test_another_journal_s_checkpoint_is_refused(gateways):
    publish(gateways)
    with models.write():
        JournalLog.update(closed_at=make.NOW).execute()
    journal.open_log(gateways)
    gateways.settings.newest_checkpoint_file.write_bytes(
        gateways.settings.newest_checkpoint_file.read_bytes().replace(b"/journal/", b"/journal/0")
    )

    with pytest.raises(continuity.JournalRestored):
        continuity.check(gateways.settings.newest_checkpoint_file)


def test_a_damaged_file_is_told_and_not_taken_for_none(gateways):
    gateways.settings.newest_checkpoint_file.write_bytes(b"nonsense")
    with pytest.raises(continuity.CheckpointUnreadable):
        continuity.check(gateways.settings.newest_checkpoint_file)


def test_a_reopened_journal_cites_the_old_one_and_what_was_lost(gateways, tmp_path):
    publish(gateways)
    old = journal.head().log
    restore(gateways, 2)

    opened = continuity.reopen(gateways)

    assert opened.log != old
    continuity.check(gateways.settings.newest_checkpoint_file)
    append(gateways, 2)
    publish(gateways)
    assert checkpoints.verify(gateways).findings == ()
    exports.write(gateways, tmp_path / "export", by=journal.OPERATOR)
    report = verified(tmp_path / "export", checkpoints.vkey(gateways))
    assert [str(finding.code) for finding in report.findings] == ["TAIL_LOST"]
    assert {log.log for log in report.logs} == {old, opened.log}
    assert report.bound


def test_a_journal_reopened_without_loss_shows_none(gateways, tmp_path):
    publish(gateways)
    append(gateways, 2)

    continuity.reopen(gateways)
    exports.write(gateways, tmp_path / "export", by=journal.OPERATOR)

    report = verified(tmp_path / "export", checkpoints.vkey(gateways))
    assert report.findings == []


def test_a_reopening_cut_before_the_file_was_written_starts_again(gateways, monkeypatch):
    publish(gateways)
    restore(gateways, 2)

    def fail(*_args):
        raise OSError("disk full")

    monkeypatch.setattr(continuity.disk, "write", fail)
    with pytest.raises(OSError, match="disk full"):
        continuity.reopen(gateways)
    monkeypatch.undo()

    continuity.check(gateways.settings.newest_checkpoint_file)
    publish(gateways)
    assert continuity.newest_known(gateways.settings.newest_checkpoint_file).origin.endswith(journal.head().log)
