"""Certain dates as people meet them: tokens to download, the story in words, and a clock known to be wrong."""

import dataclasses
from datetime import timedelta

import attempts
import authority as authorities
import crashes
import make
import pytest

from mespieces import models
from mespieces.domain import accesses, anchors, journal, sessions
from mespieces.gateways.clock import ManualClock, SystemClock
from mespieces.gateways.timestamps import Authority
from mespieces.models import JournalCheckpoint, JournalTimestamp
from mespieces.views import words


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """Two authorities that know nothing of each other."""
    made = [authorities.Authority(tmp_path_factory.mktemp(name), name=name) for name in ("Horodatage", "Seconde")]
    with authorities.serving(made[0]) as first, authorities.serving(made[1]) as second:
        yield first, second


@pytest.fixture
def dated(open_site, pair):
    """The site with the true time, and two authorities to ask."""
    for one in pair:
        one.behaviour, one.clock = "", []
    roots = tuple(one.root for one in pair)
    reached = tuple(Authority(one.url, roots, within=2.0) for one in pair)
    return open_site(with_gateways={"authorities": reached, "clock": ManualClock(SystemClock().now())})


def test_a_token_is_downloaded_as_it_was_given_and_dates_the_checkpoint_beside_it(dated, pair):
    make.filed(dated.gateways, blanks=1)
    assert anchors.keep_up(dated.gateways)
    kept, anyone = JournalTimestamp.get(), dated.visitor()

    got = anyone.get(f"/audit/{kept.log}/timestamps/{kept.size}.1.tsr")
    note = anyone.get(f"/audit/{kept.log}/checkpoints/{kept.size}.note")

    assert (got.mimetype, got.data) == ("application/timestamp-reply", bytes(kept.der))
    assert got.headers["Content-Disposition"] == f'attachment; filename="{kept.size}.1.tsr"'
    assert note.data == bytes(JournalCheckpoint.get(size=kept.size).note)
    assert pair[0].accepts(note.data, got.data)
    for absent in (f"{kept.size}.2", f"{kept.size + 1}.1", f"{10**30}.1", f"1.{10**30}"):
        anyone.get(f"/audit/{kept.log}/timestamps/{absent}.tsr", 404)
    anyone.get(f"/audit/{'0' * 32}/timestamps/{kept.size}.1.tsr", 404)


def test_nothing_is_read_while_two_authorities_agree_that_the_clock_is_wrong(dated):
    clock = dated.gateways.clock
    clock.advance(timedelta(minutes=5))
    deposit = make.filed(dated.gateways)
    debtor = dated.reading(deposit)
    assert anchors.keep_up(dated.gateways)

    refused = debtor.get("/pieces/1/fichier", 503)
    assert "L’horloge de ce service est déréglée" in refused.text
    assert refused.mimetype == "text/html"
    around = debtor.get("/pieces/1", 503)
    assert "L’horloge de ce service est déréglée" in around.text
    assert "document.consulted" not in make.operations()

    clock.advance(timedelta(minutes=-5))
    debtor = dated.reading(deposit)
    debtor.get("/pieces/1")
    assert debtor.get("/pieces/1/fichier").data == make.pdf()


def test_a_served_debtor_reads_why_while_the_clock_is_wrong_and_the_document_once_it_is_right(
    database_url, mailbox, pair, faketime
):
    """The authorities are five minutes behind, which is for the server to be ahead."""
    with crashes.product(database_url, mail_url=mailbox.url) as product:
        deposit = attempts.filed(product, make.member(product.gateways), [1000])
        with models.write():
            access = accesses.of(make.first(deposit))
            token = sessions.start(product.gateways.clock.now(), way="act", access=access)
        reached = tuple(Authority(one.url, tuple(other.root for other in pair), within=5.0) for one in pair)
        gateways = dataclasses.replace(product.gateways, authorities=reached)
        product.start()

        def read(behind):
            for one in pair:
                one.behaviour, one.clock = "", [faketime, "-f", "-5m"] if behind else []
            with models.write():
                anchors.Fact.delete().where(anchors.Fact.name == anchors.NEXT).execute()
            assert anchors.keep_up(gateways)
            return product.ask("GET", "/pieces/1/fichier", headers={"Cookie": f"acces={token}"})

        status, headers, page = read(behind=True)
        assert (status, "L’horloge de ce service est déréglée" in page.decode()) == (503, True)
        assert headers["Retry-After"] == "60"
        assert "document.consulted" not in make.operations(deposit.id)

        status, _, page = read(behind=False)
        assert (status, len(page)) == (200, deposit.documents.get().size)
        assert "document.consulted" in make.operations(deposit.id)


def test_one_authority_alone_closes_nothing(dated, pair):
    pair[1].behaviour = "down"
    dated.gateways.clock.advance(timedelta(minutes=5))
    debtor = dated.reading(make.filed(dated.gateways))
    assert anchors.keep_up(dated.gateways)

    debtor.get("/pieces/1/fichier")


def test_the_story_tells_of_dates_and_of_a_clock_that_drifts_in_words(dated):
    dated.gateways.clock.advance(timedelta(minutes=5))
    office = make.office(dated.gateways)
    assert anchors.keep_up(dated.gateways)
    log, size = journal.head().log, journal.head().size
    told = []
    for line in journal.lines(log, size - 2):
        entry = journal.read_entry(line.sequence, line.time, line.operation, line.proof[1])
        told.append(words.happened(entry).replace("\u00a0", " "))

    assert office.name
    assert told[0].endswith("enregistrements datés par Horodatage")
    assert told[1].startswith("Horloge en avance de 29") or told[1].startswith("Horloge en avance de 30")
    assert told[1].endswith("secondes, selon Horodatage")
