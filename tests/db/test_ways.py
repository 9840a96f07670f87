"""The office changes how a recipient receives codes: a mistyped address, a lost telephone."""

import make
import pytest

from mespieces.domain import identification, journal, notices, one_time_codes, outbox, sign_ins, text, ways
from mespieces.models import CodeKey, Recipient


def reset(gateways, recipient, email="", motive="Adresse mal saisie"):
    teller = make.member(gateways, recipient.deposit.office)
    ways.reset(gateways, recipient, email, motive, by=teller, trace=make.TRACE)


def test_a_recipient_whose_telephone_is_lost_may_choose_again(gateways):
    recipient = make.first(make.filed(gateways))
    session = make.identified(gateways, recipient, "app")

    reset(gateways, recipient, motive="Téléphone perdu")

    assert Recipient.get().way == ""
    assert CodeKey.select().count() == 0
    assert type(session).get().ended_at is not None
    begun = make.begun(gateways, recipient, motive="Téléphone perdu")
    assert ways.open_to(gateways, sign_ins.find(gateways, begun.token)) == ways.WAYS


def test_the_former_address_is_told_and_codes_go_to_the_new_one(gateways):
    recipient = make.first(make.filed(gateways))
    make.identified(gateways, recipient, "email")

    reset(gateways, recipient, "neuve@example.fr")
    outbox.drain(gateways, notices.compose)

    told = gateways.mail.sent[-1]
    assert told["To"] == "payet@example.fr"
    begun = make.begun(gateways, Recipient.get(), motive="Adresse changée")
    sign_in = one_time_codes.send(gateways, begun.token)
    assert (sign_in.way, sign_in.email) == ("email", "neuve@example.fr")


def test_a_sign_in_with_the_former_way_is_over(gateways):
    recipient = make.first(make.filed(gateways))
    token, code = make.waiting(gateways, recipient, "email")

    reset(gateways, recipient)

    with pytest.raises(sign_ins.SignInOver):
        identification.confirm(gateways, token, code, make.TRACE)


def test_a_change_needs_a_motive_and_is_journaled(gateways):
    recipient = make.first(make.filed(gateways))
    with pytest.raises(text.Needed):
        reset(gateways, recipient, motive=" ")

    reset(gateways, recipient, motive="Adresse mal saisie")

    entry = journal.story(recipient.deposit)[0]
    assert (entry.operation, entry.body["detail"]["motive"]) == ("recipient.channel_reset", "Adresse mal saisie")
