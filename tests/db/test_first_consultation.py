"""The first time a recipient opens a document the office is told, once, with the record or not at all."""

import dataclasses
from datetime import timedelta

import make
import pytest

from mespieces import models
from mespieces.domain import consultations, journal, notices, outbox, sessions
from mespieces.models import Consultation, JournalLog, Message

TOLD = Message.kind == "first_consultation"


@pytest.fixture
def deposit(gateways):
    return make.filed(gateways, documents=2)


@pytest.fixture
def session(gateways, deposit):
    return make.identified(gateways, make.first(deposit))


def read(gateways, session, number=1):
    consultations.open_document(gateways, session, number, "page", make.TRACE).close()


def another(gateways, session):
    """Return another browser's session of the same recipient."""
    with models.write():
        token = sessions.start(gateways.clock.now(), way="act+email", access=session.access)
    return sessions.of_recipient(gateways, token)


def count():
    return Message.select().where(TOLD).count()


def test_the_office_is_told_who_what_and_when_and_nothing_of_the_documents(gateways, deposit, session):
    rung = []
    gateways.bell.answer_with(lambda work: rung.append((work, models.database.in_transaction(), count())))
    gateways.clock.advance(timedelta(minutes=3))
    read(gateways, session)

    assert rung == [("mail", False, 1)]
    Message.delete().where(Message.kind == "code").execute()
    outbox.drain(gateways, notices.compose)
    (told,) = gateways.mail.sent
    assert told["To"] == "etude@example.fr"
    words = told.get_content().replace("\xa0", " ")
    for expected in (
        "Alexandre Payet", "NTE-4821", "Au bon moulin", "24 novembre 2026 à 11 h 03 (heure de Paris)",
        f"https://pieces.example.fr/etude/depots/{deposit.id}",
    ):  # fmt: skip
        assert expected in words
    assert "Facture" not in words


def test_later_documents_and_later_sessions_are_not_told(gateways, session):
    read(gateways, session, 1)
    read(gateways, session, 2)
    read(gateways, session, 1)
    gateways.clock.advance(timedelta(minutes=1))
    read(gateways, another(gateways, session), 1)

    assert count() == 1


def test_each_recipient_has_a_first_time(gateways, deposit, session):
    read(gateways, session)
    read(gateways, make.identified(gateways, make.recipient(gateways, deposit, "Jeanne Payet")))

    assert count() == 2


def test_the_whole_bundle_opened_first_is_told_once(gateways, session):
    for reading in consultations.open_all(gateways, session, make.TRACE):
        reading.close()

    assert count() == 1


def test_ten_first_requests_at_once_are_told_once(gateways, session):
    numbers = iter([1, 2] * 5)

    results = make.threads(10, lambda: read(gateways, session, next(numbers)))

    assert results == [None] * 10
    assert (count(), Consultation.select().count()) == (1, 2)


def test_two_sessions_at_once_are_told_once(gateways, session):
    other = another(gateways, session)
    for _ in range(5):
        Consultation.delete().execute()
        Message.delete().where(TOLD).execute()
        both = iter([session, other] * 2)

        results = make.threads(4, lambda: read(gateways, next(both)))  # noqa: B023 — run before the next turn

        assert results == [None] * 4
        assert (count(), Consultation.select().count()) == (1, 2)


def test_neither_the_mail_without_the_record_nor_the_record_without_the_mail(gateways, session, monkeypatch):
    before = make.operations()
    with models.write():
        JournalLog.update(closed_at=make.NOW).execute()
    with pytest.raises(journal.JournalClosed):
        read(gateways, session)
    assert count() == 0
    with models.write():
        JournalLog.update(closed_at=None).execute()

    def full(*_: object, **__: object) -> None:
        raise models.pw.OperationalError("disk full")

    with monkeypatch.context() as patched:
        patched.setattr(outbox, "queue", full)
        with pytest.raises(models.pw.OperationalError):
            read(gateways, session)
    assert make.operations() == before

    read(gateways, session)
    assert (count(), make.count("document.consulted")) == (1, 1)


def test_the_operator_may_not_want_these_mails(gateways, session):
    quiet = dataclasses.replace(
        gateways, settings=dataclasses.replace(gateways.settings, first_consultation_mail=False)
    )
    read(quiet, session)
    read(gateways, session, 2)

    assert count() == 0
    assert make.count("document.consulted") == 2


def test_a_member_who_reads_is_not_announced(gateways, deposit):
    clerk = make.member(gateways, deposit.office)
    document = deposit.documents.get()

    consultations.read_by_member(gateways, document, by=journal.member(clerk, make.TRACE)).close()

    assert count() == 0
