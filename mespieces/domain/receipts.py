"""Receipts: each proves, away from this service and for ever, that one record stands in the journal (art. 2, 4 and 6).

The format is that of `docs/journal-format.md`; what verifies it is `mespieces.verifier.receipt`. A receipt shows one record
and hashes, nothing of anybody else. Everything here reads, inside the caller's `journal.snapshot()` where several agree.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from functools import cache

from mespieces.domain import checkpoints
from mespieces.models import JournalCheckpoint, JournalPayload, JournalRecord, JournalTimestamp
from mespieces.verifier import merkle, proof, receipt


@dataclass(frozen=True, slots=True)
class Receipt:
    """A receipt as it is handed over; `dated` and `authority` are those of its token, None and "" while provisional."""

    name: str
    data: bytes
    dated: datetime | None
    authority: str


@dataclass(frozen=True, slots=True)
class _Carrier:
    """The checkpoint a record is proven under."""

    size: int
    note: bytes
    token: bytes | None
    dated: datetime | None
    authority: str


def of(records: Iterable[tuple[str, int]]) -> list[Receipt]:
    """Return the receipts of these records (journal, sequence), in their order.

    A record whose names were purged, or that no checkpoint covers yet, has none. Each costs O(log n) reads, fewer when
    records are neighbours.
    """
    tree = cache(lambda log: cache(checkpoints.subtree(log)))
    made = (_one(log, sequence, tree(log)) for log, sequence in records)
    return [one for one in made if one is not None]


def _one(log: str, sequence: int, tree: merkle.Subtree) -> Receipt | None:
    held = (
        JournalRecord.select(JournalRecord.header, JournalPayload.salt, JournalPayload.body)
        .join(
            JournalPayload,
            on=((JournalPayload.log == JournalRecord.log) & (JournalPayload.sequence == JournalRecord.sequence)),
        )
        .where(JournalRecord.log == log, JournalRecord.sequence == sequence)
        .where(JournalPayload.group == "proof", JournalPayload.salt.is_null(False), JournalPayload.body.is_null(False))
        .tuples()
        .first()
    )
    carrier = _carrier(log, sequence)
    if held is None or carrier is None:
        return None
    header, salt, body = map(bytes, held)
    path = merkle.inclusion(sequence, carrier.size, tree)
    text = proof.write(proof.Proof(sequence, path, carrier.note))
    written = receipt.write(receipt.Receipt(header, salt, body, text, carrier.token))
    return Receipt(f"recu-{sequence}-{log[:8]}.json", written, carrier.dated, carrier.authority)


def _carrier(log: str, sequence: int) -> _Carrier | None:
    """Return the first dated checkpoint after the record, for its date is the nearest; without one, the first at all."""
    tokens, notes = JournalTimestamp, JournalCheckpoint
    dated = (
        tokens.select(tokens.size, notes.note, tokens.der, tokens.time, tokens.authority)
        .join(notes, on=((notes.log == tokens.log) & (notes.size == tokens.size)))
        .where(tokens.log == log, tokens.size > sequence)
        .order_by(tokens.size, tokens.number)
        .namedtuples()
        .first()
    )
    if dated:
        return _Carrier(dated.size, bytes(dated.note), bytes(dated.der), dated.time, dated.authority)
    found = notes.select().where(notes.log == log, notes.size > sequence).order_by(notes.size).first()
    return _Carrier(found.size, bytes(found.note), None, None, "") if found else None
