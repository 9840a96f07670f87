"""Sessions: somebody identified, for 15 minutes of idleness and an hour at most. Kept on the server, known by a hash."""

import hashlib
from datetime import datetime, timedelta
from uuid import UUID

from mespieces import models
from mespieces.errors import NotFound
from mespieces.gateways import Gateways
from mespieces.models import Access, Deposit, Member, Recipient, Session

IDLE = timedelta(minutes=15)
LONGEST = timedelta(minutes=60)
LONGEST_MEMBER = timedelta(hours=10)
IDLE_MEMBER = timedelta(minutes=60)
_SEEN_EVERY = timedelta(seconds=30)  # a write at every request would serialise readers


class SessionMissing(NotFound):
    """No living session of this member."""

    message = "Cette session est déjà terminée."


def hashed(token: str) -> str:
    """Return what is stored of a bearer token."""
    return hashlib.sha256(token.encode()).hexdigest()


def of_recipient(gateways: Gateways, token: str | None) -> Session | None:
    """Return the living session of a recipient that `token` opens, None otherwise."""
    if not token:
        return None
    query = (
        Session.select(Session, Access, Recipient, Deposit)
        .join(Access)
        .join(Recipient)
        .join(Deposit)
        .where(Session.token_hash == hashed(token), Session.ended_at.is_null())
    )
    return _living(query.first(), gateways.clock.now(), IDLE, LONGEST)


def of_member(gateways: Gateways, token: str | None) -> Session | None:
    """Return the living session of a present member that `token` opens, None otherwise."""
    if not token:
        return None
    query = (
        Session.select(Session, Member)
        .join(Member)
        .where(Session.token_hash == hashed(token), Session.ended_at.is_null(), Member.left_at.is_null())
    )
    return _living(query.first(), gateways.clock.now(), IDLE_MEMBER, LONGEST_MEMBER)


def start(
    now: datetime,
    *,
    way: str,
    access: Access | None = None,
    member: Member | None = None,
    agent: str = "",
    former: str = "",
) -> str:
    """Start a session inside the caller's transaction and return its fresh token; `agent` says the browser in words.

    The session that the same browser had open, under the token `former`, ends (ASVS 7.2.4).
    """
    token = models.draw_token()
    Session.update(ended_at=now).where(
        Session.token_hash == hashed(former), Session.ended_at.is_null(), Session.member.is_null(member is None)
    ).execute()
    Session.create(
        token_hash=hashed(token), access=access, member=member, way=way, agent=agent,
        created_at=now, seen_at=now, proved_at=now,
    )  # fmt: skip
    return token


def prove(session: Session, now: datetime) -> str:
    """Remember that the second step was proven again, inside the caller's transaction, and return a fresh token.

    The token before opens nothing any more: whoever held it without the proof is out.
    """
    token = models.draw_token()
    Session.update(token_hash=hashed(token), proved_at=now, seen_at=now).where(Session.id == session.id).execute()
    return token


def living(gateways: Gateways, member: Member) -> list[Session]:
    """Return the member's living sessions, the newest first."""
    now = gateways.clock.now()
    query = (
        Session.select().where(Session.member == member, Session.ended_at.is_null()).order_by(Session.seen_at.desc())
    )
    return [row for row in query if _living(row, now, IDLE_MEMBER, LONGEST_MEMBER)]


def touch(gateways: Gateways, session: Session) -> None:
    """Remember that the session was used."""
    now = gateways.clock.now()
    if now - session.seen_at < _SEEN_EVERY:
        return
    with models.write():
        Session.update(seen_at=now).where(Session.id == session.id).execute()
    session.seen_at = now


def end(gateways: Gateways, session: Session) -> None:
    """End the session on the server: its cookie opens nothing any more."""
    with models.write():
        Session.update(ended_at=gateways.clock.now()).where(
            Session.id == session.id, Session.ended_at.is_null()
        ).execute()


def end_one(gateways: Gateways, member: Member, session_id: UUID) -> None:
    """End one of the member's own sessions. Raises `SessionMissing`."""
    found = next((row for row in living(gateways, member) if row.id == session_id), None)
    if found is None:
        raise SessionMissing
    end(gateways, found)


def end_others(gateways: Gateways, session: Session) -> None:
    """End every session of the member but this one."""
    with models.write():
        end_of_member(session.member_id, gateways.clock.now(), but=session)


def end_of_member(member_id: UUID, now: datetime, *, but: Session | None = None) -> None:
    """End the member's sessions, except the one named, inside the caller's transaction."""
    query = Session.update(ended_at=now).where(Session.member == member_id, Session.ended_at.is_null())
    (query if but is None else query.where(Session.id != but.id)).execute()


def end_all(access: Access, now: datetime) -> None:
    """End every session of an access, inside the caller's transaction."""
    Session.update(ended_at=now).where(Session.access == access, Session.ended_at.is_null()).execute()


def ends_at(session: Session) -> datetime:
    """Return the instant the session ends if nothing more happens."""
    return min(session.seen_at + (IDLE_MEMBER if session.member_id else IDLE), latest(session))


def latest(session: Session) -> datetime:
    """Return the instant the session ends whatever happens."""
    return session.created_at + (LONGEST_MEMBER if session.member_id else LONGEST)


def _living(session: Session | None, now: datetime, idle: timedelta, longest: timedelta) -> Session | None:
    if session is None or now - session.seen_at >= idle or now - session.created_at >= longest:
        return None
    return session
