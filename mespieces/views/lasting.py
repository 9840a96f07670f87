"""How long the session at hand still lasts: for the page, its script and who has no script."""

from datetime import datetime

from flask import url_for

from mespieces.domain import sessions
from mespieces.models import Session
from mespieces.views import current


def told(session: Session) -> dict[str, float]:
    """Return the seconds left to the session, idle, and whatever happens; durations, for browsers' clocks are wrong."""
    now = current.gateways().clock.now()
    return {"left": _until(sessions.ends_at(session), now), "limit": _until(sessions.latest(session), now)}


def shown(session: Session) -> dict[str, object]:
    """Return what a page needs to say when the session ends and to renew it."""
    of_member = bool(session.member_id)
    return {
        **told(session),
        "ends": sessions.ends_at(session),
        "latest": sessions.latest(session),
        "url": url_for("office.session_left" if of_member else "recipient.session_left"),
        "leave": url_for("office.leave" if of_member else "recipient.leave"),
        "way_in": url_for("office.sign_in" if of_member else "public.home"),
        "longest": "dix heures" if of_member else "une heure",
    }


def _until(end: datetime, now: datetime) -> float:
    return round((end - now).total_seconds(), 1)
