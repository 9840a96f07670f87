"""Long lists shown page by page, so that a deposit of 300 recipients still opens on a telephone."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flask import request

LAST = 1_000_000
"""Asking for a page beyond the last gives the last."""


@dataclass(frozen=True, slots=True)
class Paged:
    """One page of a list; `before` is how many rows come ahead of it."""

    rows: Sequence[Any]
    name: str
    page: int
    last: int
    total: int
    before: int


def cut(rows: Sequence[Any], size: int, name: str = "page") -> Paged:
    """Return the page of `rows` that the address asks for under `name`."""
    last = max(1, -(-len(rows) // size))
    page = min(max(1, request.args.get(name, 1, type=int)), last)
    before = (page - 1) * size
    return Paged(rows[before : before + size], name, page, last, len(rows), before)


def asked(name: str = "page") -> dict[str, int]:
    """Return what keeps the caller on the page of a list they acted from; nothing for its first page."""
    page = min(request.args.get(name, 1, type=int), LAST)
    return {name: page} if page > 1 else {}
