"""Attestations as people fetch them: a PDF to keep, of one's own, journaled each time and never ahead of its reader."""

import base64
import hashlib
import io
import itertools

import make
import pypdf
import pytest

from mespieces import models
from mespieces.domain import journal, withdrawals
from mespieces.models import Deposit, JournalLog, JournalPayload, JournalRecord, Recipient

OWN = "/pieces/attestation.pdf"
PREFETCHES = [{"Sec-Purpose": "prefetch"}, {"Sec-Purpose": "prefetch;prerender"}, {"Purpose": "prefetch"}]


@pytest.fixture
def deposit(site):
    """File a deposit of two documents for two co-debtors."""
    return make.filed(site.gateways, documents=2, recipients=("Alexandre Payet", "Béatrice Roux"))


@pytest.fixture
def clerk(site, deposit):
    """Let a member of its office in."""
    return site.member(make.member(site.gateways, deposit.office))


def _addresses(deposit):
    """Return where its office fetches attestations: of the deposit, and of its first recipient's consultations."""
    at = f"/etude/depots/{deposit.id}"
    return [f"{at}/attestation.pdf", f"{at}/destinataires/{make.first(deposit).id}/attestation.pdf"]


def _words(made):
    text = " ".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(made)).pages)
    return " ".join(text.replace("\u200b", "").split())


def test_the_bytes_served_are_those_whose_fingerprint_is_journaled(site, deposit, clerk):
    debtor = site.reading(deposit)
    of_deposit, of_first = _addresses(deposit)
    for visitor, address, kind in (
        (debtor, OWN, "consultation"), (clerk, of_deposit, "deposit"), (clerk, of_first, "consultation"),
    ):  # fmt: skip
        got = visitor.get(address)
        digest, entry = hashlib.sha256(got.data), journal.story(deposit)[0]

        assert entry.operation == "attestation.issued"
        assert entry.body["detail"] == {"kind": kind, "fingerprint": digest.hexdigest()}
        assert got.mimetype == "application/pdf"
        assert got.content_length == len(got.data)
        assert got.headers["Repr-Digest"] == f"sha-256=:{base64.b64encode(digest.digest()).decode()}:"
        assert got.headers["Content-Disposition"].startswith("attachment; filename=")
        assert got.headers["Cache-Control"] == "no-store"
    assert make.count("attestation.issued") == 3


def test_pages_lead_to_the_attestations_and_the_story_tells_them(site, deposit, clerk):
    debtor = site.reading(deposit)
    of_deposit, of_first = _addresses(deposit)
    at = f"/etude/depots/{deposit.id}"

    assert f'href="{OWN}"' in debtor.get("/pieces").text
    assert f'href="{of_deposit}"' in clerk.get(at).text
    assert f'href="{of_first}"' in clerk.get(of_first.removesuffix("/attestation.pdf")).text
    debtor.get(OWN)
    clerk.get(of_deposit)
    shown = clerk.get(at).text
    assert "Attestation de consultation établie pour Alexandre Payet" in shown
    assert "Attestation de dépôt établie pour Camille Marchand" in shown


def test_an_attestation_names_its_file_even_with_a_slash_in_the_reference(site, deposit, clerk):
    Deposit.update(office_reference="2026/04512").execute()
    named = clerk.get(_addresses(deposit)[0]).headers["Content-Disposition"]

    assert "Attestation%20de%20d%C3%A9p%C3%B4t%202026-04512.pdf" in named


def test_a_reader_and_their_office_are_told_the_same_and_nothing_of_a_co_debtor(site, deposit, clerk):
    payet, roux = deposit.recipients.order_by(Recipient.name)
    for path in ("/pieces/1/fichier", "/pieces/2/fichier"):
        site.recipient(roux).get(path)
    debtor = site.recipient(payet)
    debtor.get("/pieces/1/pages/1.webp")

    for text in (_words(debtor.get(OWN).data), _words(clerk.get(_addresses(deposit)[1]).data)):
        assert "1 pièce sur 2 a été consultée avec l’accès destiné à Alexandre Payet" in text
        assert "au moins une page affichée" in text
        assert "Facture 2" in text.split("Pièces non consultées à cette date")[1]
        assert "Roux" not in text
        assert "fichier envoyé" not in text


def test_nothing_is_issued_for_a_head_or_for_a_browser_that_asks_ahead(site, deposit, clerk):
    debtor, before = site.reading(deposit), make.operations()
    for visitor, address in [(debtor, OWN), *((clerk, address) for address in _addresses(deposit))]:
        head = visitor.ask("HEAD", address, 200)
        assert head.mimetype == "application/pdf"
        assert head.data == b""
    for address, ahead in itertools.product(_addresses(deposit), PREFETCHES):
        assert clerk.get(address, headers=ahead).data == b""
    for ahead in PREFETCHES:
        assert not debtor.get(OWN, 409, headers=ahead).data.startswith(b"%PDF")

    assert make.operations() == before


def test_when_the_journal_fails_no_attestation_is_served(site, deposit, clerk):
    debtor = site.reading(deposit)
    with models.write():
        JournalLog.update(closed_at=make.NOW).execute()

    for visitor, address in [(debtor, OWN), *((clerk, address) for address in _addresses(deposit))]:
        assert b"%PDF" not in visitor.get(address, 503).data
    assert make.count("attestation.issued") == 0


def test_a_withdrawn_deposit_is_attested_to_its_office_alone(site, deposit, clerk):
    debtor = site.reading(deposit)
    withdrawals.withdraw(site.gateways, deposit.id, "Erreur de débiteur", by=journal.OPERATOR)

    debtor.get(OWN, 410)
    of_deposit, of_first = _addresses(deposit)
    assert "Motif : Erreur de débiteur." in _words(clerk.get(of_deposit).data)
    assert "Retirées le" in _words(clerk.get(of_first).data)


def test_after_the_end_a_recipient_is_told_it_is_over(site, deposit):
    site.gateways.clock.advance(deposit.expires_at - site.gateways.clock.now())
    debtor = site.reading(deposit)

    debtor.get(OWN, 410)


def test_a_draft_has_no_attestation_yet(site, deposit, clerk):
    draft = make.draft(site.gateways, deposit.office)
    make.recipient(site.gateways, draft)

    for address in _addresses(draft):
        assert "une fois le dépôt effectué" in clerk.get(address, 409).text


def test_two_offices_and_two_co_debtors_each_fetch_their_own_alone(site, deposit):
    theirs = make.filed(
        site.gateways, make.office(site.gateways, "Étude voisine"), recipients=("Chloé Martin", "David Noël"),
        office_reference="VOI-77",
    )  # fmt: skip
    both = (deposit, theirs)
    for own, other in (both, both[::-1]):
        member = site.member(make.member(site.gateways, own.office))
        text = _words(member.get(_addresses(own)[0]).data)
        assert own.office_reference in text
        for recipient in list(other.recipients):
            assert recipient.name not in text
            member.get(f"/etude/depots/{own.id}/destinataires/{recipient.id}/attestation.pdf", 404)
            member.get(f"/etude/depots/{other.id}/destinataires/{recipient.id}/attestation.pdf", 404)
        member.get(_addresses(other)[0], 404)
        for recipient in list(own.recipients):
            text = _words(site.recipient(recipient).get(OWN).data)
            assert recipient.name in text
            others = {one.name for one in Recipient.select()} - {recipient.name}
            assert not [name for name in others if name in text]

    assert site.visitor().get(OWN, 303).location == "/"
    assert site.visitor().get(_addresses(deposit)[0], 303).location == "/etude/connexion"


def test_what_the_journal_contradicts_is_refused_in_words_to_whoever_asks(site, deposit, clerk):
    debtor = site.reading(deposit)
    debtor.get("/pieces/1/fichier")
    consulted = JournalRecord.get(JournalRecord.operation == "document.consulted")
    log, at = consulted.log, f"/etude/depots/{deposit.id}"
    with models.write():
        JournalPayload.update(salt=None, body=None).where(
            JournalPayload.sequence.in_([consulted.sequence, deposit.filed_sequence])
        ).execute()
    before = make.operations()

    for visitor, address in (
        (debtor, OWN), (debtor, f"/pieces/recus/{log}/{consulted.sequence}.json"), (debtor, "/pieces/recus"),
        *((clerk, address) for address in _addresses(deposit)), (clerk, f"{at}/releve.pdf"), (clerk, f"{at}/dossier.zip"),
        (clerk, f"{at}/recus/{log}/{consulted.sequence}.json"),
    ):  # fmt: skip
        got = visitor.get(address, 503)
        assert "ne s’accorde plus avec le journal" in got.text
        assert b"%PDF" not in got.data
    assert make.operations() == before
    debtor.get("/pieces/1/fichier")
