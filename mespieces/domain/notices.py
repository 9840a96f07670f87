"""What the product writes to people by mail: one function a kind, plain words, nothing secret but a code asked for.

Codes are rendered here, at sending: no row ever holds one. Each mail that carries a code also carries the journal's
log, size and root, so that the head leaves the building.
"""

from collections.abc import Callable
from email.message import EmailMessage

from mespieces.domain import checkpoints, codes, french, heads, member_notices, offers, one_time_codes, outbox
from mespieces.gateways import Gateways, mail
from mespieces.models import Access, Deposit, Message, Recipient

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
    to, subject, body = text[:3]
    now, sender = gateways.clock.now(), gateways.settings.mail_from
    composed = mail.compose(sender, to, subject, body, date=now, message_id=message.message_id)
    for name, data in text[3].items() if len(text) > 3 else ():
        mail.enclose(composed, name, data)
    return composed


def announce_first_consultation(gateways: Gateways, recipient: Recipient) -> None:
    """Have the office told, where the operator wants it, inside the transaction of the consultation's record."""
    if gateways.settings.first_consultation_mail:
        outbox.queue(gateways, "first_consultation", office=recipient.deposit.office, recipient=recipient)


def _code(gateways: Gateways, message: Message) -> Text | None:
    sign_in, now = message.sign_in, gateways.clock.now()
    if sign_in is None or sign_in.closed_at or not sign_in.email or sign_in.code_step is None:
        return None
    if now - sign_in.code_issued_at >= one_time_codes.CODE_LASTS:
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
        f"{_head(gateways)}",
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
        "Un nouveau feuillet d’accès annule l’ancien, et le compte des codes faux recommence avec lui.\n\n"
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


def _undelivered(gateways: Gateways, message: Message) -> Text:
    recipient, refused = message.recipient, message.about
    deposit = recipient.deposit
    return (
        message.office.email,
        f"Dépôt {deposit.office_reference} : un courriel n’est pas arrivé",
        f"Un courriel destiné à {recipient.name}, dépôt {deposit.office_reference} ({deposit.creditor}), "
        f"n’est pas arrivé.\n\n"
        f"Adresse : {refused.address}\n"
        f"Réponse : {refused.reason}\n\n"
        "Que faire ? Vérifiez l’adresse auprès du destinataire. Sur sa page, corrigez-la ou changez sa façon de "
        "recevoir le code ; en « code donné par l’étude », vous lui en direz un par téléphone ou au guichet :\n\n"
        f"{_address(gateways, deposit)}/destinataires/{recipient.id}\n\n"
        "Les refus suivants de cette adresse ne vous seront pas signalés avant demain.\n",
    )


def _first_consultation(gateways: Gateways, message: Message) -> Text:
    recipient = message.recipient
    deposit = recipient.deposit
    return (
        message.office.email,
        f"Dépôt {deposit.office_reference} : première consultation",
        f"{recipient.name} a ouvert pour la première fois une pièce du dépôt {deposit.office_reference} "
        f"({deposit.creditor}), le {french.instant(message.created_at)}.\n\n"
        "Les consultations suivantes sont au journal et sur la page du dépôt ; elles ne vous seront pas signalées.\n\n"
        f"{_address(gateways, deposit)}\n",
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


def _head(gateways: Gateways) -> str:
    head = checkpoints.head(gateways)
    return f"Journal {head.log}\nEnregistrements : {head.size}\nRacine : {head.root}\n"


def _address(gateways: Gateways, deposit: Deposit) -> str:
    return f"{gateways.settings.public_url}/etude/depots/{deposit.id}"


_WRITERS: dict[str, Callable[[Gateways, Message], Text | heads.Enclosing | None]] = {
    "checkpoint": heads.write,
    "code": _code,
    "corruption": _corruption,
    "dossier_offer": offers.write,
    "failures": _failures,
    "first_consultation": _first_consultation,
    "replaced": _replaced,
    "undelivered": _undelivered,
    "way_changed": _way_changed,
    **member_notices.WRITERS,
    "withdrawn": _withdrawn,
}
