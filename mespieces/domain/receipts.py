"""Receipts: each proves, away from this service and for ever, that one record stands in the journal (art. 2, 4 and 6).

The format is that of `docs/journal-format.md`; what verifies it is `mespieces.verifier.receipt`. A receipt shows one record
and hashes, nothing of anybody else. Everything here reads, inside the caller's `journal.snapshot()` where several agree.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import cache, lru_cache
from itertools import groupby, islice
from operator import itemgetter
from typing import Any

import peewee as pw

from mespieces.domain import checkpoints, evidence, journal, opened, tokens
from mespieces.errors import Expired, NotFound
from mespieces.gateways import Gateways
from mespieces.models import (
    Deposit,
    JournalCheckpoint,
    JournalLog,
    JournalPayload,
    JournalRecord,
    JournalTimestamp,
    Recipient,
)
from mespieces.verifier import merkle, note, proof, receipt, record

PAGE = 40  # records on one page of a list
_BATCH = 200  # records read at once
_KEPT = 4_096  # hashes of subtrees remembered meanwhile
_TRIED = 20  # checkpoints that are not ours, or tokens that no record names, looked through: there should be none


@dataclass(frozen=True, slots=True)
class Receipt:
    """A receipt as it is handed over: when its record was made, by our clock, and who dated it.

    `dated` is when it existed at the latest, as the token of `authority` says; None and "" while provisional.
    """

    log: str
    sequence: int
    data: bytes
    recorded: datetime
    dated: datetime | None
    authority: str

    @property
    def name(self) -> str:
        """What it is called inside an attestation or a dossier: easily typed in a command."""
        return f"recu-{self.sequence}-{self.log[:8]}.json"

    @property
    def title(self) -> str:
        """What it is called alone, in its holder's downloads."""
        word = "Reçu" if self.dated else "Reçu provisoire"
        return f"{word} {self.sequence} du journal {self.log[:8]}.json"


@dataclass(frozen=True, slots=True)
class _Held:
    """What of a record its receipt shows."""

    log: str
    sequence: int
    header: bytes
    salt: bytes
    body: bytes


@dataclass(frozen=True, slots=True)
class _Carrier:
    """The checkpoint that records from `first` up to its own size are proven under."""

    first: int
    size: int
    note: bytes
    token: bytes | None
    dated: datetime | None
    authority: str


def of(gateways: Gateways, records: Iterable[tuple[str, int]]) -> list[Receipt]:
    """Return the receipts of these records (journal, sequence), in their order, each verified as its holder would.

    A record whose names were purged, or that no checkpoint covers yet, has none. Each costs O(log n) reads, fewer when
    records are neighbours. Raises `JournalDisagrees` when one is not what the chain commits to, or was erased unannounced.
    """
    return list(each(gateways, records))


def each(gateways: Gateways, records: Iterable[tuple[str, int]]) -> Iterator[Receipt]:
    """Give the same one by one, in constant memory."""
    press, rest = Press(gateways), iter(records)
    while batch := list(islice(rest, _BATCH)):
        for held in _read(batch):
            made = press.make(held)
            if made is not None:
                yield made


def completed(press: "Press", given: receipt.Receipt, log: str, sequence: int) -> Receipt | None:
    """Return the dated receipt of a record that somebody holds a provisional one of, None while nobody has dated it.

    What it shows is what they hold: it can be had after the journal forgot it. `given` was verified by the caller, who
    shares one `press` among many; a tree that does not lead to it completes nothing.
    """
    made = None
    with suppress(evidence.JournalDisagrees):
        made = press.make(_Held(log, sequence, given.header, given.salt, given.body))
    return made if made is not None and made.dated else None


@dataclass(frozen=True, slots=True)
class Provable:
    """A record as a list of receipts shows it: `state` is dated, provisional, or gone with its payload."""

    log: str
    entry: journal.Entry
    state: str


class ReceiptMissing(NotFound):
    """No such record about this deposit, or by this recipient."""


class ReceiptGone(Expired):
    """The record's payload was purged, or its closed journal ends without a checkpoint over it."""

    message = (
        "Le reçu de cet enregistrement ne peut plus être établi : son contenu a été effacé du journal au terme des délais "
        "de conservation, ou son journal est clos. Les reçus établis auparavant restent valables."
    )
    heading = "Reçu qui ne peut plus être établi"


def about(deposit: Deposit, page: int) -> tuple[list[Provable], int]:
    """Return a page, from 1, of the records about `deposit` with what becomes of their receipts, newest first; and the total."""
    query = _told(JournalPayload.deposit == deposit.id)
    rows = query.order_by(JournalRecord.time.desc(), JournalRecord.sequence.desc()).paginate(page, PAGE)
    return _provable(rows), query.count()


def of_openings(openings: Sequence[opened.Opening]) -> list[Provable]:
    """Return the records of these consultations with what becomes of their receipts, newest first."""
    at = {(one.log, one.sequence) for one in openings}
    # With the journals named, each record is looked up by its key.
    logs, sequences = zip(*at, strict=True) if at else ((), ())
    query = _told(JournalRecord.log.in_(sorted(set(logs))), JournalRecord.sequence.in_(sequences))
    rows = query.order_by(JournalRecord.time.desc(), JournalRecord.sequence.desc())
    return [one for one in _provable(rows) if (one.log, one.entry.sequence) in at]


def of_deposit(gateways: Gateways, deposit: Deposit, log: str, sequence: int) -> Receipt:
    """Return the receipt of one record about `deposit`, dated as soon as it can be.

    Raises `ReceiptMissing`, `ReceiptGone`, `JournalDisagrees`.
    """
    told = _told(JournalPayload.deposit == deposit.id, JournalRecord.log == log, JournalRecord.sequence == sequence)
    if not told.exists():
        raise ReceiptMissing
    return _one(gateways, log, sequence)


def of_recipient(gateways: Gateways, recipient: Recipient, log: str, sequence: int) -> Receipt:
    """Return the receipt of one of a recipient's own consultations. Raises as `of_deposit`."""
    if not opened.of(recipient, at=(log, sequence)):
        raise ReceiptMissing
    return _one(gateways, log, sequence)


def _one(gateways: Gateways, log: str, sequence: int) -> Receipt:
    made = of(gateways, [(log, sequence)])
    if not made:
        checkpoints.publish(gateways)  # of what was written within the last minute
        made = of(gateways, [(log, sequence)])
    if not made:
        raise ReceiptGone
    return made[0]


def _told(*wanted: pw.Expression) -> Any:
    payload, header = JournalPayload, JournalRecord
    return (
        header.select(header.log, header.sequence, header.time, header.operation, payload.body)
        .join(payload, on=((payload.log == header.log) & (payload.sequence == header.sequence)))
        .where(payload.group == "proof", *wanted)
    )


def _provable(rows: Any) -> list[Provable]:
    dated = cache(_dated_below)
    return [
        Provable(
            log, journal.read_entry(sequence, time, operation, body),
            "gone" if body is None else "dated" if sequence < dated(log) else "provisional",
        )
        for log, sequence, time, operation, body in rows.tuples()
    ]  # fmt: skip


def _dated_below(log: str) -> int:
    return JournalTimestamp.select(pw.fn.MAX(JournalTimestamp.size)).where(JournalTimestamp.log == log).scalar() or 0


class Press:
    """Makes receipts one after another, and remembers what neighbours share."""

    def __init__(self, gateways: Gateways) -> None:
        self._trusted = [note.verifier(row.origin, gateways.journal_key) for row in JournalLog.select()]
        self._tree = cache(lambda log: lru_cache(_KEPT)(checkpoints.subtree(log, neighbours=True)))
        self._carriers: dict[str, _Carrier | None] = {}

    def make(self, held: _Held) -> Receipt | None:
        """Return the record's receipt, None when no checkpoint covers it yet.

        It is verified as its holder will: one that proves nothing is refused. Raises `JournalDisagrees`.
        """
        carrier = self._carrier(held.log, held.sequence)
        if carrier is None:
            return None
        path = merkle.inclusion(held.sequence, carrier.size, self._tree(held.log))
        text = proof.write(proof.Proof(held.sequence, path, carrier.note))
        made = receipt.Receipt(held.header, held.salt, held.body, text, carrier.token)
        header, _, _, findings = receipt.verify(made, self._trusted)
        if header is None or findings:
            raise evidence.disagreement(held.log, held.sequence, f"its receipt is refused, {findings[0].code}")
        recorded = record.parse_time(header.time)
        return Receipt(held.log, held.sequence, receipt.write(made), recorded, carrier.dated, carrier.authority)

    def _carrier(self, log: str, sequence: int) -> _Carrier | None:
        found = self._carriers.get(log)
        if found is None or not found.first <= sequence < found.size:
            found = self._carriers[log] = _carrier(self._trusted, log, sequence)
        return found


def _read(batch: list[tuple[str, int]]) -> list[_Held]:
    """Return what is held of these records, in their order, without those whose payload was purged, as announced."""
    found: dict[tuple[str, int], _Held] = {}
    forgotten = []
    header, payload = JournalRecord, JournalPayload
    for log, members in groupby(sorted(batch), key=itemgetter(0)):
        query = (
            header.select(header.sequence, header.header, payload.salt, payload.body)
            .join(payload, on=((payload.log == header.log) & (payload.sequence == header.sequence)))
            .where(
                header.log == log,
                header.sequence.in_([sequence for _, sequence in members]),
                payload.group == "proof",
            )
            .tuples()
        )
        for sequence, *stored in query:
            if stored[-1] is None:
                forgotten.append((log, sequence))
            else:
                found[log, sequence] = _Held(log, sequence, *map(bytes, stored))
    evidence.check_announced(forgotten)
    return [found[record] for record in batch if record in found]


def _carrier(trusted: Sequence[note.Verifier], log: str, sequence: int) -> _Carrier | None:
    """Return the first dated checkpoint after the record, for its date is the nearest; without one, the first at all.

    Nothing carries that was not signed here, and nothing dates that the journal does not name, whoever put it in the tables. A
    checkpoint beyond the journal's end covers records that were lost: nothing can be proven under it any more.
    """
    stamps, notes = JournalTimestamp, JournalCheckpoint
    end = JournalLog.select(JournalLog.size).where(JournalLog.log == log)
    dated = (
        stamps.select(stamps.size, stamps.number, notes.note, stamps.der)
        .join(notes, on=((notes.log == stamps.log) & (notes.size == stamps.size)))
        .where(stamps.log == log, stamps.size > sequence, stamps.size <= end)
        .order_by(stamps.size, stamps.number)
    )
    for size, number, signed, der in dated.limit(_TRIED).tuples():
        if _is_ours(bytes(signed), size, trusted) and (
            found := tokens.believed(log, size, bytes(signed), bytes(der), number)
        ):
            return _Carrier(sequence, size, bytes(signed), bytes(der), found.latest, found.authority)
    covering = notes.select(notes.size, notes.note).where(notes.log == log, notes.size > sequence, notes.size <= end)
    for size, signed in covering.order_by(notes.size).limit(_TRIED).tuples():
        if _is_ours(bytes(signed), size, trusted):
            return _Carrier(sequence, size, bytes(signed), None, None, "")
    return None


def _is_ours(signed: bytes, size: int, trusted: Sequence[note.Verifier]) -> bool:
    with suppress(note.NoteRefused, note.CheckpointRefused):
        return note.read_checkpoint(signed, trusted).size == size
    return False
