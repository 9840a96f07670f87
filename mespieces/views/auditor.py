"""For auditors and everyone: the journal's head, its checkpoints, its last verification. No personal data."""

from flask import Blueprint, Response, jsonify, render_template, request

from mespieces.domain import anchors, authenticity, checkpoints, clockwork
from mespieces.errors import Invalid, NotFound
from mespieces.verifier import note
from mespieces.views import current

bp = Blueprint("auditor", __name__, url_prefix="/audit")
FORM = 64 * 1024  # bytes, beside the file


class Held:
    """A file that somebody gives to be compared with the journal: held in memory, never on a disk."""

    def __init__(self) -> None:
        self.data = bytearray()

    def write(self, data: bytes) -> None:
        """Take some bytes."""
        self.data += data

    def abort(self) -> None:
        """Forget them."""
        self.data.clear()


def guard() -> None:
    """Let one file in, where it is asked for, before the form is read."""
    if request.endpoint == "auditor.verify" and request.method == "POST":
        current.asked().max_content_length = authenticity.LARGEST + FORM
        current.asked().files_into = Held


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


@bp.get("/verifier")
def verification() -> str:
    """Ask for an attestation or a receipt."""
    return render_template("audit/verify.html", examined=None, errors={})


@bp.post("/verifier")
def verify() -> str | tuple[str, int]:
    """Say whether an attestation or a receipt is this journal's; nothing of it is kept."""
    given = request.files.get("receipt")
    data = bytes(given.stream.arrival.data) if given else b""  # type: ignore[attr-defined]
    try:
        examined = authenticity.examine(current.gateways(), data)
    except Invalid as error:
        return render_template("audit/verify.html", examined=None, errors={error.field: str(error)}), 422
    return render_template("audit/verify.html", examined=examined, errors={})


def _note(found: object) -> Response:
    if found is None:
        raise NotFound
    signed = bytes(found.note)  # type: ignore[attr-defined]
    response = Response(signed, mimetype="text/plain")
    size = note.parse_checkpoint(note.split(signed)[0]).size
    response.headers["Content-Disposition"] = f'inline; filename="{size}.note"'
    return response
