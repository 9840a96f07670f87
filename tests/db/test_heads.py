"""Heads leave the building: each night every office is mailed the journal's checkpoint, once, and can use it years after."""

import dataclasses
import io
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta

import make
import pytest
from pypdf import PdfReader

from mespieces import models
from mespieces.domain import (
    accesses,
    attestations,
    checkpoints,
    continuity,
    enrolments,
    exports,
    heads,
    journal,
    notices,
    outbox,
    sheets,
)
from mespieces.gateways.mail import open_mail
from mespieces.models import JournalCheckpoint, Member, Message, Office
from mespieces.verifier import note

BEFORE = datetime(2026, 11, 25, 1, 59, tzinfo=UTC)
NIGHT = datetime(2026, 11, 25, 2, 0, tzinfo=UTC)
"""Three in the morning in Paris."""


@pytest.fixture
def office(gateways):
    """An office with one member, in Paris; its first night comes."""
    found = make.office(gateways)
    make.member(gateways, found)
    return found


def at(gateways, instant):
    gateways.clock.advance(instant - gateways.clock.now())


def append(gateways, operation="incident.recorded"):
    with models.write():
        journal.append(gateways, operation)


def queued():
    return Message.select().where(Message.kind == "checkpoint").count()


def using(gateways, mailbox):
    return dataclasses.replace(gateways, mail=open_mail(mailbox.url, gateways.settings.mail_from))


def drain(gateways):
    return outbox.drain(gateways, notices.compose)


def enclosed(message):
    (part,) = message.iter_attachments()
    return part.get_filename(), part.get_content()


def verify(*arguments):
    command = [sys.executable, "-m", "mespieces.verifier", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout


# What leaves


def test_each_night_the_office_is_mailed_the_published_note_and_what_to_do_with_it(gateways, office, mailbox):
    at(gateways, NIGHT)
    assert heads.mail(gateways) == 1
    append(gateways)  # the morning after, before the mail left
    gateways.clock.advance(timedelta(minutes=5))
    checkpoints.publish(gateways)
    assert drain(using(gateways, mailbox)) == 1

    (message,) = mailbox.wait_for(1, to="etude@example.fr")
    name, data = enclosed(message)
    size = int(name.removesuffix(".note"))
    assert data == bytes(JournalCheckpoint.get(JournalCheckpoint.size == size).note)
    found = note.read_checkpoint(data, [note.parse_vkey(checkpoints.vkey(gateways))])
    assert (found.size, found.root) == (size, checkpoints.root(journal.head().log, size))
    words = message.get_body().get_content()
    assert words.startswith(
        "Gardez ce message et sa pièce jointe, ailleurs que sur ce service. Ils permettent de prouver"
    )
    assert message["Auto-Submitted"] == "auto-generated"
    assert f"point de contrôle du journal : {size}\u00a0enregistrements" in message["Subject"].lower()


def test_what_was_mailed_proves_an_export_of_later_and_contradicts_a_rewritten_one(gateways, office, mailbox, tmp_path):
    """A person gives the file, the note quoted in the text, or the three lines, as they arrived."""
    at(gateways, NIGHT)
    heads.mail(gateways)
    drain(using(gateways, mailbox))
    append(gateways)
    exports.write(gateways, tmp_path / "export", by=journal.OPERATOR)
    (message,) = mailbox.wait_for(1)
    words, (name, data) = message.get_body().get_content(), enclosed(message)
    kept = {"file": data, "quoted": words[words.rindex("signé :") + 7 :].encode()}
    kept["lines"] = words[words.index("Journal ") : words.index("Pour vérifier")].encode()
    vkey = checkpoints.vkey(gateways)

    for how, found in kept.items():
        (tmp_path / how).write_bytes(found)
        status, told = verify(tmp_path / "export", "--since", tmp_path / how, "--vkey", vkey)
        assert (how, status, told) == (how, 0, told)
        status, told = verify(tmp_path / "export", "--since", tmp_path / how)
        assert (how, status, told) == (how, 0, told)
    root = note.parse_checkpoint(note.split(data)[0]).root
    (tmp_path / "lines").write_bytes(kept["lines"].replace(root.hex().encode(), bytes(32).hex().encode()))
    status, told = verify(tmp_path / "export", "--since", tmp_path / "lines")
    assert (status, "CHECKPOINT_MISMATCH" in told) == (1, True)
    assert name == f"{note.parse_checkpoint(note.split(data)[0]).size}.note"


# When


def test_it_leaves_at_three_in_the_office_s_own_time(gateways, office):
    far = make.office(gateways, email="reunion@example.fr", time_zone="Indian/Reunion")
    make.member(gateways, far)

    at(gateways, datetime(2026, 11, 24, 22, 59, tzinfo=UTC))
    assert heads.mail(gateways) == 0
    at(gateways, datetime(2026, 11, 24, 23, 0, tzinfo=UTC))  # 3:00 in La Réunion
    assert heads.mail(gateways) == 1
    assert Message.get(Message.kind == "checkpoint").office_id == far.id
    at(gateways, BEFORE)
    assert heads.mail(gateways) == 0
    at(gateways, NIGHT)
    assert heads.mail(gateways) == 1
    assert {row.office_id for row in Message.select().where(Message.kind == "checkpoint")} == {far.id, office.id}


def test_one_a_night_whether_summer_time_begins_or_ends(gateways, office):
    mailed = []
    for start in (datetime(2027, 3, 27, 12, 0, tzinfo=UTC), datetime(2027, 10, 30, 12, 0, tzinfo=UTC)):
        at(gateways, start)
        heads.mail(gateways)
        for _ in range(48):
            gateways.clock.advance(timedelta(hours=1))
            append(gateways)
            if heads.mail(gateways):
                mailed.append(gateways.clock.now())
    assert mailed == [
        datetime(2027, 3, 28, 1, 0, tzinfo=UTC),  # 3:00 there, an hour that begins with summer time
        datetime(2027, 3, 29, 1, 0, tzinfo=UTC),
        datetime(2027, 10, 31, 2, 0, tzinfo=UTC),
        datetime(2027, 11, 1, 2, 0, tzinfo=UTC),
    ]


def test_a_night_when_nobody_worked_is_made_up_for_once(gateways, office):
    at(gateways, NIGHT + timedelta(hours=7))
    assert (heads.mail(gateways), heads.mail(gateways)) == (1, 0)
    append(gateways)
    at(gateways, NIGHT + timedelta(days=1))
    assert (heads.mail(gateways), heads.mail(gateways)) == (1, 0)


def test_nothing_leaves_while_the_journal_has_not_grown_but_for_anchors(gateways, office):
    at(gateways, NIGHT)
    assert heads.mail(gateways) == 1
    for days in (1, 2):
        append(gateways, "journal.anchored")
        at(gateways, NIGHT + timedelta(days=days))
        assert heads.mail(gateways) == 0
    append(gateways)
    at(gateways, NIGHT + timedelta(days=2, hours=9))
    assert heads.mail(gateways) == 0  # its night has passed: the next one
    at(gateways, NIGHT + timedelta(days=3))
    assert heads.mail(gateways) == 1


def test_a_reopened_journal_is_news_even_when_it_is_shorter(gateways, office):
    at(gateways, NIGHT)
    assert heads.mail(gateways) == 1
    opened = continuity.reopen(gateways)
    at(gateways, NIGHT + timedelta(days=1))

    assert heads.mail(gateways) == 1
    drain(gateways)
    name, data = enclosed(gateways.mail.sent[-1])
    assert name == f"{opened.size}.note"
    assert opened.log in data.decode()


def test_a_clock_set_right_again_does_not_silence_the_nights_until_its_wrong_date(gateways, office):
    at(gateways, NIGHT + timedelta(days=400))
    assert heads.mail(gateways) == 1
    append(gateways)
    at(gateways, NIGHT)
    assert heads.mail(gateways) == 1
    append(gateways)
    assert heads.mail(gateways) == 0


# To whom


def test_an_office_that_everybody_left_gets_none(gateways, office):
    make.office(gateways, email="vide@example.fr")
    gone = make.office(gateways, email="partie@example.fr")
    member = make.member(gateways, gone)
    Member.update(left_at=gateways.clock.now()).where(Member.id == member.id).execute()
    at(gateways, NIGHT)
    assert heads.mail(gateways) == 1

    Member.update(left_at=gateways.clock.now()).execute()  # between the night and its mail
    assert drain(gateways) == 0
    assert outbox.waiting() == 0


def test_an_office_gets_none_on_the_day_it_came(gateways):
    at(gateways, NIGHT + timedelta(hours=9))
    make.member(gateways, make.office(gateways))

    assert heads.mail(gateways) == 0
    assert Office.select().count() == 1


# Once


def test_two_workers_mail_it_once_an_office(gateways, office):
    for _ in range(3):
        make.member(gateways, make.office(gateways))
    at(gateways, NIGHT)
    script = "from mespieces.domain import heads\nprint(heads.mail(gateways))"

    printed = make.processes(gateways, 3, script)

    assert sum(map(int, printed)) == queued() == 4
    assert len({row.office_id for row in Message.select()}) == 4


def test_a_worker_that_comes_second_mails_nothing_though_the_journal_grew_meanwhile(gateways, office, monkeypatch):
    at(gateways, NIGHT)

    def meanwhile(_path):
        monkeypatch.undo()
        assert heads.mail(gateways) == 1
        append(gateways)

    monkeypatch.setattr(continuity, "check", meanwhile)
    assert heads.mail(gateways) == 0
    assert queued() == 1


def test_a_worker_killed_before_the_end_leaves_the_rest_to_the_next(gateways, office, monkeypatch):
    make.member(gateways, make.office(gateways))
    at(gateways, NIGHT)
    queue, done = outbox.queue, []

    def die(*arguments, **options):
        done.append(queue(*arguments, **options))
        if len(done) == 2:
            raise SystemExit
        return done[-1]

    monkeypatch.setattr(outbox, "queue", die)
    with pytest.raises(SystemExit):
        heads.mail(gateways)
    monkeypatch.undo()
    assert queued() == 1

    assert heads.mail(gateways) == 1
    assert queued() == 2


def test_a_mail_server_that_is_down_puts_it_off(gateways, office, mailbox):
    sending = using(gateways, mailbox)
    mailbox.answer = "451 later"
    at(gateways, NIGHT)
    heads.mail(gateways)
    assert drain(sending) == 0
    append(gateways)
    at(gateways, NIGHT + timedelta(days=1))
    heads.mail(gateways)
    mailbox.answer = "250 OK"
    gateways.clock.advance(timedelta(hours=5))

    assert drain(sending) == 2
    first, second = (enclosed(message) for message in mailbox.wait_for(2))
    assert len({first, second}) == 2  # each night's own


def test_a_mail_put_off_until_the_journal_was_reopened_still_carries_its_own_night_s(gateways, office):
    at(gateways, NIGHT)
    heads.mail(gateways)
    before = journal.head()
    gateways.clock.advance(timedelta(hours=1))
    continuity.reopen(gateways)

    assert drain(gateways) == 1
    name, data = enclosed(gateways.mail.sent[-1])
    assert (name, before.log in data.decode()) == (f"{before.size}.note", True)


# Never of a past put back


def test_a_restored_database_mails_no_head_of_the_past(gateways, office):
    foreign = note.Checkpoint(journal.head().origin, journal.head().size + 5, bytes(32))
    signed = note.sign_checkpoint(foreign, gateways.journal_key)
    gateways.settings.newest_checkpoint_file.write_bytes(signed)
    at(gateways, NIGHT)

    with pytest.raises(continuity.JournalRestored):
        heads.mail(gateways)
    assert queued() == 0


# What is printed


def _single(gateways, deposit):
    member = Member.get()
    return sheets.issue(gateways, make.first(deposit), by=journal.member(member), member=member)


def _batch(gateways, deposit):
    with models.write():
        for _ in range(1_000):  # digits are grouped in print
            journal.append(gateways, "incident.recorded")
    last = accesses.last_printed(accesses.unused(deposit))
    return sheets.issue_all(gateways, deposit, last, by=journal.OPERATOR, member=None)


def _enrolment(gateways, deposit):
    return enrolments.issue(gateways, make.first(deposit), "", "", by=Member.get(), trace=make.TRACE)


def _of_deposit(gateways, deposit):
    return attestations.of_deposit(gateways, deposit, by=journal.OPERATOR)


def _of_consultations(gateways, deposit):
    return attestations.of_consultations(gateways, make.first(deposit), by=journal.OPERATOR)


def _code_mail(gateways, deposit):
    make.waiting(gateways, make.first(deposit), "email")
    drain(gateways)
    return gateways.mail.sent[-1].get_content().encode()


@pytest.mark.parametrize("printed", [_single, _batch, _enrolment, _of_deposit, _of_consultations, _code_mail])
def test_the_head_printed_is_an_anchor_when_copied_as_it_stands(gateways, office, tmp_path, printed):
    deposit = make.filed(gateways, office)
    made = printed(gateways, deposit)
    text = made.decode() if printed is _code_mail else _pages(made)
    copied = re.search(r"(?i)journal [0-9a-f]{32}\s(.*\n)*?\s*racine [^\n]*\n?", text)
    assert copied is not None, text
    append(gateways)
    exports.write(gateways, tmp_path / "export", by=journal.OPERATOR)
    log, size = re.search(r"[0-9a-f]{32}", copied[0])[0], re.search(r"(?m)(\d[\d\s]*)\senreg|ments : (\d+)$", copied[0])
    root = copied[0][copied[0].lower().index("racine") + 6 :].strip(" :\n")

    for name, words in {"as it stands": copied[0], "three lines": f"{log}\n{size[1] or size[2]}\n{root}\n"}.items():
        (tmp_path / name).write_text(words)
        assert verify(tmp_path / "export", "--since", tmp_path / name)[0] == 0, (name, words)
    (tmp_path / "forged").write_text(f"{log}\n{size[1] or size[2]}\n{root[::-1]}\n")
    assert verify(tmp_path / "export", "--since", tmp_path / "forged")[0] == 1


def _pages(made):
    return "\n".join(page.extract_text() for page in PdfReader(io.BytesIO(made)).pages)
