"""What the product writes to members by mail: their invitation, and what changed in how they sign in."""

from collections.abc import Callable
from functools import partial

from mespieces.domain import french, invitations, offices, recovery_codes
from mespieces.gateways import Gateways
from mespieces.models import Invitation, Message

Text = tuple[str, str, str]
"""Address, subject, text."""


def _invitation(gateways: Gateways, message: Message) -> Text | None:
    member = message.member
    found = Invitation.get_or_none(Invitation.member == member)
    if found is None or member.left_at or invitations.over(found, gateways.clock.now()):
        return None
    office = member.office
    known = member.password_hash is not None
    return (
        member.email,
        f"{office.name} : votre accès à Mes Pièces" if known else f"{office.name} vous invite sur Mes Pièces",
        (
            "Un administrateur de l’étude vous rend l’accès à Mes Pièces.\n\n"
            if known
            else "Un administrateur de l’étude vous ouvre l’accès à Mes Pièces, où l’étude met à disposition les pièces "
            f"justificatives des injonctions de payer. Votre rôle : {offices.ROLES[member.role].lower()}.\n\n"
        )
        + "Choisissez votre mot de passe en ouvrant ce lien :\n\n"
        f"{gateways.settings.public_url}/etude/invitation/{invitations.token_of(gateways, found)}\n\n"
        f"Il est valable jusqu’au {french.instant(found.created_at + invitations.LASTS)}, et ne sert qu’une fois. "
        "À la connexion qui suivra, vous ajouterez une application d’authentification de votre téléphone.\n\n"
        + (
            "Rien ne change tant que vous n’avez pas choisi : votre mot de passe, votre application et vos codes de "
            "secours actuels cesseront alors, et vos sessions ouvertes seront terminées.\n\n"
            if known
            else ""
        )
        + "Vous n’attendiez pas ce message ? N’ouvrez pas le lien, ne le transmettez à personne, et prévenez l’étude.\n\n"
        f"{office.name}\n{office.phone}\n",
    )


def _recovery_used(gateways: Gateways, message: Message) -> Text:
    left = recovery_codes.left(message.member)
    remaining = "il n’en reste aucun" if not left else f"il en reste {left}"
    return (
        message.member.email,
        "Un de vos codes de secours a servi",
        f"Un de vos codes de secours a servi le {french.instant(message.created_at)} ; {remaining}.\n\n"
        "Vous pouvez en tirer de nouveaux, ou changer d’application :\n\n"
        f"{gateways.settings.public_url}/etude/compte\n\n"
        f"{_not_you(message)}",
    )


def _changed(what: str, changed: str, gateways: Gateways, message: Message) -> Text:
    return (
        message.member.email,
        f"{what} a été {changed}",
        f"{what} pour vous connecter à Mes Pièces a été {changed} le {french.instant(message.created_at)}. "
        "Vos autres sessions sont terminées.\n\n"
        f"{gateways.settings.public_url}/etude/compte\n\n"
        f"{_not_you(message)}",
    )


def _not_you(message: Message) -> str:
    office = message.member.office
    return (
        "Ce n’était pas vous ? Demandez aussitôt une nouvelle invitation à un administrateur de l’étude.\n\n"
        f"{office.name}\n{office.phone}\n"
    )


WRITERS: dict[str, Callable[[Gateways, Message], Text | None]] = {
    "invitation": _invitation,
    "password_changed": partial(_changed, "Votre mot de passe", "changé"),
    "recovery_used": _recovery_used,
    "totp_changed": partial(_changed, "Votre application", "changée"),
}
"""The writer of each kind of mail to a member."""
