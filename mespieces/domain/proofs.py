"""Proof asked again: before what is sensitive, a member whose last proof is older than ten minutes gives a code."""

from datetime import datetime, timedelta

from mespieces import models
from mespieces.domain import journal, members, second_steps, sessions, throttle
from mespieces.errors import Expired
from mespieces.gateways import Gateways
from mespieces.models import Member, Session

LASTS = timedelta(minutes=10)


class ProofOver(Expired):
    """Too many wrong codes: the session has ended, and the password is asked again."""

    message = "Trop de codes erronés : par sécurité, votre session est terminée. Connectez-vous de nouveau."
    heading = "Connexion à recommencer"
    advice = "Reprenez depuis la page de connexion de l’étude."


def recent(session: Session, now: datetime) -> bool:
    """Tell whether the second step was proven in the last ten minutes."""
    return bool(now - session.proved_at < LASTS)


def renew(
    gateways: Gateways, session: Session, code: str, recovery: str, trace: journal.Trace
) -> str | second_steps.CodeWrong | members.Delayed | ProofOver:
    """Check the second step of who is signed in and return the session's fresh token.

    1. A wrong code counts for the day as at sign-in; the fifth ends the session.
    2. A right one makes the proof fresh, under a new token: the one before opens nothing any more.

    Failures are returned, so that they are remembered. Raises `RecoveryMistyped`, `SignInOver`.
    """
    typed = second_steps.read(session.member, code, recovery, gateways.clock.now())
    with models.write():
        member = members.locked(session.member)
        row = models.locked(Session.select().where(Session.id == session.id, Session.ended_at.is_null())).first()
        if row is None or member.left_at or not member.totp_key:
            raise members.SignInOver
        now = gateways.clock.now()
        if left := second_steps.exhausted(member, now):
            return members.Delayed(retry_after=left)
        proven = second_steps.accept(gateways, member, typed, members.application_key(gateways, member), now)
        if proven is None:
            return _refuse(gateways, member, row, typed, trace)  # (1)
        token = sessions.prove(row, now)  # (2)
        author, detail = journal.member(member, trace), {"again": True, **proven}
        journal.append(gateways, "member.signed_in", author=author, member=member, detail=detail)
    if typed.recovery:
        gateways.bell.ring("mail")
    return token


def _refuse(
    gateways: Gateways, member: Member, session: Session, typed: second_steps.Typed, trace: journal.Trace
) -> second_steps.CodeWrong | ProofOver:
    now = gateways.clock.now()
    tries = throttle.fail(throttle.key("proof", str(session.id)), now)
    if tries >= second_steps.TRIES:
        Session.update(ended_at=now).where(Session.id == session.id).execute()
    author, detail = journal.member(member, trace), {"step": "code", "again": True}
    journal.append(gateways, "member.refused", author=author, member=member, detail=detail)
    return ProofOver() if tries >= second_steps.TRIES else second_steps.wrong(typed, tries)
