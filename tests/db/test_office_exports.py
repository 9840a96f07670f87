"""The journal taken away by an office's auditors: prepared by the worker, verified by the real program, gone after a day."""

import contextlib
import dataclasses
import io
import json
import signal
import subprocess
import sys
import threading
import zipfile
from datetime import timedelta
from pathlib import Path

import make
import pytest
from dateutil.relativedelta import relativedelta

from mespieces import models
from mespieces.domain import (
    checkpoints,
    clockwork,
    continuity,
    exports,
    journal,
    offers,
    office_exports,
    purges,
    retention,
)  # fmt: skip
from mespieces.gateways.storage import FolderStorage
from mespieces.gateways.vault import open_vault
from mespieces.models import JournalExport, JournalPayload, Member

ROOT = Path(__file__).parents[2]


@pytest.fixture
def office(gateways):
    return make.office(gateways)


@pytest.fixture
def auditor(gateways, office):
    return make.member(gateways, office, role="auditeur")


def asked(gateways, member):
    office_exports.ask(gateways, member, make.TRACE)
    return JournalExport.select().order_by(JournalExport.asked_at.desc()).first()


def prepared(gateways, member):
    asked(gateways, member)
    assert office_exports.prepare(gateways) == 1
    return JournalExport.select().where(JournalExport.finished_at.is_null(False)).get()


def taken(gateways, member, row=None):
    """The bytes of the member's newest export."""
    row = row or prepared(gateways, member)
    _, plaintext = office_exports.download(gateways, member, row.id, make.TRACE)
    with plaintext:
        return b"".join(plaintext.chunks())


def verified(gateways, data, tmp_path):
    """What the program says of an export, and how it ends."""
    path = tmp_path / "journal.zip"
    path.write_bytes(data)
    command = [sys.executable, "-m", "mespieces.verifier", str(path), "--vkey", checkpoints.vkey(gateways), "--json"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def lines(data, folder=""):
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return [json.loads(line) for line in archive.read(f"{folder}journal.jsonl").splitlines()]


def everything_in(data):
    """All bytes of all files of an archive, unpacked, and the archive's own."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return data + b"".join(name.encode() + archive.read(name) for name in archive.namelist())


def test_an_export_verifies_and_ends_with_the_record_of_its_making(gateways, office, auditor, tmp_path):
    make.filed(gateways, office)
    checkpoints.publish(gateways)

    data = taken(gateways, auditor)

    status, said = verified(gateways, data, tmp_path)
    assert status == 0, said
    last = json.loads(lines(data)[-1]["header"])
    assert last["operation"] == "journal.exported"
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        assert f"checkpoints/{last['sequence'] + 1}.note" in archive.namelist()
        assert len(set(archive.namelist())) == len(archive.namelist())
    row = JournalExport.get()
    assert (row.bytes, row.total, row.done) == (len(data), last["sequence"] + 1, last["sequence"] + 1)
    assert make.operations()[-3:] == ["journal.read", "journal.exported", "journal.read"]
    details = [
        json.loads(bytes(one.body))["detail"]
        for one in JournalPayload.select()
        .where(JournalPayload.group == "proof")
        .order_by(JournalPayload.sequence.desc())
        .limit(3)
    ]
    assert details == [{"export": str(row.id), "downloaded": True}, {"export": str(row.id)}, {"export": str(row.id)}]


def test_an_export_holds_the_office_s_payloads_and_what_is_nobody_s_and_withholds_the_rest(gateways, office, auditor):
    make.filed(gateways, office)
    other = make.office(gateways, "Étude voisine")
    make.filed(gateways, other, recipients=("Odile Ailleurs",))
    with models.write():
        journal.append(gateways, "recipient.refused", detail={"count": 3})
        journal.append(gateways, "incident.recorded", detail={"kind": "clock.drift", "seconds": 3, "authority": "x"})
    gateways.clock.advance(timedelta(seconds=-5))
    make.draft(gateways, other)

    shown = {True: set(), False: set()}
    whose = {row.sequence: row.office for row in JournalPayload.select().where(JournalPayload.group == "proof")}
    for line in lines(taken(gateways, auditor)):
        header = json.loads(line["header"])
        withheld = line["proof"] == {"withheld": True}
        assert line["trace"] == {"withheld": True} if withheld else "salt" in line["trace"]
        if whose.get(header["sequence"]) is None:
            shown[not withheld].add(header["operation"])
        else:
            assert withheld is (whose[header["sequence"]] != office.id), header
    assert {"journal.opened", "clock.anomaly"} <= shown[True]
    assert shown[False] == {"recipient.refused", "incident.recorded"}


def test_no_byte_of_an_export_is_another_office_s(gateways, office, auditor):
    make.filed(gateways, office)
    other = make.office(gateways, "Étude Zzyzx", address="9 quai Perdu\n29000 Quimper", phone="02 98 98 98 98")
    make.member(gateways, other, email="claire@zzyzx.example")
    Member.update(name="Claire Zzyzx").where(Member.office == other).execute()
    deposit = make.filed(
        gateways, other, creditor="Créancier Ailleurs", office_reference="ZZ-9", order_number="77-Z", recipients=("Odile Ailleurs",)
    )  # fmt: skip
    make.identified(gateways, make.first(deposit))
    theirs = [
        "Zzyzx", "zzyzx", "Ailleurs", "quai Perdu", "02 98", "ZZ-9", "77-Z", "payet@", str(deposit.id), str(other.id),
        make.first(deposit).accesses.get().reference, deposit.documents.get().fingerprint, make.TRACE.address,
    ]  # fmt: skip
    found = everything_in(taken(gateways, auditor))
    own = {make.TRACE.address, deposit.documents.get().fingerprint}  # the auditor's own request; the same document

    assert [one for one in theirs if one not in own and one.encode() in found] == []
    neighbour = make.member(gateways, other, role="auditeur")
    assert b"Odile Ailleurs" in everything_in(taken(gateways, neighbour, prepared_again(gateways, neighbour)))


def prepared_again(gateways, member):
    row = asked(gateways, member)
    assert office_exports.prepare(gateways) == 1
    return (
        JournalExport.get_by_id(row.id)
        if row.office_id == member.office_id
        else JournalExport.get(JournalExport.office == member.office)
    )


def test_an_export_verifies_while_others_write_during_its_preparation(gateways, office, auditor, tmp_path, monkeypatch):
    monkeypatch.setattr(exports, "STEP", 3)
    make.filed(gateways, office)
    asked(gateways, auditor)
    stop = threading.Event()

    def write_on():
        with models.database.connection_context():
            while not stop.is_set():
                with contextlib.suppress(Exception), models.write():
                    journal.append(gateways, "journal.read", author=journal.OPERATOR, office=office)

    writer = threading.Thread(target=write_on)
    writer.start()
    try:
        assert office_exports.prepare(gateways) == 1
    finally:
        stop.set()
        writer.join()
    data = taken(gateways, auditor, JournalExport.get())

    status, said = verified(gateways, data, tmp_path)
    assert status == 0, said
    assert len(lines(data)) < journal.head().size


def come_to_purges(gateways):
    """Let the deposits end, their offices be told, and the time to answer go by."""
    gateways.clock.advance(gateways.clock.now() + relativedelta(months=30) - gateways.clock.now())
    clockwork.confirm(gateways.clock.now())
    retention.expire(gateways, confirmed=True)
    offers.tell(gateways)
    gateways.clock.advance(purges.TOLD)
    clockwork.confirm(gateways.clock.now())


def test_an_export_verifies_after_a_purge_and_what_is_erased_is_erased_for_all(gateways, office, auditor, tmp_path):
    make.filed(gateways, office)
    make.filed(gateways, make.office(gateways, "Voisine"), recipients=("Odile",))
    come_to_purges(gateways)
    assert purges.run(gateways)

    data = taken(gateways, auditor)

    status, said = verified(gateways, data, tmp_path)
    assert status == 0, said
    purged = [line for line in lines(data) if line["proof"] is None]
    assert {json.loads(line["header"])["operation"] for line in purged} >= {"deposit.filed", "recipient.added"}
    assert b"Payet" not in everything_in(data)


def test_a_purge_in_the_middle_of_a_preparation_has_it_begun_again(gateways, office, auditor, tmp_path, monkeypatch):
    make.filed(gateways, office)
    come_to_purges(gateways)
    row, real = asked(gateways, auditor), exports.write_files

    def purged_first(*arguments, **named):
        if not make.count("journal.purged"):
            purges.run(gateways)
        return real(*arguments, **named)

    monkeypatch.setattr(exports, "write_files", purged_first)
    assert office_exports.prepare(gateways) == 1

    status, said = verified(gateways, taken(gateways, auditor, JournalExport.get_by_id(row.id)), tmp_path)
    assert status == 0, said
    assert JournalExport.get().tries == 2
    assert [name for name in stored(gateways) if "export-" in name] == [f"{str(row.id)[:2]}/{row.id}/export-2"]


def test_a_purge_in_the_middle_of_the_operators_export_is_told_and_the_export_is_not_called_whole(
    gateways, office, tmp_path
):
    make.filed(gateways, office)
    come_to_purges(gateways)
    heard = []

    def told(_):
        if not heard:
            heard.append(purges.run(gateways))

    with pytest.raises(exports.PurgedMeanwhile):
        exports.write(gateways, tmp_path / "export", by=journal.OPERATOR, told=told)

    assert heard[0]
    exports.write(gateways, tmp_path / "again", by=journal.OPERATOR, told=told)


def stored(gateways):
    return [one.name for one in gateways.vault.names()]


def test_an_export_carries_the_earlier_journals_withholding_in_them_as_well(gateways, office, auditor, tmp_path):
    make.filed(gateways, make.office(gateways, "Voisine"), recipients=("Odile Ailleurs",))
    old = journal.head().log
    continuity.reopen(gateways)

    data = taken(gateways, auditor)

    status, said = verified(gateways, data, tmp_path)
    assert status == 0, said
    assert lines(data, f"previous/{old}/")
    assert b"Odile" not in everything_in(data)


def test_one_export_at_a_time_is_prepared_for_an_office_whoever_asks_however_often(gateways, office, auditor):
    boss = make.member(gateways, office, role="administrateur")
    found = make.threads(4, lambda: office_exports.ask(gateways, boss, make.TRACE))
    office_exports.ask(gateways, auditor, make.TRACE)

    assert found == [None] * 4
    assert JournalExport.select().count() == 1
    assert make.count("journal.read") == 1
    neighbour = make.member(gateways, make.office(gateways, "Voisine"), role="auditeur")
    office_exports.ask(gateways, neighbour, make.TRACE)
    assert office_exports.prepare(gateways) == 2


def test_so_many_exports_are_kept_at_once(gateways, auditor):
    for _ in range(office_exports.MOST):
        asked(gateways, auditor)
        office_exports.prepare(gateways)

    with pytest.raises(office_exports.TooManyExports):
        office_exports.ask(gateways, auditor, make.TRACE)


def test_a_preparation_that_was_killed_is_begun_again_and_only_then(gateways, auditor, tmp_path):
    row = asked(gateways, auditor)
    killed = office_exports._claim(gateways)
    assert (killed.id, office_exports.prepare(gateways)) == (row.id, 0)  # somebody seems to be at it

    gateways.clock.advance(office_exports.SILENT + timedelta(seconds=1))
    assert office_exports.prepare(gateways) == 1

    with pytest.raises(office_exports._Superseded):  # the first one was only slow
        office_exports._advance(killed, done=5)
    status, said = verified(gateways, taken(gateways, auditor, JournalExport.get()), tmp_path)
    assert status == 0, said


KILLED = """
import os, signal, sys
from datetime import datetime
from mespieces import config, runtime
from mespieces.domain import exports, office_exports
from mespieces.gateways.clock import ManualClock
names = ("MESPIECES_DATA", "MESPIECES_DATABASE_URL", "MESPIECES_STORAGE_URL")
opened = runtime.open_runtime(config.read(dict(zip(names, sys.argv[1:4]))), clock=ManualClock(datetime.fromisoformat(sys.argv[4])))
gateways = opened.gateways
opened.database.connect()
exports.STEP, advance, told = 1, office_exports._advance, []

def killed(row, **facts):
    advance(row, **facts)
    told.append(facts)
    if len(told) == 3:
        os.kill(os.getpid(), signal.SIGKILL)

office_exports._advance = killed
office_exports.prepare(gateways)
"""


def test_a_worker_killed_half_way_leaves_nothing_that_can_be_read_and_another_finishes(
    gateways, settings, office, tmp_path
):
    storage = tmp_path / "storage"
    kept = dataclasses.replace(gateways, vault=open_vault(FolderStorage(storage), settings.master_key_file))
    make.filed(kept, office)
    auditor = make.member(kept, office, role="auditeur")
    asked(kept, auditor)
    facts = [settings.data, settings.database_url, f"file://{storage}", make.NOW]
    command = [sys.executable, "-c", KILLED, *map(str, facts)]

    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)

    assert done.returncode == -signal.SIGKILL, done.stderr
    row = JournalExport.get()
    assert (row.done, row.wrapped_key) == (2, None)
    assert not any("export" in name for name in stored(kept))
    kept.clock.advance(office_exports.SILENT + timedelta(seconds=1))
    assert office_exports.prepare(kept) == 1
    status, said = verified(kept, taken(kept, auditor, JournalExport.get()), tmp_path)
    assert status == 0, said


def test_a_preparation_that_always_fails_is_given_up_in_words(gateways, auditor, monkeypatch):
    row = asked(gateways, auditor)

    def fail(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exports, "write_files", fail)
    for _ in range(office_exports.TRIES):
        with pytest.raises(OSError, match="No space"):
            office_exports.prepare(gateways)
        assert stored(gateways) == []
        gateways.clock.advance(office_exports.SILENT + timedelta(seconds=1))
    assert office_exports.prepare(gateways) == 0

    (listed,) = office_exports.listed(row.office, gateways.clock.now())
    assert (listed.failed_at is not None, listed.finished_at) == (True, None)
    with pytest.raises(office_exports.ExportMissing):
        office_exports.download(gateways, auditor, row.id, make.TRACE)
    monkeypatch.undo()
    assert asked(gateways, auditor).id != row.id


def test_a_dropped_preparation_leaves_nothing(gateways, office, auditor, monkeypatch):
    row, real = asked(gateways, auditor), exports.write_files

    def dropped_meanwhile(*arguments, **named):
        office_exports.drop(gateways, office, row.id)
        return real(*arguments, **named)

    monkeypatch.setattr(exports, "write_files", dropped_meanwhile)
    assert office_exports.prepare(gateways) == 0

    assert (stored(gateways), JournalExport.select().count()) == ([], 0)


@pytest.mark.parametrize("change", [{"role": "clerc"}, {"left_at": make.NOW}])
def test_nothing_is_prepared_for_who_may_no_longer_have_it(gateways, auditor, change):
    asked(gateways, auditor)
    Member.update(change).where(Member.id == auditor.id).execute()

    assert office_exports.prepare(gateways) == 0
    assert (JournalExport.select().count(), make.count("journal.exported")) == (0, 0)


def test_a_day_after_it_was_ready_an_export_is_over_even_if_no_worker_runs_and_then_destroyed(gateways, auditor):
    row = prepared(gateways, auditor)
    gateways.clock.advance(office_exports.LASTS - timedelta(seconds=1))
    office_exports.sweep(gateways)
    assert taken(gateways, auditor, row)
    before = make.operations()

    gateways.clock.advance(timedelta(seconds=1))
    with pytest.raises(office_exports.ExportOver):
        office_exports.download(gateways, auditor, row.id, make.TRACE)
    assert make.operations() == before
    assert office_exports.listed(row.office, gateways.clock.now()) == []
    office_exports.sweep(gateways)

    assert (stored(gateways), JournalExport.select().count()) == ([], 0)


def test_the_key_goes_before_the_bytes_and_a_cut_is_made_good(gateways, auditor, monkeypatch):
    row = prepared(gateways, auditor)
    gateways.clock.advance(office_exports.LASTS)

    def refuse(*_):
        raise OSError("the disk deletes nothing")

    monkeypatch.setattr(type(gateways.vault), "delete_all", refuse)
    with pytest.raises(OSError, match="deletes nothing"):
        office_exports.sweep(gateways)
    assert JournalExport.get_by_id(row.id).wrapped_key is None
    assert len(stored(gateways)) == 1
    monkeypatch.undo()
    office_exports.sweep(gateways)

    assert (stored(gateways), JournalExport.select().count()) == ([], 0)


def test_an_export_at_rest_is_sealed_and_no_sweep_of_orphans_takes_it(gateways, settings, office, auditor):
    vault = open_vault(FolderStorage(settings.data / "storage"), settings.master_key_file)
    kept = dataclasses.replace(gateways, vault=vault)
    deposit = make.filed(kept, office)
    row = prepared(kept, auditor)
    files = [path.read_bytes() for path in (settings.data / "storage").rglob("*") if path.is_file()]

    assert any(len(data) > row.bytes for data in files)
    assert not any(
        mark in data for data in files for mark in (b"journal.jsonl", b"Payet", deposit.office_reference.encode())
    )
    retention.sweep_orphans(kept, timedelta(days=-3650))  # whatever the date of the machine
    assert taken(kept, auditor, row)


def test_an_export_is_of_its_own_office_and_of_nothing_if_it_cannot_be_journaled(
    gateways, office, auditor, monkeypatch
):
    row = prepared(gateways, auditor)
    neighbour = make.member(gateways, make.office(gateways, "Voisine"), role="auditeur")
    with pytest.raises(office_exports.ExportMissing):
        office_exports.download(gateways, neighbour, row.id, make.TRACE)
    with pytest.raises(office_exports.ExportMissing):
        office_exports.drop(gateways, neighbour.office, row.id)

    def closed(*_, **__):
        raise journal.JournalClosed

    monkeypatch.setattr(journal, "append", closed)
    for act in (
        lambda: office_exports.download(gateways, auditor, row.id, make.TRACE),
        lambda: office_exports.ask(gateways, auditor, make.TRACE),
    ):
        with pytest.raises(journal.JournalClosed):
            act()
    assert JournalExport.select().count() == 1
