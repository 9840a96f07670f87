"""The journal: one append-only chain in which every deposit, consultation and refusal stands (art. 6).

The format is normative and described in `docs/journal-format.md`. Personal data stands beside the chain, bound to it
by salted commitments; the headers never change.
"""

import json
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import UUID

import peewee as pw

from mespieces import models
from mespieces.domain import clockwork, text
from mespieces.errors import Unavailable
from mespieces.gateways import Gateways
from mespieces.models import (
    Access,
    Deposit,
    Document,
    JournalLog,
    JournalPayload,
    JournalRecord,
    Member,
    Office,
    Recipient,
    Session,
)
from mespieces.verifier import note, record

VKEY = "journal.vkey"
"""The fact that says which key signs the open journal, in the signed-note form."""


class JournalClosed(Unavailable):
    """No journal is open: nothing can be done that must be journaled."""

    message = "Le journal n’est pas ouvert : aucune opération ne peut être enregistrée. Lancez « mespieces init »."


@dataclass(frozen=True, slots=True)
class Trace:
    """Where a request came from: erased earlier than the proof."""

    address: str = ""
    agent: str = ""

    def body(self) -> dict[str, str]:
        """Return the group's body; empty when there is nothing to keep."""
        return {"address": self.address, "agent": text.storable(self.agent)[:256]} if self.address else {}


NO_TRACE = Trace()


@dataclass(frozen=True, slots=True)
class Author:
    """Who acted, how they were identified, and from where."""

    kind: str
    id: str
    name: str
    office: str = ""
    identified: Mapping[str, str] | None = None
    trace: Trace = field(default=NO_TRACE)


SYSTEM = Author("system", "system", "Mes Pièces")
OPERATOR = Author("operator", "operator", "Exploitant")


def member(who: Member, trace: Trace = NO_TRACE) -> Author:
    """Return `who`, a member identified by password and TOTP, as an author."""
    return Author("member", str(who.id), who.name, str(who.office_id), {"way": "password+totp"}, trace)


def recipient(session: Session, trace: Trace = NO_TRACE) -> Author:
    """Return the recipient of `session` as an author, with the way they were identified."""
    who = session.access.recipient
    set_by = {"set_by": who.way_set_by} if who.way_set_by else {}
    return Author("recipient", str(who.id), who.name, identified={"way": session.way, **set_by}, trace=trace)


def unidentified(access: Access, trace: Trace = NO_TRACE) -> Author:
    """Return whoever holds the reference of `access`, before the identification is complete."""
    return Author("recipient", str(access.recipient_id), access.recipient.name, trace=trace)


def append(
    gateways: Gateways,
    operation: str,
    *,
    author: Author = SYSTEM,
    deposit: Deposit | None = None,
    document: Document | None = None,
    recipient: Recipient | None = None,
    consultation: UUID | None = None,
    member: Member | None = None,
    office: Office | None = None,
    detail: Mapping[str, Any] | None = None,
) -> int:
    """Append one record inside the caller's transaction and return its sequence.

    The head's row is locked until the transaction ends, so that sequences have no gap; call it last.
    Raises `JournalClosed`.
    """
    if not models.database.in_transaction():
        raise RuntimeError("a record is appended inside the transaction of its fact")
    head = _lock_head()
    instant = gateways.clock.now()
    now = record.format_time(instant)
    if now < head.time:
        _write(head, "clock.anomaly", now, _proof(SYSTEM, {}, {"before": head.time, "now": now}), {}, None, None)
    owner = deposit or (document and document.deposit) or (recipient and recipient.deposit)
    clockwork.notice(instant)
    sequence = _write(
        head,
        operation,
        now,
        _proof(author, _object(owner, document, recipient, consultation, member, office), detail or {}),
        author.trace.body(),
        owner.id if owner else None,
        _office_of(owner, member, office),
    )
    JournalLog.update(size=head.size, head=head.head, time=head.time).where(JournalLog.log == head.log).execute()
    return sequence


def rehearse(gateways: Gateways, operation: str, *, author: Author, detail: Mapping[str, Any]) -> None:
    """Do the work of a record inside the caller's transaction and leave none, so that its absence takes no less time."""
    with models.database.savepoint() as attempt:
        append(gateways, operation, author=author, detail=detail)
        attempt.rollback()


def open_log(gateways: Gateways) -> str:
    """Open a journal under a random name, its first record saying so, remember its key, and return the name."""
    log, now = secrets.token_hex(16), gateways.clock.now()
    origin = f"{gateways.settings.host}/journal/{log}"
    with models.write():
        JournalLog.create(log=log, origin=origin, head=record.FIRST_PREVIOUS, opened_at=now)
        clockwork.set_fact(VKEY, now, note.format_vkey(note.verifier(origin, gateways.journal_key)))
        append(gateways, "journal.opened", author=OPERATOR)
    return log


def head() -> JournalLog:
    """Return the open journal's row: its name, size and head hash. Raises `JournalClosed`."""
    row = JournalLog.get_or_none(JournalLog.closed_at.is_null())
    if row is None:
        raise JournalClosed
    return row


@dataclass(frozen=True, slots=True)
class Entry:
    """One record as its story is told: when, what, and the proof's body (empty once purged)."""

    sequence: int
    time: datetime
    operation: str
    body: Mapping[str, Any]


def story(deposit: Deposit, *, limit: int = 200) -> list[Entry]:
    """Return the newest records about `deposit`, newest first."""
    payload, header = JournalPayload, JournalRecord
    query = (
        header.select(header.sequence, header.time, header.operation, payload.body)
        .join(payload, on=((payload.log == header.log) & (payload.sequence == header.sequence)))
        .where(payload.deposit == deposit.id, payload.group == "proof")
        .order_by(header.time.desc(), header.sequence.desc())
        .limit(limit)
        .tuples()
    )
    return [_entry(*row) for row in query]


def mentions(deposit_id: UUID) -> bool:
    """Tell whether a record is about that deposit, even one that is no more."""
    return JournalPayload.select().where(JournalPayload.deposit == deposit_id).exists()


def read_office(gateways: Gateways, office: Office, *, by: Author, limit: int = 100) -> list[Entry]:
    """Return the office's newest records, newest first, after journaling that they were read."""
    with models.write():
        append(gateways, "journal.read", author=by, office=office)
    payload, header = JournalPayload, JournalRecord
    query = (
        header.select(header.sequence, header.time, header.operation, payload.body)
        .join(payload, on=((payload.log == header.log) & (payload.sequence == header.sequence)))
        .where(payload.office == office.id, payload.group == "proof")
        .order_by(header.sequence.desc())
        .limit(limit)
        .tuples()
    )
    return [_entry(*row) for row in query]


def payloads(log: str, start: int, stop: int) -> dict[tuple[int, str], tuple[bytes, bytes] | None]:
    """Return salt and body of the groups of records `start` ≤ sequence < `stop`, None where erased."""
    rows = (
        JournalPayload.select(JournalPayload.sequence, JournalPayload.group, JournalPayload.salt, JournalPayload.body)
        .where(JournalPayload.log == log, JournalPayload.sequence >= start, JournalPayload.sequence < stop)
        .tuples()
    )
    return {(seq, group): None if body is None else (bytes(salt), bytes(body)) for seq, group, salt, body in rows}


@contextmanager
def snapshot() -> Iterator[None]:
    """Let the block read one unchanging state, so that head, records and payloads agree."""
    if models.is_sqlite():
        with models.database.atomic():
            yield
    else:
        with models.database.atomic(isolation_level="REPEATABLE READ"):
            yield


def _lock_head() -> JournalLog:
    row = models.locked(JournalLog.select().where(JournalLog.closed_at.is_null())).first()
    if row is None:
        raise JournalClosed
    return row


def _write(  # the record exactly as the format's page says
    head: JournalLog,
    operation: str,
    time: str,
    proof: dict[str, Any],
    trace: dict[str, str],
    deposit: UUID | None,
    office: UUID | None,
) -> int:
    bodies = {"proof": record.encode_body("proof", proof), "trace": record.encode_body("trace", trace)}
    salts = {group: secrets.token_bytes(32) for group in bodies}
    header = record.build(
        record.Header(
            proof=record.commit("proof", salts["proof"], bodies["proof"]),
            trace=record.commit("trace", salts["trace"], bodies["trace"]),
            log=head.log,
            operation=operation,
            previous=head.head,
            sequence=head.size,
            time=time,
        )
    )
    hashed = record.record_hash(header).hex()
    JournalRecord.insert(
        log=head.log, sequence=head.size, previous=head.head, hash=hashed, operation=operation, time=time, header=header
    ).execute()
    JournalPayload.insert_many([
        {"log": head.log, "sequence": head.size, "group": group, "salt": salts[group], "body": bodies[group],
         "deposit": deposit, "office": office}
        for group in bodies
    ]).execute()  # fmt: skip
    head.size, head.head, head.time = head.size + 1, hashed, time
    return int(head.size - 1)


def _proof(author: Author, what: dict[str, Any], detail: Mapping[str, Any]) -> dict[str, Any]:
    who = {"kind": author.kind, "id": author.id, "name": text.storable(author.name)}
    if author.office:
        who["office"] = author.office
    body: dict[str, Any] = {"author": who, "object": what, "detail": _plain(detail)}
    if author.identified:
        body["identified"] = dict(author.identified)
    return body


def _object(
    deposit: Deposit | None,
    document: Document | None,
    recipient: Recipient | None,
    consultation: UUID | None,
    member: Member | None,
    office: Office | None,
) -> dict[str, Any]:
    what: dict[str, Any] = {}
    for key, row in (("deposit", deposit), ("recipient", recipient), ("member", member), ("office", office)):
        if row is not None:
            what[key] = str(row.id)
    if document is not None:
        what |= {"document": str(document.id), "number": document.number, "fingerprint": document.fingerprint}
    if consultation is not None:
        what["consultation"] = str(consultation)
    return what


def _office_of(deposit: Deposit | None, member: Member | None, office: Office | None) -> UUID | None:
    if deposit is not None:
        return UUID(str(deposit.office_id))
    if member is not None:
        return UUID(str(member.office_id))
    return office.id if office else None


def _plain(value: Any) -> Any:
    """Make `value` something the canonical form takes: strings cleaned, identifiers and dates as text."""
    if isinstance(value, str):
        return text.storable(value)
    if isinstance(value, Mapping):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, bool | int) else str(value)


def _entry(sequence: int, time: str, operation: str, body: bytes | None) -> Entry:
    read = {} if body is None else json.loads(bytes(body))
    return Entry(sequence, record.parse_time(time), operation, read)


def records(log: str, start: int = 0, batch: int = 2_000) -> Iterator[list[JournalRecord]]:
    """Yield the records of `log` from `start`, in batches, in order, in constant memory."""
    while True:
        rows = list(
            JournalRecord.select()
            .where(JournalRecord.log == log, JournalRecord.sequence >= start)
            .order_by(JournalRecord.sequence)
            .limit(batch)
        )
        if not rows:
            return
        yield rows
        start = rows[-1].sequence + 1


def last_time() -> datetime | None:
    """Return the time of the newest record, None before the first."""
    row: pw.Model | None = JournalLog.get_or_none(JournalLog.closed_at.is_null())
    return record.parse_time(row.time) if row and row.time else None
