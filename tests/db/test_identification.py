"""Identification of recipients: the act's secret, then a code; and what failures cost (art. 3)."""

import contextlib
import logging
import re
from dataclasses import replace
from datetime import timedelta

import make
import pyotp
import pytest

from mespieces.domain import (
    accesses,
    codes,
    deposits,
    identification,
    journal,
    one_time_codes,
    outbox,
    sessions,
    sign_ins,
    text,
    throttle,
    ways,
)
from mespieces.domain.identification import CodeWrong, Delayed, Wrong
from mespieces.domain.one_time_codes import CodesExhausted, TooManyAsked
from mespieces.models import Access, CodeKey, Deposit, Message, Recipient, Session, SignIn, Throttle

ELSEWHERE = journal.Trace("203.0.113.9", "Autre")


@pytest.fixture
def deposit(gateways):
    return make.filed(gateways, blanks=1)


@pytest.fixture
def recipient(deposit):
    return make.first(deposit)


def begin(gateways, access, secret, trace=make.TRACE):
    return identification.begin(gateways, access.reference, secret, trace)


def wrong(code):
    """Another code of the same length."""
    return code[:-1] + str((int(code[-1]) + 1) % 10)


def minutes(gateways, count):
    gateways.clock.advance(timedelta(minutes=count))


# Ways


@pytest.mark.parametrize("way", ["app", "email", "office"])
def test_the_secret_then_a_code_open_a_session_and_bind_the_way(gateways, deposit, recipient, way):
    session = make.identified(gateways, recipient, way)

    assert session.way == f"act+{way}"
    bound = Recipient.get_by_id(recipient.id)
    assert (bound.way, bound.way_set_by) == (way, "recipient")
    assert Access.get().first_identified_at == make.NOW
    told = journal.story(deposit)
    assert [entry.operation for entry in told[:2]] == ["recipient.identified", "recipient.channel_chosen"]
    assert told[0].body["identified"] == {"way": f"act+{way}", "set_by": "recipient"}
    assert told[1].body["detail"] == {"way": way, "set_by": "recipient"}


@pytest.mark.parametrize("way", ["app", "email", "office"])
def test_the_way_once_bound_is_the_only_one(gateways, recipient, way):
    make.identified(gateways, recipient, way)
    token = make.begun(gateways, recipient, "Perdu").token

    assert ways.open_to(gateways, sign_ins.find(gateways, token)) == ()
    for other in ("app", "email", "office", "act"):
        with pytest.raises(ways.WayUnknown):
            ways.choose(gateways, token, other, "autre@example.fr")
    with pytest.raises(ways.WayUnknown):
        identification.act_alone(gateways, token, make.TRACE)
    assert sign_ins.find(gateways, token).way == way


def test_an_address_the_office_entered_is_the_way_from_the_start(gateways):
    deposit = make.draft(gateways)
    make.blank(deposit, 1)
    recipient = make.recipient(gateways, deposit, email="payet@example.fr")
    deposits.file(gateways, deposit.id, by=journal.OPERATOR)
    token = make.begun(gateways, recipient).token

    sign_in = sign_ins.find(gateways, token)
    assert (sign_ins.way_bound(gateways, sign_in), sign_in.email) == ("email", "payet@example.fr")
    session = identification.confirm(gateways, token, make.awaited(gateways, token), make.TRACE)

    assert sessions.of_recipient(gateways, session).way == "act+email"
    assert Recipient.get_by_id(recipient.id).way_set_by == "office"


def test_a_waived_second_step_opens_with_the_act_alone(gateways, recipient):
    assert make.identified(gateways, recipient, "act").way == "act"
    assert make.operations()[-1] == "recipient.identified"


def test_the_act_alone_opens_nothing_unless_somebody_allowed_it(gateways, recipient):
    token = make.begun(gateways, recipient).token

    assert ways.open_to(gateways, sign_ins.find(gateways, token)) == ("email", "app", "office")
    with pytest.raises(ways.WayUnknown):
        identification.act_alone(gateways, token, make.TRACE)
    assert Session.select().count() == 0


def test_a_mistyped_address_can_be_corrected_until_a_first_code_is_right(gateways, recipient):
    token = make.begun(gateways, recipient).token
    ways.choose(gateways, token, "email", "payte@example.fr")
    first = make.awaited(gateways, token)
    ways.choose(gateways, token, "email", "payet@example.fr")
    assert Recipient.get_by_id(recipient.id).way == ""

    second = make.awaited(gateways, token)
    assert second != first
    assert isinstance(identification.confirm(gateways, token, first, make.TRACE), CodeWrong)
    assert isinstance(identification.confirm(gateways, token, second, make.TRACE), str)
    assert Recipient.get_by_id(recipient.id).email == "payet@example.fr"


@pytest.mark.parametrize("way", ["app", "email", "office"])
def test_a_choice_made_before_another_sign_in_bound_a_way_is_over(gateways, recipient, way):
    access, secret = make.issued(gateways, recipient)
    early = begin(gateways, access, secret).token
    ways.choose(gateways, early, way, "intrus@example.fr" if way == "email" else "")
    code = make.awaited(gateways, early)
    other = begin(gateways, access, secret).token
    ways.choose(gateways, other, "email", "payet@example.fr")
    assert isinstance(identification.confirm(gateways, other, make.awaited(gateways, other), make.TRACE), str)

    with pytest.raises(sign_ins.SignInOver):
        identification.confirm(gateways, early, code, ELSEWHERE)
    bound = Recipient.get_by_id(recipient.id)
    assert (bound.way, bound.email) == ("email", "payet@example.fr")
    assert Session.select().count() == 1


def test_an_application_shown_before_another_was_bound_opens_nothing(gateways, recipient):
    access, secret = make.issued(gateways, recipient)
    early, other = (begin(gateways, access, secret).token for _ in range(2))
    for token in (early, other):
        ways.choose(gateways, token, "app", "")
    intruder, phone = make.application(gateways, early), make.application(gateways, other)
    now = gateways.clock.now()
    assert isinstance(identification.confirm(gateways, other, phone.at(now), make.TRACE), str)

    later = now + timedelta(seconds=30)
    for code in (intruder.at(now), intruder.at(later), phone.at(later)):
        with pytest.raises(sign_ins.SignInOver):
            identification.confirm(gateways, early, code, ELSEWHERE)
    assert Session.select().count() == CodeKey.select().count() == 1


def test_the_act_alone_chosen_as_another_way_is_bound_opens_nothing(gateways, recipient):
    lenient = replace(gateways, settings=replace(gateways.settings, act_alone="anyone"))
    access, secret = make.issued(gateways, recipient)
    alone, other = (begin(gateways, access, secret).token for _ in range(2))
    ways.choose(gateways, other, "app", "")
    code = make.application(gateways, other).at(gateways.clock.now())
    bound = []

    class Meanwhile:
        """A clock that, the first time it is asked, lets the other sign-in bind its way."""

        def now(self):
            if not bound:
                bound.append("app")
                bound.append(identification.confirm(gateways, other, code, make.TRACE))
            return gateways.clock.now()

    with pytest.raises(sign_ins.SignInOver):
        identification.act_alone(replace(lenient, clock=Meanwhile()), alone, ELSEWHERE)
    assert isinstance(bound[1], str)
    assert (Recipient.get().way, Session.select().count()) == ("app", 1)


# Codes


@pytest.mark.parametrize("way", ["app", "email", "office"])
def test_a_code_serves_once(gateways, recipient, way):
    token, code = make.waiting(gateways, recipient, way)
    assert isinstance(identification.confirm(gateways, token, code, make.TRACE), str)

    with pytest.raises(sign_ins.SignInOver):
        identification.confirm(gateways, token, code, make.TRACE)
    again = make.begun(gateways, recipient, "Perdu").token
    if way != "app":
        make.awaited(gateways, again)
    assert isinstance(identification.confirm(gateways, again, code, make.TRACE), CodeWrong)
    assert Session.select().count() == 1


def test_two_threads_that_post_one_code_get_one_session(gateways, recipient):
    token, code = make.waiting(gateways, recipient, "email")

    results = make.threads(4, lambda: identification.confirm(gateways, token, code, make.TRACE))

    assert len([result for result in results if isinstance(result, str)]) == 1
    assert sum(isinstance(result, sign_ins.SignInOver) for result in results) == 3
    assert Session.select().count() == 1
    assert make.count("recipient.identified") == 1


POST = (
    "try:\n"
    "    print(type(identification.confirm(gateways, arguments[place], arguments[-1], journal.NO_TRACE)).__name__)\n"
    "except sign_ins.SignInOver:\n"
    "    print('over')"
)


@pytest.mark.parametrize("way", ["app", "email", "office"])
def test_two_processes_that_post_one_code_get_one_session(gateways, recipient, way):
    token, code = make.waiting(gateways, recipient, way)

    assert sorted(make.processes(gateways, 2, POST, token, token, code)) == ["over", "str"]
    assert Session.select().count() == make.count("recipient.identified") == 1


def test_two_processes_that_post_one_code_of_an_application_in_two_sign_ins_get_one_session(gateways, recipient):
    access, secret = make.issued(gateways, recipient)
    token = begin(gateways, access, secret).token
    ways.choose(gateways, token, "app", "")
    app = make.application(gateways, token)
    assert isinstance(identification.confirm(gateways, token, app.at(gateways.clock.now()), make.TRACE), str)
    minutes(gateways, 5)
    tokens = [begin(gateways, access, secret).token for _ in range(2)]

    printed = make.processes(gateways, 2, POST, *tokens, app.at(gateways.clock.now()))

    assert sorted(printed) == ["CodeWrong", "str"]
    assert Session.select().count() == make.count("recipient.identified") == 2


def test_two_processes_that_enrol_different_ways_at_once_bind_one(gateways, recipient):
    access, secret = make.issued(gateways, recipient)
    tokens = [begin(gateways, access, secret).token for _ in range(2)]
    for token, address in zip(tokens, ("payet@example.fr", "intrus@example.fr"), strict=True):
        ways.choose(gateways, token, "email", address)
    awaited = [make.awaited(gateways, token) for token in tokens]

    printed = make.processes(gateways, 2, POST.replace("arguments[-1]", "arguments[2 + place]"), *tokens, *awaited)

    assert sorted(printed) == ["over", "str"]
    assert make.count("recipient.channel_chosen") == Session.select().count() == 1


def test_a_code_can_be_typed_with_spaces_and_the_wrong_one_is_counted(gateways, recipient):
    token, code = make.waiting(gateways, recipient, "email")
    refused = identification.confirm(gateways, token, wrong(code), make.TRACE)

    assert isinstance(refused, CodeWrong)
    assert "Essais restants : 4." in str(refused).replace("\u00a0", " ")
    assert re.fullmatch(r"\d{8}", code)
    assert isinstance(identification.confirm(gateways, token, f" {code[:4]} {code[4:]} ", make.TRACE), str)
    assert make.count("recipient.refused") == 1


@pytest.mark.parametrize("typed", ["", "x", "1234567", "123456789", "2026-11-24 12:30", "12345678 ou 87654321", "\x00"])
@pytest.mark.parametrize("way", ["app", "email", "office"])
def test_what_cannot_be_a_code_is_told_and_costs_nothing(gateways, recipient, way, typed):
    token, code = make.waiting(gateways, recipient, way)
    before = make.everything()

    with pytest.raises(codes.CodeIncomplete, match="6 chiffres" if way == "app" else "8 chiffres"):
        identification.confirm(gateways, token, typed, make.TRACE)
    assert make.everything() == before
    assert isinstance(identification.confirm(gateways, token, code, make.TRACE), str)


def test_a_code_before_any_was_given_costs_nothing(gateways, recipient):
    token = make.begun(gateways, recipient).token
    ways.choose(gateways, token, "office", "")
    before = make.everything()

    with pytest.raises(identification.CodeNotAwaited):
        identification.confirm(gateways, token, "12345678", make.TRACE)
    assert make.everything() == before


@pytest.mark.parametrize("way", ["email", "office"])
def test_a_code_is_over_after_ten_minutes(gateways, recipient, way):
    token, code = make.waiting(gateways, recipient, way)
    gateways.clock.advance(timedelta(minutes=10))

    assert isinstance(identification.confirm(gateways, token, code, make.TRACE), CodeWrong)


def test_a_code_serves_until_its_tenth_minute(gateways, recipient):
    token, code = make.waiting(gateways, recipient, "email")
    gateways.clock.advance(timedelta(minutes=10) - timedelta(microseconds=1))

    assert isinstance(identification.confirm(gateways, token, code, make.TRACE), str)


def test_after_five_tries_the_right_code_no_longer_serves(gateways, recipient):
    token, code = make.waiting(gateways, recipient, "email")
    left = [identification.confirm(gateways, token, wrong(code), make.TRACE).details["left"] for _ in range(5)]

    assert left == [4, 3, 2, 1, 0]
    with pytest.raises(sign_ins.SignInOver):
        identification.confirm(gateways, token, code, make.TRACE)


def test_asking_again_gives_another_code_and_keeps_the_counts(gateways, recipient):
    token, code = make.waiting(gateways, recipient, "email")
    identification.confirm(gateways, token, wrong(code), make.TRACE)
    with pytest.raises(one_time_codes.TooSoon):
        one_time_codes.send(gateways, token, again=True)
    minutes(gateways, 1)
    again = one_time_codes.code(gateways, one_time_codes.send(gateways, token, again=True))

    assert again != code
    refused = identification.confirm(gateways, token, code, make.TRACE)
    assert refused.details["left"] == 3
    assert isinstance(identification.confirm(gateways, token, again, make.TRACE), str)


def test_choosing_another_way_keeps_the_counts(gateways, recipient):
    token, code = make.waiting(gateways, recipient, "email")
    identification.confirm(gateways, token, wrong(code), make.TRACE)
    ways.choose(gateways, token, "office", "")
    told = make.awaited(gateways, token)

    assert identification.confirm(gateways, token, wrong(told), make.TRACE).details["left"] == 3


def test_a_code_on_its_way_is_not_sent_twice_and_five_are_enough(gateways, recipient):
    token, _ = make.waiting(gateways, recipient, "email")
    one_time_codes.send(gateways, token)
    assert make.count("code.issued") == 1
    for _ in range(4):
        minutes(gateways, 1)
        one_time_codes.send(gateways, token, again=True)
    minutes(gateways, 1)
    with pytest.raises(TooManyAsked):
        one_time_codes.send(gateways, token, again=True)

    assert make.count("code.issued") == Message.select().count() == 5


def test_twenty_five_wrong_codes_a_day_are_enough_however_often_one_begins(gateways, recipient):
    access, secret = make.issued(gateways, recipient)
    mailed = begin(gateways, access, secret).token
    ways.choose(gateways, mailed, "email", "payet@example.fr")
    code = make.awaited(gateways, mailed)
    for _ in range(5):
        token = begin(gateways, access, secret).token
        ways.choose(gateways, token, "office", "")
        told = make.awaited(gateways, token)
        for _ in range(5):
            assert isinstance(identification.confirm(gateways, token, wrong(told), make.TRACE), CodeWrong)
    assert isinstance(identification.confirm(gateways, mailed, code, make.TRACE), CodesExhausted)
    gateways.clock.advance(timedelta(minutes=1))
    with pytest.raises(CodesExhausted):  # none is sent that would not serve
        one_time_codes.send(gateways, mailed, again=True)
    token = begin(gateways, access, secret).token
    ways.choose(gateways, token, "office", "")
    with pytest.raises(one_time_codes.CodesRefused, match="un nouveau feuillet"):  # nor told
        make.awaited(gateways, token)
    assert make.count("code.issued") == 6
    assert Message.select().where(Message.kind == "code").count() == 1

    assert Session.select().count() == 0
    gateways.clock.advance(timedelta(days=1))
    token = begin(gateways, access, secret).token
    ways.choose(gateways, token, "office", "")
    assert isinstance(identification.confirm(gateways, token, make.awaited(gateways, token), make.TRACE), str)


def test_who_held_the_former_sheet_keeps_nobody_out_of_the_next(gateways, recipient):
    _, secret = make.issued(gateways, recipient)
    former = accesses.of(recipient)
    with identification.models.write():
        for _ in range(25):
            throttle.fail(one_time_codes.wrong_codes(former), gateways.clock.now())
    assert one_time_codes.refused_until(gateways, former) == make.NOW + timedelta(days=1)
    gateways.clock.advance(timedelta(minutes=1))

    token = make.begun(gateways, recipient).token
    ways.choose(gateways, token, "office", "")

    assert one_time_codes.refused_until(gateways, accesses.of(recipient)) is None
    assert isinstance(identification.confirm(gateways, token, make.awaited(gateways, token), make.TRACE), str)
    assert isinstance(begin(gateways, former, secret), Wrong)


def test_each_step_of_an_application_serves_once_and_one_around_is_accepted(gateways, recipient):
    access, secret = make.issued(gateways, recipient)
    token = begin(gateways, access, secret).token
    ways.choose(gateways, token, "app", "")
    app, now = make.application(gateways, token), gateways.clock.now

    def enter(code):
        return identification.confirm(gateways, begin(gateways, access, secret).token, code, make.TRACE)

    assert isinstance(identification.confirm(gateways, token, app.at(now()), make.TRACE), str)
    assert isinstance(enter(app.at(now())), CodeWrong)
    assert isinstance(enter(app.at(now() + timedelta(seconds=60))), CodeWrong)
    assert isinstance(enter(app.at(now() + timedelta(seconds=30))), str)
    assert isinstance(enter(app.at(now() + timedelta(seconds=30))), CodeWrong)
    gateways.clock.advance(timedelta(minutes=5))
    assert isinstance(enter(app.at(now() - timedelta(seconds=60))), CodeWrong)
    assert isinstance(enter(app.at(now() - timedelta(seconds=30))), str)


def test_an_application_is_shown_its_key_only_while_it_is_enrolled(gateways, recipient):
    token = make.begun(gateways, recipient).token
    assert ways.enrolment(gateways, sign_ins.find(gateways, token)) is None
    ways.choose(gateways, token, "app", "")
    shown = ways.enrolment(gateways, sign_ins.find(gateways, token))

    assert pyotp.parse_uri(shown.uri).secret == shown.key
    assert shown.key not in make.everything()
    identification.confirm(gateways, token, make.application(gateways, token).at(gateways.clock.now()), make.TRACE)
    again = make.begun(gateways, recipient, "Perdu").token
    assert ways.enrolment(gateways, sign_ins.find(gateways, again)) is None
    assert CodeKey.select().count() == 1


def test_the_office_tells_a_code_only_to_who_waits_for_it_and_says_why(gateways, deposit, recipient):
    teller = make.member(gateways, deposit.office)

    def tell(reason="Au téléphone"):
        return one_time_codes.tell(gateways, recipient, reason, by=teller, trace=make.TRACE)

    with pytest.raises(one_time_codes.NobodyWaiting):
        tell()
    token = make.begun(gateways, recipient).token
    ways.choose(gateways, token, "office", "")
    with pytest.raises(text.Needed):
        tell("  ")
    code = tell()

    told = journal.story(deposit)[0]
    assert (told.operation, told.body["author"]["id"]) == ("code.issued", str(teller.id))
    assert told.body["detail"] == {"way": "office", "reason": "Au téléphone"}
    assert code not in make.everything()
    assert isinstance(identification.confirm(gateways, token, code, make.TRACE), str)


# A sign-in


def test_the_office_tells_five_codes_and_then_says_to_begin_again(gateways, deposit, recipient):
    teller = make.member(gateways, deposit.office)
    ways.choose(gateways, make.begun(gateways, recipient).token, "office", "")
    for _ in range(5):
        one_time_codes.tell(gateways, recipient, "Au téléphone", by=teller, trace=make.TRACE)

    with pytest.raises(one_time_codes.TooManyTold, match=r"5 codes.*recommencer depuis la première page") as refused:
        one_time_codes.tell(gateways, recipient, "Au téléphone", by=teller, trace=make.TRACE)
    assert refused.value.retry_after == 30 * 60


def test_a_sign_in_lasts_half_an_hour_and_an_invented_one_opens_nothing(gateways, recipient):
    token = make.begun(gateways, recipient).token
    minutes(gateways, 30)

    for unknown in (token, "x", "", None):
        with pytest.raises(sign_ins.SignInOver):
            sign_ins.find(gateways, unknown)


def test_a_way_without_an_address_or_invented_is_refused(gateways, recipient):
    token = make.begun(gateways, recipient).token

    for way, email in [("email", "payet"), ("email", ""), ("sms", ""), ("act", ""), ("", "")]:
        with pytest.raises(identification.Invalid):
            ways.choose(gateways, token, way, email)
    assert sign_ins.find(gateways, token).way == ""


# A new sheet


def test_a_new_sheet_ends_the_old_secret_its_sign_ins_and_its_sessions(gateways, recipient):
    access, secret = make.issued(gateways, recipient)
    reading = begin(gateways, access, secret).token
    ways.choose(gateways, reading, "email", "payet@example.fr")
    session = identification.confirm(gateways, reading, make.awaited(gateways, reading), make.TRACE)
    waiting = begin(gateways, access, secret).token

    _, fresh = make.issued(gateways, recipient, "Feuillet perdu")

    assert isinstance(begin(gateways, access, secret), Wrong)
    assert sessions.of_recipient(gateways, session) is None
    with pytest.raises(sign_ins.SignInOver):
        sign_ins.find(gateways, waiting)
    assert isinstance(begin(gateways, access, fresh), identification.Begun)


def test_a_secret_being_checked_while_a_new_sheet_is_printed_opens_nothing(gateways, recipient):
    make.issued(gateways, recipient)
    checked = Access.get()
    make.issued(gateways, recipient)

    assert isinstance(identification._begin(gateways, checked, "pair"), Wrong)
    assert SignIn.select().count() == 0


def test_a_new_sheet_needs_a_reason_after_the_first_identification(gateways, deposit, recipient):
    make.issued(gateways, recipient)
    make.issued(gateways, recipient)
    make.identified(gateways, recipient)

    with pytest.raises(accesses.MotiveNeeded):
        make.issued(gateways, recipient, "  ")
    make.issued(gateways, recipient, "Feuillet perdu")
    assert journal.story(deposit)[0].body["detail"] == {"again": True, "motive": "Feuillet perdu"}


def test_no_sheet_is_printed_for_what_is_not_filed_or_is_over(gateways, deposit, recipient):
    draft = make.draft(gateways, deposit.office)
    with pytest.raises(accesses.NotFiled):
        make.issued(gateways, make.recipient(gateways, draft))
    gateways.clock.advance(timedelta(days=600))
    with pytest.raises(accesses.NotFiled):
        make.issued(gateways, recipient)


# Failures


def test_an_unknown_reference_and_a_wrong_secret_are_told_alike(gateways, recipient):
    access, _ = make.issued(gateways, recipient)
    answers = [
        [identification.begin(gateways, reference, codes.draw_secret(), make.TRACE) for _ in range(6)]
        for reference in (access.reference, codes.draw_reference())
    ]

    assert [(type(one), str(one)) for one in answers[0]] == [(type(one), str(one)) for one in answers[1]]
    assert {type(one) for one in answers[0]} == {Wrong, Delayed}


def test_a_typing_error_is_told_before_anything_is_spent(gateways, recipient):
    access, secret = make.issued(gateways, recipient)
    before = make.everything()

    with pytest.raises(codes.SecretMistyped):
        identification.begin(gateways, access.reference, secret[1:], make.TRACE)
    with pytest.raises(codes.ReferenceMistyped):
        identification.begin(gateways, "W08N-0B88", secret, make.TRACE)
    assert make.everything() == before


def test_the_right_secret_passes_while_wrong_ones_wait(gateways, recipient):
    access, secret = make.issued(gateways, recipient)
    for _ in range(5):
        answer = begin(gateways, access, codes.draw_secret())

    assert isinstance(answer, Delayed)
    assert answer.retry_after == 4  # what the fifth costs, not what the fourth did
    assert isinstance(begin(gateways, access, secret), identification.Begun)
    assert isinstance(begin(gateways, access, codes.draw_secret()), Wrong)  # counting began again


def test_a_network_delayed_does_not_delay_another(gateways, recipient):
    access, _ = make.issued(gateways, recipient)
    for _ in range(6):
        begin(gateways, access, codes.draw_secret())

    assert isinstance(begin(gateways, access, codes.draw_secret(), ELSEWHERE), Wrong)


def test_a_network_waits_after_a_hundred_wrong_secrets_an_hour(gateways, recipient):
    network = throttle.key("network", throttle.network(make.TRACE.address))
    with identification.models.write():
        for _ in range(throttle.NETWORK_LIMIT):
            throttle.fail(network, make.NOW, throttle.HOUR)
    access, secret = make.issued(gateways, recipient)

    assert isinstance(begin(gateways, access, codes.draw_secret()), Wrong)
    refused = identification.begin(gateways, codes.draw_reference(), codes.draw_secret(), make.TRACE)
    assert isinstance(refused, Delayed)
    assert "15 min" in str(refused)
    assert isinstance(begin(gateways, access, secret), identification.Begun)


def test_unknown_references_make_one_record_an_hour(gateways, deposit):
    before = make.count("recipient.refused")
    for _ in range(3):
        identification.begin(gateways, codes.draw_reference(), codes.draw_secret(), make.TRACE)
    assert make.count("recipient.refused") == before + 1
    gateways.clock.advance(timedelta(hours=1))
    identification.begin(gateways, codes.draw_reference(), codes.draw_secret(), make.TRACE)
    assert make.count("recipient.refused") == before + 2


def test_an_unknown_reference_costs_the_work_of_a_known_one(gateways, recipient, caplog):
    access, _ = make.issued(gateways, recipient)
    caplog.set_level(logging.DEBUG, "peewee")
    wrote, asked = [], []
    for reference in (access.reference, codes.draw_reference(), codes.draw_reference()):
        caplog.clear()
        identification.begin(gateways, reference, codes.draw_secret(), make.TRACE)
        said = re.findall(r"(INSERT INTO|UPDATE) \"?(\w+)\"?", caplog.text)
        wrote.append([(verb, table) for verb, table in said if table not in {"throttle", "SET"}])
        asked.append(len(caplog.records))

    assert wrote[0] == wrote[1] == wrote[2]
    assert asked[0] == asked[2]  # the first of an hour, asked[1], leaves the record that the others rehearse
    assert ("INSERT INTO", "journal_record") in wrote[0]


def test_what_strangers_type_is_stored_nowhere(gateways, recipient):
    access, secret = make.issued(gateways, recipient)
    unknown, other = codes.draw_reference(), codes.draw_secret()
    token, code = make.waiting(gateways, recipient, "email")
    identification.begin(gateways, unknown, other, make.TRACE)
    identification.begin(gateways, access.reference, other, make.TRACE)
    with contextlib.suppress(codes.CodeIncomplete):
        identification.confirm(gateways, token, f"{secret} 4711", make.TRACE)
    identification.confirm(gateways, token, code, make.TRACE)

    kept = make.everything()
    for typed in (unknown, codes.show(unknown), other, codes.show(other), secret, codes.show(secret), code, token):
        assert typed not in kept
    assert access.reference in kept


def test_the_office_is_told_at_ten_failures_once(gateways, deposit, recipient):
    access, _ = make.issued(gateways, recipient)
    for attempt in range(12):
        begin(gateways, access, codes.draw_secret(), journal.Trace(f"198.51.{attempt}.1"))
        assert Message.select().where(Message.kind == "failures").count() == (attempt >= 9)

    message = Message.get()
    assert (message.office_id, message.recipient_id) == (deposit.office_id, recipient.id)
    assert make.count("recipient.refused") == 12
    assert outbox.waiting() == 1


def test_the_office_is_told_at_ten_failures_of_secrets_and_codes_together(gateways, recipient):
    access, secret = make.issued(gateways, recipient)
    for attempt in range(6):
        begin(gateways, access, codes.draw_secret(), journal.Trace(f"198.51.{attempt}.1"))
    token = begin(gateways, access, secret).token
    ways.choose(gateways, token, "office", "")
    code = make.awaited(gateways, token)
    for _ in range(3):
        identification.confirm(gateways, token, wrong(code), make.TRACE)
    assert Message.select().where(Message.kind == "failures").count() == 0

    identification.confirm(gateways, token, wrong(code), make.TRACE)
    assert Message.select().where(Message.kind == "failures").count() == 1


def test_failures_at_the_same_instant_all_count(gateways):
    name = throttle.key("secret", "W08N0B87")

    def fail():
        with identification.models.write():
            return throttle.fail(name, make.NOW)

    assert sorted(make.threads(6, fail)) == [1, 2, 3, 4, 5, 6]  # each is told its own place: one of them is the tenth
    assert Throttle.get(Throttle.key == name).failures == 6


def test_the_first_wrong_secrets_of_a_reference_posted_at_once_all_count(gateways, recipient):
    access, _ = make.issued(gateways, recipient)

    answers = make.threads(4, lambda: begin(gateways, access, codes.draw_secret()))

    assert [type(answer) for answer in answers] == [Wrong] * 4
    network = throttle.network(make.TRACE.address)
    for name in (
        throttle.key("secret", access.reference, network),
        throttle.key("access", str(access.id)),
        throttle.key("failing", str(access.id)),
        throttle.key("network", network),
    ):
        assert throttle.count(name, make.NOW, throttle.HOUR) == 4
    assert isinstance(begin(gateways, access, codes.draw_secret()), Delayed)


# The end


def test_that_it_is_over_is_told_only_to_who_proves_the_secret(gateways, deposit, recipient):
    access, secret = make.issued(gateways, recipient)
    gateways.clock.advance(deposit.expires_at - gateways.clock.now())

    assert isinstance(begin(gateways, access, codes.draw_secret()), Wrong)
    with pytest.raises(deposits.AvailabilityOver):
        begin(gateways, access, secret)


def test_that_it_was_withdrawn_is_told_only_to_who_proves_the_secret(gateways, recipient):
    access, secret = make.issued(gateways, recipient)
    Deposit.update(withdrawn_at=make.NOW, withdrawn_because="Erreur").execute()

    assert isinstance(begin(gateways, access, codes.draw_secret()), Wrong)
    with pytest.raises(deposits.DepositWithdrawn):
        begin(gateways, access, secret)


# Sessions


def test_a_session_ends_after_fifteen_idle_minutes_or_an_hour(gateways, recipient):
    token, code = make.waiting(gateways, recipient, "email")
    opened = identification.confirm(gateways, token, code, make.TRACE)
    for _ in range(4):
        minutes(gateways, 14)
        sessions.touch(gateways, sessions.of_recipient(gateways, opened))
    minutes(gateways, 3)
    assert sessions.of_recipient(gateways, opened) is not None
    minutes(gateways, 1)
    assert sessions.of_recipient(gateways, opened) is None


def test_an_idle_session_ends_at_the_fifteenth_minute(gateways, recipient):
    session = make.identified(gateways, recipient)
    assert sessions.ends_at(session) == make.NOW + timedelta(minutes=15)
    token, _ = make.waiting(gateways, make.recipient(gateways, session.access.recipient.deposit, "Jeanne"), "email")
    opened = identification.confirm(gateways, token, make.awaited(gateways, token), make.TRACE)
    minutes(gateways, 15)

    assert sessions.of_recipient(gateways, opened) is None


def test_a_session_ended_on_the_server_opens_nothing_and_members_sessions_stay_apart(gateways, recipient):
    token, code = make.waiting(gateways, recipient, "email")
    opened = identification.confirm(gateways, token, code, make.TRACE)

    assert sessions.of_member(gateways, opened) is None
    assert sessions.of_recipient(gateways, None) is None
    sessions.end(gateways, sessions.of_recipient(gateways, opened))
    assert sessions.of_recipient(gateways, opened) is None
