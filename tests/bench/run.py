"""Speed as ratios against a limit measured in the same run: `make bench`."""

import hashlib
import os
import random
import re
import statistics
import sys
import tempfile
import time
from pathlib import Path

import journals
import make
import servers
from flask import Flask
from measure import seconds, told

from mespieces import app, config, migrations, models, runtime
from mespieces.domain import codes, journal, members
from mespieces.gateways import keys, streaming

SEAL = 256 << 20
ATTEMPTS = 150  # of each kind
ALIKE = 0.10  # how far medians may lie apart


def open_product(folder: Path, url: str = "") -> runtime.Runtime:
    """Open a product of its own, on SQLite unless told otherwise."""
    settings = config.read({"MESPIECES_DATA": str(folder), "MESPIECES_DATABASE_URL": url})
    (folder / "keys").mkdir()
    for path in (settings.master_key_file, settings.secret_key_file, settings.journal_key_file):
        keys.create(path)
    database = models.connect(settings.database_url)
    with database.connection_context():
        migrations.apply(database)
    opened = runtime.open_runtime(settings)
    journal.open_log(opened.gateways)
    return opened


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


def bench_refusals(opened: runtime.Runtime) -> bool:
    """How long a stranger waits for a refusal: nothing may tell a reference that exists from one that does not.

    Returns whether the medians lie within 10 % of each other.

    Kinds are asked in turns, in random order; each attempt comes from a network of its own, unless it has to be delayed.
    """
    access, _ = make.issued(opened.gateways, make.first(make.filed(opened.gateways, blanks=1)))
    client = app.create(opened).test_client()
    token = re.search(r'name="csrf_token" value="([^"]+)"', client.get("/").text)[1]
    unknown = codes.draw_reference()
    kinds = {
        "unknown reference": (unknown, 422, None),
        "wrong secret": (access.reference, 422, None),
        "unknown reference, delayed": (unknown, 429, "192.0.2.7"),
        "wrong secret, delayed": (access.reference, 429, "198.51.100.7"),
    }

    def attempt(reference: str, address: str) -> tuple[float, int]:
        form = {"csrf_token": token, "reference": reference, "secret": codes.draw_secret()}
        started = time.perf_counter()
        status = client.post("/consulter", data=form, environ_base={"REMOTE_ADDR": address}).status_code
        return time.perf_counter() - started, status

    for reference, _, address in kinds.values():
        for _ in range(14):  # a quarter of an hour to wait, from now on
            attempt(reference, address or "203.0.113.7")
    taken: dict[str, list[float]] = {name: [] for name in kinds}
    for number in range(ATTEMPTS):
        for name in random.sample(list(kinds), len(kinds)):
            reference, status, address = kinds[name]
            spent, got = attempt(reference, address or f"10.{number}.{len(name)}.1")
            assert got == status, (name, got)
            taken[name].append(spent * 1000)
    reference_time = statistics.median(taken["unknown reference"])
    for name, times in taken.items():
        tenths = statistics.quantiles(times, n=10)
        detail = f"p10 {tenths[0]:.1f}, median {tenths[4]:.1f}, p90 {tenths[8]:.1f} ms"
        told(f"unknown reference / {name}", reference_time / tenths[4], detail)
    medians = [statistics.median(times) for times in taken.values()]
    alike = max(medians) <= min(medians) * (1 + ALIKE)
    told("refusals alike (medians within 10 %)", min(medians) / max(medians), "yes" if alike else "NO")
    return alike


def bench_members(opened: runtime.Runtime) -> bool:
    """How long a wrong password takes, of a member's address and of one that nobody has: as for recipients."""
    gateways = opened.gateways
    emails = {"member, unknown address": "inconnu@example.fr", "member, wrong password": make.member(gateways).email}
    taken: dict[str, list[float]] = {name: [] for name in emails}
    for number in range(ATTEMPTS):
        for name in random.sample(list(emails), len(emails)):
            trace = journal.Trace(f"10.{number}.{len(name)}.1", "")
            started = time.perf_counter()
            found = members.begin(gateways, emails[name], "mauvais", trace)
            taken[name].append((time.perf_counter() - started) * 1000)
            assert isinstance(found, members.Wrong), found
    unknown, wrong = (statistics.median(times) for times in taken.values())
    alike = max(unknown, wrong) <= min(unknown, wrong) * (1 + ALIKE)
    told(
        "unknown address / wrong password", unknown / wrong, f"median {wrong:.1f} ms, alike: {'yes' if alike else 'NO'}"
    )
    return alike


def main() -> None:
    """Run every bench."""
    told("what / limit", 1.0, "higher is better, 1 is the limit itself")
    bench_seal()
    with tempfile.TemporaryDirectory() as name:
        opened = open_product(Path(name))
        journals.bench_append(opened, Path(name))
        bench_views(opened)
        alike = bench_refusals(opened) & bench_members(opened)
        opened.database.close()
    with tempfile.TemporaryDirectory() as name:
        journals.bench_lengths(open_product, Path(name))
    with servers.postgresql(durable=True) as server, tempfile.TemporaryDirectory() as name:
        told("on PostgreSQL", 1.0, "")
        opened = open_product(Path(name), servers.create_database(server))
        alike &= bench_refusals(opened) & bench_members(opened)
        opened.database.close()
    if not alike:
        sys.exit("a stranger can tell by the clock which references or members exist")


if __name__ == "__main__":
    main()
