"""Documents: fingerprinted as they arrive, refused without a trace, numbered without a gap."""

import hashlib

import hypothesis
import make
import pytest
from hypothesis import strategies as st

from mespieces.domain import deposits, documents, journal
from mespieces.errors import Invalid, Unsupported
from mespieces.models import Document

BY = journal.OPERATOR


def stored(gateways):
    return [item.name for item in gateways.vault.names()]


def numbers(deposit):
    return [document.number for document in documents.listed(deposit)]


def test_a_document_is_fingerprinted_and_journaled_at_its_deposit(gateways):
    deposit = make.draft(gateways)

    document = make.document(gateways, deposit, filename="C:\\Factures\\facture_moulin  12.PDF")

    assert document.fingerprint == hashlib.sha256(make.pdf()).hexdigest()
    assert (document.number, document.title, document.nature) == (1, "Facture moulin 12", "facture")
    assert (document.media_type, document.pages, document.size) == ("application/pdf", 1, len(make.pdf()))
    told = journal.story(deposit)[0]
    assert told.operation == "document.deposited"
    assert told.body["object"]["fingerprint"] == document.fingerprint
    with documents.open_file(gateways, document) as plaintext:
        assert b"".join(plaintext.chunks()) == make.pdf()


def test_nothing_of_a_document_is_readable_in_the_storage(gateways):
    make.document(gateways, make.draft(gateways))

    kept = gateways.vault._storage._objects
    assert len(kept) == 1
    assert all(make.pdf()[:20] not in data for data, _ in kept.values())


@pytest.mark.parametrize(
    ("data", "refusal"),
    [(b"", Invalid), (b"%PDF-1.7 cut", Unsupported), (b"MZ\x90 a program", Unsupported)],
    ids=["empty", "cut", "program"],
)
def test_a_refused_file_leaves_no_row_and_no_bytes(gateways, data, refusal):
    deposit = make.draft(gateways)

    with pytest.raises(refusal, match=r"offre\.pdf"):
        make.document(gateways, deposit, data, "offre.pdf")

    assert Document.select().count() == 0
    assert stored(gateways) == []
    assert make.operations(deposit.id) == ["deposit.created"]


@pytest.mark.parametrize(
    ("sent", "kept"),
    [
        ("Facture.hta", "Facture.hta.pdf"), ("Facture.pdf.exe", "Facture.pdf.exe.pdf"), ("FACTURE.PDF", "FACTURE.PDF"),
        ("Facture", "Facture.pdf"), ("scan.jpg", "scan.jpg.pdf"), ("Facture.lnk .", "Facture.lnk.pdf"),
    ],
)  # fmt: skip
def test_a_file_is_never_given_back_under_the_ending_of_a_program(gateways, sent, kept):
    make.document(gateways, make.draft(gateways), filename=sent)

    assert Document.get().filename == kept


def test_a_file_too_large_is_refused_while_it_arrives(gateways):
    limit = gateways.settings.max_document_bytes
    with documents.Arrival(gateways) as arrival:
        arrival.write(bytes(limit))
        with pytest.raises(documents.DocumentTooLarge, match="50\u00a0Mo"):
            arrival.write(b"x")

    assert stored(gateways) == []


def test_an_arrival_that_nobody_takes_leaves_nothing(gateways):
    with documents.Arrival(gateways) as arrival:
        arrival.write(make.pdf())

    assert stored(gateways) == []


def test_a_filed_deposit_takes_no_more_documents_and_gives_none_back(gateways):
    deposit = make.filed(gateways)
    kept, document = stored(gateways), documents.numbered(deposit, 1)

    for change in (
        lambda: make.document(gateways, deposit),
        lambda: documents.remove(gateways, deposit.id, document.id, by=BY),
        lambda: documents.arrange(deposit.id, document.id, 1),
        lambda: documents.describe(deposit.id, document.id, {"title": "Autre"}, latest=make.NOW.date()),
    ):
        with pytest.raises(deposits.DepositFiled, match="NTE-4821"):
            change()

    assert stored(gateways) == kept
    assert [row.id for row in Document.select()] == [document.id]


def test_a_deposit_takes_two_hundred_documents(gateways):
    deposit = make.draft(gateways)
    make.blank(deposit, documents.MOST)

    with pytest.raises(documents.TooManyDocuments):
        make.document(gateways, deposit)
    assert stored(gateways) == []


def test_a_removed_document_leaves_no_bytes_and_no_gap(gateways):
    deposit = make.draft(gateways)
    kept = [make.document(gateways, deposit, filename=f"{letter}.pdf") for letter in "ab"]

    documents.remove(gateways, deposit.id, kept[0].id, by=BY)

    assert [(row.number, row.title) for row in documents.listed(deposit)] == [(1, "B")]
    assert stored(gateways) == [documents.file_name(kept[1].id)]
    assert make.operations(deposit.id)[-1] == "document.withdrawn"
    with pytest.raises(documents.DocumentMissing):
        documents.remove(gateways, deposit.id, kept[0].id, by=BY)


@hypothesis.settings(
    max_examples=12, deadline=None, suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture]
)
@hypothesis.given(
    count=st.integers(1, 8),
    moves=st.lists(st.tuples(st.integers(0, 7), st.integers(-2, 12), st.booleans()), max_size=6),
)
def test_documents_are_numbered_from_one_without_a_gap_whatever_moves(gateways, count, moves):
    deposit = make.draft(gateways, of=make.office(gateways))
    make.blank(deposit, count)
    expected = [row.title for row in documents.listed(deposit)]

    for chosen, position, removed in moves:
        if not expected:
            break
        title = expected[chosen % len(expected)]
        row = Document.get(Document.deposit == deposit, Document.title == title)
        expected.remove(title)
        if removed:
            documents.remove(gateways, deposit.id, row.id, by=BY)
        else:
            documents.arrange(deposit.id, row.id, position)
            expected.insert(max(0, position - 1), title)

        assert numbers(deposit) == list(range(1, len(expected) + 1))
        assert [row.title for row in documents.listed(deposit)] == expected


def test_a_document_is_described_and_a_wrong_date_names_its_field(gateways):
    deposit = make.draft(gateways)
    make.blank(deposit, 1)
    document = documents.numbered(deposit, 1)
    typed = {"title": " Bail  commercial ", "nature": "contrat", "dated": "01/03/2025"}

    described = documents.describe(deposit.id, document.id, typed, latest=make.NOW.date())

    assert (described.title, described.nature, described.dated.isoformat()) == (
        "Bail commercial", "contrat", "2025-03-01",
    )  # fmt: skip
    for field, value in [("title", ""), ("nature", "roman"), ("dated", "2099-01-01")]:
        with pytest.raises(Invalid) as refused:
            documents.describe(deposit.id, document.id, typed | {field: value}, latest=make.NOW.date())
        assert refused.value.field == field


def test_a_document_is_not_found_through_another_deposit(gateways):
    deposit = make.draft(gateways)
    make.blank(deposit, 1)
    other = make.draft(gateways, of=deposit.office)

    for ask in (
        lambda: documents.find(other, documents.numbered(deposit, 1).id),
        lambda: documents.numbered(other, 1),
        lambda: documents.arrange(other.id, documents.numbered(deposit, 1).id, 1),
    ):
        with pytest.raises(documents.DocumentMissing):
            ask()


def test_pages_and_words_are_drawn_once_and_kept_sealed(gateways):
    deposit = make.draft(gateways)
    document = make.document(gateways, deposit)

    assert documents.draw_pending(gateways) == 1
    assert documents.draw_pending(gateways) == 0
    drawn = documents.page(gateways, document, 1)
    assert drawn[8:12] == b"WEBP"
    assert documents.words(gateways, document)[0].strip() == "Facture 12"
    assert len(stored(gateways)) == 3
    assert documents.page(gateways, document, 1) == drawn


def test_a_preview_that_cannot_be_read_is_drawn_again(gateways):
    document = make.document(gateways, make.draft(gateways))
    drawn, kept = documents.page(gateways, document, 1), gateways.vault._storage._objects
    name = f"{documents.folder(document.id)}/pages/1.webp"
    data, modified = kept[name]
    kept[name] = (data[:-1] + bytes([data[-1] ^ 1]), modified)

    assert documents.page(gateways, document, 1) == drawn
    assert kept[name][0] != data


def test_sizes_are_written_as_french_does():
    shown = {0: "0 octet", 1: "1 octet", 2: "2 octets", 1536: "1,5 Ko", 50 * 2**20: "50 Mo", 150 * 2**20 + 1: "150 Mo"}
    for size, words in shown.items():
        assert documents.size_in_words(size) == words.replace(" ", "\u00a0")
