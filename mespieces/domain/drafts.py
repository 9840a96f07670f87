"""Drafts given up: removed with all that was added to them, by whoever opened them or by time."""

import contextlib
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from mespieces import models
from mespieces.domain import clockwork, deposits, documents, journal
from mespieces.gateways import Gateways
from mespieces.models import Deposit, Document, Recipient

_ADDED: tuple[Any, ...] = (Document, Recipient)
"""What is added to a draft, each row bearing when."""


def drop(gateways: Gateways, deposit_id: UUID, *, by: journal.Author) -> None:
    """Remove a draft, its documents with their bytes, and its recipients; the journal keeps that it was there.

    Raises `DepositFiled`, `DepositMissing`, `StorageUnavailable`.
    """
    _drop(gateways, deposit_id, by=by, unless_after=None)


def drop_old(gateways: Gateways, older_than: timedelta = timedelta(days=30)) -> int:
    """Drop the drafts that nobody has added to for `older_than`, and return how many; none on a clock that jumped."""
    now = gateways.clock.now()
    if clockwork.jumped(now):
        return 0
    before, count = now - older_than, 0
    query = Deposit.select(Deposit.id).where(Deposit.filed_at.is_null(), Deposit.created_at < before)
    for deposit in list(query.where(*(Deposit.id.not_in(_lately(table, before)) for table in _ADDED))):
        with contextlib.suppress(deposits.DepositFiled, deposits.DepositMissing):  # filed or dropped meanwhile
            count += _drop(gateways, deposit.id, by=journal.SYSTEM, unless_after=before)
    return count


def _drop(gateways: Gateways, deposit_id: UUID, *, by: journal.Author, unless_after: datetime | None) -> bool:
    """Remove a draft, False when something was added to it after `unless_after`.

    One transaction: a draft filed at that moment keeps all its documents, or is gone. The keys go with the rows; bytes
    that a storage out of reach keeps are swept later.
    """
    with models.write():
        deposit = deposits.draft(deposit_id)
        if unless_after and _added_to(deposit_id, unless_after):
            return False
        dropped = documents.listed(deposit)
        for document in dropped:
            detail = {"filename": document.filename}
            journal.append(gateways, "document.withdrawn", author=by, document=document, detail=detail)
        for table in _ADDED:
            table.delete().where(table.deposit == deposit_id).execute()
        Deposit.delete().where(Deposit.id == deposit_id).execute()
        journal.append(gateways, "deposit.withdrawn", author=by, deposit=deposit, detail={"draft": True})
    for document in dropped:
        gateways.vault.delete_all(documents.folder(document.id))
    return True


def _added_to(deposit_id: UUID, after: datetime) -> bool:
    return any(_lately(table, after).where(table.deposit == deposit_id).exists() for table in _ADDED)


def _lately(table: Any, after: datetime) -> Any:
    return table.select(table.deposit).where(table.added_at >= after)
