"""What an attestation of deletion says: which documents were deleted, when, and the records that say so (art. 5).

Everything here reads inside the caller's `journal.snapshot()`, and writes nothing.
"""

from collections.abc import Sequence
from datetime import datetime

from mespieces.domain import attested, documents, evidence, filings, french, journal
from mespieces.errors import Refused
from mespieces.models import Deposit, Document

_TOLD = {
    "deposit.withdrawn": "Dépôt retiré par l’étude",
    "deposit.expired": "Fin de la mise à disposition, clés de déchiffrement effacées",
    "document.deleted": "Fichiers d’une pièce supprimés",
}
"""The operations cited, in words; a piece has its number while the journal still says it."""


class NothingDeleted(Refused):
    """The documents are still there."""

    message = (
        "Rien n’a encore été supprimé : les pièces du dépôt {reference} sont conservées jusqu’au {until} inclus, puis "
        "supprimées. L’attestation de suppression s’établira à ce moment-là."
    )
    heading = "Rien n’est supprimé"


class DeletionUnderWay(Refused):
    """The end is past, and documents remain to be deleted."""

    message = (
        "La suppression des pièces du dépôt {reference} est en cours : {deleted} sur {total} à cet instant. "
        "L’attestation s’établira quand toutes seront supprimées, d’ordinaire dans les minutes qui suivent."
    )
    heading = "Suppression en cours"


def check(deposit: Deposit, now: datetime, listed: Sequence[Document] | None = None) -> None:
    """Make sure that every document of a filed deposit was deleted. Raises `NothingDeleted`, `DeletionUnderWay`."""
    if not deposit.ended_at and deposit.expires_at > now:
        raise NothingDeleted(reference=deposit.office_reference, until=french.last_day(deposit.expires_at))
    listed = documents.listed(deposit) if listed is None else listed
    deleted = sum(document.deleted_at is not None for document in listed)
    if not deposit.ended_at or deleted < len(listed):
        raise DeletionUnderWay(reference=deposit.office_reference, deleted=deleted, total=len(listed))


def done(deposit: Deposit) -> bool:
    """Tell whether every document of a filed deposit was deleted."""
    return bool(deposit.ended_at) and all(document.deleted_at for document in documents.listed(deposit))


def facts(deposit: Deposit, *, by: journal.Author, now: datetime) -> attested.Attested:
    """Return what `deletion_attestation.typ` shows. The records of the end and of each deletion are cited.

    Raises as `check`, and `JournalDisagrees`.
    """
    filing = filings.read(deposit)
    deposit, listed, records = filing.deposit, filing.documents, filing.ends
    check(deposit, now, listed)
    common = attested.common(filing, by=by, now=now)
    shown = common | {
        "title": "Attestation de suppression",
        "reference": f"dossier {deposit.office_reference}",
        "office_address": ", ".join(deposit.office.address.splitlines()),
        "available_until": french.last_day(deposit.expires_at),
        "motive": deposit.withdrawn_because or "",
        "ended": attested.moment(deposit.ended_at),
        "last": attested.moment(max(document.deleted_at for document in listed)),
        "total": attested.pieces(len(listed)),
        "documents": [_deleted(document) for document in listed],
        "records": [attested.record_line(row, _what(row), journal.head().log) for row in records],
    }
    return attested.Attested(shown, [(row.log, row.sequence) for row in records])


def _deleted(document: Document) -> dict[str, object]:
    return attested.document_line(document) | {"deleted": attested.moment(document.deleted_at)}


def _what(row: evidence.Told) -> str:
    number = row.body["object"].get("number") if row.body else None
    if row.operation == "document.deleted" and number:
        return f"Fichiers de la pièce {number} supprimés"
    return _TOLD[row.operation]
