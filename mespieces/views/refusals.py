"""What the page of a refusal says when no rule of the product has its words, and where it leads back to."""

import logging
import re
from collections.abc import Mapping

from flask import g, request, url_for

from mespieces import errors
from mespieces.domain import consultations, offices, sessions
from mespieces.gateways import Gateways
from mespieces.views import current

log = logging.getLogger("mespieces.web")

_AGAIN = "Revenez à la page précédente, rechargez-la, puis recommencez."
_TOO_LONG = "Repartez d’ici. Si cela recommence, effacez les cookies de ce site dans les réglages de votre navigateur."

WORDS: dict[int, tuple[str, str, str]] = {
    400: ("Demande incomplète", "Votre navigateur a envoyé une demande que ce site ne comprend pas.", _AGAIN),
    404: (errors.NotFound.heading, errors.NotFound.message, errors.NotFound.advice),
    405: ("Demande impossible", "Cette adresse ne se demande pas ainsi.", errors.NotFound.advice),
    413: (
        "Formulaire trop volumineux",
        "Ce formulaire contient trop d’éléments, ou trop de texte.",
        "Revenez à la page précédente et envoyez-en moins à la fois.",
    ),
    414: ("Adresse trop longue", "Cette adresse est trop longue.", errors.NotFound.advice),
    415: ("Demande impossible", "Ce format n’est pas accepté.", _AGAIN),
    416: (
        "Téléchargement à reprendre",
        "Cette partie du fichier n’existe pas.",
        "Reprenez le téléchargement depuis le début.",
    ),
    431: ("Demande trop longue", "Votre navigateur a envoyé des en-têtes trop longs.", _TOO_LONG),
}
"""The heading, sentence and advice of what the web server's own library refuses."""

OTHERWISE = (errors.Refusal.heading, errors.Refusal.message, errors.Refusal.advice)
UNFORESEEN = (
    "Une erreur s’est produite",
    "Une erreur imprévue s’est produite. Rien n’est perdu : l’exploitant en est informé.",
    errors.Unavailable.advice,
)
PAGE_TOO_OLD = (
    "Page à recharger",
    "Ce formulaire n’est plus valable : la page était ouverte depuis longtemps, ou votre session a changé entre-temps.",
    "Rien n’a été fait. Revenez à la page précédente, rechargez-la, puis recommencez.",
)
NO_COOKIE = (
    "Cookies nécessaires",
    "Votre navigateur n’a renvoyé aucun cookie : ce site ne peut pas reconnaître le formulaire qu’il vous a donné.",
    "Acceptez les cookies de ce site dans les réglages de votre navigateur, puis rechargez la page précédente. "
    "Ils ne servent qu’à vous reconnaître d’une page à l’autre, et s’effacent quand vous fermez le navigateur.",
)
SESSION_OVER = "Votre session est terminée : identifiez-vous de nouveau."


_CALL = re.compile(
    r"(a|A)ppel(ez|er) le numéro figurant sur l’acte(?: : l’étude vous aidera|, et donnez la référence ci-dessous)?"
)
_ASK_WHY = " Elle peut vous dire pourquoi, au numéro figurant sur l’acte."
_TELL = {"aez": "prévenez", "Aez": "Prévenez", "aer": "prévenir", "Aer": "Prévenir"}


def suited(sentence: str) -> str:
    """Return what a refusal says as it suits who asks: a member of the office holds no act, and is the office."""
    if not request.path.startswith("/etude"):
        return sentence
    return _CALL.sub(
        lambda call: f"{_TELL[call[1] + call[2]]} la personne qui exploite ce service, avec la référence ci-dessous",
        sentence.replace(_ASK_WHY, ""),
    )


def way_back() -> tuple[str, str]:
    """Return the address and the words that lead back to where the caller was, or home; never raises."""
    home = url_for("public.home"), "Revenir à l’accueil"
    if "database_gone" in g:
        return home
    if request.endpoint == "auditor.verify":
        return url_for("auditor.verification"), "Choisir un autre fichier"
    try:
        return _signed_in_at(current.gateways(), request.cookies) or home
    except Exception as error:  # noqa: BLE001 — whatever gives way here, the refusal is still told
        log.warning("no way back", extra={"facts": {"request": g.get("request_id", ""), "reason": repr(error)[:300]}})
        return home


def _signed_in_at(gateways: Gateways, cookies: Mapping[str, str]) -> tuple[str, str] | None:
    """Return the first page of who is signed in; the office's cookie comes only with the office's addresses."""
    session = sessions.of_member(gateways, cookies.get(current.OFFICE))
    if session:
        works = session.member.role in offices.DEPOSITORS
        return url_for("office.home"), "Dépôts" if works else "Journal"
    session = sessions.of_recipient(gateways, cookies.get(current.ACCESS))
    try:
        if session and consultations.readable(gateways, session):
            return url_for("recipient.documents"), "Toutes les pièces"
    except errors.Refusal:  # the list would say again what this page says
        pass
    return None
