"""Who is invited chooses a password: the link shows the form, and only the form changes anything."""

from flask import flash, render_template, request
from werkzeug.wrappers import Response as BaseResponse

from mespieces.domain import invitations
from mespieces.errors import Invalid
from mespieces.views import current
from mespieces.views.office import door


@door.bp.get("/invitation/<token>")
def invitation(token: str) -> str:
    """Ask for a password; mail scanners open links before people do, so nothing is spent here."""
    return _page(token)


@door.bp.post("/invitation/<token>")
def accept(token: str) -> BaseResponse | tuple[str, int]:
    """Keep the password chosen, then lead to the sign-in."""
    typed = request.form
    try:
        invitations.accept(
            current.gateways(), token, typed.get("password", ""), typed.get("again", ""), current.trace()
        )
    except Invalid as error:
        return _page(token, errors={error.field: str(error)}), 422
    flash("Votre mot de passe est enregistré : connectez-vous, puis ajoutez votre application de codes.", "ok")
    return door.to(".sign_in")


def _page(token: str, errors: dict[str, str] | None = None) -> str:
    found = invitations.find(current.gateways(), token)
    return render_template(
        "office/invitation.html", token=token, invited=found.member, errors=errors or {},
        until=found.created_at + invitations.LASTS,
    )  # fmt: skip
