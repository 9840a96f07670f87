"""Proof asked again before what is sensitive, when the last one is older than ten minutes."""

from collections.abc import Iterable

from flask import Response, flash, redirect, render_template, request, url_for
from flask_login import current_user
from werkzeug.wrappers import Response as BaseResponse

from mespieces.domain import members, proofs
from mespieces.errors import Invalid
from mespieces.views import current
from mespieces.views.office import door


@door.bp.get("/preuve")
def prove() -> str:
    """Ask for a code before the member goes on."""
    return _page(door.inside(request.args.get("vers", "")))


@door.bp.post("/preuve")
def proven() -> BaseResponse | tuple[str, int]:
    """Check the code, then lead back to the page the member came from, or hand back the form that waited."""
    typed, back = request.form, door.inside(request.form.get("vers", ""))
    try:
        found = proofs.renew(
            current.gateways(), current_user.session, typed.get("code", ""), typed.get("recovery", ""), current.trace()
        )
    except Invalid as error:
        return _page(back, _waiting(), {error.field: str(error)}), 422
    if isinstance(found, members.Delayed | proofs.ProofOver):
        raise found
    if isinstance(found, Invalid):
        return _page(back, _waiting(), {found.field: str(found)}), 422
    if fields := _waiting():
        action = door.inside(typed.get("action", ""))
        answer = Response(render_template("office/resume.html", back=back, action=action, fields=fields))
    else:
        flash("C’est confirmé : recommencez, le code ne vous sera plus demandé pendant dix minutes.", "ok")
        answer = redirect(back, 303)  # type: ignore[assignment]
    return current.give(answer, current.OFFICE, found)


def ask(page: str) -> BaseResponse:
    """Ask for the proof that a form needs, keeping what was typed in it: in the page alone, nothing on the server."""
    fields = _kept(request.form.items(multi=True))
    if not any(value for name, value in fields if name != "once"):
        return redirect(url_for("office.prove", vers=page), 303)
    return Response(_page(page, fields, action=request.path))


def _kept(typed: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return what a form holds besides its own anti-forgery field; a secret is never sent back to the page."""
    return [(name, value) for name, value in typed if name not in _NEVER_BACK and not name.startswith("password")]


def _waiting() -> list[tuple[str, str]]:
    """Return the fields of the form that waits for the proof."""
    named = request.form.items(multi=True)
    return _kept((name.removeprefix(_PREFIX), value) for name, value in named if name.startswith(_PREFIX))


def _page(
    back: str, fields: list[tuple[str, str]] | None = None, errors: dict[str, str] | None = None, action: str = ""
) -> str:
    waiting = [(_PREFIX + name, value) for name, value in fields or ()]
    if waiting:
        waiting.append(("action", action or door.inside(request.form.get("action", ""))))
    return render_template("office/prove.html", back=back, waiting=waiting, errors=errors or {})


_PREFIX = "waiting."
_NEVER_BACK = frozenset({"csrf_token", "current", "again", "code", "recovery"})
