"""Drafts given up: they go with all they held, unless somebody came back to them in time."""

import dataclasses
from datetime import timedelta

import make
import pytest

from mespieces.domain import clockwork, deposits, drafts, journal, recipients
from mespieces.gateways.storage import FolderStorage
from mespieces.gateways.vault import open_vault
from mespieces.models import Deposit, Document, Recipient

BY = journal.OPERATOR


@pytest.fixture
def forgotten(gateways):
    """A draft with two documents and a recipient, that nobody touched for a month."""
    draft = make.draft(gateways)
    make.document(gateways, draft)
    make.document(gateways, draft, filename="Contrat.pdf")
    make.recipient(gateways, draft)
    gateways.clock.advance(timedelta(days=30, microseconds=1))
    clockwork.confirm(gateways.clock.now())
    return draft


def stored(gateways):
    return [item.name for item in gateways.vault.names()]


def test_a_forgotten_draft_leaves_no_byte_and_no_row(gateways, forgotten):
    assert len(stored(gateways)) == 2

    assert drafts.drop_old(gateways) == 1

    assert stored(gateways) == []
    assert [table.select().count() for table in (Deposit, Document, Recipient)] == [0, 0, 0]
    assert make.operations(forgotten.id)[-3:] == ["document.withdrawn", "document.withdrawn", "deposit.withdrawn"]


def test_a_forgotten_draft_leaves_no_file_on_the_disk(gateways, settings):
    vault = open_vault(FolderStorage(settings.data / "storage"), settings.master_key_file)
    seen = dataclasses.replace(gateways, vault=vault)
    make.document(seen, make.draft(seen))
    assert len(stored(seen)) == 1
    gateways.clock.advance(timedelta(days=31))
    clockwork.confirm(gateways.clock.now())

    assert drafts.drop_old(seen) == 1

    assert [path for path in (settings.data / "storage").rglob("*") if path.is_file()] == []


@pytest.mark.parametrize("added", [make.document, make.recipient], ids=["a document", "a recipient"])
def test_a_draft_that_somebody_added_to_is_kept(gateways, forgotten, added):
    added(gateways, forgotten)
    kept = len(stored(gateways))

    assert drafts.drop_old(gateways) == 0
    gateways.clock.advance(timedelta(days=30))
    clockwork.confirm(gateways.clock.now())
    assert drafts.drop_old(gateways) == 0
    assert len(stored(gateways)) == kept

    gateways.clock.advance(timedelta(microseconds=1))
    assert drafts.drop_old(gateways) == 1


def test_a_draft_filed_while_the_sweep_looks_at_it_keeps_all_its_documents(gateways, forgotten):
    filed, dropped = make.amid(
        gateways,
        lambda seen: deposits.file(seen, forgotten.id, by=BY),
        lambda: drafts.drop_old(gateways),
        asked=1,
    )

    assert (filed.id, dropped) == (forgotten.id, 0)
    assert deposits.state(Deposit.get(), gateways.clock.now()) == deposits.State.FILED
    assert Document.select().count() == len(stored(gateways)) == 2
    assert make.count("document.withdrawn") == 0


def test_a_draft_added_to_while_the_sweep_looks_at_it_is_kept(gateways, forgotten):
    person = recipients.read({"name": "Jeanne Payet"})

    added, dropped = make.amid(
        gateways,
        lambda seen: recipients.add(seen, forgotten.id, person, by=BY),
        lambda: drafts.drop_old(gateways),
        asked=1,
    )

    assert (added.name, dropped) == ("Jeanne Payet", 0)
    assert (Recipient.select().count(), Document.select().count(), len(stored(gateways))) == (2, 2, 2)


def test_a_draft_filed_too_late_is_gone_whole(gateways, forgotten):
    _, filed = make.amid(
        gateways,
        lambda seen: drafts.drop(seen, forgotten.id, by=BY),
        lambda: deposits.file(gateways, forgotten.id, by=BY),
        asked=2,  # the first document's record is being written
    )

    assert isinstance(filed, deposits.DepositMissing)
    assert stored(gateways) == []
    assert make.count("deposit.filed") == 0


def test_two_sweeps_at_once_drop_a_draft_once(gateways, forgotten):
    results = make.threads(2, lambda: drafts.drop_old(gateways))

    assert sorted(results) == [0, 1]
    assert make.operations(forgotten.id).count("deposit.withdrawn") == 1
