"""Secrets stretched before they are stored: Argon2id, at most four at a time."""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

from mespieces.errors import Invalid

LONGEST_TYPED = 1000  # characters

# OWASP's first recommendation: 19 MiB, two passes, one lane.
_MEMORY_KIB, _PASSES, _LANES = 19 * 1024, 2, 1
_AT_ONCE = 4  # each costs 19 MiB: a burst of strangers must not starve the machine
# What is compared when there is nothing to compare with, so that the same work is done: nobody knows its secret.
_NOBODY = "$argon2id$v=19$m=19456,t=2,p=1$UKdAhQz4vhsspm7UqSjs+Q$Mo29r9lKL6o/xNEeualzJC0KVc6LRqdjrKIhRPeC9EE"


def stretch(secret: str) -> str:
    """Return the PHC string (`$argon2id$…`) to store for `secret`."""
    return _workers().submit(_stretch, secret).result()


def matches(secret: str, stored: str | None) -> bool:
    """Tell whether `secret` is the one behind `stored`; the same work is done when there is nothing to compare with."""
    return _workers().submit(_matches, secret, stored or _NOBODY).result() and stored is not None


def _stretch(secret: str) -> str:
    kdf = Argon2id(salt=os.urandom(16), length=32, iterations=_PASSES, lanes=_LANES, memory_cost=_MEMORY_KIB)
    return kdf.derive_phc_encoded(secret.encode())


def _matches(secret: str, stored: str) -> bool:
    try:
        Argon2id.verify_phc_encoded(secret.encode(), stored)
    except InvalidKey:
        return False
    return True


@cache
def _workers() -> ThreadPoolExecutor:
    """Return the threads that do all the stretching: the C library keeps memory for each thread that ever did it."""
    return ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="argon2")


os.register_at_fork(after_in_child=_workers.cache_clear)  # threads do not survive a fork


class PasswordTooLong(Invalid):
    """More than anybody types: refused rather than cut."""

    field = "password"
    message = (
        "Ce mot de passe est trop long : il compte {count} caractères, pour {longest} au plus. "
        "Vérifiez ce que vous avez collé."
    )


def check_length(password: str) -> None:
    """Let in a password that can be stretched whole. Raises `PasswordTooLong`."""
    if len(password) > LONGEST_TYPED:
        raise PasswordTooLong(count=len(password), longest=LONGEST_TYPED)
