"""The journal's speed: appending, and what must not depend on its length."""

import os
import re
import resource
import sqlite3
import subprocess
import sys
from datetime import UTC, datetime
from pathlib import Path

import long_journal
from measure import in_turns, told

from mespieces import app, models, runtime
from mespieces.domain import activity, checkpoints, exports, journal, receipts, verifications
from mespieces.models import JournalCheckpoint

SHORT, LONG = 1_000, int(os.environ.get("MESPIECES_BENCH_RECORDS", "1000000"))
BATCH, ROUNDS = 50, 40
WANTED = 50_000  # records verified a second, on one core
OUR_TABLES = ("journal_log", "journal_record", "journal_payload")


def bench_append(opened: runtime.Runtime, folder: Path) -> None:
    """Appending, against bare commits of the same bytes with the same durability (SQLite).

    The rows are those that appending wrote, put again in the same tables with the same keys, without triggers and
    references, after as many others; or all in one row of one table without any key.
    """

    def append(count: int = BATCH) -> None:
        for _ in range(count):
            with models.write():
                journal.append(opened.gateways, "document.consulted", author=journal.OPERATOR, detail={"mode": "page"})

    append(2 * BATCH * ROUNDS)
    bare, written = _bare(folder), _written()
    before, after = written[: -BATCH * ROUNDS], written[-BATCH * ROUNDS :]
    rows, again = iter(after), iter(after)

    def put(record: tuple[object, ...], proof: tuple[object, ...], trace: tuple[object, ...]) -> None:
        bare.execute("INSERT INTO journal_record VALUES (?, ?, ?, ?, ?, ?, ?)", record)
        bare.execute("INSERT INTO journal_payload VALUES (?, ?, ?, ?, ?, ?, ?), (?, ?, ?, ?, ?, ?, ?)", proof + trace)
        moved = (record[1], record[3], record[5], record[0])
        bare.execute("UPDATE journal_log SET size = ?, head = ?, time = ? WHERE log = ?", moved)

    def same_rows() -> None:
        for _ in range(BATCH):
            row = next(rows)
            bare.execute("BEGIN IMMEDIATE")
            put(*row)
            bare.execute("COMMIT")

    def one_row() -> None:
        for _ in range(BATCH):
            record, proof, trace = next(again)
            bare.execute("BEGIN IMMEDIATE")
            bare.execute("INSERT INTO one VALUES (?, ?, ?, ?, ?)", (*record[6:], *proof[3:5], *trace[3:5]))
            bare.execute("COMMIT")

    bare.execute("BEGIN IMMEDIATE")
    for row in before:
        put(*row)
    bare.execute("COMMIT")
    took = in_turns({"ours": append, "rows": same_rows, "row": one_row}, ROUNDS)
    speed = {name: f"{BATCH / spent:.0f}" for name, spent in took.items()}
    told(
        "append / bare commit, same rows and keys",
        took["rows"] / took["ours"],
        f"{speed['ours']} and {speed['rows']} a second",
    )
    told("append / bare commit, one row, no key", took["row"] / took["ours"], f"{speed['row']} a second")
    bare.close()


def bench_lengths(open_product: object, folder: Path) -> None:
    """What a journal of a thousand records and one of a million cost: nothing but a full verification may differ."""
    found = {}
    for size in (SHORT, LONG):
        place = folder / str(size)
        place.mkdir()
        opened = open_product(place)  # type: ignore[operator]
        long_journal.lengthen(size, ends=datetime.now(UTC))
        found[size] = _costs(opened) | _verified(opened, place)
        opened.database.close()
    for name in ("append", "checkpoint", "receipt", "/audit"):
        short, long = found[SHORT][name], found[LONG][name]
        told(f"{name}: {SHORT} records / {LONG} records", short / long, f"{short * 1000:.2f} ms, {long * 1000:.2f} ms")
    for name in ("verify the tables", "mespieces-verify"):
        speed = found[LONG][name]
        told(
            f"{name} (records/s / {WANTED})", speed / WANTED, f"{speed:.0f} records/s of processor time, {LONG} records"
        )
    short, long = found[SHORT]["memory"], found[LONG]["memory"]
    told(
        "mespieces-verify, peak memory", short / long, f"{short:.0f} MiB for {SHORT} records, {long:.0f} MiB for {LONG}"
    )


def _bare(folder: Path) -> sqlite3.Connection:
    """Open a database as durable as the product's with its journal's tables, bound to nothing."""
    bare = sqlite3.connect(folder / "bare.db", isolation_level=None)
    for pragma in ("journal_mode=wal", "synchronous=full", "secure_delete=1"):
        bare.execute(f"PRAGMA {pragma}")
    marks = ", ".join("?" * len(OUR_TABLES))
    query = f"SELECT sql FROM sqlite_master WHERE tbl_name IN ({marks}) AND type <> 'trigger' AND sql IS NOT NULL"  # noqa: S608 — question marks
    for (statement,) in models.database.execute_sql(query, OUR_TABLES).fetchall():
        bare.execute(statement)
    bare.execute("CREATE TABLE one (header BLOB, proof_salt BLOB, proof BLOB, trace_salt BLOB, trace BLOB)")
    head = models.database.execute_sql("SELECT * FROM journal_log").fetchone()
    bare.execute(f"INSERT INTO journal_log VALUES ({', '.join('?' * len(head))})", head)  # noqa: S608 — as above
    return bare


def _written() -> list[tuple[tuple[object, ...], ...]]:
    """Return what appending wrote: for each record its row, and those of its two groups."""
    records = models.database.execute_sql("SELECT * FROM journal_record ORDER BY sequence").fetchall()
    payloads = models.database.execute_sql(
        "SELECT * FROM journal_payload ORDER BY sequence, payload_group = 'trace'"
    ).fetchall()
    return list(zip(records, payloads[::2], payloads[1::2], strict=True))


def _costs(opened: runtime.Runtime) -> dict[str, float]:
    name, client = journal.head().log, app.create(opened).test_client()

    def append() -> None:
        with models.write():
            journal.append(opened.gateways, "document.consulted", author=journal.OPERATOR)

    def checkpoint() -> None:
        append()
        checkpoints.publish(opened.gateways)

    activity.keep_up()
    checkpoints.publish(opened.gateways)
    early = JournalCheckpoint.select().order_by(JournalCheckpoint.size.desc()).first().size // 2
    acts = {
        "append": append,
        "checkpoint": checkpoint,
        "receipt": lambda: receipts.of(opened.gateways, [(name, early)]),
        "/audit": lambda: client.get("/audit"),
    }
    return in_turns(acts, ROUNDS)


def _verified(opened: runtime.Runtime, folder: Path) -> dict[str, float]:
    size = journal.head().size
    before = _processor(resource.RUSAGE_SELF)
    assert verifications.verify(opened.gateways).findings == ()
    tables = _processor(resource.RUSAGE_SELF) - before
    exports.write(opened.gateways, folder / "export", by=journal.OPERATOR)
    key, before = checkpoints.vkey(opened.gateways), _processor(resource.RUSAGE_CHILDREN)
    given = [str(folder / "export"), "--vkey", key, "--json"]
    done = subprocess.run([sys.executable, "-c", _PROGRAM, *given], capture_output=True, text=True, check=True)
    program = _processor(resource.RUSAGE_CHILDREN) - before
    return {
        "verify the tables": size / tables,
        "mespieces-verify": size / program,
        "memory": int(re.findall(r"[0-9]+", done.stderr)[-1]) / 1024,
    }


_PROGRAM = """
import sys
from mespieces.verifier.__main__ import main
status = main()
with open("/proc/self/status") as told:  # not ru_maxrss, which begins with that of who started the program
    print(*(line for line in told if line.startswith("VmHWM")), file=sys.stderr)
sys.exit(status)
"""


def _processor(who: int) -> float:
    used = resource.getrusage(who)
    return used.ru_utime + used.ru_stime
