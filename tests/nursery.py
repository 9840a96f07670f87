"""Processes that start at once with the product imported: each is forked from one that did it for the whole run.

Nothing of the tests is in them, no open database, no thread; what they print is what they give back.
"""

import contextlib
import io
import multiprocessing
from datetime import datetime
from multiprocessing.connection import Connection
from typing import Any

_SERVER = multiprocessing.get_context("forkserver")
# What is imported once; the interpreter of the tests is named by whoever starts a process, so their library as well.
_SERVER.set_forkserver_preload(["pytest", "psycopg", "mespieces.runtime", "mespieces.domain.members",
                                "mespieces.domain.withdrawals", "mespieces.domain.replacements"])  # fmt: skip
_PATIENCE = 120  # seconds

_BEGUN = """
from datetime import datetime
from uuid import UUID
from mespieces import config, models, runtime
from mespieces.domain import consultations, deposits, documents, identification, journal, members, notices, offices
from mespieces.domain import outbox, recipients, replacements, retention, sign_ins, withdrawals
from mespieces.gateways.clock import ManualClock
from mespieces.models import Deposit, Document, Office, Recipient
opened = runtime.open_runtime(config.read(environment), clock=ManualClock(now))
gateways = opened.gateways
opened.database.connect()
ready()
"""


def run(environment: dict[str, str], now: datetime, count: int, script: str, arguments: tuple[str, ...]) -> list[str]:
    """Run `script` in `count` processes once all are ready, and return what each printed.

    It is given the opened `gateways`, `arguments`, and its `place` among them, from 0. One that fails is a failure.
    """
    channels, started = [], []
    for place in range(count):
        ours, theirs = _SERVER.Pipe()
        facts = {"environment": environment, "now": now, "place": place, "arguments": arguments}
        process = _SERVER.Process(target=_live, args=(theirs, script, facts), daemon=True)
        process.start()
        theirs.close()
        channels.append(ours)
        started.append(process)
    try:
        for channel in channels:
            assert _given(channel) == "ready"
        for channel in channels:
            channel.send("go")
        printed = [_given(channel) for channel in channels]
        for process in started:
            process.join(_PATIENCE)
        assert [process.exitcode for process in started] == [0] * count
    finally:
        for channel, process in zip(channels, started, strict=True):
            channel.close()
            process.kill()
            process.join()
            process.close()
    return printed


def _given(channel: Connection) -> str:
    assert channel.poll(_PATIENCE)
    given: str = channel.recv()
    return given


def _live(channel: Connection, script: str, facts: dict[str, Any]) -> None:
    def ready() -> None:
        channel.send("ready")
        channel.recv()

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed):
        exec(_BEGUN + script, facts | {"ready": ready})  # noqa: S102 — a test's own words
    channel.send(printed.getvalue().strip())
