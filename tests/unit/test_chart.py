"""The chart of the journal's activity: one column a day, as high as its operations, nothing drawn of what is not told."""

import re
from datetime import date, timedelta

from hypothesis import given
from hypothesis import strategies as st

from mespieces.domain import activity
from mespieces.views import chart

COUNT = st.none() | st.integers(1, 10**6)


def day(place, deposits=None, consultations=None, refusals=None, others=None):
    counts = {"deposits": deposits, "consultations": consultations, "refusals": refusals, "others": others}
    return activity.Day(date(2026, 11, 1) + timedelta(days=place), counts)


def columns(path):
    """The columns of one kind: left edge, upper edge, height."""
    return [tuple(map(int, found)) for found in re.findall(r"M(\d+) (-?\d+)h8v(\d+)h-8z", path)]


def test_columns_stand_on_each_other_and_the_highest_day_reaches_the_top():
    drawn = chart.draw([day(0, 10, 20, None, 70), day(1), day(2, consultations=50)])

    assert (drawn.top, drawn.width) == (100, 30)
    assert columns(drawn.paths["deposits"]) == [(0, 90, 10)]
    assert columns(drawn.paths["consultations"]) == [(0, 70, 20), (20, 50, 50)]
    assert drawn.paths["refusals"] == ""
    assert columns(drawn.paths["others"]) == [(0, 0, 70)]


def test_nothing_is_drawn_nor_read_of_days_without_anything_told():
    drawn = chart.draw([day(0), day(1)])
    assert (set(drawn.paths.values()), drawn.top, drawn.told) == ({""}, 0, [])


def test_the_days_to_read_begin_with_the_newest():
    drawn = chart.draw([day(0, 12), day(1, 0), day(2, others=13)])
    assert [one.day.day for one in drawn.told] == [3, 1]


@given(st.lists(st.tuples(COUNT, COUNT, COUNT, COUNT), min_size=1, max_size=60))
def test_whatever_is_told_is_seen_inside_the_drawing(counts):
    drawn = chart.draw([day(place, *each) for place, each in enumerate(counts)])
    for kind, path in drawn.paths.items():
        found = columns(path)
        assert len(found) == sum(1 for one in drawn.days if one.counts[kind])
        for left, upper, height in found:
            assert 0 <= left < drawn.width
            assert 0 <= upper < upper + height <= chart.HEIGHT
