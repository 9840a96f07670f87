"""Dates and numbers as French writes them. Pure functions."""

from datetime import UTC, date, datetime
from zoneinfo import ZoneInfo

from mespieces.domain import calendar
from mespieces.verifier import plural

_MONTHS = (
    "janvier", "février", "mars", "avril", "mai", "juin",
    "juillet", "août", "septembre", "octobre", "novembre", "décembre",
)  # fmt: skip
_SHORT = ("janv.", "févr.", "mars", "avril", "mai", "juin", "juil.", "août", "sept.", "oct.", "nov.", "déc.")


def day(value: date) -> str:
    """Return « 1er mai 2027 », « 4 novembre 2026 »."""
    number = "1er" if value.day == 1 else str(value.day)
    return f"{number}\u00a0{_MONTHS[value.month - 1]}\u00a0{value.year}"


def clock(value: datetime) -> str:
    """Return « 14 h 02 », Paris time."""
    local = value.astimezone(calendar.PARIS)
    return f"{local.hour}\u00a0h\u00a0{local.minute:02}"


def instant(value: datetime) -> str:
    """Return « 23 novembre 2026 à 14 h 02 (heure de Paris) »."""
    return f"{day(value.astimezone(calendar.PARIS).date())} à {clock(value)} (heure de Paris)"


def instant_short(value: datetime, zone: ZoneInfo = calendar.PARIS) -> str:
    """Return « 23 nov. 2026, 14 h 02 », Paris time unless another zone is given."""
    local = value.astimezone(zone)
    number = "1er" if local.day == 1 else str(local.day)
    return f"{number}\u00a0{_SHORT[local.month - 1]} {local.year}, {local.hour}\u00a0h\u00a0{local.minute:02}"


def last_day(value: datetime) -> str:
    """Return the last whole day before the instant something ends: what ends at midnight was there until the eve."""
    return day(datetime.fromtimestamp(value.timestamp() - 1, UTC).astimezone(calendar.PARIS).date())


def duration(seconds: int) -> str:
    """Return « une minute », « 12 minutes », « 24 heures »: never less than it is."""
    minutes = -(-seconds // 60)
    if minutes > 120:
        return f"{-(-minutes // 60)}\u00a0heures"
    return counted(minutes, "minute") if minutes > 1 else "une minute"


def number(value: int) -> str:
    """Return « 18 412 », with a narrow no-break space."""
    return f"{value:,}".replace(",", "\u202f")


def counted(count: int, one: str, many: str = "") -> str:
    """Return « 0 pièce », « 1 pièce », « 1 200 pièces »: a number, a no-break space, and the words that agree with it."""
    return f"{number(count)}\u00a0{plural.agree(count, one, many)}"


agree = plural.agree
"""The words that agree with a count, for a sentence that says it otherwise."""
