"""What counts together, and how long one waits: the pure side of the counters."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mespieces.domain import throttle


@pytest.mark.parametrize(
    ("address", "network"),
    [
        ("198.51.100.7", "198.51.100.0/24"),
        ("::ffff:198.51.100.7", "198.51.100.0/24"),
        ("2001:db8:1:2ff::1", "2001:db8:1:200::/56"),
        ("", "unknown"),
        ("unix:", "unknown"),
        ("198.51.100.7, 10.0.0.1", "unknown"),
    ],
)
def test_an_address_counts_for_its_network(address, network):
    assert throttle.network(address) == network


def test_the_delay_grows_from_the_fourth_failure_to_a_quarter_of_an_hour():
    waits = [throttle.growing(failures).total_seconds() for failures in range(16)]

    assert waits[:7] == [0, 0, 0, 0, 2, 4, 8]
    assert waits[-1] == 900
    assert throttle.growing(10**9) == timedelta(minutes=15)


@given(st.integers(0, 200))
def test_one_more_failure_never_waits_less(failures):
    assert throttle.growing(failures) <= throttle.growing(failures + 1) <= throttle.LONGEST_DELAY


def test_a_counters_name_does_not_hold_what_was_typed():
    name = throttle.key("secret", "W08N0B87", "198.51.100.0/24")

    assert name.startswith("secret:")
    assert "W08N" not in name
    assert name != throttle.key("secret", "W08N0B88", "198.51.100.0/24")
    assert throttle.key("secret", "a", "b") != throttle.key("secret", "ab", "")
