"""Who belongs to the office: everybody sees them, administrators invite, change a role, end a belonging."""

from uuid import UUID

from flask import flash, render_template, request
from werkzeug.wrappers import Response as BaseResponse

from mespieces.domain import invitations, memberships, offices
from mespieces.errors import Invalid
from mespieces.models import Member
from mespieces.views import current
from mespieces.views.office import door


@door.bp.get("/membres")
def list_members() -> str:
    """Who works here, and with what role."""
    return _list()


@door.bp.post("/membres")
def invite() -> BaseResponse | tuple[str, int]:
    """Add a member, who is mailed a link to choose their own password."""
    typed, administrator = request.form, current.member()
    try:
        invited = invitations.invite(
            current.gateways(), administrator.office, name=typed.get("name", ""), email=typed.get("email", ""),
            role=typed.get("role", ""), by=administrator, trace=current.trace(),
        )  # fmt: skip
    except Invalid as error:
        return _list(typed=typed, errors={error.field: str(error)}), 422
    flash(f"Une invitation part vers {invited.email} : elle est valable 72 heures.", "ok")
    return door.to(".list_members")


@door.bp.get("/membres/<uuid:member_id>")
def show_member(member_id: UUID) -> str:
    """One member, and what an administrator can do."""
    return _show(_find(member_id))


@door.bp.post("/membres/<uuid:member_id>/invitation")
def invite_again(member_id: UUID) -> BaseResponse:
    """Mail a new link; what the member has works until it is used."""
    member = _find(member_id)
    invitations.again(current.gateways(), member, by=current.member(), trace=current.trace())
    flash(f"Une nouvelle invitation part vers {member.email} : elle remplace la précédente.", "ok")
    return door.to(".show_member", member_id=member.id)


@door.bp.post("/membres/<uuid:member_id>/role")
def change_role(member_id: UUID) -> BaseResponse | tuple[str, int]:
    """Give the member another role."""
    member = _find(member_id)
    try:
        memberships.change_role(
            current.gateways(), member, request.form.get("role", ""), by=current.member(), trace=current.trace()
        )
    except Invalid as error:
        return _show(member, errors={error.field: str(error)}), 422
    flash(f"Le rôle de {member.name} est changé.", "ok")
    return door.to(".list_members")


@door.bp.post("/membres/<uuid:member_id>/depart")
def end_membership(member_id: UUID) -> BaseResponse:
    """End the member's belonging, and their sessions with it."""
    member = _find(member_id)
    memberships.end(current.gateways(), member, by=current.member(), trace=current.trace())
    flash(f"{member.name} n’est plus membre de l’étude : ses sessions sont terminées.", "ok")
    return door.to(".list_members")


def _find(member_id: UUID) -> Member:
    return memberships.find(current.member().office, member_id)


def _list(typed: object = None, errors: dict[str, str] | None = None) -> str:
    office, now = current.member().office, current.gateways().clock.now()
    return render_template(
        "office/members.html", members=offices.present(office), waiting=invitations.waiting(office),
        over=lambda invitation: invitations.over(invitation, now), typed=typed or {}, errors=errors or {},
    )  # fmt: skip


def _show(member: Member, errors: dict[str, str] | None = None) -> str:
    invitation = invitations.waiting(member.office).get(member.id)
    living = invitation is not None and not invitations.over(invitation, current.gateways().clock.now())
    return render_template(
        "office/one_member.html", one=member, errors=errors or {},
        invited_until=invitation.created_at + invitations.LASTS if invitation and living else None,
    )  # fmt: skip
