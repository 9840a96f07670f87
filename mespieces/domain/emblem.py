"""The emblem of a head: a small drawing that two people tell apart at a glance when one bit differs. Pure functions.

The head is hashed once more, so that each of its bits decides every cell; what stands left stands right too, for eyes
compare what is symmetric faster. An emblem helps the eye and proves nothing: the head itself does.
"""

import hashlib

WIDTH = 11
"""Rows, and columns: those right of the middle mirror those left of it."""
DRAWN = WIDTH // 2 + 1
"""Columns that are drawn freely."""
_DOMAIN = b"mespieces/emblem/v1\n"

# What stands in a cell, drawn from its upper left corner; told apart by form, never by colour.
_SHAPES = (
    "",
    "M{x} {y}h1v1h-1z",
    "M{x}.1 {y}.5a.4.4 0 1 1 .8 0a.4.4 0 1 1-.8 0z",
    "M{x}.5 {y}l.5.5-.5.5-.5-.5z",
)


def cells(head: str) -> tuple[int, ...]:
    """Return what each free cell of a head's emblem holds, 0 (nothing) to 3, row by row; `head` is hexadecimal."""
    digest = hashlib.sha256(_DOMAIN + bytes.fromhex(head)).digest()
    bits = int.from_bytes(digest, "big")
    return tuple(bits >> 2 * place & 3 for place in range(WIDTH * DRAWN))


def path(head: str) -> str:
    """Return the emblem as an SVG path's `d`, in a square of `WIDTH` units."""
    drawn = []
    for place, shape in enumerate(cells(head)):
        y, x = divmod(place, DRAWN)
        drawn += [_SHAPES[shape].format(x=column, y=y) for column in sorted({x, WIDTH - 1 - x})]
    return "".join(drawn)
