"""The request at hand: the gateways, who is calling and from where, and the cookies that say so."""

from typing import Any, cast

from flask import Response, current_app, g, request
from flask_login import AnonymousUserMixin, UserMixin, current_user

from mespieces.domain import journal, sessions
from mespieces.errors import Refusal
from mespieces.gateways import Gateways
from mespieces.models import Member, Session
from mespieces.views.htmx import Request

# Recipients and offices never share a cookie: each audience has its own, and its own path.
SIGN_IN, ACCESS = "identification", "acces"
OFFICE_SIGN_IN, OFFICE = "connexion", "etude"
_PATHS = {SIGN_IN: "/consulter", ACCESS: "/", OFFICE_SIGN_IN: "/etude", OFFICE: "/etude"}


class SignedIn(UserMixin):
    """A member signed in, as Flask-Login wants to know them."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.member: Member = session.member

    def get_id(self) -> str:
        """Return the session's id: the cookie never holds a member's."""
        return str(self.session.id)


class NotIdentified(Refusal):
    """A page for somebody identified was asked by nobody; the caller is led to the way in."""


def gateways() -> Gateways:
    """Return the gateways opened at start."""
    return cast("Gateways", current_app.extensions["gateways"])


def asked() -> Request:
    """Return the request with what it knows of htmx and of files."""
    return cast("Request", request)


def program() -> bool:
    """Tell whether the caller asks for JSON rather than for a page."""
    kinds = ["text/html", "application/json"]
    return request.accept_mimetypes.best_match(kinds) == "application/json"


def trace() -> journal.Trace:
    """Return where the request came from, for the journal's technical trace."""
    return journal.Trace(request.remote_addr or "", request.headers.get("User-Agent", ""))


def session() -> Session:
    """Return the recipient's living session. Raises `NotIdentified`."""
    if "session" not in g:
        g.session = sessions.of_recipient(gateways(), request.cookies.get(ACCESS))
    if g.session is None:
        raise NotIdentified
    return cast("Session", g.session)


def load_member(_request: Any) -> SignedIn | None:
    """Return the member whose office cookie the request carries, None otherwise (Flask-Login's request loader)."""
    if request.blueprint != "office" or "database_gone" in g:
        return None
    found = sessions.of_member(gateways(), request.cookies.get(OFFICE))
    return SignedIn(found) if found else None


def member() -> Member:
    """Return the member signed in. Raises `NotIdentified`."""
    if isinstance(current_user._get_current_object(), AnonymousUserMixin):  # noqa: SLF001 — a proxy has no other way
        raise NotIdentified
    return cast("Member", current_user.member)


def author() -> journal.Author:
    """Return the member signed in, as the author of a record."""
    return journal.member(member(), trace())


def give(response: Response, cookie: str, token: str) -> Response:
    """Put a bearer token in its audience's cookie; it ends with the browser."""
    response.set_cookie(
        cookie, token, path=_PATHS[cookie], secure=gateways().settings.https, httponly=True, samesite="Lax"
    )
    return response


def take(response: Response, cookie: str) -> Response:
    """Remove a cookie."""
    response.delete_cookie(cookie, path=_PATHS[cookie], secure=gateways().settings.https, httponly=True, samesite="Lax")
    return response
