"""A journal closed by a reopening forgets too, in its time: the open one announces it, and everything still verifies."""

import json
from datetime import timedelta

import independent_auditor as auditor
import make
import pytest
from backups import restore
from dateutil.relativedelta import relativedelta

from mespieces import models
from mespieces.domain import (
    checkpoints,
    clockwork,
    consultations,
    continuity,
    deposits,
    evidence,
    exports,
    journal,
    purges,
    retention,
    verifications,
)
from mespieces.models import Deposit, Fact, JournalLog, JournalPayload, JournalTimestamp, Recipient
from mespieces.verifier import audit, export, note

TRACE = journal.Trace("198.51.100.7", "Navigateur")


@pytest.fixture
def gateways(gateways):
    gateways.settings.newest_checkpoint_file.parent.mkdir(parents=True, exist_ok=True)
    return gateways


def move(gateways, to):
    """Let time pass, the operator confirming the date."""
    gateways.clock.advance(to - gateways.clock.now())
    clockwork.confirm(gateways.clock.now())


def append(gateways, count=3):
    for _ in range(count):
        with models.write():
            journal.append(gateways, "incident.recorded")


def read(gateways, deposit, place=0):
    session = make.identified(gateways, list(deposit.recipients.order_by(Recipient.name))[place])
    consultations.open_document(gateways, session, 1, "file", TRACE, whole=True)


def reopened(gateways):
    """Restore the database from a backup that lacks the last records, and reopen the journal; return the closed one's name."""
    log, size = journal.head().log, journal.head().size
    append(gateways)
    continuity.keep(gateways, checkpoints.publish(gateways))
    restore(size)
    continuity.reopen(gateways)
    return log


def ended(gateways, deposit):
    """Let a deposit end, its office told in good time."""
    move(gateways, Deposit.get_by_id(deposit.id).expires_at + timedelta(hours=1))
    retention.expire(gateways)
    Deposit.update(purge_told_at=gateways.clock.now()).where(Deposit.ended_at.is_null(False)).execute()
    return Deposit.get_by_id(deposit.id)


def left(log, group="proof", deposit=None):
    """The operations of a journal whose payload still stands."""
    rows = journal.lines(log)
    return [
        line.operation
        for line in rows
        if (line.proof if group == "proof" else line.trace) and (deposit is None or line.deposit == deposit.id)
    ]


def announced(log=None):
    """What the purges of a journal say, the open one's unless it is named."""
    lines = journal.lines(log or journal.head().log)
    return [json.loads(line.proof[1])["detail"] for line in lines if line.operation == "journal.purged"]


def verified(gateways, folder):
    """The findings of both programs on an export of today, of `mespieces-verify` but for what the backup lost."""
    exports.write(gateways, folder, by=journal.OPERATOR)
    vkey = checkpoints.vkey(gateways)
    with export.source(folder) as where:
        report = audit.verify(where, audit.Trust(keys=[note.parse_vkey(vkey)]))
    assert report.bound
    found = {f"{one.code} {one.sequence} {one.log}" for one in report.findings if one.code != "TAIL_LOST"}
    told = auditor.audit_earlier(folder)
    assert {row.log for row in JournalLog.select()} == set(told)
    theirs = {f"{line} {log}" for log, lines in told.items() for line in lines}
    assert found <= theirs
    assert bool(found) == bool(theirs)
    return found


@pytest.fixture
def deposit(gateways):
    deposit = make.filed(gateways, recipients=("Agathe Técher", "Yves Hoarau", "Zoé Payet"))
    read(gateways, deposit)
    return deposit


@pytest.fixture
def closed(gateways, deposit):
    return reopened(gateways)


def test_a_closed_journal_forgets_a_deposit_with_its_filing(gateways, deposit, closed, tmp_path):
    ending = ended(gateways, deposit)
    due = purges.due_at(gateways, ending)
    move(gateways, due - timedelta(seconds=1))
    purges.run(gateways)
    assert {"deposit.filed", "document.consulted"} <= set(left(closed, deposit=deposit))

    move(gateways, due)
    assert purges.run(gateways) > 0

    assert left(closed, deposit=deposit) == []
    assert Deposit.get_by_id(deposit.id).purged_at == due
    filed = [one for told in announced() if told.get("log") == closed for one in told["ranges"] if "filed" in one]
    assert {one["filed"] for one in filed} == {deposit.filed_sequence}
    assert announced(closed) == []
    assert verifications.verify(gateways).findings == ()
    assert verified(gateways, tmp_path / "export") == set()
    assert b"Zo\xc3\xa9" not in (tmp_path / "export" / "previous" / closed / "journal.jsonl").read_bytes()
    told = evidence.about(
        deposit.id, "deposit.filed", "document.consulted"
    )  # read to the end, it would refuse what was not announced
    assert {one.body for one in told} == {None}


def test_addresses_go_after_twelve_months_in_a_closed_journal_and_names_stay(gateways, deposit, closed, tmp_path):
    start = gateways.clock.now()
    move(gateways, start + relativedelta(months=12))
    purges.run(gateways)
    assert "document.consulted" in left(closed, "trace")

    move(gateways, start + relativedelta(months=12) + purges.MARGIN + timedelta(minutes=1))
    purges.run(gateways)

    assert set(left(closed, "trace")) == {"journal.opened"}
    assert "document.consulted" in left(closed, deposit=deposit)
    assert verifications.verify(gateways).findings == ()
    assert verified(gateways, tmp_path / "export") == set()


def test_what_concerns_no_deposit_goes_too_and_the_journal_s_own_records_stay(gateways, tmp_path):
    office = make.office(gateways)
    closed = reopened(gateways)
    assert "office.added" in left(closed)
    move(gateways, gateways.clock.now() + relativedelta(months=18) + 2 * purges.MARGIN)
    purges.run(gateways)

    assert office
    assert set(left(closed)) == {"journal.opened"}
    assert verifications.verify(gateways).findings == ()
    assert verified(gateways, tmp_path / "export") == set()


@pytest.mark.parametrize("batch", [3, purges.BATCH])
def test_a_deposit_told_of_in_both_journals_leaves_both(gateways, deposit, closed, tmp_path, monkeypatch, batch):
    monkeypatch.setattr(purges, "BATCH", batch)
    read(gateways, deposit, 1)
    second = reopened(gateways)
    read(gateways, deposit, 2)
    ending = ended(gateways, deposit)
    assert "document.consulted" in left(second, deposit=deposit)
    move(gateways, purges.due_at(gateways, ending))
    purges.run(gateways)

    here = journal.head().log
    assert (left(closed, deposit=deposit), left(second, deposit=deposit)) == ([], [])
    assert "document.consulted" not in left(here, deposit=deposit)
    assert {told.get("log") for told in announced()} == {closed, second, None}
    assert verifications.verify(gateways).findings == ()
    assert verified(gateways, tmp_path / "export") == set()
    # The records of its end count from themselves: the filing stands in another journal.
    move(gateways, gateways.clock.now() + relativedelta(months=18))
    purges.run(gateways)
    assert left(here, deposit=deposit) == []
    assert verifications.verify(gateways).findings == ()


def test_a_deposit_prepared_before_and_filed_after_the_reopening_leaves_both(gateways, tmp_path):
    draft = make.draft(gateways)
    make.recipient(gateways, draft, "Zoé Payet")
    closed = reopened(gateways)
    make.blank(draft, 1)
    deposit = deposits.file(gateways, draft.id, by=journal.OPERATOR)
    ending = ended(gateways, deposit)
    assert left(closed, deposit=deposit) == ["deposit.created"]
    move(gateways, purges.due_at(gateways, ending))
    purges.run(gateways)

    assert (left(closed, deposit=deposit), left(journal.head().log, deposit=deposit)) == ([], [])
    assert verifications.verify(gateways).findings == ()
    assert verified(gateways, tmp_path / "export") == set()


@pytest.mark.parametrize("cut", ["in the closed journal", "in the open one"])
def test_a_deposit_is_not_purged_while_a_journal_still_tells_of_it(gateways, deposit, closed, monkeypatch, cut):
    read(gateways, deposit, 1)
    ending = ended(gateways, deposit)
    about, here = (closed if cut == "in the closed journal" else None), journal.head().log
    move(gateways, purges.due_at(gateways, ending))
    append_as_ever = journal.append

    def fail(*args, **more):
        if "journal.purged" in args and more["detail"].get("log") == about:
            raise ZeroDivisionError
        return append_as_ever(*args, **more)

    monkeypatch.setattr(journal, "append", fail)
    with pytest.raises(ZeroDivisionError):
        purges.run(gateways)
    monkeypatch.undo()

    assert Deposit.get_by_id(deposit.id).purged_at is None
    assert "document.consulted" in left(about or here, deposit=deposit)  # nothing was erased unannounced
    assert verifications.verify(gateways).findings == ()
    purges.run(gateways)
    assert left(closed, deposit=deposit) == []
    assert "document.consulted" not in left(here, deposit=deposit)
    assert Deposit.get_by_id(deposit.id).purged_at


def test_a_second_run_announces_nothing_more(gateways, deposit, closed):
    ending = ended(gateways, deposit)
    move(gateways, purges.due_at(gateways, ending) + relativedelta(years=3))
    purges.run(gateways)
    size = journal.head().size

    assert purges.run(gateways) == 0
    assert journal.head().size == size
    kept = {fact.name for fact in Fact.select().where(Fact.name.startswith("purged."))}
    assert {f"purged.{group}.{closed}" for group in ("proof", "trace")} <= kept


def test_a_journal_that_the_open_one_does_not_continue_is_left_alone(gateways, deposit):
    """Nothing could be announced of it: it was closed by somebody else than the reopening."""
    old = journal.head().log
    with models.write():
        JournalLog.update(closed_at=make.NOW).execute()
    journal.open_log(gateways)
    move(gateways, gateways.clock.now() + relativedelta(years=4))
    purges.run(gateways)

    assert "document.consulted" in left(old, "trace")
    erase(gateways, old, (deposit.filed_sequence, deposit.filed_sequence, "trace", None), named=old)
    assert codes(gateways, old)[0] == {"PAYLOAD_MISSING"}


# What somebody announces who appends records as the service does


def places(log, deposit):
    return [line.sequence for line in journal.lines(log) if line.deposit == deposit.id]


def erase(gateways, log, *ranges, named=None):
    """Announce and erase these, as the service's own account can, naming another journal if asked."""
    with models.write():
        for first, last, group, _ in ranges:
            JournalPayload.update(salt=None, body=None).where(
                JournalPayload.log == log, JournalPayload.sequence.between(first, last), JournalPayload.group == group
            ).execute()
        told = [purges.Range(*one).told() for one in ranges]
        about = {} if named is None else {"log": named}
        return journal.append(gateways, "journal.purged", detail={"ranges": told, "reason": "retention", **about})


def codes(gateways, closed):
    """The kinds of findings in a closed journal, and of the others."""
    found = [one.split(" ") for one in verifications.verify(gateways).findings]
    return {one[1] for one in found if closed in one}, {one[1] for one in found if closed not in one}


@pytest.mark.parametrize("months", [17, 18])
def test_what_a_later_journal_announces_too_early_is_found(gateways, deposit, closed, tmp_path, months):
    filed = deposit.filed_sequence
    move(gateways, deposit.filed_at + relativedelta(months=months))
    erase(gateways, closed, (filed, filed, "proof", filed), named=closed)

    early = {f"PURGED_TOO_EARLY {filed} {closed}"} if months == 17 else set()
    assert verified(gateways, tmp_path / "export") == early
    assert codes(gateways, closed) == ({one.split(" ")[0] for one in early}, set())


@pytest.mark.parametrize("named", [None, "0" * 32])
def test_what_is_announced_of_another_journal_explains_nothing(gateways, deposit, closed, tmp_path, named):
    filed = deposit.filed_sequence
    append(gateways, filed + 1)  # so that the range is one of records of the open journal as well
    move(gateways, gateways.clock.now() + relativedelta(months=24))
    erase(gateways, closed, (filed, filed, "proof", filed), named=named)

    assert verified(gateways, tmp_path / "export") == {f"PAYLOAD_MISSING {filed} {closed}"}
    assert codes(gateways, closed) == ({"PAYLOAD_MISSING"}, set())
    with pytest.raises(evidence.JournalDisagrees):
        list(evidence.about(deposit.id, "deposit.filed"))


def test_what_an_earlier_journal_announces_of_a_later_one_explains_nothing(gateways, deposit, closed, tmp_path):
    old = journal.head().log
    append(gateways)
    name = "ab" * 16
    with models.write():
        told = [purges.Range(1, 1, "trace").told()]
        journal.append(gateways, "journal.purged", detail={"ranges": told, "reason": "retention", "log": name})
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("secrets.token_hex", lambda _size: name)
        reopened(gateways)
    append(gateways)
    with models.write():
        JournalPayload.update(salt=None, body=None).where(
            JournalPayload.log == name, JournalPayload.sequence == 1, JournalPayload.group == "trace"
        ).execute()

    assert closed != old != name == journal.head().log
    assert verified(gateways, tmp_path / "export") == {f"PAYLOAD_MISSING 1 {name}"}
    assert verifications.verify(gateways).findings == ("1 PAYLOAD_MISSING",)


def test_an_erasure_in_a_closed_journal_that_names_another_deposit_s_filing_is_found(gateways, deposit):
    move(gateways, gateways.clock.now() + relativedelta(months=17))
    young = make.filed(gateways, blanks=1)
    closed = reopened(gateways)
    move(gateways, gateways.clock.now() + relativedelta(months=2))
    first, *rest = places(closed, young)
    erase(gateways, closed, (first, rest[-1], "proof", deposit.filed_sequence), named=closed)

    found = verifications.verify(gateways).findings
    assert f"{first} PURGED_TOO_EARLY {closed}" in found
    assert len(found) == len([first, *rest])


def test_a_purge_of_a_closed_journal_is_judged_by_the_token_that_dates_its_announcement(gateways, deposit, closed):
    true, filed = gateways.clock.now(), deposit.filed_sequence
    move(gateways, true + relativedelta(months=24))
    erase(gateways, closed, (filed, filed, "proof", filed), named=closed)
    gateways.clock._instant = true + timedelta(days=1)
    append(gateways)
    assert verifications.verify(gateways).findings == ()  # nobody has dated it yet

    signed = checkpoints.publish(gateways)
    with models.write():
        JournalTimestamp.create(
            log=journal.head().log, size=note.parse_checkpoint(note.split(signed)[0]).size, number=1, der=b"x",
            time=true + timedelta(days=1), authority="A", qualified=0, asked_at=true, answered_at=true,
        )  # fmt: skip

    assert f"{filed} PURGED_TOO_EARLY {closed}" in verifications.verify(gateways).findings
