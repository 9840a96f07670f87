"""A member's own account: password, application, recovery codes, sessions."""

from uuid import UUID

from flask import flash, render_template, request
from flask_login import current_user
from werkzeug.wrappers import Response as BaseResponse

from mespieces.domain import accounts, codes, members, recovery_codes, sessions
from mespieces.errors import Invalid
from mespieces.models import Session
from mespieces.views import current
from mespieces.views.office import door


@door.bp.get("/compte")
def account() -> str:
    """What the member can change of how they sign in, and where they are signed in."""
    return _account()


@door.bp.post("/compte/mot-de-passe")
def change_password() -> BaseResponse | tuple[str, int]:
    """Change the password; the other sessions end."""
    former, password, again = (request.form.get(name, "") for name in ("current", "password", "again"))
    try:
        refused = accounts.change_password(
            current.gateways(), _session(), former, password, again, trace=current.trace()
        )
    except Invalid as error:
        return _account(errors={error.field: str(error)}), 422
    if isinstance(refused, members.Delayed):
        raise refused
    if refused:
        return _account(errors={refused.field: str(refused)}), 422
    flash("Votre mot de passe est changé. Vos autres sessions sont terminées.", "ok")
    return door.to(".account")


@door.bp.post("/compte/sessions/<uuid:session_id>/terminer")
def end_session(session_id: UUID) -> BaseResponse:
    """End one of the member's sessions."""
    sessions.end_one(current.gateways(), current.member(), session_id)
    flash("La session est terminée.", "ok")
    return door.to(".account")


@door.bp.post("/compte/sessions/terminer")
def end_other_sessions() -> BaseResponse:
    """End every session but the one at hand."""
    sessions.end_others(current.gateways(), _session())
    flash("Vos autres sessions sont terminées.", "ok")
    return door.to(".account")


@door.bp.get("/compte/secours")
def recovery() -> str:
    """Offer to draw recovery codes."""
    return render_template("office/recovery.html", drawn=None, left=recovery_codes.left(current.member()))


@door.bp.post("/compte/secours")
def draw_recovery() -> str:
    """Draw recovery codes and show them, this once."""
    drawn = recovery_codes.draw(current.gateways(), current.member(), current.trace())
    return render_template("office/recovery.html", drawn=[codes.show(code) for code in drawn], left=len(drawn))


@door.bp.get("/compte/application")
def new_application() -> str:
    """Ask for the password before another application is enrolled."""
    return render_template("office/new_application.html", enrolment=None, errors={})


@door.bp.post("/compte/application")
def begin_application() -> BaseResponse | tuple[str, int]:
    """Draw the key of another application."""
    found = accounts.begin_application(current.gateways(), _session(), request.form.get("current", ""), current.trace())
    if isinstance(found, members.Delayed):
        raise found
    if isinstance(found, accounts.PasswordWrong):
        return render_template("office/new_application.html", enrolment=None, errors={found.field: str(found)}), 422
    return current.give(door.to(".show_application"), current.OFFICE_SIGN_IN, found)


@door.bp.get("/compte/application/code")
def show_application() -> str:
    """Show the new application's key, and ask for its first code."""
    return _application()


@door.bp.post("/compte/application/code")
def confirm_application() -> BaseResponse | tuple[str, int]:
    """Make the new application the member's own."""
    refused = accounts.confirm_application(
        current.gateways(), _session(), _token(), request.form.get("code", ""), current.trace()
    )
    if isinstance(refused, members.Delayed):
        raise refused
    if refused:
        if not refused.details["left"]:
            raise members.SignInOver
        return _application(errors={"code": str(refused)}), 422
    flash("Votre nouvelle application est enregistrée : l’ancienne ne sert plus.", "ok")
    return current.take(door.to(".account"), current.OFFICE_SIGN_IN)


def _session() -> Session:
    session: Session = current_user.session
    return session


def _token() -> str:
    return request.cookies.get(current.OFFICE_SIGN_IN, "")


def _account(errors: dict[str, str] | None = None) -> str:
    living = sessions.living(current.gateways(), current.member())
    return render_template(
        "office/account.html", sessions=living, mine=_session().id, errors=errors or {},
        left=recovery_codes.left(current.member()),
    )  # fmt: skip


def _application(errors: dict[str, str] | None = None) -> str:
    begun = accounts.application(current.gateways(), _session(), _token())
    enrolment = members.enrolment(current.gateways(), begun)
    return render_template("office/new_application.html", enrolment=enrolment, errors=errors or {})
