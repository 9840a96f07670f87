"""Certain dates as people meet them: tokens to download, the story in words, and a clock known to be wrong."""

from datetime import timedelta

import authority as authorities
import make
import pytest

from mespieces.domain import anchors, journal
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
        one.behaviour = ""
    roots = tuple(one.root for one in pair)
    reached = tuple(Authority(one.url, roots, within=2.0) for one in pair)
    return open_site(with_gateways={"authorities": reached, "clock": ManualClock(SystemClock().now())})


def test_a_token_is_downloaded_as_it_was_given_and_dates_the_checkpoint_beside_it(dated, pair):
    make.filed(dated.gateways, blanks=1)
    assert anchors.keep_up(dated.gateways)
    kept, anyone = JournalTimestamp.get(), dated.visitor()

    got = anyone.get(f"/audit/timestamps/{kept.size}.1.tsr")
    note = anyone.get(f"/audit/checkpoint/{kept.size}")

    assert (got.mimetype, got.data) == ("application/timestamp-reply", bytes(kept.der))
    assert got.headers["Content-Disposition"] == f'attachment; filename="{kept.size}.1.tsr"'
    assert note.data == bytes(JournalCheckpoint.get(size=kept.size).note)
    assert pair[0].accepts(note.data, got.data)
    for absent in (f"{kept.size}.2", f"{kept.size + 1}.1", f"{10**30}.1", f"1.{10**30}"):
        anyone.get(f"/audit/timestamps/{absent}.tsr", 404)


def test_nothing_is_read_while_two_authorities_agree_that_the_clock_is_wrong(dated):
    clock = dated.gateways.clock
    clock.advance(timedelta(minutes=5))
    deposit = make.filed(dated.gateways)
    debtor = dated.reading(deposit)
    assert anchors.keep_up(dated.gateways)

    refused = debtor.get("/pieces/1/fichier", 503)
    assert "L’horloge de ce service est déréglée" in refused.text
    assert refused.mimetype == "text/html"
    assert "document.consulted" not in make.operations()

    clock.advance(timedelta(minutes=-5))
    debtor = dated.reading(deposit)
    assert debtor.get("/pieces/1/fichier").data == make.pdf()


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
