"""For auditors and everyone: the journal's head, its checkpoints, its last verification. No personal data."""

from flask import Blueprint, Response, jsonify, render_template

from mespieces.domain import anchors, checkpoints, clockwork
from mespieces.errors import NotFound
from mespieces.verifier import note
from mespieces.views import current

bp = Blueprint("auditor", __name__, url_prefix="/audit")


@bp.get("")
def show() -> str:
    """The audit page."""
    return render_template(
        "audit/show.html",
        head=checkpoints.head(),
        time=clockwork.last_record(),
        verified=checkpoints.last_verification(),
        recent=checkpoints.recent(),
        dated=anchors.situation(current.gateways()),
        vkey=checkpoints.vkey(current.gateways()),
    )


@bp.get("/head")
def head() -> Response:
    """The head, for programs."""
    found = checkpoints.head()
    return jsonify(log=found.log, size=found.size, head=found.head, root=found.root, time=found.time)


@bp.get("/checkpoint")
def checkpoint() -> Response:
    """The newest checkpoint kept, a signed note."""
    return _note(checkpoints.newest())


@bp.get("/checkpoint/<int:size>")
def earlier(size: int) -> Response:
    """An earlier checkpoint; its bytes never change."""
    return _note(checkpoints.kept(size))


@bp.get("/timestamps/<int:size>.<int:number>.tsr")
def timestamp(size: int, number: int) -> Response:
    """A third party's token over a checkpoint's note; its bytes never change."""
    found = anchors.kept(size, number)
    if found is None:
        raise NotFound
    response = Response(bytes(found.der), mimetype="application/timestamp-reply")
    response.headers["Content-Disposition"] = f'attachment; filename="{size}.{number}.tsr"'
    return response


def _note(found: object) -> Response:
    if found is None:
        raise NotFound
    signed = bytes(found.note)  # type: ignore[attr-defined]
    response = Response(signed, mimetype="text/plain")
    size = note.parse_checkpoint(note.split(signed)[0]).size
    response.headers["Content-Disposition"] = f'inline; filename="{size}.note"'
    return response
