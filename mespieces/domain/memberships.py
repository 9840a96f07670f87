"""Who belongs to an office, and with what role: changed by its administrators, of whom one always remains."""

from uuid import UUID

from mespieces import models
from mespieces.domain import journal, members, offices
from mespieces.errors import NotFound, Refused
from mespieces.gateways import Gateways
from mespieces.models import Member, Office


class MemberMissing(NotFound):
    """Nobody present of this office."""

    message = "Ce membre n’existe pas, ou n’est plus de l’étude."


class LastAdministrator(Refused):
    """The office would be left without anybody who can add or help its members."""

    message = (
        "{name} est le seul administrateur qui puisse se connecter : donnez d’abord ce rôle à un autre membre, "
        "dont l’invitation a été acceptée."
    )


def find(office: Office, member_id: UUID) -> Member:
    """Return a present member of the office. Raises `MemberMissing`."""
    found: Member | None = Member.get_or_none(Member.id == member_id, Member.office == office, Member.left_at.is_null())
    if found is None:
        raise MemberMissing
    return found


def change_role(gateways: Gateways, member: Member, role: str, *, by: Member, trace: journal.Trace) -> None:
    """Give the member another role. Raises `RoleUnknown`, `LastAdministrator`, `MemberMissing`."""
    if role not in offices.ROLES:
        raise offices.RoleUnknown
    with models.write():
        row = _locked(member)
        if row.role == role:
            return
        _check_not_last(row)
        Member.update(role=role).where(Member.id == row.id).execute()
        detail = {"changed": ["role"], "name": row.name, "from": row.role, "to": role}
        journal.append(gateways, "member.changed", author=journal.member(by, trace), member=row, detail=detail)


def end(gateways: Gateways, member: Member, *, by: Member, trace: journal.Trace) -> None:
    """End the member's belonging: all that let them in is erased at once, and their address can be invited again.

    Raises `LastAdministrator`, `MemberMissing`.
    """
    with models.write():
        row = _locked(member)
        _check_not_last(row)
        now = gateways.clock.now()
        Member.update(left_at=now, email="", password_hash=None, totp_key=None, totp_enrolled_at=None).where(
            Member.id == row.id
        ).execute()
        members.shut_out(row, now)
        detail = {"changed": ["belonging"], "name": row.name, "from": row.role, "to": None}
        journal.append(gateways, "member.changed", author=journal.member(by, trace), member=row, detail=detail)


def _locked(member: Member) -> Member:
    """Return the member as they are now; the office is locked first, so that two administrators do not both go."""
    models.locked(Office.select().where(Office.id == member.office_id)).get()
    row = members.locked(member)
    if row.left_at:
        raise MemberMissing
    return row


def _check_not_last(member: Member) -> None:
    if member.role != "administrateur":
        return
    others = Member.select().where(
        Member.office == member.office_id,
        Member.id != member.id,
        Member.role == "administrateur",
        Member.left_at.is_null(),
        Member.password_hash.is_null(False),  # an invitation may never be accepted
    )
    if not others.exists():
        raise LastAdministrator(name=member.name)
