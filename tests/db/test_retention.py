"""Retention: keys, then bytes, go when the law says; what happened remains (art. 5)."""

import sqlite3
import subprocess
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import make
import pytest

from mespieces import models
from mespieces.domain import (
    clockwork,
    consultations,
    documents,
    identification,
    journal,
    retention,
    significations,
    verifications,
)
from mespieces.gateways.clock import ManualClock
from mespieces.gateways.storage import StorageUnavailable
from mespieces.models import CodeKey, Deposit, Document, Session, SignIn


@pytest.fixture
def deposit(gateways):
    return make.filed(gateways, documents=2)


def go_to(gateways, instant):
    gateways.clock.advance(instant - gateways.clock.now())


def stored(gateways):
    return [item.name for item in gateways.vault.names()]


class Failing:
    """A storage that answers to everything but the deletion of bytes."""

    def __init__(self, storage):
        self._storage = storage

    def __getattr__(self, name):
        return getattr(self._storage, name)

    def delete_all(self, prefix):
        raise StorageUnavailable(reason="le disque est défaillant", where=prefix)


def test_nothing_goes_before_the_very_instant(gateways, deposit):
    go_to(gateways, deposit.expires_at - timedelta(microseconds=1))
    assert retention.due(gateways.clock.now()) == []
    assert retention.expire(gateways, confirmed=True) == []

    gateways.clock.advance(timedelta(microseconds=1))
    (gone,) = retention.expire(gateways, confirmed=True)
    assert (gone.deposit, gone.documents) == (deposit, 2)


def test_keys_and_bytes_are_gone_and_records_remain(gateways, deposit):
    make.identified(gateways, make.first(deposit))
    documents.draw_pending(gateways)
    assert len(stored(gateways)) >= 4
    go_to(gateways, deposit.expires_at)

    retention.expire(gateways, confirmed=True)

    assert stored(gateways) == []
    assert [row.wrapped_key for row in Document.select()] == [None, None]
    assert all(row.deleted_at == gateways.clock.now() for row in Document.select())
    assert CodeKey.select().count() == SignIn.select().count() == 0
    assert make.operations(deposit.id)[-3:] == ["deposit.expired", "document.deleted", "document.deleted"]
    assert Deposit.get().ended_at == deposit.expires_at
    assert verifications.verify(gateways).findings == ()


def test_expiring_again_does_nothing_more(gateways, deposit):
    go_to(gateways, deposit.expires_at)
    retention.expire(gateways, confirmed=True)
    before = make.operations()

    assert retention.due(gateways.clock.now()) == retention.expire(gateways) == []
    assert make.operations() == before


def test_cut_between_keys_and_bytes_the_deletion_is_finished_later(gateways, deposit):
    go_to(gateways, deposit.expires_at)
    kept = gateways.vault._storage
    gateways.vault._storage = Failing(kept)
    with pytest.raises(StorageUnavailable):
        retention.expire(gateways, confirmed=True)
    gateways.vault._storage = kept

    assert [row.wrapped_key for row in Document.select()] == [None, None]
    assert len(stored(gateways)) == 2
    assert len(retention.expire(gateways, confirmed=True)) == 1
    assert stored(gateways) == []
    assert make.count("deposit.expired") == 1
    assert make.count("document.deleted") == 2


def test_a_disk_that_deletes_nothing_keeps_no_key_of_any_deposit(gateways, deposit):
    make.filed(gateways, deposit.office)
    keys = [bytes(row.wrapped_key) for row in Document.select()]
    go_to(gateways, deposit.expires_at)
    gateways.vault._storage = Failing(gateways.vault._storage)

    with pytest.raises(StorageUnavailable):
        retention.expire(gateways, confirmed=True)

    assert [row.wrapped_key for row in Document.select()] == [None] * 3
    assert not any(key in raw(gateways) for key in keys)


def test_a_key_erased_while_somebody_read_leaves_the_write_ahead_log_at_the_next_run(gateways, deposit):
    if not models.is_sqlite():
        return  # only SQLite's log keeps what was
    key = bytes(Document.select().first().wrapped_key)
    models.database.execute_sql("PRAGMA busy_timeout = 100")
    go_to(gateways, deposit.expires_at)
    with closing(sqlite3.connect(models.database.database, isolation_level=None)) as somebody:
        somebody.execute("BEGIN")
        somebody.execute("SELECT count(*) FROM document").fetchall()
        retention.expire(gateways, confirmed=True)
        assert key in raw(gateways)

    assert retention.expire(gateways) == []
    assert key not in raw(gateways)


def raw(gateways):
    """Return the bytes of SQLite's files, read by another process: closing one here would drop SQLite's locks on it."""
    path = Path(gateways.settings.database_url.removeprefix("sqlite:///"))
    files = [one for one in path.parent.glob(f"{path.name}*") if one.is_file()]
    return subprocess.run(["cat", *files], capture_output=True, check=True).stdout if files else b""


def test_a_draft_and_a_deposit_still_available_are_left_alone(gateways, deposit):
    draft = make.draft(gateways, deposit.office)
    make.document(gateways, draft)
    go_to(gateways, deposit.expires_at - timedelta(days=30))
    later = make.filed(gateways, deposit.office)
    go_to(gateways, deposit.expires_at)

    retention.expire(gateways, confirmed=True)

    assert {row.deposit_id for row in Document.select().where(Document.wrapped_key.is_null(False))} == {
        draft.id,
        later.id,
    }
    assert len(stored(gateways)) == 2


def test_an_end_moved_on_while_the_worker_reads_is_respected(gateways, deposit):
    go_to(gateways, deposit.expires_at)
    (seen,) = retention.due(gateways.clock.now())
    significations.record(gateways, make.first(deposit).id, {"signified_on": "2028-05-20"}, by=journal.OPERATOR)

    assert not retention._end(gateways, seen.deposit)
    assert Document.select().where(Document.wrapped_key.is_null(False)).count() == 2


# The clock


def test_a_clock_that_jumped_deletes_nothing_until_somebody_confirms(gateways, deposit):
    retention.beat(gateways)
    go_to(gateways, deposit.expires_at)

    with pytest.raises(retention.ClockJumped):
        retention.expire(gateways)
    assert len(stored(gateways)) == 2
    assert len(retention.expire(gateways, confirmed=True)) == 1
    assert not clockwork.jumped(gateways.clock.now())


def test_a_visitor_after_the_jump_does_not_confirm_it(gateways, deposit):
    retention.beat(gateways)
    access, _ = make.issued(gateways, make.first(deposit))
    go_to(gateways, deposit.expires_at)
    identification.begin(gateways, access.reference, identification.codes.draw_secret(), make.TRACE)
    assert make.operations()[-1] == "recipient.refused"

    with pytest.raises(retention.ClockJumped):
        retention.expire(gateways)
    assert len(stored(gateways)) == 2


def test_a_worker_that_was_stopped_while_people_came_each_day_is_no_jump(gateways):
    retention.beat(gateways)
    for _ in range(3):
        gateways.clock.advance(timedelta(hours=23))
        make.draft(gateways)

    assert not clockwork.jumped(gateways.clock.now())


def test_a_day_is_no_jump_and_a_heartbeat_counts(gateways):
    now = gateways.clock.now
    assert not clockwork.jumped(now() + timedelta(days=1))
    assert clockwork.jumped(now() + timedelta(days=1, microseconds=1))
    gateways.clock.advance(timedelta(hours=20))
    retention.beat(gateways)
    gateways.clock.advance(timedelta(hours=20))
    assert not clockwork.jumped(now())
    assert not clockwork.jumped(now() - timedelta(days=3))


# Sweeping


@pytest.fixture
def present(gateways):
    """The storage dates by the machine's own clock: here the product's is the same."""
    gateways.clock.advance(datetime.now(UTC) - gateways.clock.now())
    assert isinstance(gateways.clock, ManualClock)


def test_bytes_that_no_document_claims_are_swept_but_not_while_they_arrive(gateways, present):
    kept = make.document(gateways, make.draft(gateways, order_date="2025-01-02"))
    with documents.Arrival(gateways) as arrival:
        arrival.write(make.pdf())
        arrival.commit()
    assert len(stored(gateways)) == 2

    gateways.clock.advance(timedelta(hours=5, minutes=59))
    assert retention.sweep_orphans(gateways) == 0
    gateways.clock.advance(timedelta(minutes=2))
    assert retention.sweep_orphans(gateways) == 1
    assert stored(gateways) == [documents.file_name(kept.id)]


def test_old_sign_ins_and_sessions_go_unless_something_was_read(gateways, deposit):
    read = make.identified(gateways, make.first(deposit))
    consultations.open_document(gateways, read, 1, "page", make.TRACE).close()
    make.identified(gateways, make.recipient(gateways, deposit, "Jeanne Payet"))
    gateways.clock.advance(timedelta(days=2))
    retention.sweep(gateways)
    assert Session.select().count() == 2
    gateways.clock.advance(timedelta(seconds=1))

    retention.sweep(gateways)

    assert [row.id for row in Session.select()] == [read.id]
    assert SignIn.select().count() == 0


def test_deleting_goes_on_while_others_write(gateways, monkeypatch):
    deposit = make.filed(gateways, documents=3)
    go_to(gateways, deposit.expires_at)
    delete = gateways.vault.delete_all

    def beside_others(prefix):
        assert make.threads(1, lambda: retention.beat(gateways)) == [None]
        return delete(prefix)

    monkeypatch.setattr(type(gateways.vault), "delete_all", lambda _vault, prefix: beside_others(prefix))
    retention.expire(gateways, confirmed=True)

    assert Document.select().where(Document.deleted_at.is_null()).count() == 0
