"""The attestation of deletion: established once everything is gone, and proven by the journal's own records."""

import io
from datetime import timedelta

import make
import pypdf
import pytest

from mespieces.domain import (
    attestations,
    clockwork,
    deletions,
    journal,
    offers,
    purges,
    retention,
    verifications,
    withdrawals,
)
from mespieces.models import Deposit, Document, JournalCheckpoint, JournalLog, JournalRecord
from mespieces.verifier import attached, note, receipt


@pytest.fixture
def deposit(gateways):
    return make.filed(gateways, documents=2, recipients=("Alexandre Payet",))


def end(gateways, deposit):
    gateways.clock.advance(deposit.expires_at - gateways.clock.now())
    retention.expire(gateways, confirmed=True)


def words(made):
    text = " ".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(made)).pages)
    return " ".join(text.replace("\u200b", "").split())


def verdicts(gateways, made):
    keys = [note.verifier(row.origin, gateways.journal_key) for row in JournalLog.select()]
    return [receipt.verify(receipt.parse(data), keys) for data in attached.receipts(made).values()]


def attest(gateways, deposit):
    return attestations.of_deletion(gateways, deposit, by=journal.OPERATOR)


def test_it_says_what_was_deleted_and_when_and_its_receipts_prove_it(gateways, deposit):
    end(gateways, deposit)
    made = attest(gateways, deposit)
    text = words(made)

    for said in (
        "Attestation de suppression", "Clés effacées le 25 mai 2028 à 0 h 00", "Pièces supprimées : 2 pièces",
        "Supprimée le 25 mai 2028 à 0 h 00", "Au bon moulin", "une sauvegarde ancienne du service", "3 reçus y sont joints",
        "Fichiers de la pièce 1 supprimés", "Fichiers de la pièce 2 supprimés",
    ):  # fmt: skip
        assert said in text, said
    proven = verdicts(gateways, made)
    assert [one.findings for one in proven] == [[], [], []]
    assert sorted(one.header.operation for one in proven) == ["deposit.expired"] + ["document.deleted"] * 2
    told = {one.facts["object"].get("fingerprint") for one in proven}
    for document in deposit.documents:
        assert document.fingerprint in told
        assert attestations.attested.grouped(document.fingerprint) in text
    for row in JournalRecord.select().where(JournalRecord.operation == "document.deleted"):
        assert attestations.attested.grouped(row.hash) in text
    assert journal.story(deposit)[0].body["detail"]["kind"] == "deletion"


def test_it_is_refused_in_words_before_anything_is_deleted_and_leaves_no_trace(gateways, deposit):
    signed = JournalCheckpoint.select().count()
    with pytest.raises(deletions.NothingDeleted, match="24\xa0mai\xa02028 inclus"):
        attest(gateways, deposit)
    with pytest.raises(attestations.NothingFiled):
        attest(gateways, make.draft(gateways, deposit.office))

    assert JournalCheckpoint.select().count() == signed
    assert make.count("attestation.issued") == 0


def test_it_waits_for_the_last_document_and_for_a_worker(gateways, deposit):
    gateways.clock.advance(deposit.expires_at - gateways.clock.now())
    with pytest.raises(deletions.DeletionUnderWay, match="0 sur 2"):
        attest(gateways, deposit)

    clockwork.confirm(gateways.clock.now())
    retention.expire(gateways)
    Document.update(deleted_at=None).where(Document.number == 2).execute()
    with pytest.raises(deletions.DeletionUnderWay, match="1 sur 2"):
        attest(gateways, Deposit.get_by_id(deposit.id))
    assert make.count("attestation.issued") == 0


def test_of_a_withdrawn_deposit_it_tells_the_withdrawal_too(gateways, deposit):
    gateways.clock.advance(timedelta(days=3))
    withdrawals.withdraw(gateways, deposit.id, "Erreur de débiteur", by=journal.OPERATOR)
    with pytest.raises(deletions.NothingDeleted):
        attest(gateways, deposit)
    end(gateways, deposit)
    made = attest(gateways, deposit)

    assert "avait été retiré par l’étude le 27 novembre 2026" in words(made)
    assert "Motif : Erreur de débiteur" in words(made)
    operations = [one.header.operation for one in sorted(verdicts(gateways, made), key=lambda one: one.header.sequence)]
    assert operations == ["deposit.withdrawn", "deposit.expired", *["document.deleted"] * 2]
    assert verifications.verify(gateways).findings == ()


def test_what_is_attested_once_the_journal_forgot_says_that_nothing_joined_proves_it(gateways, deposit):
    end(gateways, deposit)
    for _ in range(3):
        offers.tell(gateways)
        gateways.clock.advance(timedelta(days=100))
        clockwork.confirm(gateways.clock.now())
        purges.run(gateways)
    current = Deposit.get_by_id(deposit.id)
    assert current.purged_at
    recipient = make.first(current)

    for made in (
        attest(gateways, current),
        attestations.of_deposit(gateways, current, by=journal.OPERATOR),
        attestations.of_consultations(gateways, recipient, by=journal.OPERATOR),
        attestations.of_statement(gateways, current, gateways.clock.now().date(), by=journal.OPERATOR),
    ):
        text = words(made)
        assert "sans preuve jointe" in text.split("Étude")[0]
        assert "Rien de ce qui est rapporté ici" in text
        assert "provisoire" not in text
        assert attached.receipts(made) == {}
