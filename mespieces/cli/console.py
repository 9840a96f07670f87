"""What every command shares: the opened product, what is told and how, the passwords that are asked or drawn."""

import json
import logging
import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

import click
import peewee as pw
from playhouse.pool import PooledDatabase

from mespieces import config, models, runtime
from mespieces.domain import codes
from mespieces.errors import Unavailable
from mespieces.gateways import Gateways

Command = TypeVar("Command", bound=Callable[..., Any])


class NothingInstalled(Unavailable):
    """No database where the settings say it is."""

    message = "Rien n’est encore installé dans {folder} : lancez « mespieces init », ou vérifiez MESPIECES_DATA."


class DatabaseUnreachable(Unavailable):
    """The database does not answer, or refuses."""

    message = "La base de données ne répond pas ({reason})."


def settings() -> config.Settings:
    """Return the settings of the environment. Raises `SettingWrong`."""
    return config.read(os.environ)


def open_runtime(chosen: config.Settings | None = None, *, check_journal: bool = True) -> runtime.Runtime:
    """Open the product as the environment says. Raises `NothingInstalled`, `DatabaseUnreachable`, `Unavailable`."""
    found = chosen or settings()
    file = sqlite_file(found)
    if file and not file.is_file():  # opening it would create it, empty
        raise NothingInstalled(folder=found.data)
    try:
        with database_errors():
            return runtime.open_runtime(found, check_journal=check_journal)
    except Unavailable:
        _hang_up(models.database.obj)
        raise


@contextmanager
def opened(*, check_journal: bool = True) -> Iterator[Gateways]:
    """Open the product and its database for the time of a command. Raises as `open_runtime`.

    Without `check_journal`, also when the database is older than the journal's newest checkpoint.
    """
    found = open_runtime(check_journal=check_journal)
    with connected(found.database):
        yield found.gateways


@contextmanager
def connected(database: pw.Database) -> Iterator[None]:
    """Keep the database open for the block, and no connection after it. Raises `DatabaseUnreachable`."""
    try:
        with database_errors(), database.connection_context():
            yield
    finally:
        _hang_up(database)


def _hang_up(database: pw.Database | None) -> None:
    """Close the connections that a pool keeps for a next time, which a command never has."""
    if isinstance(database, PooledDatabase):
        database.close_all()


@contextmanager
def database_errors() -> Iterator[None]:
    """Turn what the database's driver raises into a sentence."""
    try:
        yield
    except pw.DatabaseError as error:
        # SQLite says no more than DatabaseError of a file that is damaged; what derives from it is a fault of ours.
        if not (type(error) is pw.DatabaseError or isinstance(error, pw.OperationalError)):
            raise
        raise DatabaseUnreachable(reason=next(iter(str(error).splitlines()), type(error).__name__)) from error
    except pw.InterfaceError as error:
        raise DatabaseUnreachable(reason=next(iter(str(error).splitlines()), type(error).__name__)) from error


def sqlite_file(found: config.Settings) -> Path | None:
    """Return the database's file, None when it is a server."""
    prefix = "sqlite:///"
    return Path(found.database_url.removeprefix(prefix)) if found.database_url.startswith(prefix) else None


def connect(found: config.Settings) -> pw.Database:
    """Bind the models to the settings' database. Raises `SettingWrong`."""
    try:
        return models.connect(found.database_url)
    except ValueError as error:
        reason = "on attend sqlite:///fichier ou postgresql://…"
        raise config.SettingWrong(name="MESPIECES_DATABASE_URL", reason=reason) from error


def json_option(command: Command) -> Command:
    """Add `--json`, for scripts."""
    return click.option("--json", "as_json", is_flag=True, help="Écrit le résultat en JSON.")(command)


def tell(result: object, words: str, *, as_json: bool) -> None:
    """Say the result, in words or as JSON."""
    click.echo(json.dumps(result, ensure_ascii=False, indent=1, default=str) if as_json else words)


def answer(value: str | None, question: str, option: str) -> str:
    """Return `value`, asked on the terminal when it is missing; without a terminal that is a usage error."""
    if value:
        return value
    if not sys.stdin.isatty():
        raise click.UsageError(f"L’option {option} est nécessaire.")
    asked: str = click.prompt(question)
    return asked


def confirm(question: str) -> None:
    """Ask for a yes, in French or English; an empty answer is a no. Raises `click.Abort` on a no, or where nobody answers."""
    while True:
        typed = click.prompt(f"{question} [o/N]", default="non", show_default=False, prompt_suffix=" ").strip().lower()
        if typed in {"o", "oui", "y", "yes"}:
            return
        if typed in {"n", "non", "no"}:
            raise click.Abort
        click.echo("Répondez par oui ou par non.")


def password() -> tuple[str, bool]:
    """Return a password asked twice on the terminal, or a strong one drawn where there is none, and whether it was."""
    if sys.stdin.isatty():
        return click.prompt("Mot de passe (12 caractères ou plus)", hide_input=True, confirmation_prompt=True), False
    return codes.show(codes.draw_secret()), True


class Lines(logging.Formatter):
    """Writes one line of JSON an event: time, level, logger, what happened, and its `facts`."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **getattr(record, "facts", {}),
        }
        if record.exc_info:
            line["stack"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False)


def log_to_stderr(level: int = logging.INFO) -> None:
    """Have the program's log on stderr, the queue's only when something is wrong."""
    handler = logging.StreamHandler()
    handler.setFormatter(Lines())
    logging.basicConfig(level=level, handlers=[handler])
    logging.getLogger("huey").setLevel(max(level, logging.WARNING))
