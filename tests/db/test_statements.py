"""The statement of consultations: what the journal knows up to a day, recipient by recipient, however many there are."""

import io
import resource
from datetime import date, timedelta

import make
import pypdf
import pytest

from mespieces import models
from mespieces.domain import (
    attestations,
    attested,
    consultations,
    deposits,
    french,
    journal,
    opened,
    sessions,
    statements,
    text,
    verifications,
)
from mespieces.models import Access, Consultation, Document, JournalRecord, Recipient, Session
from mespieces.verifier import attached, note, receipt

TODAY = date(2026, 11, 24)


@pytest.fixture
def deposit(gateways):
    return make.filed(gateways, documents=2, recipients=("Alexandre Payet", "Béatrice Roux", "Zoé Vide"))


def words(made):
    said = " ".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(made)).pages)
    return " ".join(said.replace("\u200b", "").split())


def read(gateways, who, number=1):
    with models.write():
        Recipient.update(way="email", way_set_by="recipient").where(Recipient.id == who.id).execute()
        token = sessions.start(gateways.clock.now(), way="act+email", access=who.accesses.get())
    session = sessions.of_recipient(gateways, token)
    consultations.open_document(gateways, session, number, "file", make.TRACE, whole=True).close()


def state(gateways, deposit, day=TODAY):
    return attestations.of_statement(gateways, deposit, day, by=journal.OPERATOR)


def test_each_recipient_is_told_with_what_they_consulted_and_its_receipts(gateways, deposit):
    payet, roux, _ = deposit.recipients.order_by(Recipient.name)
    for number in (1, 2, 1):
        read(gateways, payet, number)
        gateways.clock.advance(timedelta(minutes=1))
    read(gateways, roux)
    made = state(gateways, deposit)
    said = words(made)

    for part in (
        "Relevé des consultations", "Jusqu’au 24 novembre 2026", "4 consultations", "3 destinataires",
        "3 2 pièces 24 nov. 2026, 11 h 00 24 nov. 2026, 11 h 02", "aucune", "Que rien d’autre n’a eu lieu",
        "Ce que ce relevé constate", "feuillet et courriel", "4 reçus y sont joints",
    ):  # fmt: skip
        assert part in said, part
    records = list(JournalRecord.select().where(JournalRecord.operation == "document.consulted"))
    assert all(attested.grouped(row.hash) in said for row in records)
    proven = [receipt.record.parse(receipt.parse(one).header) for one in attached.receipts(made).values()]
    assert {one.sequence for one in proven} == {row.sequence for row in records}
    told = journal.story(deposit)[0].body["detail"]
    assert (told["kind"], told["until"]) == ("statement", "2026-11-24")


def test_what_was_consulted_after_the_day_chosen_is_not_in_it(gateways, deposit):
    payet, roux, _ = deposit.recipients.order_by(Recipient.name)
    gateways.clock.advance(timedelta(hours=12, minutes=59))  # 23 h 59 in Paris
    read(gateways, payet)
    gateways.clock.advance(timedelta(minutes=1))
    read(gateways, roux, 2)
    said = words(state(gateways, deposit, TODAY))

    assert "une consultation des pièces" in said
    assert "25 novembre 2026 à 0 h 00 (heure de Paris) (2026-11-24 23:00:00 UTC)" in said
    assert said.count("aucune") >= 2
    assert "2 consultations" in words(state(gateways, deposit, TODAY + timedelta(days=1)))


def test_nothing_consulted_is_said_plainly_with_the_receipt_of_the_filing(gateways, deposit):
    made = state(gateways, deposit)
    said = words(made)

    assert "ne porte aucune consultation" in said
    assert "Le reçu joint prouve le dépôt des pièces" in said
    assert "n’ont plus de reçu" not in said
    [only] = attached.receipts(made).values()
    verdict = receipt.verify(receipt.parse(only), [note.verifier(journal.head().origin, gateways.journal_key)])
    assert (verdict.findings, verdict.header.operation) == ([], "deposit.filed")
    assert f"{french.number(verdict.header.sequence)} Dépôt des pièces" in said

    read(gateways, make.first(deposit))
    [only] = attached.receipts(state(gateways, deposit)).values()
    assert b"deposit.filed" not in only


def test_a_day_is_read_as_people_write_it_and_none_is_today(gateways, deposit):
    now = gateways.clock.now()
    gateways.clock.advance(timedelta(days=40))
    later = gateways.clock.now()

    assert statements.read_day("", deposit, now) == TODAY
    assert statements.read_day("24/11/2026", deposit, later) == TODAY
    for typed, refusal in (
        ("2026-11-25", statements.DayToCome), ("2026-11-23", statements.DayBeforeFiling), ("hier", text.NotADate),
        ("31/02/2026", text.NotADate), ("9999-12-31", statements.DayToCome), ("0001-01-01", text.NotADate),
    ):  # fmt: skip
        with pytest.raises(refusal):
            statements.read_day(typed, deposit, now)


def test_a_draft_is_stated_by_nothing(gateways):
    with pytest.raises(attestations.NothingFiled):
        state(gateways, make.draft(gateways))


def test_the_consultations_of_another_deposit_are_not_in_it(gateways, deposit):
    other = make.filed(gateways, deposit.office, recipients=("Odile Ailleurs",))
    read(gateways, make.first(other))

    said = words(state(gateways, deposit))
    assert "ne porte aucune consultation" in said
    assert "Ailleurs" not in said


def test_of_very_many_the_first_of_each_recipient_and_the_newest_are_listed(gateways, deposit, monkeypatch):
    monkeypatch.setattr(opened, "MOST_RECORDS", 3)
    payet, roux, _ = deposit.recipients.order_by(Recipient.name)
    for who in (payet, payet, roux, payet, payet):
        gateways.clock.advance(timedelta(minutes=1))
        read(gateways, who)
    said = words(state(gateways, deposit))

    rows = JournalRecord.select().where(JournalRecord.operation == "document.consulted")
    hashes = [row.hash for row in rows.order_by(JournalRecord.sequence)]
    assert [place for place, one in enumerate(hashes) if attested.grouped(one) in said] == [0, 2, 4]
    assert "5 consultations" in said
    assert "3 consultations sont détaillées" in said
    assert "2 autres consultations sont inscrites au journal sans être détaillées ici" in said


def test_300_recipients_and_thousands_of_consultations_compose_in_bounded_memory(gateways):
    draft = make.draft(gateways)
    make.blank(draft, 40)
    make.recipient(gateways, draft)
    with models.write():
        for document in draft.documents:
            journal.append(gateways, "document.deposited", document=document)
    deposit = deposits.file(gateways, draft.id, by=journal.OPERATOR)
    listed, now = list(deposit.documents.order_by(Document.number)), gateways.clock.now()
    with models.write():
        for number in range(300):
            name = f"Société d’exploitation des établissements {number:03}"
            who = Recipient.create(deposit=deposit, name=name, added_at=now)
            access = Access.create(recipient=who, reference=f"{number:08}", created_at=now)
            session = Session.create(
                token_hash=str(number), access=access, way="act+email", created_at=now, seen_at=now, proved_at=now
            )
            author = journal.Author("recipient", str(who.id), name, identified={"way": "act+email", "set_by": "office"})
            for document in listed[:12]:
                made = Consultation(session=session, document=document, opened_at=now, log=journal.head().log)
                made.sequence = journal.append(
                    gateways, "document.consulted", author=author, document=document, recipient=who,
                    consultation=made.id,
                )  # fmt: skip
                made.save(force_insert=True)
    gateways.clock.advance(timedelta(minutes=1))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    made = state(gateways, deposit)

    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 150 * 1024  # KiB
    assert len(attached.receipts(made)) == opened.MOST_RECORDS
    said = words(made)
    assert "3600 consultations" in said.replace("\u202f", "")
    assert "3 000 autres consultations" in said.replace("\u202f", " ")
    assert said.count("exploitation des établissements") >= 600
    assert verifications.verify(gateways).findings == ()
