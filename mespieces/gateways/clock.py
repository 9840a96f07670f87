"""Time, read in one place so that the rest can be tried at any date."""

from datetime import UTC, datetime, timedelta
from typing import Protocol


class Clock(Protocol):
    """Tells the present instant."""

    def now(self) -> datetime:
        """Return the present instant, aware, in UTC."""


class SystemClock:
    """The machine's clock."""

    def now(self) -> datetime:
        """Return the machine's instant."""
        return datetime.now(UTC)


class ManualClock:
    """A clock that moves only when told to: for trying the product at other dates."""

    def __init__(self, instant: datetime) -> None:
        self._instant = instant

    def now(self) -> datetime:
        """Return the instant last set."""
        return self._instant

    def advance(self, delay: timedelta) -> None:
        """Move forward (or back, when negative) by `delay`."""
        self._instant += delay
