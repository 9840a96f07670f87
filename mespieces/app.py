"""The web application assembled: blueprints, guards, error pages, headers. Alone to know which status a refusal becomes."""

import gzip
import hashlib
import logging
import secrets
import time
from functools import lru_cache
from pathlib import Path

import peewee as pw
from flask import Flask, Response, flash, g, jsonify, redirect, render_template, request, url_for
from flask_login import LoginManager
from flask_wtf.csrf import CSRFError, CSRFProtect
from gunicorn.http.errors import NoMoreData, ParseException
from werkzeug.exceptions import HTTPException
from werkzeug.middleware.proxy_fix import ProxyFix
from werkzeug.routing import BaseConverter, IntegerConverter
from werkzeug.wrappers import Response as BaseResponse

from mespieces import errors, models
from mespieces.runtime import Runtime
from mespieces.views import (
    auditor,
    current,
    forgery,
    htmx,
    office,
    operator,
    public,
    recipient,
    refusals,
    sign_in,
    words,
)

log = logging.getLogger("mespieces.web")

STATUS: dict[type[errors.Refusal], int] = {
    errors.NotFound: 404,
    errors.Refused: 409,
    errors.Expired: 410,
    errors.TooLarge: 413,
    errors.Unsupported: 415,
    errors.Invalid: 422,
    errors.TooMany: 429,
    errors.Unavailable: 503,
}
"""The status of each family of refusals."""

CSP = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
)
FORM_BYTES = 512 * 1024  # what a form without file may weigh
_STATIC = Path(__file__).parent / "static"

csrf = CSRFProtect()


class Number(IntegerConverter):
    """A number in an address: no longer than the databases hold."""

    regex = r"\d{1,15}"


class Name(BaseConverter):
    """The name of a journal in an address: 32 hexadecimal digits, lowercase."""

    regex = "[0-9a-f]{32}"


def create(runtime: Runtime) -> Flask:
    """Return the web application over an opened runtime."""
    app = Flask("mespieces")
    app.request_class = htmx.Request
    app.url_map.converters |= {"int": Number, "journal": Name}
    app.url_map.strict_slashes = False  # a slash too many at the end is no other address, and leads nowhere
    app.url_map.merge_slashes = False  # a doubled slash would be led to whatever host the request claims
    app.config.update(
        SECRET_KEY=runtime.secret_key,
        SESSION_COOKIE_NAME="formulaire",
        SESSION_COOKIE_HTTPONLY=True,
        SESSION_COOKIE_SAMESITE="Lax",
        SESSION_COOKIE_SECURE=runtime.settings.https,
        MAX_CONTENT_LENGTH=FORM_BYTES,
        MAX_FORM_MEMORY_SIZE=FORM_BYTES,
        MAX_FORM_PARTS=200,
        WTF_CSRF_SECRET_KEY=forgery.Keys(runtime.secret_key),
        WTF_CSRF_TIME_LIMIT=None,  # the token lives as long as the browser's session: people leave pages open
        WTF_CSRF_CHECK_DEFAULT=False,  # checked below, once the caller is known
    )
    app.jinja_env.filters.update(words.FILTERS)
    app.jinja_env.globals.update(words.GLOBALS, asset_version=_asset_version())
    app.extensions["gateways"] = runtime.gateways
    csrf.init_app(app)
    _set_login(app)
    for module in (public, sign_in, recipient, office, auditor, operator):
        app.register_blueprint(module.bp)
    _set_hooks(app)
    _set_error_pages(app)
    _set_failure_pages(app)
    proxies = runtime.settings.trusted_proxies
    if proxies:
        app.wsgi_app = ProxyFix(app.wsgi_app, x_for=proxies, x_proto=proxies, x_host=proxies)  # type: ignore[method-assign]
    return app


def _set_login(app: Flask) -> None:
    """Have Flask-Login find members through our own server-side sessions, never through its cookie."""
    manager = LoginManager(app)
    manager.session_protection = None
    manager.request_loader(current.load_member)


def _set_hooks(app: Flask) -> None:
    @app.before_request
    def begin() -> None:
        g.request_id, g.started = secrets.token_hex(6), time.perf_counter()

    @app.after_request
    def protect(response: Response) -> Response:
        _set_headers(response, https=current.gateways().settings.https)
        _log(response)
        return htmx.vary(_compressed(response))

    @app.teardown_request
    def close(_error: BaseException | None) -> None:
        if not models.database.is_closed():
            models.database.close()

    # The caller is known before the body is read: no stranger's file reaches the vault, not even for an instant.
    guards = {module.bp.name: module.guard for module in (recipient, office, auditor)}

    @app.before_request
    def protect_forms() -> BaseResponse | None:
        guard = guards.get(request.blueprint or "")
        if guard:
            guard()
        guarded = request.method in app.config["WTF_CSRF_METHODS"] and request.endpoint
        if guarded and not auditor.asked_by_program():
            csrf.protect()
        return None


def _set_headers(response: Response, *, https: bool) -> None:
    headers = response.headers
    headers["Content-Security-Policy"] = CSP
    headers["X-Content-Type-Options"] = "nosniff"
    headers["X-Frame-Options"] = "DENY"
    headers["Referrer-Policy"] = "same-origin"
    headers["Cross-Origin-Opener-Policy"] = "same-origin"
    headers["Cross-Origin-Resource-Policy"] = "same-origin"
    headers["Permissions-Policy"] = "camera=(), geolocation=(), microphone=(), payment=()"
    if https:
        headers["Strict-Transport-Security"] = "max-age=31536000"
    if request.endpoint == "static":
        headers["Cache-Control"] = "public, max-age=31536000, immutable" if "v" in request.args else "no-cache"
    else:
        headers["Cache-Control"] = "no-store"


def _log(response: Response) -> None:
    """One line of JSON a request: no query, no body, no cookie, and the route rather than the address."""
    if request.endpoint == "static" and response.status_code < 400:
        return
    line = {
        "request": g.get("request_id", ""),
        "method": request.method,
        "route": request.url_rule.rule if request.url_rule else "",
        "status": response.status_code,
        "ms": round((time.perf_counter() - g.get("started", time.perf_counter())) * 1000, 1),
    }
    log.info("request", extra={"facts": line})


def _compressed(response: Response) -> Response:
    """Compress the style sheet and the scripts; never a page that holds a secret beside what was typed (BREACH)."""
    name = (request.view_args or {}).get("filename", "")
    if request.endpoint != "static" or response.status_code != 200 or not name.endswith((".css", ".js", ".svg")):
        return response
    response.vary.add("Accept-Encoding")
    if request.accept_encodings["gzip"]:
        response.close()  # the file that was opened to be sent as it is
        response.direct_passthrough = False
        response.set_data(_gzipped(name))
        response.headers["Content-Encoding"] = "gzip"
    return response


@lru_cache(maxsize=32)
def _gzipped(name: str) -> bytes:
    return gzip.compress((_STATIC / name).read_bytes(), mtime=0)


def _asset_version() -> str:
    digest = hashlib.sha256()
    for path in sorted(_STATIC.iterdir()):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:10]


def _set_error_pages(app: Flask) -> None:
    @app.errorhandler(current.NotIdentified)
    def lead_in(_error: current.NotIdentified) -> BaseResponse:
        return _lead_in()

    @app.errorhandler(office.ProofNeeded)
    def ask_again(needed: office.ProofNeeded) -> BaseResponse:
        return _prove_first(needed.page)

    @app.errorhandler(errors.Refusal)
    def refuse(error: errors.Refusal) -> Response:
        status = next(STATUS[family] for family in type(error).__mro__ if family in STATUS)
        return _page(status, (error.heading, str(error), error.advice), getattr(error, "retry_after", None))

    @app.errorhandler(CSRFError)
    def forged(_error: CSRFError) -> Response:
        return _forged()

    @app.errorhandler(ParseException)
    @app.errorhandler(NoMoreData)
    def unreadable(_error: Exception) -> Response:
        """Answer a body that the server could not take apart, found out only while it was read."""
        return _page(400, refusals.WORDS[400])

    @app.errorhandler(HTTPException)
    def http(error: HTTPException) -> BaseResponse:
        status = error.code or 500
        response = _page(
            status, refusals.WORDS.get(status, refusals.OTHERWISE if status < 500 else refusals.UNFORESEEN)
        )
        for name, value in error.get_headers():
            if name in {"Allow", "Content-Range", "Retry-After"}:
                response.headers[name] = value
        return response


def _lead_in() -> Response:
    """Lead to the way in, which says that a session has ended to who had one, and leads members back to their page."""
    office_asked = request.blueprint == "office"
    response = _lead(url_for("office.sign_in" if office_asked else "public.home"))
    cookie = current.OFFICE if office_asked else current.ACCESS
    # An image or a script would be led to a page nobody sees, and the words with it.
    seen = htmx.Headers(request.headers) or request.headers.get("Sec-Fetch-Dest", "document") == "document"
    if office_asked and seen:
        office.remember()
    if cookie in request.cookies and seen:
        flash(refusals.SESSION_OVER, "warn")
        current.take(response, cookie)
    return response


def _lead(page: str) -> Response:
    """Lead the browser to another page; htmx is told so, for it would put that page inside the one shown."""
    if htmx.Headers(request.headers):
        return htmx.vary(Response(headers={"HX-Redirect": page}, mimetype="text/plain"))
    return redirect(page, 303)  # type: ignore[return-value]


def _prove_first(page: str) -> BaseResponse:
    """Ask for a proof, the form that needs it waiting in the page; a forged one is not kept for the member to send."""
    if request.method != "POST" or htmx.Headers(request.headers):
        return _lead(url_for("office.prove", vers=page))
    try:
        csrf.protect()
    except CSRFError:
        return _forged()
    return office.ask(page)


def _forged() -> Response:
    return _page(400, refusals.PAGE_TOO_OLD if request.cookies else refusals.NO_COOKIE)


def _set_failure_pages(app: Flask) -> None:
    @app.errorhandler(pw.OperationalError)
    @app.errorhandler(pw.InterfaceError)
    def database_gone(error: pw.DatabaseError) -> Response:
        g.database_gone = True  # the page that says so asks it nothing
        log.error("database gone", extra={"facts": {"request": g.get("request_id", ""), "reason": str(error)[:300]}})
        gone = errors.Unavailable()
        return _page(503, (gone.heading, str(gone), gone.advice), 30)

    @app.errorhandler(pw.DatabaseError)
    def database_failed(error: pw.DatabaseError) -> Response:
        # SQLite says no more than DatabaseError of a file that is damaged; what derives from it is a fault of ours.
        return database_gone(error) if type(error) is pw.DatabaseError else unforeseen(error)

    @app.errorhandler(Exception)
    def unforeseen(error: Exception) -> Response:
        log.error("unforeseen", exc_info=error, extra={"facts": {"request": g.get("request_id", "")}})
        return _page(500, refusals.UNFORESEEN)


def _page(status: int, words: tuple[str, str, str], retry_after: int | None = None) -> Response:
    """Return a refusal: a page for people, the sentence alone for a script that sends files, or in JSON for a program."""
    heading, sentence, advice = (refusals.suited(one) for one in words)
    # Who sends a file is known by now, unless the database that knows them is gone; a stranger is not heard out.
    if current.asked().files_into is not None or "database_gone" in g:
        current.asked().hear_out(4 * current.gateways().settings.max_document_bytes)
    if "X-Filename" in request.headers:
        response = Response(sentence, status=status, mimetype="text/plain")
    elif current.program():
        response = jsonify(error=sentence)
        response.status_code = status
    else:
        page = render_template(
            "error.html", heading=heading, message=sentence, advice=advice, severe=status >= 500, back=refusals.way_back(),
            request_id=g.get("request_id"), retry_after=retry_after,
        )  # fmt: skip
        response = Response(page, status=status)
        if htmx.Headers(request.headers):
            response.headers["HX-Retarget"] = "body"
    if retry_after:
        response.headers["Retry-After"] = str(retry_after)
    return response
