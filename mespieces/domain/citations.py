"""How journals follow one another: what the first record of each says of the end of the one that it continues."""

from typing import NamedTuple

from mespieces.models import JournalLog, JournalPayload, JournalRecord
from mespieces.verifier import claims, record


class Missing(NamedTuple):
    """A journal of which nothing was left but a checkpoint outside the database."""

    log: str
    known: int


class Cited(NamedTuple):
    """How a journal ended, says the one that continues it, and the newest checkpoint known of it then (0 and empty: none)."""

    by: str
    log: str
    size: int
    head: str
    known: int = 0
    root: str = ""
    missing: Missing | None = None


def every() -> dict[str, Cited]:
    """Return what each journal that continues another says of it, by its own name, the newest first.

    What the first record does not commit to says nothing.
    """
    header, beside = JournalRecord, JournalPayload
    names = [row.log for row in JournalLog.select(JournalLog.log).order_by(JournalLog.opened_at.desc())]
    query = (
        header.select(header.log, header.header, beside.salt, beside.body)
        .join(beside, on=((beside.log == header.log) & (beside.sequence == header.sequence)))
        # With the journals named, each first record is looked up by its key.
        .where(header.log.in_(names), header.sequence == 0, beside.group == "proof", beside.body.is_null(False))
    )
    first = {log: tuple(map(bytes, stored)) for log, *stored in query.tuples()}
    told = ((log, *first[log]) for log in names if log in first)
    read = (_read(log, body) for log, written, salt, body in told if record.commits(written, salt, body))
    return {cited.by: cited for cited in read if cited}


def before() -> dict[str, str]:
    """Return, by the name of each journal that continues another, the name of that one."""
    return {by: cited.log for by, cited in every().items()}


def _read(log: str, body: bytes) -> Cited | None:
    read, missing = claims.citation(body), None
    match read.get("missing"):
        case {"log": str(name), "size": int(size)}:
            missing = Missing(name, size)
    match read:
        case {
            "log": str(name),
            "size": int(size),
            "head": str(head),
            "checkpoint": {"size": int(known), "root": str(root)},
        }:
            return Cited(log, name, size, head, known, root, missing)
        case {"log": str(name), "size": int(size), "head": str(head)}:
            return Cited(log, name, size, head, missing=missing)
    return None
