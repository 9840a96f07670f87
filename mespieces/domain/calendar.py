"""Time as the law counts it: delays in months, public holidays, the end of availability. Pure functions of dates.

Sources: articles 641 and 642 of the code de procédure civile, article 5 of the arrêté of 24 February 2022,
article L3133-1 of the code du travail and the holidays proper to Alsace-Moselle and overseas.
"""

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo

from dateutil.easter import easter
from dateutil.relativedelta import relativedelta

PARIS = ZoneInfo("Europe/Paris")
AVAILABILITY = 18  # months from filing (art. 5)
AFTER_SIGNIFICATION = 1  # month at least (art. 5)
NEW_LAPSE_FROM = date(2026, 9, 1)  # décret 2026-96: three months instead of six

_NATIONAL = ((1, 1), (5, 1), (5, 8), (7, 14), (8, 15), (11, 1), (11, 11), (12, 25))
_OVERSEAS = {
    "martinique": (5, 22), "guadeloupe": (5, 27), "guyane": (6, 10), "mayotte": (4, 27),
    "reunion": (12, 20), "saint-martin": (5, 28), "saint-barthelemy": (10, 9),
}  # fmt: skip
TERRITORIES = ("", "alsace-moselle", *_OVERSEAS)
"""Where an office stands, as far as its holidays differ; empty for the rest of the country."""


@lru_cache(maxsize=512)
def holidays(year: int, territory: str = "") -> frozenset[date]:
    """Return the public holidays of `year` in `territory`, one of `TERRITORIES`."""
    sunday = easter(year)
    days = {date(year, month, day) for month, day in _NATIONAL}
    days |= {sunday + timedelta(days=shift) for shift in (1, 39, 50)}
    if territory == "alsace-moselle":
        days |= {sunday - timedelta(days=2), date(year, 12, 26)}
    elif territory in _OVERSEAS:
        days.add(date(year, *_OVERSEAS[territory]))
    elif territory:
        raise ValueError(territory)
    return frozenset(days)


def add_months(start: date, months: int) -> date:
    """Return the same day-number `months` later, or the last day of that month when it has none (CPC 641)."""
    return start + relativedelta(months=months)


def next_working_day(day: date, territory: str = "") -> date:
    """Return `day`, or the first day after it that is no Saturday, Sunday or public holiday (CPC 642)."""
    while day.weekday() >= 5 or day in holidays(day.year, territory):
        day += timedelta(days=1)
    return day


def month_after_signification(signified_on: date, territory: str = "") -> date:
    """Return the last day of the month that follows a signification, rolled over as CPC 641 and 642 say.

    The most generous reading counts: national holidays and the territory's.
    """
    return next_working_day(add_months(signified_on, AFTER_SIGNIFICATION), territory)


def last_day(filed_on: date, significations: Iterable[date], territory: str = "") -> date:
    """Return the last day of availability: 18 months from filing, or later when a signification asks it (art. 5)."""
    needed = (month_after_signification(day, territory) for day in significations)
    return max(add_months(filed_on, AVAILABILITY), *needed, date.min)


def end_of(day: date, zone: ZoneInfo) -> datetime:
    """Return the instant `day` ends (24:00) in the later of `zone` and Paris, in UTC."""
    midnight = datetime.combine(day + timedelta(days=1), time.min)
    return max(midnight.replace(tzinfo=tz).astimezone(UTC) for tz in (zone, PARIS))


def end_of_availability(
    filed_at: datetime, significations: Iterable[date], *, zone: ZoneInfo = PARIS, territory: str = ""
) -> datetime:
    """Return the instant from which access is refused (art. 5).

    The filing's date is read in the office's own zone, or Paris' when that is later.
    """
    filed_on = max(filed_at.astimezone(zone).date(), filed_at.astimezone(PARIS).date())
    return end_of(last_day(filed_on, significations, territory), zone)


def lapse_of_order(order_date: date) -> date:
    """Return the day by which an order must be served or is *non avenue* (CPC 1411, décret 2026-96)."""
    return add_months(order_date, 3 if order_date >= NEW_LAPSE_FROM else 6)
