"""The journal's activity by day: counted by the worker, never by reading the page, and a count that lies is named."""

import dataclasses
from datetime import timedelta

import make
import pytest

from mespieces import models
from mespieces.domain import activity, continuity, journal, verifications
from mespieces.models import JournalDay, JournalRecord
from mespieces.runtime import Runtime
from mespieces.verifier import record
from mespieces.worker import Worker


def record_many(gateways, count, operation="journal.read"):
    with models.write():
        for _ in range(count):
            journal.append(gateways, operation, author=journal.OPERATOR)


def counts(gateways, back=0):
    return activity.days(gateways.clock.now(), back + 1)[0].counts


def kept():
    query = JournalDay.select().order_by(JournalDay.day)
    return [(row.day, row.deposits, row.consultations, row.refusals, row.others, row.size) for row in query]


def test_each_day_has_its_operations_by_kind_and_they_are_all_the_records(gateways):
    for operation, count in (("document.deposited", 11), ("document.consulted", 12), ("recipient.refused", 13)):
        record_many(gateways, count, operation)
    gateways.clock.advance(timedelta(days=1))
    record_many(gateways, 10, "document.delivered")
    activity.keep_up()

    assert counts(gateways, 1) == {"deposits": 11, "consultations": 12, "refusals": 13, "others": None}
    assert counts(gateways) == {"deposits": 0, "consultations": None, "refusals": None, "others": 10}
    assert sum(sum(row[1:5]) for row in kept()) == JournalRecord.select().count() == journal.head().size


def test_fewer_than_ten_operations_are_never_told_from_none_unless_they_are_the_office_s(gateways):
    activity.keep_up()
    nothing = counts(gateways)
    for operation in ("document.consulted", "recipient.refused"):
        record_many(gateways, activity.FEWEST - 1, operation)
    activity.keep_up()
    assert counts(gateways) == nothing == {"deposits": 0, "consultations": None, "refusals": None, "others": None}

    record_many(gateways, 1, "deposit.filed")
    activity.keep_up()
    assert counts(gateways)["deposits"] == 1

    record_many(gateways, 1, "document.consulted")
    activity.keep_up()
    assert counts(gateways)["consultations"] == activity.FEWEST


@pytest.mark.parametrize("batch", [1, 7, 10_000])
def test_counting_in_batches_gives_the_same_and_counts_nothing_twice(gateways, monkeypatch, batch):
    monkeypatch.setattr(activity, "BATCH", batch)
    record_many(gateways, 9)
    gateways.clock.advance(timedelta(days=2))
    record_many(gateways, 9, "document.consulted")
    for _ in range(2):
        activity.keep_up()

    assert [row[1:5] for row in kept()] == [(0, 0, 0, 10), (0, 9, 0, 0)]
    assert kept()[-1][5] == journal.head().size
    assert verifications.verify(gateways).findings == ()


def test_a_clock_set_back_counts_on_the_day_that_was_recorded(gateways):
    record_many(gateways, 10)
    activity.keep_up()
    gateways.clock.advance(timedelta(days=-1))
    record_many(gateways, 10)
    activity.keep_up()

    assert [row[1:5] for row in kept()] == [(0, 0, 0, 11), (0, 0, 0, 11)]  # journal.opened; clock.anomaly
    assert verifications.verify(gateways).findings == ()


def test_records_not_counted_yet_are_no_fault(gateways):
    record_many(gateways, 10)
    activity.keep_up()
    record_many(gateways, 10)

    assert verifications.verify(gateways).findings == ()


@pytest.mark.parametrize(
    "lie",
    [
        {"consultations": JournalDay.consultations + 1},
        {"others": JournalDay.others - 1},
        {"deposits": JournalDay.others, "others": JournalDay.deposits},
        {"size": JournalDay.size + 1},
        {"size": JournalDay.size - 1},
    ],
)
def test_a_count_that_lies_is_named_with_its_day_and_made_anew(gateways, lie):
    record_many(gateways, 20)
    activity.keep_up()
    if lie.keys() == {"size"}:
        record_many(gateways, 1)
    JournalDay.update(lie).execute()
    day = record.format_time(gateways.clock.now())[:10]

    assert f"{day} ACTIVITY_ALTERED" in verifications.verify(gateways).findings
    activity.recount()
    assert verifications.verify(gateways).findings == ()
    assert counts(gateways)["others"] == journal.head().size


def test_a_day_taken_away_or_made_up_is_named(gateways):
    record_many(gateways, 20)
    gateways.clock.advance(timedelta(days=1))
    record_many(gateways, 20)
    activity.keep_up()
    first, second = (row.day for row in JournalDay.select().order_by(JournalDay.day))

    JournalDay.delete().where(JournalDay.day == first).execute()
    assert verifications.verify(gateways).findings == (f"{first} ACTIVITY_ALTERED",)
    activity.recount()
    JournalDay.update(day="2020-01-01").where(JournalDay.day == second).execute()
    assert verifications.verify(gateways).findings == ("2020-01-01 ACTIVITY_ALTERED", f"{second} ACTIVITY_ALTERED")


def test_a_reopening_loses_no_day_and_fewer_than_ten_in_all_are_not_told(gateways):
    record_many(gateways, activity.FEWEST - 1, "document.consulted")
    record_many(gateways, 4, "deposit.filed")
    continuity.reopen(gateways)  # before anything was counted
    activity.keep_up()
    assert counts(gateways)["deposits"] == 4
    assert counts(gateways)["consultations"] is None

    record_many(gateways, 1, "document.consulted")
    activity.keep_up()
    assert counts(gateways)["consultations"] == activity.FEWEST
    assert verifications.verify(gateways).findings == ()


def test_the_counts_of_a_closed_journal_are_made_anew_as_well(gateways):
    record_many(gateways, 20)
    activity.keep_up()
    continuity.reopen(gateways)
    activity.keep_up()
    before = kept()
    JournalDay.update(others=JournalDay.others + 1).execute()
    assert len(verifications.verify(gateways).findings) == 2

    activity.recount()
    assert (kept(), verifications.verify(gateways).findings) == (before, ())


def test_the_worker_counts_with_each_checkpoint(gateways, settings):
    make.draft(gateways)
    known = dataclasses.replace(settings, queue_url=f"sqlite:///{settings.data / 'queue.db'}")
    worker = Worker(Runtime(settings=known, database=models.database.obj, gateways=gateways, secret_key=b"x" * 32))
    worker.do("journal")

    assert kept()[-1][5] == journal.head().size


def test_every_operation_is_counted_under_one_kind(gateways):
    kinds = {operation: activity.kind_of(operation) for operation in record.OPERATIONS}

    assert set(kinds.values()) == set(activity.COUNTS)
    assert all(operations <= set(record.OPERATIONS) for operations in activity.KINDS.values())
