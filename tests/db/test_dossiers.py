"""The dossier de preuve: everything that proves a deposit in one archive, which verifies once the service has forgotten."""

import hashlib
import io
import subprocess
import sys
import zipfile
from datetime import timedelta

import make
import pikepdf
import pytest

from mespieces import models
from mespieces.domain import (
    attestations,
    authenticity,
    checkpoints,
    clockwork,
    consultations,
    dossiers,
    exports,
    journal,
    offers,
    purges,
    receipts,
    retention,
    verifications,
)
from mespieces.gateways.spool import Spool
from mespieces.models import Deposit, JournalAttestation, JournalLog, JournalPayload, JournalRecord
from mespieces.verifier import receipt


@pytest.fixture
def deposit(gateways):
    deposit = make.filed(gateways, documents=2, recipients=("Alexandre Payet", "Béatrice Roux"))
    session = make.identified(gateways, make.first(deposit))
    reading = consultations.open_document(gateways, session, 1, "file", make.TRACE, whole=True)
    consultations.finish(gateways, session, reading, "file", make.TRACE, whole=True, sent=1)
    return deposit


def drawn(gateways, deposit):
    """Return the bytes of a dossier, and the fingerprint that was journaled."""
    made = dossiers.make(gateways, deposit, by=journal.OPERATOR)
    with made.spool:
        return b"".join(made.spool.chunks()), made.fingerprint


def opened(data):
    return zipfile.ZipFile(io.BytesIO(data))


def records(deposit):
    held = (JournalPayload.deposit == deposit.id) & (JournalPayload.group == "proof")
    return {row.sequence for row in JournalPayload.select().where(held)}


def program(folder, *arguments):
    done = subprocess.run(
        [sys.executable, "-m", "mespieces.verifier", *map(str, arguments)],
        cwd=folder, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return done.returncode, done.stdout + done.stderr


def test_it_holds_every_attestation_every_receipt_and_how_to_verify_them(gateways, deposit):
    data, fingerprint = drawn(gateways, deposit)
    with opened(data) as archive:
        names = archive.namelist()
        assert archive.testzip() is None
        kept = {name: archive.read(name) for name in names}
    told = [receipt.record.parse(receipt.parse(kept[name]).header) for name in names if name.startswith("recus/")]

    assert [name.partition("/")[2][:24] for name in names if name.startswith("attestations/")] == [
        "Attestation de dépôt.pdf", "Relevé des consultations", *["Attestation de consultat"] * 2,
    ]  # fmt: skip
    # Every record but that of the dossier itself, whose fingerprint could not be known before.
    assert {one.sequence for one in told} == records(deposit) - {journal.head().size - 1}
    issued = [one for one in told if one.operation == "attestation.issued"]
    assert len(issued) == 4
    text = kept["LISEZ-MOI.txt"].decode("utf-8-sig")
    for name in names:
        if name.endswith(".pdf"):
            assert hashlib.sha256(kept[name]).hexdigest() in text
            assert authenticity.examine(gateways, kept[name]).state is authenticity.State.VALID
    assert checkpoints.vkey(gateways) in text
    assert f"{len(told)}\u00a0sont provisoires" in text

    entry = journal.story(deposit)[0]
    assert fingerprint == hashlib.sha256(data).hexdigest()
    assert entry.body["detail"] == {"kind": "dossier", "fingerprint": fingerprint}
    assert JournalAttestation.get_by_id(fingerprint)
    assert Deposit.get_by_id(deposit.id).dossier_at == gateways.clock.now()
    assert verifications.verify(gateways).findings == ()


def test_the_program_verifies_what_was_unpacked_once_all_is_deleted_and_purged(gateways, deposit, tmp_path):
    gateways.clock.advance(deposit.expires_at - gateways.clock.now())
    retention.expire(gateways, confirmed=True)
    with opened(drawn(gateways, deposit)[0]) as archive:
        archive.extractall(tmp_path)
    offers.tell(gateways)
    for _ in range(2):
        gateways.clock.advance(timedelta(days=100))
        clockwork.confirm(gateways.clock.now())
        offers.tell(gateways)
        purges.run(gateways)
    assert Deposit.get_by_id(deposit.id).purged_at
    key = checkpoints.vkey(gateways)

    status, told = program(tmp_path, "--receipt", ".", "--vkey", key)
    assert status == 0, told
    assert "INTACT" in told
    assert "document.consulted" in told
    for pdf in ("Attestation de suppression.pdf", "Attestation de dépôt.pdf", "Relevé des consultations.pdf"):
        assert program(tmp_path, "--receipt", f"attestations/{pdf}", "--vkey", key)[0] == 0, pdf

    changed = next((tmp_path / "recus").iterdir())
    changed.write_bytes(changed.read_bytes().replace(b'"body":"{', b'"body":"{ '))
    status, told = program(tmp_path, "--receipt", "recus", "--vkey", key)
    assert status == 1, told


def test_a_dossier_unpacked_says_by_itself_that_its_pdfs_were_issued(gateways, deposit, tmp_path):
    with opened(drawn(gateways, deposit)[0]) as archive:
        archive.extractall(tmp_path / "dossier")

    status, told = program(tmp_path, "--receipt", "dossier", "--vkey", checkpoints.vkey(gateways))
    assert (status, told.count("remis tel quel")) == (0, 4), told

    for number, pdf in enumerate(sorted((tmp_path / "dossier" / "attestations").iterdir()), start=1):
        pdf.write_bytes(pdf.read_bytes() + b"\n")
        status, told = program(tmp_path / "dossier", "--receipt", ".", "--vkey", checkpoints.vkey(gateways))
        assert (status, told.count("remis tel quel"), f"PDF {pdf.name} : changé" in told) == (1, 4 - number, True), told


def test_an_export_says_which_pdf_was_issued(gateways, deposit, tmp_path):
    with opened(drawn(gateways, deposit)[0]) as archive:
        archive.extractall(tmp_path)
    gateways.clock.advance(timedelta(hours=2))
    exports.write(gateways, tmp_path / "export", by=journal.OPERATOR)
    key, pdf = checkpoints.vkey(gateways), tmp_path / "attestations" / "Attestation de dépôt.pdf"

    status, told = program(tmp_path, "export", "--receipt", "attestations", "--vkey", key)
    assert (status, told.count("remis tel quel")) == (0, 4), told
    with pikepdf.open(pdf, allow_overwriting_input=True) as document:
        document.docinfo["/Title"] = "Autre"
        document.save(pdf)
    status, told = program(tmp_path, "export", "--receipt", "attestations", "--vkey", key)
    assert (status, told.count("ce n’est pas le PDF")) == (1, 1), told


def test_after_the_purge_a_dossier_says_which_receipts_are_no_more(gateways, deposit):
    make.forgotten(gateways, deposit)
    gone = len(records(deposit))
    with opened(drawn(gateways, deposit)[0]) as archive:
        text = archive.read("LISEZ-MOI.txt").decode("utf-8-sig")
        given = [name for name in archive.namelist() if name.startswith("recus/")]

    assert len(given) == 4  # of the attestations just made
    assert f"{gone}\u00a0enregistrements n’ont plus de reçu" in text


def test_a_draft_has_none(gateways):
    with pytest.raises(attestations.NothingFiled):
        dossiers.make(gateways, make.draft(gateways), by=journal.OPERATOR)
    assert make.count("attestation.issued") == 0


def test_a_dossier_that_cannot_be_journaled_is_not_handed_over(gateways, deposit, monkeypatch):
    each, closed = receipts.each, []

    def closing(gateways, cited):
        yield from each(gateways, cited)
        closed.append(True)

    monkeypatch.setattr(receipts, "each", closing)
    finish = Spool.finish

    def shut(spool):
        with models.write():
            JournalLog.update(closed_at=make.NOW).execute()
        return finish(spool)

    monkeypatch.setattr(Spool, "finish", shut)
    with pytest.raises(journal.JournalClosed):
        dossiers.make(gateways, deposit, by=journal.OPERATOR)

    assert closed
    assert Deposit.get_by_id(deposit.id).dossier_at is None
    assert "dossier" not in {entry.body["detail"].get("kind") for entry in journal.story(deposit)}
    with models.write():
        JournalLog.update(closed_at=None).execute()
    monkeypatch.undo()
    assert drawn(gateways, deposit)


def test_of_many_recipients_the_statement_speaks_for_all(gateways, deposit, monkeypatch):
    monkeypatch.setattr(dossiers, "MOST_PEOPLE", 1)
    with opened(drawn(gateways, deposit)[0]) as archive:
        names = archive.namelist()

    assert "attestations/Relevé des consultations.pdf" in names
    assert not [name for name in names if "Attestation de consultation" in name]


def test_another_deposit_s_records_are_not_in_it(gateways, deposit):
    other = make.filed(gateways, deposit.office, recipients=("Odile Ailleurs",))
    data, _ = drawn(gateways, deposit)
    with opened(data) as archive:
        for name in archive.namelist():
            if name.startswith("recus/"):
                held = receipt.parse(archive.read(name))
                assert receipt.record.parse(held.header).sequence not in records(other)
                assert b"Ailleurs" not in held.body


def test_receipts_of_thousands_of_records_cost_few_queries_each(gateways, deposit, caplog):
    with models.write():
        for _ in range(2_000):
            journal.append(gateways, "document.consulted", deposit=deposit)
    checkpoints.publish(gateways)
    cited = dossiers._records(deposit)
    with caplog.at_level("DEBUG", "peewee"):
        given = sum(1 for _ in receipts.each(gateways, cited))

    assert given == len(cited) > 2_000
    assert len(caplog.records) < len(cited) / 20
    assert JournalRecord.select().count() > 2_000


def test_what_waits_on_the_disk_is_never_in_clear_and_comes_back_whole():
    data = b"Alexandre Payet " * 200_000
    with Spool() as spool:
        for start in range(0, len(data), 70_001):
            spool.write(data[start : start + 70_001])
        assert spool.finish() == hashlib.sha256(data).hexdigest()
        spool._file.seek(0)
        assert b"Payet" not in spool._file.read()
        assert b"".join(spool.chunks()) == data
        assert spool.size == len(data)
