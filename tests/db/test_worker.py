"""The worker's rounds: what waits is taken up, whoever forgot to ring."""

import dataclasses
import shutil
import threading
from datetime import timedelta

import authority as authorities
import make
import pytest

from mespieces import models
from mespieces.domain import clockwork, deposits, documents, journal, subtrees, verifications
from mespieces.gateways.clock import SystemClock
from mespieces.gateways.storage import FolderStorage
from mespieces.gateways.timestamps import Authority
from mespieces.gateways.vault import open_vault
from mespieces.models import Deposit, Document, JournalCheckpoint, JournalSubtree, JournalTimestamp, Message
from mespieces.runtime import Runtime
from mespieces.worker import EVERY_MINUTE, LONG, THREADS, Worker


@pytest.fixture
def worker(gateways, settings):
    known = dataclasses.replace(settings, queue_url=f"sqlite:///{settings.data / 'queue.db'}")
    vault = open_vault(FolderStorage(settings.data / "storage"), settings.master_key_file)
    seen = dataclasses.replace(gateways, settings=known, vault=vault)
    return Worker(Runtime(settings=known, database=models.database.obj, gateways=seen, secret_key=b"x" * 32))


def test_a_minute_draws_pages_publishes_the_head_and_beats(worker):
    gateways = worker._runtime.gateways
    document = make.document(gateways, make.draft(gateways))

    for work in EVERY_MINUTE:
        worker.do(work)

    assert Document.get().previews_at == gateways.clock.now()
    assert gateways.vault.exists(f"{documents.folder(document.id)}/pages/1.webp")
    assert JournalCheckpoint.select().count() == 1
    assert clockwork.last_beat() == gateways.clock.now()


def test_a_minute_ends_what_is_past_its_date(worker):
    gateways = worker._runtime.gateways
    deposit = make.filed(gateways)
    Deposit.update(expires_at=gateways.clock.now()).execute()

    worker.do("expiry")

    assert deposits.state(Deposit.get_by_id(deposit.id), gateways.clock.now()) == deposits.State.ENDED
    assert list(gateways.vault.names()) == []


def test_a_minute_has_the_journal_dated_by_a_third_party(worker, tmp_path):
    with authorities.serving(authorities.Authority(tmp_path / "tsa")) as tsa:
        reached = (Authority(tsa.url, (tsa.root,), within=2.0),)
        runtime = worker._runtime
        seen = dataclasses.replace(runtime.gateways, authorities=reached, clock=SystemClock())
        worker._runtime = dataclasses.replace(runtime, gateways=seen)
        make.office(seen)

        for work in ("anchors", "anchors"):
            Worker(worker._runtime).do(work)

        token = JournalTimestamp.get()
        assert tsa.asked == 1
        assert tsa.accepts(bytes(JournalCheckpoint.get(size=token.size).note), bytes(token.der))
        assert make.operations()[-1] == "journal.anchored"


def test_a_minute_of_the_small_hours_mails_each_office_the_night_s_checkpoint(worker):
    gateways = worker._runtime.gateways
    make.member(gateways)
    gateways.clock.advance(timedelta(hours=16))  # three in Paris

    for work in EVERY_MINUTE:
        worker.do(work)
    worker.do("mail")

    (message,) = gateways.mail.sent
    (part,) = message.iter_attachments()
    assert part.get_content() == gateways.settings.newest_checkpoint_file.read_bytes()


def test_a_minute_sends_what_waits(worker):
    gateways = worker._runtime.gateways
    make.waiting(gateways, make.first(make.filed(gateways)), "email")

    worker.do("mail")

    assert Message.get().sent_at is not None


def test_a_minute_sends_what_waits_even_where_something_else_fails(worker, settings):
    gateways = worker._runtime.gateways
    deposit = make.filed(gateways)
    make.waiting(gateways, make.first(make.filed(gateways, deposit.office)), "email")
    Deposit.update(expires_at=gateways.clock.now()).where(Deposit.id == deposit.id).execute()
    shutil.rmtree(settings.data / "storage")
    (settings.data / "storage").write_bytes(b"no folder")  # nothing can be deleted there

    for task in worker.huey.read_periodic(gateways.clock.now().replace(minute=1)):
        worker.huey.execute(task)

    assert Message.get().sent_at is not None
    assert Document.select().where(Document.deposit == deposit, Document.deleted_at.is_null(False)).count() == 0


def test_an_hour_sweeps_old_drafts_and_what_uploads_left_behind(worker, settings):
    gateways = worker._runtime.gateways
    make.document(gateways, make.draft(gateways))
    incoming = settings.data / "storage" / ".incoming"
    (incoming / "cut").write_bytes(b"what a killed process was writing")
    for day in range(31):  # the worker beats every day: the clock does not jump
        gateways.clock.advance(timedelta(hours=23, minutes=59))
        worker.do("expiry")
        assert Deposit.select().count() == 1, day
    gateways.clock.advance(timedelta(hours=2))

    worker.do("sweep")

    assert Deposit.select().count() == 0
    assert list(gateways.vault.names()) == []
    assert list(incoming.iterdir()) == []


@pytest.mark.parametrize("work", sorted(LONG))
def test_work_of_minutes_is_left_to_who_does_it(worker, work):
    """A thread that finds it under way goes on: mails and dates must not wait for it."""
    assert len(LONG) < THREADS
    done, meanwhile = [], threading.Event()

    def long():
        done.append(work)
        meanwhile.set()
        thread.join(timeout=10)

    def another():
        meanwhile.wait()
        worker.do(work)

    worker._work[work] = long
    thread = threading.Thread(target=another)
    thread.start()
    worker.do(work)
    thread.join()
    assert done == [work]


def test_a_tree_that_was_tampered_with_stops_neither_the_mails_nor_the_verification(worker, caplog):
    gateways = worker._runtime.gateways
    with models.write():
        while journal.append(gateways, "incident.recorded") < 600:
            pass
    make.member(gateways)
    worker.do("journal")
    JournalSubtree.update(hash=b"x" * 32).execute()
    gateways.clock.advance(timedelta(hours=23))
    make.office(gateways)

    for work in EVERY_MINUTE:
        worker.do(work)

    assert JournalCheckpoint.select().count() == 1
    assert "nothing is signed" in caplog.text
    assert verifications.last().counts == {"SUBTREE_ALTERED": 3}
    assert not journal.suspended()
    assert Message.select().where(Message.kind == "checkpoint").count() == 0
    subtrees.remake()
    for work in EVERY_MINUTE:
        worker.do(work)
    assert JournalCheckpoint.select().count() == 2
    assert Message.select().where(Message.kind == "checkpoint").count() == 1  # the night's, made up for
