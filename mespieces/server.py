"""The web server of the one-command default: one process, many threads, and the queue's threads beside them."""

import contextlib
import ctypes
import errno
import logging
import os
import signal
import socket
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from gunicorn.app.base import BaseApplication
from gunicorn.arbiter import Arbiter
from gunicorn.errors import AppImportError
from gunicorn.http.errors import LimitRequestHeaders, LimitRequestLine
from gunicorn.util import write_nonblock
from gunicorn.workers.gthread import ThreadWorker

from mespieces.errors import Refusal, Unavailable

log = logging.getLogger("mespieces.web")

THREADS = 32
FINISH_WITHIN = 30
"""Seconds that requests under way have to end once the server is told to stop."""
SILENCE = 300
"""Seconds after which a process that no longer turns is replaced; a long request is never cut by it."""


class AddressTaken(Unavailable):
    """Another program listens there already."""

    message = "Le port {port} de {host} est déjà pris par un autre programme : arrêtez-le, ou choisissez un autre port."


class AddressUnusable(Unavailable):
    """The system does not let us listen there."""

    message = "Impossible d’écouter sur {host}, port {port} ({reason})."


@dataclass(frozen=True, slots=True)
class Service:
    """What one process serves, and how to stop what it started beside."""

    application: Callable[..., Any]
    stop: Callable[[], object]


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens there. Raises `AddressTaken`, `AddressUnusable`."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server((str(address[0]), port), family=family, backlog=512)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise AddressTaken(host=host, port=port) from error
        # The message of create_server repeats the address; the system's own words are enough.
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
        raise AddressUnusable(host=host, port=port, reason=reason) from error


def run(listening: socket.socket, start: Callable[[], Service], *, threads: int = THREADS) -> None:
    """Serve on `listening` until SIGTERM or SIGINT, requests under way finished first, then leave with `SystemExit`.

    `start` is called in the serving process, after the fork: what it opens (database, queue) is that process's own.
    A `Refusal` it raises is told, and the program leaves with 1.
    """
    _Server(listening, start, threads).run()


class _Threads(ThreadWorker):
    """Says in French what it refuses before the application hears of it: an address or headers without end."""

    def handle_error(self, req: Any, client: Any, addr: Any, exc: Exception) -> None:
        refused = next((told for kind, told in _REFUSED.items() if isinstance(exc, kind)), None)
        if refused is None:
            super().handle_error(req, client, addr, exc)
            return
        log.info("refused", extra={"facts": {"status": int(refused[0][:3])}})
        with contextlib.suppress(OSError):
            write_nonblock(client, _page(*refused))


def _page(status: str, sentence: str) -> bytes:
    body = (
        f'<!doctype html><html lang="fr"><meta charset="utf-8"><title>Demande refusée</title><h1>Demande refusée</h1>'
        f'<p>{sentence}</p><p><a href="/">Revenir à l’accueil</a></p></html>'
    ).encode()
    head = (
        f"HTTP/1.1 {status}\r\nConnection: close\r\nContent-Type: text/html; charset=utf-8\r\n"
        f"Content-Security-Policy: default-src 'none'\r\nContent-Length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


_REFUSED: dict[type[Exception], tuple[str, str]] = {
    LimitRequestHeaders: (
        "431 Request Header Fields Too Large",
        "Votre navigateur a envoyé des en-têtes trop longs. Effacez les cookies de ce site dans les réglages de votre "
        "navigateur, puis recommencez.",
    ),
    LimitRequestLine: ("414 URI Too Long", "Cette adresse est trop longue : repartez de l’accueil."),
}


class _Arbiter(Arbiter):
    """Stops as gently on Ctrl-C as on SIGTERM; a second Ctrl-C hurries it."""

    def handle_int(self) -> None:
        raise StopIteration

    def halt(self, reason: str | None = None, exit_status: int = 0) -> None:
        super().halt(reason, min(exit_status, 1))


class _Server(BaseApplication):
    def __init__(self, listening: socket.socket, start: Callable[[], Service], threads: int) -> None:
        self._descriptor = listening.detach()
        self._start = start
        self._threads = threads
        self._service: Service | None = None
        super().__init__()

    def load_config(self) -> None:
        """Set everything by hand: neither the command line nor GUNICORN_CMD_ARGS has a say."""
        shared_memory = "/dev/shm"  # noqa: S108 — the heartbeat's file: a busy disk must not look like a stuck process
        settings = {
            "bind": f"fd://{self._descriptor}",
            "worker_class": _Threads,
            "workers": 1,
            "threads": self._threads,
            "preload_app": False,
            "umask": 0o077,
            "timeout": SILENCE,  # heartbeats come from the thread that accepts, whatever requests take
            "graceful_timeout": FINISH_WITHIN,
            "keepalive": 5,
            "limit_request_line": 4094,
            "limit_request_fields": 64,
            "limit_request_field_size": 8190,
            "forwarded_allow_ips": "",  # proxies are the application's affair: MESPIECES_TRUSTED_PROXIES
            "accesslog": None,  # the application logs its requests, without what people typed
            "loglevel": "critical",  # of the master, which would repeat in its words what the other process told
            "control_socket_disable": True,
            "worker_tmp_dir": shared_memory if os.access(shared_memory, os.W_OK) else None,
            "proc_name": "mespieces",
            "post_fork": lambda _arbiter, worker: worker.log.error_log.setLevel(logging.ERROR),
            "post_worker_init": _leave_interrupts_to_the_master,
            "worker_exit": lambda _arbiter, _worker: self._stop(),
        }
        for name, value in settings.items():
            self.cfg.set(name, value)

    def load(self) -> Callable[..., Any]:
        """Start the service in the serving process."""
        _return_memory()
        try:
            self._service = self._start()
        except Refusal as error:
            raise AppImportError(str(error)) from error  # told on stderr, without a traceback
        return self._service.application

    def run(self) -> None:
        _Arbiter(self).run()

    def _stop(self) -> None:
        if self._service:
            self._service.stop()


def _leave_interrupts_to_the_master(_worker: object) -> None:
    # A terminal sends Ctrl-C to every process: only the master decides, so that requests under way are finished.
    signal.signal(signal.SIGINT, signal.SIG_IGN)


def _return_memory() -> None:
    """Have glibc give large blocks back to the system, and its threads share a few arenas.

    Each of many threads would else keep for ever the most it once needed: half a gigabyte after a burst of strangers.
    """
    with contextlib.suppress(AttributeError, OSError):  # another C library has neither the habit nor the cure
        mallopt = ctypes.CDLL(None).mallopt
        mallopt(_M_MMAP_THRESHOLD, 1 << 20)
        mallopt(_M_ARENA_MAX, 2)


_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8  # malloc.h
