"""The application's key on paper, for a second letter: shown once, and only what the office meant to replace stops."""

import base64
import io
import re

import make
import pyotp
import pypdfium2
import pytest

from mespieces.domain import accesses, deposits, enrolments, identification, journal, sign_ins
from mespieces.models import Access, CodeKey, Deposit, Recipient


@pytest.fixture
def recipient(gateways):
    return make.first(make.filed(gateways, blanks=1))


def issue(gateways, recipient, motive="", last=None):
    teller = make.member(gateways, recipient.deposit.office)
    last = enrolments.known(Access.get(Access.recipient == recipient)) if last is None else last
    return enrolments.issue(gateways, recipient, motive, last, by=teller, trace=make.TRACE)


def key_of(sheet):
    page = pypdfium2.PdfDocument(io.BytesIO(sheet))[0].get_textpage().get_text_bounded()
    return re.search(r"(?:[A-Z2-7]{4}\s){7}[A-Z2-7]{4}", page)[0].replace(" ", "").replace("\r\n", "")


def test_the_sheet_s_key_gives_the_code_that_opens_at_the_first_visit(gateways, recipient):
    key = key_of(issue(gateways, recipient))

    begun = make.begun(gateways, recipient)
    assert sign_ins.way_bound(gateways, begun.sign_in) == "app"
    code = pyotp.TOTP(key).at(gateways.clock.now())
    assert isinstance(identification.confirm(gateways, begun.token, code, make.TRACE), str)
    assert journal.story(recipient.deposit)[0].body["identified"] == {"way": "act+app", "set_by": "office"}
    assert (Recipient.get().way, Recipient.get().way_set_by) == ("app", "office")


def test_the_key_stands_nowhere_in_clear(gateways, recipient):
    key = key_of(issue(gateways, recipient))

    kept = make.everything()
    assert key not in kept
    assert base64.b32decode(key).hex() not in kept


def test_an_application_used_before_stops_and_a_motive_is_needed(gateways, recipient):
    session = make.identified(gateways, recipient, "app")
    before = CodeKey.get().id

    with pytest.raises(accesses.MotiveNeeded):
        issue(gateways, recipient)
    assert CodeKey.get().id == before
    assert type(session).get().ended_at is None

    issue(gateways, recipient, "Téléphone perdu")
    assert CodeKey.get().id != before
    assert type(session).get().ended_at is not None
    assert journal.story(recipient.deposit)[0].body["detail"]["motive"] == "Téléphone perdu"


def test_a_second_click_draws_no_other_key(gateways, recipient):
    issue(gateways, recipient, last="")
    before = CodeKey.get().id

    with pytest.raises(enrolments.EnrolledMeanwhile):
        issue(gateways, recipient, last="")

    assert CodeKey.get().id == before
    assert make.count("recipient.channel_reset") == 1


def test_nothing_is_drawn_for_a_deposit_that_is_over(gateways, recipient):
    gateways.clock.advance(Deposit.get().expires_at - gateways.clock.now())

    with pytest.raises(deposits.AlreadyEnded):
        issue(gateways, recipient)
    assert CodeKey.select().count() == 0
