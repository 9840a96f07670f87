"""The reference and the secret of the act: drawn well, and read as people type them."""

import re

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from mespieces.domain import codes

SECRET, REFERENCE = "V5JWYQPGQ30KBSS9W35W", "W08N0B87"
LETTERS = st.sampled_from(codes.ALPHABET)
PAYLOADS = st.text(codes.ALPHABET, min_size=19, max_size=19)


def test_the_known_examples_are_well_formed():
    assert codes.read_secret("V5JWY-QPGQ3-0KBSS-9W35W") == SECRET
    assert codes.read_reference("W08N-0B87") == REFERENCE
    assert codes.show(SECRET) == "V5JWY-QPGQ3-0KBSS-9W35W"
    assert codes.show(REFERENCE) == "W08N-0B87"


@pytest.mark.parametrize(
    "typed",
    [
        " v5jwy qpgq3 0kbss 9w35w\n",
        "V5JWYQPGQ3OKBSS9W35W",
        "v5jwy–qpgq3—okbss‑9w35w",
        "V5JWY\u00a0QPGQ3\u202f0KBSS\u200b9W35W",
        "V.5.J.W.Y.QPGQ3_0KBSS_9W35W",
        "\ufeffV5JWY-QPGQ3-0KBSS-9W35W",
        "V5JWY−QPGQ3﹣0KBSS－9W35W",
        "V5JWY\u00adQPGQ3\u2060⁃0KBSS·9W35W",
        "Code : V5JWY-QPGQ3-0KBSS-9W35W",
        "Code d’accès\u00a0: v5jwy qpgq3 0kbss 9w35w.",
        "«\u00a0Code\u00a0: V5JWY – QPGQ3 – 0KBSS – 9W35W\u00a0»",
        "Référence W08N-0B87\r\nCode V5JWY-QPGQ3-0KBSS-9W35W",
        "W08N 0B87 V5JWY QPGQ3 0KBSS 9W35W",
        "V5JWY-QPGQ3-0KBSS-9W35W (V5JWYQPGQ30KBSS9W35W)",
    ],
)
def test_case_spaces_hyphens_and_the_letter_o_do_not_matter(typed):
    assert codes.read_secret(typed) == SECRET


@pytest.mark.parametrize(
    "typed",
    [
        "V5JWY-QPGQ3-0KBSS-9W35W-ABCDE",
        "V5JWY QPGQ3 0KBSS 9W35W ABCDE",
        "V5JWYQPGQ30KBSS9W35W0",
        "Code : V5JWY-QPGQ3-0KBSS-9W35X",
        "V5JWY-QPGQ3-0KBSS-9W35W ou 00000-00000-00000-00000",
    ],
)
def test_nothing_is_cut_out_of_what_is_too_long_and_nothing_is_chosen_among_several(typed):
    with pytest.raises(codes.SecretMistyped):
        codes.read_secret(typed)


@pytest.mark.parametrize(
    ("reference", "secret"),
    [
        ("W08N-0B87", "V5JWY-QPGQ3-0KBSS-9W35W"),
        ("V5JWY-QPGQ3-0KBSS-9W35W", "w08n 0b87"),
        ("Référence : W08N-0B87 Code d’accès : V5JWY-QPGQ3-0KBSS-9W35W", ""),
        ("", "W08N0B87 V5JWYQPGQ30KBSS9W35W"),
        ("W08N-0B87", "W08N-0B87 V5JWY-QPGQ3-0KBSS-9W35W"),
    ],
)
def test_what_was_pasted_in_the_other_field_is_read_there(reference, secret):
    assert codes.read_pair(reference, secret) == (REFERENCE, SECRET)


def test_what_is_in_neither_field_is_told_where_it_belongs():
    with pytest.raises(codes.SecretMistyped):
        codes.read_pair("W08N-0B87", "V5JWY-QPGQ3-0KBSS-9W35X")
    with pytest.raises(codes.ReferenceMistyped):
        codes.read_pair("W08N-0B88", "V5JWY-QPGQ3-0KBSS-9W35W")


@given(PAYLOADS)
def test_letters_that_look_like_figures_are_read_as_figures(payload):
    code = payload + codes.check_character(payload)
    for written, meant in (("O", "0"), ("I", "1"), ("L", "1"), ("o", "0"), ("l", "1")):
        assert codes.read_secret(code.replace(meant, written)) == code


@pytest.mark.parametrize(
    "typed", ["", "W08N-0B88", "W08N-0B8", "W08N-0B877", "W08N-0B8U", "Ⅳ08N-0B87", "W08N-0B8é", "\ud800"]
)
def test_a_mistyped_reference_is_told_as_a_typing_error(typed):
    with pytest.raises(codes.ReferenceMistyped) as refused:
        codes.read_reference(typed)
    assert refused.value.field == "reference"


@given(PAYLOADS, st.integers(0, 19), LETTERS)
def test_any_one_wrong_character_is_told(payload, position, other):
    code = payload + codes.check_character(payload)
    assume(code[position] != other)
    with pytest.raises(codes.SecretMistyped):
        codes.read_secret(code[:position] + other + code[position + 1 :])


@given(PAYLOADS, st.integers(0, 18))
def test_two_neighbours_swapped_are_told_unless_they_are_the_first_and_last_of_the_alphabet(payload, position):
    code = payload + codes.check_character(payload)
    pair = code[position : position + 2]
    assume(pair[0] != pair[1] and set(pair) != {"0", "Z"})
    with pytest.raises(codes.SecretMistyped):
        codes.read_secret(code[:position] + pair[::-1] + code[position + 2 :])


@given(st.text(max_size=60))
def test_whatever_is_typed_is_read_or_refused(typed):
    try:
        meant = codes.read_secret(typed)
    except codes.SecretMistyped:
        meant = ""
    assert not meant or codes.read_secret(meant) == meant


def test_codes_are_drawn_well_formed_and_never_twice():
    secrets = {codes.draw_secret() for _ in range(500)}
    references = {codes.draw_reference() for _ in range(500)}

    assert len(secrets) == 500
    assert len(references) > 495
    assert {codes.read_secret(code) for code in secrets} == secrets
    assert {codes.read_reference(code) for code in references} == references
    assert set("".join(secrets)) == set(codes.ALPHABET)
    assert all(re.fullmatch(r"[0-9A-Z]{5}(-[0-9A-Z]{5}){3}", codes.show(code)) for code in secrets)


@pytest.mark.parametrize(
    "typed",
    [
        "12345678", " 1234 5678 ", "1234-5678", "1234\u00a05678", "1\u20092\u20093\u20094 5678", "1234.5678", "１２３４５６７８",
        "١٢٣٤٥٦٧٨", "Votre code : 1234 5678, valable 10 minutes", "\u200e1234\u200b5678\u202c",
    ],
)  # fmt: skip
def test_a_one_time_code_is_read_as_phones_and_people_write_it(typed):
    assert codes.read_digits(typed, 8) == "12345678"


@pytest.mark.parametrize(
    "typed", ["", "1234567", "123456789", "12345678 87654321", "1234 5678 9", "abcdefgh", "²²²²²²²²"]
)
def test_a_one_time_code_is_never_cut_out_nor_chosen(typed):
    with pytest.raises(codes.CodeIncomplete, match="8 chiffres"):
        codes.read_digits(typed, 8)


@given(st.text(max_size=40), st.sampled_from([6, 8]))
def test_whatever_is_typed_for_a_one_time_code_is_its_digits_or_refused(typed, digits):
    try:
        found = codes.read_digits(typed, digits)
    except codes.CodeIncomplete:
        return
    assert len(found) == digits
    assert found.isascii()
    assert found.isdigit()
