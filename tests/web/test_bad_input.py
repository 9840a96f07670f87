"""What should not have been sent: refused in a sentence beside its field, with its status, and nothing is left of it."""

import io
import re
import zipfile
from urllib.parse import quote

import make
import pikepdf
import pytest
from pypdf import PdfReader

from mespieces.domain import documents
from mespieces.models import Deposit, Document, JournalRecord, Recipient, Signification
from mespieces.views.office import drafts

LONG = "é" * 300
ODD_NAMES = (
    "a/b\\c", "Ligne\r\nautre: 1", "\u202egnp.exe\u202c", "\u2066isolé\u2069", "🧾 Étude 🦊", "شركة النور", "<b>&amp;</b>",
    "{{ 7 * 7 }}", "nom\x00nul", "a\u2028b",
)  # fmt: skip
MARKS = re.compile(r"[\x00-\x08\x0b-\x1f\u200e\u200f\u202a-\u202e\u2066-\u2069\u2028\u2029]")


@pytest.fixture
def marchand(site):
    """Add a member."""
    return make.member(site.gateways)


@pytest.fixture
def office(site, marchand):
    """Sign them in, their page open."""
    visitor = site.member(marchand)
    visitor.get("/etude/depots/nouveau")
    return visitor


@pytest.fixture
def draft(site, marchand):
    """Open a draft."""
    return make.draft(site.gateways, marchand.office)


def _saved(**saving):
    with pikepdf.open(io.BytesIO(make.pdf())) as document:
        out = io.BytesIO()
        document.save(out, **saving)
        return out.getvalue()


def _pageless():
    out = io.BytesIO()
    pikepdf.new().save(out)
    return out.getvalue()


def _archive():
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as packed:
        packed.writestr("facture.exe", b"MZ" * 40)
    return out.getvalue()


BAD_FILES = {
    "empty": (lambda: b"", 422, "est vide"),
    "password": (lambda: _saved(encryption=pikepdf.Encryption(owner="o", user="u")), 415, "demande un mot de passe"),
    "truncated": (lambda: make.pdf()[: len(make.pdf()) * 2 // 3], 415, "incomplet ou abîmé"),
    "without a page": (_pageless, 415, "aucune page"),
    "program": (lambda: b"MZ\x90\0" + b"\0" * 4000, 415, "n’est ni un PDF"),
    "archive behind": (lambda: make.pdf() + _archive(), 415, "après la fin du document"),
    "archive inside": (lambda: make.pdf() + _archive() + b"\n%%EOF\n", 415, "après la fin du document"),
}


# Files


@pytest.mark.parametrize("way", ["raw", "form"])
@pytest.mark.parametrize("kind", BAD_FILES)
def test_a_file_nobody_could_read_is_refused_in_a_sentence_that_names_it(site, office, draft, kind, way):
    data, status, words = BAD_FILES[kind]
    at, records = f"/etude/depots/{draft.id}/pieces", JournalRecord.select().count()

    if way == "raw":
        refused = office.upload(at, data(), "Facture.pdf", status=status)
        assert refused.mimetype == "text/plain"
    else:
        refused = office.post(at, 422, data={"files": [(io.BytesIO(data()), "Facture.pdf")]})

    assert words in refused.text
    assert "Facture.pdf" in refused.text
    assert Document.select().count() == 0
    assert list(site.gateways.vault.names()) == []
    assert JournalRecord.select().count() == records


class Endless(io.RawIOBase):
    """A body that never ends, and counts what was read of it."""

    def __init__(self):
        self.read_so_far = 0

    def readable(self):
        return True

    def tell(self):
        return 0

    def seek(self, _offset, whence=0):
        return (1 << 40) * (whence == 2)  # the length that is announced

    def readinto(self, buffer):
        self.read_so_far += len(buffer)
        buffer[:] = b"0" * len(buffer)
        return len(buffer)


def test_a_file_over_the_limit_is_refused_while_it_arrives(open_site):
    limit = 3 * drafts.CHUNK
    site = open_site(max_document_bytes=limit)
    draft = make.draft(site.gateways)
    office = site.member(make.member(site.gateways, draft.office))
    office.get("/etude/depots/nouveau")
    body = Endless()

    refused = office.ask(
        "POST", f"/etude/depots/{draft.id}/pieces", 413, input_stream=body, content_type="application/octet-stream",
        headers={"X-CSRFToken": office.token, "X-Filename": "Scan.pdf"},
        environ_overrides={"CONTENT_LENGTH": str(1 << 40), "wsgi.input_terminated": True},
    )  # fmt: skip

    assert "768\xa0Ko" in refused.text
    # The rest is heard and dropped, so that the browser reads the answer; not for ever.
    assert body.read_so_far <= limit + drafts.CHUNK + 4 * limit
    assert list(site.gateways.vault.names()) == []


# Names


def test_names_of_any_characters_are_kept_harmless_and_shown_as_they_were_typed(site, office, draft, marchand):
    at = f"/etude/depots/{draft.id}"
    for name in ODD_NAMES:
        office.upload(f"{at}/pieces", make.pdf(), quote(f"{name}.pdf"))
        office.post(
            f"{at}/destinataires", data={"name": name, "kind": "company", "representative": name, "address": name}
        )
    office.post(f"{at}/deposer")

    for person in Recipient.select():
        assert not MARKS.search(person.name + person.representative)
    shown = [office.get(at).text, office.get("/etude/depots").text, office.get("/etude/journal").text]
    for person in list(draft.recipients):
        path = f"{at}/destinataires/{person.id}"
        shown.append(office.get(path).text)
        sheet = office.post(f"{path}/feuillet", 200)
        assert len(PdfReader(io.BytesIO(sheet.data)).pages) == 1
    debtor = site.reading(draft)
    shown.append(debtor.get("/pieces").text)
    for document in list(Document.select()):
        given = debtor.get(f"/pieces/{document.number}/fichier").headers["Content-Disposition"]
        assert given.isascii()
        assert not MARKS.search(document.filename + document.title)
    assert [
        page for page in shown if MARKS.search(page) or "<b>&amp;</b>" in page or "49" in page.split("7 * 7")[0][-9:]
    ] == []
    assert "&lt;b&gt;" in shown[0]
    assert "شركة النور" in shown[0]
    with zipfile.ZipFile(io.BytesIO(debtor.get("/pieces/liasse.zip").data)) as archive:
        names = archive.namelist()
    assert len(names) == len(set(names)) == len(ODD_NAMES) + 1
    assert [name for name in names if MARKS.search(name) or "/" in name or "\\" in name or ".." in name] == []


@pytest.mark.parametrize("field", ["name", "representative", "address"])
def test_a_name_of_three_hundred_characters_is_refused_beside_its_field(office, draft, field):
    typed = {"name": "Alexandre Payet", field: LONG * 3}

    page = office.post(f"/etude/depots/{draft.id}/destinataires", 422, data=typed)

    assert "trop long" in _beside(page.text, field)
    assert Recipient.select().count() == 0


@pytest.mark.parametrize("field", ["creditor", "court", "order_number", "office_reference"])
def test_a_case_of_three_hundred_characters_is_refused_beside_its_field(office, field):
    page = office.post("/etude/depots/nouveau", 422, data=make.CASE | {field: LONG})

    assert "trop long" in _beside(page.text, field)
    assert Deposit.select().count() == 0


def test_a_file_whose_name_has_three_hundred_characters_keeps_its_ending(office, draft):
    office.upload(f"/etude/depots/{draft.id}/pieces", make.pdf(), quote(f"{LONG}.pdf"))

    assert Document.get().filename == "é" * 150 + ".pdf"


# Dates


@pytest.mark.parametrize("day", ["1900-01-01", "2026-11-25", "9999-12-31", "2026-02-30", "hier"])
def test_a_day_that_cannot_be_meant_is_refused_beside_its_field(site, office, marchand, draft, day):
    document = make.document(site.gateways, draft)
    filed = make.filed(site.gateways, marchand.office)
    person = make.first(filed)
    case = office.post("/etude/depots/nouveau", 422, data=make.CASE | {"order_date": day})
    described = office.post(f"/etude/depots/{draft.id}/pieces/{document.id}", 422, data={"title": "A", "dated": day})
    served = office.post(
        f"/etude/depots/{filed.id}/destinataires/{person.id}/signification", 422, data={"signified_on": day}
    )

    assert "entre 1950 et aujourd’hui" in _beside(case.text, "order_date")
    assert "entre 1950 et aujourd’hui" in _beside(described.text, f"d-{document.id}")
    assert re.search(r"entre 1950 et aujourd’hui|postérieure à aujourd’hui", _beside(served.text, "signified_on"))
    assert Deposit.select().count() == 2
    assert Document.get(Document.id == document.id).dated is None
    assert Signification.select().count() == 0


def _beside(page, field):
    """Return the words in the same block as a field, which the field names as its description."""
    block = next(
        part for part in page.split('<div class="field">')[1:] if f'id="{field}"' in part.partition("</div>")[0]
    )
    block = block.partition("</div>")[0]
    error = re.search(r'<span class="err" id="([^"]+)">([^<]+)</span>', block)
    assert error, block
    assert re.search(rf'aria-describedby="[^"]*\b{re.escape(error[1])}"[^>]*aria-invalid="true"', block), block
    return error[2]


# Posted twice


def _key(page):
    return re.search(r'name="once" value="([0-9a-f]+)"', page.text)[1]


def test_a_form_posted_twice_makes_one_thing(site, office, marchand):
    typed = make.CASE | {"once": _key(office.get("/etude/depots/nouveau"))}
    first, second = (office.post("/etude/depots/nouveau", data=typed).location for _ in range(2))
    deposit = Deposit.get()
    person = {"name": "Alexandre Payet", "once": _key(office.get(f"/etude/depots/{deposit.id}/destinataires"))}
    for _ in range(2):
        office.post(f"/etude/depots/{deposit.id}/destinataires", data=person)
    make.document(site.gateways, deposit)
    for _ in range(2):
        assert office.post(f"/etude/depots/{deposit.id}/deposer").location == f"/etude/depots/{deposit.id}"
    served = f"/etude/depots/{deposit.id}/destinataires/{make.first(deposit).id}/signification"
    for _ in range(2):
        office.post(served, data={"signified_on": "2026-11-20", "manner": "personne"})
    heir = {"name": "Une héritière", "once": _key(office.get(f"/etude/depots/{deposit.id}"))}
    for _ in range(2):
        office.post(f"/etude/depots/{deposit.id}/destinataires", data=heir)

    assert first == second
    assert make.operations(deposit.id) == [
        "deposit.created", "document.deposited", "recipient.added", "deposit.filed", "signification.recorded", "recipient.added",
    ]  # fmt: skip
    assert Deposit.select().count() == 1
    assert Recipient.select().count() == 2
    assert Signification.select().count() == 1


def test_each_page_bears_a_key_of_its_own(office):
    keys = {_key(office.get("/etude/depots/nouveau")) for _ in range(3)}

    assert len(keys) == 3
    assert 'name="once"' in office.page.text
    assert 'autocomplete="off"' in office.page.text


def test_nothing_is_filed_without_a_document_or_for_nobody(site, office, draft):
    at = f"/etude/depots/{draft.id}"
    assert "Ajoutez au moins une pièce" in office.post(f"{at}/deposer", 422).text
    make.document(site.gateways, draft)
    assert "Ajoutez au moins un destinataire" in office.post(f"{at}/deposer", 422).text

    assert Deposit.get().filed_at is None
    assert make.count("deposit.filed") == 0


# Forms that are none

PART = b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.pdf"\r\n\r\n'
BROKEN = {
    "no boundary": ("multipart/form-data", PART + b"x\r\n--b--\r\n"),
    "another boundary": ("multipart/form-data; boundary=c", PART + b"x\r\n--b--\r\n"),
    "cut boundary": ("multipart/form-data; boundary=b", PART + b"x\r\n--"),
    "cut headers": ("multipart/form-data; boundary=b", b"--b\r\nContent-Disposition: form-data; na"),
    "no headers": ("multipart/form-data; boundary=b", b"--b\r\n\r\nx\r\n--b--\r\n"),
    "no name": ("multipart/form-data; boundary=b", b"--b\r\nContent-Disposition: form-data\r\n\r\nx\r\n--b--\r\n"),
    "headers without end": ("multipart/form-data; boundary=b", b"--b\r\n" + b"X: " + b"a" * 300_000),
    "nested": (
        "multipart/form-data; boundary=b",
        b'--b\r\nContent-Disposition: form-data; name="files"\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n'
        b'--c\r\nContent-Disposition: file; filename="a.pdf"\r\n\r\nx\r\n--c--\r\n--b--\r\n',
    ),
    "ten thousand parts": (
        "multipart/form-data; boundary=b",
        b'--b\r\nContent-Disposition: form-data; name="a"\r\n\r\nx\r\n' * 10_000 + b"--b--\r\n",
    ),
    "ten thousand files": ("multipart/form-data; boundary=b", (PART + b"\r\n") * 10_000 + b"--b--\r\n"),
    "a boundary of bytes": ('multipart/form-data; boundary="\x01\xff"', PART),
    "nothing": ("multipart/form-data; boundary=b", b""),
    "text": ("text/plain", b"files=a.pdf"),
    "json": ("application/json", b'{"files": ["a.pdf"]}'),
}  # fmt: skip


@pytest.mark.parametrize("kind", BROKEN)
def test_a_form_that_makes_no_sense_is_refused_in_words_and_leaves_nothing(site, office, draft, kind):
    content_type, body = BROKEN[kind]
    before = make.everything()

    for path in (f"/etude/depots/{draft.id}/pieces", "/etude/depots/nouveau"):
        got = office.ask(
            "POST", path, None, data=body, content_type=content_type, headers={"X-CSRFToken": office.token}
        )
        assert got.status_code in {400, 413, 415, 422}, (path, got.status)
        assert "<h1>" in got.text

    assert Document.select().count() == 0
    assert make.everything() == before
    assert list(site.gateways.vault.names()) == []


def test_a_deposit_of_the_most_documents_says_so_beside_the_files(office, site, draft):
    make.blank(draft, documents.MOST)

    refused = office.post(
        f"/etude/depots/{draft.id}/pieces", 422, data={"files": [(io.BytesIO(make.pdf()), "De trop.pdf")]}
    )

    assert "compte déjà 200 pièces" in refused.text
    assert list(site.gateways.vault.names()) == []
