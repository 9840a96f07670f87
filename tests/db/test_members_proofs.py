"""A member's second step: recovery codes, a proof asked again, another password, another application, sessions ended."""

from datetime import timedelta
from uuid import uuid4

import make
import pyotp
import pytest

from mespieces import models
from mespieces.domain import (
    accounts,
    codes,
    invitations,
    members,
    notices,
    offices,
    outbox,
    passwords,
    proofs,
    recovery_codes,
    second_steps,
    sessions,
    throttle,
)
from mespieces.models import Member, RecoveryCode, Session, SignIn

OTHER = "lanterne poivre 8 chaussée"


class Clerk:
    """A member with their application and the session they opened with it."""

    def __init__(self, gateways, member):
        self.gateways, self.member = gateways, member
        token = self.begin()
        self.app = pyotp.TOTP(members.enrolment(gateways, members.find(gateways, token)).key)
        self.token = self.confirm(token, self.code())
        gateways.clock.advance(timedelta(minutes=1))

    def begin(self, password=make.PASSWORD):
        return members.begin(self.gateways, self.member.email, password, make.TRACE)

    def confirm(self, token, code="", recovery=""):
        return members.confirm(self.gateways, token, code, make.TRACE, recovery=recovery)

    def code(self):
        return self.app.at(self.gateways.clock.now())

    def session(self):
        return sessions.of_member(self.gateways, self.token)

    def prove(self, code="", recovery=""):
        return proofs.renew(self.gateways, self.session(), code, recovery, make.TRACE)

    def draw(self):
        return recovery_codes.draw(self.gateways, self.member, make.TRACE)

    def recent(self):
        return proofs.recent(self.session(), self.gateways.clock.now())


@pytest.fixture
def clerk(gateways):
    return Clerk(gateways, make.member(gateways, email="camille@example.fr"))


def mails(gateways):
    outbox.drain(gateways, notices.compose)
    return [(mail["To"], mail.get_content()) for mail in gateways.mail.sent]


# Recovery codes


def test_a_recovery_code_replaces_the_lost_application_once_and_the_member_is_told(gateways, clerk):
    drawn = clerk.draw()
    assert len(set(drawn)) == recovery_codes.DRAWN == recovery_codes.left(clerk.member)
    shown = codes.show(drawn[3]).lower().replace("-", " ")

    session = sessions.of_member(gateways, clerk.confirm(clerk.begin(), recovery=shown))

    assert session.member == clerk.member
    refused = clerk.confirm(clerk.begin(), recovery=shown)
    assert isinstance(refused, second_steps.RecoveryWrong)
    assert refused.details == {"left": 4}
    assert recovery_codes.left(clerk.member) == 9
    [(to, text)] = mails(gateways)
    assert to == "camille@example.fr"
    assert "il en reste 9" in text
    assert all(code not in make.everything() and codes.show(code) not in make.everything() for code in drawn)
    assert '"detail":{"enrolled":false,"left":9,"recovery":true}' in make.everything()


@pytest.mark.parametrize("asked", ["confirm", "prove"])
def test_nothing_is_stretched_for_who_has_no_try_left_today(gateways, clerk, monkeypatch, asked):
    drawn = clerk.draw()
    token = clerk.begin()
    with models.write():
        for _ in range(throttle.CODE_LIMIT):
            throttle.fail(throttle.key("member-code", str(clerk.member.id)), gateways.clock.now())
    stretched, matches = [], passwords.matches
    monkeypatch.setattr(passwords, "matches", lambda *compared: stretched.append(compared) or matches(*compared))

    for recovery in (codes.draw_recovery(), drawn[0]):
        found = clerk.confirm(token, recovery=recovery) if asked == "confirm" else clerk.prove(recovery=recovery)
        assert isinstance(found, members.Delayed)
    assert stretched == []
    gateways.clock.advance(timedelta(days=1))
    assert isinstance(clerk.confirm(clerk.begin(), recovery=drawn[0]), str)
    assert stretched


def test_a_recovery_code_mistyped_costs_no_try(gateways, clerk):
    drawn, token = clerk.draw(), clerk.begin()
    for typed in ("AAAA-BBBB-CCCC", drawn[0][:-1], "123456"):
        with pytest.raises(codes.RecoveryMistyped):
            clerk.confirm(token, recovery=typed)

    assert SignIn.select().where(SignIn.tries > 0).count() == 0
    assert isinstance(clerk.confirm(token, recovery=drawn[0]), str)


def test_wrong_recovery_codes_count_as_wrong_codes_do(gateways, clerk):
    clerk.draw()
    wrong = f"{(int(clerk.code()) + 1) % 10**6:06}"
    for attempt in 4 * [{"code": wrong}] + [{"recovery": codes.draw_recovery()}]:
        token = clerk.begin()
        for _ in range(5):
            assert isinstance(clerk.confirm(token, **attempt), members.CodeWrong)
        with pytest.raises(members.SignInOver):
            clerk.confirm(token, clerk.code())

    assert isinstance(clerk.confirm(clerk.begin(), clerk.code()), members.Delayed)


def test_codes_drawn_again_end_those_before_and_another_members_are_worth_nothing(gateways, clerk):
    former, present = clerk.draw(), clerk.draw()
    other = Clerk(gateways, make.member(gateways, clerk.member.office, email="autre@example.fr"))
    theirs = other.draw()

    for code in (former[0], theirs[0]):
        assert isinstance(clerk.confirm(clerk.begin(), recovery=code), second_steps.RecoveryWrong)
    assert isinstance(clerk.confirm(clerk.begin(), recovery=present[0]), str)
    assert RecoveryCode.select().count() == 20


def test_of_threads_that_use_one_recovery_code_one_gets_in(gateways, clerk):
    code = clerk.draw()[0]
    tokens = iter([clerk.begin() for _ in range(3)])
    results = make.threads(3, lambda: clerk.confirm(next(tokens), recovery=code))

    assert sum(isinstance(result, str) for result in results) == 1
    assert recovery_codes.left(clerk.member) == 9


def test_an_application_is_not_enrolled_with_a_recovery_code(gateways, clerk):
    code = clerk.draw()[0]
    Member.update(totp_key=None, totp_enrolled_at=None).execute()

    with pytest.raises(codes.CodeIncomplete):
        clerk.confirm(clerk.begin(), recovery=code)
    assert Member.get().totp_key is None


# Codes of the application


def test_of_two_processes_that_post_one_code_one_opens_a_session(gateways, clerk):
    before = Session.select().count()
    script = """
trace = journal.Trace("198.51.100.7")
token = members.begin(gateways, "camille@example.fr", arguments[0], trace)
print(type(members.confirm(gateways, token, arguments[1], trace)).__name__)
"""
    printed = make.processes(gateways, 2, script, make.PASSWORD, clerk.code())

    assert sorted(printed) == ["CodeWrong", "str"]
    assert Session.select().count() == before + 1


def test_a_sign_in_begun_with_a_password_replaced_meanwhile_is_over(gateways, clerk):
    token = clerk.begin()
    Member.update(totp_key=None, totp_enrolled_at=None).execute()

    with pytest.raises(members.SignInOver):
        clerk.confirm(token, clerk.code())


# Proof asked again


def test_a_proof_is_fresh_for_ten_minutes(gateways, clerk):
    gateways.clock.advance(timedelta(minutes=9) - timedelta(seconds=1))
    assert clerk.recent()
    gateways.clock.advance(timedelta(seconds=1))
    assert not clerk.recent()
    before = clerk.token

    clerk.token = clerk.prove(clerk.code())

    assert clerk.recent()
    assert sessions.of_member(gateways, before) is None
    assert Session.select().count() == 1
    assert '"detail":{"again":true}' in make.everything()


def test_a_proof_takes_a_recovery_code_and_no_code_twice(gateways, clerk):
    code, spare = clerk.code(), clerk.draw()[0]
    clerk.token = clerk.prove(code)

    assert isinstance(clerk.prove(code), members.CodeWrong)
    clerk.token = clerk.prove(recovery=spare)
    assert isinstance(clerk.token, str)
    assert isinstance(clerk.prove(recovery=spare), second_steps.RecoveryWrong)
    assert '"detail":{"again":true,"left":9,"recovery":true}' in make.everything()
    assert len(mails(gateways)) == 1


def test_five_wrong_proofs_end_the_session_and_count_for_the_day(gateways, clerk):
    for left in (4, 3, 2, 1):
        assert clerk.prove("000000").details == {"left": left}
    session = clerk.session()

    assert isinstance(clerk.prove("000000"), proofs.ProofOver)
    assert clerk.session() is None
    with pytest.raises(members.SignInOver):
        proofs.renew(gateways, session, clerk.code(), "", make.TRACE)
    for _ in range(4):
        token = clerk.begin()
        for _ in range(5):
            clerk.confirm(token, "000000")
    assert isinstance(clerk.confirm(clerk.begin(), clerk.code()), members.Delayed)
    assert make.count("member.refused") == 25


def test_a_proof_is_refused_for_the_day_once_too_many_codes_were_wrong(gateways, clerk):
    for _ in range(5):
        token = clerk.begin()
        for _ in range(5):
            clerk.confirm(token, "000000")

    assert isinstance(clerk.prove(clerk.code()), members.Delayed)


# Their own account


def test_a_member_changes_their_password_and_their_other_sessions_end(gateways, clerk):
    other = clerk.confirm(clerk.begin(), clerk.code())
    begun = clerk.begin()
    with pytest.raises(offices.PasswordWeak):
        accounts.change_password(gateways, clerk.session(), make.PASSWORD, "court", "court", make.TRACE)
    with pytest.raises(invitations.PasswordsDiffer):
        accounts.change_password(gateways, clerk.session(), make.PASSWORD, OTHER, OTHER + "x", make.TRACE)
    refused = accounts.change_password(gateways, clerk.session(), "mauvais", OTHER, OTHER, make.TRACE)
    assert isinstance(refused, accounts.PasswordWrong)
    assert isinstance(clerk.begin(), str)

    assert accounts.change_password(gateways, clerk.session(), make.PASSWORD, OTHER, OTHER, make.TRACE) is None

    assert clerk.session() is not None
    assert sessions.of_member(gateways, other) is None
    with pytest.raises(members.SignInOver):
        members.find(gateways, begun)
    assert isinstance(clerk.begin(), members.Wrong)
    assert isinstance(clerk.begin(OTHER), str)
    assert [("mot de passe" in text, to) for to, text in mails(gateways)] == [(True, "camille@example.fr")]
    assert '"changed":["password"]' in make.everything()


def test_the_present_password_is_guessed_no_faster_from_the_account_than_at_the_door(gateways, clerk):
    tries = [accounts.change_password(gateways, clerk.session(), "mauvais", OTHER, OTHER, make.TRACE) for _ in range(5)]

    assert {type(one) for one in tries} == {accounts.PasswordWrong, members.Delayed}
    right = accounts.change_password(gateways, clerk.session(), make.PASSWORD, OTHER, OTHER, make.TRACE)
    assert isinstance(right, members.Delayed)
    assert isinstance(clerk.begin(), members.Delayed)


def test_a_member_replaces_their_application_with_their_password_and_the_new_ones_first_code(gateways, clerk):
    former = clerk.app
    wrong = accounts.begin_application(gateways, clerk.session(), "mauvais", make.TRACE)
    assert isinstance(wrong, accounts.PasswordWrong)
    token = accounts.begin_application(gateways, clerk.session(), make.PASSWORD, make.TRACE)
    new = pyotp.TOTP(members.enrolment(gateways, members.find(gateways, token)).key)
    now = gateways.clock.now()

    refused = accounts.confirm_application(gateways, clerk.session(), token, former.at(now), make.TRACE)
    assert refused.details == {"left": 4}
    assert accounts.confirm_application(gateways, clerk.session(), token, new.at(now), make.TRACE) is None
    with pytest.raises(members.SignInOver):
        accounts.confirm_application(gateways, clerk.session(), token, new.at(now), make.TRACE)
    gateways.clock.advance(timedelta(minutes=1))
    assert isinstance(clerk.confirm(clerk.begin(), former.at(gateways.clock.now())), members.CodeWrong)
    assert isinstance(clerk.confirm(clerk.begin(), new.at(gateways.clock.now())), str)
    assert new.secret not in make.everything()
    assert "application" in mails(gateways)[0][1]


def test_a_replacement_of_an_application_is_its_members_own_and_no_way_in(gateways, clerk):
    other = Clerk(gateways, make.member(gateways, clerk.member.office, email="autre@example.fr"))
    token = accounts.begin_application(gateways, clerk.session(), make.PASSWORD, make.TRACE)
    new = pyotp.TOTP(members.enrolment(gateways, members.find(gateways, token)).key)
    code = new.at(gateways.clock.now())

    with pytest.raises(members.SignInOver):
        accounts.confirm_application(gateways, other.session(), token, code, make.TRACE)
    with pytest.raises(members.SignInOver):
        accounts.confirm_application(gateways, clerk.session(), clerk.begin(), code, make.TRACE)
    with pytest.raises(members.SignInOver):
        clerk.confirm(token, code)


def test_after_five_wrong_codes_a_replacement_is_over(gateways, clerk):
    token = accounts.begin_application(gateways, clerk.session(), make.PASSWORD, make.TRACE)
    for left in (4, 3, 2, 1, 0):
        refused = accounts.confirm_application(gateways, clerk.session(), token, "000000", make.TRACE)
        assert refused.details == {"left": left}

    with pytest.raises(members.SignInOver):
        accounts.application(gateways, clerk.session(), token)


def test_a_member_ends_their_own_sessions_and_nobody_elses(gateways, clerk):
    other = Clerk(gateways, make.member(gateways, clerk.member.office, email="autre@example.fr"))
    second = clerk.confirm(clerk.begin(), clerk.code())
    gateways.clock.advance(timedelta(minutes=1))
    third = clerk.confirm(clerk.begin(), clerk.code())
    assert len(sessions.living(gateways, clerk.member)) == 3
    for unknown in (other.session().id, uuid4()):
        with pytest.raises(sessions.SessionMissing):
            sessions.end_one(gateways, clerk.member, unknown)

    sessions.end_one(gateways, clerk.member, sessions.of_member(gateways, second).id)
    assert sessions.of_member(gateways, second) is None
    sessions.end_others(gateways, clerk.session())

    assert sessions.living(gateways, clerk.member) == [clerk.session()]
    assert sessions.of_member(gateways, third) is None
    assert other.session() is not None
    gateways.clock.advance(timedelta(minutes=60))
    assert sessions.living(gateways, clerk.member) == []


def test_a_session_remembers_its_browser_in_two_words_only(gateways, clerk):
    assert clerk.session().agent == "Navigateur inconnu"
    assert {row.agent for row in Session.select()} == {"Navigateur inconnu"}


# At the same time


@pytest.fixture
def reset_meanwhile(clerk, monkeypatch):
    """Have the member's password replaced by somebody else while the one typed is being compared."""
    real = passwords.matches

    def compared(secret, stored):
        right = real(secret, stored)
        Member.update(password_hash=passwords.stretch(OTHER), totp_key=None, totp_enrolled_at=None).execute()
        return right

    monkeypatch.setattr(passwords, "matches", compared)


def test_a_password_replaced_while_it_is_compared_opens_no_sign_in(gateways, clerk, reset_meanwhile):
    assert isinstance(clerk.begin(), members.Wrong)


def test_a_password_replaced_while_it_is_compared_changes_nothing_more(gateways, clerk, reset_meanwhile):
    typed = (make.PASSWORD, "encore un autre 55 mots", "encore un autre 55 mots")

    assert isinstance(accounts.change_password(gateways, clerk.session(), *typed, make.TRACE), accounts.PasswordWrong)
