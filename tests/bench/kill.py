"""The product killed a few hundred times at random points, on both databases: `make crashes RUNS=200 SEED=…`."""

import sys
import tempfile
import time
from contextlib import ExitStack
from pathlib import Path

import attempts
import crashes
import readers
import servers
from conftest import prepare

KINDS = attempts.KINDS | {"downloads": readers.downloads}


def say(words: str) -> None:
    """Print one line of the result."""
    print(words, flush=True)  # noqa: T201 — a bench speaks


def main(runs: int, seed: str) -> int:
    """Run half of the campaign on each database and return how many faults it found."""
    faults = 0
    with ExitStack() as opened:
        folder = Path(opened.enter_context(tempfile.TemporaryDirectory()))
        server = opened.enter_context(servers.postgresql(durable=True))
        mailbox = opened.enter_context(servers.smtp())
        (folder / "test.db").touch()
        for name, url in (
            ("SQLite", f"sqlite:///{folder / 'test.db'}"),
            ("PostgreSQL", servers.create_database(server)),
        ):
            prepare(url)
            began = time.monotonic()
            with crashes.product(url, mail_url=mailbox.url) as product:
                found = crashes.run(product, mailbox, KINDS, runs // 2, f"{seed}/{name}")
            tell(name, found, time.monotonic() - began)
            faults += len(found.faults)
    return faults


def tell(name: str, found: crashes.Campaign, seconds: float) -> None:
    """Print what half of the campaign found."""
    say(f"{name}: {seconds:.0f} s, ready again after {sorted(found.starts)[len(found.starts) // 2]:.1f} s")
    for kind, stages in found.stages.items():
        say(
            f"  {kind:<10} {stages.total():4} runs: "
            + ", ".join(f"{stages[s]} {s}" for s in ("before", "inside", "after"))
        )
    for fault in found.faults:
        say(f"  FAULT {fault}")
    say(f"  {len(found.faults)} faults")


if __name__ == "__main__":
    sys.exit(1 if main(int(sys.argv[1]), sys.argv[2] if len(sys.argv) > 2 else str(time.time_ns())) else 0)
