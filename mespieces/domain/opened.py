"""What one recipient opened, consultation by consultation, in all their sessions, as the journal's records tell it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

from peewee import fn

from mespieces.domain import evidence, french
from mespieces.models import (
    Access,
    Consultation,
    Delivery,
    Document,
    JournalPayload,
    JournalRecord,
    Recipient,
    Session,
)
from mespieces.verifier import record

CONSULTED = "document.consulted"
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
    """One consultation as its record tells it: who opened which document, when and how."""

    recipient: Any
    document: Any
    opened_at: datetime
    sequence: int
    log: str
    hash: str
    id: str
    """The consultation's own identifier, and what was asked for first: empty once the journal forgot."""
    mode: str
    way: str
    """How the recipient was identified, as journals write it."""
    said: str
    """The same in words, with who chose it."""
    name: str = ""
    """Who opened it, as the record names them; empty once the journal forgot."""


def of(recipient: Recipient, at: tuple[str, int] | None = None) -> list[Opening]:
    """Return the recipient's consultations, or the one at a place in a journal, in the order they were opened.

    Raises `JournalDisagrees`.
    """
    if astray := _elsewhere(recipient):
        raise evidence.disagreement(*astray, f"recipient {recipient.id} opened it in another deposit than their own")
    return [one for one in among(recipient.deposit_id, at) if one.recipient == recipient.id]


def among(deposit: UUID, at: tuple[str, int] | None = None) -> list[Opening]:
    """Return the consultations of a deposit by its recipients, as `of` does.

    They are found in the journal: a row that no record confirms is refused, and one that is no more hides nothing, until
    the journal itself forgot. Raises `JournalDisagrees`.
    """
    rows, openings, forgotten = _places(deposit, at), [], []
    for told in evidence.about(deposit, CONSULTED, at=at):
        known = (told.log, told.sequence) in rows
        rows.discard((told.log, told.sequence))
        if told.body is None and known:
            forgotten.append(told)
        elif told.body is not None and told.body["author"]["kind"] == "recipient":
            openings.append(_told(told, told.body))
    for name, sequence in rows:
        raise evidence.disagreement(name, sequence, f"it is not the consultation that a row of deposit {deposit} tells")
    if forgotten:
        openings += _remembered(deposit, forgotten)
        openings.sort(key=lambda one: (one.opened_at, one.sequence))
    return openings


def _told(told: evidence.Told, body: Mapping[str, Any]) -> Opening:
    identified = body.get("identified", {})
    way, set_by = identified.get("way", ""), _SETTERS.get(identified.get("set_by", ""), "")
    said = ", ".join(filter(None, (WAYS.get(way, way), set_by)))
    which, mode = str(body["object"].get("consultation", "")), str(told.detail("mode") or "")
    who, what = told.object("recipient"), told.object("document")
    name = str(body["author"]["name"])
    return Opening(who, what, told.time, told.sequence, told.log, told.hash, which, mode, way, said, name)


def _elsewhere(recipient: Recipient) -> tuple[str, int] | None:
    """Return a consultation by a recipient of a document that is not of their deposit, say the tables."""
    query = Consultation.select(Consultation.log, Consultation.sequence).join(Session).join(Access)
    theirs = query.where(Access.recipient == recipient).switch(Consultation).join(Document)
    return theirs.where(Document.deposit != recipient.deposit_id).tuples().first()


def _places(deposit: UUID, at: tuple[str, int] | None) -> set[tuple[str, int]]:
    """Return where the records of a deposit's consultations stand, say the tables."""
    only = (Consultation.log == at[0], Consultation.sequence == at[1]) if at else ()
    query = Consultation.select(Consultation.log, Consultation.sequence).join(Document)
    return set(query.where(Document.deposit == deposit, *only).tuples())


def entered(recipient: Recipient) -> evidence.Told | None:
    """Return the record that entered a recipient in their deposit, None once the journal forgot it. Raises `JournalDisagrees`."""
    added = list(evidence.about(recipient.deposit_id, "recipient.added"))
    return next((told for told in added if told.object("recipient") == recipient.id), None)


def silent(deposit: UUID, before: datetime | None = None) -> int:
    """Return how many records of a document's opening say no more whose they were, and are remembered by no row.

    By a recipient whose row was deleted, or by a member of the office, of whom no row was ever kept.
    """
    header, payload = JournalRecord, JournalPayload
    row = Consultation.select().where(Consultation.log == header.log, Consultation.sequence == header.sequence)
    query = (
        header.select()
        .join(payload, on=((payload.log == header.log) & (payload.sequence == header.sequence)))
        .where(
            payload.deposit == deposit, payload.group == "proof", payload.body.is_null(),
            header.operation == CONSULTED, ~fn.EXISTS(row),
        )
    )  # fmt: skip
    if before:
        query = query.where(header.time < record.format_time(before))
    return int(query.count())


def untold(count: int) -> str:
    """Return, in words, what the journal still says of the openings it forgot, "" when there are none."""
    if not count:
        return ""
    openings, whose = french.counted(count, "ouverture"), french.agree(count, "elle était", "elles étaient")
    return (
        f"Le journal porte en outre {openings} de pièces de ce dépôt dont il ne dit plus de qui {whose}\u00a0: d’un "
        "destinataire, ou de l’étude elle-même."
    )


def _remembered(deposit: UUID, forgotten: Iterable[evidence.Told]) -> Iterator[Opening]:
    """Yield what the tables remember of the consultations that the journal forgot."""
    by_place = {(one.log, one.sequence): one for one in forgotten}
    query = (
        Consultation.select(
            Consultation.log, Consultation.sequence, Access.recipient, Consultation.document, Session.way
        )
        .join(Session)
        .join(Access)
        .switch(Consultation)
        .join(Document)
        .where(Document.deposit == deposit)
        .tuples()
    )
    for name, sequence, who, what, way in query:
        if told := by_place.get((name, sequence)):
            yield Opening(who, what, told.time, sequence, name, told.hash, "", "", way, WAYS.get(way, way))


def outcomes(recipient: Recipient, openings: Sequence[Opening]) -> dict[Any, list[str]]:
    """Return in words, for each document they opened, how it was asked for and the best that came of it.

    As records tell it: what was asked for next, and whose end is not recorded yet, is not told yet. Raises
    `JournalDisagrees`.
    """
    documents = {one.id: one.document for one in openings}
    if all(one.mode for one in openings):
        ends = evidence.about(recipient.deposit_id, "document.delivered", "document.interrupted")
        ended = (
            (
                documents.get(one.body["object"].get("consultation")),
                one.detail("mode"),
                one.operation.removeprefix("document."),
            )
            for one in ends
            if one.body
        )
        came = [*((one.document, one.mode, "") for one in openings), *(end for end in ended if end[0])]
    else:
        came = list(_remembered_ends(recipient))
    best: dict[tuple[Any, str], int] = {}
    for document, mode, outcome in came:
        rank = _OUTCOMES.index(outcome)
        best[document, mode] = min(rank, best.get((document, mode), rank))
    told: dict[Any, list[str]] = {}
    for mode, words in _HOW.items():
        for (document, asked), rank in best.items():
            if asked == mode:
                told.setdefault(document, []).append(words[rank])
    return told


def _remembered_ends(recipient: Recipient) -> Any:
    return (
        Delivery.select(Consultation.document, Delivery.mode, Delivery.outcome)
        .join(Consultation)
        .join(Session)
        .join(Access)
        .where(Access.recipient == recipient)
        .tuples()
    )


def listed(openings: Sequence[Opening], first: Iterable[Opening]) -> list[Opening]:
    """Return the consultations to list one by one: all, or the first of each document and the newest."""
    kept = {(opening.log, opening.sequence) for opening in first}
    others = [opening for opening in openings if (opening.log, opening.sequence) not in kept]
    room = max(0, MOST_RECORDS - len(kept))
    kept |= {(opening.log, opening.sequence) for opening in others[max(0, len(others) - room) :]}
    return [opening for opening in openings if (opening.log, opening.sequence) in kept]
