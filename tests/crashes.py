"""Kills the running product at random points, starts it again, and names what may not be: `campaign`.

The program, its database, its storage and the mail server are real. A run draws a kind and an instant from a seed,
which is named beside each fault.
"""

import contextlib
import http.client
import io
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path

import make
import servers

from mespieces import config, models, runtime
from mespieces.domain import checkpoints, documents, exports, journal, retention, sessions, verifications
from mespieces.gateways import keys
from mespieces.models import Document, Member
from mespieces.verifier.__main__ import main as verify_export

PROGRAM = [sys.executable, "-c", "from mespieces.cli import main; main()"]
PATIENCE = 30.0  # seconds for the product to start, or to do what it has to do

CUT = (OSError, http.client.HTTPException)
"""What a client meets when the server dies under it."""


# The product, running


class Product:
    """One installation on its own database and folder; its server can be killed and started again."""

    def __init__(self, folder: Path, database_url: str, **named: str) -> None:
        self.folder, self.storage = folder, folder / "storage"
        self.environment = {"MESPIECES_DATA": str(folder), "MESPIECES_DATABASE_URL": database_url}
        self.environment |= {f"MESPIECES_{name.upper()}": value for name, value in named.items()}
        self.prefix: list[str] = []
        settings = config.read(self.environment)
        (folder / "keys").mkdir()
        for path in (settings.master_key_file, settings.secret_key_file, settings.journal_key_file):
            keys.create(path)
        opened = runtime.open_runtime(settings)
        self.gateways, self._database = opened.gateways, opened.database
        self._database.connect()
        journal.open_log(self.gateways)
        self.port = 0
        self.process: subprocess.Popen[bytes] | None = None

    def run(self, *arguments: str) -> subprocess.Popen[bytes]:
        """Start a command of the product, in a process group of its own; its words go to `log`."""
        with (self.folder / "log").open("ab") as log:
            return subprocess.Popen(
                [*self.prefix, *PROGRAM, *arguments],
                env=self.surroundings(),
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def surroundings(self) -> dict[str, str]:
        """Return the environment of the product's programs, without what only tests know."""
        bare = {name: value for name, value in os.environ.items() if not name.startswith("MESPIECES_")}
        return bare | self.environment | {"PYTHONPATH": str(Path(__file__).parents[1])}

    def start(self) -> float:
        """Start the server and return how many seconds it took to be ready. Raises `TimeoutError`."""
        self.port, began = servers.free_port(), time.monotonic()
        self.process = self.run("serve", "--port", str(self.port))
        while time.monotonic() - began < PATIENCE and self.process.poll() is None:
            with contextlib.suppress(*CUT):
                if self.ask("GET", "/readyz")[0] == 200:
                    return time.monotonic() - began
            time.sleep(0.03)
        raise TimeoutError((self.folder / "log").read_text()[-4000:])

    def database_bytes(self) -> bytes:
        """Return the raw bytes of the database's files, nothing when it is a server."""
        path = Path(self.environment["MESPIECES_DATABASE_URL"].removeprefix("sqlite:///"))
        files = [one for one in path.parent.glob(f"{path.name}*") if one.is_file()]
        # Another process reads: closing a file here would drop the locks that SQLite holds on it in this one.
        return subprocess.run(["cat", *files], capture_output=True, check=True).stdout if files else b""

    def kill(self) -> None:
        """Kill the server and all its children at once, as a power cut does to processes."""
        if self.process is not None:
            kill_group(self.process)
            self.process = None

    def close(self) -> None:
        """Kill what runs, and hang up."""
        self.kill()
        self.hang_up()

    def hang_up(self) -> None:
        """Leave the database to the server alone."""
        self._database.close()
        if hasattr(self._database, "close_all"):
            self._database.close_all()

    def ask(
        self, method: str, at: str, body: object = None, headers: dict[str, str] | None = None
    ) -> tuple[int, http.client.HTTPMessage, bytes]:
        """Ask the server and return status, headers and body. Raises `CUT`."""
        with closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE)) as connection:
            connection.request(method, at, body, headers or {})
            answer = connection.getresponse()
            return answer.status, answer.headers, answer.read()

    def browser(self, cookie: str, page: str) -> dict[str, str]:
        """Return the headers of a browser with that cookie, which has read `page` and may send its form."""
        status, headers, text = self.ask("GET", page, headers={"Cookie": cookie})
        token = re.search(rb'name="csrf[-_]token" (?:content|value)="([^"]+)"', text)
        assert token, (status, text[:500])
        return {"Cookie": f"{cookie}; {headers['Set-Cookie'].split(';')[0]}", "X-CSRFToken": token[1].decode()}

    def clerk(self, who: Member, page: str) -> dict[str, str]:
        """Return the headers of a member's browser that has read `page`."""
        return self.browser(f"etude={self.session(who)}", page)

    def session(self, who: Member) -> str:
        """Return the token of a fresh session of a member."""
        with models.write():
            return sessions.start(self.gateways.clock.now(), way="password+totp", member=who)


def kill_group(process: subprocess.Popen[bytes]) -> None:
    """Kill a process and the children that share its group, and return once all are gone."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    until(lambda: not _living(process.pid))


def _living(group: int) -> bool:
    """Tell whether a process of the group still runs; a zombie does not."""
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, found = path.read_text().rpartition(")")[2].split()[:3]
            if int(found) == group and state != "Z":
                return True
    return False


def until(reached: Callable[[], bool], seconds: float = PATIENCE) -> bool:
    """Wait until something is so, and tell whether it became so in time."""
    end = time.monotonic() + seconds
    while not (found := reached()) and time.monotonic() < end:
        time.sleep(0.002)
    return found


@contextmanager
def product(database_url: str, **named: str) -> Iterator[Product]:
    """Install the product on a prepared database, in a folder of its own, with settings named without their prefix."""
    with tempfile.TemporaryDirectory(prefix="mespieces-", ignore_cleanup_errors=True) as folder:
        opened = Product(Path(folder), database_url, **named)
        try:
            yield opened
        finally:
            opened.close()


# One attempt


@dataclass
class Attempt:
    """Something a person does, and what must hold of it wherever it was cut."""

    act: Callable[[], object]
    faults: Callable[[bool], Iterator[str]]
    begun: bool = False
    done: bool = False
    seconds: float = 0

    def run(self, wait: float = 0) -> None:
        """Do it after a while, unless the server dies first."""
        time.sleep(wait)
        self.begun, began = True, time.monotonic()
        with contextlib.suppress(*CUT):
            self.done = bool(self.act())
        self.seconds = time.monotonic() - began


@dataclass
class Campaign:
    """What many runs found."""

    faults: list[str] = field(default_factory=list)
    stages: dict[str, Counter[str]] = field(default_factory=dict)
    starts: list[float] = field(default_factory=list)


def run(
    product: Product, mailbox: servers.Mailbox, kinds: dict[str, Callable[..., Attempt]], runs: int, seed: str
) -> Campaign:
    """Cut each kind in turn, `runs` times in all, and return what was found.

    Each kind is first done undisturbed: instants are drawn from how long it took, corrected as the campaign goes.
    """
    found, who = Campaign(stages={kind: Counter() for kind in kinds}), make.member(product.gateways)
    seconds: dict[str, float] = {}
    product.start()
    for number in range(-len(kinds), runs):
        kind = list(kinds)[number % len(kinds)]
        drawn, stage = random.Random(f"{seed}/{number}") if number >= 0 else None, "undisturbed"
        attempt = kinds[kind](product, mailbox, who, drawn)
        if drawn is None:
            attempt.run()
            found.faults += [] if attempt.done else [f"{kind} undisturbed was not done"]
        else:
            stage = _cut(product, attempt, seconds[kind], drawn)
            found.stages[kind][stage] += 1
            found.starts.append(product.start())
        seconds[kind] = attempt.seconds if attempt.done else seconds.get(kind, 0) * 1.1
        faults = [*attempt.faults(attempt.done), *_faults(product)]
        found.faults += [f"{kind}, seed {seed}/{number}, {stage}: {fault}" for fault in faults]
    product.kill()
    return found


def _cut(product: Product, attempt: Attempt, seconds: float, drawn: random.Random) -> str:
    """Kill the product at an instant from a little before the attempt to a little after, and tell which it was."""
    acting = threading.Thread(target=attempt.run, args=(seconds * 0.1,))
    acting.start()
    time.sleep(drawn.uniform(0, 1.3 * seconds))
    begun = attempt.begun
    product.kill()
    acting.join()
    return "after" if attempt.done else "inside" if begun else "before"


def _faults(product: Product) -> Iterator[str]:
    """Name what may not be, whatever was cut: journal, documents, storage."""
    gateways = product.gateways
    if not until(lambda: not _previews_wait()):
        yield "previews are not drawn"
    yield from (f"journal: {finding}" for finding in verifications.verify(gateways).findings)
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()) as words:
        exports.write(gateways, Path(folder), by=journal.OPERATOR)
        if verify_export([folder, "--vkey", checkpoints.vkey(gateways)]):
            yield f"the export does not verify: {words.getvalue()}"
    living = list(Document.select().where(Document.deleted_at.is_null()))
    for document in living:
        with documents.open_file(gateways, document) as plaintext:
            if gateways.vault.fingerprint(plaintext) != document.fingerprint:
                yield f"document {document.id} is not what was deposited"
    retention.sweep_orphans(gateways, older_than=timedelta())
    expected = {documents.folder(document.id) for document in living}
    stored = {path.relative_to(product.storage).as_posix() for path in product.storage.glob("[!.]*/*")}
    left = [
        *product.storage.glob(".incoming/*"),
        *(path for path in product.storage.glob("[!.]*") if not any(path.iterdir())),
    ]
    if stored != expected or left:
        yield f"the storage holds {stored - expected} and {left} too many, {expected - stored} too few"


def _previews_wait() -> bool:
    waiting = Document.previews_at.is_null() & Document.wrapped_key.is_null(False)
    return bool(Document.select().where(waiting, Document.previews_tries < documents.PREVIEW_TRIES).exists())
