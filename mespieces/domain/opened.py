"""What one recipient opened, consultation by consultation, in all their sessions, with the records that say so."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import peewee as pw

from mespieces.models import (
    Access,
    Consultation,
    Delivery,
    Deposit,
    JournalPayload,
    JournalRecord,
    Recipient,
    Session,
)

MOST_RECORDS = 600
"""Consultations an attestation lists one by one: the first of each document, then the newest."""

WAYS = {
    "act": "code d’accès du feuillet, seul",
    "act+app": "code d’accès du feuillet, puis code d’une application d’authentification",
    "act+email": "code d’accès du feuillet, puis code à usage unique reçu par courriel",
    "act+office": "code d’accès du feuillet, puis code à usage unique donné par l’étude",
}
SHORT_WAYS = {
    "act": "feuillet seul",
    "act+app": "feuillet et application",
    "act+email": "feuillet et courriel",
    "act+office": "feuillet et étude",
}
_SETTERS = {"recipient": "moyen choisi par le destinataire", "office": "moyen choisi par l’étude"}
_HOW = {
    # Of a document read page by page, what is recorded is that one page left: no more is claimed.
    "page": ("au moins une page affichée", "affichage des pages interrompu", "affichage des pages demandé"),
    "text": ("texte envoyé en entier", "envoi du texte interrompu", "texte demandé"),
    "file": ("fichier envoyé en entier", "envoi du fichier interrompu", "fichier demandé, envoi non achevé"),
    "bundle": ("liasse\u00a0: envoyé en entier", "liasse\u00a0: envoi interrompu", "liasse demandée, envoi non achevé"),
}
_OUTCOMES = ("delivered", "interrupted", "")


@dataclass(frozen=True, slots=True)
class Opening:
    """One consultation, and the record that says so."""

    recipient: Any
    document: Any
    opened_at: datetime
    sequence: int
    log: str
    hash: str
    way: str
    """How the recipient was identified, as journals write it."""
    said: str
    """The same in words, with who chose it."""


def of(recipient: Recipient) -> list[Opening]:
    """Return the recipient's consultations with their records, in the order they were opened."""
    return _openings(recipient.deposit_id, Access.recipient == recipient)


def among(deposit: Deposit, consultations: Sequence[UUID]) -> list[Opening]:
    """Return those of a deposit's consultations with their records, in the order they were opened."""
    return _openings(deposit.id, Consultation.id.in_(consultations))


def _openings(deposit: UUID, wanted: pw.Expression) -> list[Opening]:
    at = Consultation
    query = (
        Consultation.select(
            Access.recipient, Consultation.document, Consultation.opened_at, Session.way,
            JournalRecord.sequence, JournalRecord.log, JournalRecord.hash, JournalPayload.body,
        )
        .join(Session)
        .join(Access)
        # A number alone comes again in the journal that continues another.
        .join(JournalRecord, on=((JournalRecord.log == at.log) & (JournalRecord.sequence == at.sequence)))
        .join(
            JournalPayload,
            on=((JournalPayload.log == JournalRecord.log) & (JournalPayload.sequence == JournalRecord.sequence)),
        )
        .where(
            wanted,
            JournalRecord.operation == "document.consulted",
            JournalPayload.group == "proof",
            JournalPayload.deposit == deposit,
        )
        .order_by(Consultation.opened_at, JournalRecord.sequence)
        .tuples()
    )  # fmt: skip
    openings = []
    for recipient, document, opened_at, way, sequence, log, hashed, body in query:
        told = json.loads(bytes(body)) if body else {}
        set_by = _SETTERS.get(told.get("identified", {}).get("set_by", ""), "")
        said = ", ".join(filter(None, (WAYS.get(way, way), set_by)))
        instant = Consultation.opened_at.python_value(opened_at)
        openings.append(Opening(recipient, document, instant, sequence, log, hashed, way, said))
    return openings


def outcomes(recipient: Recipient) -> dict[Any, list[str]]:
    """Return in words, for each document, how it was asked for and the best that came of it."""
    query = (
        Delivery.select(Consultation.document, Delivery.mode, Delivery.outcome)
        .join(Consultation)
        .join(Session)
        .join(Access)
        .where(Access.recipient == recipient)
        .tuples()
    )
    best: dict[tuple[Any, str], int] = {}
    for document, mode, outcome in query:
        rank = _OUTCOMES.index(outcome)
        best[document, mode] = min(rank, best.get((document, mode), rank))
    told: dict[Any, list[str]] = {}
    for mode, words in _HOW.items():
        for (document, asked), rank in best.items():
            if asked == mode:
                told.setdefault(document, []).append(words[rank])
    return told


def listed(openings: Sequence[Opening], first: Iterable[Opening]) -> list[Opening]:
    """Return the consultations to list one by one: all, or the first of each document and the newest."""
    kept = {(opening.log, opening.sequence) for opening in first}
    others = [opening for opening in openings if (opening.log, opening.sequence) not in kept]
    room = max(0, MOST_RECORDS - len(kept))
    kept |= {(opening.log, opening.sequence) for opening in others[max(0, len(others) - room) :]}
    return [opening for opening in openings if (opening.log, opening.sequence) in kept]
