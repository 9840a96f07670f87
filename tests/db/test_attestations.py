"""Attestations: true, of one's own alone, journaled with their fingerprint before they are handed over (art. 2, 4, 6)."""

import hashlib
import io
import json
from datetime import timedelta

import make
import pypdf
import pytest

from mespieces import models
from mespieces.domain import (
    accesses,
    attestations,
    checkpoints,
    codes,
    consultations,
    deposits,
    journal,
    opened,
    retention,
    sessions,
    significations,
    verifications,
    withdrawals,
)
from mespieces.models import Consultation, JournalLog, JournalRecord, Recipient, Throttle


@pytest.fixture
def deposit(gateways):
    office = make.office(gateways)
    draft = make.draft(gateways, office)
    for number in (1, 2, 3):
        make.document(gateways, draft, make.pdf(f"Facture {number}"), f"Facture {number}.pdf")
    for name in ("Alexandre Payet", "Béatrice Roux"):
        make.recipient(gateways, draft, name)
    clerk = make.member(gateways, office)
    return deposits.file(gateways, draft.id, by=journal.member(clerk), member=clerk)


@pytest.fixture
def payet(deposit):
    return Recipient.get(Recipient.name == "Alexandre Payet")


@pytest.fixture
def roux(deposit):
    return Recipient.get(Recipient.name == "Béatrice Roux")


@pytest.fixture
def clerk(deposit):
    return journal.member(deposit.office.members.get(), make.TRACE)


def words(made):
    text = " ".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(made)).pages)
    return " ".join(text.replace("\u200b", "").split())


def grouped(digest):
    return " ".join(digest[start : start + 8] for start in range(0, 64, 8))


def read(gateways, session, number, mode="file", *, whole=True):
    reading = consultations.open_document(gateways, session, number, mode, make.TRACE, whole=True)
    consultations.finish(gateways, session, reading, mode, make.TRACE, whole=whole, sent=1)


def again(gateways, who):
    """Identify a recipient once more."""
    with models.write():
        token = sessions.start(gateways.clock.now(), way="act+email", access=who.accesses.get())
    return sessions.of_recipient(gateways, token)


def close_journal():
    with models.write():
        JournalLog.update(closed_at=make.NOW).execute()


# Of a deposit


def test_the_attestation_of_a_deposit_tells_what_the_journal_holds(gateways, deposit, payet, clerk):
    significations.record(gateways, payet.id, {"signified_on": "2026-11-20", "manner": "etude"}, by=clerk)
    head, record = checkpoints.head(gateways), JournalRecord.get(JournalRecord.operation == "deposit.filed")
    text = words(attestations.of_deposit(gateways, deposit, by=clerk))

    for said in (
        "Attestation de dépôt", "SCP Lefèvre & Marchand, 14 rue des Carmes, 44000 Nantes", "Au bon moulin", "NTE-4821",
        "Tribunal judiciaire de Nantes", "n° 2026-1187 du 4 novembre 2026", "Par Camille Marchand", "24 mai 2028 inclus",
        "24 novembre 2026 à 11 h 00 (heure de Paris)", "2026-11-24 10:00:00 UTC", "3 pièces, 3 pages", "1 Facture 1",
        "20 novembre 2026 à l’étude", "Béatrice Roux", f"enregistrement n° {record.sequence} (deposit.filed)",
        grouped(record.hash), head.log, f"{head.size} enregistrements", grouped(head.root),
    ):  # fmt: skip
        assert said in text, said
    for document in deposit.documents:
        assert grouped(document.fingerprint) in text
    for access in accesses.by_deposit(deposit).values():
        assert codes.show(access.reference) in text


def test_its_fingerprint_stands_in_the_journal(gateways, deposit, clerk):
    made = attestations.of_deposit(gateways, deposit, by=clerk)

    entry = journal.story(deposit)[0]
    assert entry.operation == "attestation.issued"
    assert entry.body["detail"] == {"kind": "deposit", "fingerprint": hashlib.sha256(made).hexdigest()}
    assert entry.body["object"] == {"deposit": str(deposit.id), "office": str(deposit.office_id)}
    assert entry.body["author"]["id"] == clerk.id
    assert verifications.verify(gateways).findings == ()


def test_a_deposit_filed_from_the_command_line_names_who_operates_the_service(gateways):
    text = words(attestations.of_deposit(gateways, make.filed(gateways), by=journal.OPERATOR))

    assert "Par l’exploitant du service" in text
    assert "et demandé par l’exploitant du service" in text


def test_nothing_secret_is_printed(gateways, deposit, payet, clerk):
    _, secret = make.issued(gateways, payet)
    Recipient.update(email="payet@example.fr", address="3 impasse Secrète").execute()
    text = words(attestations.of_deposit(gateways, deposit, by=clerk)).replace("-", "")

    for hidden in (secret, "payet@example.fr", "impasse", make.TRACE.address):
        assert hidden not in text


def test_a_recipient_added_later_is_told_apart(gateways, deposit, clerk):
    gateways.clock.advance(timedelta(days=1))
    make.recipient(gateways, deposit, "Héritière Payet", representative="Maître Durand")
    text = words(attestations.of_deposit(gateways, deposit, by=clerk))

    assert "représentant : Maître Durand · ajouté le 25 novembre 2026" in text
    assert text.count("ajouté le") == 1


def test_a_draft_is_attested_by_nothing(gateways):
    draft = make.draft(gateways)
    recipient = make.recipient(gateways, draft)

    with pytest.raises(attestations.NothingFiled):
        attestations.of_deposit(gateways, draft, by=journal.OPERATOR)
    with pytest.raises(attestations.NothingFiled):
        attestations.of_consultations(gateways, recipient, by=journal.OPERATOR)
    assert make.count("attestation.issued") == 0


def withdraw(gateways, deposit):
    withdrawals.withdraw(gateways, deposit.id, "Erreur de débiteur", by=journal.OPERATOR)


def test_a_withdrawn_deposit_is_attested_to_its_office_and_no_more_to_recipients(
    gateways, deposit, payet, clerk, monkeypatch
):
    session = make.identified(gateways, payet)
    withdraw(gateways, deposit)
    text = words(attestations.of_deposit(gateways, deposit, by=clerk))

    assert "Ce dépôt a été retiré par l’étude le 24 novembre 2026 à 11 h 00" in text
    assert "Motif : Erreur de débiteur." in text
    assert "Retirées le" in words(attestations.of_consultations(gateways, payet, by=clerk))
    session = sessions.Session.get_by_id(session.id)
    monkeypatch.setattr(attestations.pdf, "compose_apart", None)  # refused before anything is composed
    with pytest.raises(deposits.DepositWithdrawn):
        attestations.of_own_consultations(gateways, session, make.TRACE)
    assert make.count("attestation.issued") == 2


def test_after_the_end_the_office_learns_what_became_of_the_documents(gateways, deposit, payet, clerk):
    session = make.identified(gateways, payet)
    gateways.clock.advance(deposit.expires_at - gateways.clock.now())
    ended = words(attestations.of_deposit(gateways, deposit, by=clerk))
    retention.expire(gateways, confirmed=True)
    deleted = words(attestations.of_deposit(gateways, deposit, by=clerk))

    assert "La mise à disposition est terminée : les pièces ont été disponibles jusqu’au 24 mai 2028 inclus" in ended
    assert "Suppression" not in ended
    assert "toutes les pièces ont été supprimées, la dernière le 25 mai 2028 à 0 h 00" in deleted
    assert grouped(deposit.documents.get().fingerprint) in deleted
    with pytest.raises(deposits.AvailabilityOver):
        attestations.of_own_consultations(gateways, sessions.Session.get_by_id(session.id), make.TRACE)


# Of consultations


def test_a_recipient_learns_what_they_opened_in_all_their_sessions_and_what_they_did_not(gateways, payet):
    read(gateways, make.identified(gateways, payet), 1, "page")
    gateways.clock.advance(timedelta(days=1))
    session = again(gateways, payet)
    read(gateways, session, 1)
    read(gateways, session, 2, "bundle", whole=False)
    made = attestations.of_own_consultations(gateways, session, make.TRACE)
    text = words(made)

    assert "2 pièces sur 3 ont été consultées avec l’accès destiné à Alexandre Payet" in text
    consulted, rest = text.split("Pièces non consultées à cette date")
    first, second = consulted[consulted.index("Facture 1") :].split("Facture 2")
    assert "24 novembre 2026 à 11 h 00" in first
    assert "25 novembre" not in first
    assert "au moins une page affichée · fichier envoyé en entier" in first
    assert "25 novembre 2026 à 11 h 00" in second
    assert "liasse : envoi interrompu" in second
    assert "Facture 3" in rest
    assert "code à usage unique reçu par courriel, moyen choisi par le destinataire" in consulted
    records = JournalRecord.select().where(JournalRecord.operation == "document.consulted")
    assert len(records) == 3
    for record in records:
        assert f"{record.sequence} " in rest
        assert grouped(record.hash) in rest
    entry = journal.story(payet.deposit)[0]
    assert entry.body["detail"] == {"kind": "consultation", "fingerprint": hashlib.sha256(made).hexdigest()}
    assert entry.body["object"] == {
        "deposit": str(payet.deposit_id), "recipient": str(payet.id), "office": str(payet.deposit.office_id),
    }  # fmt: skip
    assert entry.body["identified"] == {"way": "act+email", "set_by": "recipient"}


def test_who_opened_nothing_gets_an_attestation_that_says_so(gateways, payet, clerk):
    asked = words(attestations.of_consultations(gateways, payet, by=clerk))
    session = make.identified(gateways, payet)
    own = words(attestations.of_own_consultations(gateways, session, make.TRACE))

    for text in (asked, own):
        assert (
            "À la date de cette attestation, aucune pièce n’a été consultée avec l’accès destiné à Alexandre Payet"
            in text
        )
        assert "Facture 3" in text
        assert "Constat provisoire" in text
        assert "Destinataire inscrit au dépôt 24 novembre 2026" in text
    assert "Identification aucune à ce jour" in asked
    assert "reçu par courriel" in own
    assert "première identification le 24 novembre 2026" in own


def test_the_consultations_of_a_co_debtor_never_appear(gateways, payet, roux, clerk):
    read(gateways, make.identified(gateways, roux), 3)
    session = make.identified(gateways, payet)
    read(gateways, session, 1)
    [_, theirs] = JournalRecord.select().where(JournalRecord.operation == "document.consulted").order_by(
        JournalRecord.sequence.desc()
    )  # fmt: skip

    for text in (
        words(attestations.of_own_consultations(gateways, session, make.TRACE)),
        words(attestations.of_consultations(gateways, payet, by=clerk)),
    ):
        assert "1 pièce sur 3" in text
        for other in ("Roux", codes.show(accesses.of(roux).reference), grouped(theirs.hash)):
            assert other not in text
        assert "Facture 3" in text.split("non consultées")[1]


def test_what_the_office_reads_is_no_consultation_of_the_recipient(gateways, deposit, payet, clerk):
    consultations.read_by_member(gateways, deposit.documents.get(), by=clerk).close()

    assert opened.of(payet) == []


def test_a_record_of_the_same_number_in_a_former_journal_is_not_taken_for_it(gateways, payet, clerk):
    read(gateways, make.identified(gateways, payet), 1)
    [opening] = opened.of(payet)
    close_journal()
    journal.open_log(gateways)
    while checkpoints.head(gateways).size < opening.sequence:
        with models.write():
            journal.append(gateways, "journal.read")
    with models.write():
        journal.append(
            gateways, "document.consulted", author=clerk, document=payet.deposit.documents.get(), recipient=payet
        )

    assert opened.of(payet) == [opening]
    text = words(attestations.of_consultations(gateways, payet, by=clerk))
    assert f"ancien journal {opening.log}" in text


def test_of_very_many_consultations_the_first_of_each_document_and_the_newest_are_listed(gateways, payet, monkeypatch):
    monkeypatch.setattr(opened, "MOST_RECORDS", 3)
    read(gateways, make.identified(gateways, payet), 1)
    for _ in range(3):
        gateways.clock.advance(timedelta(days=1))
        session = again(gateways, payet)
        read(gateways, session, 1)
    read(gateways, session, 2)
    every = [row.sequence for row in Consultation.select().order_by(Consultation.sequence)]
    text = words(attestations.of_own_consultations(gateways, session, make.TRACE))

    hashes = {row.sequence: row.hash for row in JournalRecord.select()}
    assert [number for number in every if grouped(hashes[number]) in text] == [every[0], *every[3:]]
    assert "les plus récentes, 2 autres consultations sont inscrites au journal" in text


# The journal first


def test_an_attestation_that_cannot_be_journaled_is_not_handed_over(gateways, deposit, payet, clerk, monkeypatch):
    session = make.identified(gateways, payet)
    composed = []
    compose = attestations.pdf.compose_apart

    def closing(*args, **options):
        composed.append(compose(*args, **options))
        close_journal()
        return composed[-1]

    monkeypatch.setattr(attestations.pdf, "compose_apart", closing)
    for ask in (
        lambda: attestations.of_deposit(gateways, deposit, by=clerk),
        lambda: attestations.of_consultations(gateways, payet, by=clerk),
        lambda: attestations.of_own_consultations(gateways, session, make.TRACE),
    ):
        with models.write():
            JournalLog.update(closed_at=None).execute()
        with pytest.raises(journal.JournalClosed):
            ask()

    assert len(composed) == 3
    assert make.count("attestation.issued") == Throttle.select().where(Throttle.key ** "attestation:%").count() == 0


def test_typesetting_happens_outside_any_transaction(gateways, deposit, clerk, monkeypatch):
    seen = []
    monkeypatch.setattr(
        attestations.pdf, "compose_apart", lambda *_, **__: seen.append(models.database.in_transaction()) or b"%PDF-"
    )
    attestations.of_deposit(gateways, deposit, by=clerk)

    assert seen == [False]


@pytest.mark.parametrize(
    ("happening", "refusal"),
    [
        (sessions.end, consultations.SessionOver),
        (lambda gateways, session: withdraw(gateways, session.access.recipient.deposit), deposits.DepositWithdrawn),
        (lambda gateways, session: gateways.clock.advance(timedelta(days=600)), deposits.AvailabilityOver),
    ],
)
def test_what_ends_while_the_attestation_is_made_refuses_it(gateways, payet, monkeypatch, happening, refusal):
    session = make.identified(gateways, payet)
    compose = attestations.pdf.compose_apart
    monkeypatch.setattr(
        attestations.pdf, "compose_apart", lambda *a, **k: (compose(*a, **k), happening(gateways, session))[0]
    )
    with pytest.raises(refusal):
        attestations.of_own_consultations(gateways, session, make.TRACE)

    assert make.count("attestation.issued") == 0


def test_facts_and_journal_are_of_one_moment(gateways, deposit, payet, clerk, monkeypatch):
    """What is written between two queries of an attestation is in none of them."""
    session = make.identified(gateways, payet)
    size = checkpoints.head(gateways).size
    found = attestations.attested.documents.listed
    reading = []

    def reading_meanwhile(deposit):
        listed = found(deposit)
        if not reading:
            reading.append(True)
            make.threads(1, lambda: read(gateways, session, 1))
        return listed

    monkeypatch.setattr(attestations.attested.documents, "listed", reading_meanwhile)
    text = words(attestations.of_consultations(gateways, payet, by=clerk))

    assert make.count("document.consulted") == 1
    assert "aucune pièce n’a été consultée" in text
    assert f"{size} enregistrements" in text


def test_a_recipient_who_asks_again_and_again_waits_and_the_office_does_not(gateways, payet, clerk, monkeypatch):
    monkeypatch.setattr(attestations.pdf, "compose_apart", lambda *_, **__: b"%PDF-")
    session = make.identified(gateways, payet)
    for _ in range(attestations.AN_HOUR):
        attestations.of_own_consultations(gateways, session, make.TRACE)
    gateways.clock.advance(timedelta(minutes=10))

    with pytest.raises(attestations.AskedTooOften) as refused:
        attestations.of_own_consultations(gateways, session, make.TRACE)
    attestations.of_consultations(gateways, payet, by=clerk)

    assert refused.value.retry_after == 50 * 60
    assert make.count("attestation.issued") == attestations.AN_HOUR + 1
    gateways.clock.advance(timedelta(hours=1))
    attestations.of_own_consultations(gateways, again(gateways, payet), make.TRACE)


def test_two_attestations_of_different_moments_are_two_documents(gateways, deposit, clerk):
    first = attestations.of_deposit(gateways, deposit, by=clerk)
    gateways.clock.advance(timedelta(seconds=1))
    second = attestations.of_deposit(gateways, deposit, by=clerk)

    told = [json.loads(bytes(row.body))["detail"] for row in models.JournalPayload.select().order_by("sequence") if b"fingerprint" in bytes(row.body) and b'"kind":"deposit"' in bytes(row.body)]  # fmt: skip
    assert [one["fingerprint"] for one in told] == [hashlib.sha256(made).hexdigest() for made in (first, second)]
