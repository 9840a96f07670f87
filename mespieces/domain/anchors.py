"""Certain dates: third parties' tokens over the journal's checkpoints, and what they tell of our own clock.

A token is asked outside of any transaction; reading never waits for it. Anchors alone neither trigger one nor count as lag.
"""

import hashlib
import json
import logging
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from mespieces import models
from mespieces.domain import checkpoints, clockwork, journal
from mespieces.errors import Unavailable
from mespieces.gateways import Gateways
from mespieces.gateways.timestamps import AuthorityUnreachable, Stamp, TokenRefused
from mespieces.models import Fact, JournalCheckpoint, JournalLog, JournalRecord, JournalTimestamp
from mespieces.verifier import note, record, timestamp

log = logging.getLogger(__name__)

NEXT, CLOCK, TOLD = "anchors.next", "anchors.clock", "anchors.drift_told"
ANCHORED = "journal.anchored"
BETWEEN = timedelta(seconds=50)  # the worker asks once a minute; this only keeps a second worker from asking again
LONGEST_WAIT = timedelta(minutes=15)
LARGEST_DRIFT = 2.0
WRONG_CLOCK = 60.0
LATE = timedelta(minutes=10)
"""An authority that has dated nothing for so long, while records wait, is late; three rounds of the worker are not."""
_AT_ONCE = 100  # tokens in memory, a few thousand bytes each
FRESH = timedelta(minutes=5)  # a measure the worker no longer renews must not close the service for ever


class ClockWrong(Unavailable):
    """Two authorities agree that our clock is wrong: a consultation would be journaled at a false date."""

    message = (
        "L’horloge de ce service est déréglée : une consultation porterait une date fausse. Réessayez dans quelques "
        "minutes ; si cela dure, appelez l’étude."
    )
    retry_after = 60  # seconds until the clock is measured again


@dataclass(frozen=True, slots=True)
class Situation:
    """What anybody may know of the certain dates: the last one, what waits for the next and since when, our clock.

    `drift` is in seconds, ahead of the clock of `measured_by` when positive, as `measured` then; None before any measure.
    """

    configured: bool
    last: JournalTimestamp | None
    waiting: int
    since: datetime | None
    late: bool
    drift: float
    measured: datetime | None
    measured_by: str


def situation(gateways: Gateways) -> Situation:
    """Return how far certain dates go. Raises `JournalClosed`."""
    last = newest()
    first = _after(last).order_by(JournalRecord.sequence).first()
    since = record.parse_time(first.time) if first else None
    late = since is not None and gateways.clock.now() - since > LATE
    measure = _worst()
    return Situation(
        bool(gateways.authorities), last, _waiting(last) if first else 0, since, late,
        measure["drift"] if measure else 0.0, record.parse_time(measure["at"]) if measure else None,
        measure["authority"] if measure else "",
    )  # fmt: skip


def newest() -> JournalTimestamp | None:
    """Return the token over the longest checkpoint of the open journal."""
    checkpoint = (JournalCheckpoint.log == JournalTimestamp.log) & (JournalCheckpoint.size == JournalTimestamp.size)
    query = JournalTimestamp.select().join(JournalCheckpoint, on=checkpoint)
    query = query.where(JournalTimestamp.log == journal.head().log)
    return query.order_by(JournalTimestamp.size.desc(), JournalTimestamp.number).first()


def kept(log: str, size: int, number: int) -> JournalTimestamp | None:
    """Return one token of a journal, None when there is none."""
    if size >= 2**63 or number >= 2**31:
        return None
    return JournalTimestamp.get_or_none(log=log, size=size, number=number)


def over(log: str, sizes: Iterable[int]) -> dict[int, list[JournalTimestamp]]:
    """Return the tokens over a journal's checkpoints of these sizes, by size, in the order they were had."""
    query = JournalTimestamp.select().where(JournalTimestamp.log == log, JournalTimestamp.size.in_(list(sizes)))
    found: dict[int, list[JournalTimestamp]] = {}
    for one in query.order_by(JournalTimestamp.size, JournalTimestamp.number):
        found.setdefault(one.size, []).append(one)
    return found


def keep_up(gateways: Gateways) -> bool:
    """Have the journal dated when records wait for it, at most once a minute; tell whether an authority answered.

    While our clock is in doubt it is measured again, whether records wait or not: no token is kept for that alone.
    """
    wrong = [one for one in _measures().values() if abs(one["drift"]) > WRONG_CLOCK]
    awaited = _after(newest()).exists()
    if not gateways.authorities or not (wrong or awaited) or not _claim(gateways):
        return False
    signed = checkpoints.publish(gateways)
    stamp = _ask(gateways, signed, every=bool(wrong))
    if stamp is None:
        _put_off(gateways)
    elif awaited:  # else our clock alone was measured again
        _keep(gateways, signed, stamp)
    return stamp is not None


def check_clock(gateways: Gateways) -> None:
    """Make sure that our clock is not known to be wrong. Raises `ClockWrong` when two sources, of two roots, agree that it is."""
    # A measure from our future was made before the clock was set right.
    now = gateways.clock.now()
    found = [
        one["drift"] for one in _measures().values() if timedelta(0) <= now - record.parse_time(one["at"]) <= FRESH
    ]
    if max(sum(ahead > WRONG_CLOCK for ahead in found), sum(ahead < -WRONG_CLOCK for ahead in found)) >= 2:
        raise ClockWrong


def files(name: str, size: int) -> Iterator[tuple[str, bytes]]:
    """Yield the tokens over the first `size` records of a journal as files of an export, then the certificates they carry."""
    for one in every(name, size):
        yield f"{one.size}.{one.number}.tsr", bytes(one.der)
    if carried := timestamp.certificates(bytes(one.der) for one in every(name, size)):
        yield "certificates.pem", carried


def every(name: str, size: int) -> Iterator[JournalTimestamp]:
    """Yield the tokens over the first `size` records, some at a time: others are written meanwhile."""
    kept, after = JournalTimestamp, -1
    among = kept.select().where(kept.log == name, kept.size <= size).order_by(kept.size, kept.number)
    while found := list(among.where(kept.size > after).limit(_AT_ONCE)):
        # A batch may hold only the first of the tokens of its last size.
        after = found[-1].size
        yield from (one for one in found if one.size < after)
        yield from among.where(kept.size == after)


def _waiting(last: JournalTimestamp | None) -> int:
    """Return how many records wait, without counting them one by one: each token since then made one that does not."""
    size = int(journal.head().size)
    if last is None:
        return size
    made = JournalTimestamp.select().where(JournalTimestamp.log == last.log, JournalTimestamp.size >= last.size)
    return size - int(last.size) - int(made.count())


def _after(last: JournalTimestamp | None) -> Any:
    return JournalRecord.select().where(
        JournalRecord.log == journal.head().log,
        JournalRecord.sequence >= (last.size if last else 0),
        JournalRecord.operation != ANCHORED,
    )


def _claim(gateways: Gateways) -> bool:
    """Take this minute's turn, unless another worker has, or it is put off."""
    now = gateways.clock.now()
    with models.write():
        models.locked(JournalLog.select().where(JournalLog.closed_at.is_null())).first()
        row = Fact.get_or_none(Fact.name == NEXT)
        # Farther ahead than the wait: the clock was set back since.
        if row and now < row.at <= now + _wait(row.detail):
            return False
        clockwork.set_fact(NEXT, now + BETWEEN, row.detail if row else "")
    return True


def _wait(tries: str) -> timedelta:
    return min(BETWEEN * 2 ** min(max(int(tries or 0) - 1, 0), 10), LONGEST_WAIT)


def _put_off(gateways: Gateways) -> None:
    """Wait longer after each failure of every authority."""
    now = gateways.clock.now()
    with models.write():
        row = Fact.get(Fact.name == NEXT)
        tries = int(row.detail or 0) + 1
        clockwork.set_fact(NEXT, now + _wait(str(tries)), str(tries))


def _ask(gateways: Gateways, signed: bytes, *, every: bool) -> Stamp | None:
    """Return the first token that can be had whose time agrees with our clock; without any, the one least far from it.

    An authority whose clock is wrong dates nothing while another's is right. All are asked when our own is in doubt.
    """
    measures: dict[str, dict[str, Any]] = {}
    stamps: list[Stamp] = []
    for authority in gateways.authorities:
        try:
            stamp = authority.stamp(signed, gateways.clock)
        except (AuthorityUnreachable, TokenRefused) as error:
            log.warning("%s", error)
            continue
        measure = {
            "drift": stamp.drift,
            "at": record.format_time(stamp.answered_at),
            "authority": stamp.stated.authority,
        }
        # One voice for all that one root vouches for: where they disagree, the one that accuses our clock least.
        measures[stamp.stated.root] = min(
            measure, measures.get(stamp.stated.root, measure), key=lambda one: abs(one["drift"])
        )
        stamps.append(stamp)
        if not every and abs(stamp.drift) <= LARGEST_DRIFT:
            break
    if measures:
        with models.write():
            clockwork.set_fact(CLOCK, gateways.clock.now(), json.dumps(measures))
    return min(stamps, key=lambda one: abs(one.drift), default=None)


def _keep(gateways: Gateways, signed: bytes, stamp: Stamp) -> None:
    """Keep a token and append its record in one transaction; a clock that drifts is journaled once a day.

    Where another journal was opened meanwhile nothing is kept: the token's record could not follow its checkpoint.
    """
    of, now = note.parse_checkpoint(note.split(signed)[0]), gateways.clock.now()
    name, stated = of.origin.rpartition("/")[2], stamp.stated
    detail = {
        "size": of.size, "root": of.root.hex(), "sha256": hashlib.sha256(stamp.der).hexdigest(),
        "authority": stated.authority, "time": record.format_time(stated.time),
    }  # fmt: skip
    with models.write():
        if models.locked(JournalLog.select().where(JournalLog.log == name)).get().closed_at:
            return
        held = JournalTimestamp.select().where(JournalTimestamp.log == name, JournalTimestamp.size == of.size).count()
        JournalTimestamp.create(
            log=name, size=of.size, number=held + 1, der=stamp.der, time=stated.time, authority=stated.authority,
            qualified=int(stated.qualified), asked_at=stamp.asked_at, answered_at=stamp.answered_at,
        )  # fmt: skip
        clockwork.set_fact(NEXT, now + BETWEEN)
        told = Fact.get_or_none(Fact.name == TOLD)
        tell = abs(stamp.drift) > LARGEST_DRIFT and (told is None or abs(now - told.at) >= timedelta(days=1))
        if tell:
            clockwork.set_fact(TOLD, now)
        journal.append(gateways, ANCHORED, detail=detail | {"number": held + 1})
        if tell:
            seen = {"kind": "clock.drift", "seconds": round(stamp.drift), "authority": stated.authority}
            journal.append(gateways, "incident.recorded", detail=seen)
    if tell:
        log.error("the clock is %+.1f seconds off, says %s", stamp.drift, stated.authority)


def _worst() -> dict[str, Any] | None:
    """Return the measure in which our clock was farthest off, None when there is none."""
    return max(_measures().values(), key=lambda one: abs(one["drift"]), default=None)


def _measures() -> dict[str, dict[str, Any]]:
    row = Fact.get_or_none(Fact.name == CLOCK)
    return json.loads(row.detail) if row else {}
