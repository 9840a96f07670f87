import dataclasses
import io
import shutil
import subprocess
import urllib.parse
from datetime import UTC, datetime, timedelta

import pikepdf
import pypdf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mespieces.gateways import pdf

FACTS = pdf.AccessSheet(
    public_url="https://pieces.etude.example",
    reference="W08N-0B87",
    secret="V5JWY-QPGQ3-0KBSS-9W35W",
    recipient="Ma jolie boutique",
    representative="Alexandre Payet",
    creditor="Au bon moulin SARL",
    court="Tribunal judiciaire de Nantes",
    order_number="2026-1187",
    order_date="4 novembre 2026",
    office_reference="2026/04512",
    documents=4,
    available_until="23 mai 2028",
    way="",
    office_name="SCP Lefèvre & Marchand",
    office_address="14 rue des Carmes, 44000 Nantes",
    office_phone="02 40 00 00 00",
    office_email="contact@etude.example",
    printed_at="23 novembre 2026 à 14 h 02",
    log="0123456789abcdef" * 2,
    size=12345,
    root="ab12cd34" * 8,
    issued_at=datetime(2026, 11, 23, 13, 2, tzinfo=UTC),
)


def sheet(**changes):
    return pdf.access_sheet(dataclasses.replace(FACTS, **changes))


def words(content):
    text = pypdf.PdfReader(io.BytesIO(content)).pages[0].extract_text()
    return " ".join(text.replace("\u200b", "").split())


def test_the_sheet_says_all_that_a_person_needs_to_get_in():
    text = words(sheet())

    for said in (
        "Ma jolie boutique",
        "Alexandre Payet",
        "Au bon moulin SARL",
        "W08N-0B87",
        "V5JWY-QPGQ3-0KBSS-9W35W",
        "pieces.etude.example",
        "les 4 documents",
        "Tribunal judiciaire de Nantes",
        "n° 2026-1187 du 4 novembre 2026",
        "23 mai 2028",
        "02 40 00 00 00",
        "C’est gratuit",
        "Consulter n’est ni payer, ni reconnaître la dette, ni former opposition",
        "auprès du tribunal indiqué sur l’acte, dans le mois de la signification",
        "l’acte fait foi",
        "Votre consultation est enregistrée, avec sa date",
        "ab12cd34 ab12cd34",
        "0123456789abcdef0123456789abcdef",
        "12 345 enregistrements",
    ):
        assert said in text, said


def test_one_document_is_not_several():
    text = words(sheet(documents=1))

    assert "le document que votre créancier a présenté au juge" in text


@pytest.mark.parametrize(
    ("way", "said"),
    [
        ("", "Choisissez comment recevoir"),
        ("app", "six chiffres"),
        ("email", "par courriel"),
        ("office", "Demandez un code à huit chiffres à l’étude, au 02 40 00 00 00"),
    ],
)
def test_the_last_step_follows_the_way_codes_are_received(way, said):
    assert said in words(sheet(way=way))


def test_the_sheet_can_be_read_aloud():
    with pikepdf.open(io.BytesIO(sheet())) as document:
        assert len(document.pages) == 1
        assert [round(float(side)) for side in document.pages[0].MediaBox[2:]] == [595, 842]
        assert document.Root.MarkInfo.Marked
        assert str(document.Root.Lang).startswith("fr")
        assert document.Root.ViewerPreferences.DisplayDocTitle
        assert str(document.docinfo.Title) == "Consulter les documents produits contre vous"
        assert b"<pdfuaid:part>1</pdfuaid:part>" in document.Root.Metadata.read_bytes()
        figures = [
            held for held in document.objects if isinstance(held, pikepdf.Dictionary) and held.get("/S") == "/Figure"
        ]
        assert [str(figure.Alt) for figure in figures] == [
            "Code QR\xa0: ouvre https://pieces.etude.example avec votre référence déjà remplie"
        ]


def test_the_same_facts_give_the_same_bytes_and_another_instant_others():
    assert sheet() == sheet()
    assert sheet() != sheet(issued_at=FACTS.issued_at + timedelta(hours=1))


def test_the_qr_code_leads_to_the_reference_and_never_to_the_secret(monkeypatch):
    made = []
    make = pdf.segno.make
    monkeypatch.setattr(pdf.segno, "make", lambda content, **options: made.append(content) or make(content, **options))
    sheet(public_url="https://pieces.etude.example/")

    [address] = made
    assert urllib.parse.urlsplit(address).path == "/"
    assert urllib.parse.parse_qs(urllib.parse.urlsplit(address).query) == {"reference": ["W08N-0B87"]}
    assert FACTS.secret not in address


def test_names_in_latin_greek_and_cyrillic_are_written_as_they_are():
    name = "Zoë Œuvrard-Ångström, Ελένη Παπαδοπούλου, Жуков Ёлкин, Nguyễn Thị Ánh, Łukasz Đặng"

    assert name in words(sheet(recipient=name))


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("王小明", "□□□"),
        ("Léa 👩‍👩‍👧 Roux", "Léa □□□ Roux"),
        ("🚀" * 90, "□□□…"),
        ("Jean\u202egnihton\u202c Roux", "Jeangnihton Roux"),
        ("Re\u0301mi", "Rémi"),
        ("A\x00B\tC\u2028D", "A B C D"),
    ],
)
def test_what_no_font_draws_becomes_a_square_and_marks_that_reorder_text_are_dropped(name, shown):
    assert pdf.legible(name) == shown
    assert shown in words(sheet(recipient=name))


def test_what_looks_like_markup_is_only_text():
    name = '#panic("x") *gras* $a$ <b> @a [x] \\ // "é"'

    assert '#panic("x") *gras* $a$ <b> @a [x] \\ // "é"' in words(sheet(recipient=name))


def test_endless_names_stay_on_one_page():
    content = sheet(
        recipient="Société " + "x" * 292,
        representative="Ñandú Ελλάς Жуков " * 17,
        creditor="C" * 300,
        court="Tribunal " * 33,
        office_name="Étude " * 50,
        office_address="a" * 300,
    )
    with pikepdf.open(io.BytesIO(content)) as document:
        assert len(document.pages) == 1
    text = words(content).replace(" ", "")
    assert "C" * 300 in text
    assert "x" * 292 in text
    assert FACTS.secret in text


@settings(max_examples=30, deadline=None)
@given(st.text(max_size=80), st.text(max_size=80))
def test_no_name_whatever_its_characters_stops_a_sheet(recipient, creditor):
    assert sheet(recipient=recipient, creditor=creditor).startswith(b"%PDF-1.7")


@settings(max_examples=200, deadline=None)
@given(st.text())
def test_making_a_text_legible_twice_changes_nothing_more(text):
    assert pdf.legible(pdf.legible(text)) == pdf.legible(text)


@pytest.mark.skipif(not shutil.which("pdftotext"), reason="pdftotext (poppler-utils) is not installed")
def test_the_sheet_reads_in_the_order_of_the_page():
    done = subprocess.run(["pdftotext", "-", "-"], input=sheet(), capture_output=True, check=True)
    text = done.stdout.decode()
    order = [
        "Consulter les documents",
        "W08N-0B87",
        "V5JWY",
        "Comment faire",
        "Consulter n’est ni payer",
        "Jusqu’à quand",
    ]

    places = [text.index(said) for said in order]
    assert places == sorted(places)
