"""Text as people type it, made safe to keep and to show. Pure functions."""

import re
import unicodedata
from datetime import date

from mespieces.errors import Invalid

LONGEST_LINE = 200  # characters

# Controls, line breaks and the marks that turn the reading direction round: never wanted in a name or a title.
_UNWANTED = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u200e\u200f\u061c\u202a-\u202e\u2066-\u2069\ufeff]+")
_UNPRINTABLE = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ufeff]+")
# A dot-atom (RFC 5321) without `%`, which old relays read as a route; beyond ASCII, most servers take no mail (RFC 6531).
_ATOM = r"[A-Za-z0-9!#$&'*+/=?^_`{|}~-]+"
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_EMAIL = re.compile(rf"(?=[^@]{{1,64}}@){_ATOM}(?:\.{_ATOM})*@(?:{_LABEL}\.)+[A-Za-z]{{2,63}}")


class Needed(Invalid):
    """Something that must be filled in is empty."""

    message = "Ce champ est nécessaire."


class TooLong(Invalid):
    """More characters than anybody's name has."""

    message = "Ce texte est trop long : {most} caractères au plus."


class NotAnEmail(Invalid):
    """Not an address a message can be sent to."""

    field = "email"
    message = "Cette adresse électronique ne convient pas : vérifiez-la, par exemple prenom.nom@exemple.fr."


class NotADate(Invalid):
    """Not a day of the calendar, or not one that can be meant."""

    message = "Cette date ne convient pas : on attend un jour entre 1950 et aujourd’hui."


def storable(text: str) -> str:
    """Return `text` in Unicode form NFC, without what no database or journal takes (NUL, lone surrogates)."""
    if text.isascii() and "\x00" not in text:
        return text
    return unicodedata.normalize("NFC", text.encode("utf-8", "ignore").decode().replace("\x00", ""))


def line(typed: str | None, field: str, *, most: int = LONGEST_LINE, needed: bool = True) -> str:
    """Return one line: NFC, single spaces, no control or direction marks. Raises `Needed`, `TooLong`."""
    clean = " ".join(_UNWANTED.sub(" ", storable(typed or "")).split())
    return _checked(clean, field, most, needed)


def lines(typed: str | None, field: str, *, most: int = 600, needed: bool = True) -> str:
    """Return a few lines, as an address has, each cleaned. Raises `Needed`, `TooLong`."""
    text = _UNPRINTABLE.sub(" ", storable(typed or "").replace("\r\n", "\n"))
    return _checked("\n".join(" ".join(part.split()) for part in text.splitlines()).strip(), field, most, needed)


def email(typed: str | None, field: str = "email", *, needed: bool = True) -> str:
    """Return an e-mail address, its domain in lower case. Raises `Needed`, `NotAnEmail`."""
    clean = line(typed, field, most=254, needed=needed)
    if not clean:
        return ""
    if not _EMAIL.fullmatch(clean):
        raise NotAnEmail(field=field)
    local, _, domain = clean.rpartition("@")
    return f"{local}@{domain.lower()}"


def day(typed: str | None, field: str, *, latest: date, needed: bool = True) -> date | None:
    """Return a past day typed as YYYY-MM-DD or DD/MM/YYYY. Raises `Needed`, `NotADate`."""
    clean = line(typed, field, needed=needed, most=20)
    if not clean:
        return None
    if match := re.fullmatch(r"(\d{1,2})[/. -](\d{1,2})[/. -](\d{4})", clean, re.ASCII):
        clean = f"{match[3]}-{match[2]:0>2}-{match[1]:0>2}"
    if not re.fullmatch(r"\d{4}-\d\d-\d\d", clean, re.ASCII):  # Python would read weeks as well
        raise NotADate(field=field)
    try:
        found = date.fromisoformat(clean)
    except ValueError:
        raise NotADate(field=field) from None
    if not date(1950, 1, 1) <= found <= latest:
        raise NotADate(field=field)
    return found


def needed_day(typed: str | None, field: str, *, latest: date) -> date:
    """Return a past day that must be given. Raises `Needed`, `NotADate`."""
    found = day(typed, field, latest=latest)
    if found is None:
        raise Needed(field=field)
    return found


def _checked(clean: str, field: str, most: int, needed: bool) -> str:
    if not clean.strip("\ufffd\n "):  # what stands for bytes that were no text says nothing alone
        clean = ""
    if not clean and needed:
        raise Needed(field=field)
    if len(clean) > most:
        raise TooLong(field=field, most=most)
    return clean
