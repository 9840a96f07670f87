"""Secrets stretched before they are stored: Argon2id, at most four at a time."""

import os
import threading

from cryptography.exceptions import InvalidKey
from cryptography.hazmat.primitives.kdf.argon2 import Argon2id

# OWASP's first recommendation: 19 MiB, two passes, one lane.
_MEMORY_KIB, _PASSES, _LANES = 19 * 1024, 2, 1
_SLOTS = threading.BoundedSemaphore(4)  # each costs 19 MiB: a burst of strangers must not starve the machine


def stretch(secret: str) -> str:
    """Return the PHC string (`$argon2id$…`) to store for `secret`."""
    with _SLOTS:
        kdf = Argon2id(salt=os.urandom(16), length=32, iterations=_PASSES, lanes=_LANES, memory_cost=_MEMORY_KIB)
        return kdf.derive_phc_encoded(secret.encode())


def matches(secret: str, stored: str | None) -> bool:
    """Tell whether `secret` is the one behind `stored`; the same work is done when there is nothing to compare with."""
    with _SLOTS:
        try:
            Argon2id.verify_phc_encoded(secret.encode(), stored or _NOBODY)
        except InvalidKey:
            return False
    return stored is not None


_NOBODY = stretch(os.urandom(16).hex())
