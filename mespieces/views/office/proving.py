"""Proof asked again before what is sensitive, when the last one is older than ten minutes."""

from flask import flash, redirect, render_template, request
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
    """Check the code, then lead back to the page the member came from."""
    typed, back = request.form, door.inside(request.form.get("vers", ""))
    try:
        found = proofs.renew(
            current.gateways(), current_user.session, typed.get("code", ""), typed.get("recovery", ""), current.trace()
        )
    except Invalid as error:
        return _page(back, errors={error.field: str(error)}), 422
    if isinstance(found, members.Delayed | proofs.ProofOver):
        raise found
    if isinstance(found, Invalid):
        return _page(back, errors={found.field: str(found)}), 422
    flash("C’est confirmé : recommencez, le code ne vous sera plus demandé pendant dix minutes.", "ok")
    return current.give(redirect(back, 303), current.OFFICE, found)  # type: ignore[arg-type]


def _page(back: str, errors: dict[str, str] | None = None) -> str:
    return render_template("office/prove.html", back=back, errors=errors or {})
