"""The queue: a bell and a clock. Work to do is rows; a task drains them and may run twice. Alone to import huey."""

import logging
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import timedelta

from huey import Huey, PostgresHuey, SqliteHuey, crontab
from huey.consumer import Consumer

from mespieces import models
from mespieces.domain import (
    activity,
    anchors,
    checkpoints,
    consultations,
    continuity,
    documents,
    drafts,
    heads,
    invitations,
    journal,
    notices,
    offers,
    office_exports,
    outbox,
    purges,
    retention,
    throttle,
    verifications,
)
from mespieces.runtime import Runtime

log = logging.getLogger(__name__)

EVERY_MINUTE = ("expiry", "mail", "previews", "journal", "anchors", "heads", "exports", "verification")
LONG = frozenset({"exports", "verification"})
"""Work of minutes: whoever finds it under way leaves it to who does it, and goes on with what others wait for."""
THREADS = len(LONG) + 1  # one is always left for what somebody waits for
LONGEST_POLL = 1.0  # seconds: somebody waits for the code that an idle queue is asked to send
FINISH_WITHIN = 20  # seconds, less than the web server's: a mail handed over and not remembered would leave twice
VERIFY_EVERY = timedelta(hours=1)


class EmbeddedConsumer(Consumer):
    """A consumer inside the web process: signals stay the web server's."""

    def _set_signal_handlers(self) -> None:
        pass


class Worker:
    """The queue bound to a runtime: rings its tasks, and runs them when started."""

    def __init__(self, runtime: Runtime) -> None:
        self._runtime = runtime
        self.huey = open_queue(runtime.settings.queue_url)
        self._work: dict[str, Callable[[], object]] = {
            "mail": lambda: outbox.drain(runtime.gateways, notices.compose),
            "previews": lambda: documents.draw_pending(runtime.gateways),
            "expiry": self._expire,
            "journal": self._publish,
            "anchors": lambda: anchors.keep_up(runtime.gateways),
            "heads": lambda: heads.mail(runtime.gateways),
            "exports": lambda: office_exports.prepare(runtime.gateways),
            "verification": self._verify,
            "sweep": self._sweep,
        }
        self._under_way = {work: threading.Lock() for work in self._work}
        self._register()
        runtime.gateways.bell.answer_with(self._ring)

    def start(self) -> "EmbeddedConsumer":
        """Start threads that do the work, inside this process, and return what `stop`s them."""
        consumer = EmbeddedConsumer(
            self.huey, workers=THREADS, periodic=True, check_worker_health=False, max_delay=LONGEST_POLL,
            shutdown_timeout=FINISH_WITHIN,
        )  # fmt: skip
        consumer.start()
        for work in EVERY_MINUTE:  # what waited while nobody worked
            self._ring(work)
        return consumer

    def run(self) -> None:
        """Do the work in this process until it is told to stop; tasks under way are finished first."""
        Consumer(self.huey, workers=THREADS, periodic=True, max_delay=LONGEST_POLL, graceful_signal="TERM").run()

    def do(self, work: str) -> None:
        """Do one kind of work now, on a connection of its own, once at a time in this process.

        Nothing is done over a database put back from a backup: its mails left long ago, and what it knows no row of
        would be taken for rubbish.
        """
        # Not the queue's own lock, which outlives a killed process: rows are claimed, so doing a thing twice is harmless.
        if not self._under_way[work].acquire(blocking=work not in LONG):
            return
        try:
            with self._runtime.database.connection_context():
                wrong = continuity.watch(self._runtime.gateways)
                if wrong is None:
                    # Told where it was found: what must be signed waits until the operator has mended it.
                    with suppress(checkpoints.TreeAltered):
                        self._work[work]()
                elif work == "journal":  # once a minute is enough
                    log.error("%s", wrong)
        finally:
            self._under_way[work].release()

    def _try(self, work: str) -> None:
        """Do one kind of work; a disk that deletes nothing keeps no mail from leaving."""
        try:
            self.do(work)
        except Exception:
            log.exception("%s was not done; it is tried again in a minute", work)

    def _ring(self, work: str) -> None:
        try:
            self._task(work)
        except Exception:
            log.exception("the bell for %s was lost; the periodic task will find its rows", work)

    def _register(self) -> None:
        @self.huey.task(name="work")  # type: ignore[untyped-decorator]
        def work(name: str) -> None:
            self.do(name)

        self._task = work

        @self.huey.periodic_task(crontab(minute="*"), name="every-minute")  # type: ignore[untyped-decorator]
        def every_minute() -> None:
            for name in EVERY_MINUTE:
                self._try(name)

        @self.huey.periodic_task(crontab(minute="17"), name="every-hour")  # type: ignore[untyped-decorator]
        def every_hour() -> None:
            self.do("sweep")

    def _expire(self) -> None:
        retention.beat(self._runtime.gateways)
        try:
            gone = retention.expire(self._runtime.gateways)
        except retention.ClockJumped as error:
            log.warning("%s", error)
            return
        if gone:
            log.info("%d deposits ended", len(gone))

    def _publish(self) -> None:
        activity.keep_up()
        continuity.keep(self._runtime.gateways, checkpoints.publish(self._runtime.gateways))

    def _verify(self) -> None:
        last = verifications.last()
        due = last is None or self._runtime.gateways.clock.now() - last.at >= VERIFY_EVERY
        if due and journal.head().size:
            result = verifications.verify(self._runtime.gateways, gently=True)
            if result.findings:
                log.error("the journal does not verify: %s; %s", result.counts, ", ".join(result.findings[:20]))

    def _sweep(self) -> None:
        consultations.sweep(self._runtime.gateways)
        outbox.sweep(self._runtime.gateways)
        invitations.sweep(self._runtime.gateways)
        office_exports.sweep(self._runtime.gateways)
        retention.sweep(self._runtime.gateways)
        retention.forget(self._runtime.gateways)
        drafts.drop_old(self._runtime.gateways)
        offers.tell(self._runtime.gateways)
        purges.run(self._runtime.gateways)
        retention.erase(self._runtime.gateways)
        retention.sweep_orphans(self._runtime.gateways)
        with models.write():
            throttle.sweep(self._runtime.gateways.clock.now())


def open_queue(url: str) -> Huey:
    """Return the queue at `url`: `sqlite:///path` or `postgresql://…`; `config.read` refuses any other."""
    if url.startswith("sqlite:///"):
        return SqliteHuey("mespieces", filename=url.removeprefix("sqlite:///"), results=False)
    if url.startswith(("postgresql://", "postgres://")):
        return PostgresHuey("mespieces", dsn=url, results=False)
    raise ValueError(url)
