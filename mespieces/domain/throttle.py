"""How often things failed lately, counted in the database so that all workers share it and restarts forget nothing.

Functions here run inside the caller's transaction.
"""

import hashlib
import ipaddress
import math
from datetime import datetime, timedelta
from typing import Any

import peewee as pw

from mespieces.models import Throttle

HOUR, DAY = timedelta(hours=1), timedelta(days=1)
NETWORK_LIMIT = 100  # wrong secrets an hour from one network: phones share addresses
CODE_LIMIT = 25  # wrong codes a day: for one sheet of a recipient, for one member
FREE_TRIES = 3
LONGEST_DELAY = timedelta(minutes=15)


def network(address: str) -> str:
    """Return the network an address counts for: IPv4 /24, IPv6 /56; one of its own for what is no address."""
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return "unknown"
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    return str(ipaddress.ip_network(f"{ip}/{24 if ip.version == 4 else 56}", strict=False))


def key(*parts: str) -> str:
    """Return the name of a counter. What strangers type never stands in it: parts are hashed."""
    return parts[0] + ":" + hashlib.sha256("\n".join(parts).encode()).hexdigest()[:40]


def waits(name: str, now: datetime) -> int:
    """Return how many seconds remain until `name` may try again, 0 when it may now."""
    row = Throttle.get_or_none(Throttle.key == name)
    if row is None or row.until is None or row.until <= now:
        return 0
    return math.ceil((row.until - now).total_seconds())


def fail(name: str, now: datetime, window: timedelta = DAY) -> int:
    """Count one failure of `name` in its present window and return the count."""
    over = Throttle.since <= now - window
    # One statement: two first failures at once on two machines count as two.
    Throttle.insert(key=name, failures=1, since=now, until=None).on_conflict(
        conflict_target=[Throttle.key],
        update={
            Throttle.failures: pw.Case(None, [(over, 1)], Throttle.failures + 1),
            Throttle.until: pw.Case(None, [(over, None)], Throttle.until),
            Throttle.since: pw.Case(None, [(over, _instant(now))], Throttle.since),
        },
    ).execute()
    return int(Throttle.get(Throttle.key == name).failures)


def delay(name: str, until: datetime) -> None:
    """Have `name` wait until that instant."""
    Throttle.update(until=until).where(Throttle.key == name).execute()


def growing(failures: int) -> timedelta:
    """Return the delay after that many failures: none at first, then 2, 4, 8 … seconds, at most a quarter of an hour."""
    if failures <= FREE_TRIES:
        return timedelta()
    return min(timedelta(seconds=2 ** min(failures - FREE_TRIES, 20)), LONGEST_DELAY)


def forget(name: str) -> None:
    """Start counting `name` again: it succeeded."""
    Throttle.delete().where(Throttle.key == name).execute()


def count(name: str, now: datetime, window: timedelta) -> int:
    """Return the failures of `name` in its present window."""
    row = Throttle.get_or_none(Throttle.key == name)
    return 0 if row is None or now - row.since >= window else int(row.failures)


def resets(name: str, now: datetime, window: timedelta) -> int:
    """Return how many seconds remain until the count of `name` starts again, 0 when it already has."""
    row = Throttle.get_or_none(Throttle.key == name)
    return 0 if row is None else max(0, math.ceil((row.since + window - now).total_seconds()))


def exhausted(name: str, now: datetime) -> int:
    """Return how many seconds wait those whose wrong codes of the day are spent, 0 when they may try."""
    return resets(name, now, DAY) if count(name, now, DAY) >= CODE_LIMIT else 0


def counts(names: list[str], now: datetime, window: timedelta) -> dict[str, int]:
    """Return the failures of those of `names` that failed in their present window."""
    query = Throttle.select().where(Throttle.key.in_(names), Throttle.since > now - window)
    return {row.key: int(row.failures) for row in query}


def sweep(now: datetime) -> None:
    """Drop the counters whose every window is over."""
    Throttle.delete().where(Throttle.since < now - 2 * DAY).execute()


def _instant(now: datetime) -> Any:
    return pw.Value(Throttle.since.db_value(now), converter=False)
