"""Sessions: somebody identified, for 15 minutes of idleness and an hour at most. Kept on the server, known by a hash."""

import hashlib
from datetime import datetime, timedelta

from mespieces import models
from mespieces.gateways import Gateways
from mespieces.models import Access, Deposit, Member, Recipient, Session

IDLE = timedelta(minutes=15)
LONGEST = timedelta(minutes=60)
LONGEST_MEMBER = timedelta(hours=10)
IDLE_MEMBER = timedelta(minutes=60)
_SEEN_EVERY = timedelta(seconds=30)  # a write at every request would serialise readers


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


def start(now: datetime, *, way: str, access: Access | None = None, member: Member | None = None) -> str:
    """Start a session inside the caller's transaction and return its fresh token."""
    token = models.draw_token()
    Session.create(token_hash=hashed(token), access=access, member=member, way=way, created_at=now, seen_at=now)
    return token


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


def end_all(access: Access, now: datetime) -> None:
    """End every session of an access, inside the caller's transaction."""
    Session.update(ended_at=now).where(Session.access == access, Session.ended_at.is_null()).execute()


def ends_at(session: Session) -> datetime:
    """Return the instant the session ends if nothing more happens."""
    if session.member_id:
        return min(session.seen_at + IDLE_MEMBER, session.created_at + LONGEST_MEMBER)
    return min(session.seen_at + IDLE, session.created_at + LONGEST)


def _living(session: Session | None, now: datetime, idle: timedelta, longest: timedelta) -> Session | None:
    if session is None or now - session.seen_at >= idle or now - session.created_at >= longest:
        return None
    return session
