"""The emblem of a head: the same for the same head, and another at a glance when one bit differs."""

import re

from hypothesis import given
from hypothesis import strategies as st

from mespieces.domain import emblem

HEADS = st.binary(min_size=32, max_size=32).map(bytes.hex)
MANY = 25  # of 66 free cells: three quarters change in the mean


def flipped(head, bit):
    return f"{int(head, 16) ^ (1 << bit):064x}"


@given(HEADS, st.integers(0, 255))
def test_one_bit_of_a_head_changes_many_cells_of_its_emblem(head, bit):
    before, after = emblem.cells(head), emblem.cells(flipped(head, bit))

    assert sum(one != other for one, other in zip(before, after, strict=True)) >= MANY


def test_every_bit_of_one_head_changes_its_emblem_visibly():
    head = "3f9a61c40d7be25891f0aa37c2e4518b6d03f9e177ab20c51e8894d2b5f60a1c"
    seen = {emblem.path(flipped(head, bit)) for bit in range(256)} | {emblem.path(head)}

    assert len(seen) == 257
    for bit in range(256):
        changed = zip(emblem.cells(head), emblem.cells(flipped(head, bit)), strict=True)
        assert sum(one != other for one, other in changed) >= MANY


@given(HEADS)
def test_an_emblem_is_drawn_within_its_square_and_mirrors_itself(head):
    starts = re.findall(r"M(\d+)(?:\.\d)? (\d+)", emblem.path(head))
    places = {(int(x), int(y)) for x, y in starts}

    assert len(places) == len(starts)
    assert all(0 <= x < emblem.WIDTH and 0 <= y < emblem.WIDTH for x, y in places)
    assert {(emblem.WIDTH - 1 - x, y) for x, y in places} == places
    assert re.fullmatch(r"[Mmahvlz0-9 .\-]*", emblem.path(head))


def test_all_four_forms_are_drawn():
    head = "00" * 32
    assert set(emblem.cells(head)) == {0, 1, 2, 3}
    assert {"h1v1h-1z", ".8 0", "l.5.5"} <= {
        form for form in ("h1v1h-1z", ".8 0", "l.5.5") if form in emblem.path(head)
    }
