"""Consultations: journaled before a byte leaves, verified, isolated, ended with the law (art. 2, 3, 4, 5, 6)."""

from datetime import timedelta

import make
import pytest

from mespieces import models
from mespieces.domain import (
    consultations,
    continuity,
    deposits,
    documents,
    journal,
    notices,
    opened,
    outbox,
    receipts,
)
from mespieces.models import Consultation, Delivery, JournalLog, JournalPayload, JournalRecord, Message, Recipient


@pytest.fixture
def deposit(gateways):
    return make.filed(gateways)


@pytest.fixture
def session(gateways, deposit):
    return make.identified(gateways, make.first(deposit))


def read(gateways, session, number=1, mode="file", *, whole=True):
    """Read a document to its end as a browser would."""
    reading = consultations.open_document(gateways, session, number, mode, make.TRACE, whole=whole)
    data = b"".join(reading.plaintext.chunks())
    consultations.finish(gateways, session, reading, mode, make.TRACE, whole=True, sent=len(data))
    return data


def damage(gateways, document, position=-1):
    """Flip one stored bit."""
    kept, name = gateways.vault._storage._objects, documents.file_name(document.id)
    data, modified = kept[name]
    altered = bytearray(data)
    altered[position] ^= 1
    kept[name] = (bytes(altered), modified)


def close_journal():
    with models.write():
        JournalLog.update(closed_at=make.NOW).execute()


# Reading


def test_a_recipient_reads_what_was_deposited_and_each_step_is_journaled(gateways, deposit, session):
    assert read(gateways, session) == make.pdf()

    delivered, consulted = journal.story(deposit)[:2]
    assert (delivered.operation, consulted.operation) == ("document.delivered", "document.consulted")
    document, consultation = documents.numbered(deposit, 1), Consultation.get()
    assert consulted.sequence == consultation.sequence
    assert consulted.body["object"] == {
        "deposit": str(deposit.id), "document": str(document.id), "number": 1, "fingerprint": document.fingerprint,
        "recipient": str(make.first(deposit).id), "consultation": str(consultation.id),
        "office": str(deposit.office_id),
    }  # fmt: skip
    assert consulted.body["detail"] == {"mode": "file", "recomputed": document.fingerprint}
    assert consulted.body["identified"] == {"way": "act+email", "set_by": "recipient"}
    assert delivered.body["detail"] == {"mode": "file", "sent": len(make.pdf())}


def test_a_consultation_is_never_taken_for_that_of_the_same_number_in_another_journal(gateways):
    deposit = make.filed(gateways, recipients=["Alexandre Payet", "Sophie Nguyễn"])
    alexandre, sophie = deposit.recipients.order_by(Recipient.name)
    first, second = make.identified(gateways, alexandre), make.identified(gateways, sophie, "office")
    read(gateways, first)
    old, number = journal.head().log, Consultation.get().sequence
    purged = {"ranges": [{"from": number, "to": number, "group": "proof"}], "reason": "retention"}
    with models.write():
        journal.append(gateways, "journal.purged", detail=purged)
    continuity.reopen(gateways)
    with models.write():
        while journal.head().size < number:
            journal.append(gateways, "incident.recorded")
    read(gateways, second)
    new = journal.head().log
    with models.write():
        journal.append(gateways, "journal.purged", detail=purged)
    # Nothing in the records tells them apart any more.
    JournalPayload.update(salt=None, body=None).where(JournalPayload.sequence == number).execute()

    assert [(one.log, one.sequence) for one in opened.of(alexandre)] == [(old, number)]
    assert [(one.log, one.sequence) for one in opened.of(sophie)] == [(new, number)]
    with pytest.raises(receipts.ReceiptMissing):
        receipts.of_recipient(gateways, sophie, old, number)


def test_a_consultation_is_committed_before_anything_can_be_read(gateways, session):
    reading = consultations.open_document(gateways, session, 1, "file", make.TRACE, whole=True)

    assert not models.database.in_transaction()
    assert make.operations()[-1] == "document.consulted"
    assert reading.plaintext.read_at(0, 5) == b"%PDF-"
    reading.close()


def test_when_the_journal_fails_nothing_is_served(gateways, session):
    close_journal()
    for ask in (
        lambda: consultations.open_document(gateways, session, 1, "file", make.TRACE, whole=True),
        lambda: consultations.page(gateways, session, 1, 1, make.TRACE),
        lambda: consultations.words(gateways, session, 1, make.TRACE),
    ):
        with pytest.raises(journal.JournalClosed):
            ask()

    assert Consultation.select().count() == Delivery.select().count() == 0


def test_when_the_record_cannot_be_written_nothing_is_served(gateways, session):
    taken = JournalRecord.select().order_by(JournalRecord.sequence.desc()).first()
    with models.write():  # a head that no longer agrees with the records, as after a restored backup
        JournalLog.update(size=taken.sequence, head=taken.previous).execute()

    with pytest.raises(models.pw.IntegrityError):
        consultations.open_document(gateways, session, 1, "file", make.TRACE, whole=True)
    assert Consultation.select().count() == 0


def test_one_session_and_one_document_make_one_consultation_whatever_is_asked(gateways, session):
    consultations.finish(
        gateways,
        session,
        consultations.page(gateways, session, 1, 1, make.TRACE)[0],
        "page",
        make.TRACE,
        whole=True,
        sent=1,
    )
    reading, pages = consultations.words(gateways, session, 1, make.TRACE)
    reading.close()
    read(gateways, session)
    read(gateways, session, whole=False)

    assert pages[0].strip() == "Facture 12"
    assert make.count("document.consulted") == Consultation.select().count() == 1
    assert {row.mode: row.outcome for row in Delivery.select()} == {
        "page": "delivered",
        "text": "",
        "file": "delivered",
    }


def test_ten_threads_that_open_one_document_make_one_consultation(gateways, session):
    def open_and_close():
        reading = consultations.open_document(gateways, session, 1, "page", make.TRACE)
        reading.close()
        return reading.consultation.id

    results = make.threads(10, open_and_close)

    assert len(set(results)) == 1
    assert results[0] == Consultation.get().id
    assert make.count("document.consulted") == Delivery.select().count() == 1


def test_another_session_makes_another_consultation(gateways, deposit, session):
    read(gateways, session)
    read(gateways, make.identified(gateways, make.recipient(gateways, deposit, "Jeanne Payet")))

    assert make.count("document.consulted") == 2
    assert sorted(count for _, count in consultations.history(deposit).values()) == [1, 1]


def test_the_history_tells_when_each_recipient_last_opened_something(gateways, deposit, session):
    gateways.clock.advance(timedelta(minutes=3))
    read(gateways, session)

    recipient = make.first(deposit)
    assert consultations.history(deposit) == {recipient.id: (make.NOW + timedelta(minutes=3), 1)}


# Isolation


def test_a_session_reads_its_own_deposit_and_no_other(gateways, deposit, session):
    other = make.filed(gateways, deposit.office, documents=2)

    with pytest.raises(documents.DocumentMissing):
        consultations.open_document(gateways, session, 2, "file", make.TRACE, whole=True)
    reading = consultations.open_document(gateways, session, 1, "file", make.TRACE, whole=True)
    reading.close()
    assert reading.document.deposit_id == deposit.id != other.id
    assert make.count("document.consulted") == 1


def test_a_session_ended_meanwhile_opens_nothing_more(gateways, deposit, session):
    make.issued(gateways, make.first(deposit), "Feuillet perdu")

    with pytest.raises(consultations.SessionOver):
        consultations.open_document(gateways, session, 1, "file", make.TRACE, whole=True)
    assert Consultation.select().count() == 0


# Integrity


@pytest.mark.parametrize("position", [0, 50, 200, -1])
def test_a_flipped_bit_is_refused_journaled_and_told_to_the_office(gateways, deposit, session, position):
    document = documents.numbered(deposit, 1)
    damage(gateways, document, position)

    with pytest.raises(consultations.DocumentCorrupted):
        consultations.open_document(gateways, session, 1, "file", make.TRACE, whole=True)

    assert make.operations()[-1] == "document.corrupted"
    assert Consultation.select().count() == 0
    message = Message.get(Message.kind == "corruption")
    assert (message.office_id, message.document_id) == (deposit.office_id, document.id)
    outbox.drain(gateways, notices.compose)
    told = gateways.mail.sent[-1]
    assert told["To"] == "etude@example.fr"
    assert "Pièce 1 du dépôt NTE-4821" in told["Subject"]


def test_a_whole_file_is_verified_again_each_time(gateways, deposit, session):
    read(gateways, session)
    damage(gateways, documents.numbered(deposit, 1))

    with pytest.raises(consultations.DocumentCorrupted):
        consultations.open_document(gateways, session, 1, "file", make.TRACE, whole=True)


def test_bytes_of_another_document_are_refused(gateways, session):
    other = make.document(gateways, make.draft(gateways), make.pdf("Autre"))
    kept = gateways.vault._storage._objects
    kept[documents.file_name(Consultation.document.rel_model.get(deposit=session.access.recipient.deposit).id)] = kept[
        documents.file_name(other.id)
    ]

    with pytest.raises(consultations.DocumentCorrupted):
        consultations.open_document(gateways, session, 1, "page", make.TRACE)


def test_a_lost_file_is_told_like_an_altered_one(gateways, deposit, session):
    gateways.vault.delete_all(documents.folder(documents.numbered(deposit, 1).id))

    with pytest.raises(consultations.DocumentCorrupted):
        consultations.open_document(gateways, session, 1, "file", make.TRACE, whole=True)
    assert make.operations()[-1] == "document.corrupted"


def test_an_altered_record_of_the_fingerprint_is_refused_too(gateways, deposit, session):
    document = documents.numbered(deposit, 1)
    document.fingerprint = "0" * 64
    document.save()

    with pytest.raises(consultations.DocumentCorrupted):
        consultations.open_document(gateways, session, 1, "page", make.TRACE)
    assert journal.story(deposit)[0].body["detail"] != {"recomputed": "0" * 64}


# The end


def test_access_ends_at_the_very_instant(gateways, deposit, session):
    gateways.clock.advance(deposit.expires_at - gateways.clock.now() - timedelta(microseconds=1))
    read(gateways, session)
    gateways.clock.advance(timedelta(microseconds=1))

    for whole in (True, False):
        with pytest.raises(deposits.AvailabilityOver):
            consultations.open_document(gateways, session, 1, "file", make.TRACE, whole=whole)
    assert make.count("document.consulted") == 1


def test_a_key_erased_meanwhile_reads_as_the_end(gateways, deposit, session):
    document = documents.numbered(deposit, 1)
    document.wrapped_key = None
    document.save()

    with pytest.raises(deposits.AvailabilityOver):
        consultations.open_document(gateways, session, 1, "file", make.TRACE, whole=True)


# How it went


def test_how_a_response_ended_is_told_once_for_each_mode(gateways, session):
    def end(*, whole):
        reading = consultations.open_document(gateways, session, 1, "file", make.TRACE)
        consultations.finish(gateways, session, reading, "file", make.TRACE, whole=whole, sent=5)

    for whole in (False, False, True, True, False):
        end(whole=whole)

    assert (make.count("document.interrupted"), make.count("document.delivered")) == (1, 1)
    assert Delivery.get().outcome == "delivered"


def test_a_response_whose_process_died_is_told_as_interrupted_later(gateways, session):
    consultations.open_document(gateways, session, 1, "file", make.TRACE).close()
    gateways.clock.advance(timedelta(hours=2))
    assert consultations.sweep(gateways) == 0
    gateways.clock.advance(timedelta(seconds=1))

    assert consultations.sweep(gateways) == 1
    assert consultations.sweep(gateways) == 0
    assert make.operations()[-1] == "document.interrupted"
    assert Delivery.get().outcome == "interrupted"


def test_a_consultation_whose_process_died_before_anything_began_is_told_as_interrupted_too(
    gateways, session, monkeypatch
):
    def die(*_facts):
        raise SystemExit

    monkeypatch.setattr(consultations, "_begin", die)
    with pytest.raises(SystemExit):
        consultations.open_document(gateways, session, 1, "file", make.TRACE)
    assert make.operations()[-1] == "document.consulted"
    gateways.clock.advance(timedelta(hours=3))

    assert consultations.sweep(gateways) == 1
    assert make.operations()[-1] == "document.interrupted"
