"""What every test may ask for, and the account of what could not run."""

import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TypeVar

import hypothesis
import make
import pytest
import servers

from mespieces import config, migrations, models, runtime
from mespieces.config import Settings
from mespieces.domain import journal, passwords
from mespieces.gateways import Gateways, keys, preview
from mespieces.gateways.clock import ManualClock

T = TypeVar("T")

CORPUS = Path(__file__).parents[2] / "shared" / "corpus"

# Machines of unequal speed run these: only what is wrong may fail, not what is slow.
hypothesis.settings.register_profile(
    "mespieces", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.register_profile(
    "thorough", hypothesis.settings.get_profile("mespieces"), max_examples=2_000, stateful_step_count=200
)
hypothesis.settings.load_profile(os.environ.get("TESTS_PROFILE", "mespieces"))


def prepare(url: str) -> None:
    """Bring the empty database at `url` to the product's present tables."""
    database = models.connect(url)
    with database.connection_context():
        migrations.apply(database)
    hang_up(database)


def hang_up(database: Any) -> None:
    """Close the thread's connection, and those that a pool keeps."""
    if not database.is_closed():
        database.close()
    if hasattr(database, "close_all"):
        database.close_all()


# A database


DATABASES = ["sqlite", "postgresql"]


@pytest.fixture(params=DATABASES)
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """Give an empty, prepared database of its own to a test, which runs on SQLite and on PostgreSQL."""
    with fresh_database(request, tmp_path) as url:
        yield url


@contextmanager
def fresh_database(request: pytest.FixtureRequest, folder: Path) -> Iterator[str]:
    """Give an empty, prepared database of the kind that the fixture's parameter names."""
    if request.param == "sqlite":
        shutil.copyfile(request.getfixturevalue("prepared_sqlite"), folder / "test.db")
        yield f"sqlite:///{folder / 'test.db'}"
        return
    prepared = request.getfixturevalue("prepared_postgresql")
    url = servers.create_database(prepared.rpartition("/")[0], like=prepared)
    yield url
    servers.drop_database(url)


@pytest.fixture(scope="session")
def prepared_sqlite(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Prepare once the file that each test copies."""
    path = tmp_path_factory.mktemp("prepared") / "prepared.db"
    path.touch()
    prepare(f"sqlite:///{path}")
    return path


@pytest.fixture(scope="session")
def prepared_postgresql() -> str:
    """Prepare once the database that each test copies."""
    url = servers.create_database(_or_skip(servers.shared_postgresql))
    prepare(url)
    return url


# The product


@pytest.fixture
def settings(database_url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Give the settings of a product of its own: empty prepared database, storage and mail in memory, fresh keys."""
    spare_the_processor(monkeypatch)
    return settings_of(database_url, tmp_path)


def spare_the_processor(patched: pytest.MonkeyPatch) -> None:
    """Do once, or cheaply, what would take most of the run's time and is tested on its own.

    Secrets are stretched by the same function with little memory, and a document that was met is not parsed again.
    """
    patched.setattr(passwords, "_MEMORY_KIB", 32)
    patched.setattr(passwords, "_NOBODY", passwords.stretch("nobody"))
    patched.setattr(preview, "inspect", make.inspected)


def settings_of(database_url: str, folder: Path) -> Settings:
    """Return the settings of a product in a folder and on a database of its own, with fresh keys."""
    settings = config.read(
        {
            "MESPIECES_DATA": str(folder),
            "MESPIECES_DATABASE_URL": database_url,
            "MESPIECES_STORAGE_URL": "memory:",
            "MESPIECES_MAIL_URL": "memory:",
            "MESPIECES_PUBLIC_URL": "https://pieces.example.fr",
        }
    )
    (folder / "keys").mkdir()
    for path in (settings.master_key_file, settings.secret_key_file, settings.journal_key_file):
        keys.create(path)
    return settings


@pytest.fixture
def gateways(settings: Settings) -> Iterator[Gateways]:
    """Open the product on a bound database, its journal open, its clock stopped at `make.NOW`."""
    with product(settings) as opened:
        yield opened


@contextmanager
def product(settings: Settings) -> Iterator[Gateways]:
    """Open the product on a bound database, its journal open, its clock stopped at `make.NOW`, until the end."""
    opened = runtime.open_runtime(settings, clock=ManualClock(make.NOW), check_tables=False)
    opened.database.connect()
    try:
        journal.open_log(opened.gateways)
        yield opened.gateways
    finally:
        hang_up(opened.database)


# Servers, programs, documents


@pytest.fixture
def mailbox() -> Iterator[servers.Mailbox]:
    """Run a mail server and show what it is sent."""
    with servers.smtp() as mailbox:
        yield mailbox


@pytest.fixture(scope="session")
def chromium() -> dict[str, Any]:
    """Tell how to launch Chromium."""
    return _or_skip(servers.chromium)


@pytest.fixture(scope="session")
def faketime() -> str:
    """Tell which program moves the date."""
    return _or_skip(servers.faketime)


@pytest.fixture(scope="session")
def corpus() -> Path:
    """Tell where the real documents are, which are not ours to distribute."""
    folder = Path(os.environ.get("MESPIECES_CORPUS", CORPUS))
    if not folder.is_dir():
        pytest.skip("The corpus of real documents is not available (MESPIECES_CORPUS says where it is)")
    return folder


def _or_skip(find: Callable[[], T]) -> T:
    try:
        return find()
    except servers.Missing as missing:
        pytest.skip(str(missing))


# The run


def pytest_configure(config: pytest.Config) -> None:
    """Hold what the processes of this run share, in the first of them."""
    if not hasattr(config, "workerinput"):
        shared = ExitStack()
        shared.enter_context(servers.run_folder())
        config.add_cleanup(shared.close)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep browser tests for the end: Playwright leaves an event loop that other tests would trip over."""
    items.sort(key=lambda item: "browser" in item.path.parts)


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Count as a failure, under CI, what could not run."""
    if os.environ.get("CI") == "true" and _could_not_run(session.config) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Name what could not run."""
    for reason, count in _could_not_run(config).items():
        terminalreporter.write_line(f"Could not run: {reason}: {count} test{'s' * (count > 1)}", yellow=True)


def _could_not_run(config: pytest.Config) -> Counter[str]:
    """Count skipped tests by their reason."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    return Counter(report.longrepr[2].removeprefix("Skipped: ") for report in skipped)
