"""The recipient's second step: choosing a way, then a one-time code."""

import io

import segno
from flask import Blueprint, Response, flash, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from mespieces.domain import identification, one_time_codes, sign_ins, ways
from mespieces.errors import Invalid, NotFound
from mespieces.models import SignIn
from mespieces.views import current

bp = Blueprint("sign_in", __name__, url_prefix="/consulter")


@bp.get("/canal")
def channel() -> BaseResponse | str:
    """Offer the ways to receive a code; a bound one leads straight to the code."""
    sign_in = _sign_in()
    if not ways.open_to(current.gateways(), sign_in):
        return redirect(url_for(".code"), 303)
    return _channel(sign_in)


@bp.post("/canal")
def choose() -> BaseResponse | tuple[str, int] | tuple[str, int, dict[str, str]]:
    """Remember the way chosen and have the code sent where it is sent."""
    if not ways.open_to(current.gateways(), _sign_in()):  # bound meanwhile, or a page of before
        return redirect(url_for(".code"), 303)
    way, email = request.form.get("channel", ""), request.form.get("email", "")
    try:
        ways.choose(current.gateways(), _token(), way, email)
    except Invalid as error:
        return _channel(_sign_in(), chosen=way, email=email[:254], errors={error.field: str(error)}), 422
    if way == "act":
        return _act_alone()
    try:
        one_time_codes.send(current.gateways(), _token())
    except one_time_codes.TooSoon as early:
        return _wait(early)
    return redirect(url_for(".code"), 303)


@bp.get("/code")
def code() -> BaseResponse | str:
    """Ask for the one-time code."""
    sign_in = _sign_in()
    if sign_ins.way_bound(current.gateways(), sign_in) == "act":
        return render_template("sign_in/act.html", **_context(sign_in))
    if not sign_in.way:
        return redirect(url_for(".channel"), 303)
    return _code(sign_in)


@bp.post("/code")
def confirm() -> BaseResponse | tuple[str, int] | tuple[str, int, dict[str, str]]:
    """Check the one-time code and open the session."""
    sign_in = _sign_in()
    if sign_ins.way_bound(current.gateways(), sign_in) == "act":
        return _act_alone()
    if not sign_in.way:
        return redirect(url_for(".channel"), 303)
    try:
        found = identification.confirm(
            current.gateways(), _token(), request.form.get("code", ""), current.trace(), former=_former()
        )
    except Invalid as error:
        return _code(sign_in, error=str(error)), 422
    if isinstance(found, one_time_codes.CodesExhausted):
        raise found
    if isinstance(found, identification.CodeWrong):
        if not found.details["left"]:
            raise sign_ins.SignInOver
        return _code(sign_in, error=str(found)), 422
    return _enter(found)


@bp.post("/code/renvoyer")
def resend() -> BaseResponse | tuple[str, int, dict[str, str]]:
    """Send another code; what was counted stays counted."""
    try:
        one_time_codes.send(current.gateways(), _token(), again=True)
    except one_time_codes.TooSoon as early:
        return _wait(early)
    return redirect(url_for(".code", renvoye=1), 303)


@bp.get("/application.svg")
def application() -> Response:
    """The enrolment of an authenticator application, as a QR code."""
    enrolment = ways.enrolment(current.gateways(), _sign_in())
    if enrolment is None:
        raise NotFound
    return qr(enrolment.uri)


def qr(uri: str) -> Response:
    """Return `uri` as an SVG to scan, dark on white whatever the page's colours."""
    drawn = io.BytesIO()
    segno.make(uri, error="m", micro=False).save(drawn, kind="svg", scale=6, border=4, light="#fff", svgns=True)
    return Response(drawn.getvalue(), mimetype="image/svg+xml")


def _token() -> str:
    return request.cookies.get(current.SIGN_IN, "")


def _former() -> str:
    """The session already open in this browser: it ends when another begins."""
    return request.cookies.get(current.ACCESS, "")


def _act_alone() -> BaseResponse:
    return _enter(identification.act_alone(current.gateways(), _token(), current.trace(), former=_former()))


def _sign_in() -> SignIn:
    return sign_ins.find(current.gateways(), _token())


def _channel(sign_in: SignIn, **context: object) -> str:
    offered = ways.open_to(current.gateways(), sign_in)
    known = {"chosen": sign_in.way, "email": sign_in.email, "errors": {}, "ways": offered}
    return render_template("sign_in/channel.html", **{**known, **context}, **_context(sign_in))


def _code(sign_in: SignIn, error: str = "") -> str:
    return render_template(
        "sign_in/code.html",
        error=error,
        way=sign_in.way,
        masked=_masked(sign_in.email),
        enrolment=ways.enrolment(current.gateways(), sign_in),
        bound=bool(sign_ins.way_bound(current.gateways(), sign_in)),
        app_exhausted=sign_ins.app_exhausted(sign_in.access),
        resent="renvoye" in request.args,
        **_context(sign_in),
    )


def _wait(early: one_time_codes.TooSoon) -> tuple[str, int, dict[str, str]]:
    """Say on the page of the code that the next one is for later."""
    flash(str(early), "warn")
    return _code(_sign_in()), 429, {"Retry-After": str(early.retry_after)}


def _context(sign_in: SignIn) -> dict[str, object]:
    """The office is named only now: the secret of the act is proven."""
    return {"office": sign_in.access.recipient.deposit.office, "sign_in": sign_in}


def _masked(email: str) -> str:
    local, _, domain = email.partition("@")
    return f"{local[:1]}…{local[-1:] if len(local) > 2 else ''}@{domain}" if domain else ""


def _enter(token: str) -> BaseResponse:
    response: Response = redirect(url_for("recipient.documents"), 303)  # type: ignore[assignment]
    return current.take(current.give(response, current.ACCESS, token), current.SIGN_IN)
