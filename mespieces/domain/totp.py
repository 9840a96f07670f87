"""Time-based codes (RFC 6238): pure functions."""

import base64
import hmac
from datetime import datetime

import pyotp

STEP = 30  # seconds


def at(key: bytes, step: int, *, digits: int = 6) -> str:
    """Return the code of a step of time."""
    return pyotp.TOTP(base64.b32encode(key).decode(), digits=digits, interval=STEP).generate_otp(step)


def step_at(now: datetime) -> int:
    """Return the step of time that `now` is in."""
    return int(now.timestamp()) // STEP


def matching_step(key: bytes, typed: str, now: datetime, *, after: int) -> int | None:
    """Return the step whose code was typed: the present one or one around, later than `after`; None for none."""
    present = step_at(now)
    steps = [step for step in (present - 1, present, present + 1) if step > after]
    return next((step for step in steps if hmac.compare_digest(at(key, step).encode(), typed.encode())), None)
