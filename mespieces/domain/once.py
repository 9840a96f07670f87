"""Forms posted twice: what a form makes is named after it, so that its second post finds what the first one made."""

from dataclasses import astuple
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4, uuid5

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

LONGEST_KEY = 64  # characters: the pages draw 32


def identify(within: UUID, key: str, typed: "DataclassInstance") -> UUID:
    """Return the identifier of what a form makes: the same for the same key and the same text, else a random one.

    The text counts too: a page gone back to, and filled in again for somebody else, makes somebody else.
    """
    if not key or len(key) > LONGEST_KEY:
        return uuid4()
    facts: tuple[Any, ...] = astuple(typed)
    return uuid5(within, ascii((key, *facts)))
