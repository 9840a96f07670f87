"""Members: a password, then a code of their application, enrolled at the first sign-in."""

import logging
from datetime import timedelta

import make
import pyotp
import pytest

from mespieces.domain import journal, members, offices, sessions, sign_ins, throttle
from mespieces.errors import Invalid
from mespieces.models import Member, Session, SignIn, write

ELSEWHERE = journal.Trace("203.0.113.9", "Autre")


@pytest.fixture
def member(gateways):
    return make.member(gateways, email="camille@example.fr")


def begin(gateways, password=make.PASSWORD, email="camille@example.fr", trace=make.TRACE):
    return members.begin(gateways, email, password, trace)


def enrolled(gateways, token):
    return pyotp.TOTP(members.enrolment(gateways, members.find(gateways, token)).key)


def enter(gateways, token, code):
    return members.confirm(gateways, token, code, make.TRACE)


def enrol(gateways):
    """Sign in for the first time and return the member's application."""
    token = begin(gateways)
    app = enrolled(gateways, token)
    assert isinstance(enter(gateways, token, app.at(gateways.clock.now())), str)
    gateways.clock.advance(timedelta(minutes=1))
    return app


def test_the_first_sign_in_enrols_an_application_and_the_next_asks_for_it(gateways, member):
    token = begin(gateways, email=" CAMILLE@example.fr ")
    app = enrolled(gateways, token)
    session = sessions.of_member(gateways, enter(gateways, token, app.at(gateways.clock.now())))

    assert (session.member, session.way) == (member, "password+totp")
    assert Member.get().totp_enrolled_at == make.NOW
    assert app.secret not in make.everything()
    gateways.clock.advance(timedelta(minutes=1))
    token = begin(gateways)
    assert members.enrolment(gateways, members.find(gateways, token)) is None
    assert isinstance(enter(gateways, token, app.at(gateways.clock.now())), str)
    assert make.count("member.signed_in") == 2


def test_a_code_serves_once_and_one_step_around_is_accepted(gateways, member):
    app, now = enrol(gateways), gateways.clock.now
    code = app.at(now())

    assert isinstance(enter(gateways, begin(gateways), code), str)
    assert isinstance(enter(gateways, begin(gateways), code), members.CodeWrong)
    assert isinstance(enter(gateways, begin(gateways), app.at(now() + timedelta(minutes=1))), members.CodeWrong)
    assert isinstance(enter(gateways, begin(gateways), app.at(now() + timedelta(seconds=30))), str)
    assert isinstance(enter(gateways, begin(gateways), app.at(now() - timedelta(seconds=30))), members.CodeWrong)


def test_two_threads_that_post_one_code_get_one_session(gateways, member):
    app, token = enrol(gateways), begin(gateways)
    before = Session.select().count()
    results = make.threads(3, lambda: enter(gateways, token, app.at(gateways.clock.now())))

    assert sum(isinstance(result, str) for result in results) == 1
    assert Session.select().count() == before + 1


POST = (
    "try:\n"
    "    print(type(members.confirm(gateways, arguments[place], arguments[-1], journal.NO_TRACE)).__name__)\n"
    "except members.SignInOver:\n"
    "    print('over')"
)


@pytest.mark.parametrize("sign_ins_begun", [1, 2])
def test_two_processes_that_post_one_code_get_one_session(gateways, member, sign_ins_begun):
    app = enrol(gateways)
    tokens = [begin(gateways) for _ in range(sign_ins_begun)] * (3 - sign_ins_begun)

    printed = make.processes(gateways, 2, POST, *tokens, app.at(gateways.clock.now()))

    assert sorted(printed) == [{1: "over", 2: "CodeWrong"}[sign_ins_begun], "str"]
    assert Session.select().count() == make.count("member.signed_in") == 2


def test_two_processes_that_enrol_at_once_enrol_one_application(gateways, member):
    tokens = [begin(gateways) for _ in range(2)]
    shown = [enrolled(gateways, token).at(gateways.clock.now()) for token in tokens]

    printed = make.processes(gateways, 2, POST.replace("arguments[-1]", "arguments[2 + place]"), *tokens, *shown)

    assert sorted(printed) == ["over", "str"]
    assert Session.select().count() == 1


def test_an_application_enrolled_is_not_replaced_by_a_sign_in_begun_before(gateways, member):
    early = begin(gateways)
    intruder = enrolled(gateways, early)
    app = enrol(gateways)

    with pytest.raises(members.SignInOver):
        enter(gateways, early, intruder.at(gateways.clock.now()))
    assert isinstance(enter(gateways, begin(gateways), app.at(gateways.clock.now())), str)


def test_after_five_tries_a_sign_in_is_over(gateways, member):
    app, token = enrol(gateways), begin(gateways)
    code = app.at(gateways.clock.now())
    for left in (4, 3, 2, 1, 0):
        refused = enter(gateways, token, f"{(int(code) + 1) % 10**6:06}")
        assert isinstance(refused, members.CodeWrong)
        assert refused.details == {"left": left}

    with pytest.raises(members.SignInOver):
        enter(gateways, token, code)
    assert make.count("member.refused") == 5


def test_who_knows_the_password_may_try_twenty_five_codes_a_day(gateways, member):
    app = enrol(gateways)
    for _ in range(5):
        token = begin(gateways)
        for _ in range(5):
            enter(gateways, token, f"{(int(app.at(gateways.clock.now())) + 1) % 10**6:06}")

    assert isinstance(enter(gateways, begin(gateways), app.at(gateways.clock.now())), members.Delayed)
    gateways.clock.advance(timedelta(days=1))
    assert isinstance(enter(gateways, begin(gateways), app.at(gateways.clock.now())), str)


def test_an_unknown_address_and_a_wrong_password_are_told_alike(gateways, member):
    known = [begin(gateways, "mauvais") for _ in range(6)]
    unknown = [begin(gateways, "mauvais", "inconnu@example.fr") for _ in range(6)]

    assert [(type(one), str(one)) for one in known] == [(type(one), str(one)) for one in unknown]
    assert {type(one) for one in known} == {members.Wrong, members.Delayed}
    assert "mauvais" not in make.everything()
    assert "inconnu@example.fr" not in make.everything()
    assert make.count("member.refused") == 6


def test_the_right_password_waits_while_wrong_ones_are_delayed_but_not_from_elsewhere(gateways, member):
    for _ in range(5):
        begin(gateways, "mauvais")

    assert isinstance(begin(gateways), members.Delayed)
    assert isinstance(begin(gateways, trace=ELSEWHERE), str)
    gateways.clock.advance(timedelta(minutes=1))
    assert isinstance(begin(gateways), str)


def test_a_network_waits_ever_longer_after_a_hundred_wrong_passwords_an_hour_but_the_right_one_passes(gateways, member):
    whole = throttle.key("member-network", throttle.network(make.TRACE.address))
    with write():
        for _ in range(throttle.NETWORK_LIMIT - 1):
            throttle.fail(whole, make.NOW, throttle.HOUR)

    assert isinstance(begin(gateways, "mauvais", "un@example.fr"), members.Wrong)
    waits = []
    for number in range(3):
        refused = begin(gateways, "mauvais", f"{number}@example.fr")
        assert isinstance(refused, members.Delayed)
        waits.append(throttle.waits(whole, gateways.clock.now()))
    assert waits == [4, 8, 16]
    assert isinstance(begin(gateways, "mauvais", "autre@example.fr", ELSEWHERE), members.Wrong)
    assert isinstance(begin(gateways), str)
    gateways.clock.advance(throttle.HOUR)
    assert isinstance(begin(gateways, "mauvais", "trois@example.fr"), members.Wrong)


def test_a_member_who_left_signs_in_no_more(gateways, member):
    app, token = enrol(gateways), begin(gateways)
    opened = enter(gateways, token, app.at(gateways.clock.now()))
    waiting = begin(gateways)
    Member.update(left_at=gateways.clock.now()).execute()

    assert isinstance(begin(gateways), members.Wrong)
    assert sessions.of_member(gateways, opened) is None
    with pytest.raises(members.SignInOver):
        enter(gateways, waiting, app.at(gateways.clock.now() + timedelta(seconds=30)))


def test_a_sign_in_lasts_a_quarter_of_an_hour(gateways, member):
    token = begin(gateways)
    gateways.clock.advance(timedelta(minutes=15))

    for unknown in (token, "", None, "x"):
        with pytest.raises(members.SignInOver):
            members.find(gateways, unknown)


def test_a_member_reset_by_the_operator_enrols_again_and_is_signed_out(gateways, member):
    app, token = enrol(gateways), begin(gateways)
    opened = enter(gateways, token, app.at(gateways.clock.now()))
    waiting = begin(gateways)

    offices.reset_member(gateways, "Camille@example.fr", "autre corbeau vallée 12")

    assert sessions.of_member(gateways, opened) is None
    with pytest.raises(members.SignInOver):
        members.find(gateways, waiting)
    assert isinstance(begin(gateways), members.Wrong)
    token = begin(gateways, "autre corbeau vallée 12")
    assert isinstance(token, str)
    assert enrolled(gateways, token).secret != app.secret
    assert make.count("member.changed") == 1


def test_a_password_has_no_age(gateways, member):
    gateways.clock.advance(timedelta(days=3650))

    assert isinstance(members.begin(gateways, member.email, make.PASSWORD, make.TRACE), str)


def test_a_member_needs_an_address_of_their_own_a_role_and_a_good_password(gateways, member):
    def add(**facts):
        usual = {"name": "Dominique", "email": "d@example.fr", "role": "clerc", "password": make.PASSWORD}
        return offices.add_member(gateways, member.office, **{**usual, **facts}, by=journal.OPERATOR)

    with pytest.raises(offices.EmailTaken):
        add(email="CAMILLE@example.fr")
    for facts in ({"role": "huissier"}, {"password": "motdepasse2026"}, {"name": ""}, {"email": "x"}):
        with pytest.raises(Invalid):
            add(**facts)
    assert add().role == "clerc"
    assert [one.name for one in offices.present(member.office)] == ["Camille Marchand", "Dominique"]


def test_an_office_is_found_by_its_name_whatever_the_case(gateways):
    office = make.office(gateways, name="Étude Élan")

    assert offices.named("étude élan") == offices.named(str(office.id)) == office
    with pytest.raises(offices.OfficeMissing):
        offices.named("Étude")
    for facts in ({"time_zone": "Europe/Nantes"}, {"territory": "bretagne"}, {"email": ""}):
        with pytest.raises(Invalid):
            make.office(gateways, **facts)


def test_a_members_sign_in_and_a_recipients_never_mix(gateways, member):
    token = begin(gateways)
    with pytest.raises(sign_ins.SignInOver):
        sign_ins.find(gateways, token)
    assert SignIn.select().count() == 1


def test_an_unknown_address_costs_the_work_of_a_known_one_and_leaves_no_record(gateways, member, caplog):
    caplog.set_level(logging.DEBUG, "peewee")
    asked, wrote = [], []
    for email in (member.email, "inconnu@example.fr", member.email, "inconnu@example.fr"):
        caplog.clear()
        begin(gateways, "mauvais", email)
        asked.append(len(caplog.records))
        wrote.append(caplog.text.count("INSERT INTO journal_record"))

    assert len(set(asked)) == 1, asked
    assert wrote == [1, 1, 1, 1]
    assert make.count("member.refused") == 2
