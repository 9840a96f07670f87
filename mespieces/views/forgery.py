"""Anti-forgery fields: each serves in the session, or the sign-in in progress, it was shown in, and in no other."""

import hashlib
import hmac
from collections.abc import Iterator

from flask import g, request
from flask_login import current_user

from mespieces.domain import sessions
from mespieces.views import current

_OFFICE_STEPS = frozenset({"office.code", "office.confirm"})


class Keys:
    """The keys that sign the fields, as Flask-WTF asks for them at each request: one, of whom the page is shown to.

    The field and the cookie it goes with are a pair that anybody is given. Signed with a key of the session, a pair
    brought from another browser, or kept from before somebody signed in, is refused.
    """

    def __init__(self, secret_key: str | bytes) -> None:
        self._secret = secret_key if isinstance(secret_key, bytes) else secret_key.encode()

    def __iter__(self) -> Iterator[bytes]:
        """Give the one key of the request at hand."""
        yield hmac.new(self._secret, f"form/{_belongs_to()}".encode(), hashlib.sha256).digest()


def _belongs_to() -> str:
    """Return what the forms of the page at hand belong to, empty for who is nobody yet.

    A session's row, which a proof asked again keeps under another token; else the sign-in in progress.
    """
    if request.blueprint == "office":
        if current_user.is_authenticated:
            return f"session/{current_user.session.id}"
        return _sign_in(current.OFFICE_SIGN_IN) if request.endpoint in _OFFICE_STEPS else ""
    if request.blueprint == "sign_in" and (begun := _sign_in(current.SIGN_IN)):
        return begun
    if "session" not in g:
        g.session = sessions.of_recipient(current.gateways(), request.cookies.get(current.ACCESS))
    return f"session/{g.session.id}" if g.session else ""


def _sign_in(cookie: str) -> str:
    token = request.cookies.get(cookie)
    return f"sign-in/{sessions.hashed(token)}" if token else ""
