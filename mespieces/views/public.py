"""For everyone: the way in for recipients, and what the law has a site say of itself."""

from flask import Blueprint, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from mespieces.domain import codes, identification, offices, one_time_codes, sign_ins, ways
from mespieces.errors import Invalid
from mespieces.gateways import Gateways
from mespieces.views import current

bp = Blueprint("public", __name__)


@bp.get("/")
def home() -> str:
    """The way in: reference and secret. A QR code fills the reference, never the secret."""
    return _form(reference=_well_formed(request.args.get("reference", "")))


@bp.get("/consulter")
def way_in() -> BaseResponse:
    """Lead whoever reloads or retypes the form's address to the form."""
    return redirect(url_for(".home"), 303)


@bp.post("/consulter")
def consult() -> BaseResponse | tuple[str, int] | tuple[str, int, dict[str, str]]:
    """Check what is printed on the act, then lead to the second step."""
    typed, secret = request.form.get("reference", ""), request.form.get("secret", "")
    again = _shown_again(typed, secret)
    try:
        found = identification.begin(current.gateways(), typed, secret, current.trace())
    except Invalid as error:
        return _form(reference=again, secret=codes.mistyped(secret), errors={error.field: str(error)}), 422
    if isinstance(found, identification.Delayed):
        return _form(reference=again, errors={"secret": str(found)}), 429, {"Retry-After": str(found.retry_after)}
    if isinstance(found, identification.Wrong):
        return _form(reference=again, errors={"secret": str(found)}), 422
    return current.give(_next_step(current.gateways(), found.token), current.SIGN_IN, found.token)  # type: ignore[arg-type]


@bp.get("/aide")
def help_() -> str:
    """Help for recipients."""
    return render_template("public/aide.html")


@bp.get("/accessibilite")
def accessibility() -> str:
    """The accessibility statement (RGAA)."""
    return render_template("public/accessibilite.html")


@bp.get("/mentions-legales")
def legal() -> str:
    """The legal notice (LCEN)."""
    return render_template("public/mentions-legales.html", publisher=_publisher())


@bp.get("/donnees-personnelles")
def privacy() -> str:
    """The personal data notice (GDPR, art. 13 and 14)."""
    return render_template("public/donnees-personnelles.html", publisher=_publisher())


def _form(**context: object) -> str:
    return render_template("public/identification.html", **{"reference": "", "secret": "", "errors": {}, **context})


def _well_formed(typed: str) -> str:
    """Return the reference of a QR code as it is printed, nothing when it cannot be one."""
    try:
        return codes.show(codes.read_reference(typed))
    except Invalid:
        return ""


def _shown_again(typed: str, secret: str) -> str:
    """Return what the reference's field shows again: the reference in its groups, else what was typed, never cut.

    What is as long as a secret may be one, and is not given back.
    """
    return _well_formed(typed) or _well_formed(secret) or (typed if len(typed) < codes.SECRET_LENGTH else "")


def _next_step(gateways: Gateways, token: str) -> BaseResponse:
    sign_in = sign_ins.find(gateways, token)
    if ways.open_to(gateways, sign_in):
        return redirect(url_for("sign_in.channel"), 303)
    one_time_codes.send(gateways, token)
    return redirect(url_for("sign_in.code"), 303)


def _publisher() -> object:
    """The instance's publisher is its office when it has one alone; several share a site the operator presents."""
    everyone = offices.everyone()
    return everyone[0] if len(everyone) == 1 else None
