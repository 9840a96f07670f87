"""Invitations of members: a link by mail, for 72 hours and once, to choose a password nobody else ever sees.

The row holds the token's SHA-256 and the token itself, sealed by the vault, for the mail is written when it leaves;
the row goes when the link is used, replaced or too old.
"""

from datetime import datetime, timedelta

from mespieces import models
from mespieces.domain import journal, members, offices, outbox, passwords, sessions, text, throttle
from mespieces.errors import Expired, Invalid, TooMany
from mespieces.gateways import Gateways
from mespieces.models import Invitation, Member, Office

LASTS = timedelta(hours=72)
MAILS_A_DAY = 10


class InvitationOver(Expired):
    """The link is unknown, used, replaced by another, or too old: one answer for all."""

    message = (
        "Ce lien d’invitation ne sert plus : il a déjà été utilisé, un autre l’a remplacé, ou il a plus de 72 heures."
    )
    heading = "Invitation terminée"
    advice = (
        "Vous avez déjà choisi votre mot de passe ? Connectez-vous. "
        "Sinon, demandez une nouvelle invitation à un administrateur de l’étude."
    )


class InvitedTooOften(TooMany):
    """More invitations in a day than anybody needs: their mailbox is not ours to flood."""

    message = "Beaucoup d’invitations sont déjà parties vers cette personne : servez-vous de la dernière reçue."
    advice = "Vérifiez avec elle que son adresse est la bonne, et qu’elle a regardé parmi les indésirables."


class PasswordsDiffer(Invalid):
    """The password was not typed twice alike."""

    field = "again"
    message = "Les deux mots de passe ne sont pas les mêmes : saisissez deux fois le même."


def invite(
    gateways: Gateways, office: Office, *, name: str, email: str, role: str, by: Member, trace: journal.Trace
) -> Member:
    """Add a member who chooses their own password from a link they are mailed. Raises `Invalid`, `EmailTaken`."""
    facts = offices.read_member(name, email, role)
    with models.write():
        member = offices.create_member(gateways, office, facts)
        _send(gateways, member)
        detail = {"name": member.name, "role": member.role, "invited": True}
        journal.append(gateways, "member.added", author=journal.member(by, trace), member=member, detail=detail)
    gateways.bell.ring("mail")
    return member


def again(gateways: Gateways, member: Member, *, by: Member, trace: journal.Trace) -> None:
    """Mail a new link to a member who lost their password, application or link; what they have works until it is used.

    Raises `InvitationOver` for a member who left, `InvitedTooOften`.
    """
    with models.write():
        row = members.locked(member)
        if row.left_at:
            raise InvitationOver
        name, now = throttle.key("invitation", str(row.id)), gateways.clock.now()
        if throttle.fail(name, now) > MAILS_A_DAY:
            raise InvitedTooOften(retry_after=throttle.resets(name, now, throttle.DAY))
        _send(gateways, row)
        detail = {"changed": ["invitation"]}
        journal.append(gateways, "member.changed", author=journal.member(by, trace), member=row, detail=detail)
    gateways.bell.ring("mail")


def find(gateways: Gateways, token: str) -> Invitation:
    """Return the invitation that `token` opens, with its member. Raises `InvitationOver`."""
    query = (
        Invitation.select(Invitation, Member, Office)
        .join(Member)
        .join(Office)
        .where(Invitation.token_hash == sessions.hashed(token), Member.left_at.is_null())
    )
    found: Invitation | None = query.first()
    if found is None or over(found, gateways.clock.now()):
        raise InvitationOver
    return found


def over(invitation: Invitation, now: datetime) -> bool:
    """Tell whether the invitation is too old."""
    return bool(now - invitation.created_at >= LASTS)


def accept(gateways: Gateways, token: str, password: str, again: str, trace: journal.Trace) -> Member:
    """Give the invited member the password they chose, and have them enrol an application at their next sign-in.

    What they had before ends here: password, application, recovery codes, sessions.
    Raises `InvitationOver`, `PasswordWeak`, `PasswordsDiffer`.
    """
    invitation = find(gateways, token)
    who = invitation.member
    stretched = chosen(password, again, who)
    with models.write():
        member = members.locked(who)
        invitation = find(gateways, token)  # once: the first to hold the member's lock erases it
        changed = ["password", *(["totp"] if member.totp_key else [])]
        Member.update(password_hash=stretched, totp_key=None, totp_enrolled_at=None, totp_last_step=0).where(
            Member.id == member.id
        ).execute()
        members.shut_out(member, gateways.clock.now())
        author, detail = members.unidentified(member, trace), {"changed": changed, "invitation": True}
        journal.append(gateways, "member.changed", author=author, member=member, detail=detail)
    return member


def chosen(password: str, again: str, member: Member) -> str:
    """Return a member's new password, stretched: outside any transaction. Raises `PasswordWeak`, `PasswordsDiffer`."""
    password = text.storable(password)
    offices.check_password(password, member.name, member.email, member.office.name)
    if text.storable(again) != password:
        raise PasswordsDiffer
    return passwords.stretch(password)


def waiting(office: Office) -> dict[object, Invitation]:
    """Return, by member, the invitations of the office that were not used yet, those too old included until swept."""
    return {row.member_id: row for row in Invitation.select().join(Member).where(Member.office == office)}


def sweep(gateways: Gateways) -> None:
    """Erase the invitations that are too old."""
    with models.write():
        Invitation.delete().where(Invitation.created_at <= gateways.clock.now() - LASTS).execute()


def token_of(gateways: Gateways, invitation: Invitation) -> str:
    """Return the token to write in the mail."""
    return gateways.vault.open_secret(bytes(invitation.sealed_token), _name(invitation)).decode()


def _send(gateways: Gateways, member: Member) -> None:
    """Replace the member's invitation by a fresh one and have it mailed, inside the caller's transaction."""
    Invitation.delete().where(Invitation.member == member).execute()
    token = models.draw_token()
    row = Invitation(member=member, token_hash=sessions.hashed(token), created_at=gateways.clock.now())
    row.sealed_token = gateways.vault.seal_secret(token.encode(), _name(row))
    row.save(force_insert=True)
    outbox.queue(gateways, "invitation", member=member)


def _name(invitation: Invitation) -> str:
    return f"invitation/{invitation.id}"
