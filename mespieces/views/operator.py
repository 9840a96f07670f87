"""For the operator's machines: whether the process is alive, and whether it can serve."""

from datetime import timedelta

from flask import Blueprint, Response

from mespieces.domain import clockwork, journal
from mespieces.errors import Unavailable
from mespieces.views import current

bp = Blueprint("operator", __name__)

SILENCE = timedelta(minutes=5)  # the worker beats every minute


@bp.get("/healthz")
def alive() -> Response:
    """The process answers."""
    return Response("ok\n", mimetype="text/plain")


@bp.get("/readyz")
def ready() -> Response:
    """Database and storage answer, the journal is open, and the worker was seen lately. Raises `Unavailable`."""
    gateways = current.gateways()
    journal.head()
    gateways.vault.check()
    seen = clockwork.last_beat()
    if seen is None or gateways.clock.now() - seen > SILENCE:
        raise WorkerSilent
    return Response("ok\n", mimetype="text/plain")


class WorkerSilent(Unavailable):
    """No worker was seen lately: nothing is sent, stamped or deleted."""

    message = "Le travail de fond n’a pas donné signe de vie depuis cinq minutes."
