"""Mails that do not arrive: shown beside the recipient, journaled, told to the office once, never for ever."""

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import conftest
import make
import pytest

from mespieces import models
from mespieces.domain import bounces, identification, journal, notices, one_time_codes, outbox, retention, ways
from mespieces.gateways.mail import open_mail
from mespieces.models import Message, Recipient

NOTICE = """\
Content-Type: multipart/report; report-type=delivery-status; boundary=b

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example.fr

Final-Recipient: rfc822; somebody.else@example.org
Action: {action}
Status: 5.1.1
Diagnostic-Code: smtp; 550 5.1.1 No such user

--b
Content-Type: text/rfc822-headers

To: somebody.else@example.org
Message-ID: <{message_id}>

--b--
"""


@pytest.fixture
def deposit(gateways):
    return make.filed(gateways, blanks=1)


@pytest.fixture
def recipient(deposit):
    return make.first(deposit)


@pytest.fixture
def server(gateways, mailbox):
    """A mail server that the product sends to."""
    object.__setattr__(gateways, "mail", open_mail(mailbox.url, gateways.settings.mail_from))
    return mailbox


def drain(gateways):
    return outbox.drain(gateways, notices.compose)


def notice(message, action="failed"):
    return NOTICE.format(message_id=message.message_id, action=action).encode()


def kinds():
    return [row.kind for row in Message.select().order_by(Message.created_at, Message.kind)]


def shown(recipient):
    found = Recipient.get_by_id(recipient.id)
    return found.mail_refused_at, found.mail_refused_because


def incidents(deposit):
    return [entry.body for entry in journal.story(deposit) if entry.operation == "incident.recorded"]


# Refused at once


@pytest.mark.parametrize("step", ["answer_to_recipient", "answer"])
def test_a_mail_refused_for_good_is_shown_journaled_and_told_to_the_office(gateways, deposit, recipient, server, step):
    make.waiting(gateways, recipient, "email")
    setattr(server, step, "550 5.1.1 No such user")
    outbox.drain(gateways, notices.compose, most=1)
    setattr(server, step, "250 OK")

    assert shown(recipient) == (make.NOW, "550 5.1.1 No such user")
    (incident,) = incidents(deposit)
    assert incident["detail"] == {"kind": "mail.refused", "mail": "code", "reason": "550 5.1.1 No such user"}
    assert incident["object"] == {
        "deposit": str(deposit.id), "recipient": str(recipient.id), "office": str(deposit.office_id),
    }  # fmt: skip
    assert drain(gateways) == 1
    (told,) = server.wait_for(1)
    assert told["To"] == "etude@example.fr"
    for words in (
        "Alexandre Payet", "NTE-4821", "payet@example.fr", "550 5.1.1 No such user",
        f"https://pieces.example.fr/etude/depots/{deposit.id}/destinataires/{recipient.id}",
    ):  # fmt: skip
        assert words in told.get_content().replace("=\n", "")


def test_a_notice_to_the_office_that_is_refused_too_makes_no_other(gateways, deposit, recipient, server):
    make.waiting(gateways, recipient, "email")
    server.answer_to_recipient = "550 5.1.1 No such user"
    for _ in range(5):
        drain(gateways)
        gateways.clock.advance(timedelta(days=2))

    assert kinds() == ["code", "undelivered"]
    assert len(incidents(deposit)) == 1
    assert outbox.waiting() == 0


def test_the_office_is_told_once_a_day_for_each_recipient_and_address(gateways, deposit, recipient, server):
    token = make.begun(gateways, recipient).token
    server.answer_to_recipient = "550 5.1.1 No such user"

    def ask(address):
        gateways.clock.advance(timedelta(minutes=1))
        ways.choose(gateways, token, "email", address)
        one_time_codes.send(gateways, token)
        drain(gateways)
        return kinds().count("undelivered")

    assert [ask("payet@example.fr"), ask("payet@example.fr"), ask("payte@example.fr")] == [1, 1, 2]
    other = make.recipient(gateways, deposit, "Jeanne Payet")
    make.waiting(gateways, other, "email")
    drain(gateways)
    assert kinds().count("undelivered") == 3
    gateways.clock.advance(timedelta(days=1))
    token = make.begun(gateways, recipient).token
    assert ask("payet@example.fr") == 4
    assert len(incidents(deposit)) == 5


def test_what_the_vault_or_the_line_lacks_is_put_off_and_told_to_nobody(gateways, recipient):
    from mespieces.gateways.vault import MasterKeyLost

    make.waiting(gateways, recipient, "email")

    def lost(*_):
        raise MasterKeyLost(key_id="a1")

    assert outbox.drain(gateways, lost) == 0
    assert kinds() == ["code"]
    gateways.clock.advance(timedelta(seconds=30))
    assert drain(gateways) == 1


# Until


def refused(gateways, recipient, server):
    """Have a code refused, and return the sign-in that waits for it."""
    token, _ = make.waiting(gateways, recipient, "email")
    server.answer_to_recipient = "550 5.1.1 No such user"
    drain(gateways)
    server.answer_to_recipient = "250 OK"
    assert shown(recipient)[0] is not None
    gateways.clock.advance(timedelta(minutes=1))
    return token


def test_a_refusal_is_shown_until_a_later_code_leaves(gateways, recipient, server):
    token = refused(gateways, recipient, server)
    one_time_codes.send(gateways, token, again=True)
    assert shown(recipient)[0] is not None

    assert drain(gateways) == 1
    assert shown(recipient) == (None, "")


def test_a_refusal_is_shown_until_the_office_changes_the_address(gateways, deposit, recipient, server):
    refused(gateways, recipient, server)
    clerk = make.member(gateways, deposit.office)

    ways.reset(gateways, recipient, "neuve@example.fr", "Adresse fausse", by=clerk, trace=make.TRACE)

    assert shown(recipient) == (None, "")


def test_a_refusal_is_shown_until_another_way_is_bound(gateways, recipient, server):
    token = refused(gateways, recipient, server)
    ways.choose(gateways, token, "app", "")

    assert isinstance(identification.confirm(gateways, token, make.awaited(gateways, token), make.TRACE), str)
    assert shown(recipient) == (None, "")


def test_a_refusal_at_an_address_given_up_since_is_not_shown(gateways, deposit, recipient, server):
    make.identified(gateways, recipient)
    drain(gateways)
    clerk = make.member(gateways, deposit.office)
    ways.reset(gateways, recipient, "neuve@example.fr", "Demandé", by=clerk, trace=make.TRACE)

    bounces.receive(gateways, notice(Message.get(Message.kind == "code")))

    assert shown(recipient) == (None, "")


# Returned later


def sent(gateways, recipient):
    make.waiting(gateways, recipient, "email")
    drain(gateways)
    gateways.clock.advance(timedelta(hours=1))
    return Message.get(Message.kind == "code")


def test_a_mail_returned_after_days_counts_as_one_refused_at_once(gateways, deposit, recipient, server):
    message = sent(gateways, recipient)
    gateways.clock.advance(timedelta(days=4))
    retention.sweep(gateways)  # the sign-in it was for is gone
    outbox.sweep(gateways)

    assert bounces.receive(gateways, notice(message))

    assert shown(recipient) == (gateways.clock.now(), "550 5.1.1 No such user")
    assert incidents(deposit)[0]["detail"]["reason"] == "550 5.1.1 No such user"
    drain(gateways)
    told = server.messages[-1]
    assert told["To"] == "etude@example.fr"
    assert "Adresse : payet@example.fr" in told.get_content()
    assert "somebody.else" not in told.get_content()


def test_the_same_notice_twice_counts_once(gateways, deposit, recipient, server):
    message = sent(gateways, recipient)

    assert bounces.receive(gateways, notice(message))
    gateways.clock.advance(timedelta(days=2))
    assert bounces.receive(gateways, notice(message))

    assert len(incidents(deposit)) == 1
    assert kinds() == ["code", "undelivered"]


@pytest.mark.parametrize("action", ["delayed", "delivered"])
def test_a_mail_that_is_late_or_arrived_is_no_refusal(gateways, deposit, recipient, server, action):
    message = sent(gateways, recipient)

    assert not bounces.receive(gateways, notice(message, action))
    assert shown(recipient) == (None, "")
    assert incidents(deposit) == []


def test_a_notice_that_cites_no_mail_of_ours_changes_nothing(gateways, deposit, recipient, server):
    message = sent(gateways, recipient)
    before = make.everything()

    forged = notice(message).replace(message.message_id[:8].encode(), b"00000000")
    with pytest.raises(bounces.MailUnknown):
        bounces.receive(gateways, forged)
    assert make.everything() == before


def test_a_returned_mail_is_not_sent_again_by_who_had_claimed_it(gateways, recipient, server):
    make.waiting(gateways, recipient, "email")
    claimed = outbox._claim(gateways)  # by a process that died once the server had taken the mail
    bounces.receive(gateways, notice(claimed))
    gateways.clock.advance(timedelta(minutes=5))

    assert drain(gateways) == 1
    assert [mail["To"] for mail in server.messages] == ["etude@example.fr"]


def test_a_notice_about_a_mail_to_the_office_makes_no_mail(gateways, deposit, recipient, server):
    with models.write():
        message = outbox.queue(gateways, "failures", office=deposit.office, recipient=recipient)
    drain(gateways)

    assert bounces.receive(gateways, notice(message))
    assert kinds() == ["failures"]
    assert Message.get().refused_at is not None


def test_settled_mails_are_forgotten_after_a_month_and_what_waits_never(gateways, recipient, server):
    sent(gateways, recipient)
    with models.write():
        outbox.queue(gateways, "failures", office=recipient.deposit.office, recipient=recipient)
    gateways.clock.advance(timedelta(days=29))
    assert outbox.sweep(gateways) == 0
    gateways.clock.advance(timedelta(days=1))

    assert outbox.sweep(gateways) == 1
    assert kinds() == ["failures"]


# As the mail server pipes it


def bounced(gateways, raw):
    settings = gateways.settings
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MESPIECES_")} | {
        "MESPIECES_DATA": str(settings.data), "MESPIECES_DATABASE_URL": settings.database_url,
        "MESPIECES_STORAGE_URL": "memory:", "MESPIECES_PUBLIC_URL": settings.public_url,
    }  # fmt: skip
    program = [sys.executable, "-c", "from mespieces.cli import main; main()", "mail", "bounced"]
    root = Path(__file__).parents[2]
    return subprocess.run(program, input=raw, capture_output=True, cwd=root, env=environment, check=False)


def test_the_command_takes_what_a_mail_server_pipes(gateways, recipient, server):
    message = sent(gateways, recipient)
    conftest.hang_up(models.database.obj)

    done = bounced(gateways, notice(message))
    models.database.connect(reuse_if_open=True)

    assert (done.returncode, done.stderr) == (0, b"")
    assert "enregistré" in done.stdout.decode()
    assert shown(recipient)[1] == "550 5.1.1 No such user"
    for raw, words in (
        (b"Subject: Absent\n\nJe reviens lundi.\n", "avis de non-remise"),
        (notice(message).replace(message.message_id[:8].encode(), b"00000000"), "aucun courriel"),
        (notice(message) + b"x" * 2**21, "avis de non-remise"),
    ):
        done = bounced(gateways, raw)
        assert done.returncode == 1
        assert words in done.stderr.decode()
        assert b"Traceback" not in done.stderr
    late = bounced(gateways, notice(message, "delayed"))
    assert late.returncode == 0
    assert "pas d’échec" in late.stdout.decode()
