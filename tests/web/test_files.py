"""What leaves the building: the same bytes that were deposited, whole or by range, journaled before and after."""

import base64
import hashlib
import io
import itertools
import re
import zipfile
from urllib.parse import quote, unquote

import make
import pytest

from mespieces.domain import consultations, documents
from mespieces.models import Consultation, Delivery, Document, Message
from mespieces.views import streams

FILE = "/pieces/1/fichier"
PREFETCHES = [{"Sec-Purpose": "prefetch"}, {"Sec-Purpose": "prefetch;prerender"}, {"Purpose": "prefetch"}]
CONTENTS = ["/pieces/1/pages/1.webp", "/pieces/1/texte", FILE, "/pieces/liasse.zip"]


@pytest.fixture
def deposit(site):
    """File a deposit of two documents."""
    return make.filed(site.gateways, documents=2)


@pytest.fixture
def debtor(site, deposit):
    """Identify its recipient."""
    return site.reading(deposit)


def _flip(site, document, position=200):
    """Change one stored bit of a document, behind the product's back."""
    objects = site.gateways.vault._storage._objects
    name = documents.file_name(document.id)
    data, modified = objects[name]
    changed = bytearray(data)
    changed[position] ^= 1
    objects[name] = bytes(changed), modified


def test_the_digest_announced_is_that_of_the_bytes_and_of_the_page(debtor, deposit):
    got = debtor.get(FILE)
    digest = hashlib.sha256(got.data)
    page = re.sub(r"</?span>", "", debtor.get("/pieces/1").text)

    assert got.data == make.pdf()
    assert got.headers["Repr-Digest"] == f"sha-256=:{base64.b64encode(digest.digest()).decode()}:"
    assert got.headers["ETag"] == f'"{digest.hexdigest()}"'
    assert got.mimetype == "application/pdf"
    assert got.content_length == len(got.data)
    assert digest.hexdigest() in page
    assert digest.hexdigest() in re.sub(r"</?span>", "", debtor.get("/pieces").text)


def test_a_range_gives_its_bytes(debtor):
    whole = make.pdf()
    for asked, start, stop in (
        ("bytes=100-199", 100, 200), ("bytes=0-0", 0, 1), ("bytes=-50", -50, None), ("bytes=300-", 300, None),
        ("bytes=0-99999999", 0, None), ("bytes=-99999999", 0, None),
    ):  # fmt: skip
        got = debtor.get(FILE, 206, headers={"Range": asked})
        first, last, size = map(int, re.fullmatch(r"bytes (\d+)-(\d+)/(\d+)", got.headers["Content-Range"]).groups())

        assert got.data == whole[start:stop], asked
        assert whole[first : last + 1] == got.data
        assert size == len(whole)
        assert got.content_length == len(got.data)
        assert got.headers["Repr-Digest"] == debtor.get(FILE).headers["Repr-Digest"]


def test_several_ranges_and_strange_ones_give_the_whole_file(debtor):
    for asked in ("bytes=0-10,20-30", "pages=1-2", "bytes=x", "bytes=", "x", "bytes=10-5", "bytes=--5"):
        assert debtor.get(FILE, headers={"Range": asked}).data == make.pdf(), asked


def test_a_range_beyond_the_end_is_refused_with_the_size(debtor):
    for asked in ("bytes=99999999-", "bytes=99999999-100000000"):
        got = debtor.get(FILE, 416, headers={"Range": asked})

        assert got.headers["Content-Range"] == f"bytes */{len(make.pdf())}"
    assert make.count("document.consulted") == 0


def test_a_range_is_given_only_of_the_version_it_was_begun_with(debtor):
    etag = debtor.get(FILE).headers["ETag"]

    debtor.get(FILE, 206, headers={"Range": "bytes=0-9", "If-Range": etag})
    debtor.get(FILE, 200, headers={"Range": "bytes=0-9", "If-Range": '"other"'})
    debtor.get(FILE, 200, headers={"Range": "bytes=0-9", "If-Range": "W/" + etag})
    debtor.get(FILE, 200, headers={"Range": "bytes=0-9", "If-Range": "Tue, 24 Nov 2026 10:00:00 GMT"})


def test_a_head_names_the_file_serves_nothing_and_journals_nothing(debtor):
    before = make.operations()
    for path in CONTENTS:
        assert debtor.ask("HEAD", path, 200).data == b""
        assert debtor.ask("HEAD", path, 200, headers={"Range": "bytes=99999999-"}).data == b""
    named = debtor.ask("HEAD", FILE, 200)

    assert named.content_length == len(make.pdf())
    assert named.headers["Repr-Digest"]
    assert named.headers["Accept-Ranges"] == "bytes"
    assert make.operations() == before
    assert Consultation.select().count() == 0


def test_a_browser_that_asks_ahead_is_served_nothing_and_journals_nothing(debtor):
    before = make.operations()
    for path, ahead in itertools.product(["/pieces", "/pieces/1", *CONTENTS], PREFETCHES):
        got = debtor.get(path, 409, headers=ahead)
        assert make.pdf() not in got.data
        assert b"Facture" not in got.data

    assert make.operations() == before


def test_a_page_around_the_images_is_no_consultation_yet(debtor):
    debtor.get("/pieces")
    debtor.get("/pieces/1")

    assert make.count("document.consulted") == 0


def test_everything_of_one_document_is_one_consultation_and_each_mode_is_delivered_once(debtor, deposit):
    for path in ["/pieces/1/pages/1.webp", "/pieces/1/texte", FILE, FILE, "/pieces/1/pages/1.webp"]:
        debtor.get(path)

    assert make.count("document.consulted") == 1
    assert make.count("document.delivered") == 3
    assert {row.mode for row in Delivery.select()} == {"page", "text", "file"}


def test_the_consultation_is_committed_before_a_byte_leaves(site, debtor, monkeypatch):
    seen = []

    class Watched(streams.Handing):
        def __iter__(self):
            seen.append(make.count("document.consulted"))
            return super().__iter__()

    monkeypatch.setattr(streams, "Handing", Watched)
    for path in ("/pieces/1/pages/1.webp", FILE, "/pieces/2/texte"):
        debtor.get(path)
    site.reading(Document.get().deposit).get("/pieces/liasse.zip")

    assert seen == [1, 1, 2, 4]


def test_when_the_journal_fails_nothing_is_served(debtor, monkeypatch):
    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(consultations.journal, "append", full)
    for path in CONTENTS:
        got = debtor.get(path, 500)
        assert make.pdf() not in got.data

    assert Consultation.select().count() == 0


def test_what_is_cut_off_is_journaled_as_interrupted_then_as_delivered(debtor):
    cut = debtor.get(FILE, buffered=False)
    cut.response.close() if hasattr(cut.response, "close") else None
    cut.close()
    assert (make.count("document.interrupted"), make.count("document.delivered")) == (1, 0)

    debtor.get(FILE)

    assert (make.count("document.interrupted"), make.count("document.delivered")) == (1, 1)


def test_a_part_says_nothing_of_how_the_whole_ended(debtor):
    debtor.get(FILE, 206, headers={"Range": "bytes=0-9"})

    assert make.count("document.consulted") == 1
    assert make.count("document.delivered") == 0


NAMES = (
    "Facture été n° 1 «œuvre».pdf", "请求.pdf", '"; rm -rf.pdf', "a\r\nX-Evil: 1.pdf", "🧾.pdf", "../../etc/passwd", "%41.pdf",
)  # fmt: skip


def test_a_file_keeps_its_name_whatever_its_letters(site):
    draft = make.draft(site.gateways)
    office = site.member(make.member(site.gateways, draft.office))
    for name in NAMES:
        office.upload(f"/etude/depots/{draft.id}/pieces", make.pdf(), quote(name))
    make.recipient(site.gateways, draft)
    office.post(f"/etude/depots/{draft.id}/deposer")
    debtor = site.reading(draft)
    for kept in list(Document.select()):
        got = debtor.get(f"/pieces/{kept.number}/fichier")
        plain, encoded = re.fullmatch(
            r"attachment; filename=\"([A-Za-z0-9 ._()-]+)\"; filename\*=UTF-8''([\w%.~-]+)",
            got.headers["Content-Disposition"],
        ).groups()

        assert unquote(encoded) == kept.filename
        assert len(plain) == len(kept.filename)
        assert "/" not in kept.filename
        assert "X-Evil" not in got.headers
    assert {"请求.pdf", "🧾.pdf", "passwd.pdf", "%41.pdf"} < {kept.filename for kept in Document.select()}
    with zipfile.ZipFile(io.BytesIO(debtor.get("/pieces/liasse.zip").data)) as archive:
        assert len(archive.namelist()) == len(NAMES) + 1


def test_the_bundle_holds_every_document_byte_for_byte(site, debtor, deposit):
    got = debtor.get("/pieces/liasse.zip")
    with zipfile.ZipFile(io.BytesIO(got.data)) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["01 Facture 1.pdf", "02 Facture 2.pdf", "Bordereau.txt"]
        assert archive.read("01 Facture 1.pdf") == archive.read("02 Facture 2.pdf") == make.pdf()
        assert hashlib.sha256(make.pdf()).hexdigest() in archive.read("Bordereau.txt").decode("utf-8-sig")
    assert make.count("document.consulted") == 2
    assert make.count("document.delivered") == 2
    assert "2026-1187" in got.headers["Content-Disposition"]


@pytest.mark.parametrize("path", CONTENTS)
def test_one_bit_changed_is_seen_refused_journaled_and_told_to_the_office(site, debtor, deposit, path):
    _flip(site, Document.get(Document.number == 1))

    refused = debtor.get(path, 503)

    assert "son empreinte n’est plus celle relevée au dépôt" in refused.text
    assert make.count("document.corrupted") == 1
    assert make.count("document.consulted") == 0
    assert Message.get().kind == "corruption"
    assert "ne peut plus être consultée" in site.mails()[-1]
    assert debtor.get("/pieces/2/fichier").data == make.pdf()


def _replace(site, document):
    """Seal other bytes in a document's place, with its own key: only the fingerprint tells."""
    name, owner = documents.file_name(document.id), str(document.id)
    site.gateways.vault.delete_all(name)
    site.gateways.vault.put(name, document.wrapped_key, owner, owner, make.pdf("Facture 1200"))


def test_bytes_that_were_replaced_by_others_well_sealed_are_refused_too(site, debtor, deposit):
    _replace(site, Document.get(Document.number == 1))

    debtor.get(FILE, 503)

    assert make.count("document.corrupted") == 1


def test_a_file_is_checked_again_at_each_whole_download(site, debtor):
    debtor.get(FILE)
    _replace(site, Document.get(Document.number == 1))

    debtor.get(FILE, 503)

    assert make.count("document.corrupted") == 1


def test_a_file_gone_from_the_storage_is_refused(site, debtor):
    site.gateways.vault.delete_all(documents.folder(Document.get(Document.number == 1).id))

    debtor.get(FILE, 503)

    assert make.count("document.corrupted") == 1


def test_a_document_that_is_not_in_the_deposit_is_not_found(debtor):
    for number in ("0", "3", "9" * 15, "9" * 19, "9" * 30, "9" * 5000, "-1", "1.0", "x"):
        for rest in ("", "/fichier", "/texte", "/pages/1.webp"):
            debtor.get(f"/pieces/{number}{rest}", 404)
    debtor.get(f"/pieces/1/pages/{'9' * 40}.webp", 404)


def test_a_page_the_document_does_not_have_is_not_found_and_journals_nothing(site):
    deposit = make.filed(site.gateways)

    for page in (0, 2, 46):
        site.reading(deposit).get(f"/pieces/1/pages/{page}.webp", 404)

    assert make.count("document.consulted") == 0


def test_a_download_s_name_stays_legible_where_only_ascii_is_read():
    assert 'filename="Attestation de depot - Numero 3.pdf"' in streams.named("Attestation de dépôt - Numéro 3.pdf")
    assert "filename*=UTF-8''Attestation%20de%20d%C3%A9p%C3%B4t" in streams.named("Attestation de dépôt - Numéro 3.pdf")
