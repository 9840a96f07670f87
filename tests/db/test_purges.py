"""The purge: names leave the journal when their time is over, announced first, and everything still verifies."""

import json
from datetime import timedelta

import make
import pytest
from dateutil.relativedelta import relativedelta

from mespieces import models
from mespieces.domain import (
    checkpoints,
    clockwork,
    consultations,
    deposits,
    exports,
    journal,
    purges,
    retention,
    verifications,
)
from mespieces.models import Deposit, Document, JournalPayload, JournalTimestamp
from mespieces.verifier import audit, export, note


def move(gateways, to):
    """Let time pass, the operator confirming the date."""
    gateways.clock.advance(to - gateways.clock.now())
    clockwork.confirm(gateways.clock.now())


def left(deposit=None, group="proof"):
    """The operations whose payload still stands."""
    rows = journal.lines(journal.head().log)
    return [
        line.operation
        for line in rows
        if (line.proof if group == "proof" else line.trace) and (deposit is None or line.deposit == deposit.id)
    ]


def tell(gateways):
    """Let the office have been told in good time."""
    Deposit.update(purge_told_at=gateways.clock.now()).where(Deposit.ended_at.is_null(False)).execute()


def forget(gateways, deposit):
    """Let a deposit end, then its journal forget it."""
    move(gateways, deposit.expires_at)
    retention.expire(gateways)
    tell(gateways)
    move(gateways, purges.due_at(gateways, Deposit.get_by_id(deposit.id)))
    purges.run(gateways)


def announced():
    return [line for line in journal.lines(journal.head().log) if line.operation == "journal.purged"]


def detail(line):
    return json.loads(line.proof[1])["detail"]


def read(gateways, deposit):
    session = make.identified(gateways, make.first(deposit))
    consultations.open_document(gateways, session, 1, "file", journal.Trace("198.51.100.7", "x"), whole=True)


@pytest.fixture
def ended(gateways):
    deposit = make.filed(gateways, blanks=1, recipients=("Zoé Payet",))
    make.issued(gateways, make.first(deposit))
    move(gateways, deposit.expires_at + timedelta(hours=1))
    retention.expire(gateways)
    tell(gateways)
    return Deposit.get_by_id(deposit.id)


def test_a_deposit_is_forgotten_three_months_after_its_end_and_not_a_day_before(gateways, ended):
    due = purges.due_at(gateways, ended)
    assert due == ended.expires_at + relativedelta(months=3) + purges.MARGIN

    move(gateways, due - timedelta(seconds=1))
    purges.run(gateways)
    assert "deposit.filed" in left(ended)

    move(gateways, due)
    purges.run(gateways)
    assert left(ended) == []
    assert verifications.verify(gateways).findings == ()


def test_the_chain_an_export_and_the_counts_still_verify_after_a_purge(gateways, ended, tmp_path):
    checkpoints.publish(gateways)
    move(gateways, purges.due_at(gateways, ended))
    assert purges.run(gateways) > 0
    exports.write(gateways, tmp_path / "export", by=journal.OPERATOR)

    with export.source(tmp_path / "export") as where:
        report = audit.verify(where, audit.Trust(keys=[note.parse_vkey(checkpoints.vkey(gateways))]))
    assert (report.findings, report.bound) == ([], True)
    assert report.logs[0].purged > 0
    assert b"Zo\xc3\xa9" not in (tmp_path / "export" / "journal.jsonl").read_bytes()


def test_addresses_and_browsers_go_after_twelve_months_and_names_stay(gateways):
    deposit = make.filed(gateways, recipients=("Zoé Payet",))
    read(gateways, deposit)
    start = gateways.clock.now()

    move(gateways, start + relativedelta(months=12))
    purges.run(gateways)
    assert "document.consulted" in left(group="trace")

    move(gateways, start + relativedelta(months=12) + purges.MARGIN + timedelta(minutes=1))
    purges.run(gateways)
    assert "document.consulted" not in left(group="trace")
    assert "document.consulted" in left(deposit)
    assert verifications.verify(gateways).findings == ()


def test_what_the_journal_says_of_itself_is_never_purged(gateways, ended):
    with models.write():
        journal.append(
            gateways, "journal.read", author=journal.Author("operator", "1", "A", trace=journal.Trace("::1"))
        )
    make.filed(gateways, blanks=1)
    move(gateways, gateways.clock.now() + relativedelta(years=4))
    purges.run(gateways)

    assert set(left(group="trace")) == {"journal.opened", "journal.read", "journal.purged"}
    assert verifications.verify(gateways).findings == ()


def test_a_deposit_still_available_keeps_its_records_however_old(gateways):
    deposit = make.filed(gateways, blanks=1)
    move(gateways, deposit.filed_at + relativedelta(months=40))  # its end has not been carried out
    before = left(deposit)

    purges.run(gateways)

    assert left(deposit) == before


def test_a_withdrawn_deposit_whose_end_moved_on_is_known_until_its_documents_are_gone(gateways):
    deposit = make.filed(gateways, blanks=1)
    end = deposit.expires_at + relativedelta(years=1)
    withdrawn = {"withdrawn_at": deposit.filed_at, "withdrawn_because": "Erreur", "expires_at": end}
    Deposit.update(withdrawn).where(Deposit.id == deposit.id).execute()
    move(gateways, end - timedelta(days=1))
    retention.expire(gateways)
    purges.run(gateways)
    assert "deposit.filed" in left(deposit)

    forget(gateways, Deposit.get_by_id(deposit.id))
    assert left(deposit) == []
    assert verifications.verify(gateways).findings == ()


def test_a_deposit_is_known_while_a_disk_refuses_to_delete_its_documents(gateways, ended):
    Document.update(deleted_at=None).execute()
    move(gateways, purges.due_at(gateways, ended))
    purges.run(gateways)

    assert "deposit.filed" in left(ended)


def test_a_range_names_nobody_else_s_records(gateways):
    other = make.filed(gateways, blanks=1)
    ended = make.filed(gateways, blanks=1)
    make.issued(gateways, make.first(other))
    make.issued(gateways, make.first(ended))
    Deposit.update(expires_at=other.expires_at + relativedelta(years=2)).where(Deposit.id == other.id).execute()
    forget(gateways, ended)

    assert left(ended) == []
    assert "deposit.filed" in left(other)
    others = {line.sequence for line in journal.lines(journal.head().log) if line.deposit == other.id}
    for one in (reach for line in announced() for reach in detail(line)["ranges"] if reach["group"] == "proof"):
        assert others.isdisjoint(range(one["from"], one["to"] + 1))


def test_nothing_goes_while_a_jump_of_the_clock_waits(gateways, ended):
    due = purges.due_at(gateways, ended)
    gateways.clock.advance(due - gateways.clock.now() + timedelta(days=2))

    assert purges.run(gateways) == 0
    assert "deposit.filed" in left(ended)

    clockwork.confirm(gateways.clock.now())
    assert purges.run(gateways) > 0


def test_a_second_run_finds_nothing_to_announce(gateways, ended):
    move(gateways, purges.due_at(gateways, ended) + relativedelta(years=3))
    purges.run(gateways)
    before = make.operations()

    assert purges.run(gateways) == 0
    assert make.operations() == before


def test_many_records_go_in_several_announcements(gateways, ended, monkeypatch):
    monkeypatch.setattr(purges, "BATCH", 3)
    move(gateways, purges.due_at(gateways, ended))
    purges.run(gateways)

    assert len(announced()) > 2
    assert left(ended) == []
    assert verifications.verify(gateways).findings == ()


def test_a_purge_cut_before_its_end_erased_nothing_unannounced(gateways, ended, monkeypatch):
    move(gateways, purges.due_at(gateways, ended))

    def fail(*_args, **_more):
        raise ZeroDivisionError

    monkeypatch.setattr(journal, "append", fail)
    with pytest.raises(ZeroDivisionError):
        purges.run(gateways)
    monkeypatch.undo()

    assert "deposit.filed" in left(ended)
    assert verifications.verify(gateways).findings == ()


def test_a_purge_forged_without_its_time_is_found(gateways):
    deposit = make.filed(gateways, blanks=1)
    with models.write():
        JournalPayload.update(salt=None, body=None).where(JournalPayload.deposit == deposit.id).execute()
        journal.append(
            gateways,
            "journal.purged",
            detail={
                "ranges": [{"from": 1, "to": 9, "group": "proof", "filed": deposit.filed_sequence}],
                "reason": "retention",
            },
        )

    assert any("PURGED_TOO_EARLY" in found for found in verifications.verify(gateways).findings)


# What somebody announces who appends records as the service does


def erase(gateways, *ranges):
    """Announce and erase these, as the service's own account can."""
    with models.write():
        purges._erase(gateways, journal.head().log, [purges.Range(*one) for one in ranges])


def places(deposit):
    """Return the sequences of a deposit's records."""
    return [line.sequence for line in journal.lines(journal.head().log) if line.deposit == deposit.id]


def test_an_erasure_that_names_another_deposit_s_filing_is_found(gateways):
    old = make.filed(gateways, blanks=1)
    move(gateways, gateways.clock.now() + relativedelta(months=17))
    young = make.filed(gateways, blanks=1)
    assert verifications.verify(gateways).findings == ()
    move(gateways, gateways.clock.now() + relativedelta(months=2))
    first, *rest = places(young)

    erase(gateways, (first, rest[-1], "proof", old.filed_sequence))

    named = verifications.verify(gateways).findings
    assert f"{first} PURGED_TOO_EARLY" in named
    assert len(named) == len([first, *rest])


def test_an_erasure_that_names_the_filing_of_its_own_deposit_is_none(gateways):
    """Two deposits, written in turns, forgotten one after the other: their ranges lie within one another."""
    first, second = make.draft(gateways), make.draft(gateways)
    for deposit in (first, second, first, second):
        make.recipient(gateways, deposit)
    for deposit in (second, first):
        make.blank(deposit, 1)
        deposits.file(gateways, deposit.id, by=journal.OPERATOR)
    move(gateways, gateways.clock.now() + relativedelta(months=19))
    for deposit in (first, second):
        row = Deposit.get_by_id(deposit.id)
        erase(gateways, *(tuple(one) for one in purges._joined(places(row), row.filed_sequence)))

    assert {line.operation for line in journal.lines(journal.head().log) if line.proof is None} >= {"deposit.filed"}
    assert verifications.verify(gateways).findings == ()


@pytest.mark.parametrize("later", [timedelta(days=1), relativedelta(months=19)], ids=["the next day", "once due"])
def test_an_erasure_dated_in_the_future_is_judged_by_the_token_that_dates_it(gateways, later):
    """A clock set ahead, a purge, the clock set right, an anomaly: the third party that dated it was not mistaken."""
    deposit = make.filed(gateways, blanks=1)
    true, first = gateways.clock.now(), places(deposit)[0]
    move(gateways, true + relativedelta(months=24))
    erase(gateways, (first, deposit.filed_sequence, "proof", deposit.filed_sequence))
    gateways.clock._instant = true + later
    make.office(gateways)
    assert "clock.anomaly" in make.operations()
    assert verifications.verify(gateways).findings == ()  # nobody has dated it yet

    signed = checkpoints.publish(gateways)
    with models.write():
        JournalTimestamp.create(
            log=journal.head().log, size=note.parse_checkpoint(note.split(signed)[0]).size, number=1, der=b"x",
            time=true + later, authority="A", qualified=0, asked_at=true, answered_at=true,
        )  # fmt: skip

    early = [found for found in verifications.verify(gateways).findings if found.endswith("PURGED_TOO_EARLY")]
    assert early == ([f"{first} PURGED_TOO_EARLY"] if later == timedelta(days=1) else [])
