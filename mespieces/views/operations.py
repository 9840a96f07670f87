"""The journal's operations, their kinds and who did them, as French people name them."""

from collections.abc import Mapping
from typing import Any

KINDS = {
    "deposits": "Dépôts, pièces et destinataires",
    "consultations": "Consultations",
    "identifications": "Accès, identifications et refus",
    "members": "Étude et membres",
    "journal": "Journal et service",
}
"""Each kind of operation, and the words for it."""

NAMES = {
    "journal.opened": "Journal ouvert",
    "journal.anchored": "Journal daté par un tiers",
    "journal.read": "Lecture du journal",
    "journal.exported": "Export du journal",
    "journal.purged": "Effacement de données du journal, au terme des délais",
    "clock.anomaly": "Retour en arrière de l’horloge",
    "office.added": "Étude ouverte",
    "office.changed": "Étude modifiée",
    "member.added": "Membre ajouté",
    "member.changed": "Accès d’un membre changé",
    "member.signed_in": "Connexion d’un membre",
    "member.refused": "Connexion refusée à un membre",
    "keys.rotated": "Clés de chiffrement renouvelées",
    "deposit.created": "Brouillon ouvert",
    "document.deposited": "Pièce ajoutée",
    "document.withdrawn": "Pièce retirée d’un brouillon",
    "deposit.filed": "Dépôt",
    "deposit.prolonged": "Mise à disposition prolongée",
    "deposit.withdrawn": "Dépôt retiré",
    "deposit.transferred": "Dépôt confié à une autre étude",
    "deposit.expired": "Fin de la mise à disposition",
    "deposit.forgotten": "Références et codes d’accès effacés",
    "document.deleted": "Pièce supprimée",
    "recipient.added": "Destinataire ajouté",
    "recipient.access_issued": "Feuillet d’accès imprimé",
    "recipient.corrected": "Destinataire corrigé",
    "recipient.channel_chosen": "Façon de recevoir le code choisie",
    "recipient.channel_reset": "Façon de recevoir le code changée",
    "recipient.second_step_waived": "Second code dispensé",
    "signification.recorded": "Signification saisie",
    "signification.corrected": "Signification corrigée",
    "code.issued": "Code à usage unique donné",
    "recipient.identified": "Identification réussie",
    "recipient.refused": "Essai d’identification refusé",
    "document.consulted": "Pièce ouverte",
    "document.delivered": "Pièce remise",
    "document.interrupted": "Envoi d’une pièce interrompu",
    "document.corrupted": "Pièce altérée, consultation refusée",
    "attestation.issued": "Attestation établie",
    "incident.recorded": "Incident",
}
"""Each operation, and what it is called where its content was erased."""

AUTHORS = {
    "member": "membre de l’étude",
    "recipient": "destinataire",
    "operator": "exploitant du service",
    "system": "le service lui-même",
}

IDENTIFIED = {
    "act": "par l’acte seul",
    "act+app": "par l’acte et un code d’application",
    "act+email": "par l’acte et un code reçu par courriel",
    "act+office": "par l’acte et un code donné par l’étude",
    "password+totp": "par mot de passe et code d’application",
    "passkey": "par clé d’accès",
}
_SET_BY = {"recipient": "le destinataire", "office": "l’étude"}


def name(operation: str) -> str:
    """Return what an operation is called; itself when a newer version wrote it."""
    return NAMES.get(operation, operation)


def author(body: Mapping[str, Any]) -> str:
    """Return who a record's author is: « Camille Marchand, membre de l’étude »."""
    who = body["author"]
    return f"{who['name']}, {AUTHORS.get(who['kind'], who['kind'])}"


def identified(body: Mapping[str, Any]) -> str:
    """Return how a record's author was identified, empty when it does not say."""
    how = body.get("identified")
    if not how:
        return ""
    setter = _SET_BY.get(how.get("set_by", ""))
    return IDENTIFIED.get(how["way"], how["way"]) + (f" (façon choisie par {setter})" if setter else "")
