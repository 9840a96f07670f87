"""For the operator's machines: whether the process is alive, and whether it can serve."""

import time
from datetime import timedelta
from weakref import WeakKeyDictionary

from flask import Blueprint, Response

from mespieces.domain import clockwork, journal
from mespieces.errors import Unavailable
from mespieces.gateways.vault import Vault
from mespieces.views import current

bp = Blueprint("operator", __name__)

SILENCE = timedelta(minutes=5)  # the worker beats every minute
FRESH = 10  # seconds: checking the storage writes to the disk, and this page is open to strangers
_stored_at: WeakKeyDictionary[Vault, float] = WeakKeyDictionary()


@bp.get("/healthz")
def alive() -> Response:
    """The process answers."""
    return Response("ok\n", mimetype="text/plain")


@bp.get("/readyz")
def ready() -> Response:
    """Database and storage answer, the journal takes records, and the worker was seen lately. Raises `Unavailable`."""
    gateways = current.gateways()
    if journal.suspended():
        raise journal.JournalSuspended
    _check_storage(gateways.vault)
    seen = clockwork.last_beat()
    if seen is None or gateways.clock.now() - seen > SILENCE:
        raise WorkerSilent
    return Response("ok\n", mimetype="text/plain")


class WorkerSilent(Unavailable):
    """No worker was seen lately: nothing is sent, stamped or deleted."""

    message = "Le travail de fond n’a pas donné signe de vie depuis cinq minutes."


def _check_storage(vault: Vault) -> None:
    """Make sure that documents can be taken, as found less than `FRESH` ago. Raises `StorageUnavailable`."""
    now = time.monotonic()
    if now - _stored_at.get(vault, float("-inf")) >= FRESH:
        vault.check()
        _stored_at[vault] = now
