"""A database put back from a backup: nothing is added to its journal, everywhere, until the journal is reopened."""

import dataclasses
import re
import subprocess
import sys

import make
import pytest
from werkzeug.test import Client

from mespieces import models, worker
from mespieces.cli import service
from mespieces.domain import checkpoints, codes, continuity, deposits, exports, journal, retention
from mespieces.gateways.storage import FolderStorage
from mespieces.gateways.vault import open_vault
from mespieces.models import Deposit, JournalRecord, Message
from mespieces.runtime import Runtime
from mespieces.verifier import note

WORDS = "ne peut plus rien enregistrer"
LOST = 5


@pytest.fixture
def filed(gateways):
    """A deposit with one recipient whose sheet is printed."""
    return make.filed(gateways)


@pytest.fixture
def lost(gateways, filed):
    """Lose the newest records: the checkpoint outside the database knows more of them than it holds."""
    ahead = note.Checkpoint(journal.head().origin, journal.head().size + LOST, bytes(32))
    signed = note.sign_checkpoint(ahead, gateways.journal_key)

    def lose():
        gateways.settings.newest_checkpoint_file.write_bytes(signed)
        assert isinstance(continuity.watch(gateways), continuity.JournalRestored)

    return lose


def test_the_audit_page_says_first_that_the_journal_is_interrupted_and_does_not_call_it_intact(site, gateways, lost):
    checkpoints.verify(gateways)
    assert "Chaîne intacte" in site.visitor().get("/audit").text
    lost()

    page = site.visitor().get("/audit").text
    assert "Journal interrompu" in page
    assert "Chaîne intacte" not in page


def test_recipients_and_members_read_in_words_that_nothing_can_be_recorded(site, gateways, filed, lost):
    payet, clerk, stranger = make.first(filed), site.member(make.member(gateways, filed.office)), site.visitor()
    (_, secret), wrong = make.issued(gateways, payet), codes.draw_secret()
    reader = site.reading(filed)
    lost()
    before = JournalRecord.select().count()

    assert WORDS in reader.get("/pieces/1/fichier", 503).text.replace("\n", " ")
    reader.get("/pieces/1/pages/1.webp", 503)
    reader.get("/pieces/liasse.zip", 503)
    known, unknown = payet.accesses.get().reference, codes.draw_reference()
    for typed in ((known, secret), (known, wrong), (unknown, wrong)):
        page = stranger.post("/consulter", 503, data=dict(zip(("reference", "secret"), typed, strict=True)))
        assert WORDS in page.text
    clerk.post(f"/etude/depots/{filed.id}/retirer", 503, data={"motive": "Erreur"})

    assert JournalRecord.select().count() == before
    assert Deposit.get_by_id(filed.id).withdrawn_at is None
    reader.get("/audit")
    assert WORDS in stranger.get("/readyz", 503).text


def test_once_the_journal_is_reopened_everything_goes_on_and_the_loss_is_named(site, gateways, filed, lost, tmp_path):
    reader = site.reading(filed)
    lost()
    reader.get("/pieces/1/fichier", 503)
    old = journal.head()

    continuity.reopen(gateways)

    assert continuity.watch(gateways) is None
    reader.get("/pieces/1/fichier")
    exports.write(gateways, tmp_path / "export", by=journal.OPERATOR)
    command = [sys.executable, "-m", "mespieces.verifier", tmp_path / "export", "--vkey", checkpoints.vkey(gateways)]
    told = subprocess.run(command, capture_output=True, text=True, check=False)
    assert told.returncode == 1
    assert re.search(rf"TAIL_LOST {old.size}\b.*{LOST}.enregistrements", told.stdout), told.stdout


def test_the_newest_database_put_back_goes_on_without_being_reopened(site, gateways, filed, lost):
    reader = site.reading(filed)
    lost()
    reader.get("/pieces/1/fichier", 503)
    gateways.settings.newest_checkpoint_file.write_bytes(checkpoints.publish(gateways))

    assert continuity.watch(gateways) is None
    reader.get("/pieces/1/fichier")


def test_a_checkpoint_file_that_cannot_be_read_stops_everything_as_well(site, gateways, filed):
    reader = site.reading(filed)
    gateways.settings.newest_checkpoint_file.write_bytes(b"nonsense")

    assert isinstance(continuity.watch(gateways), continuity.CheckpointUnreadable)
    reader.get("/pieces/1/fichier", 503)


def test_a_site_started_over_a_restored_database_serves_what_needs_no_journal(gateways, settings, filed, lost):
    lost()
    continuity.clockwork.set_fact(journal.SUSPENDED, make.NOW, "")  # nobody has noticed yet
    models.database.close()

    client = Client(service.start(settings, work=False).application)

    assert client.get("/", base_url=settings.public_url).status_code == 200
    assert client.get("/audit", base_url=settings.public_url).status_code == 200
    assert client.get("/readyz", base_url=settings.public_url).status_code == 503
    with models.database.connection_context(), pytest.raises(journal.JournalSuspended), models.write():
        journal.append(gateways, "incident.recorded")
    if not models.is_sqlite():
        models.database.obj.close_all()


def test_the_worker_does_nothing_that_would_be_journaled_sent_or_deleted(gateways, settings, lost, filed):
    vault = open_vault(FolderStorage(settings.data / "storage"), settings.master_key_file)
    known = dataclasses.replace(settings, queue_url=f"sqlite:///{settings.data / 'queue.db'}")
    seen = dataclasses.replace(gateways, settings=known, vault=vault)
    make.document(seen, make.draft(seen, filed.office))  # whose row the restored database has lost
    deposits.Document.delete().where(deposits.Document.deposit != filed.id).execute()
    make.waiting(gateways, make.first(filed), "email")
    lost()
    Deposit.update(expires_at=gateways.clock.now()).where(Deposit.id == filed.id).execute()
    stored, before = list(vault.names()), make.operations()
    working = worker.Worker(Runtime(settings=known, database=models.database.obj, gateways=seen, secret_key=b"x" * 32))

    for _ in range(49):  # past the day after which bytes without a row are swept
        seen.clock.advance(retention.timedelta(hours=1))
        for work in (*worker.EVERY_MINUTE, "sweep"):
            working.do(work)

    assert (list(vault.names()), make.operations()) == (stored, before)
    assert Deposit.get_by_id(filed.id).ended_at is None
    assert (Message.get().sent_at, gateways.mail.sent) == (None, [])
