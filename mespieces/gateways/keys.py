"""Key files: random bytes outside the database, one base64 line per key, readable by their owner alone."""

import base64
import binascii
import hashlib
import os
import secrets
from pathlib import Path

from mespieces.errors import Refused, Unavailable
from mespieces.gateways import disk

SHORTEST = 32
"""A key under 256 bits was not made by this product."""


class KeyExists(Refused):
    """A key file is never overwritten: what it protects would be lost."""

    message = (
        "Le fichier de clé {path} existe déjà : il n’est jamais remplacé. Déplacez-le d’abord s’il ne sert plus à rien."
    )


class KeyUnwritable(Unavailable):
    """The key file could not be written; nothing was left behind."""

    message = "Le fichier de clé {path} ne peut pas être écrit ({reason}). Vérifiez que son dossier existe et vous appartient."


class KeyMissing(Unavailable):
    """No key file there."""

    message = (
        "Le fichier de clé {path} manque. Restaurez-le depuis votre sauvegarde, ou créez-en un avec « mespieces init »."
    )


class KeyUnreadable(Unavailable):
    """The system refuses to read the key file."""

    message = "Le fichier de clé {path} ne peut pas être lu ({reason}). Rendez-le au compte du service avec « chown »."


class KeyExposed(Unavailable):
    """Somebody other than the owner may read the key file."""

    message = "Le fichier de clé {path} est ouvert à d’autres comptes ({mode}). Fermez-le avec « chmod 600 {path} »."


class KeyMalformed(Unavailable):
    """The key file does not hold one base64 key per line."""

    message = (
        "Le fichier de clé {path} est illisible : il doit contenir une clé d’au moins 32 octets en base64 par ligne. "
        "Restaurez-le depuis votre sauvegarde."
    )


def create(path: Path, length: int = SHORTEST) -> None:
    """Write a fresh random key, never over another. Raises `KeyExists`, `KeyUnwritable`."""
    try:
        disk.write_new(path, _fresh(length))
    except FileExistsError as error:
        raise KeyExists(path=path) from error
    except OSError as error:
        raise KeyUnwritable(path=path, reason=disk.reason(error)) from error


def rotate(path: Path, length: int = SHORTEST) -> None:
    """Put a fresh key before the ones the file holds, all of them or nothing. Raises as `read_all`, `KeyUnwritable`."""
    lines = b"".join([_fresh(length), *map(_line, read_all(path))])
    try:
        disk.write(path, lines)
    except OSError as error:
        raise KeyUnwritable(path=path, reason=disk.reason(error)) from error


def read(path: Path) -> bytes:
    """Return the current key: the first line. Raises as `read_all`."""
    return read_all(path)[0]


def read_all(path: Path) -> tuple[bytes, ...]:
    """Return the current key, then the former ones.

    Raises `KeyMissing`, `KeyUnreadable`, `KeyExposed`, `KeyMalformed`.
    """
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            lines = file.read().splitlines()
    except FileNotFoundError as error:
        raise KeyMissing(path=path) from error
    except OSError as error:
        raise KeyUnreadable(path=path, reason=disk.reason(error)) from error
    if mode & 0o077:
        raise KeyExposed(path=path, mode=f"{mode & 0o777:03o}")
    try:
        keys = tuple(base64.b64decode(line, validate=True) for line in lines)
    except binascii.Error as error:
        raise KeyMalformed(path=path) from error
    if not keys or min(map(len, keys)) < SHORTEST:
        raise KeyMalformed(path=path)
    return keys


def key_id(key: bytes) -> str:
    """Return a key's public name: 16 hexadecimal digits that tell nothing of the key."""
    return hashlib.sha256(b"mespieces/key-id/v1\n" + key).digest()[:8].hex()


def _fresh(length: int) -> bytes:
    if length < SHORTEST:
        raise ValueError(f"a key has at least {SHORTEST} bytes")
    return _line(secrets.token_bytes(length))


def _line(key: bytes) -> bytes:
    return base64.b64encode(key) + b"\n"
