"""The journal read by an office: its own records, found by what they are filed under; each reading is a record itself."""

import re
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import make
import pytest

from mespieces import models
from mespieces.domain import accesses, codes, continuity, journal, readings, records
from mespieces.models import Deposit, JournalPayload, Recipient
from mespieces.verifier import record

NEW = datetime(2026, 12, 1, 10, 0, tzinfo=UTC)
ALL = records.Wanted()


@pytest.fixture
def office(gateways):
    return make.office(gateways)


def wanted(office, today=date(2027, 1, 31), **typed):
    return readings.read(office, typed, today=today)


def told(page):
    return [line.entry.operation for line in page.lines]


def every_page(gateways, office, what):
    lines, below, pages = [], None, 0
    while True:
        page = readings.page(gateways, office, what, below, by=journal.OPERATOR)
        lines += page.lines
        pages += 1
        if page.older is None:
            return lines, pages
        assert below is None or page.older.sequence < below.sequence
        below = page.older


def test_every_operation_is_of_one_kind():
    assert sorted(one for kind in records.KINDS.values() for one in kind) == sorted(record.OPERATIONS)


def test_an_office_reads_its_own_records_and_no_other(gateways, office):
    make.filed(gateways, office)
    other = make.office(gateways, "Étude voisine")
    make.filed(gateways, other, recipients=("Odile Ailleurs",))

    found, _ = every_page(gateways, office, ALL)

    assert {line.entry.operation for line in found} >= {"office.added", "deposit.filed", "recipient.added"}
    assert "Odile" not in str(found)
    assert {"journal.opened"}.isdisjoint(told(records.Page(tuple(found))))


def test_each_reading_is_journaled_with_what_was_wanted_and_nothing_that_was_typed(gateways, office):
    deposit = make.filed(gateways, office)
    what = wanted(office, du="2026-11-20", au="24/11/2026", genre="deposits", depot="nte-4821", destinataire="PAYET")

    page = readings.page(gateways, office, what, None, by=journal.OPERATOR)

    newest = JournalPayload.select().where(JournalPayload.group == "proof").order_by(JournalPayload.sequence.desc())
    assert journal.read_entry(0, record.format_time(NEW), "", newest.get().body).body["detail"] == {
        "from": "2026-11-20", "to": "2026-11-24", "kind": "deposits", "deposits": [str(deposit.id)], "recipients": 1,
    }  # fmt: skip
    assert told(page) == ["recipient.added"]


def test_what_is_wrong_in_a_form_is_said_of_its_field_and_reads_nothing(gateways, office):
    make.filed(gateways, office)
    theirs = make.filed(gateways, make.office(gateways, "Autre"), office_reference="AUTRE-1", recipients=("Odile",))
    reference = accesses.of(make.first(theirs)).reference
    wrong = {
        "du": ({"du": "2026-02-30"}, "hier", {"du": "2027-02-01"}),
        "au": ({"au": "32/12/2026"}, {"du": "2026-11-24", "au": "2026-11-23"}),
        "genre": ({"genre": "tout"},),
        "depot": ({"depot": "AUTRE-1"}, {"depot": "NTE"}, {"depot": "x" * 61}),
        "destinataire": ({"destinataire": "Odile"}, {"destinataire": reference}, {"destinataire": "%"}),
    }
    before = make.operations()
    for field, cases in wrong.items():
        for typed in cases:
            with pytest.raises(readings.Invalid) as refused:
                wanted(office, **(typed if isinstance(typed, dict) else {field: typed}))
            assert refused.value.field == field, typed

    assert make.operations() == before


def test_a_name_that_fits_too_many_people_is_refused(gateways, office):
    names = [f"Alix {number}" for number in range(readings.MOST_RECIPIENTS + 1)]
    make.filed(gateways, office, blanks=1, recipients=names)

    with pytest.raises(readings.TooManyRecipients):
        wanted(office, destinataire="alix")
    assert len(wanted(office, destinataire="alix 50").recipients) == 1


@pytest.mark.parametrize("zone", ["Europe/Paris", "Indian/Reunion", "America/Martinique"])
def test_a_period_is_of_days_where_the_office_is(gateways, zone):
    office = make.office(gateways, time_zone=zone)
    midnight = datetime(2026, 11, 28, tzinfo=ZoneInfo(zone))
    for passed in (timedelta(microseconds=-1), timedelta(0), timedelta(days=1, microseconds=-1), timedelta(days=1)):
        gateways.clock.advance(midnight + passed - gateways.clock.now())
        make.draft(gateways, office, office_reference=f"REF {passed}")

    days = {"du": "2026-11-28", "au": "2026-11-28"}
    page = readings.page(gateways, office, wanted(office, genre="deposits", **days), None, by=journal.OPERATOR)

    assert [line.entry.time - midnight for line in page.lines] == [timedelta(days=1, microseconds=-1), timedelta(0)]


def test_a_period_is_found_though_the_clock_went_back_meanwhile(gateways, office):
    start = gateways.clock.now()
    for days in (0, 10, 20, 3, 4, 30, 2, 40):  # back twice, each time announced
        gateways.clock.advance(start + timedelta(days=days) - gateways.clock.now())
        make.draft(gateways, office)
    assert make.count("clock.anomaly") == 2

    for first, last in ((2, 4), (3, 10), (20, 30), (41, 50), (5, 9), (0, 0)):
        days = {name: (start + timedelta(days=n)).date().isoformat() for name, n in (("du", first), ("au", last))}
        page = readings.page(gateways, office, wanted(office, genre="deposits", **days), None, by=journal.OPERATOR)
        shown = sorted((line.entry.time - start).days for line in page.lines)
        assert shown == sorted(one for one in (0, 10, 20, 3, 4, 30, 2, 40) if first <= one <= last)


def test_pages_follow_each_other_without_gap_or_repeat_while_others_write(gateways, office, monkeypatch):
    monkeypatch.setattr(records, "PAGE", 4)
    for _ in range(5):
        make.draft(gateways, office)
    before = [row.sequence for row in JournalPayload.select().where(JournalPayload.office == office.id)]

    lines, pages = every_page(gateways, office, ALL)  # each page adds a record of its own

    sequences = [line.place.sequence for line in lines]
    assert sequences == sorted(set(sequences), reverse=True)
    assert set(before) < set(sequences)
    assert pages == -(-len(sequences) // 4)


def test_a_rare_kind_is_looked_for_through_so_many_records_at_a_time(gateways, office, monkeypatch):
    monkeypatch.setattr(records, "LOOKED_THROUGH", 6)
    make.member(gateways, office)
    for _ in range(8):
        make.draft(gateways, office)

    first = readings.page(gateways, office, wanted(office, genre="members"), None, by=journal.OPERATOR)
    assert (first.lines, first.older is not None) == ((), True)
    assert first.reached == gateways.clock.now()
    lines, pages = every_page(gateways, office, wanted(office, genre="members"))

    assert told(records.Page(tuple(lines))) == ["member.added", "office.added"]
    assert pages > 1


def test_a_deposit_and_a_recipient_are_found_by_reference_and_by_name(gateways, office):
    deposit = make.filed(gateways, office, office_reference="Réf. Été 12", recipients=("Béatrice Roux", "Ély Payet"))
    make.filed(gateways, office, office_reference="AUTRE", recipients=("Ély Payet",))
    roux, payet = deposit.recipients.order_by(Recipient.name)
    make.identified(gateways, roux)
    reference = accesses.of(roux).reference

    of_deposit, _ = every_page(gateways, office, wanted(office, depot="RÉF. ÉTÉ 12"))
    assert {line.place.sequence for line in of_deposit} == {
        row.sequence for row in JournalPayload.select().where(JournalPayload.deposit == deposit.id)
    }
    for typed in (reference, codes.show(reference).lower(), "roux"):
        of_roux, _ = every_page(gateways, office, wanted(office, destinataire=typed))
        assert told(records.Page(tuple(of_roux)))[-1] == "recipient.added"
        assert "recipient.identified" in told(records.Page(tuple(of_roux)))
        assert str(payet.id) not in str(of_roux)
    assert len(wanted(office, destinataire="ély").recipients) == 2
    assert len(wanted(office, destinataire="ÉLY", depot="autre").recipients) == 1
    with pytest.raises(readings.NoSuchRecipient):
        wanted(office, destinataire="roux", depot="autre")


def test_records_made_while_a_deposit_was_another_office_s_stay_that_office_s(gateways, office):
    deposit = make.filed(gateways, make.office(gateways, "Voisine"))
    Deposit.update(office=office).where(Deposit.id == deposit.id).execute()

    found, _ = every_page(gateways, office, wanted(office, depot=deposit.office_reference))

    assert found == []


def test_what_was_erased_names_nobody_any_more(gateways, office):
    deposit = make.filed(gateways, office)
    JournalPayload.update(salt=None, body=None).where(JournalPayload.deposit == deposit.id).execute()

    by_name, _ = every_page(gateways, office, wanted(office, destinataire="payet"))
    of_deposit, _ = every_page(gateways, office, wanted(office, depot="NTE-4821"))

    assert by_name == []
    assert of_deposit
    assert {str(line.entry.body) for line in of_deposit} == {"{}"}


def test_a_journal_that_continues_another_is_read_with_it(gateways, office, monkeypatch):
    monkeypatch.setattr(records, "PAGE", 5)
    for _ in range(4):
        make.draft(gateways, office)
    old = journal.head().log
    gateways.clock.advance(NEW - gateways.clock.now())
    continuity.reopen(gateways)
    make.draft(gateways, office)

    lines, _ = every_page(gateways, office, ALL)
    logs = [line.place.log for line in lines]

    assert len({line.place for line in lines}) == len(lines)
    assert set(logs[: logs.index(old)]) == {journal.head().log}
    assert set(logs[logs.index(old) :]) == {old}
    days = {"du": "2026-12-01", "au": "2026-12-01"}
    new, _ = every_page(gateways, office, wanted(office, genre="deposits", **days))
    assert [line.place.log for line in new] == [journal.head().log]


def test_one_record_is_read_whole_by_its_office_alone_and_that_is_journaled(gateways, office):
    deposit = make.filed(gateways, office)
    where = records.Place(journal.head().log, deposit.filed_sequence)
    other = make.office(gateways, "Étude voisine")
    before = make.operations()

    for stranger, place in (
        (other, where), (office, records.Place(where.log, 10**6)), (office, records.Place("0" * 32, 1)),
        (office, records.Place(where.log, 0)), (office, records.Place("\x00é", 1)),
    ):  # fmt: skip
        with pytest.raises(readings.RecordMissing):
            readings.one(gateways, stranger, place, by=journal.OPERATOR)
    assert make.operations() == before
    line = readings.one(gateways, office, where, by=journal.OPERATOR)

    assert record.record_hash(line.header).hex() == line.hash
    assert record.commit("proof", *line.proof) in line.header.decode()
    assert make.operations() == [*before, "journal.read"]
    assert readings.deposit_of(office, line) == deposit
    assert readings.deposit_of(other, line) is None


def test_a_place_is_read_as_it_is_written_and_nothing_else_is_one():
    place = records.Place("a" * 32, 12)

    assert records.place(str(place)) == place
    for text in ("", "12", "a.", "a.-1", "a.1.2", "a.٣", "a." + "9" * 16):
        assert records.place(text) is None, text


def test_no_reading_scans_the_journal(gateways, office):
    """Each way of finding records goes through an index, whatever the database thinks of small tables."""
    make.filed(gateways, office)
    whole = records.Place(journal.head().log, 0), records.Place(journal.head().log, 99)
    queries = {"clock.anomaly": records._anomalies(whole[0].log), "office": records._counted(office, *whole, 99)}
    queries |= {
        f"office {day}": records._query(office, wanted(office, du=day, genre="members"), *whole, 51)
        for day in ("", "2026-11-24")
    }
    queries |= {
        f"deposit {name}": records._query(office, wanted(office, depot="NTE-4821", destinataire=name, genre=kind), *whole, 51)
        for name in ("", "payet") for kind in ("", "consultations")
    }  # fmt: skip
    if not models.is_sqlite():
        models.database.execute_sql("SET enable_seqscan = off")
    for what, query in queries.items():
        statement, values = query.sql()
        explain = "EXPLAIN QUERY PLAN " if models.is_sqlite() else "EXPLAIN "
        plan = [str(row[-1]) for row in models.database.execute_sql(explain + statement, values)]
        assert not any("Seq Scan" in step or re.search(r"SCAN t\d$", step) for step in plan), (what, plan)
        if what == "clock.anomaly":
            assert any("journal_record_anomaly" in step for step in plan), plan
        elif models.is_sqlite():  # PostgreSQL chooses by how many rows there are
            through = what.partition(" ")[0]
            assert any(f"INDEX journal_payload_{through} ({through}=?" in step for step in plan), (what, plan)
