"""The processes: `serve`, `worker`, `demo`, and what `wsgi.py` and `tasks.py` hand to other servers."""

import logging
from pathlib import Path
from typing import Any

import click

from mespieces import demo as story
from mespieces import server
from mespieces.cli import console
from mespieces.config import Settings
from mespieces.domain import continuity

log = logging.getLogger(__name__)

HOST, PORT = "127.0.0.1", 8080


@click.command()
@click.option("--host", default=HOST, show_default=True, metavar="ADRESSE", help="Où écouter.")
@click.option("--port", default=PORT, show_default=True, type=click.IntRange(1, 65535), help="Sur quel port.")
@click.option("--threads", default=server.THREADS, show_default=True, type=click.IntRange(2, 512), help="Fils.")
@click.option("--no-worker", is_flag=True, help="Sans le travail de fond, fait ailleurs par « mespieces worker ».")
def serve(host: str, port: int, threads: int, *, no_worker: bool) -> None:
    """Sert le site jusqu’à SIGTERM ou Ctrl-C ; les demandes en cours sont d’abord finies."""
    settings = console.settings()
    console.log_to_stderr()
    listening = server.listen(host, port)
    server.run(listening, lambda: start(settings, work=not no_worker), threads=threads)


@click.command()
def worker() -> None:
    """Fait le travail de fond jusqu’à SIGTERM ou Ctrl-C."""
    from mespieces.worker import Worker

    console.log_to_stderr()
    Worker(console.open_runtime(check_journal=False)).run()


@click.command()
@click.option("--data", default="./demo-data", show_default=True, type=click.Path(path_type=Path), help="Dossier.")
@click.option("--port", default=PORT, show_default=True, type=click.IntRange(1, 65535), help="Port.")
@click.option("--host", default=HOST, show_default=True, metavar="ADRESSE", help="Où écouter.")
@click.option("--codes", is_flag=True, help="Affiche les codes du moment d’une démonstration, et rend la main.")
def demo(data: Path, port: int, host: str, *, codes: bool) -> None:
    """Essaie le produit avec des données de démonstration ; relancée, reprend ce qui est là."""
    if codes:
        click.echo(story.codes_now(data.resolve()))
        return
    settings = story.settings(data.resolve(), port)
    listening = server.listen(host, port)
    console.log_to_stderr(logging.WARNING)

    def begin() -> server.Service:
        click.echo(story.tell(story.set_up(settings)))
        return start(settings, work=True)

    server.run(listening, begin)


def start(settings: Settings, *, work: bool) -> server.Service:
    """Open the product in this process and return its web application, the queue's threads beside it if `work`."""
    application, _, bell = _assemble(settings)
    consumer = bell.start() if work else None
    return server.Service(application, lambda: consumer and consumer.stop(graceful=True))


def application() -> Any:
    """Return the web application, its bell connected to the queue: for any WSGI server."""
    return _assemble()[0]


def queue() -> Any:
    """Return the queue, its work registered: for `huey_consumer`."""
    return _assemble()[1]


def _assemble(settings: Settings | None = None) -> tuple[Any, Any, Any]:
    """Open the product and put its parts together; over a restored database it serves what needs no journal, in words."""
    from mespieces import app
    from mespieces.worker import Worker

    runtime = console.open_runtime(settings, check_journal=False)
    with console.connected(runtime.database):
        if wrong := continuity.watch(runtime.gateways):
            log.error("%s", wrong)
    bell = Worker(runtime)
    return app.create(runtime), bell.huey, bell
