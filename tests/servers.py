"""The real programs that tests run against: PostgreSQL, a mail server, Chromium, faketime.

Nothing here is shared with what the machine already runs: each server is private, on loopback, in a temporary folder.
"""

import asyncio
import email
import email.policy
import fcntl
import os
import secrets
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import psycopg
from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

RUN_FOLDER = "MESPIECES_TESTS_RUN_FOLDER"

# Not UTC, so that an instant which goes through the server's zone is seen to shift.
POSTGRESQL_SETTINGS = {"max_connections": "100", "timezone": "Europe/Paris", "log_min_messages": "fatal"}
UNSAFE_BUT_QUICK = {"fsync": "off", "synchronous_commit": "off", "full_page_writes": "off", "autovacuum": "off"}

CHROMIUM_ARGUMENTS = [
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


class Missing(Exception):  # noqa: N818 — a state of the machine
    """A program that tests need is not on this machine; `str()` is the sentence to show."""


def free_port() -> int:
    """Return a loopback port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


# PostgreSQL


@contextmanager
def postgresql(*, durable: bool = False) -> Iterator[str]:
    """Run a PostgreSQL of its own and give the address its databases begin with. Raises `Missing`.

    `durable` keeps fsync and its like, for tests that kill it; otherwise they are off, for speed.
    """
    folder = _temporary_folder(durable=durable)
    try:
        yield _start_postgresql(folder, durable=durable)
    finally:
        _stop_postgresql(folder)


class Restartable:
    """A PostgreSQL of its own that can be stopped at once, as a crash does, and started again at the same address."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.url = _start_postgresql(folder, durable=True)

    def stop(self) -> None:
        """Stop it, hanging up on everybody."""
        _as_postgres(self._folder, _postgresql_programs() / "pg_ctl", "stop", "-D", self._data, "-m", "immediate")

    def start(self) -> None:
        """Start it again."""
        log = self._folder / "log"
        _as_postgres(self._folder, _postgresql_programs() / "pg_ctl", "start", "--wait", "-D", self._data, "-l", log)

    @property
    def _data(self) -> Path:
        return self._folder / "data"


@contextmanager
def restartable_postgresql() -> Iterator[Restartable]:
    """Run a PostgreSQL that a test may stop and start. Raises `Missing`."""
    folder = _temporary_folder(durable=True)
    try:
        yield Restartable(folder)
    finally:
        _stop_postgresql(folder)


@contextmanager
def run_folder() -> Iterator[None]:
    """Hold, for a whole run of tests, what its processes share; what they started in it stops with it."""
    folder = _temporary_folder(durable=False)
    os.environ[RUN_FOLDER] = str(folder)
    try:
        yield
    finally:
        del os.environ[RUN_FOLDER]
        _stop_postgresql(folder)


def shared_postgresql() -> str:
    """Return the address of the run's one PostgreSQL, started by the first who asks. Raises `Missing`."""
    folder = Path(os.environ[RUN_FOLDER])
    url = folder / "url"
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not url.exists():
            url.write_text(_start_postgresql(folder, durable=False), "ascii")
    return url.read_text("ascii")


def create_database(server: str, *, like: str | None = None) -> str:
    """Create a database on `server`, empty or a copy of the database at `like`, and return its address."""
    name = f"test_{secrets.token_hex(6)}"
    template = like.rpartition("/")[2] if like else "template0"
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        # The other strategy writes the whole copy to the log; before 15, copying files was the only one.
        strategy = "STRATEGY file_copy" if connection.info.server_version >= 150000 else ""
        connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}" {strategy}'.encode())
    return f"{server}/{name}"


def drop_database(url: str) -> None:
    """Drop a database, whoever is still connected to it."""
    server, _, name = url.rpartition("/")
    with psycopg.connect(f"{server}/postgres", autocommit=True) as connection:
        connection.execute(f'DROP DATABASE "{name}" WITH (FORCE)'.encode())


def dump(url: str) -> bytes:
    """Return the raw bytes of every row of a PostgreSQL database."""
    with psycopg.connect(url) as connection:
        tables = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'").fetchall()
        found = []
        for (table,) in tables:
            with connection.cursor().copy(f'COPY "{table}" TO STDOUT (FORMAT binary)'.encode()) as rows:
                found += [bytes(row) for row in rows]
    return b"".join(found)


def _temporary_folder(*, durable: bool) -> Path:
    """Make a folder, in memory when it may be lost and there is room: databases are copied 5 times faster there."""
    memory = Path("/dev/shm")
    in_memory = not durable and os.access(memory, os.W_OK) and shutil.disk_usage(memory).free > 2**30
    return Path(tempfile.mkdtemp(prefix="mespieces-", dir=memory if in_memory else None))


def _start_postgresql(folder: Path, *, durable: bool) -> str:
    """Make a cluster in `folder` and start it; its sockets are there and on a free loopback port."""
    programs, data, port = _postgresql_programs(), folder / "data", free_port()
    settings = POSTGRESQL_SETTINGS | ({} if durable else UNSAFE_BUT_QUICK)
    settings |= {"port": str(port), "listen_addresses": "127.0.0.1", "unix_socket_directories": str(folder)}
    if os.geteuid() == 0:  # PostgreSQL refuses to be run by root
        shutil.chown(folder, "postgres")
    initdb = ["--auth=trust", "--username=postgres", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"]
    _as_postgres(folder, programs / "initdb", "-D", data, *initdb)
    with (data / "postgresql.conf").open("a") as configuration:
        configuration.writelines(f"{name} = '{value}'\n" for name, value in settings.items())
    _as_postgres(folder, programs / "pg_ctl", "start", "--wait", "-D", data, "-l", folder / "log")
    return f"postgresql://postgres@127.0.0.1:{port}"


def _stop_postgresql(folder: Path) -> None:
    """Stop what runs in `folder`, if anything, and remove the folder."""
    if (folder / "data" / "postmaster.pid").exists():
        _as_postgres(folder, _postgresql_programs() / "pg_ctl", "stop", "-D", folder / "data", "-m", "immediate")
    shutil.rmtree(folder)


def _postgresql_programs() -> Path:
    """Return the folder of the newest PostgreSQL's programs. Raises `Missing`."""
    initdbs = Path("/usr/lib/postgresql").glob("*/bin/initdb")
    newest = max(initdbs, key=lambda program: int(program.parts[4]), default=None)
    if newest is None:
        raise Missing("PostgreSQL is not available (Debian package postgresql)")
    return newest.parent


def _as_postgres(folder: Path, *command: str | Path) -> None:
    """Run a program of PostgreSQL; its words are raised when it fails."""
    user = ["runuser", "-u", "postgres", "--"] if os.geteuid() == 0 else []
    # A file takes the words: a pipe would stay open as long as the server that pg_ctl leaves behind.
    with tempfile.TemporaryFile("w+") as words:
        done = subprocess.run([*user, *command], cwd=folder, stdout=words, stderr=words, check=False)
        words.seek(0)
        if done.returncode:
            raise RuntimeError(f"{command[0]} failed: {words.read()}")


# Mail


class Mailbox:
    """A mail server's side of the talk: what it was sent, and what it answers."""

    def __init__(self) -> None:
        self.port = free_port()
        self.answer = "250 OK"
        self.answer_to_recipient = "250 OK"
        self.slowness = 0.0  # seconds it takes to answer to a message
        self.asked = threading.Event()
        self.envelopes: list[Envelope] = []
        self.messages: list[EmailMessage] = []
        self.encrypted: list[bool] = []
        self.holds = False
        self.held = threading.Event()
        self._arrived = threading.Condition()

    @property
    def url(self) -> str:
        """The address to send to."""
        return f"smtp://127.0.0.1:{self.port}"

    def wait_for(self, count: int, *, to: str | None = None, seconds: float = 10) -> list[EmailMessage]:
        """Return the messages, those addressed `to` one person where named, once there are `count` of them.

        Raises `TimeoutError`.
        """

        def come() -> list[EmailMessage]:
            return [message for message in self.messages if to in {None, message["To"]}]

        with self._arrived:
            if not self._arrived.wait_for(lambda: len(come()) >= count, seconds):
                raise TimeoutError(f"{len(come())} messages of {count} came within {seconds} s")
            return come()

    async def handle_RCPT(  # noqa: N802 — aiosmtpd's name
        self, _server: SMTP, _session: Session, envelope: Envelope, address: str, _options: list[str]
    ) -> str:
        """Answer to one recipient: a 4xx or 5xx in `answer_to_recipient` refuses it."""
        if self.answer_to_recipient.startswith("2"):
            envelope.rcpt_tos.append(address)
        return self.answer_to_recipient

    async def handle_DATA(  # noqa: N802 — aiosmtpd's name
        self, _server: SMTP, session: Session, envelope: Envelope
    ) -> str:
        """Answer to a message, in its own time: it is kept unless `answer` refuses it.

        No answer comes while the mailbox `holds`.
        """
        self.asked.set()
        await asyncio.sleep(self.slowness)
        if self.answer.startswith("2"):
            content = envelope.content if isinstance(envelope.content, bytes) else b""
            message = email.message_from_bytes(content, policy=email.policy.default)
            with self._arrived:
                self.envelopes.append(envelope)
                self.messages.append(message)
                self.encrypted.append(session.ssl is not None)
                self._arrived.notify_all()
        self.held.set()
        while self.holds:  # noqa: ASYNC110 — released from another thread
            await asyncio.sleep(0.01)
        return self.answer


@contextmanager
def smtp(starttls: ssl.SSLContext | None = None) -> Iterator[Mailbox]:
    """Run a mail server on loopback; `answer = "451 …"` on what it gives makes it refuse.

    With `starttls` it takes nothing before the line is encrypted.
    """
    mailbox = Mailbox()
    required = starttls is not None
    controller = Controller(
        mailbox, hostname="127.0.0.1", port=mailbox.port, tls_context=starttls, require_starttls=required
    )
    controller.start()
    try:
        yield mailbox
    finally:
        controller.stop()


# Programs


def chromium() -> dict[str, Any]:
    """Return how Playwright launches the machine's Chromium: `playwright.chromium.launch(**chromium())`. Raises `Missing`."""
    own = Path.home().glob(".cache/ms-playwright/chromium-*/chrome-linux*/chrome")
    program = next((path for path in ("/usr/bin/chromium", *map(str, own)) if os.access(path, os.X_OK)), None)
    if program is None:
        raise Missing("Chromium is not available (Debian package chromium)")
    # Chromium's sandbox refuses to be run by root.
    as_root = ["--no-sandbox"] if os.geteuid() == 0 else []
    return {"executable_path": program, "args": [*CHROMIUM_ARGUMENTS, *as_root]}


def faketime() -> str:
    """Return the program that runs another at another date: `faketime "+548 days" command`. Raises `Missing`."""
    program = shutil.which("faketime")
    if program is None:
        raise Missing("faketime is not available (Debian package faketime)")
    return program
