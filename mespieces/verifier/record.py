"""A record: its header's exact bytes, its hash, the commitments to what stands beside it, and what a body may hold."""

import re
from collections.abc import Mapping
from datetime import UTC, date, datetime
from functools import lru_cache
from hashlib import sha256
from typing import Any, Literal, NamedTuple, get_args

from mespieces.verifier import canonical
from mespieces.verifier.faults import Fault

Group = Literal["proof", "trace"]
GROUPS: tuple[Group, ...] = get_args(Group)
FIRST_PREVIOUS = "0" * 64
"""What the first record names as the hash of the record before it."""

OPERATIONS: frozenset[str] = frozenset(
    {
        "journal.opened",
        "journal.anchored",
        "journal.read",
        "journal.exported",
        "journal.purged",
        "clock.anomaly",
        "office.added",
        "office.changed",
        "member.added",
        "member.changed",
        "member.signed_in",
        "member.refused",
        "keys.rotated",
        "deposit.created",
        "document.deposited",
        "document.withdrawn",
        "deposit.filed",
        "deposit.prolonged",
        "deposit.withdrawn",
        "deposit.transferred",
        "deposit.expired",
        "deposit.forgotten",
        "document.deleted",
        "recipient.added",
        "recipient.access_issued",
        "recipient.corrected",
        "recipient.channel_chosen",
        "recipient.channel_reset",
        "recipient.second_step_waived",
        "signification.recorded",
        "signification.corrected",
        "code.issued",
        "recipient.identified",
        "recipient.refused",
        "document.consulted",
        "document.delivered",
        "document.interrupted",
        "document.corrupted",
        "attestation.issued",
        "incident.recorded",
    }
)
"""Every operation of the format. Only writing checks it: a newer journal must stay verifiable by an older program."""


class HeaderNotCanonical(Fault):
    """Bytes that no journal writes as a header."""


class BodyRefused(Fault):
    """A body that the format's table does not allow."""


class Header(NamedTuple):
    """What the chain holds of a record: hexadecimal in lowercase, time as it is written."""

    proof: str
    trace: str
    log: str
    operation: str
    previous: str
    sequence: int
    time: str


_TIME = r"[0-9]{4}-[0-9]{2}-[0-9]{2}T(?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9]\.[0-9]{6}Z"
_OPERATION = r"[a-z_]+\.[a-z_]+"
# Every value's alphabet is so small that one expression decides whether the bytes are canonical.
_HEADER = re.compile(
    r'\{"commitments":\{"proof":"([0-9a-f]{64})","trace":"([0-9a-f]{64})"\},"log":"([0-9a-f]{32})",'
    rf'"operation":"({_OPERATION})",'
    r'"previous":"([0-9a-f]{64})","sequence":(0|[1-9][0-9]{0,15}),'
    rf'"time":"({_TIME})","version":1\}}'
)


def build(header: Header) -> bytes:
    """Return the bytes to store for `header`. Raises `HeaderNotCanonical`, also for an operation unknown to the format."""
    proof, trace, log, operation, previous, sequence, time = header
    if operation not in OPERATIONS:
        raise HeaderNotCanonical(f"unknown operation: {operation}")
    # Less than the whole header, where most is the same each time.
    known = _is_written_so(log, operation) and _is_day(time[:10])
    if not known or not _ARE_HASHES_AND_TIME(f"{proof} {trace} {previous} {time}"):
        raise HeaderNotCanonical("a value of the header is not of its form")
    if type(sequence) is not int or not 0 <= sequence < canonical.INTEGER_LIMIT:
        raise HeaderNotCanonical("a value of the header is out of its range")
    return (
        f'{{"commitments":{{"proof":"{proof}","trace":"{trace}"}},"log":"{log}","operation":"{operation}",'
        f'"previous":"{previous}","sequence":{sequence},"time":"{time}","version":1}}'
    ).encode()


def parse(data: bytes) -> Header:
    """Return the header that `data` writes. Raises `HeaderNotCanonical` unless it is exactly the format's RFC 8785 bytes."""
    try:
        match = _HEADER.fullmatch(data.decode("ascii"))
    except UnicodeDecodeError as error:
        raise HeaderNotCanonical("a header is ASCII") from error
    if match is None:
        raise HeaderNotCanonical("these bytes are not a header")
    proof, trace, log, operation, previous, digits, time = match.groups()
    sequence = int(digits)
    if sequence >= canonical.INTEGER_LIMIT or not _is_day(time[:10]):
        raise HeaderNotCanonical("a value of the header is out of its range")
    return Header(proof, trace, log, operation, previous, sequence, time)


def read_expected(
    header: bytes, log: str, previous: str, sequence: int, proof: tuple[bytes, bytes], trace: tuple[bytes, bytes]
) -> Header | None:
    """Return what `header` says when it is, byte for byte, the header of these payloads at this place; None otherwise.

    Faster than `parse`, which is left to say what is wrong: only the operation and the time are not known beforehand.
    """
    committed, shown = commit("proof", *proof), commit("trace", *trace)
    start = f'{{"commitments":{{"proof":"{committed}","trace":"{shown}"}},"log":"{log}","operation":"'
    text = header.decode("latin-1")  # one character a byte, whatever they are
    operation, time = text[len(start) : text.find('"', len(start))], text[_TIME_AT]
    expected = f'{start}{operation}","previous":"{previous}","sequence":{sequence},"time":"{time}","version":1}}'
    if text != expected or not _is_written_so(log, operation) or not _IS_TIME(time) or not _is_day(time[:10]):
        return None
    return Header(committed, shown, log, operation, previous, sequence, time)


def record_hash(header: bytes) -> bytes:
    """Return the record's hash, which is also its RFC 6962 leaf: SHA-256(0x00 ‖ header)."""
    return sha256(b"\0" + header).digest()


def commit(group: Group, salt: bytes, body: bytes) -> str:
    """Return the commitment a header carries: SHA-256("mespieces/journal/v1/" ‖ group ‖ LF ‖ salt ‖ body), hexadecimal."""
    return sha256(_PREFIXES[group] + salt + body).hexdigest()


def commits(header: bytes, salt: bytes, body: bytes) -> bool:
    """Tell whether a header, by its bytes, commits to this `proof`."""
    try:
        return parse(header).proof == commit("proof", salt, body)
    except HeaderNotCanonical:
        return False


def format_time(instant: datetime) -> str:
    """Write an aware instant as headers do: UTC, microseconds, `Z`."""
    at = instant.astimezone(UTC)
    # Written out: just after a wait for the disk, `isoformat` takes twice as long.
    return f"{at.year:04}-{at.month:02}-{at.day:02}T{at.hour:02}:{at.minute:02}:{at.second:02}.{at.microsecond:06}Z"


def parse_time(time: str) -> datetime:
    """Return the aware instant a header's `time` writes."""
    return datetime.fromisoformat(time)


def encode_body(group: Group, body: Mapping[str, Any]) -> bytes:
    """Return the bytes to commit to for `body`. Raises `BodyRefused`, `canonical.NotCanonical`."""
    validate_body(group, body)
    return canonical.encode(body)


def validate_body(group: Group, body: Mapping[str, Any]) -> None:
    """Check a body against the format's table, before it is committed. Raises `BodyRefused` with the key at fault."""
    if group == "proof":
        _validate_proof(body)
    elif body:
        _require(body, "trace", _TRACE)
        if len(body["agent"]) > 256:
            raise BodyRefused("trace.agent is longer than 256 characters")


def _validate_proof(body: Mapping[str, Any]) -> None:
    _require(body, "proof", _PROOF)
    author = body["author"]
    _require(author, "author", _AUTHOR)
    _one_of(author["kind"], "author.kind", _KINDS)
    _require(body["object"], "object", _OBJECT)
    if "identified" in body:
        _validate_identified(body["identified"], author["kind"])


def _validate_identified(identified: Mapping[str, Any], kind: str) -> None:
    """Check `identified`; who set the second step is required only where somebody could choose it (a recipient's `act+…`)."""
    _require(identified, "identified", _IDENTIFIED)
    _one_of(identified["way"], "identified.way", _WAYS)
    if "set_by" in identified:
        _one_of(identified["set_by"], "identified.set_by", _SETTERS)
    elif kind == "recipient" and identified["way"].startswith("act+"):
        raise BodyRefused("identified.set_by is missing")


class _Shape(NamedTuple):
    """The keys an object must have, and the type of each that it may have."""

    needed: frozenset[str]
    allowed: Mapping[str, type]


def _shape(needed: Mapping[str, type], optional: Mapping[str, type] | None = None) -> _Shape:
    return _Shape(frozenset(needed), {**needed, **(optional or {})})


def _require(value: Mapping[str, Any], where: str, shape: _Shape) -> None:
    if not value.keys() >= shape.needed:
        raise BodyRefused(f"{where}.{min(shape.needed - value.keys())} is missing")
    for key, member in value.items():
        kind = shape.allowed.get(key)
        if kind is None:
            raise BodyRefused(f"{where}.{key} is unknown")
        # JSON tells true from 1, and so does the table. Most are of the very type: the rest is looked at longer.
        if type(member) is not kind and (not isinstance(member, kind) or isinstance(member, bool)):
            raise BodyRefused(f"{where}.{key} must be of type {kind.__name__}")


def _one_of(value: str, where: str, allowed: frozenset[str]) -> None:
    if value not in allowed:
        raise BodyRefused(f"{where} may not be {value!r}")


@lru_cache(maxsize=64)
def _is_day(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=1024)
def _is_written_so(log: str, operation: str) -> bool:
    return re.fullmatch(rf"[0-9a-f]{{32}} {_OPERATION}", f"{log} {operation}") is not None


_IS_TIME = re.compile(_TIME).fullmatch
_ARE_HASHES_AND_TIME = re.compile(rf"(?:[0-9a-f]{{64}} ){{3}}{_TIME}").fullmatch
_TIME_AT = slice(-41, -14)
_PREFIXES = {group: f"mespieces/journal/v1/{group}\n".encode() for group in GROUPS}
_KINDS = frozenset({"member", "recipient", "operator", "system"})
_WAYS = frozenset({"act", "act+app", "act+email", "act+office", "password+totp", "passkey"})
_SETTERS = frozenset({"recipient", "office"})
_TRACE = _shape({"address": str, "agent": str})
_PROOF = _shape({"author": dict, "object": dict, "detail": dict}, {"identified": dict})
_AUTHOR = _shape({"kind": str, "id": str, "name": str}, {"office": str})
_IDENTIFIED = _shape({"way": str}, {"set_by": str})
_OBJECT = _shape(
    {},
    {
        "deposit": str,
        "document": str,
        "number": int,
        "fingerprint": str,
        "recipient": str,
        "consultation": str,
        "member": str,
        "office": str,
    },
)
