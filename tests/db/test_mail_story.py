"""A mail from its row to the server it is handed to: over TLS, put off, refused, cut by a kill; never lost."""

import contextlib
import dataclasses
import os
import re
import signal
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import make
import pytest
import servers
from certificates import Authority

from mespieces import models
from mespieces.domain import identification, notices, one_time_codes, outbox, sessions
from mespieces.gateways.mail import open_mail
from mespieces.models import Message
from mespieces.runtime import Runtime
from mespieces.worker import Worker


@pytest.fixture
def recipient(gateways):
    return make.first(make.filed(gateways, blanks=1))


def using(gateways, url):
    """The same product, its mail handed to the server at `url`."""
    return dataclasses.replace(gateways, mail=open_mail(url, gateways.settings.mail_from))


def drain(gateways):
    return outbox.drain(gateways, notices.compose)


def queue(gateways, recipient):
    with models.write():
        return outbox.queue(gateways, "failures", office=recipient.deposit.office, recipient=recipient)


# Over TLS


def test_a_code_asked_for_leaves_encrypted_and_is_the_code_that_works(gateways, settings, recipient, tmp_path):
    authority = Authority(tmp_path / "authority")
    token = make.begun(gateways, recipient).token
    from mespieces.domain import ways

    ways.choose(gateways, token, "email", "payet@example.fr")
    with servers.smtp(starttls=authority.server("127.0.0.1")) as mailbox:
        known = dataclasses.replace(settings, queue_url=f"sqlite:///{tmp_path / 'queue.db'}")
        sending = dataclasses.replace(
            using(gateways, f"{mailbox.url}?starttls=required&ca={authority.pem}"), settings=known
        )
        one_time_codes.send(sending, token)
        assert Message.get().sent_at is None
        worker = Worker(Runtime(settings=known, database=models.database.obj, gateways=sending, secret_key=b"x" * 32))
        models.database.close()
        worker.do("mail")
        models.database.connect()
        (mail,) = mailbox.wait_for(1)

    assert mailbox.encrypted == [True]
    assert mailbox.envelopes[0].mail_from == settings.mail_from  # what servers say later comes back to it
    assert mailbox.envelopes[0].rcpt_tos == ["payet@example.fr"]
    assert mail["Message-ID"] == f"<{Message.get().message_id}>"
    code = re.search(r"\d{4} \d{4}", mail.get_content())[0]
    opened = identification.confirm(gateways, token, code, make.TRACE)
    assert sessions.of_recipient(gateways, opened).way == "act+email"


@pytest.mark.parametrize("fault", ["another host", "an unknown authority"])
def test_a_server_that_does_not_prove_its_name_gets_nothing_and_the_code_leaves_once_it_does(
    gateways, recipient, tmp_path, fault
):
    authority, other = Authority(tmp_path / "authority"), Authority(tmp_path / "other")
    wrong = authority.server("mail.exemple.fr") if fault == "another host" else other.server("127.0.0.1")
    make.waiting(gateways, recipient, "email")
    with servers.smtp(starttls=wrong) as mailbox:
        assert drain(using(gateways, f"{mailbox.url}?ca={authority.pem}")) == 0
        assert mailbox.messages == []
    row = Message.get()
    assert (row.sent_at, row.given_up_at, row.due_at) == (None, None, make.NOW + timedelta(seconds=30))
    assert "certificat" in row.reason

    gateways.clock.advance(timedelta(seconds=30))
    with servers.smtp(starttls=authority.server("127.0.0.1")) as mailbox:
        assert drain(using(gateways, f"{mailbox.url}?ca={authority.pem}")) == 1
        assert len(mailbox.wait_for(1)) == 1


def test_a_server_that_hides_its_encryption_gets_nothing(gateways, recipient, mailbox):
    make.waiting(gateways, recipient, "email")

    assert drain(using(gateways, f"{mailbox.url}?starttls=required")) == 0
    assert mailbox.messages == []
    assert "chiffrée" in Message.get().reason


# Put off


def test_a_busy_server_is_asked_again_less_and_less_often_and_gets_one_mail(gateways, recipient, mailbox):
    sending, waits = using(gateways, mailbox.url), []
    queue(gateways, recipient)
    mailbox.answer = "451 4.3.0 Busy"
    for _ in range(12):
        assert drain(sending) == 0
        waits.append((Message.get().due_at - gateways.clock.now()).total_seconds())
        gateways.clock.advance(timedelta(seconds=waits[-1] - 1))
        assert drain(sending) == 0
        gateways.clock.advance(timedelta(seconds=1))

    assert waits == [30, 60, 120, 240, 480, 960, 1920, 3840, 7680, 14400, 14400, 14400]
    assert Message.get().tries == 12
    mailbox.answer = "250 OK"
    assert drain(sending) == 1
    gateways.clock.advance(timedelta(days=1))
    assert drain(sending) == 0
    assert len(mailbox.messages) == 1


def test_a_server_busy_for_three_days_is_asked_no_more(gateways, recipient, mailbox):
    sending = using(gateways, mailbox.url)
    queue(gateways, recipient)
    mailbox.answer_to_recipient = "452 4.2.2 Mailbox full"
    while outbox.waiting():
        drain(sending)
        gateways.clock.advance(timedelta(hours=4))

    refused = Message.get()
    assert timedelta(days=3) <= refused.given_up_at - make.NOW <= timedelta(days=3, hours=4)
    assert refused.reason == "452 4.2.2 Mailbox full"


def test_a_code_that_expired_while_the_server_was_busy_is_not_sent_and_the_office_is_told(gateways, recipient, mailbox):
    sending = using(gateways, mailbox.url)
    make.waiting(gateways, recipient, "email")
    mailbox.answer = "451 4.3.0 Busy"
    drain(sending)
    gateways.clock.advance(timedelta(minutes=10))
    mailbox.answer = "250 OK"

    assert drain(sending) == 1
    (mail,) = mailbox.wait_for(1)
    assert mail["To"] == "etude@example.fr"
    assert "451 4.3.0 Busy" in mail.get_content()
    assert not re.search(r"\d{4} \d{4}", mail.get_content())


# Killed

_CHILD = """
import os
from datetime import datetime
from mespieces import config, runtime
from mespieces.domain import notices, outbox
from mespieces.gateways.clock import ManualClock
clock = ManualClock(datetime.fromisoformat(os.environ.pop("CLOCK")))
opened = runtime.open_runtime(config.read(os.environ), clock=clock, check_tables=False)
opened.database.connect()
outbox.drain(opened.gateways, notices.compose)
"""


@contextlib.contextmanager
def another_process(gateways, url):
    """Drain the outbox in a process of its own."""
    settings = gateways.settings
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MESPIECES_")} | {
        "MESPIECES_DATA": str(settings.data), "MESPIECES_DATABASE_URL": settings.database_url,
        "MESPIECES_STORAGE_URL": "memory:", "MESPIECES_MAIL_URL": url,
        "MESPIECES_PUBLIC_URL": settings.public_url, "CLOCK": gateways.clock.now().isoformat(),
    }  # fmt: skip
    root = Path(__file__).parents[2]
    child = subprocess.Popen([sys.executable, "-c", _CHILD], cwd=root, env=environment)
    try:
        yield child
    finally:
        child.kill()
        child.wait()


@pytest.mark.parametrize(("answer", "mails"), [("451 4.3.0 Cut", 1), ("250 OK", 2)])
def test_a_mail_whose_process_is_killed_while_the_server_reads_it_leaves_later(
    gateways, recipient, mailbox, answer, mails
):
    """Whether the server had taken it nobody knows: then it leaves twice, under one Message-ID."""
    queue(gateways, recipient)
    mailbox.holds, mailbox.answer = True, answer
    with another_process(gateways, mailbox.url) as child:
        assert mailbox.held.wait(30)
        os.kill(child.pid, signal.SIGKILL)
        assert child.wait() == -signal.SIGKILL
    mailbox.holds, mailbox.answer = False, "250 OK"
    assert Message.get().sent_at is None
    sending = using(gateways, mailbox.url)

    assert drain(sending) == 0
    gateways.clock.advance(timedelta(minutes=5))
    assert drain(sending) == 1
    assert len(mailbox.messages) == mails
    assert len({mail["Message-ID"] for mail in mailbox.messages}) == 1
    assert outbox.waiting() == 0
