"""Certain dates: the journal is dated by third parties, and reading never waits for them."""

import dataclasses
import subprocess
import sys
from datetime import timedelta

import authority as authorities
import make
import peewee as pw
import pytest

from mespieces import models
from mespieces.domain import anchors, exports, journal
from mespieces.gateways.clock import ManualClock, SystemClock
from mespieces.gateways.timestamps import Authority
from mespieces.models import JournalCheckpoint, JournalTimestamp


@pytest.fixture(scope="module")
def tsa(tmp_path_factory):
    with authorities.serving(authorities.Authority(tmp_path_factory.mktemp("tsa"))) as served:
        yield served


@pytest.fixture(scope="module")
def second(tmp_path_factory):
    made = authorities.Authority(tmp_path_factory.mktemp("second"), name="Seconde")
    with authorities.serving(made) as served:
        yield served


@pytest.fixture
def dated(gateways, tsa, second):
    for one in (tsa, second):
        one.behaviour, one.asked = "", 0
    roots = (tsa.root, second.root)
    reached = tuple(Authority(one.url, roots, within=2.0) for one in (tsa, second))
    clock = ManualClock(SystemClock().now())
    opened = dataclasses.replace(gateways, authorities=reached, clock=clock)
    make.office(opened)  # the anomaly of a clock that is not that of other tests is behind
    return opened


def later(gateways, **delay):
    gateways.clock.advance(timedelta(**delay or {"minutes": 1}))


def test_a_checkpoint_is_dated_and_its_token_verifies_with_openssl(dated, tsa):
    assert anchors.keep_up(dated)
    row = JournalTimestamp.get()
    note = JournalCheckpoint.get(size=row.size).note
    assert tsa.accepts(bytes(note), bytes(row.der))
    assert (row.number, row.authority, make.operations()[-1]) == (1, "Horodatage", "journal.anchored")
    assert anchors.situation(dated).waiting == 0


def test_anchors_alone_ask_for_no_other_token(dated, tsa):
    assert anchors.keep_up(dated)
    later(dated)
    assert not anchors.keep_up(dated)
    make.office(dated)
    assert anchors.situation(dated).waiting == 1
    assert anchors.keep_up(dated)
    assert tsa.asked == 2


def test_a_busy_minute_asks_for_one_token(dated, tsa):
    assert anchors.keep_up(dated)
    make.office(dated)
    assert not anchors.keep_up(dated)
    assert tsa.asked == 1


def test_a_second_authority_dates_when_the_first_does_not_answer(dated, tsa):
    tsa.behaviour = "down"
    assert anchors.keep_up(dated)
    assert JournalTimestamp.get().authority == "Seconde"


def test_when_nobody_dates_the_journal_goes_on_and_asks_again_less_and_less_often(dated, tsa, second):
    tsa.behaviour, second.behaviour = "down", "garbage"
    for _ in range(12):
        assert not anchors.keep_up(dated)
        later(dated)
    assert 3 <= tsa.asked <= 6
    make.office(dated)
    tsa.behaviour = ""
    later(dated, minutes=15)
    assert anchors.keep_up(dated)


def test_a_token_is_never_changed_nor_deleted(dated):
    anchors.keep_up(dated)
    for change in (JournalTimestamp.update(authority="x"), JournalTimestamp.delete()):
        with pytest.raises(pw.PeeweeException, match="journal_timestamp never changes"), models.write():
            change.execute()


def test_a_clock_that_drifts_is_journaled_once_a_day(dated):
    later(dated, seconds=30)
    for _ in range(2):
        make.office(dated)
        later(dated)
        dated.clock._instant = SystemClock().now() + timedelta(seconds=120)
        with models.write():
            anchors.Fact.delete().where(anchors.Fact.name == anchors.NEXT).execute()
        assert anchors.keep_up(dated)
    assert make.operations().count("incident.recorded") == 1
    assert 115 < anchors.drift() < 125


def test_two_authorities_must_agree_before_our_clock_is_called_wrong(dated, second):
    later(dated, minutes=5)
    second.behaviour = "down"
    anchors.keep_up(dated)
    anchors.check_clock(dated)
    second.behaviour = ""
    later(dated)
    anchors.keep_up(dated)
    with pytest.raises(anchors.ClockWrong):
        anchors.check_clock(dated)
    dated.clock._instant = SystemClock().now()
    anchors.keep_up(dated)
    anchors.check_clock(dated)


def test_a_wrong_clock_is_measured_again_every_minute_until_it_is_right(dated, tsa, second):
    later(dated, minutes=5)
    assert anchors.keep_up(dated)
    for minute in range(2, 5):
        later(dated)
        assert anchors.keep_up(dated)  # though nothing but anchors was written since
        assert (tsa.asked, second.asked) == (minute, minute)
        with pytest.raises(anchors.ClockWrong):
            anchors.check_clock(dated)

    dated.clock._instant = SystemClock().now()
    assert anchors.keep_up(dated)
    assert abs(anchors.drift()) <= anchors.LARGEST_DRIFT
    anchors.check_clock(dated)
    later(dated)
    assert anchors.keep_up(dated)  # the anomaly that the setting right left in the journal
    later(dated)
    assert not anchors.keep_up(dated)
    assert (tsa.asked, second.asked) == (6, 5)


def test_a_measure_that_no_worker_renews_closes_the_service_for_five_minutes_at_most(dated):
    later(dated, minutes=5)
    assert anchors.keep_up(dated)
    later(dated, minutes=4)
    with pytest.raises(anchors.ClockWrong):
        anchors.check_clock(dated)
    later(dated, minutes=2)
    anchors.check_clock(dated)


def test_an_export_carries_tokens_that_the_auditor_s_program_checks(dated, tsa, second, tmp_path):
    anchors.keep_up(dated)
    folder = tmp_path / "export"
    exports.write(dated, folder, by=journal.OPERATOR)
    vkey = anchors.checkpoints.vkey(dated)

    def verify(root):
        command = [sys.executable, "-m", "mespieces.verifier", str(folder), "--vkey", vkey, "--tsa-root", str(root)]
        return subprocess.run(command, check=False, capture_output=True, text=True)

    right, wrong = verify(tsa.pem), verify(second.pem)
    assert (right.returncode, "vérifié, dernière date certaine : 2" in right.stdout) == (0, True), right.stdout
    assert (wrong.returncode, "BAD_TIMESTAMP" in wrong.stdout) == (1, True)
    certificates = folder / "timestamps" / "certificates.pem"
    assert certificates.read_bytes().count(b"BEGIN CERTIFICATE") == 3
    certificates.write_bytes(certificates.read_bytes().replace(b"A", b"B", 1))
    assert verify(tsa.pem).returncode == 1
    certificates.unlink()
    assert verify(tsa.pem).returncode == 0
    next(folder.glob("timestamps/*.tsr")).unlink()
    assert "BAD_TIMESTAMP" in verify(tsa.pem).stdout
