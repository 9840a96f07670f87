"""Real invoices and difficult files go through the whole product, from the office's upload to the debtor's page."""

import hashlib

import make
from pypdf import PdfReader

from mespieces.domain import deposits, documents, journal
from mespieces.models import Document

REFUSED = "chiffre-mot-de-passe.pdf"


def test_real_documents_are_deposited_shown_and_given_back_byte_for_byte(site, corpus):
    member = make.member(site.gateways)
    office, deposit = site.member(member), make.draft(site.gateways, member.office)
    paths = [path for folder in ("factures", "cas-limites") for path in sorted((corpus / folder).glob("*.pdf"))]
    taken = [path for path in paths if path.name != REFUSED]
    assert len(list((corpus / "factures").glob("*.pdf"))) == 5

    for path in taken:
        office.upload(f"/etude/depots/{deposit.id}/pieces", path.read_bytes(), path.name)
    make.recipient(site.gateways, deposit)
    deposits.file(site.gateways, deposit.id, by=journal.OPERATOR)

    debtor = site.reading(deposit)
    page = debtor.get("/pieces").text
    for number, (path, document) in enumerate(zip(taken, documents.listed(deposit), strict=True), 1):
        assert (document.number, document.filename) == (number, path.name)
        assert document.pages == len(PdfReader(path).pages)
        given = debtor.get(f"/pieces/{number}/fichier").data
        assert given == path.read_bytes()
        shown = "".join(f"<span>{document.fingerprint[at : at + 8]}</span>" for at in range(0, 64, 8))
        assert hashlib.sha256(given).hexdigest() == document.fingerprint
        assert shown in page
        debtor.get(f"/pieces/{number}")
        assert debtor.get(f"/pieces/{number}/pages/{document.pages}.webp").data[:4] == b"RIFF"
        debtor.get(f"/pieces/{number}/texte")


def test_a_document_behind_a_password_is_refused_in_words_and_leaves_nothing(site, corpus):
    member = make.member(site.gateways)
    office, deposit = site.member(member), make.draft(site.gateways, member.office)

    answer = office.upload(
        f"/etude/depots/{deposit.id}/pieces", (corpus / "cas-limites" / REFUSED).read_bytes(), REFUSED, 415
    )

    assert "demande un mot de passe" in answer.text
    assert Document.select().count() == 0
    assert list(site.gateways.vault.names()) == []
