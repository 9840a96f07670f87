"""What the product writes to people by mail: one function a kind, plain words, nothing secret but a code asked for.

Codes are rendered here, at sending: no row ever holds one. Each mail that carries a code also carries the journal's
log, size and root, so that the head leaves the building.
"""

from collections.abc import Callable
from email.message import EmailMessage

from mespieces.domain import checkpoints, codes, one_time_codes
from mespieces.gateways import Gateways, mail
from mespieces.models import Access, Deposit, Message

Text = tuple[str, str, str]
"""Address, subject, text."""

_OPPOSITION = (
    "L’opposition se forme auprès du tribunal indiqué sur l’acte, dans le mois de la signification : l’acte fait foi.\n"
)
_FREE = (
    "Consulter est gratuit. Consulter n’est ni payer, ni reconnaître la dette, ni former opposition.\n" + _OPPOSITION
)


def compose(gateways: Gateways, message: Message) -> EmailMessage | None:
    """Return the mail for a row of the outbox, None when it no longer has an object (a code that expired)."""
    text = _WRITERS[message.kind](gateways, message)
    if text is None:
        return None
    to, subject, body = text
    settings = gateways.settings
    return mail.compose(
        settings.mail_from, to, subject, body, date=gateways.clock.now(), message_id_domain=settings.host
    )


def _code(gateways: Gateways, message: Message) -> Text | None:
    sign_in, now = message.sign_in, gateways.clock.now()
    expired = sign_in.code_issued_at is None or now - sign_in.code_issued_at >= one_time_codes.CODE_LASTS
    if sign_in.closed_at or expired or not sign_in.email:
        return None
    digits = one_time_codes.code(gateways, sign_in)
    office = message.recipient.deposit.office
    reference = codes.show(Access.get_by_id(sign_in.access_id).reference)
    return (
        sign_in.email,
        "Votre code pour consulter vos documents",
        f"Votre code pour consulter les documents de la référence {reference} :\n\n"
        f"    {digits[:4]} {digits[4:]}\n\n"
        "Il est valable 10 minutes et ne sert qu’une fois. Saisissez-le sur la page restée ouverte.\n"
        "Vous n’avez rien demandé ? Ne communiquez ce code à personne et prévenez l’étude au numéro figurant "
        "sur l’acte.\n\n"
        f"{_FREE}\n"
        f"{office.name}\n{office.phone}\n\n"
        f"{_head()}",
    )


def _corruption(gateways: Gateways, message: Message) -> Text:
    document = message.document
    deposit = document.deposit
    return (
        message.office.email,
        f"Pièce {document.number} du dépôt {deposit.office_reference} : consultation refusée",
        f"La pièce n° {document.number} du dépôt {deposit.office_reference} "
        f"({deposit.creditor}) ne peut plus être consultée : "
        "son empreinte n’est plus celle relevée au dépôt.\n\n"
        "Rien n’a été montré au destinataire, et le journal garde la trace de ce refus. "
        "Restaurez le fichier depuis une sauvegarde, ou déposez de nouveau.\n\n"
        f"{_address(gateways, deposit)}\n",
    )


def _failures(gateways: Gateways, message: Message) -> Text:
    recipient = message.recipient
    deposit = recipient.deposit
    return (
        message.office.email,
        f"Dépôt {deposit.office_reference} : dix essais infructueux",
        f"Dix essais d’identification ont échoué aujourd’hui pour {recipient.name}, "
        f"dépôt {deposit.office_reference} ({deposit.creditor}).\n\n"
        "Le destinataire a peut-être besoin d’aide : le bon code d’accès passe toujours. "
        "Un nouveau feuillet d’accès annule l’ancien.\n\n"
        f"{_address(gateways, deposit)}\n",
    )


def _way_changed(_gateways: Gateways, message: Message) -> Text:
    deposit = message.recipient.deposit
    return (
        message.address,
        "Vos codes ne seront plus envoyés à cette adresse",
        "À la demande du destinataire ou de sa propre initiative, l’étude a changé la façon de recevoir les codes qui "
        "donnent accès aux documents. Ils ne seront plus envoyés à cette adresse.\n\n"
        "Vous n’avez rien demandé ? Prévenez l’étude au numéro figurant sur l’acte.\n\n"
        f"{deposit.office.name}\n{deposit.office.phone}\n",
    )


def _withdrawn(_gateways: Gateways, message: Message) -> Text:
    return (
        message.recipient.email,
        "Des documents ont été retirés",
        f"L’étude a retiré les documents de la référence {_reference(message)} : ils ne peuvent plus être lus en ligne.\n\n"
        "Si d’autres documents sont mis à votre disposition, l’étude vous donnera un nouveau feuillet d’accès.\n"
        "Pour savoir pourquoi, ou pour toute question, appelez l’étude au numéro ci-dessous.\n\n"
        f"{_OPPOSITION}{_signed(message)}",
    )


def _replaced(_gateways: Gateways, message: Message) -> Text:
    return (
        message.recipient.email,
        "D’autres documents remplacent ceux qui ont été retirés",
        f"L’étude avait retiré les documents de la référence {_reference(message)}. "
        "Elle en a mis d’autres à disposition.\n\n"
        "Ils s’ouvrent avec un nouveau feuillet d’accès, que l’étude vous donne : l’ancien n’ouvre plus rien.\n"
        "Vous ne l’avez pas reçu ? Appelez l’étude au numéro ci-dessous.\n\n"
        f"{_FREE}{_signed(message)}",
    )


def _reference(message: Message) -> str:
    return codes.show(Access.get(Access.recipient == message.recipient_id).reference)


def _signed(message: Message) -> str:
    office = message.recipient.deposit.office
    return f"\n{office.name}\n{office.phone}\n"


def _head() -> str:
    head = checkpoints.head()
    return f"Journal {head.log}\nEnregistrements : {head.size}\nRacine : {head.root}\n"


def _address(gateways: Gateways, deposit: Deposit) -> str:
    return f"{gateways.settings.public_url}/etude/depots/{deposit.id}"


_WRITERS: dict[str, Callable[[Gateways, Message], Text | None]] = {
    "code": _code,
    "corruption": _corruption,
    "failures": _failures,
    "replaced": _replaced,
    "way_changed": _way_changed,
    "withdrawn": _withdrawn,
}
