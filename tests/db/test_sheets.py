"""Every access sheet of a deposit at once: all or none, and never a second time unknowingly."""

import io
import re
from datetime import timedelta

import make
import pypdfium2
import pytest

from mespieces import models
from mespieces.domain import accesses, checkpoints, identification, journal, passwords, sheets
from mespieces.gateways import pdf
from mespieces.models import Access, JournalLog

NAMES = ("Alexandre Payet", "Béatrice Roux", "Société « Le Bon Moulin »")


@pytest.fixture
def deposit(gateways):
    return make.filed(gateways, blanks=2, recipients=NAMES)


def printed(gateways, deposit, last=None, **asked):
    last = accesses.last_printed(accesses.every(deposit)) if last is None else last
    return sheets.issue_all(gateways, deposit, last, by=journal.OPERATOR, member=None, **asked)


def read(made):
    """The reference and the secret of each page."""
    opened = pypdfium2.PdfDocument(io.BytesIO(made))
    pages = [page.get_textpage().get_text_bounded() for page in opened]
    codes = [
        re.search(r"Votre référence\s+([0-9A-Z]{4}-[0-9A-Z]{4})\b.*?((?:[0-9A-Z]{5}-){3}[0-9A-Z]{5})", page, re.DOTALL)
        for page in pages
    ]
    return [(found[1], found[2]) for found in codes], pages


def test_one_pdf_holds_a_page_for_each_recipient_and_each_opens_its_own_access(gateways, deposit):
    found, pages = read(printed(gateways, deposit))

    assert len(pages) == len(NAMES)
    for name in NAMES:
        assert sum(name.split()[0] in page for page in pages) == 1
    for access, (reference, secret) in zip(accesses.unused(deposit), found, strict=True):
        begun = identification.begin(gateways, reference, secret, make.TRACE)
        assert begun.sign_in.access_id == access.id
    assert make.operations(deposit.id).count("recipient.access_issued") == len(NAMES)


def test_the_sheets_printed_before_open_nothing_any_more(gateways, deposit):
    access, secret = make.issued(gateways, make.first(deposit))

    printed(gateways, deposit)

    assert isinstance(identification.begin(gateways, access.reference, secret, make.TRACE), identification.Wrong)


def test_who_has_come_already_keeps_their_sheet(gateways, deposit):
    someone = make.first(deposit)
    make.identified(gateways, someone)
    before = Access.get(Access.recipient == someone).secret_hash

    found, pages = read(printed(gateways, deposit))

    assert len(found) == len(NAMES) - 1
    assert not any(someone.name in page for page in pages)
    assert Access.get(Access.recipient == someone).secret_hash == before


def test_a_second_click_prints_nothing_and_leaves_the_first_sheets_good(gateways, deposit):
    last = accesses.last_printed(accesses.every(deposit))
    found, _ = read(printed(gateways, deposit, last))

    with pytest.raises(accesses.SheetsPrintedMeanwhile):
        printed(gateways, deposit, last)

    assert make.operations(deposit.id).count("recipient.access_issued") == len(NAMES)
    assert identification.begin(gateways, *found[0], make.TRACE).token


def test_somebody_who_comes_in_meanwhile_keeps_their_access(gateways, deposit, monkeypatch):
    someone, stretch, met = make.first(deposit), passwords.stretch, []

    def come_in(secret):
        stretched = stretch(secret)
        if not met:
            met.append(1)
            with models.write():
                Access.update(first_identified_at=make.NOW).where(Access.recipient == someone).execute()
        return stretched

    monkeypatch.setattr(passwords, "stretch", come_in)
    with pytest.raises(accesses.SheetsPrintedMeanwhile):
        printed(gateways, deposit)
    assert "recipient.access_issued" not in make.operations(deposit.id)


def test_where_all_have_come_nothing_is_printed_unless_they_are_asked_for(gateways):
    deposit = make.filed(gateways, blanks=1)
    make.identified(gateways, make.first(deposit))

    with pytest.raises(accesses.NothingToPrint):
        printed(gateways, deposit)
    assert len(read(printed(gateways, deposit, everyone=True, motive="Acte perdu"))[0]) == 1


def test_those_who_have_come_are_printed_too_where_asked_for_one_motive(gateways, deposit):
    someone = make.first(deposit)
    session = make.identified(gateways, someone)
    before = make.everything()
    with pytest.raises(accesses.MotiveNeededForSome):
        printed(gateways, deposit, everyone=True, motive=" ")
    drawn = {access.id: "x" for access in accesses.every(deposit)}
    last = accesses.last_printed(accesses.every(deposit))
    with pytest.raises(accesses.MotiveNeededForSome):
        accesses.issue_all(gateways, deposit, drawn, last=last, by=journal.OPERATOR, everyone=True)
    assert make.everything() == before

    found, _ = read(printed(gateways, deposit, everyone=True, motive="Acte signifié de nouveau"))

    assert len(found) == len(NAMES)
    for access, pair in zip(accesses.every(deposit), found, strict=True):
        assert identification.begin(gateways, *pair, make.TRACE).sign_in.access_id == access.id
    assert type(session).get().ended_at is not None
    issued = [entry for entry in journal.story(deposit) if entry.operation == "recipient.access_issued"]
    motives = {
        entry.body["object"].get("recipient"): entry.body["detail"].get("motive") for entry in issued[: len(NAMES)]
    }
    assert sorted(motives.values(), key=str) == ["Acte signifié de nouveau", None, None]


def test_a_sheet_printed_alone_meanwhile_stops_the_batch(gateways, deposit):
    someone = make.first(deposit)
    make.identified(gateways, someone)
    last = accesses.last_printed(accesses.every(deposit))
    gateways.clock.advance(timedelta(minutes=1))
    make.issued(gateways, someone, "Acte perdu")

    with pytest.raises(accesses.SheetsPrintedMeanwhile):
        printed(gateways, deposit, last, everyone=True, motive="Acte signifié de nouveau")


def test_a_sheet_that_cannot_be_made_changes_no_secret(gateways, deposit, monkeypatch):
    def fail(_facts):
        raise pdf.NotComposed

    monkeypatch.setattr(pdf, "access_sheet", fail)
    with pytest.raises(pdf.NotComposed):
        printed(gateways, deposit)

    assert {access.secret_hash for access in accesses.unused(deposit)} == {None}


def test_a_batch_that_cannot_be_journaled_is_not_given(gateways, deposit, monkeypatch):
    head = checkpoints.head(gateways)
    monkeypatch.setattr(checkpoints, "head", lambda _: head)
    with models.write():
        JournalLog.update(closed_at=make.NOW).execute()

    with pytest.raises(journal.JournalClosed):
        printed(gateways, deposit)

    assert {access.secret_hash for access in accesses.unused(deposit)} == {None}


def test_one_sheet_clicked_twice_is_printed_once(gateways, deposit):
    someone = make.first(deposit)
    last = accesses.last_printed([accesses.of(someone)])
    made = sheets.issue(gateways, someone, by=journal.OPERATOR, member=None, last=last)

    with pytest.raises(accesses.SheetsPrintedMeanwhile):
        sheets.issue(gateways, someone, by=journal.OPERATOR, member=None, last=last)

    [pair], _ = read(made)
    assert isinstance(identification.begin(gateways, *pair, make.TRACE), identification.Begun)


def test_a_sheet_that_cannot_be_typeset_leaves_the_former_one_good(gateways, deposit, monkeypatch):
    someone = make.first(deposit)
    access, secret = make.issued(gateways, someone)

    def fail(_facts):
        raise pdf.NotComposed

    monkeypatch.setattr(pdf, "access_sheet", fail)
    with pytest.raises(pdf.NotComposed):
        sheets.issue(gateways, someone, by=journal.OPERATOR, member=None)
    assert isinstance(identification.begin(gateways, access.reference, secret, make.TRACE), identification.Begun)
