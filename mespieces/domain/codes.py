"""The reference and the secret printed on the act: drawn, checked, read back as people type them. Pure functions.

Crockford's base32 alphabet, a Luhn mod 32 check character: a typing error is told before anything is spent.
"""

import re
import secrets
import unicodedata
from itertools import groupby

from mespieces.errors import Invalid

ALPHABET = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"
REFERENCE_LENGTH = 8
SECRET_LENGTH = 20  # 19 random characters: 95 bits
RECOVERY_LENGTH = 12  # 11 random characters: 55 bits

_VALUE = {character: value for value, character in enumerate(ALPHABET)}
_READ_AS = str.maketrans({"O": "0", "I": "1", "L": "1"})
_POINTS = frozenset("_.·•⁃⁓⁻₋−")  # what stands for a dash and is none to Unicode
_TOO_MANY = 4  # characters typed twice
_BETWEEN = r"[\s.\-\u2010-\u2015\u00b7]?"
_BOUNDARIES = re.compile(r"[:;,=|/()\[\]«»“”\"\t\r\n]")


class ReferenceMistyped(Invalid):
    """The reference's check character does not fit: a typing error, nothing was looked up."""

    field = "reference"
    message = "Cette référence ne peut pas être juste : vérifiez les huit caractères, par exemple W08N-0B87."


class SecretMistyped(Invalid):
    """The secret's check character does not fit: a typing error, nothing was spent."""

    field = "secret"
    message = "Il y a une faute de frappe dans le code d’accès : vérifiez les quatre groupes de cinq caractères."


class RecoveryMistyped(Invalid):
    """The recovery code's check character does not fit: a typing error, nothing was spent."""

    field = "recovery"
    message = "Il y a une faute de frappe dans ce code de secours : vérifiez les trois groupes de quatre caractères."


class CodeIncomplete(Invalid):
    """Not as many digits as the code has: nothing was compared, nothing is counted."""

    field = "code"
    message = "Le code comporte {digits} chiffres : recopiez-le en entier."


def check_character(payload: str) -> str:
    """Return the Luhn mod 32 check character of `payload`, its rightmost character doubled."""
    total = 0
    for position, character in enumerate(reversed(payload)):
        value = _VALUE[character] * (2 if position % 2 == 0 else 1)
        total += value // 32 + value % 32
    return ALPHABET[-total % 32]


def draw_reference() -> str:
    """Return a fresh reference of 8 characters, never serial."""
    return _draw(REFERENCE_LENGTH)


def draw_secret() -> str:
    """Return a fresh secret of 20 characters, 95 bits from the system's generator."""
    return _draw(SECRET_LENGTH)


def draw_recovery() -> str:
    """Return a fresh recovery code of 12 characters, 55 bits from the system's generator."""
    return _draw(RECOVERY_LENGTH)


def read_reference(typed: str) -> str:
    """Return the 8 characters meant by `typed`. Raises `ReferenceMistyped`."""
    meant = _find(typed, REFERENCE_LENGTH)
    if meant is None:
        raise ReferenceMistyped
    return meant


def read_secret(typed: str) -> str:
    """Return the 20 characters meant by `typed`. Raises `SecretMistyped`."""
    meant = _find(typed, SECRET_LENGTH)
    if meant is None:
        raise SecretMistyped
    return meant


def read_pair(reference: str, secret: str) -> tuple[str, str]:
    """Return the reference and the secret, each from its own field or else from the other: people paste both in one.

    Raises `ReferenceMistyped`, `SecretMistyped`.
    """
    found = _find(reference, REFERENCE_LENGTH) or _find(secret, REFERENCE_LENGTH)
    if found is None:
        raise ReferenceMistyped
    return found, _find(secret, SECRET_LENGTH) or read_secret(reference)


def read_recovery(typed: str) -> str:
    """Return the 12 characters meant by `typed`. Raises `RecoveryMistyped`."""
    meant = _find(typed, RECOVERY_LENGTH)
    if meant is None:
        raise RecoveryMistyped
    return meant


def read_digits(typed: str, digits: int) -> str:
    """Return the one-time code of `digits` digits that `typed` is, or the only one in it. Raises `CodeIncomplete`.

    Groups and digits of any script are read (« 1234 5678, valable 10 minutes »); nothing is cut out of a longer number.
    """
    plain = "".join(str(unicodedata.decimal(character, character)) for character in typed)
    visible = "".join(character for character in plain if unicodedata.category(character) != "Cf")
    numbers = {re.sub(r"[^0-9]", "", found) for found in re.findall(rf"[0-9](?:{_BETWEEN}[0-9])*", visible)}
    found = [number for number in numbers if len(number) == digits]
    if len(found) != 1:
        raise CodeIncomplete(digits=digits)
    return found[0]


def show(code: str | None) -> str:
    """Return `code` in the groups it is printed in: 4-4 for a reference, 4-4-4 to recover, 5-5-5-5 for a secret.

    A reference that was forgotten is said to be.
    """
    if code is None:
        return "effacée"
    size = 5 if len(code) == SECRET_LENGTH else 4
    return "-".join(code[start : start + size] for start in range(0, len(code), size))


def mistyped(typed: str) -> str:
    """Return a secret with a typing error in its groups, so that one character of it is corrected and not twenty typed.

    Nothing is returned of what holds a well-formed secret, wherever it begins, nor of what is no such code at all.
    """
    bare = _normalise(typed)
    if len(bare) > SECRET_LENGTH + _TOO_MANY or not (bare.isascii() and bare.isalnum()):
        return ""
    inside = range(len(bare) - SECRET_LENGTH + 1)
    if any(_well_formed(bare[start : start + SECRET_LENGTH], SECRET_LENGTH) for start in inside):
        return ""
    return "-".join(bare[start : start + 5] for start in range(0, len(bare), 5))


def _draw(length: int) -> str:
    payload = "".join(secrets.choice(ALPHABET) for _ in range(length - 1))
    return payload + check_character(payload)


def _find(typed: str, length: int) -> str | None:
    """Return the code that `typed` is, or the only one in it (« Code : V5JWY-… »), None when there is none or several.

    What is looked at stands between colons and their like, between spaces, or is a run of groups of one size: nothing
    is cut out of a code too long. `typing.js` reads alike.
    """
    parts = _BOUNDARIES.split(typed)
    words = [word for part in parts for word in part.split()]
    runs = ["".join(run) for part in parts for _, run in groupby(part.split(), key=lambda word: len(_normalise(word)))]
    for candidates in ([typed], [*parts, *words, *runs]):
        found = {meant for meant in map(_normalise, candidates) if _well_formed(meant, length)}
        if len(found) == 1:
            return found.pop()
    return None


def _normalise(typed: str) -> str:
    return "".join(character for character in typed if not _separates(character)).upper().translate(_READ_AS)


def _separates(character: str) -> bool:
    """Tell spaces, dashes of all kinds and marks that nobody sees: what a keyboard or a clipboard puts between groups."""
    return character.isspace() or character in _POINTS or unicodedata.category(character) in {"Pd", "Cf"}


def _well_formed(code: str, length: int) -> bool:
    return len(code) == length and all(c in _VALUE for c in code) and check_character(code[:-1]) == code[-1]
