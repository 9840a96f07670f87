"""A member's own account: another password, another application. Each ends the member's other sessions and is told them."""

import os

from mespieces import models
from mespieces.domain import invitations, journal, members, outbox, passwords, second_steps, sessions, text
from mespieces.errors import Invalid
from mespieces.gateways import Gateways
from mespieces.models import Invitation, Member, Session, SignIn

REPLACES = "application"
"""The way of a sign-in in progress that only replaces the application of who is signed in."""


class PasswordWrong(Invalid):
    """Not the member's present password."""

    field = "current"
    message = "Ce n’est pas votre mot de passe actuel."


def change_password(
    gateways: Gateways, session: Session, current: str, password: str, again: str, trace: journal.Trace
) -> PasswordWrong | members.Delayed | None:
    """Change the password of who is signed in; a wrong present one is returned, so that it is remembered.

    Raises `PasswordWeak`, `PasswordsDiffer`.
    """
    stretched = invitations.chosen(password, again, session.member)
    right = _right(session.member, current)
    with models.write():
        member = members.locked(session.member)
        refused = _count(gateways, session.member, member, trace, right=right)
        if refused:
            return refused
        Member.update(password_hash=stretched).where(Member.id == member.id).execute()
        Invitation.delete().where(Invitation.member == member).execute()
        _tell(gateways, session, member, "password", trace)
    gateways.bell.ring("mail")
    return None


def begin_application(
    gateways: Gateways, session: Session, current: str, trace: journal.Trace
) -> str | PasswordWrong | members.Delayed:
    """Draw the key of another application and return the token that shows it; the present one serves until confirmed."""
    right = _right(session.member, current)
    token = models.draw_token()
    with models.write():
        member = members.locked(session.member)
        refused = _count(gateways, session.member, member, trace, right=right)
        if refused:
            return refused
        row = SignIn(token_hash=sessions.hashed(token), member=member, created_at=gateways.clock.now(), way=REPLACES)
        row.sealed_key = gateways.vault.seal_secret(os.urandom(20), f"sign_in/{row.id}")
        row.save(force_insert=True)
    return token


def application(gateways: Gateways, session: Session, token: str) -> SignIn:
    """Return the replacement in progress that `token` opens for who is signed in. Raises `SignInOver`."""
    found = members.find(gateways, token)
    if found.member_id != session.member_id or found.way != REPLACES:
        raise members.SignInOver
    return found


def confirm_application(
    gateways: Gateways, session: Session, token: str, code: str, trace: journal.Trace
) -> members.CodeWrong | members.Delayed | None:
    """Make the new application the member's own once it gave a right code. Raises `SignInOver`."""
    begun = application(gateways, session, token)
    typed = second_steps.read(begun.member, code, "", gateways.clock.now())
    with models.write():
        member = members.locked(begun.member)
        row = models.locked(SignIn.select().where(SignIn.id == begun.id, SignIn.closed_at.is_null())).first()
        if row is None:
            raise members.SignInOver
        now = gateways.clock.now()
        if left := second_steps.exhausted(member, now):
            return members.Delayed(retry_after=left)
        secret = members.application_key(gateways, row)
        member.totp_last_step = 0  # of the former application
        proven = second_steps.accept(gateways, member, typed, secret, now)
        SignIn.update(
            tries=row.tries + 1, closed_at=now if proven is not None or row.tries + 1 >= members.TRIES else None
        ).where(SignIn.id == row.id).execute()
        if proven is None:
            author, detail = journal.member(member, trace), {"step": "code", "again": True}
            journal.append(gateways, "member.refused", author=author, member=member, detail=detail)
            return second_steps.wrong(typed, row.tries + 1)
        members.enrol(gateways, member, secret)
        _tell(gateways, session, member, "totp", trace)
    gateways.bell.ring("mail")
    return None


def _right(member: Member, current: str) -> bool:
    return passwords.matches(text.storable(current), member.password_hash)


def _count(
    gateways: Gateways, seen: Member, member: Member, trace: journal.Trace, *, right: bool
) -> PasswordWrong | members.Delayed | None:
    """Return the refusal of the present password, counted as at sign-in; None when it passes."""
    unchanged = member.password_hash == seen.password_hash
    refused = members.count_password(gateways, member.email, member, trace, right=right and unchanged)
    return PasswordWrong() if isinstance(refused, members.Wrong) else refused


def _tell(gateways: Gateways, session: Session, member: Member, changed: str, trace: journal.Trace) -> None:
    """End what was open elsewhere, tell the member, and journal."""
    now = gateways.clock.now()
    sessions.end_of_member(member.id, now, but=session)
    SignIn.update(closed_at=now).where(SignIn.member == member, SignIn.closed_at.is_null()).execute()
    outbox.queue(gateways, f"{changed}_changed", member=member)
    author = journal.member(member, trace)
    journal.append(gateways, "member.changed", author=author, member=member, detail={"changed": [changed]})
