"""A disk that is full, or read-only: refused in words, nothing half done, and everything works again with room."""

import json
import os
import subprocess
import sys
from pathlib import Path

import attempts
import crashes
import disks
import make
import pytest
import servers

from mespieces import models
from mespieces.domain import accesses, sessions


@pytest.fixture
def small_disk(tmp_path):
    try:
        with disks.disk(tmp_path / "disk", 8) as disk:
            yield disk
    except servers.Missing as missing:
        pytest.skip(str(missing))


def reader(product, deposit):
    with models.write():
        token = sessions.start(product.gateways.clock.now(), way="act", access=accesses.of(make.first(deposit)))
    return {"Cookie": f"acces={token}"}


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


# The documents' disk


@pytest.fixture
def on_small_storage(database_url, small_disk):
    with crashes.product(database_url, storage_url=f"file://{small_disk.seen}/storage") as product:
        product.environment["MESPIECES_STORAGE_URL"] = f"file://{small_disk.path}/storage"
        product.prefix = small_disk.on()
        yield product


@pytest.mark.parametrize("trouble", ["le disque est plein", "le disque est en lecture seule"])
def test_documents_that_the_disk_does_not_take_are_refused_in_words_and_taken_later(
    on_small_storage, small_disk, trouble
):
    product, stored = on_small_storage, small_disk.seen / "storage"
    who = make.member(product.gateways)
    filed = attempts.filed(product, who, [1000])
    draft, before = attempts.draft(product, who), files(stored)
    product.start()
    at, sent = f"/etude/depots/{draft.id}/pieces", attempts.large_pdf()
    headers = product.clerk(who, at)
    alone = headers | {"X-Filename": "Facture.pdf"}
    form = headers | {"Content-Type": "multipart/form-data; boundary=cut"}
    part = b'--cut\r\nContent-Disposition: form-data; name="files"; filename="a.pdf"\r\n\r\n%b\r\n--cut--\r\n' % sent
    if "plein" in trouble:
        small_disk.fill(1 << 20)
    else:
        small_disk.remount("ro")

    for body, sort in (
        (os.urandom(20 << 20), alone),
        (sent, alone),
        (part, form),
    ):  # the first is refused while it is sent
        status, answered, words = product.ask("POST", at, body, sort)
        assert (status, trouble in words.decode()) == (503, True), words
    assert answered.get_content_type() == "text/html"
    assert product.ask("GET", "/pieces/1/fichier", headers=reader(product, filed))[0] == 200
    assert files(stored) == before
    assert (draft.documents.count(), make.operations(draft.id)) == (0, ["deposit.created"])

    if "plein" in trouble:
        small_disk.empty()
    else:
        small_disk.remount("rw")
    assert product.ask("POST", at, sent, alone)[0] == 303
    assert draft.documents.count() == 1


# The database's disk


SOUND = "import sqlite3, sys; print(sqlite3.connect(sys.argv[1]).execute('PRAGMA integrity_check').fetchall())"


@pytest.fixture
def on_small_database(prepared_sqlite, small_disk, tmp_path):
    """Run the product with its database and its queue on the small disk; give also how to ask the database there."""
    made = tmp_path / "made.db"
    made.write_bytes(prepared_sqlite.read_bytes())
    with crashes.product(f"sqlite:///{made}") as product:
        yield product


def told(product, *arguments):
    command = [*product.prefix, *crashes.PROGRAM, *arguments, "--json"]
    done = subprocess.run(command, env=product.surroundings(), capture_output=True, text=True, check=True)
    return json.loads(done.stdout)


def move(product, disk):
    """Have the product live on the disk from now on: what was prepared is copied there."""
    product.hang_up()
    path = Path(product.environment["MESPIECES_DATABASE_URL"].removeprefix("sqlite:///"))
    (disk.seen / "test.db").write_bytes(path.read_bytes())
    product.environment["MESPIECES_DATABASE_URL"] = f"sqlite:///{disk.path}/test.db"
    product.prefix = disk.on()


@pytest.mark.parametrize("rooms", [(0, 40 << 10), ()], ids=["full", "read-only"])
def test_a_database_that_cannot_be_written_serves_nothing_and_recovers_by_itself(on_small_database, small_disk, rooms):
    product = on_small_database
    who = make.member(product.gateways)
    filed, draft = attempts.filed(product, who, [1000]), attempts.draft(product, who, count=1)
    make.recipient(product.gateways, draft)
    debtor = reader(product, filed)
    token = product.session(who)
    move(product, small_disk)
    if rooms:  # the queue never closes its file, which would keep the disk from becoming read-only
        product.environment["MESPIECES_QUEUE_URL"] = f"sqlite:///{small_disk.path}/queue.db"
    product.start()
    at = f"/etude/depots/{draft.id}"
    clerk = product.browser(f"etude={token}", f"{at}/verification")
    recorded = told(product, "journal", "head")["size"]
    asked = (
        ("POST", f"{at}/deposer", b"", clerk),
        ("GET", "/pieces/1/fichier", None, debtor),
        ("POST", f"{at}/destinataires", b"kind=person&name=B.+Payet", clerk | {"Content-Type": attempts.FORM}),
        ("POST", f"{at}/pieces", make.pdf(), clerk | {"X-Filename": "Facture.pdf"}),
    )
    for room in rooms or (None,):
        small_disk.remount("ro") if room is None else small_disk.fill(room)
        for one in asked * 2:
            status, headers, words = product.ask(*one)
            assert (status, headers["Retry-After"], "Rien n’est perdu" in words.decode()) == (503, "30", True), one
        assert product.ask("GET", "/healthz")[0] == 200
        small_disk.remount("rw") if room is None else small_disk.empty()

    assert told(product, "journal", "verify")["intact"]
    assert told(product, "storage", "verify") == {"intact": True, "documents": 2, "wrong": []}
    assert told(product, "journal", "head")["size"] == recorded
    assert product.ask("POST", f"{at}/deposer", b"", clerk)[0] == 303
    assert len(product.ask("GET", "/pieces/1/fichier", headers=debtor)[2]) == 1000
    assert product.ask("GET", "/readyz")[0] == 200
    sound = [*product.prefix, sys.executable, "-c", SOUND, f"{small_disk.path}/test.db"]
    assert subprocess.run(sound, capture_output=True, text=True, check=True).stdout == "[('ok',)]\n"
