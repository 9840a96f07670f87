import io
from decimal import Decimal

import pypdf
import pytest
from PIL import Image

from mespieces.gateways import preview, samples


class Bytes:
    def __init__(self, content):
        self.content = content
        self.size = len(content)

    def read_at(self, offset, length):
        return self.content[offset : offset + length]


LETTERS = {"invoice": 1, "delivery_note": 1, "formal_notice": 2}


def words(content):
    return " ".join(" ".join(page.extract_text() for page in pypdf.PdfReader(io.BytesIO(content)).pages).split())


def test_the_amounts_of_the_sale_are_right():
    sums = samples.amounts()

    assert (
        sums["net"] == 96 * Decimal("11.5") + 120 * Decimal("4.2") + 144 * Decimal("3.75") + 24 * Decimal("27.9") + 85
    )
    assert sums["vat"] == (sums["net"] / 5).quantize(Decimal("0.01"))
    assert sums["total"] == sums["net"] + sums["vat"]
    assert sums["due"] == sums["total"] - 600
    assert sums["claimed"] == sums["due"] + 40


def test_the_documents_tell_one_story():
    invoice, note, notice = (words(getattr(samples, name)()) for name in LETTERS)
    sums = samples.amounts()

    for text in (invoice, note, notice):
        assert "Au bon moulin SARL" in text
        assert "Ma jolie boutique" in text
        assert "Alexandre Payet" in text
        assert "BL-2026-0131" in text
        assert "□" not in text
    for text in (invoice, notice):
        assert "FA-2026-0114" in text
        for sum_ in ("total", "paid", "due"):
            assert " ".join(samples.euros(sums[sum_]).split()) in text
    assert " ".join(samples.euros(sums["claimed"]).split()) in notice
    assert "TVA 20 %" in invoice


@pytest.mark.parametrize(("name", "pages"), LETTERS.items())
def test_every_letter_is_accepted_as_any_deposit_would_be(name, pages):
    content = getattr(samples, name)()

    assert preview.inspect(Bytes(content), f"{name}.pdf") == preview.Inspection("application/pdf", pages, ())


def test_the_receipt_is_a_photograph_lying_on_its_side_that_is_shown_upright():
    content = samples.receipt_photo()

    assert Image.open(io.BytesIO(content)).getexif()[0x0112] == 6
    assert preview.inspect(Bytes(content), "ticket.jpg") == preview.Inspection("image/jpeg", 1, ("no-text",))
    [(_, page)] = preview.render(Bytes(content), "image/jpeg", [1], width=600)
    shown = Image.open(io.BytesIO(page))
    assert shown.height > shown.width


@pytest.mark.parametrize("name", [*LETTERS, "receipt_photo"])
def test_the_demonstration_is_the_same_every_time(name):
    make = getattr(samples, name)
    again = getattr(make, "__wrapped__", make)

    assert again() == make()


def test_amounts_are_written_as_the_french_write_them():
    assert samples.euros(Decimal("1234.5")) == "1\u202f234,50\xa0€"
