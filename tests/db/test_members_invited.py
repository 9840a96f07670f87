"""Members of an office come by invitation, change their role and leave, and nobody else ever knows their password."""

import re
import time
from datetime import timedelta

import make
import pyotp
import pytest

from mespieces import models
from mespieces.domain import (
    french,
    invitations,
    journal,
    members,
    memberships,
    notices,
    offices,
    outbox,
    recovery_codes,
    sessions,
)
from mespieces.errors import Invalid
from mespieces.models import Invitation, JournalLog, JournalPayload, Member, Message, RecoveryCode

CHOSEN = "lanterne poivre 8 chaussée"


@pytest.fixture
def boss(gateways):
    return make.member(gateways, role="administrateur", email="claire@example.fr")


def invite(gateways, boss, email="dominique@example.fr", role="clerc", name="Dominique Le Gall"):
    return invitations.invite(gateways, boss.office, name=name, email=email, role=role, by=boss, trace=make.TRACE)


def mailed(gateways):
    """The token of the newest mail's link."""
    outbox.drain(gateways, notices.compose)
    return re.search(r"/etude/invitation/([\w-]+)\n", gateways.mail.sent[-1].get_content())[1]


def accept(gateways, token, password=CHOSEN):
    return invitations.accept(gateways, token, password, password, make.TRACE)


def accepted(gateways, boss, **facts):
    invite(gateways, boss, **facts)
    return accept(gateways, mailed(gateways))


def again(gateways, boss, member):
    invitations.again(gateways, member, by=boss, trace=make.TRACE)


def signed_in(gateways, member, password):
    """Have the member enrol an application: return it, and the session's token."""
    token = members.begin(gateways, member.email, password, make.TRACE)
    app = pyotp.TOTP(members.enrolment(gateways, members.find(gateways, token)).key)
    return app, members.confirm(gateways, token, app.at(gateways.clock.now()), make.TRACE)


def details(operation_author="member"):
    """The details of the records of members, in order."""
    query = JournalPayload.select().where(JournalPayload.group == "proof").order_by(JournalPayload.sequence)
    bodies = [journal.read_entry(0, "2026-11-24T10:00:00.000000Z", "", row.body).body for row in query]
    return [body["detail"] for body in bodies if body["author"]["kind"] == operation_author]


def hold_the_journal():
    """Keep every record waiting for a moment, so that those who act at once have all made their checks."""
    with models.write():
        models.locked(JournalLog.select()).get()
        time.sleep(0.5)


# Invitations


def test_the_invited_choose_their_password_from_the_mail_then_enrol_an_application(gateways, boss):
    invited = invite(gateways, boss)
    assert isinstance(members.begin(gateways, "dominique@example.fr", "", make.TRACE), members.Wrong)
    token = mailed(gateways)
    mail = gateways.mail.sent[-1]

    assert mail["To"] == "dominique@example.fr"
    assert f"https://pieces.example.fr/etude/invitation/{token}\n" in mail.get_content()
    assert french.instant(make.NOW + timedelta(hours=72)) in mail.get_content()
    assert "clerc" in mail.get_content()
    assert invitations.find(gateways, token).member == invited
    assert accept(gateways, token) == invited
    _, session = signed_in(gateways, invited, CHOSEN)
    assert sessions.of_member(gateways, session).member == invited
    assert make.operations()[-4:] == ["member.added", "member.refused", "member.changed", "member.signed_in"]
    assert details()[-4] == {"name": "Dominique Le Gall", "role": "clerc", "invited": True}
    assert details()[-2] == {"changed": ["password"], "invitation": True}


def test_neither_the_link_nor_the_password_is_kept_anywhere_in_clear(gateways, boss):
    invite(gateways, boss)
    token = mailed(gateways)
    assert token not in make.everything()
    accept(gateways, token)

    assert token not in make.everything()
    assert CHOSEN not in make.everything()
    assert Invitation.select().count() == 0


@pytest.mark.parametrize("passed", [timedelta(hours=72), timedelta(days=30)])
def test_a_link_serves_for_seventy_two_hours(gateways, boss, passed):
    invite(gateways, boss)
    token = mailed(gateways)
    gateways.clock.advance(timedelta(hours=72) - timedelta(seconds=1))
    assert invitations.find(gateways, token)
    gateways.clock.advance(passed - timedelta(hours=72) + timedelta(seconds=1))

    with pytest.raises(invitations.InvitationOver):
        accept(gateways, token)
    assert Invitation.select().count() == 1
    invitations.sweep(gateways)
    assert Invitation.select().count() == 0


def test_a_link_serves_once_and_a_newer_one_replaces_it(gateways, boss):
    member = invite(gateways, boss)
    first = mailed(gateways)
    again(gateways, boss, member)
    second = mailed(gateways)

    with pytest.raises(invitations.InvitationOver):
        accept(gateways, first)
    accept(gateways, second)
    for token in (second, "", "inconnu", first):
        with pytest.raises(invitations.InvitationOver):
            accept(gateways, token)


def test_of_two_processes_that_use_one_link_one_chooses_the_password(gateways, boss):
    invite(gateways, boss)
    printed = make.processes(
        gateways,
        2,
        """
from mespieces.domain import invitations
try:
    invitations.accept(gateways, arguments[0], arguments[1], arguments[1], journal.NO_TRACE)
    print("chosen")
except invitations.InvitationOver:
    print("over")
""",
        mailed(gateways),
        CHOSEN,
    )

    assert sorted(printed) == ["chosen", "over"]
    assert make.count("member.changed") == 1


def test_a_mail_whose_link_was_used_meanwhile_does_not_leave(gateways, boss):
    member = invite(gateways, boss)
    again(gateways, boss, member)
    token = mailed(gateways)
    accept(gateways, token)
    again(gateways, boss, Member.get_by_id(member.id))
    Invitation.delete().execute()
    sent = len(gateways.mail.sent)

    outbox.drain(gateways, notices.compose)

    assert len(gateways.mail.sent) == sent
    assert Message.select().where(Message.given_up_at.is_null(False)).count() == 1


def test_a_password_that_is_weak_or_typed_differently_spends_nothing(gateways, boss):
    invite(gateways, boss)
    token = mailed(gateways)

    for password, repeated in (("court", "court"), ("motdepasse2026", "motdepasse2026"), (CHOSEN, CHOSEN + "x")):
        with pytest.raises(Invalid):
            invitations.accept(gateways, token, password, repeated, make.TRACE)
    with pytest.raises(offices.PasswordWeak):
        accept(gateways, token, "dominique2026")
    assert Member.get(Member.id != boss.id).password_hash is None
    accept(gateways, token)


def test_a_password_typed_in_another_unicode_form_is_the_same(gateways, boss):
    invite(gateways, boss)
    member = accept(gateways, mailed(gateways), "chausse\u0301e poivre lanterne 8")

    assert isinstance(members.begin(gateways, member.email, "chaussée poivre lanterne 8", make.TRACE), str)


def test_a_new_invitation_changes_nothing_until_it_is_used_then_ends_what_was_there(gateways, boss):
    member = accepted(gateways, boss)
    app, session = signed_in(gateways, member, CHOSEN)
    drawn = recovery_codes.draw(gateways, member, make.TRACE)
    begun = members.begin(gateways, member.email, CHOSEN, make.TRACE)
    again(gateways, boss, member)
    token = mailed(gateways)

    assert "Rien ne change tant que" in gateways.mail.sent[-1].get_content()
    assert sessions.of_member(gateways, session)
    gateways.clock.advance(timedelta(minutes=1))
    assert isinstance(members.confirm(gateways, begun, app.at(gateways.clock.now()), make.TRACE), str)
    begun = members.begin(gateways, member.email, CHOSEN, make.TRACE)
    accept(gateways, token, "tout autre chose ici 77")
    assert details()[-1] == {"changed": ["password", "totp"], "invitation": True}
    assert sessions.of_member(gateways, session) is None
    with pytest.raises(members.SignInOver):
        members.find(gateways, begun)
    assert isinstance(members.begin(gateways, member.email, CHOSEN, make.TRACE), members.Wrong)
    assert RecoveryCode.select().count() == 0
    other, _ = signed_in(gateways, member, "tout autre chose ici 77")
    assert other.secret != app.secret
    assert drawn


def test_an_administrator_does_not_flood_a_members_mailbox(gateways, boss):
    member = invite(gateways, boss)
    for _ in range(10):
        again(gateways, boss, member)
    gateways.clock.advance(timedelta(hours=1))

    with pytest.raises(invitations.InvitedTooOften) as refused:
        again(gateways, boss, member)
    assert refused.value.retry_after == 23 * 3600
    gateways.clock.advance(timedelta(hours=23))
    again(gateways, boss, member)


def test_an_address_is_invited_once_in_all_offices(gateways, boss):
    elsewhere = make.member(gateways, role="administrateur", email="autre@example.fr")
    invite(gateways, boss)
    for facts in ({"email": "Dominique@Example.fr"}, {"email": "x"}, {"role": "huissier"}, {"name": ""}):
        with pytest.raises(Invalid):
            invite(gateways, elsewhere, **facts)

    results = make.threads(3, lambda: invite(gateways, boss, email="nouveau@example.fr"))

    assert sorted(type(result).__name__ for result in results) == ["EmailTaken", "EmailTaken", "Member"]
    assert Member.select().where(Member.email == "nouveau@example.fr").count() == 1


# Roles and leaving


def test_a_role_is_changed_and_the_journal_says_from_which_to_which(gateways, boss):
    member = accepted(gateways, boss)
    memberships.change_role(gateways, member, "commissaire", by=boss, trace=make.TRACE)
    memberships.change_role(gateways, member, "commissaire", by=boss, trace=make.TRACE)

    assert Member.get_by_id(member.id).role == "commissaire"
    assert details()[-1] == {"changed": ["role"], "name": member.name, "from": "clerc", "to": "commissaire"}
    assert make.count("member.changed") == 2
    with pytest.raises(offices.RoleUnknown):
        memberships.change_role(gateways, member, "huissier", by=boss, trace=make.TRACE)


def test_who_leaves_is_out_at_once_and_can_be_invited_again(gateways, boss):
    member = accepted(gateways, boss)
    _, session = signed_in(gateways, member, CHOSEN)
    recovery_codes.draw(gateways, member, make.TRACE)
    begun = members.begin(gateways, member.email, CHOSEN, make.TRACE)
    again(gateways, boss, member)
    memberships.end(gateways, member, by=boss, trace=make.TRACE)

    assert details()[-1] == {"changed": ["belonging"], "name": member.name, "from": "clerc", "to": None}
    assert sessions.of_member(gateways, session) is None
    with pytest.raises(members.SignInOver):
        members.find(gateways, begun)
    assert isinstance(members.begin(gateways, member.email, CHOSEN, make.TRACE), members.Wrong)
    gone = Member.get_by_id(member.id)
    assert (gone.password_hash, gone.totp_key) == (None, None)
    assert RecoveryCode.select().count() == Invitation.select().count() == 0
    with pytest.raises(memberships.MemberMissing):
        memberships.find(boss.office, member.id)
    with pytest.raises(memberships.MemberMissing):
        memberships.end(gateways, member, by=boss, trace=make.TRACE)
    with pytest.raises(invitations.InvitationOver):
        again(gateways, boss, member)
    back = accepted(gateways, boss)
    assert back.email == member.email
    assert back.id != member.id
    signed_in(gateways, back, CHOSEN)


def test_an_office_keeps_an_administrator_who_can_sign_in(gateways, boss):
    invited = invite(gateways, boss, role="administrateur")
    elsewhere = make.member(gateways, role="administrateur", email="autre@example.fr")
    for office_boss in (boss, elsewhere):
        with pytest.raises(memberships.LastAdministrator):
            memberships.end(gateways, office_boss, by=boss, trace=make.TRACE)
        with pytest.raises(memberships.LastAdministrator):
            memberships.change_role(gateways, office_boss, "clerc", by=boss, trace=make.TRACE)
    accept(gateways, mailed(gateways))

    memberships.end(gateways, boss, by=boss, trace=make.TRACE)

    assert offices.present(boss.office) == [invited]


def test_two_administrators_who_leave_at_once_do_not_both_go(gateways, boss):
    other = accepted(gateways, boss, role="administrateur")
    ending = [lambda one=one: memberships.end(gateways, one, by=boss, trace=make.TRACE) for one in (boss, other)]
    turns = iter([hold_the_journal, *ending])

    def act():
        return next(turns)()

    results = make.threads(3, act)

    assert sorted(type(result).__name__ for result in results) == ["LastAdministrator", "NoneType", "NoneType"]
    assert len(offices.present(boss.office)) == 1
