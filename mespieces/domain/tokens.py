"""The tokens kept beside a journal, compared with what they state, and with the records that name them."""

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

from peewee import fn

from mespieces.domain import anchors
from mespieces.models import JournalCheckpoint, JournalPayload, JournalRecord, JournalTimestamp
from mespieces.verifier import canonical, record, timestamp

_MOST = 1_000  # tokens that wait for their record: an honest journal has one or two
_ANY = 2**53
_SOON = 10_000  # records within which a token's own stands, written as soon as it was had
_NAMED_BY = 20  # records of tokens looked at


class _Named(NamedTuple):
    """What a `journal.anchored` record says of a token."""

    sha256: str
    authority: str
    time: str


def believed(log: str, size: int, signed: bytes, der: bytes, number: int | None = None) -> timestamp.Stated | None:
    """Return what a token says of a checkpoint, once a record names it (by `number`, where one is given); None when it dates nothing.

    It was verified whole before that record was written, right after the token was had.
    """
    header, payload = JournalRecord, JournalPayload
    query = (
        header.select(header.header, payload.salt, payload.body)
        .join(payload, on=((payload.log == header.log) & (payload.sequence == header.sequence)))
        .where(
            header.log == log, header.sequence >= size, header.sequence < size + _SOON,
            header.operation == anchors.ANCHORED, payload.group == "proof", payload.body.is_null(False),
        )
        .order_by(header.sequence)
        .limit(_NAMED_BY)
        .tuples()
    )  # fmt: skip
    named = (
        _detail(bytes(body)) for header, salt, body in query if record.commits(bytes(header), bytes(salt), bytes(body))
    )
    bound: dict[object, object] = {}
    for told in named:
        if told.get("size") == size:  # the first that names a token binds it: what is said later makes no other of it
            bound.setdefault(told.get("number"), told.get("sha256"))
    if hashlib.sha256(der).hexdigest() in (bound.values() if number is None else [bound.get(number)]):
        with suppress(timestamp.TokenRefused):
            return timestamp.read(signed, der)
    return None


class Comparison:
    """Told checkpoint by checkpoint and record by record, yields the record at fault.

    That is the last of a checkpoint with a token that is not what is said, or one that names a token otherwise than a first did.
    Who signed the tokens is not verified again: each was before it was kept, and its record has its SHA-256.
    """

    def __init__(self, log: str) -> None:
        self._log, self._rows, self._reached = log, anchors.every(log, _ANY), 0
        self._next = next(self._rows, None)
        self._waiting: dict[tuple[int, int], _Named] = {}

    def over(self, size: int, signed: bytes) -> Iterator[int]:
        """Take the tokens over the checkpoint of that size, whose note is given."""
        self._reached = size
        while (row := self._next) is not None and row.size <= size:
            self._next = next(self._rows, None)
            if not _states(row, signed):
                yield row.size - 1
            self._waiting[row.size, row.number] = _named(row)
            if len(self._waiting) > _MOST:
                oldest = next(iter(self._waiting))
                del self._waiting[oldest]
                yield oldest[0] - 1

    def anchored(self, sequence: int, body: Mapping[str, Any]) -> Iterator[int]:
        """Take the verified `proof` of a `journal.anchored` record."""
        match body:
            case {
                "detail": {"size": int(size), "number": int(number), "sha256": sha256, "authority": who, "time": time}
            }:
                said, bound = (sha256, who, time), self._waiting.pop((size, number), None)
                before = anchors.kept(self._log, size, number) if bound is None else None
                if size > sequence or (before and _named(before) != said):
                    yield sequence
                elif not before and bound != said:
                    yield size - 1

    def finish(self) -> Iterator[int]:
        """Yield those that no record names, and those beyond that date no checkpoint at all."""
        yield from (size - 1 for size, _ in self._waiting)
        notes = JournalCheckpoint
        over = notes.select().where(notes.log == JournalTimestamp.log, notes.size == JournalTimestamp.size)
        orphans = JournalTimestamp.select(JournalTimestamp.size).where(
            JournalTimestamp.log == self._log, JournalTimestamp.size > self._reached, ~fn.EXISTS(over)
        )
        yield from (size - 1 for (size,) in orphans.tuples())


def _named(row: JournalTimestamp) -> _Named:
    """Return what the record of a token kept is to say of it."""
    return _Named(hashlib.sha256(bytes(row.der)).hexdigest(), row.authority, record.format_time(row.time))


def _detail(body: bytes) -> Mapping[str, Any]:
    read = canonical.read_object(body) or {}
    detail = read.get("detail")
    return detail if isinstance(detail, dict) else {}


def _states(row: JournalTimestamp, signed: bytes) -> bool:
    """Tell whether a token dates the note, and the columns beside it say what it states."""
    try:
        stated = timestamp.read(signed, bytes(row.der))
    except timestamp.TokenRefused:
        return False
    return (stated.time, stated.authority, stated.qualified) == (row.time, row.authority, bool(row.qualified))
