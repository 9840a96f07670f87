"""For auditors and everyone: the journal's head, its checkpoints, its last verification. No personal data."""

import io
import zipfile

from flask import Blueprint, Response, jsonify, render_template, request

from mespieces.domain import (
    activity,
    anchors,
    authenticity,
    checkpoints,
    clockwork,
    continuity,
    emblem,
    journal,
    receipts,
    verifications,
)
from mespieces.errors import Invalid, NotFound
from mespieces.verifier import record
from mespieces.views import chart, current, streams

bp = Blueprint("auditor", __name__, url_prefix="/audit")
FORM = 64 * 1024  # bytes, beside the file
NEWEST, PAGE = 5, 50  # checkpoints on the page, and on each page of all of them
LONGEST = 15  # digits of a size: beyond, no journal is so long, and all is shown
DAYS = 30  # of activity
FINDINGS = 5  # of one kind
SENT_AGAIN = 16 * 1024  # bytes of receipts that a page carries at most, to have them completed


class Held:
    """A file that somebody gives to be compared with the journal: held in memory, once, never on a disk."""

    def __init__(self) -> None:
        self._stream = io.BytesIO()

    def write(self, data: bytes) -> None:
        """Take some bytes."""
        self._stream.write(data)

    def given(self) -> bytes:
        """Return all that was taken: the very bytes held, for a `BytesIO` shares them until it is written again."""
        return self._stream.getvalue()

    def abort(self) -> None:
        """Forget them."""
        self._stream = io.BytesIO()


def guard() -> None:
    """Let one file in, where it is asked for, before the form is read. Raises `FileTooLarge`."""
    if request.endpoint in {"auditor.verify", "auditor.complete"} and request.method == "POST":
        current.asked().max_content_length = authenticity.LARGEST + FORM
        current.asked().files_into = Held
        if (request.content_length or 0) > authenticity.LARGEST + FORM:
            raise authenticity.FileTooLarge


def asked_by_program() -> bool:
    """Tell whether a program has a file verified: it bears no token of a form, and nothing it sends changes anything."""
    return request.endpoint == "auditor.verify" and current.program()


@bp.get("")
def show() -> str:
    """The audit page."""
    head = checkpoints.head(current.gateways())
    recent, verified = checkpoints.recent(head.log, NEWEST, most=head.size), verifications.last()
    return render_template(
        "audit/show.html",
        head=head,
        emblem=emblem.path(head.head),
        emblem_width=emblem.WIDTH,
        time=clockwork.last_record(),
        verified=verified,
        overdue=verified and verifications.overdue(verified, current.gateways().clock.now()),
        found=verifications.by_code(verified, FINDINGS) if verified else (),
        suspended=journal.suspended(),
        recent=recent,
        tokens=anchors.over(head.log, (one.size for one in recent)),
        dated=anchors.situation(current.gateways()),
        largest_drift=anchors.LARGEST_DRIFT,
        activity=chart.draw(activity.days(current.gateways().clock.now(), DAYS)),
        kinds=chart.KINDS,
        fewest=activity.FEWEST,
        continued=continuity.continued(head.log),
        losses=continuity.losses(),
        vkey=checkpoints.vkey(current.gateways()),
        errors={},
    )


@bp.get("/points-de-controle", defaults={"log": None})
@bp.get("/<journal:log>/points-de-controle")
def earlier_ones(log: str | None) -> str | tuple[str, int]:
    """Every checkpoint of a journal, newest first, page by page, or up to the size asked for."""
    row = journal.find(log) if log else journal.head()
    typed = "".join(request.args.get("taille", "").split())
    wrong = bool(typed) and not (typed.isascii() and typed.isdigit())
    digits = typed.lstrip("0") or typed[:1]
    most = int(digits) if digits and not wrong and len(digits) <= LONGEST else None
    rows = checkpoints.recent(row.log, PAGE + 1, most=most)
    page = render_template(
        "audit/checkpoints.html",
        journal=row,
        vkey=checkpoints.vkey_of(current.gateways(), row),
        closed=[one for one in journal.closed() if one.log != row.log],
        rows=rows[:PAGE],
        most=most,
        typed=request.args.get("taille", "") if wrong else most,
        errors={"taille": "Saisissez un nombre d’enregistrements, en chiffres."} if wrong else {},
        following=rows[PAGE].size if len(rows) > PAGE else None,
        tokens=anchors.over(row.log, (one.size for one in rows[:PAGE])),
    )
    return (page, 422) if wrong else page


@bp.get("/head")
def head() -> Response:
    """The head, for programs."""
    found = checkpoints.head(current.gateways())
    return jsonify(log=found.log, size=found.size, head=found.head, root=found.root, time=found.time)


@bp.get("/checkpoint")
def checkpoint() -> Response:
    """The newest checkpoint of the open journal, a signed note."""
    found = checkpoints.newest(current.gateways(), journal.head())
    if found is None:
        raise NotFound
    return _note(found.signed, found.checkpoint.size)


@bp.get("/<journal:log>/checkpoints/<int:size>.note")
def earlier(log: str, size: int) -> Response:
    """A checkpoint of a journal, open or closed; its bytes never change."""
    found = checkpoints.kept(log, size)
    if found is None:
        raise NotFound
    return _note(bytes(found.note), size)


@bp.get("/<journal:log>/timestamps/<int:size>.<int:number>.tsr")
def timestamp(log: str, size: int, number: int) -> Response:
    """A third party's token over a checkpoint's note; its bytes never change."""
    found = anchors.kept(log, size, number)
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
def verify() -> str | Response | tuple[str | Response, int]:
    """Say whether an attestation or a receipt is this journal's; nothing of it is kept."""
    try:
        examined = authenticity.examine(current.gateways(), _given()[0])
    except Invalid as error:
        if current.program():
            return jsonify(error=str(error)), 422
        return render_template("audit/verify.html", examined=None, errors={error.field: str(error)}), 422
    if current.program():
        return jsonify(_told(examined))
    return render_template(
        "audit/verify.html",
        examined=examined,
        errors={},
        losses=continuity.losses() if examined.changed or examined.state == "absent" else (),
        again=_again(examined),
        closed=[one.log for one in journal.closed()],
        dated=anchors.situation(current.gateways()),
    )


@bp.post("/completer")
def complete() -> Response | tuple[str, int]:
    """Give back, dated, the receipts that somebody holds provisional: one as it is, several in an archive."""
    try:
        made = authenticity.completed(current.gateways(), _given())
    except Invalid as error:
        return render_template("audit/verify.html", examined=None, errors={error.field: str(error)}), 422
    if len(made) == 1:
        return streams.receipt(made[0])
    return streams.kept(_archive(made), "application/zip", "Reçus datés.zip")


def _given() -> list[bytes]:
    """Return the file given, or the receipts that the page itself sends again."""
    given = request.files.get("receipt")
    if given:
        return [given.stream.arrival.given()]  # type: ignore[attr-defined]
    return [text.encode() for text in request.form.getlist("receipt")] or [b""]


def _again(examined: authenticity.Examined) -> list[str]:
    """Return the receipts that the page sends again to have them completed, for nothing given is kept; none when heavy."""
    held = [one.data for one in examined.receipts if one.completable]
    return [data.decode() for data in held] if sum(map(len, held)) <= SENT_AGAIN else []


def _archive(made: list[receipts.Receipt]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for one in made:
            archive.writestr(
                zipfile.ZipInfo(one.title, date_time=(1980, 1, 1, 0, 0, 0)), one.data, zipfile.ZIP_DEFLATED
            )
    return out.getvalue()


def _told(examined: authenticity.Examined) -> dict[str, object]:
    """Return what was found, as a program reads it; what is not proven is null."""
    issued = examined.issued
    return {
        "state": examined.state,
        "issued": issued and {"sequence": issued.sequence, "time": record.format_time(issued.time)},
        "receipts": [
            {
                "state": one.state,
                "log": one.log or None,
                "sequence": one.entry and one.entry.sequence,
                "operation": one.entry and one.entry.operation,
                "time": one.entry and record.format_time(one.entry.time),
                "hash": one.hash or None,
                "size": one.size or None,
                "fingerprint": one.fingerprint or None,
                "dated": one.dated and record.format_time(one.dated),
                "authority": one.authority or None,
            }
            for one in examined.receipts
        ],
    }


def _note(signed: bytes, size: int) -> Response:
    response = Response(signed, mimetype="text/plain")
    # To keep, not to read: the commands of the audit page take the file by this name.
    response.headers["Content-Disposition"] = f'attachment; filename="{size}.note"'
    return response
