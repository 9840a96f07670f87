"""The outbox: each mail leaves, once as far as one can know, and no row holds a code."""

from datetime import timedelta
from email.message import EmailMessage

import make
import pytest

from mespieces import models
from mespieces.domain import checkpoints, identification, notices, outbox, ways
from mespieces.gateways.mail import MailDeferred, MailRefused
from mespieces.models import Message


class Server:
    """What the mail server answers: `None` takes the message."""

    def __init__(self, *answers):
        self.answers = list(answers)
        self.sent = []

    def send(self, message):
        answer = self.answers.pop(0) if self.answers else None
        if answer:
            raise answer
        self.sent.append(message)


@pytest.fixture
def recipient(gateways):
    return make.first(make.filed(gateways, blanks=1))


def queue(gateways, recipient):
    with models.write():
        return outbox.queue(gateways, "failures", office=recipient.deposit.office, recipient=recipient)


def using(gateways, server):
    """The same product with another mail server."""
    object.__setattr__(gateways, "mail", server)
    return server


def written(_gateways, message):
    mail = EmailMessage()
    mail["To"] = "etude@example.fr"
    mail["Subject"] = message.kind
    return mail


def drain(gateways, compose=written):
    return outbox.drain(gateways, compose)


def test_a_mail_leaves_once(gateways, recipient):
    queue(gateways, recipient)

    assert outbox.waiting() == 1
    assert (drain(gateways), drain(gateways)) == (1, 0)
    assert len(gateways.mail.sent) == 1
    assert outbox.waiting() == 0
    assert Message.get().sent_at == make.NOW


def test_the_longest_due_leaves_first_and_what_is_due_later_waits(gateways, recipient):
    first, second = queue(gateways, recipient), queue(gateways, recipient)
    Message.update(due_at=make.NOW + timedelta(minutes=1)).where(Message.id == first.id).execute()

    assert drain(gateways) == 1
    assert Message.get_by_id(second.id).sent_at is not None
    gateways.clock.advance(timedelta(minutes=1))
    assert drain(gateways) == 1


def test_what_is_put_off_is_tried_again_later_and_later_still(gateways, recipient):
    queue(gateways, recipient)
    server = using(gateways, Server(*[MailDeferred(reason="occupé")] * 3))
    waits = []
    for _ in range(3):
        assert drain(gateways) == 0
        waits.append(Message.get().due_at - gateways.clock.now())
        assert drain(gateways) == 0
        assert len(server.answers) == 3 - len(waits)
        gateways.clock.advance(waits[-1])

    assert waits == [timedelta(seconds=30), timedelta(seconds=60), timedelta(seconds=120)]
    assert "occupé" in Message.get().reason
    assert drain(gateways) == 1
    assert Message.get().reason == ""


def test_after_three_days_it_is_given_up(gateways, recipient):
    queue(gateways, recipient)
    using(gateways, Server(*[MailDeferred(reason="occupé")] * 100))
    for _ in range(100):
        drain(gateways)
        if Message.get().given_up_at:
            break
        assert Message.get().due_at - gateways.clock.now() <= outbox.LONGEST_WAIT
        gateways.clock.advance(Message.get().due_at - gateways.clock.now())

    assert timedelta(days=3) <= gateways.clock.now() - make.NOW <= timedelta(days=3, hours=4)
    assert outbox.waiting() == 0


def test_what_the_server_refuses_for_good_is_given_up_and_the_rest_leaves(gateways, recipient):
    queue(gateways, recipient)
    queue(gateways, recipient)
    server = using(gateways, Server(MailRefused(reason="adresse inconnue")))

    assert drain(gateways) == 1
    assert len(server.sent) == 1
    refused = Message.get(Message.given_up_at.is_null(False))
    assert "adresse inconnue" in refused.reason
    assert drain(gateways) == 0


def test_a_code_is_written_at_sending_and_stands_in_no_row(gateways, recipient):
    token, code = make.waiting(gateways, recipient, "email")
    assert code not in make.everything()

    assert drain(gateways, notices.compose) == 1
    mail = gateways.mail.sent[0]
    words = mail.get_content()
    assert mail["To"] == "payet@example.fr"
    assert f"{code[:4]} {code[4:]}" in words
    assert checkpoints.head(gateways).log in words
    assert checkpoints.head(gateways).root in words
    assert code not in make.everything()
    assert isinstance(identification.confirm(gateways, token, code, make.TRACE), str)


@pytest.mark.parametrize("late", [timedelta(minutes=10), timedelta(days=1)])
def test_a_code_that_expired_is_not_sent(gateways, recipient, late):
    make.waiting(gateways, recipient, "email")
    gateways.clock.advance(late)

    assert drain(gateways, notices.compose) == 0
    assert gateways.mail.sent == []
    assert outbox.waiting() == 0


def test_a_code_no_longer_wanted_is_not_sent(gateways, recipient):
    token, _ = make.waiting(gateways, recipient, "email")
    ways.choose(gateways, token, "office", "")
    token, _ = make.waiting(gateways, recipient, "email")
    make.issued(gateways, recipient)

    assert drain(gateways, notices.compose) == 0
    assert gateways.mail.sent == []


def test_two_drains_at_once_send_each_mail_once(gateways, recipient):
    for _ in range(6):
        queue(gateways, recipient)

    results = make.threads(3, lambda: drain(gateways))

    assert sum(results) == len(gateways.mail.sent) == 6
    assert outbox.waiting() == 0


def test_a_mail_claimed_by_a_process_that_died_leaves_later(gateways, recipient):
    queue(gateways, recipient)
    assert outbox._claim(gateways) is not None
    assert drain(gateways) == 0
    gateways.clock.advance(timedelta(minutes=5))
    assert drain(gateways) == 1


def test_an_invented_kind_of_mail_is_a_defect(gateways):
    with pytest.raises(ValueError, match="greetings"):
        outbox.queue(gateways, "greetings")
    assert set(notices._WRITERS) == outbox.KINDS
