"""Records as evidence: found by what they are about, believed only when their bytes are those that the chain commits to.

What an attestation says of a deposit comes from here, and not from the tables beside the journal, which nothing protects.
Everything here reads, inside the caller's `journal.snapshot()`.
"""

import logging
from bisect import bisect_left, bisect_right
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime
from functools import lru_cache
from typing import Any, NamedTuple
from uuid import UUID

import orjson
import peewee as pw

from mespieces.domain import citations
from mespieces.errors import Unavailable
from mespieces.models import JournalPayload, JournalRecord, JournalTimestamp
from mespieces.verifier import purge, record

log = logging.getLogger(__name__)


class JournalDisagrees(Unavailable):
    """A record is not what its chain commits to, or the tables hold what no record says: nothing is made of either."""

    message = (
        "Ce document n’a pas été établi : ce qu’il dirait ne s’accorde plus avec le journal du service. La personne qui "
        "exploite le service en est informée. Les attestations et les reçus déjà téléchargés restent valables."
    )
    heading = "Document non établi"
    advice = "Réessayer n’y changera rien. Appelez le numéro figurant sur l’acte, et donnez la référence ci-dessous."


class Told(NamedTuple):
    """One record, verified: what it says is empty once the journal forgot it, as it had announced."""

    log: str
    sequence: int
    hash: str
    operation: str
    time: datetime
    body: Mapping[str, Any] | None

    def detail(self, key: str) -> Any:
        """Return a value of the record's detail, None without it."""
        return self.body["detail"].get(key) if self.body else None

    def object(self, key: str) -> UUID | None:
        """Return an identifier that the record names, None without it. Raises `JournalDisagrees`."""
        named = self.body["object"].get(key) if self.body else None
        try:
            return _identifier(named) if named else None
        except ValueError as error:
            raise disagreement(self.log, self.sequence, f"its {key} is no identifier") from error


def disagreement(name: str, sequence: int, why: str) -> JournalDisagrees:
    """Tell whoever operates the service which record is at fault, and return the refusal to raise."""
    log.error("nothing is attested of record %d of journal %s: %s", sequence, name, why)
    return JournalDisagrees()


def about(deposit: UUID, *operations: str, at: tuple[str, int] | None = None) -> Iterator[Told]:
    """Yield a deposit's records of these operations, or the one at a place, in the order of their time.

    A payload that is missing without having been announced is refused at the end, once all were looked at: the caller
    reads to the end. Raises `JournalDisagrees`.
    """
    header, payload = JournalRecord, JournalPayload
    only = (header.log == at[0], header.sequence == at[1]) if at else ()
    query = (
        header.select(
            header.log, header.sequence, header.operation, header.hash, header.header, payload.salt, payload.body
        )
        .join(payload, on=((payload.log == header.log) & (payload.sequence == header.sequence)))
        .where(payload.deposit == deposit, payload.group == "proof", header.operation.in_(operations), *only)
        .order_by(header.time, header.sequence)
        .tuples()
    )
    forgotten = []
    for name, sequence, operation, hashed, *stored in query.iterator():
        read = verified(name, sequence, operation, hashed, *stored)
        body = stored[-1]
        if body is None:
            forgotten.append((name, sequence))
        told = None if body is None else _body(read, bytes(body), deposit)
        yield Told(name, sequence, hashed, operation, record.parse_time(read.time), told)
    check_announced(forgotten)


def verified(
    name: str, sequence: int, operation: str, hashed: str, header: bytes, salt: bytes | None, body: bytes | None
) -> record.Header:
    """Return what a header says, once it is the one its hash is of, and the payload the one it commits to, if still held.

    Raises `JournalDisagrees`.
    """
    written = bytes(header)
    try:
        read = record.parse(written)
    except record.HeaderNotCanonical as error:
        raise disagreement(name, sequence, "its header cannot be read") from error
    place = (read.log, read.sequence, read.operation)
    if record.record_hash(written).hex() != hashed or place != (name, sequence, operation):
        raise disagreement(name, sequence, "its header is not the one its hash is of")
    if body is not None and record.commit("proof", bytes(salt or b""), bytes(body)) != read.proof:
        raise disagreement(name, sequence, "its payload is not the one its header commits to")
    return read


def check_announced(forgotten: Iterable[tuple[str, int]]) -> None:
    """Make sure that each of these payloads, which are no more, was announced as erased. Raises `JournalDisagrees`."""
    missing: dict[str, list[int]] = defaultdict(list)
    for name, sequence in forgotten:
        missing[name].append(sequence)
    for name, sequences in missing.items():
        left = sorted(sequences)
        for one in purges(name, after=left[0]):
            if one.group == "proof":
                last = min(one.last, one.announced - 1)
                del left[bisect_left(left, one.first) : bisect_right(left, last)]
            if not left:
                break
        if left:
            raise disagreement(name, left[0], "its payload is missing, and no purge announces it")


def purges(name: str, *, after: int = -1) -> Iterator[purge.Purge]:
    """Yield what is announced of a journal, by its own records beyond `after` and by the journals that continue it.

    Whatever our clock said then, each was announced before the first token over it was given.
    """
    before = citations.before()
    for by in (name, *(one for one in before if name in purge.earlier(one, before))):
        yield from purge.about(_announced(by, after if by == name else -1), name, by)


def _announced(name: str, after: int) -> Iterator[purge.Purge]:
    """Yield what a journal's records beyond `after` announce; a body that is not the one committed to announces nothing."""
    header, payload, token = JournalRecord, JournalPayload, JournalTimestamp
    dated = token.select(token.time).where(token.log == header.log, token.size > header.sequence)
    first = dated.order_by(token.size, token.number).limit(1).alias("dated")
    query = (
        header.select(header.header, payload.salt, payload.body, first)
        .join(payload, on=((payload.log == header.log) & (payload.sequence == header.sequence)))
        .where(
            header.log == name,
            header.sequence > after,
            pw.SQL("operation = 'journal.purged'"),  # written out, as its index has it
            payload.group == "proof",
            payload.body.is_null(False),
        )
        .order_by(header.sequence)
        .tuples()
    )
    for written, salt, body, by in query.iterator():
        with suppress(record.HeaderNotCanonical):
            read = record.parse(bytes(written))
            if record.commit("proof", bytes(salt), bytes(body)) == read.proof:
                bound = min(read.time, record.format_time(token.time.python_value(by))) if by else read.time
                yield from purge.announced(read._replace(time=bound), bytes(body))


@lru_cache(maxsize=4096)
def _identifier(named: str) -> UUID:
    """Return an identifier as a payload writes it: thousands of consultations are of a few documents."""
    return UUID(named)


def _body(read: record.Header, body: bytes, deposit: UUID) -> Mapping[str, Any]:
    """Return what a verified payload says of the deposit. Raises `JournalDisagrees`."""
    try:
        told: Any = orjson.loads(body)
        record.validate_body("proof", told)
        whose = told["object"].get("deposit")
    except (ValueError, AttributeError, record.BodyRefused) as error:
        raise disagreement(read.log, read.sequence, "its payload is not of the format") from error
    if whose != str(deposit):
        raise disagreement(read.log, read.sequence, "its payload is about another deposit")
    return told
