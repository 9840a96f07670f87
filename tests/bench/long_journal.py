"""Journals of a million records, for the benches: valid, like those of years of consultations, made quickly."""

import itertools
import os
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any

from mespieces import models
from mespieces.domain import journal
from mespieces.models import JournalLog
from mespieces.verifier import record

BATCH = 10_000
OPERATIONS = ("document.consulted", "document.delivered", "recipient.identified", "code.issued", "member.signed_in")
AGENT = (
    "Mozilla/5.0 (Linux; Android 10; K) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/142.0.0.0 Mobile Safari/537.36"
)


def lengthen(size: int, *, ends: datetime) -> None:
    """Make the open journal `size` records long, its last one written at `ends`."""
    head = journal.head()
    missing = size - head.size
    if missing <= 0:
        return
    every = (ends - record.parse_time(head.time)) / missing if head.time else timedelta(seconds=1)
    begin = record.parse_time(head.time) if head.time else datetime(2026, 1, 1, tzinfo=UTC)
    rows = _rows(head, begin, every)
    for start in range(0, missing, BATCH):
        batch = list(itertools.islice(rows, min(BATCH, missing - start)))
        last = batch[-1][0]
        with models.write():
            _many(journal._ADD_RECORD, [header for header, _ in batch])
            _many(journal._ADD_PAYLOADS, [beside for _, beside in batch])
            moved = {"size": last[1] + 1, "head": last[3], "time": last[5]}
            JournalLog.update(**moved).where(JournalLog.log == head.log).execute()


def _rows(head: Any, begin: datetime, every: timedelta) -> Iterator[tuple[tuple[Any, ...], tuple[Any, ...]]]:
    previous, deposit, office = head.head, uuid.uuid4(), uuid.uuid4()
    for sequence in itertools.count(head.size):
        if sequence % 20 == 0:
            deposit = uuid.uuid4()
        operation = OPERATIONS[sequence % len(OPERATIONS)]
        # A recipient's consultation would have a row of its own.
        kind = "member" if operation == "document.consulted" else "recipient"
        bodies = {"proof": _proof(kind, sequence, str(deposit), str(office)), "trace": _trace(sequence)}
        salts = {group: os.urandom(32) for group in bodies}
        encoded = {group: record.encode_body(group, body) for group, body in bodies.items()}
        committed = {group: record.commit(group, salts[group], encoded[group]) for group in bodies}
        time = record.format_time(begin + (sequence - head.size + 1) * every)
        about = record.Header(
            **committed, log=head.log, operation=operation, previous=previous, sequence=sequence, time=time
        )
        header = record.build(about)
        hashed = record.record_hash(header).hex()
        ids = models.JournalPayload.deposit.db_value(deposit), models.JournalPayload.office.db_value(office)
        proof = head.log, sequence, "proof", salts["proof"], encoded["proof"], *ids
        trace = head.log, sequence, "trace", salts["trace"], encoded["trace"]
        yield (head.log, sequence, previous, hashed, operation, time, header), (*proof, *trace)
        previous = hashed


def _proof(kind: str, sequence: int, deposit: str, office: str) -> dict[str, Any]:
    return {
        "author": {"kind": kind, "id": str(uuid.UUID(int=sequence)), "name": "Élodie de La Tour-Maubourg"},
        "identified": {"way": "act+email", "set_by": "recipient"},
        "object": {
            "deposit": deposit, "office": office, "document": str(uuid.UUID(int=sequence + 1)), "number": sequence % 7 + 1,
            "fingerprint": f"{sequence:064x}", "recipient": str(uuid.UUID(int=sequence)),
            "consultation": str(uuid.UUID(int=sequence + 2)),
        },
        "detail": {"fingerprint": f"{sequence:064x}", "mode": "page"},
    }  # fmt: skip


def _trace(sequence: int) -> dict[str, Any]:
    return {"address": f"192.0.2.{sequence // 8 % 256}", "agent": AGENT}


def _many(statement: str, rows: list[tuple[Any, ...]]) -> None:
    if not models.is_sqlite():
        statement = statement.replace("?", "%s")
    models.database.cursor().executemany(statement, rows)
