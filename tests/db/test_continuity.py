"""A restored backup is noticed: nothing more is journaled until a new journal says what it continues and what was lost."""

import dataclasses
from datetime import timedelta

import make
import pytest
from backups import restore, unguard
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from mespieces import models
from mespieces.domain import checkpoints, citations, continuity, exports, journal, receipts, verifications
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
    restore(2)

    with pytest.raises(continuity.JournalRestored, match=r"s’arrête à 2 enregistrements.*4 enregistrements.*reopen"):
        continuity.check(gateways.settings.newest_checkpoint_file)


def test_a_database_restored_and_grown_again_is_refused_by_its_root(gateways):
    publish(gateways)
    restore(2)
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
    restore(2)

    opened = continuity.reopen(gateways)

    assert opened.log != old
    continuity.check(gateways.settings.newest_checkpoint_file)
    append(gateways, 2)
    publish(gateways)
    assert verifications.verify(gateways).findings == ()
    exports.write(gateways, tmp_path / "export", by=journal.OPERATOR)
    report = verified(tmp_path / "export", checkpoints.vkey(gateways))
    assert [str(finding.code) for finding in report.findings] == ["TAIL_LOST"]
    assert {log.log for log in report.logs} == {old, opened.log}
    assert report.bound


def test_how_much_a_reopened_journal_lost_is_known_to_the_record(gateways):
    publish(gateways)
    old = journal.head().log
    restore(2)
    assert continuity.losses() == []
    gateways.clock.advance(timedelta(hours=1))

    opened = continuity.reopen(gateways)

    assert continuity.losses() == [continuity.Loss(old, gateways.clock.now(), 2, 4, replaced=False)]
    told = continuity.tell(continuity.losses()[0])
    assert f"Le journal {old}, fermé à 2 enregistrements, en comptait au moins 4" in told
    assert "2 sont perdus, du n° 2 au n° 3" in told
    assert continuity.continued(opened.log).log == old
    # A second accident adds to the first.
    append(gateways, 2)
    publish(gateways)
    restore(2)
    gateways.clock.advance(timedelta(hours=1))
    continuity.reopen(gateways)
    assert [(one.log, one.kept, one.known) for one in continuity.losses()] == [(opened.log, 2, 3), (old, 2, 4)]
    assert "1 est perdu, le n° 2" in continuity.tell(continuity.losses()[0])
    assert verifications.verify(gateways).findings == ()


def test_a_journal_opened_since_the_backup_is_lost_whole_and_not_forgotten(gateways, tmp_path):
    publish(gateways)
    first, path = journal.head().log, gateways.settings.newest_checkpoint_file
    with models.write():
        JournalLog.update(closed_at=make.NOW).where(JournalLog.log == first).execute()
    second = journal.open_log(gateways)
    append(gateways, 4)
    signed = publish(gateways)
    with models.write():  # what a backup older than the second journal holds
        unguard("journal_record", "journal_checkpoint", "journal_payload")
        for table in (JournalPayload, JournalRecord, JournalCheckpoint, JournalLog):
            table.delete().where(table.log == second).execute()
        JournalLog.update(closed_at=None).where(JournalLog.log == first).execute()
    with pytest.raises(continuity.JournalRestored):
        continuity.check(path)

    opened = continuity.reopen(gateways)

    continuity.check(path)
    assert path.with_name(f"{path.name}.{second[:8]}").read_bytes() == signed
    assert [(one.log, one.kept, one.known) for one in continuity.losses()] == [(second, 0, 5)]
    assert f"Le journal {second}, dont cette base ne contient rien, en comptait au moins 5" in continuity.tell(
        continuity.losses()[0]
    )
    assert verifications.verify(gateways).findings == ()
    exports.write(gateways, tmp_path / "export", by=journal.OPERATOR)
    report = verified(tmp_path / "export", checkpoints.vkey(gateways))
    assert [(str(one.code), one.sequence, one.log) for one in report.findings] == [("TAIL_LOST", 0, second)]
    assert {log.log for log in report.logs} == {first, opened.log}


def test_records_that_took_the_place_of_lost_ones_are_told(gateways):
    publish(gateways)
    old = journal.head()
    restore(2)
    append(gateways, 5)
    checkpoints.publish(gateways)  # before anybody noticed
    continuity.reopen(gateways)

    assert [(one.log, one.kept, one.known, one.replaced) for one in continuity.losses()] == [(old.log, 7, 4, True)]
    assert "du n° 0 au n° 3, un ou plusieurs ont été remplacés" in continuity.tell(continuity.losses()[0])
    assert verifications.verify(gateways).findings == (f"3 CHECKPOINT_MISMATCH {old.log}",)


def test_the_cited_root_alone_shows_that_records_were_replaced(gateways):
    publish(gateways)
    old = journal.head()
    restore(2)
    append(gateways, 2)
    checkpoints.publish(gateways)  # of the same size: the note of the lost records is not kept beside it
    append(gateways, 1)
    continuity.reopen(gateways)

    assert verifications.verify(gateways).findings == (f"3 CHECKPOINT_MISMATCH {old.log}",)


def test_what_a_first_record_does_not_commit_to_says_nothing_of_the_journal_before(gateways):
    publish(gateways)
    old = journal.head().log
    opened = continuity.reopen(gateways)
    assert citations.before() == {opened.log: old}
    there = (JournalPayload.log == opened.log) & (JournalPayload.sequence == 0) & (JournalPayload.group == "proof")
    said = bytes(JournalPayload.get(there).body).replace(old.encode(), b"0" * 32)
    with models.write():
        JournalPayload.update(body=said).where(there).execute()

    assert citations.every() == {}
    assert "0 PAYLOAD_ALTERED" in verifications.verify(gateways).findings


def test_a_receipt_is_never_made_under_a_checkpoint_of_lost_records(gateways):
    publish(gateways)
    old = journal.head().log
    restore(2)
    continuity.reopen(gateways)

    assert JournalCheckpoint.select().where(JournalCheckpoint.log == old).get().size == 4
    assert receipts.of(gateways, [(old, 1)]) == []


def test_a_journal_reopened_without_loss_shows_none(gateways, tmp_path):
    publish(gateways)
    append(gateways, 2)

    continuity.reopen(gateways)
    assert continuity.losses() == []
    exports.write(gateways, tmp_path / "export", by=journal.OPERATOR)

    report = verified(tmp_path / "export", checkpoints.vkey(gateways))
    assert report.findings == []


def test_a_reopening_cut_before_the_file_was_written_starts_again(gateways, monkeypatch):
    publish(gateways)
    restore(2)

    def fail(*_args):
        raise OSError("disk full")

    monkeypatch.setattr(continuity.disk, "write", fail)
    with pytest.raises(OSError, match="disk full"):
        continuity.reopen(gateways)
    monkeypatch.undo()

    continuity.check(gateways.settings.newest_checkpoint_file)
    publish(gateways)
    assert continuity.newest_known(gateways.settings.newest_checkpoint_file).origin.endswith(journal.head().log)


def last_of(log):
    """Return the size of the newest checkpoint kept of a journal."""
    return (
        JournalCheckpoint.select(models.pw.fn.MAX(JournalCheckpoint.size)).where(JournalCheckpoint.log == log).scalar()
    )


def test_the_last_records_of_a_journal_that_is_closed_in_good_order_have_receipts(gateways, tmp_path):
    publish(gateways)
    append(gateways, 2)
    old, vkey = journal.head(), checkpoints.vkey(gateways)

    opened = continuity.reopen(gateways)

    assert last_of(old.log) == old.size
    assert len(receipts.of(gateways, [(old.log, old.size - 1)])) == 1
    assert continuity.losses() == []
    assert verifications.verify(gateways).findings == ()
    exports.write(gateways, tmp_path / "export", by=journal.OPERATOR)
    assert verified(tmp_path / "export", vkey, checkpoints.vkey(gateways)).findings == []
    assert opened.log != old.log


@pytest.mark.parametrize("what", ["cut", "grown again", "nothing outside", "another key"])
def test_a_journal_whose_end_may_contradict_what_was_published_is_closed_without_a_signature(gateways, what):
    publish(gateways)
    append(gateways, 3)
    newest = publish(gateways)
    assert newest
    log = journal.head().log
    if what in {"cut", "grown again"}:
        restore(4)
        append(gateways, 5 if what == "grown again" else 0)
    elif what == "nothing outside":
        gateways.settings.newest_checkpoint_file.unlink()
        append(gateways)
    else:
        append(gateways)
        gateways = dataclasses.replace(gateways, journal_key=Ed25519PrivateKey.generate())
    before = {row.size for row in JournalCheckpoint.select().where(JournalCheckpoint.log == log)}

    continuity.reopen(gateways)

    after = {row.size for row in JournalCheckpoint.select().where(JournalCheckpoint.log == log)}
    assert after <= before | {7}  # what was known outside is kept with it, and nothing new is signed
