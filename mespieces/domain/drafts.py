"""Drafts given up: removed with all that was added to them, by whoever opened them or by time."""

import contextlib
from datetime import timedelta
from uuid import UUID

from mespieces import models
from mespieces.domain import clockwork, deposits, documents, journal
from mespieces.gateways import Gateways
from mespieces.models import Deposit, Document, Recipient


def drop(gateways: Gateways, deposit_id: UUID, *, by: journal.Author) -> None:
    """Remove a draft, its documents with their bytes, and its recipients; the journal keeps that it was there.

    Raises `DepositFiled`, `DepositMissing`, `StorageUnavailable`.
    """
    while not _dropped(gateways, deposit_id, by):
        for document in list(Document.select().where(Document.deposit == deposit_id)):
            documents.remove(gateways, deposit_id, document.id, by=by)


def drop_old(gateways: Gateways, older_than: timedelta = timedelta(days=30)) -> int:
    """Drop the drafts that nobody has added to for `older_than`, and return how many; none on a clock that jumped."""
    now = gateways.clock.now()
    if clockwork.jumped(now):
        return 0
    before, count = now - older_than, 0
    lately = [table.select(table.deposit).where(table.added_at >= before) for table in (Document, Recipient)]
    query = Deposit.select(Deposit.id).where(Deposit.filed_at.is_null(), Deposit.created_at < before)
    for deposit in list(query.where(*(Deposit.id.not_in(recent) for recent in lately))):
        with contextlib.suppress(deposits.DepositFiled, deposits.DepositMissing):  # filed or dropped meanwhile
            drop(gateways, deposit.id, by=journal.SYSTEM)
            count += 1
    return count


def _dropped(gateways: Gateways, deposit_id: UUID, by: journal.Author) -> bool:
    """Remove a draft without documents; False when documents are still there."""
    with models.write():
        deposit = deposits.draft(deposit_id)
        if deposit.documents.exists():
            return False
        Recipient.delete().where(Recipient.deposit == deposit_id).execute()
        Deposit.delete().where(Deposit.id == deposit_id).execute()
        journal.append(gateways, "deposit.withdrawn", author=by, deposit=deposit, detail={"draft": True})
    return True
