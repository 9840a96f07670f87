"""Speed as ratios against a limit measured in the same run: `make bench`."""

import hashlib
import os
import sqlite3
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from flask import Flask

from mespieces import app, config, migrations, models, runtime
from mespieces.domain import checkpoints, journal
from mespieces.gateways import keys, streaming

RECORDS = 2_000
SEAL = 256 << 20


def seconds(act: Callable[[], object]) -> float:
    """Return the best of three runs."""
    best = float("inf")
    for _ in range(3):
        started = time.perf_counter()
        act()
        best = min(best, time.perf_counter() - started)
    return best


def told(name: str, ratio: float, detail: str) -> None:
    """Print one line of the result."""
    print(f"{name:<42} {ratio:6.2f}   {detail}")  # noqa: T201 — a bench speaks


def open_product(folder: Path) -> runtime.Runtime:
    """Open a product of its own on SQLite."""
    settings = config.read({"MESPIECES_DATA": str(folder)})
    (folder / "keys").mkdir()
    for path in (settings.master_key_file, settings.secret_key_file, settings.journal_key_file):
        keys.create(path)
    database = models.connect(settings.database_url)
    with database.connection_context():
        migrations.apply(database)
    opened = runtime.open_runtime(settings)
    journal.open_log(opened.gateways)
    return opened


def bench_append(opened: runtime.Runtime, folder: Path) -> None:
    """Appending, against bare commits of the same bytes with the same durability."""

    def append() -> None:
        for _ in range(RECORDS // 4):
            with models.write():
                journal.append(opened.gateways, "journal.read", author=journal.OPERATOR)

    header = os.urandom(430)
    bare = sqlite3.connect(folder / "bare.db", isolation_level=None)
    bare.execute("PRAGMA journal_mode=wal")
    bare.execute("PRAGMA synchronous=full")
    bare.execute("CREATE TABLE record (header BLOB, hash TEXT, proof BLOB, trace BLOB)")

    def commit() -> None:
        for _ in range(RECORDS // 4):
            bare.execute("BEGIN IMMEDIATE")
            bare.execute("INSERT INTO record VALUES (?, ?, ?, ?)", (header, "0" * 64, header[:200], header[:60]))
            bare.execute("COMMIT")

    limit, ours = seconds(commit), seconds(append)
    rate = RECORDS / 4 / ours
    told("append / bare commit", limit / ours, f"{rate:.0f} records/s, {RECORDS / 4 / limit:.0f} commits/s")
    bare.close()


def bench_verify(opened: runtime.Runtime) -> None:
    """Verifying the whole chain, against SHA-256 of as many bytes."""
    size = checkpoints.head().size
    taken = seconds(lambda: checkpoints.verify(opened.gateways))
    told("verify (records/s / 50 000)", size / taken / 50_000, f"{size / taken:.0f} records/s")


def bench_seal() -> None:
    """Sealing a document while hashing it, against SHA-256 alone."""
    piece = os.urandom(1 << 20)

    class Nowhere:
        def write(self, data: bytes) -> int:
            return len(data)

    def digest() -> None:
        found = hashlib.sha256()
        for _ in range(SEAL >> 20):
            found.update(piece)

    def seal() -> None:
        writer, found = streaming.Writer(Nowhere(), b"k" * 32, b"bench"), hashlib.sha256()
        for _ in range(SEAL >> 20):
            writer.write(piece)
            found.update(piece)
        writer.finish()

    limit, ours = seconds(digest), seconds(seal)
    told("seal and hash / SHA-256 alone", limit / ours, f"{SEAL / ours / 1e6:.0f} MB/s, {SEAL / limit / 1e6:.0f} MB/s")


def bench_views(opened: runtime.Runtime) -> None:
    """A page, against an empty Flask view."""
    empty = Flask("empty")
    empty.add_url_rule("/", view_func=lambda: "")
    for path in ("/", "/audit"):
        ours, bare = app.create(opened).test_client(), empty.test_client()
        limit = seconds(lambda bare=bare: [bare.get("/") for _ in range(100)])
        taken = seconds(lambda ours=ours, path=path: [ours.get(path) for _ in range(100)])
        told(f"empty view / {path}", limit / taken, f"{taken * 10:.2f} ms, {limit * 10:.2f} ms")


def main() -> None:
    """Run every bench."""
    told("what / limit", 1.0, "higher is better, 1 is the limit itself")
    bench_seal()
    with tempfile.TemporaryDirectory() as name:
        opened = open_product(Path(name))
        bench_append(opened, Path(name))
        bench_verify(opened)
        bench_views(opened)
        opened.database.close()


if __name__ == "__main__":
    main()
