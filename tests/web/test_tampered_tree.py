"""The stored hashes of the journal's tree were changed by somebody: people still read, and nothing false is handed over."""

import make
import pytest

from mespieces import models
from mespieces.domain import checkpoints, journal, subtrees, verifications
from mespieces.models import JournalCheckpoint, JournalSubtree

REASON = "ne correspond plus à ce qui en a été publié"


@pytest.fixture
def deposit(site):
    """File a deposit in a journal long enough for hashes of its tree to be stored, then change these."""
    made = make.filed(site.gateways)
    with models.write():
        while journal.append(site.gateways, "incident.recorded") < 600:
            pass
    checkpoints.publish(site.gateways)
    JournalSubtree.update(hash=b"x" * 32).execute()
    return made


def test_documents_are_read_while_attestations_and_receipts_are_refused_in_words(site, deposit):
    debtor, clerk = site.reading(deposit), site.member(make.member(site.gateways, deposit.office))

    assert debtor.get("/pieces/1/fichier").data.startswith(b"%PDF-")
    refused = [
        debtor.get("/pieces/attestation.pdf", 503),
        clerk.get(f"/etude/depots/{deposit.id}/attestation.pdf", 503),
        debtor.get(f"/pieces/recus/{journal.head().log}/{consulted()}.json", 503),
    ]

    assert all(REASON in answer.text for answer in refused)
    assert make.count("attestation.issued") == 0
    assert JournalCheckpoint.select().count() == 1


def test_the_audit_page_shows_what_was_published_and_names_what_is_wrong(site, deposit):
    published = checkpoints.newest(site.gateways, journal.head()).checkpoint.size
    make.office(site.gateways)
    verifications.verify(site.gateways)

    assert site.visitor().get("/audit/head").json["size"] == published
    page = site.visitor().get("/audit").text
    assert "SUBTREE_ALTERED" in page
    assert "Rien de nouveau n’est signé" in page
    subtrees.remake()
    assert "Rien de nouveau n’est signé" not in site.visitor().get("/audit").text


def consulted():
    record = models.JournalRecord
    return record.get(record.operation == "document.consulted").sequence
