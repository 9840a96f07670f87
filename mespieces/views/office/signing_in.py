"""Members sign in: a password, then the code of their application, enrolled at the first time."""

from flask import Response, redirect, render_template, request
from flask_login import current_user
from werkzeug.wrappers import Response as BaseResponse

from mespieces.domain import (
    members,
    passwords,
    sessions,
)
from mespieces.errors import Invalid, NotFound
from mespieces.views import current, lasting
from mespieces.views.office import door
from mespieces.views.sign_in import qr


@door.bp.get("/connexion")
def sign_in() -> str:
    """Ask for the address and the password."""
    return render_template("office/sign_in.html", email="", errors={})


@door.bp.post("/connexion")
def begin() -> BaseResponse | tuple[str, int] | tuple[str, int, dict[str, str]]:
    """Check the password, then lead to the code."""
    email = request.form.get("email", "")
    try:
        found = members.begin(current.gateways(), email, request.form.get("password", ""), current.trace())
    except passwords.PasswordTooLong as error:
        return render_template("office/sign_in.html", email=email[:254], errors={error.field: str(error)}), 422
    if isinstance(found, str):
        return current.give(door.to(".code"), current.OFFICE_SIGN_IN, found)
    page = render_template("office/sign_in.html", email=email[:254], errors={"password": str(found)})
    if isinstance(found, members.Delayed):
        return page, 429, {"Retry-After": str(found.retry_after)}
    return page, 422


@door.bp.get("/connexion/code")
def code() -> str:
    """Ask for the application's code, after enrolling it at the first sign-in."""
    return _code()


@door.bp.post("/connexion/code")
def confirm() -> BaseResponse | tuple[str, int]:
    """Check the application's code, or a recovery code, and open the session; who has just enrolled gets theirs."""
    enrolling = members.find(current.gateways(), _token()).sealed_key is not None
    typed = request.form
    try:
        found = members.confirm(
            current.gateways(), _token(), typed.get("code", ""), current.trace(),
            recovery=typed.get("recovery", ""), former=request.cookies.get(current.OFFICE, ""),
        )  # fmt: skip
    except Invalid as error:
        return _code(errors={error.field: str(error)}), 422
    if isinstance(found, members.Delayed):
        raise found
    if isinstance(found, members.CodeWrong):
        if not found.details["left"]:
            raise members.SignInOver
        return _code(errors={found.field: str(found)}), 422
    entered: Response = redirect(door.back(), 303)  # type: ignore[assignment]
    entered = door.to(".recovery") if enrolling else entered
    return current.take(current.give(entered, current.OFFICE, found), current.OFFICE_SIGN_IN)


@door.bp.get("/connexion/application.svg")
def application() -> Response:
    """The enrolment of the member's application, as a QR code."""
    enrolment = members.enrolment(current.gateways(), members.find(current.gateways(), _token()))
    if enrolment is None:
        raise NotFound
    return qr(enrolment.uri)


@door.bp.get("/session")
def session_left() -> dict[str, float]:
    """How long the session still lasts; being asked renews nothing."""
    return lasting.told(current_user.session)


@door.bp.post("/session")
def go_on() -> dict[str, float]:
    """Renew the session, as any page does, without leaving what is being typed."""
    return lasting.told(current_user.session)


@door.bp.post("/deconnexion")
def leave() -> BaseResponse:
    """End the session on the server."""
    sessions.end(current.gateways(), current_user.session)
    return current.take(door.to(".sign_in"), current.OFFICE)


def _token() -> str:
    return request.cookies.get(current.OFFICE_SIGN_IN, "")


def _code(errors: dict[str, str] | None = None) -> str:
    sign_in = members.find(current.gateways(), _token())
    enrolment = members.enrolment(current.gateways(), sign_in)
    return render_template("office/code.html", errors=errors or {}, enrolment=enrolment)
