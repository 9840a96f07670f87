"""What the machine noticed of its own clock: the worker's heartbeat, and a jump forward nobody has confirmed yet.

A clock set a year ahead by mistake must not destroy anything: access follows the date at once, but destruction waits
until the operator confirms it. The jump is remembered when it is noticed, for the next record would hide it.
"""

from datetime import datetime, timedelta

from mespieces import models
from mespieces.models import Fact, JournalLog
from mespieces.verifier import record

HEARTBEAT = "worker"
JUMP = "clock.jumped"
CONFIRMED = "clock.confirmed"
LARGEST_JUMP = timedelta(days=1)


def notice(now: datetime, last: datetime | None) -> None:
    """Remember a jump of more than a day since the last record (`last`) or heartbeat, inside the caller's transaction."""
    if _leapt(now, last):
        set_fact(JUMP, now)


def jumped(now: datetime) -> bool:
    """Tell whether a jump waits to be confirmed, or has happened since anything was last recorded."""
    return Fact.select().where(Fact.name == JUMP).exists() or _leapt(now, last_record())


def unconfirmed() -> datetime | None:
    """Return when a jump that waits to be confirmed was noticed, None when none waits."""
    row = Fact.get_or_none(Fact.name == JUMP)
    return row.at if row else None


def confirm(now: datetime) -> None:
    """Take `now` for the right date: the operator says so."""
    with models.write():
        Fact.delete().where(Fact.name == JUMP).execute()
        set_fact(CONFIRMED, now)


def last_beat() -> datetime | None:
    """Return when the worker was last seen, None when it never was."""
    row = Fact.get_or_none(Fact.name == HEARTBEAT)
    return row.at if row else None


def set_fact(name: str, at: datetime, detail: str = "") -> None:
    """Keep one fact under its name, inside the caller's transaction."""
    Fact.insert(name=name, at=at, detail=detail).on_conflict(
        conflict_target=[Fact.name], update={Fact.at: at, Fact.detail: detail}
    ).execute()


def last_record() -> datetime | None:
    """Return the time of the open journal's newest record, None before the first."""
    log = JournalLog.get_or_none(JournalLog.closed_at.is_null())
    return record.parse_time(log.time) if log and log.time else None


def _leapt(now: datetime, last: datetime | None) -> bool:
    """Tell whether everything known of the time is more than a day old; nothing known is no jump."""
    if last is None or now - last <= LARGEST_JUMP:
        return False
    seen = Fact.select(Fact.at).where(Fact.name.in_([HEARTBEAT, CONFIRMED]))
    return all(now - fact.at > LARGEST_JUMP for fact in seen)
