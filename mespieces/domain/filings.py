"""A filed deposit as the journal tells it: what was filed, withdrawn, ended, deleted, and when.

The tables beside it are read for what no record tells, and for all of it once the journal forgot.
"""

from collections.abc import Sequence
from datetime import date, datetime
from typing import Any, NamedTuple
from uuid import UUID

from mespieces.domain import documents, evidence, journal
from mespieces.models import Deposit, Document

_FILED, _ADDED = "deposit.filed", "document.deposited"
ENDS = ("deposit.withdrawn", "deposit.expired", "document.deleted")


class Filing(NamedTuple):
    """A deposit and its documents, their columns as records tell them, and the records. Nothing of it may be saved."""

    deposit: Deposit
    documents: Sequence[Document]
    record: evidence.Told
    deposited: Sequence[evidence.Told]
    """The records of the deposit of each document, without those that the journal forgot."""
    ends: Sequence[evidence.Told]
    """The withdrawal, the end and each deletion."""

    def numbers(self) -> dict[UUID, int]:
        """Return the number of each document."""
        return {document.id: document.number for document in self.documents}


def read(deposit: Deposit) -> Filing:
    """Return a filed deposit as its records tell it. Raises `JournalDisagrees`."""
    told = list(evidence.about(deposit.id, _FILED, _ADDED, *ENDS))
    filed = [one for one in told if one.operation == _FILED]
    if len(filed) != 1:
        raise evidence.disagreement(
            journal.head().log, deposit.filed_sequence or 0, f"{len(filed)} filings of deposit {deposit.id}"
        )
    ends = [one for one in told if one.operation in ENDS]
    listed = _documents(deposit, filed[0])
    deposited = _deposited(listed, filed[0], [one for one in told if one.operation == _ADDED])
    return Filing(_dated(deposit, filed[0], ends), _deleted(listed, ends), filed[0], deposited, ends)


def _documents(deposit: Deposit, filed: evidence.Told) -> Sequence[Document]:
    """Return the documents that the filing lists, those of the tables once it was forgotten."""
    if filed.body is None:
        return documents.listed(deposit)
    kept = {row.id: row.deleted_at for row in documents.listed(deposit)}
    try:
        listed = [_document(told) for told in filed.detail("documents")]
    except (KeyError, TypeError, ValueError) as error:
        raise evidence.disagreement(filed.log, filed.sequence, "its list of documents is not of the format") from error
    for document in listed:
        document.deleted_at = kept.get(document.id)
    return listed


def _document(told: dict[str, Any]) -> Document:
    return Document(
        id=UUID(told["document"]),
        number=int(told["number"]),
        title=str(told["title"]),
        nature=str(told["nature"]),
        dated=date.fromisoformat(told["dated"]) if told["dated"] else None,
        pages=int(told["pages"]),
        size=int(told["size"]),
        fingerprint=str(told["fingerprint"]),
    )


def _deposited(
    listed: Sequence[Document], filed: evidence.Told, added: Sequence[evidence.Told]
) -> Sequence[evidence.Told]:
    """Return the records of the deposit of the documents listed: one of each, unless some were forgotten."""
    kept = {(document.id, document.fingerprint) for document in listed}
    found = [
        one for one in added if one.body and (one.object("document"), one.body["object"].get("fingerprint")) in kept
    ]
    if len(found) != len(listed) and all(one.body for one in added):
        raise evidence.disagreement(filed.log, filed.sequence, "a document it lists has no record of its deposit")
    return found


def _dated(deposit: Deposit, filed: evidence.Told, ends: Sequence[evidence.Told]) -> Deposit:
    """Return the deposit, each instant being that of its record."""
    at = {one.operation: one for one in ends}
    withdrawn, expired = at.get("deposit.withdrawn"), at.get("deposit.expired")
    found = Deposit.get_by_id(deposit.id)
    found.filed_at, found.ended_at = filed.time, expired.time if expired else None
    found.withdrawn_at = withdrawn.time if withdrawn else None
    if withdrawn is None or withdrawn.body:
        found.withdrawn_because = withdrawn and withdrawn.detail("motive")
    return found


def _deleted(listed: Sequence[Document], ends: Sequence[evidence.Told]) -> Sequence[Document]:
    """Return the documents, each deleted when its record says; as the tables remember, where one of these was forgotten."""
    deletions = [one for one in ends if one.operation == "document.deleted"]
    at: dict[UUID | None, datetime] = {one.object("document"): one.time for one in deletions}
    whole = all(one.body for one in deletions)
    for document in listed:
        document.deleted_at = at.get(document.id, None if whole else document.deleted_at)
    return listed
