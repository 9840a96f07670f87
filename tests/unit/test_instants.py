"""Instants as SQLite keeps them: read as they are written, and no other way."""

from datetime import UTC, datetime

import pytest

from mespieces import errors, models


def test_an_instant_is_read_to_the_microsecond_in_utc():
    assert models._read_instant("2026-11-24T10:00:00.000123Z") == datetime(2026, 11, 24, 10, 0, 0, 123, UTC)
    assert models._read_instant("2026-11-24T10:00:00.000123Z").tzinfo is UTC


@pytest.mark.parametrize(
    "text", ["2026-11-24T10:00:00.000123", "2026-11-24", "20261124T100000.000123Z", "2026-13-24T10:00:00.000123Z", ""]
)
def test_what_is_written_otherwise_is_no_instant(text):
    with pytest.raises(errors.ValueUnreadable):
        models._read_instant(text)
