"""The product killed at random points, without its database, or told to stop: nothing is lost, and it goes on by itself."""

import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from urllib.parse import urlencode

import attempts
import crashes
import make
import peewee
import pytest
import readers
import servers
from conftest import prepare

from mespieces import models, server
from mespieces.domain import verifications

RUNS = 10  # on each database; `make crashes` does hundreds


def test_killed_anywhere_the_product_starts_again_and_has_lost_nothing(database_url, mailbox):
    with crashes.product(database_url, mail_url=mailbox.url) as product:
        found = crashes.run(product, mailbox, attempts.KINDS, RUNS, seed=str(time.time_ns()))

    assert found.faults == []
    assert sum(stages.total() for stages in found.stages.values()) == RUNS


def test_killed_while_several_people_download_every_byte_they_got_belongs_to_a_journaled_consultation(
    database_url, mailbox
):
    with crashes.product(database_url, mail_url=mailbox.url) as product:
        found = crashes.run(product, mailbox, {"downloads": readers.downloads}, 4, seed=str(time.time_ns()))

    assert found.faults == []
    assert found.stages["downloads"].total() == 4


# The database gone


@pytest.fixture
def postgresql():
    try:
        with servers.restartable_postgresql() as server:
            yield server
    except servers.Missing as missing:
        pytest.skip(str(missing))


def test_while_its_database_server_is_gone_the_site_says_so_and_goes_on_by_itself_after(postgresql, mailbox):
    url = servers.create_database(postgresql.url)
    prepare(url)
    with crashes.product(url, mail_url=mailbox.url, queue_url=url) as product:
        who = make.member(product.gateways)
        filed = attempts.filed(product, who, [1000])
        begun, token = make.begun(product.gateways, make.first(filed)), product.session(who)
        product.start()
        clerk = product.browser(f"etude={token}", "/etude/depots")
        debtor = product.browser(f"identification={begun.token}", "/consulter/canal")
        at_once(product, clerk)  # the server holds connections, which are about to die
        product.hang_up()
        postgresql.stop()

        for path in ("/etude/depots", "/readyz", f"/etude/depots/{filed.id}"):
            status, headers, words = product.ask("GET", path, headers=clerk)
            assert (status, headers["Retry-After"], "Rien n’est perdu" in words.decode()) == (503, "30", True)
        assert product.ask("GET", "/healthz")[0] == 200
        assert product.ask("GET", "/aide")[0] == 200
        time.sleep(3)  # the worker's threads meet the absence as well

        postgresql.start()
        assert set(at_once(product, clerk)) == {200}
        asked = urlencode({"channel": "email", "email": "payet@example.fr"})
        form = debtor | {"Content-Type": attempts.FORM}
        assert product.ask("POST", "/consulter/canal", asked, form)[0] == 303
        assert mailbox.wait_for(1, seconds=60)[0]["To"] == "payet@example.fr"
        assert product.ask("GET", "/readyz")[0] == 200


def test_a_database_server_that_accepts_and_says_nothing_is_not_waited_for():
    with server.listen("127.0.0.1", 0) as silent:
        database = models.connect(f"postgresql://nobody@127.0.0.1:{silent.getsockname()[1]}/nothing")
        began = time.monotonic()
        with pytest.raises(peewee.OperationalError):
            database.connect()
    assert time.monotonic() - began < 15


def at_once(product, clerk):
    with ThreadPoolExecutor(8) as people:
        return list(people.map(lambda _: product.ask("GET", "/etude/depots", headers=clerk)[0], range(16)))


def test_a_database_held_too_long_by_another_process_is_503_and_no_fault_remains(prepared_sqlite, tmp_path):
    path = tmp_path / "test.db"
    path.write_bytes(prepared_sqlite.read_bytes())
    with crashes.product(f"sqlite:///{path}") as product:
        who = make.member(product.gateways)
        draft = attempts.draft(product, who, count=1)
        make.recipient(product.gateways, draft)
        product.start()
        at = f"/etude/depots/{draft.id}"
        clerk = product.clerk(who, f"{at}/verification")
        with closing(sqlite3.connect(path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            assert product.ask("GET", at, headers=clerk)[0] in {200, 303}  # reading goes on
            status, _, words = product.ask("POST", f"{at}/deposer", b"", clerk)
            assert (status, "Rien n’est perdu" in words.decode()) == (503, True)
            other.execute("ROLLBACK")
        assert product.ask("POST", f"{at}/deposer", b"", clerk)[0] == 303
        assert verifications.verify(product.gateways).findings == ()


# Told to stop


def test_told_to_stop_the_server_finishes_what_people_and_the_worker_have_begun(database_url, mailbox):
    mailbox.slowness = 6
    with crashes.product(database_url, mail_url=mailbox.url) as product:
        who = make.member(product.gateways)
        product.start()
        upload = attempts.upload(product, mailbox, who, None)
        download = attempts.download(product, mailbox, who, None)
        begun = make.begun(product.gateways, make.first(attempts.filed(product, who, [1000])))
        debtor = product.browser(f"identification={begun.token}", "/consulter/canal") | {"Content-Type": attempts.FORM}
        asked = urlencode({"channel": "email", "email": "payet@example.fr"})
        assert product.ask("POST", "/consulter/canal", asked, debtor)[0] == 303
        assert mailbox.asked.wait(20)  # the worker is in the middle of sending
        people = [threading.Thread(target=attempt.run) for attempt in (upload, download)]
        for person in people:
            person.start()
        time.sleep(0.15)
        assert not upload.done
        assert not download.done

        product.process.terminate()
        assert product.process.wait(40) == 0
        for person in people:
            person.join()

        assert upload.done
        assert download.done
        assert [*upload.faults(True), *download.faults(True)] == []
        to_people = [message["To"] for message in mailbox.messages if message["To"] != "etude@example.fr"]
        assert to_people == ["payet@example.fr"]
        assert models.Message.get(kind="code").sent_at is not None
        with pytest.raises(crashes.CUT):
            product.ask("GET", "/healthz")
