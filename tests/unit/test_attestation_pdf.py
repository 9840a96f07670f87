"""Attestations as PDFs: tagged, in French, complete, whatever their length and whatever stands in names."""

import io
import re
import shutil
import subprocess
from datetime import UTC, datetime

import pikepdf
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mespieces.gateways import pdf

ISSUED = datetime(2026, 11, 24, 10, 2, tzinfo=UTC)
MOMENT = {
    "paris": "24 novembre 2026 à 11 h 02 (heure de Paris)",
    "short": "24 novembre 2026 à 11 h 02",
    "utc": "2026-11-24 10:02:00 UTC",
}
LOG = "0123456789abcdef" * 2
ENDLESS = "Société " + "x" * 292
STRANGE = "Ñandú Ελλάς Жуков 👩‍👩‍👧 \u202eשלום مرحبا " * 8
# Every plane, its private and unassigned corners included, but not the halves that no file holds.
ANY = st.text(st.characters(exclude_categories=[]), max_size=60)


def digest(number):
    return " ".join([f"{number:08x}"] * 8)


def document(number, title="Facture"):
    return {"number": number, "title": title, "about": "2 pages · 184 Ko", "fingerprint": digest(number)}


def case(**facts):
    """Return what both attestations say."""
    return {
        "description": "Article 1411", "office": "SCP Lefèvre & Marchand", "creditor": "Au bon moulin",
        "court": "Tribunal judiciaire de Nantes", "order_number": "2026-1187", "order_date": "4 novembre 2026",
        "office_reference": "NTE-4821", "filed": MOMENT, "withdrawn": None, "issued": MOMENT,
        "issued_at": MOMENT["paris"], "issued_for": "Camille Marchand",
        "dated": None, "ahead": False, "authorities": [], "receipts": 5, "missing": 0, "provisional": True, "erased": False, "closed": False, "undatable": False, "awaited": True, "audit": "https://pieces.example.fr/audit",
        "journal": {"log": LOG, "size": "12 345 enregistrements", "root": digest(0xABCD)},
    } | facts  # fmt: skip


def deposit(documents=4, recipients=2, name="Alexandre Payet", title="Facture", **facts):
    people = [
        {
            "name": name,
            "about": f"représentant : {name}",
            "reference": f"K7QF-{number:04}",
            "signified": "",
            "manner": "",
        }
        for number in range(1, recipients + 1)
    ]
    return case(
        title="Attestation de dépôt", reference="dossier NTE-4821", office_address="14 rue des Carmes",
        filed_by="Camille Marchand", record={"log": LOG, "sequence": "8 211", "hash": digest(0xBEEF)}, state="filed",
        available_until="24 mai 2028", motive="", deleted="", replaces="", total=f"{documents} pièces",
        documents=[document(number, title) for number in range(1, documents + 1)], recipients=people,
    ) | facts  # fmt: skip


def consultation(opened=3, unopened=1, name="Alexandre Payet", title="Facture", **facts):
    records = [
        {"sequence": str(8300 + number), "number": number, "opened": MOMENT, "way": "feuillet", "hash": digest(number)}
        for number in range(1, opened + 1)
    ]
    return case(
        title="Attestation de consultation", reference="accès K7QF-3M9X", access="K7QF-3M9X", recipient=name,
        representative="", ways=["code d’accès du feuillet, seul"], count=f"{opened} pièces sur {opened + unopened}",
        opened=[
            document(number, title) | {"first": MOMENT, "how": ["fichier envoyé en entier"]}
            for number in range(1, opened + 1)
        ],
        unopened=[document(opened + number, title) for number in range(1, unopened + 1)],
        records=records, unlisted="", silent="", named=[], base=[],
    ) | facts  # fmt: skip


def deletion(documents=3, name="Facture", **facts):
    return case(
        title="Attestation de suppression", reference="dossier NTE-4821", office_address="14 rue des Carmes",
        available_until="24 mai 2028", motive="", ended=MOMENT, last=MOMENT, total=f"{documents} pièces",
        documents=[document(number, name) | {"deleted": MOMENT} for number in range(1, documents + 1)],
        records=[
            {"sequence": str(9000 + number), "what": "Fichiers supprimés", "time": MOMENT, "hash": digest(number)}
            for number in range(documents + 1)
        ],
    ) | facts  # fmt: skip


def statement(people=3, records=4, name="Alexandre Payet", **facts):
    return case(
        title="Relevé des consultations", reference="dossier NTE-4821", day="24 novembre 2026", until=MOMENT, total=records,
        documents="4 pièces", listed=records, unlisted="", silent="", base=[],
        recipients=[
            {
                "name": name, "reference": f"K7QF-{number:04}", "times": "2", "documents": "2 pièces",
                "first": "24 nov. 2026, 11 h 02", "last": "25 nov. 2026, 9 h 12",
            }
            for number in range(people)
        ],
        records=[
            {
                "sequence": str(8300 + number), "number": number % 4 + 1, "opened": MOMENT, "way": "feuillet et courriel",
                "hash": digest(number), "recipient": name,
            }
            for number in range(records)
        ],
    ) | facts  # fmt: skip


ENTERED = {"sequence": "9001", "what": "Destinataire inscrit", "time": MOMENT, "hash": digest(1)}
NOBODY_OPENED = {
    "name": "Payet", "reference": "K7QF-3M9X", "times": "", "documents": "", "first": "", "last": ""
}  # fmt: skip
DATED = {"provisional": False, "dated": MOMENT, "authorities": ["Horodatage"]}
KINDS = {"until": "statement", "filed_by": "deposit", "opened": "consultation", "ended": "deletion"}


def made(facts):
    kind = next(kind for told, kind in KINDS.items() if told in facts)
    return pdf.compose(f"{kind}_attestation", facts, issued_at=ISSUED)


def tables(facts):
    """Return how many tables an attestation holds."""
    if "opened" in facts:
        return 2 * bool(facts["opened"]) + bool(facts["unopened"])
    return 2


def words(content):
    """Return the text as a reader copies it, without the breaks of lines."""
    done = subprocess.run(["pdftotext", "-raw", "-", "-"], input=content, capture_output=True, check=True)
    return " ".join(done.stdout.decode().replace("\u200b", "").split())


needs_pdftotext = pytest.mark.skipif(not shutil.which("pdftotext"), reason="pdftotext (poppler-utils) is not installed")
EXTREMES = {
    "usual deposit": deposit(),
    "usual consultation": consultation(),
    "nothing consulted": consultation(0, 4, ways=[]),
    "everything consulted": consultation(4, 0),
    "long deposit": deposit(100, 300, ENDLESS, STRANGE),
    "long consultation": consultation(
        100, 100, ENDLESS, STRANGE, representative=STRANGE, unlisted="3 autres", named=[STRANGE, "P"]
    ),
    "withdrawn deposit": deposit(state="withdrawn", withdrawn=MOMENT, motive=STRANGE, replaces=ENDLESS),
    "ended deposit": deposit(state="ended", deleted="toutes"),
    "usual deletion": deletion(),
    "long deletion": deletion(100, STRANGE, office=ENDLESS, motive=STRANGE, withdrawn=MOMENT),
    "receipts no more": deposit(receipts=0, missing=5, provisional=False),
    "strange everywhere": deposit(creditor=STRANGE, court=ENDLESS, office=ENDLESS, order_number="9" * 60),
}


@pytest.mark.parametrize("facts", EXTREMES.values(), ids=EXTREMES)
def test_an_attestation_can_be_read_aloud(facts):
    with pikepdf.open(io.BytesIO(made(facts))) as opened:
        assert opened.Root.MarkInfo.Marked
        assert str(opened.Root.Lang).startswith("fr")
        assert opened.Root.ViewerPreferences.DisplayDocTitle
        assert str(opened.docinfo.Title) == facts["title"]
        metadata = opened.Root.Metadata.read_bytes()
        assert b"<pdfuaid:part>1</pdfuaid:part>" in metadata
        assert b"<pdfaid:part>3</pdfaid:part>" in metadata
        assert b"<pdfaid:conformance>A</pdfaid:conformance>" in metadata
        kinds = [str(held.get("/S")) for held in opened.objects if isinstance(held, pikepdf.Dictionary)]
        assert kinds.count("/Table") == kinds.count("/THead") == tables(facts)
        assert kinds.count("/H1") == 1
        assert kinds.count("/TH") >= 3 * tables(facts)


@needs_pdftotext
def test_the_attestation_of_a_deposit_says_all_of_it():
    text = words(made(deposit(100, 300)))

    for said in (
        "Attestation de dépôt", "provisoire", "SCP Lefèvre & Marchand, 14 rue des Carmes", "Au bon moulin",
        "Tribunal judiciaire de Nantes", "n° 2026-1187 du 4 novembre 2026", "NTE-4821", "Camille Marchand",
        "24 novembre 2026 à 11 h 02 (heure de Paris) (2026-11-24 10:02:00 UTC)", "24 mai 2028 inclus",
        "La date est celle de l’horloge du service", "articles 2, 4 et 6 de l’arrêté du 24 février 2022",
        "l’acte fait foi", f"enregistrement n° 8 211 (deposit.filed), d’empreinte {digest(0xBEEF)}",
        f"journal {LOG} · 12 345 enregistrements racine {digest(0xABCD)}", "300 destinataires",
    ):  # fmt: skip
        assert said in text, said
    for number in range(1, 101):
        assert digest(number) in text
    for number in range(1, 301):
        assert f"K7QF-{number:04}" in text


@needs_pdftotext
def test_each_page_bears_its_number_the_reference_and_the_journal():
    content = made(deposit(100, 300))
    pages = subprocess.run(["pdftotext", "-raw", "-", "-"], input=content, capture_output=True, check=True)
    pages = pages.stdout.decode().split("\f")[:-1]

    assert len(pages) > 10
    for number, page in enumerate(pages, start=1):
        text = " ".join(page.split())
        assert f"page {number} / {len(pages)}" in text
        assert "dossier NTE-4821" in text
        assert digest(0xABCD) in text
    assert sum("Empreinte SHA-256" in page for page in pages) > 2  # the header of a table comes again
    assert sum("Signification saisie" in page for page in pages) > 2


@needs_pdftotext
@pytest.mark.parametrize(
    ("facts", "said"),
    [
        (
            deposit(state="withdrawn", withdrawn=MOMENT, motive="Erreur de débiteur"),
            "retiré par l’étude le 24 novembre",
        ),
        (deposit(state="withdrawn", withdrawn=MOMENT, motive="Erreur de débiteur"), "Motif : Erreur de débiteur."),
        (deposit(state="ended"), "La mise à disposition est terminée"),
        (deletion(), "ont toutes été supprimées"),
        (deletion(), f"9002 Fichiers supprimés 24 novembre 2026 à 11 h 02 · 2026-11-24 10:02:00 UTC {digest(2)}"),
        (deletion(withdrawn=MOMENT, motive="Erreur"), "avait été retiré par l’étude le 24 novembre"),
        (deposit(missing=1), "Un enregistrement cité n’a plus de reçu"),
        (deposit(missing=2), "2 enregistrements cités n’ont plus de reçu, sur 7"),
        (deposit(), "Attestation provisoire de l’étude"),
        (deposit(), "Demandez-le de nouveau plus tard"),
        (deposit(awaited=False), "aucun ne le fait aujourd’hui pour ce service : ce document est provisoire"),
        (deposit(closed=True), "Ceux d’un journal clos qui n’ont pas été datés ne le seront plus."),
        (deposit(closed=True, undatable=True), "quand le journal de ces enregistrements a été clos ne le sera plus"),
        (consultation(), "Attestation provisoire, établie pour"),
        (deposit(receipts=0, missing=5, provisional=False), "Attestation sans preuve jointe de l’étude"),
        (consultation(0, 4, receipts=0, provisional=False, erased=True), "Attestation sans preuve jointe, établie"),
        (
            consultation(0, 4, receipts=0, provisional=False, erased=True),
            "Le service ne connaît aucune consultation faite",
        ),
        (consultation(0, 4, receipts=0, provisional=False), "Constat, établi pour"),
        (consultation(0, 4, receipts=1, base=[ENTERED]), "Constat provisoire, établi pour"),
        (
            consultation(0, 4, receipts=1, base=[ENTERED]),
            "Le reçu joint prouve que le destinataire est inscrit au dépôt",
        ),
        (
            consultation(0, 4, receipts=1, base=[ENTERED]),
            f"9001 Destinataire inscrit 24 novembre 2026 à 11 h 02 · 2026-11-24 10:02:00 UTC {digest(1)}",
        ),
        (statement(records=0, receipts=1, base=[ENTERED]), "Le reçu joint prouve le dépôt des pièces"),
        (statement(records=0, receipts=1, base=[ENTERED]), "Enregistrement cité N° au journal"),
        (consultation(0, 4, receipts=0, provisional=False), "Ce que cette attestation constate"),
        (consultation(0, 4, receipts=0, provisional=False), "Qu’aucune consultation n’a eu lieu"),
        (
            deposit(dated=MOMENT, provisional=False, authorities=["Temps", "Heure"]),
            "(RFC 3161, Temps, Heure) a daté le journal après chaque enregistrement cité",
        ),
        (deposit(replaces="le dépôt NTE-1"), "Remplace le dépôt NTE-1"),
        (deposit(deleted="toutes les pièces"), "Suppression toutes les pièces"),
        (consultation(0, 4), "aucune pièce n’a été consultée avec l’accès destiné à Alexandre Payet"),
        (consultation(0, 4, ways=[]), "Identification aucune à ce jour"),
        (consultation(), "3 pièces sur 4 ont été consultées"),
        (consultation(), "Consulter n’est ni payer, ni reconnaître la dette, ni former opposition"),
        (consultation(), "l’acte fait foi"),
        (consultation(), "La date est celle de l’horloge du service"),
        (consultation(), f"8303 3 24 novembre 2026 à 11 h 02 · 2026-11-24 10:02:00 UTC feuillet {digest(3)}"),
        (consultation(withdrawn=MOMENT), "Retirées le 24 novembre 2026"),
        (consultation(unlisted="3 autres"), "et les plus récentes, 3 autres."),
        (deposit(receipts=1), "un reçu y est joint"),
        (deposit(receipts=1), "ce document ne le porte plus"),
        (deposit(receipts=2), "ce document ne les porte plus"),
        (deposit(**DATED, ahead=True), "dépassent cette date, qui fait foi."),
        (consultation(silent="Deux autres."), "destiné à Alexandre Payet. Deux autres."),
        (statement(silent="Deux autres."), "par ses destinataires. Deux autres."),
        (statement(silent="Deux.", recipients=[NOBODY_OPENED]), "K7QF-3M9X aucune connue — —"),
        (statement(recipients=[NOBODY_OPENED]), "K7QF-3M9X aucune — —"),
    ],
)
def test_an_attestation_says_plainly_how_things_stand(facts, said):
    assert said in words(made(facts))


@needs_pdftotext
@pytest.mark.parametrize("make", [deposit, consultation, deletion])
def test_what_the_journal_forgot_is_not_said_to_be_proven(make):
    text = words(made(make(receipts=0, missing=5, provisional=False)))

    assert "Sans preuve jointe. Le contenu des enregistrements" in text
    assert "Rien de ce qui est rapporté ici" in text
    assert "Le journal du service porte" not in text


@needs_pdftotext
def test_what_was_not_consulted_stands_apart():
    text = words(made(consultation(3, 2)))
    opened, unopened = text.split("Pièces non consultées à cette date")

    assert digest(3) in opened
    assert digest(4) not in opened
    assert digest(5) in unopened
    assert "Pièces non consultées" not in words(made(consultation(4, 0)))


@needs_pdftotext
def test_a_filed_deposit_is_said_neither_withdrawn_nor_ended():
    text = words(made(deposit()))

    for unsaid in ("retiré", "terminée", "Suppression", "Remplace", "ancien journal"):
        assert unsaid not in text


@needs_pdftotext
def test_what_looks_like_markup_is_only_text_in_an_attestation():
    name = '#panic("x") *gras* $a$ @a [x] ~ "é"'

    assert name in words(made(deposit(name=name)))
    assert name in words(made(consultation(title=name)))


@needs_pdftotext
def test_endless_names_are_written_in_full():
    for facts in (deposit(3, 3, ENDLESS), consultation(name=ENDLESS)):
        assert "x" * 292 in re.sub(r"\s", "", words(made(facts)))


@needs_pdftotext
def test_nothing_is_drawn_beyond_the_margins():
    for facts in (
        deposit(9, 9, ENDLESS, STRANGE),
        EXTREMES["strange everywhere"],
        consultation(9, 9, ENDLESS, STRANGE),
    ):
        done = subprocess.run(["pdftotext", "-bbox", "-", "-"], input=made(facts), capture_output=True, check=True)
        right = [float(edge) for edge in re.findall(r'xMax="([\d.]+)"', done.stdout.decode())]
        assert max(right) <= 595.28 - 19 / 25.4 * 72 + 0.5


@settings(max_examples=25, deadline=None)
@given(ANY, ANY, ANY)
def test_no_character_stops_an_attestation(name, title, other):
    for facts in (
        deposit(2, 2, name, title, creditor=other, court=other, motive=other, state="withdrawn", withdrawn=MOMENT),
        consultation(2, 1, name, title, representative=other, office=other, office_reference=other),
    ):
        assert made(facts).startswith(b"%PDF-1.7")


def test_no_plane_of_unicode_stops_an_attestation():
    every = "".join(
        chr(plane << 16 | low) for plane in range(17) for low in (0x41, 0x1000, 0x6000, 0xD900, 0xFFFD, 0xFFFF)
    )
    alone = [deposit(1, 1, mark, mark) for mark in every[::5]]

    for facts in (deposit(1, 1, every, every), consultation(1, 1, every, every), *alone):
        assert made(facts).startswith(b"%PDF-1.7")


def test_a_process_apart_makes_the_same_bytes():
    for template, facts in (("deposit_attestation", deposit(9, 9)), ("consultation_attestation", consultation())):
        assert pdf.compose_apart(template, facts, issued_at=ISSUED) == pdf.compose(template, facts, issued_at=ISSUED)


def test_what_cannot_be_composed_is_refused_in_words_and_frees_its_place():
    for _ in range(3):  # more than there are presses
        with pytest.raises(pdf.NotComposed, match="réessayez"):
            pdf.compose_apart("deposit_attestation", {"title": "Sans rien d’autre"}, issued_at=ISSUED)

    assert pdf.compose_apart("deposit_attestation", deposit(), issued_at=ISSUED).startswith(b"%PDF-")


def test_when_every_press_is_taken_the_next_is_refused_in_words(monkeypatch):
    monkeypatch.setattr(pdf, "_PATIENCE", 0.01)
    with pdf._PRESSES, pdf._PRESSES, pytest.raises(pdf.PressBusy, match="réessayez"):
        pdf.compose_apart("deposit_attestation", deposit(), issued_at=ISSUED)


@pytest.mark.parametrize(
    "facts",
    [
        deposit(4, 3), deletion(4), consultation(1, 3), consultation(4, 0), statement(3, 4),
        deposit(4, 3, **DATED), deletion(4, **DATED), consultation(1, 3, **DATED), consultation(4, 0, **DATED),
        statement(3, 6, **DATED), consultation(0, 4),
        deposit(4, 1, state="ended", receipts=0, missing=4, provisional=False, erased=True),
    ],
)  # fmt: skip
@needs_pdftotext
def test_what_is_usual_holds_on_one_page(facts):
    assert len(pages(facts)) == 1


@needs_pdftotext
@pytest.mark.parametrize("facts", [deposit(8, 4), deposit(9, 5), consultation(4, 4), deletion(6), statement(4, 12)])
def test_a_last_page_holds_no_few_lines_alone_and_no_part_of_a_row(facts):
    _, last = pages(facts)
    assert re.match(r"Le journal|Enregistrements cités|N° au journal", last), last
    assert len(last.splitlines()) > 8, last
    assert "page 2 / 2" in last


@needs_pdftotext
@pytest.mark.parametrize("people", [1, 3])
def test_each_row_of_a_long_statement_is_whole_under_its_headings(people):
    first, *rest = pages(statement(people, 60, name="Société " + "d’exploitation des moulins " * 9))

    assert len(rest) > 1
    for page in rest:
        assert page.removeprefix("Enregistrements cités\n").startswith("N° au journal Pièce")
    for page in [first, *rest]:
        assert page.count("2026-11-24 10:02:00 UTC\nfeuillet et courriel\n") == len(re.findall(r"(?m)^83\d\d \d", page))


def pages(facts):
    """Return the text of each page, made as the product makes it."""
    kind = next(kind for told, kind in KINDS.items() if told in facts)
    content = pdf.compose_apart(f"{kind}_attestation", facts, issued_at=ISSUED)
    done = subprocess.run(["pdftotext", "-raw", "-", "-"], input=content, capture_output=True, check=True)
    return done.stdout.decode().split("\f")[:-1]
