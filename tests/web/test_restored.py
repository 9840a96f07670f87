"""A database put back from a backup: nothing is added to its journal, everywhere, until the journal is reopened."""

import dataclasses
import io
import re
import subprocess
import sys

import make
import pytest
from backups import restore, unguard
from web.conftest import words
from werkzeug.test import Client

from mespieces import models, worker
from mespieces.cli import service
from mespieces.domain import (
    checkpoints,
    codes,
    continuity,
    deposits,
    exports,
    journal,
    receipts,
    retention,
    verifications,
)
from mespieces.gateways.storage import FolderStorage
from mespieces.gateways.vault import open_vault
from mespieces.models import Deposit, JournalRecord, Message
from mespieces.runtime import Runtime
from mespieces.verifier import note, receipt

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
    verifications.verify(gateways)
    assert "Chaîne intacte" in site.visitor().get("/audit").text
    lost()

    page = site.visitor().get("/audit").text
    assert "Journal interrompu" in page
    assert "Chaîne intacte" not in page
    with models.write():
        unguard("journal_record")
        JournalRecord.update(header=b"{}").where(JournalRecord.sequence == 0).execute()
    assert not checkpoints.head(gateways).sound
    page = site.visitor().get("/audit").text
    assert "Rien n’y est plus inscrit, et rien ne se consulte" in page
    assert "restent consultables" not in page


def test_recipients_and_members_read_in_words_that_nothing_can_be_recorded(site, gateways, filed, lost):
    payet, clerk, stranger = make.first(filed), site.member(make.member(gateways, filed.office)), site.visitor()
    (_, secret), wrong = make.issued(gateways, payet), codes.draw_secret()
    reader = site.reading(filed)
    lost()
    before = JournalRecord.select().count()

    assert WORDS in reader.get("/pieces/1/fichier", 503).text.replace("\n", " ")
    reader.get("/pieces/1/pages/1.webp", 503)
    assert WORDS in reader.get("/pieces/1", 503).text.replace("\n", " ")
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


def _told(visitor, path="/audit"):
    return words(visitor.get(path)).replace("\u00a0", " ").replace("\u202f", " ")


def test_the_audit_page_tells_everybody_what_a_reopened_journal_lost_and_what_still_proves_it(site, gateways, lost):
    anyone, before = site.visitor(), journal.head()
    assert "perdu" not in _told(anyone)
    lost()
    continuity.reopen(gateways)
    first, last = before.size, before.size + LOST - 1

    told = _told(anyone)
    assert f"{LOST} enregistrements au moins ont été perdus." in told
    assert f"garde {before.size} enregistrements" in told
    assert f"en comptait {last + 1} : il manque du n° {first} au n° {last}" in told
    assert "Les reçus et les attestations déjà remis pour ces enregistrements les prouvent toujours" in told
    assert f'href="/audit/{before.log}/points-de-controle"' in anyone.get("/audit").text
    verifications.verify(gateways)
    assert "Chaîne intacte, avec une perte" in _told(anyone)
    # The note that proves the loss is there to be taken.
    proof = anyone.get(f"/audit/{before.log}/checkpoints/{last + 1}.note").data
    assert note.parse_checkpoint(note.split(proof)[0]).size == last + 1


def test_the_audit_page_says_that_records_took_the_place_of_signed_ones_and_does_not_say_which(site, gateways):
    signed = checkpoints.publish(gateways)
    size = journal.head().size
    gateways.settings.newest_checkpoint_file.write_bytes(
        note.sign_checkpoint(
            note.parse_checkpoint(note.split(signed)[0])._replace(root=bytes(32)), gateways.journal_key
        )
    )
    continuity.reopen(gateways)

    told = _told(site.visitor())
    assert "Des enregistrements ont été remplacés." in told
    assert f"du n° 0 au n° {size - 1}, d’autres ont pris la place" in told


def test_a_receipt_of_a_lost_record_still_proves_it_and_one_of_a_kept_record_is_valid(site, gateways, filed):
    old, size = journal.head(), journal.head().size
    signed = _beyond(gateways, filed)
    kept, gone = (made.data for made in receipts.of(gateways, [(old.log, size - 1), (old.log, size)]))
    restore(size)
    gateways.settings.newest_checkpoint_file.write_bytes(signed)
    continuity.reopen(gateways)
    anyone = site.visitor()

    def verify(data):
        anyone.get("/audit/verifier")
        given = {"receipt": (io.BytesIO(data), "recu.json")}
        return words(anyone.post("/audit/verifier", 200, data=given)).replace("\u00a0", " ").replace("\u202f", " ")

    assert "Ce reçu est authentique" in verify(kept)
    told = verify(gone)
    assert "Absent du journal" in told
    assert f"L’enregistrement n° {size} est de ceux que ce journal, fermé depuis, a perdus" in told
    assert "Son reçu le prouve toujours" in told
    proven = receipt.verify(receipt.parse(gone), [note.verifier(old.origin, gateways.journal_key)])
    assert (proven.findings, proven.header.sequence) == ([], size)


def _beyond(gateways, deposit):
    """Have one more record about a deposit published, and return the note."""
    with models.write():
        journal.append(gateways, "document.consulted", author=journal.OPERATOR, deposit=deposit)
    return checkpoints.publish(gateways)


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
