"""Time as the law counts it (CPC 641 and 642, art. 5), against the law's examples and another program's holidays."""

from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

import holidays
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mespieces.domain import calendar

DAYS = st.dates(date(2022, 1, 1), date(2060, 12, 31))
TERRITORIES = st.sampled_from(calendar.TERRITORIES)

SUBDIVISIONS = {
    "martinique": "972", "guadeloupe": "971", "guyane": "973", "mayotte": "976",
    "reunion": "974", "saint-martin": "MF", "saint-barthelemy": "BL",
}  # fmt: skip


@pytest.mark.parametrize("year", range(2022, 2046))
def test_holidays_are_those_another_program_knows(year):
    assert calendar.holidays(year) == set(holidays.France(years=year))
    for subdivision in ("57", "6AE"):
        assert calendar.holidays(year, "alsace-moselle") == set(holidays.France(years=year, subdiv=subdivision))
    for territory, subdivision in SUBDIVISIONS.items():
        assert calendar.holidays(year, territory) - set(holidays.France(years=year, subdiv=subdivision)) == set()


def test_an_invented_territory_is_refused():
    with pytest.raises(ValueError, match="bretagne"):
        calendar.holidays(2026, "bretagne")


def test_eighteen_months_end_on_the_same_day_number_or_the_months_last():
    assert calendar.add_months(date(2026, 8, 31), 18) == date(2028, 2, 29)
    assert calendar.last_day(date(2026, 8, 31), []) == date(2028, 2, 29)
    assert calendar.last_day(date(2026, 11, 29), []).weekday() == 0
    assert calendar.last_day(date(2026, 11, 27), []) == date(2028, 5, 27)  # a Saturday: storage does not roll over


@pytest.mark.parametrize(
    ("served", "territory", "last"),
    [
        ("2027-01-29", "", "2027-03-01"),
        ("2026-11-25", "", "2026-12-28"),
        ("2027-04-01", "", "2027-05-03"),
        ("2027-02-26", "", "2027-03-26"),
        ("2027-02-26", "alsace-moselle", "2027-03-30"),
        ("2026-11-20", "reunion", "2026-12-21"),
    ],
)
def test_the_month_after_a_signification_rolls_over_to_a_working_day(served, territory, last):
    assert calendar.month_after_signification(date.fromisoformat(served), territory) == date.fromisoformat(last)


@given(DAYS, TERRITORIES)
def test_the_month_ends_on_a_working_day_never_early_and_at_most_a_few_days_late(day, territory):
    plain, last = calendar.add_months(day, 1), calendar.month_after_signification(day, territory)

    assert last.weekday() < 5
    assert last not in calendar.holidays(last.year, territory)
    assert timedelta() <= last - plain <= timedelta(days=5)


@given(DAYS, st.lists(DAYS, max_size=4), TERRITORIES)
def test_availability_covers_all_that_the_law_asks(filed, significations, territory):
    last = calendar.last_day(filed, significations, territory)
    asked = [calendar.add_months(filed, 18)]
    asked += [calendar.month_after_signification(day, territory) for day in significations]

    assert last == max(asked)


def test_a_day_ends_at_midnight_in_the_later_of_the_offices_zone_and_paris():
    day = date(2028, 5, 24)
    assert calendar.end_of(day, calendar.PARIS) == datetime(2028, 5, 24, 22, tzinfo=UTC)
    assert calendar.end_of(day, ZoneInfo("America/Martinique")) == datetime(2028, 5, 25, 4, tzinfo=UTC)
    assert calendar.end_of(day, ZoneInfo("Indian/Reunion")) == datetime(2028, 5, 24, 22, tzinfo=UTC)
    assert calendar.end_of(date(2026, 12, 1), calendar.PARIS) == datetime(2026, 12, 1, 23, tzinfo=UTC)


def test_the_day_of_filing_is_the_later_of_the_two():
    evening = datetime(2026, 11, 24, 21, tzinfo=UTC)  # already the 25th in La Réunion, still the 24th in Paris
    assert calendar.end_of_availability(evening, [], zone=ZoneInfo("Indian/Reunion")) == datetime(
        2028, 5, 25, 22, tzinfo=UTC
    )
    assert calendar.end_of_availability(evening, []) == datetime(2028, 5, 24, 22, tzinfo=UTC)


def test_an_order_lapses_after_three_months_or_six_before_the_decree():
    assert calendar.lapse_of_order(date(2026, 8, 31)) == date(2027, 2, 28)
    assert calendar.lapse_of_order(date(2026, 9, 1)) == date(2026, 12, 1)
