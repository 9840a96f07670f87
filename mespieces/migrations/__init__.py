"""Numbered, hand-written changes of the tables, applied in order by `migrate` and checked at start."""

from pathlib import Path

import peewee as pw
from playhouse.migrations import Runner

from mespieces.errors import Unavailable

FOLDER = Path(__file__).parent


class DatabaseBehind(Unavailable):
    """The tables are not those this version expects."""

    message = "La base de données attend une mise à jour ({missing}) : lancez « mespieces migrate »."


class DatabaseAhead(Unavailable):
    """The tables were made by a newer version."""

    message = "La base de données a été mise à jour par une version plus récente ({unknown}) : installez cette version."


def apply(database: pw.Database) -> list[str]:
    """Apply what is missing, each change in its own transaction, and return the names applied."""
    runner = _runner(database)
    # Asked of a role that may make no table (docs/postgresql.md), when there is none to make.
    if all(row.applied for row in runner.status()):
        return []
    applied: list[str] = runner.up()
    return applied


def check(database: pw.Database) -> None:
    """Raise `DatabaseBehind` or `DatabaseAhead` unless the tables are exactly this version's."""
    rows = _runner(database).status()
    missing = [row.name for row in rows if row.path and not row.applied]
    unknown = [row.name for row in rows if not row.path]
    if missing:
        raise DatabaseBehind(missing=", ".join(missing))
    if unknown:
        raise DatabaseAhead(unknown=", ".join(unknown))


def run_script(database: pw.Database, script: str) -> None:
    """Run a change's SQL, its `{words}` replaced by the database's own types; statements end with `;;`."""
    words = _SQLITE if isinstance(database, pw.SqliteDatabase) else _POSTGRESQL
    for word, meaning in words.items():
        script = script.replace("{" + word + "}", meaning)
    for statement in filter(None, (part.strip() for part in script.split(";;"))):
        database.execute_sql(statement)


def _runner(database: pw.Database) -> Runner:
    return Runner(database, directory=str(FOLDER))


# SQLite keeps a value of any type in any column unless the table is `strict`: what reads it would meet texts for bytes.
# `clustered` keeps a table in the order of its key besides: an append then touches one tree less.
_SQLITE = {
    "uuid": "TEXT", "instant": "TEXT", "date": "TEXT", "bytes": "BLOB", "bigint": "INTEGER",
    "strict": " STRICT", "clustered": " STRICT, WITHOUT ROWID",
}  # fmt: skip
_POSTGRESQL = {
    "uuid": "UUID", "instant": "TIMESTAMPTZ", "date": "DATE", "bytes": "BYTEA", "bigint": "BIGINT",
    "strict": "", "clustered": "",
}  # fmt: skip
