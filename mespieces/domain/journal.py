"""The journal: one append-only chain in which every deposit, consultation and refusal stands (art. 6).

The format is normative and described in `docs/journal-format.md`. Personal data stands beside the chain, bound to it
by salted commitments; the headers never change.
"""

import json
import logging
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

from mespieces import models
from mespieces.domain import clockwork, text
from mespieces.errors import NotFound, Unavailable
from mespieces.gateways import Gateways
from mespieces.models import (
    Access,
    Deposit,
    Document,
    Fact,
    JournalLog,
    JournalPayload,
    JournalRecord,
    Member,
    Office,
    Recipient,
    Session,
)
from mespieces.verifier import note, record

logger = logging.getLogger(__name__)

VKEY = "journal.vkey"
"""The fact that says which key signs the open journal, in the signed-note form."""

SUSPENDED = "journal.suspended"
"""The fact that names the journal to which nothing may be added (`continuity.py`)."""


class JournalClosed(Unavailable):
    """No journal is open: nothing can be done that must be journaled."""

    message = "Le journal n’est pas ouvert : aucune opération ne peut être enregistrée. Lancez « mespieces init »."


class JournalSuspended(Unavailable):
    """The journal is not the one that was published: nothing is added to it until the operator reopens it."""

    message = (
        "Le journal de ce service ne peut plus rien enregistrer : rien ne peut être consulté, déposé ni changé tant que "
        "la personne qui exploite le service ne l’a pas remis en état."
    )


class JournalUnreadable(Unavailable):
    """A record, or what stands beside it, is nothing that the service writes: it was changed behind its back."""

    message = (
        "Le journal de ce service contient une valeur qui ne peut pas être lue : cette page n’en dira rien. La personne qui "
        "exploite le service en est informée."
    )
    advice = "Réessayer n’y changera rien. Appelez le numéro figurant sur l’acte, et donnez la référence ci-dessous."


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
    Raises `JournalClosed`, `JournalSuspended`.
    """
    if not models.database.obj.in_transaction():
        raise RuntimeError("a record is appended inside the transaction of its fact")
    head = _lock_head()
    instant = gateways.clock.now()
    now = record.format_time(instant)
    if now < head.time:
        anomaly = _proof(SYSTEM, {}, {"before": head.time, "now": now})
        head = _write(head, "clock.anomaly", now, anomaly, {}, None, None)
    owner = deposit or (document and document.deposit) or (recipient and recipient.deposit)
    if head.time[:10] != now[:10]:  # a jump of more than a day ends on another day
        clockwork.notice(instant, record.parse_time(head.time) if head.time else None)
    whose = _office_of(owner, member, office)
    what = _object(owner, document, recipient, consultation, member, whose)
    proof = _proof(author, what, detail or {})
    head = _write(head, operation, now, proof, author.trace.body(), owner.id if owner else None, whose)
    models.execute(_MOVE_HEAD, head.size, head.hash, head.time, head.log)
    return head.size - 1


def rehearse(gateways: Gateways, operation: str, *, author: Author, detail: Mapping[str, Any]) -> None:
    """Do the work of a record inside the caller's transaction and leave none, so that its absence takes no less time."""
    with suppress(_Rehearsed), models.database.savepoint():
        append(gateways, operation, author=author, detail=detail)
        raise _Rehearsed


class _Rehearsed(Exception):  # noqa: N818 — no fault: what takes a rehearsal back
    """The work was done, and is taken back."""


def open_log(gateways: Gateways) -> str:
    """Open a journal under a random name, its first record saying so, remember its key, and return the name."""
    with models.write():
        return open_in_place(gateways)


def open_in_place(gateways: Gateways, reopened: Mapping[str, Any] | None = None) -> str:
    """Open a journal inside the caller's transaction; `reopened` is what it cites of the one it continues."""
    log, now = secrets.token_hex(16), gateways.clock.now()
    origin = f"{gateways.settings.host}/journal/{log}"
    JournalLog.create(log=log, origin=origin, head=record.FIRST_PREVIOUS, opened_at=now)
    clockwork.set_fact(VKEY, now, note.format_vkey(note.verifier(origin, gateways.journal_key)))
    append(gateways, "journal.opened", author=OPERATOR, detail={"reopened": reopened} if reopened else None)
    return log


def head() -> JournalLog:
    """Return the open journal's row: its name, size and head hash. Raises `JournalClosed`."""
    row = JournalLog.get_or_none(JournalLog.closed_at.is_null())
    if row is None:
        raise JournalClosed
    return row


def suspended() -> bool:
    """Tell whether nothing may be added to the open journal. Raises `JournalClosed`."""
    return Fact.get_or_none(Fact.name == SUSPENDED, Fact.detail == head().log) is not None


def check_open() -> None:
    """Make sure that something may be added to the open journal. Raises `JournalClosed`, `JournalSuspended`."""
    if suspended():
        raise JournalSuspended


def find(log: str) -> JournalLog:
    """Return the row of a journal by its name, open or closed. Raises `NotFound`."""
    row = JournalLog.get_or_none(JournalLog.log == log)
    if row is None:
        raise NotFound
    return row


def closed() -> list[JournalLog]:
    """Return the rows of the journals that were closed, the last one first: it is the one that the open journal continues."""
    return list(JournalLog.select().where(JournalLog.closed_at.is_null(False)).order_by(JournalLog.closed_at.desc()))


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
    return [read_entry(*row) for row in query]


def mentions(deposit_id: UUID) -> bool:
    """Tell whether a record is about that deposit, even one that is no more."""
    return JournalPayload.select().where(JournalPayload.deposit == deposit_id).exists()


NOBODY = UUID(int=0)
"""Read where a table holds no identifier at all: no deposit and no office ever has this one."""


class Line(NamedTuple):
    """A record as it is stored, with what stands beside it: salt and body of each group, None where erased."""

    sequence: int
    previous: str
    hash: str
    operation: str
    time: str
    header: bytes
    proof: tuple[bytes, bytes] | None
    trace: tuple[bytes, bytes] | None
    deposit: UUID | None
    office: UUID | None
    stray: bool
    """Whether the trace, too, is given to a deposit or an office, by which nothing finds it."""


def lines(log: str, start: int = 0, stop: int = 2**53, batch: int = 500) -> Iterator[Line]:
    """Yield the records `start` ≤ sequence < `stop` of `log` in order, in constant memory."""
    while rows := models.execute(_READ, log, start, stop, batch).fetchall():
        for (
            sequence,
            previous,
            hashed,
            operation,
            time,
            header,
            salt,
            body,
            trace_salt,
            trace,
            deposit,
            office,
            stray,
        ) in rows:
            proof = None if salt is None or body is None else (salt, body)
            beside = None if trace_salt is None or trace is None else (trace_salt, trace)
            about = _read_id(deposit), _read_id(office), stray is not None
            yield Line(sequence, previous, hashed, operation, time, header, proof, beside, *about)
        start = rows[-1][0] + 1


@lru_cache(maxsize=1024)
def _read_id(value: Any) -> UUID | None:
    """Return an identifier as read from a table, `NOBODY` where it is none: neighbours are of the same deposit."""
    try:
        return JournalPayload.deposit.python_value(value)
    except ValueError:
        return NOBODY


@lru_cache(maxsize=1024)
def _write_id(value: UUID | None) -> Any:
    """Return an identifier as a table holds it."""
    return JournalPayload.deposit.db_value(value)


@contextmanager
def snapshot() -> Iterator[None]:
    """Let the block read one unchanging state, so that head, records and payloads agree."""
    if models.is_sqlite():
        with models.database.atomic():
            yield
    else:
        with models.database.atomic(isolation_level="REPEATABLE READ"):
            yield


class _Head(NamedTuple):
    """Where the chain ends: what the next record needs of the one before."""

    log: str
    size: int
    hash: str
    time: str


# The statements of appending are written out: building them anew would take most of the time of a record.
_LOCK_HEAD = (
    "SELECT log, size, head, time, EXISTS (SELECT 1 FROM fact WHERE name = 'journal.suspended' AND detail = log) "
    "FROM journal_log WHERE closed_at IS NULL"
)
_MOVE_HEAD = "UPDATE journal_log SET size = ?, head = ?, time = ? WHERE log = ?"
_ADD_RECORD = (
    "INSERT INTO journal_record (log, sequence, previous, hash, operation, time, header) VALUES (?, ?, ?, ?, ?, ?, ?)"
)
_ADD_PAYLOADS = (
    "INSERT INTO journal_payload (log, sequence, payload_group, salt, body, deposit, office) "
    "VALUES (?, ?, ?, ?, ?, ?, ?), (?, ?, ?, ?, ?, NULL, NULL)"
)
_READ = (
    "SELECT r.sequence, r.previous, r.hash, r.operation, r.time, r.header, p.salt, p.body, t.salt, t.body, p.deposit, p.office, "
    "COALESCE(t.deposit, t.office) "
    "FROM journal_record AS r "
    "LEFT JOIN journal_payload AS p ON p.log = r.log AND p.sequence = r.sequence AND p.payload_group = 'proof' "
    "LEFT JOIN journal_payload AS t ON t.log = r.log AND t.sequence = r.sequence AND t.payload_group = 'trace' "
    "WHERE r.log = ? AND r.sequence >= ? AND r.sequence < ? ORDER BY r.sequence LIMIT ?"
)


def _lock_head() -> _Head:
    row = models.execute(_LOCK_HEAD if models.is_sqlite() else f"{_LOCK_HEAD} FOR UPDATE").fetchone()
    if row is None:
        raise JournalClosed
    *head, suspended = row
    if suspended:
        raise JournalSuspended
    return _Head(*head)


def _write(  # the record exactly as the format's page says
    head: _Head,
    operation: str,
    time: str,
    proof: Mapping[str, Any],
    trace: Mapping[str, Any],
    deposit: UUID | None,
    office: UUID | None,
) -> _Head:
    log, size, previous, _ = head
    proof_salt, proof_body = secrets.token_bytes(32), record.encode_body("proof", proof)
    trace_salt, trace_body = secrets.token_bytes(32), record.encode_body("trace", trace) if trace else b"{}"
    committed = record.commit("proof", proof_salt, proof_body), record.commit("trace", trace_salt, trace_body)
    header = record.build(record.Header(*committed, log, operation, previous, size, time))
    hashed = record.record_hash(header).hex()
    models.execute(_ADD_RECORD, log, size, previous, hashed, operation, time, header)
    beside = log, size, "proof", proof_salt, proof_body, _write_id(deposit), _write_id(office)
    models.execute(_ADD_PAYLOADS, *beside, log, size, "trace", trace_salt, trace_body)
    return _Head(log, size + 1, hashed, time)


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
    office: UUID | None,
) -> dict[str, Any]:
    what: dict[str, Any] = {}
    for key, row in (("deposit", deposit), ("recipient", recipient), ("member", member)):
        if row is not None:
            what[key] = str(row.id)
    if office is not None:
        what["office"] = str(office)  # whose record it is: the column beside it is compared with this
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
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value if value is None or isinstance(value, bool | int) else str(value)


def read_entry(sequence: int, time: str, operation: str, body: bytes | None) -> Entry:
    """Return what a record tells, from its header and its `proof` body, None once purged. Raises `JournalUnreadable`."""
    try:
        read = {} if body is None else json.loads(bytes(body))
        return Entry(sequence, record.parse_time(time), operation, read)
    except (ValueError, TypeError) as error:  # a text is no bytes
        logger.error("record %d (%s) cannot be read: %s", sequence, operation, error)  # noqa: TRY400 — no fault of ours
        raise JournalUnreadable from error
