"""Time-based codes, against another implementation and the numbers of RFC 6238."""

from datetime import UTC, datetime, timedelta

import pyotp
import pytest

from mespieces.domain import totp

KEY = b"12345678901234567890"
NOW = datetime.fromtimestamp(59, UTC)


@pytest.mark.parametrize(("second", "code"), [(59, "94287082"), (1111111109, "07081804"), (20000000000, "65353130")])
def test_a_code_is_the_one_of_the_rfc(second, code):
    assert totp.at(KEY, second // 30, digits=8) == code


def test_the_step_before_and_the_step_after_are_taken_and_no_other():
    for step in range(10):
        around = totp.matching_step(KEY, totp.at(KEY, step), datetime.fromtimestamp(150, UTC), after=0)
        assert around == (step if step in {4, 5, 6} else None)


def test_a_step_serves_once():
    code = pyotp.TOTP("GEZDGNBVGY3TQOJQGEZDGNBVGY3TQOJQ").at(NOW)

    assert totp.matching_step(KEY, code, NOW, after=0) == totp.step_at(NOW) == 1
    assert totp.matching_step(KEY, code, NOW, after=1) is None
    assert totp.matching_step(KEY, code, NOW + timedelta(minutes=2), after=0) is None


def test_what_is_no_code_matches_nothing():
    for typed in ("", "é", "12345", "0" * 7):
        assert totp.matching_step(KEY, typed, NOW, after=-9) is None
