"""The office changes how a recipient receives codes: a mistyped address, a lost telephone."""

from dataclasses import replace
from datetime import timedelta

import make
import pytest

from mespieces.domain import identification, journal, notices, one_time_codes, outbox, sign_ins, text, ways
from mespieces.models import CodeKey, Recipient


def reset(gateways, recipient, email="", motive="Adresse mal saisie", way="", role="commissaire"):
    teller = make.member(gateways, recipient.deposit.office, role=role)
    ways.reset(gateways, recipient, email, motive, way, by=teller, trace=make.TRACE)


def allowing(gateways, act_alone):
    """The same product, run with another setting."""
    return replace(gateways, settings=replace(gateways.settings, act_alone=act_alone))


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


# What the office settles


def test_the_office_waives_the_second_step_for_one_recipient_saying_why(gateways):
    recipient = make.first(make.filed(gateways))
    session = make.identified(gateways, recipient, "email")

    reset(gateways, recipient, motive="Sans téléphone ni courriel", way="act")

    assert type(session).get().ended_at is not None
    begun = make.begun(gateways, recipient, motive="Dispense")
    assert identification.act_alone(gateways, begun.token, make.TRACE)
    story = journal.story(recipient.deposit)
    waived = next(entry for entry in story if entry.operation == "recipient.second_step_waived")
    assert waived.body["detail"]["motive"] == "Sans téléphone ni courriel"
    assert story[0].body["identified"] == {"way": "act"}


def test_a_waiver_is_undone_by_settling_a_way(gateways):
    recipient = make.first(make.filed(gateways))
    reset(gateways, recipient, way="act")

    reset(gateways, Recipient.get(), way="office")

    begun = make.begun(gateways, Recipient.get())
    with pytest.raises(ways.WayUnknown):
        identification.act_alone(gateways, begun.token, make.TRACE)
    assert sign_ins.way_bound(gateways, begun.sign_in) == "office"


@pytest.mark.parametrize("role", ["clerc"])
def test_a_clerk_waives_nothing(gateways, role):
    recipient = make.first(make.filed(gateways))

    with pytest.raises(ways.WaiverRefused):
        reset(gateways, recipient, way="act", role=role)

    assert Recipient.get().second_step_waived_because is None


def test_where_the_operator_refuses_it_nobody_waives_and_former_waivers_end(gateways):
    recipient = make.first(make.filed(gateways))
    reset(gateways, recipient, way="act")
    strict = allowing(gateways, "refuse")

    with pytest.raises(ways.WaiverRefused):
        reset(strict, Recipient.get(), way="act")
    begun = make.begun(strict, recipient)
    with pytest.raises(ways.WayUnknown):
        identification.act_alone(strict, begun.token, make.TRACE)
    assert ways.open_to(strict, begun.sign_in) == ways.WAYS
    token, code = make.waiting(strict, recipient, "email")
    assert isinstance(identification.confirm(strict, token, code, make.TRACE), str)
    assert Recipient.get().way == "email"  # and the way binds, as for anybody


def test_the_act_alone_chosen_where_anyone_may_ends_with_the_permission(gateways):
    recipient = make.first(make.filed(gateways))
    lenient = allowing(gateways, "anyone")
    assert isinstance(identification.act_alone(lenient, make.begun(lenient, recipient).token, make.TRACE), str)
    assert Recipient.get().way == "act"

    for stricter in ("office", "refuse"):
        strict = allowing(gateways, stricter)
        begun = make.begun(strict, recipient, motive="Pli égaré")
        with pytest.raises(ways.WayUnknown):
            identification.act_alone(strict, begun.token, make.TRACE)
        assert ways.open_to(strict, begun.sign_in) == ways.WAYS
    token = begun.token
    ways.choose(strict, token, "email", "payet@example.fr")
    assert isinstance(identification.confirm(strict, token, make.awaited(strict, token), make.TRACE), str)
    assert Recipient.get().way == "email"


def test_a_required_application_is_the_only_way_offered_and_the_office_s_choice(gateways):
    recipient = make.first(make.filed(gateways))
    reset(gateways, recipient, way="app")

    begun = make.begun(gateways, recipient)
    assert ways.open_to(gateways, begun.sign_in) == ("app",)
    with pytest.raises(ways.WayUnknown):
        ways.choose(gateways, begun.token, "email", "payet@example.fr")
    code = make.application(gateways, begun.token).at(gateways.clock.now())
    assert isinstance(identification.confirm(gateways, begun.token, code, make.TRACE), str)

    assert journal.story(recipient.deposit)[0].body["identified"] == {"way": "act+app", "set_by": "office"}


def test_a_required_code_from_the_office_waits_for_a_member(gateways):
    recipient = make.first(make.filed(gateways))
    reset(gateways, recipient, way="office")

    begun = make.begun(gateways, recipient)
    teller = make.member(gateways, recipient.deposit.office)
    told = one_time_codes.tell(gateways, recipient, "Au guichet", by=teller, trace=make.TRACE)

    assert isinstance(identification.confirm(gateways, begun.token, told, make.TRACE), str)
    assert journal.story(recipient.deposit)[0].body["identified"] == {"way": "act+office", "set_by": "office"}


def test_codes_by_mail_need_an_address_and_no_other_way_is_taken(gateways):
    recipient = make.first(make.filed(gateways))

    with pytest.raises(ways.AddressNeeded):
        reset(gateways, recipient, way="email")
    with pytest.raises(ways.WayUnknown):
        reset(gateways, recipient, way="pigeon")

    assert make.count("recipient.channel_reset") == 0


@pytest.mark.parametrize("way", ["email", "app"])
def test_who_calls_because_no_code_comes_is_told_one_without_typing_the_act_again(gateways, way):
    recipient = make.first(make.filed(gateways))
    session = make.identified(gateways, recipient, way)
    gateways.clock.advance(timedelta(minutes=2))
    access, secret = make.issued(gateways, recipient, "Feuillet perdu")
    token = identification.begin(gateways, access.reference, secret, make.TRACE).token
    teller = make.member(gateways, recipient.deposit.office)

    def tell():
        return one_time_codes.tell(gateways, Recipient.get(), "Au téléphone", by=teller, trace=make.TRACE)

    with pytest.raises(one_time_codes.NobodyWaiting, match="changez d’abord sa façon de recevoir le code"):
        tell()
    if way == "email":
        former = make.awaited(gateways, token)
    else:
        former = wrong = "000000"
        assert isinstance(identification.confirm(gateways, token, wrong, make.TRACE), identification.CodeWrong)
    reset(gateways, Recipient.get(), way="office", motive="Le courriel n’arrive pas")

    if way == "email":  # what was mailed serves no more
        with pytest.raises(identification.CodeNotAwaited):
            identification.confirm(gateways, token, former, make.TRACE)
    told = tell()
    wrong = told[:-1] + str((int(told[-1]) + 1) % 10)
    refused = identification.confirm(gateways, token, wrong, make.TRACE)
    assert refused.details["left"] == (4 if way == "email" else 3)  # what was counted stays counted
    assert isinstance(identification.confirm(gateways, token, told, make.TRACE), str)
    assert type(session).get().ended_at is not None
    assert Recipient.get().way == "office"


@pytest.mark.parametrize("way", ["", "email", "app", "act"])
def test_what_is_in_progress_ends_when_the_way_becomes_any_other(gateways, way):
    recipient = make.first(make.filed(gateways))
    token, _ = make.waiting(gateways, recipient, "office")

    reset(gateways, recipient, "payet@example.fr" if way == "email" else "", way=way)

    with pytest.raises(sign_ins.SignInOver):
        sign_ins.find(gateways, token)


@pytest.mark.parametrize(
    ("way", "words"),
    [
        ("", "choisit « Par l’étude »"),
        ("email", "par courriel. Pour lui en dire un, changez d’abord"),
        ("app", "d’une application. Pour lui en dire un, changez d’abord"),
        ("office", "on lui dit alors de vous appeler"),
        ("act", "Aucun code n’est demandé"),
    ],
)
def test_the_office_is_told_what_has_to_happen_before_it_can_tell_a_code(gateways, way, words):
    recipient = make.first(make.filed(gateways))
    if way:
        reset(gateways, recipient, "payet@example.fr" if way == "email" else "", way=way)

    assert words in one_time_codes.how_to_be_told(gateways, recipient.accesses.get())
