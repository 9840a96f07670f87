"""Certain dates: the journal is dated by third parties, and reading never waits for them."""

import dataclasses
import hashlib
import subprocess
import sys
from dataclasses import dataclass
from datetime import timedelta

import authority as authorities
import make
import peewee as pw
import pytest
from backups import unguard

from mespieces import models
from mespieces.domain import anchors, continuity, exports, journal, tokens, verifications
from mespieces.gateways.clock import ManualClock, SystemClock
from mespieces.gateways.timestamps import Authority
from mespieces.models import JournalCheckpoint, JournalTimestamp
from mespieces.verifier import audit, export, note, record


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
        one.behaviour, one.asked, one.clock = "", 0, []
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


def test_an_authority_whose_clock_is_wrong_dates_nothing_while_another_s_is_right(dated, tsa, second, faketime):
    tsa.clock = [faketime, "-f", "-150s"]
    for _ in range(2):
        make.office(dated)
        assert anchors.keep_up(dated)
        later(dated)
        dated.clock._instant = SystemClock().now()
        with models.write():
            anchors.Fact.delete().where(anchors.Fact.name == anchors.NEXT).execute()

    assert {one.authority for one in JournalTimestamp.select()} == {"Seconde"}
    assert (tsa.asked, second.asked) == (2, 2)
    found = anchors.situation(dated)
    assert (found.measured_by, 145 < found.drift < 155) == ("Horodatage", True)
    assert "incident.recorded" not in make.operations(), "the token that is kept agrees with our clock"
    anchors.check_clock(dated)


def test_without_another_the_one_authority_dates_even_if_its_clock_is_not_ours(dated, tsa, second, faketime):
    tsa.clock, second.behaviour = [faketime, "-f", "-150s"], "down"

    assert anchors.keep_up(dated)

    assert JournalTimestamp.get().authority == "Horodatage"


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
    assert 115 < anchors.situation(dated).drift < 125


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


@dataclass(frozen=True, slots=True)
class Late(Authority):
    """An authority reached over a line on which our own clock seems to be five minutes behind what it says."""

    def stamp(self, data, clock):
        found = Authority.stamp(self, data, clock)
        behind = timedelta(minutes=5)
        return dataclasses.replace(found, asked_at=found.asked_at - behind, answered_at=found.answered_at - behind)


def measured(dated, *reached):
    """Have these authorities measure a clock that is five minutes ahead."""
    opened = dataclasses.replace(dated, authorities=reached)
    later(opened, minutes=5)
    for _ in range(2):  # the first that says so has all of them asked
        anchors.keep_up(opened)
        later(opened)
        later(opened, minutes=-1)
        with models.write():
            anchors.Fact.delete().where(anchors.Fact.name == anchors.NEXT).execute()
    return opened


def test_two_authorities_of_one_name_are_two_sources(dated, tsa, tmp_path):
    with authorities.serving(authorities.Authority(tmp_path / "namesake", name="Horodatage")) as namesake:
        reached = [Authority(one.url, (tsa.root, namesake.root), within=2.0) for one in (tsa, namesake)]
        with pytest.raises(anchors.ClockWrong):
            anchors.check_clock(measured(dated, *reached))


def test_one_authority_that_signs_under_two_names_is_one_source(dated, tsa, second, tmp_path):
    with authorities.serving(authorities.Authority(tmp_path / "unit", name="Unité 2", under=tsa)) as unit:
        reached = [Authority(one.url, (second.root, tsa.root), within=2.0) for one in (tsa, unit)]
        opened = measured(dated, *reached)
        assert unit.asked == 2
        anchors.check_clock(opened)

        third = Authority(second.url, (second.root,), within=2.0)
        with pytest.raises(anchors.ClockWrong):
            anchors.check_clock(measured(opened, *reached, third))


def test_of_two_units_of_one_authority_that_disagree_the_one_that_accuses_our_clock_least_counts(dated, tsa, second):
    right, other = (Authority(one.url, (one.root,), within=2.0) for one in (tsa, second))

    opened = measured(dated, other, Late(tsa.url, (tsa.root,), within=2.0), right)
    assert second.asked == tsa.asked - 1 == 2
    anchors.check_clock(opened)

    with pytest.raises(anchors.ClockWrong):
        anchors.check_clock(measured(dated, other, right, right))


# What stands beside a token


def replaced(**values):
    """Return what changes the row of the newest token, as whoever holds the database does."""

    def change(_dated, _second):
        unguard("journal_timestamp")
        JournalTimestamp.update(**values).execute()

    return change


def by_another(dated, second):
    """Put the true token of another authority over the same checkpoint in its place, its columns with it."""
    row = JournalTimestamp.get()
    signed = bytes(JournalCheckpoint.get(size=row.size).note)
    stamp = Authority(second.url, (second.root,), within=2.0).stamp(signed, dated.clock)
    replaced(der=stamp.der, authority=stamp.stated.authority, time=stamp.stated.time)(dated, second)


def over_something_else(dated, second):
    """Put a true token of the same authority in its place, which dates other bytes."""
    [reached, _] = dated.authorities
    replaced(der=reached.stamp(b"something else", dated.clock).der)(dated, second)


def added(_dated, _second):
    """Add the same token once more: no record says that it was had."""
    row = JournalTimestamp.get()
    JournalTimestamp.create(**(row.__data__ | {"number": 2}))


def taken_away(_dated, _second):
    unguard("journal_timestamp")
    JournalTimestamp.delete().execute()


@pytest.mark.parametrize(
    "change",
    [
        replaced(time=make.NOW), replaced(authority="Autorité connue"), replaced(qualified=1), replaced(der=b"garbage"),
        by_another, over_something_else, added, taken_away,
    ],
    ids=["time", "authority", "qualified", "garbage", "by another", "over something else", "added", "taken away"],
)  # fmt: skip
def test_a_token_that_is_not_what_is_shown_beside_it_is_named(dated, second, change):
    assert anchors.keep_up(dated)
    assert verifications.verify(dated).findings == ()
    with models.write():
        change(dated, second)

    found = verifications.verify(dated)

    size = JournalCheckpoint.get().size
    assert set(found.findings) == {f"{size - 1} BAD_TIMESTAMP"}


def test_a_second_record_about_one_token_is_named_as_the_auditor_s_program_names_it(dated, tsa, second, tmp_path):
    """Whoever appends as the service does would have a token that came later dated by the journal itself."""
    assert anchors.keep_up(dated)
    row = JournalTimestamp.get()
    signed, der = bytes(JournalCheckpoint.get(size=row.size).note), bytes(row.der)
    detail = {
        "size": row.size,
        "number": 1,
        "root": "",
        "authority": row.authority,
        "time": record.format_time(row.time),
    }
    for digest, faults in ((hashlib.sha256(der).hexdigest(), False), ("0" * 64, True)):
        with models.write():
            journal.append(dated, anchors.ANCHORED, detail={**detail, "sha256": digest})
        again = journal.head().size - 1
        assert verifications.verify(dated).findings == ((f"{again} BAD_TIMESTAMP",) if faults else ())

    exports.write(dated, tmp_path / "export", by=journal.OPERATOR)
    with export.source(tmp_path / "export") as where:
        trust = audit.Trust(keys=[note.parse_vkey(anchors.checkpoints.vkey(dated))], roots=[tsa.root])
        found = audit.verify(where, trust).findings
    assert [(one.code, one.sequence) for one in found] == [("BAD_TIMESTAMP", again)]
    assert tokens.believed(row.log, row.size, signed, der, 1)
    stamp = dated.authorities[1].stamp(signed, dated.clock)
    with models.write():
        digest = hashlib.sha256(stamp.der).hexdigest()
        journal.append(dated, anchors.ANCHORED, detail={**detail, "sha256": digest})
    assert tokens.believed(row.log, row.size, signed, stamp.der) is None


def test_many_tokens_over_many_checkpoints_and_one_checkpoint_are_as_they_are_said(dated, tsa):
    for _ in range(3):
        make.office(dated)
        assert anchors.keep_up(dated)
        later(dated)
    stamp = dated.authorities[0].stamp(bytes(JournalCheckpoint.get().note), dated.clock)
    anchors._keep(dated, bytes(JournalCheckpoint.get().note), stamp)

    assert JournalTimestamp.select().where(JournalTimestamp.number == 2).count() == 1
    assert verifications.verify(dated).findings == ()


def test_a_token_that_comes_after_its_journal_was_closed_is_not_kept(dated):
    signed = anchors.checkpoints.publish(dated)
    stamp = dated.authorities[0].stamp(signed, dated.clock)
    continuity.reopen(dated)

    anchors._keep(dated, signed, stamp)

    assert JournalTimestamp.select().count() == 0
    assert "journal.anchored" not in make.operations()
    assert verifications.verify(dated).findings == ()


def test_a_wrong_clock_is_measured_again_every_minute_until_it_is_right(dated, tsa, second):
    later(dated, minutes=5)
    assert anchors.keep_up(dated)
    for minute in range(2, 6):
        later(dated)
        assert anchors.keep_up(dated)  # though nothing but anchors was written since
        assert JournalTimestamp.select().count() == 2, "one over the first records, one over what tells of the drift"
        assert (tsa.asked, second.asked) == (minute, minute)
        with pytest.raises(anchors.ClockWrong):
            anchors.check_clock(dated)

    dated.clock._instant = SystemClock().now()
    assert anchors.keep_up(dated)
    assert abs(anchors.situation(dated).drift) <= anchors.LARGEST_DRIFT
    anchors.check_clock(dated)
    later(dated)
    assert not anchors.keep_up(dated)
    assert (tsa.asked, second.asked) == (6, 6)


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
    assert (wrong.returncode, "BAD_TIMESTAMP" in wrong.stdout) == (2, False)
    assert "aucune des racines données (--tsa-root) n’est celle de leur autorité" in wrong.stdout
    certificates = folder / "timestamps" / "certificates.pem"
    assert certificates.read_bytes().count(b"BEGIN CERTIFICATE") == 3
    certificates.write_bytes(certificates.read_bytes().replace(b"A", b"B", 1))
    assert verify(tsa.pem).returncode == 1
    certificates.unlink()
    assert verify(tsa.pem).returncode == 0
    next(folder.glob("timestamps/*.tsr")).unlink()
    assert "BAD_TIMESTAMP" in verify(tsa.pem).stdout
