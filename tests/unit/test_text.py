"""What people type, made safe to keep and to show."""

import unicodedata
from datetime import date

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mespieces.domain import text

ANYTHING = st.text(st.characters(), max_size=80) | st.text(
    st.sampled_from(" \t\r\n\x00\x0b\x85\u2028\u200e\u202e\u2066\ufeffaé\u0301\ud800"), max_size=30
)
FORBIDDEN = {"\x00", "\u202e", "\u2066", "\u2028", "\x85", "\ufeff", "\t"}


@given(ANYTHING)
def test_what_is_storable_is_canonical_and_encodes(typed):
    kept = text.storable(typed)

    assert unicodedata.is_normalized("NFC", kept)
    assert "\x00" not in kept
    assert text.storable(kept.encode().decode()) == kept


@given(ANYTHING)
def test_a_line_is_one_line_without_marks_that_turn_it_round(typed):
    kept = text.line(typed, "name", needed=False)

    assert kept.splitlines() in ([], [kept])
    assert not FORBIDDEN & set(kept)
    assert kept == kept.strip()
    assert "  " not in kept
    assert text.line(kept, "name", needed=False) == kept


@given(ANYTHING)
def test_lines_keep_their_breaks_and_nothing_stranger(typed):
    kept = text.lines(typed, "address", needed=False)

    assert not FORBIDDEN & set(kept)
    assert all(part == part.strip() for part in kept.split("\n"))
    assert text.lines(kept, "address", needed=False) == kept


def test_what_no_database_takes_leaves_no_mark_where_it_was():
    assert text.line("Jean\x00 Pa\ud800yet", "name") == "Jean Payet"
    assert text.lines("\ufffd\n\x00", "address", needed=False) == ""


def test_an_address_keeps_its_lines():
    assert text.lines(" 14  rue des Carmes\r\n44000 Nantes\n\n", "address") == "14 rue des Carmes\n44000 Nantes"


def test_what_is_empty_or_too_long_names_its_field():
    for typed, refusal in [
        ("", text.Needed),
        (" \u200e\n", text.Needed),
        ("\x00", text.Needed),
        ("\ud800 \x00", text.Needed),
        ("\ufffd \ufffd", text.Needed),
        (None, text.Needed),
        ("x" * 201, text.TooLong),
    ]:
        with pytest.raises(refusal) as refused:
            text.line(typed, "creditor")
        assert refused.value.field == "creditor"
    assert "200 caractères" in str(text.TooLong(field="x", most=200))


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ("Jean.Payet@Example.FR", "Jean.Payet@example.fr"),
        (" a+b@sous.domaine.example.fr ", "a+b@sous.domaine.example.fr"),
        ("o'neil+pieces@example.fr", "o'neil+pieces@example.fr"),
    ],
)
def test_an_address_that_can_be_written_to_is_taken(typed, kept):
    assert text.email(typed) == kept


@pytest.mark.parametrize(
    "typed",
    ["payet", "payet@", "@example.fr", "a@b", "a b@example.fr", "a@example.fr, b@example.fr", "a@-x.fr", "a..b@example.fr",
     "a@example..fr", "Payet <a@example.fr>", "a@example.fr\nBcc: b@example.fr", "a@exam ple.fr", "x" * 65 + "@example.fr",
     "zoé@example.fr", ".a@example.fr", "a.@example.fr", "%0a@example.fr", "a%b.fr@example.fr", "a@x-.fr", "a@éxemple.fr"],
)  # fmt: skip
def test_an_address_that_cannot_be_written_to_is_refused(typed):
    with pytest.raises(text.NotAnEmail) as refused:
        text.email(typed)
    assert refused.value.field == "email"


@given(st.text(st.sampled_from("aZ9.%+-_é\u00a0\x00@'") | st.characters(), max_size=12))
def test_an_address_taken_is_ascii_and_read_the_same_by_every_relay(local):
    try:
        kept = text.email(f"{local}@example.fr")
    except text.NotAnEmail:
        return
    before = kept.removesuffix("@example.fr")
    assert before.isascii()
    assert all(before.split("."))
    assert not set('%@ ,;:<>()[]"\\') & set(before)


def test_an_address_may_be_left_out_where_it_is_not_needed():
    assert text.email("", needed=False) == ""
    with pytest.raises(text.Needed):
        text.email("")


@pytest.mark.parametrize("typed", ["2026-11-04", "04/11/2026", "4/11/2026", "04.11.2026", "4-11-2026", " 04 11 2026 "])
def test_a_day_is_read_as_it_is_written(typed):
    assert text.day(typed, "order_date", latest=date(2026, 11, 24)) == date(2026, 11, 4)


@pytest.mark.parametrize(
    "typed",
    [
        "31/02/2026",
        "2026-13-01",
        "04/11/26",
        "25/11/2026",
        "1949-12-31",
        "hier",
        "٠٤/١١/٢٠٢٦",
        "20261104",
        "2026-W45-3",
    ],
)
def test_a_day_that_is_none_or_cannot_be_meant_is_refused(typed):
    with pytest.raises(text.NotADate) as refused:
        text.day(typed, "order_date", latest=date(2026, 11, 24))
    assert refused.value.field == "order_date"


@given(st.dates(date(1950, 1, 1), date(2026, 11, 24)))
def test_every_day_can_be_written_both_ways(day):
    for typed in (day.isoformat(), day.strftime("%d/%m/%Y")):
        assert text.day(typed, "x", latest=date(2026, 11, 24)) == day
