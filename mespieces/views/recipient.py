"""For recipients: the list of documents, reading them page by page, downloading one or all, leaving."""

import io
import zipfile
from collections.abc import Iterator
from functools import partial

from flask import Blueprint, Response, g, redirect, render_template, request, url_for
from werkzeug.wrappers import Response as BaseResponse

from mespieces.domain import attestations, codes, consultations, documents, journal, opened, receipts, sessions
from mespieces.domain.consultations import Reading
from mespieces.errors import Refused
from mespieces.models import Deposit, Document
from mespieces.views import current, lasting, paging, streams

bp = Blueprint("recipient", __name__)

LISTED = 50  # documents of the bordereau on one page
SHEET = 20  # pages of a document shown under one another


class Prefetched(Refused):
    """A browser asks ahead of its user: that is no consultation, and nothing is served."""

    message = "Cette page ne se charge pas d’avance."


def guard() -> None:
    """Let in only who is identified, and never a browser asking ahead of its user."""
    session = current.session()
    if "prefetch" in request.headers.get("Sec-Purpose", "") or request.headers.get("Purpose") == "prefetch":
        raise Prefetched
    if request.endpoint != "recipient.session_left":  # asking how long is left is no use of the session
        sessions.touch(current.gateways(), session)


@bp.context_processor
def everywhere() -> dict[str, object]:
    """What every page of somebody identified shows, a refusal too."""
    session = g.get("session")
    return {"lasting": lasting.shown(session)} if session else {}


@bp.get("/session")
def session_left() -> dict[str, float]:
    """How long the session still lasts; being asked renews nothing."""
    return lasting.told(current.session())


@bp.post("/session")
def go_on() -> dict[str, float]:
    """Renew the session, as any page does, without leaving the one that is read."""
    return lasting.told(current.session())


@bp.get("/pieces", endpoint="documents")
def list_documents() -> str:
    """The bordereau: every document, its nature, date, pages and fingerprint."""
    deposit = _deposit()
    listed = documents.listed(deposit)
    return render_template(
        "recipient/list.html", documents=listed, shown=paging.cut(listed, LISTED), **_context(deposit)
    )


@bp.get("/pieces/<int:number>")
def read(number: int) -> str:
    """A document, page by page. Its pages' images open the consultation, not this page around them."""
    deposit = _deposit()
    document = consultations.check_before_showing(current.gateways(), current.session(), number, current.trace())
    first = max(1, request.args.get("page", 1, type=int)) - 1
    start = min(first, document.pages - 1) // SHEET * SHEET
    shown = range(start + 1, min(start + SHEET, document.pages) + 1)
    return render_template(
        "recipient/read.html",
        document=document,
        shown=shown,
        following=_following(deposit, number),
        **_context(deposit),
    )


@bp.get("/pieces/<int:number>/texte")
def words(number: int) -> BaseResponse:
    """The text of a document alone, for who cannot see its pages."""
    if request.method == "HEAD":
        return Response()
    gateways, session, trace = current.gateways(), current.session(), current.trace()
    reading, found = consultations.words(gateways, session, number, trace)
    page = render_template(
        "recipient/text.html", document=reading.document, pages=found, **_context(_deposit())
    ).encode()
    return _served(reading, "text", iter([page]), streams.Part(0, len(page), len(page), partial=False), "text/html", {})


@bp.get("/pieces/<int:number>/pages/<int:page>.webp")
def image(number: int, page: int) -> BaseResponse:
    """One page as an image."""
    if request.method == "HEAD":
        return Response(mimetype="image/webp")
    reading, drawn = consultations.page(current.gateways(), current.session(), number, page, current.trace())
    part = streams.Part(0, len(drawn), len(drawn), partial=False)
    return _served(reading, "page", iter([drawn]), part, "image/webp", {})


@bp.get("/pieces/<int:number>/fichier")
def file(number: int) -> BaseResponse:
    """The document as it was deposited, byte for byte, whole or by range."""
    document = documents.numbered(_deposit(), number)
    headers = streams.described(document)
    if request.method == "HEAD":  # names the file, serves nothing, journals nothing
        head = Response(mimetype=document.media_type, headers=headers)
        head.headers["Content-Length"] = str(document.size)
        return head
    part = streams.wanted(request.range, request.headers.get("If-Range"), document.size, document.fingerprint)
    reading = consultations.open_document(
        current.gateways(), current.session(), number, "file", current.trace(), whole=not part.partial
    )
    chunks = reading.plaintext.chunks(part.start, part.stop)
    return _served(reading, "file", chunks, part, document.media_type, headers)


@bp.get("/pieces/liasse.zip")
def bundle() -> BaseResponse:
    """Every document in one archive, written while it leaves."""
    if request.method == "HEAD":
        return Response(mimetype="application/zip")
    gateways, session, trace = current.gateways(), current.session(), current.trace()
    deposit = _deposit()
    readings = consultations.open_all(gateways, session, trace)

    def finish(_sent: int, done: list[int]) -> None:
        for position, reading in enumerate(readings):
            consultations.finish(
                gateways, session, reading, "bundle", trace,
                whole=position < len(done), sent=done[position] if position < len(done) else 0,
            )  # fmt: skip

    def corrupted() -> None:
        consultations.corrupted_midway(gateways, session, readings[len(done)], trace)

    done: list[int] = []
    handing = streams.Handing(_zipped(readings, done), partial(finish, done=done), corrupted)
    response = Response(handing, mimetype="application/zip", direct_passthrough=True)
    response.headers["Content-Disposition"] = streams.named(f"Pièces {deposit.order_number.replace('/', '-')}.zip")
    return response


@bp.get("/pieces/attestation.pdf")
def attestation() -> BaseResponse:
    """What this recipient consulted so far, to keep; each one is journaled with its fingerprint."""
    if request.method == "HEAD":
        return Response(mimetype="application/pdf")
    session = current.session()
    made = attestations.of_own_consultations(current.gateways(), session, current.trace())
    return streams.attestation(made, f"Attestation de consultation {codes.show(session.access.reference)}.pdf")


@bp.get("/pieces/recus")
def list_receipts() -> str:
    """What this recipient consulted, each with its receipt."""
    deposit, recipient = _deposit(), current.session().access.recipient
    listed = paging.cut(opened.of(recipient)[::-1], receipts.PAGE)
    return render_template(
        "recipient/receipts.html",
        shown=listed,
        records=receipts.of_openings(listed.rows),
        closed=[one.log for one in journal.closed()],
        configured=bool(current.gateways().authorities),
        **_context(deposit),
    )


@bp.get("/pieces/recus/<log>/<int:sequence>.json")
def give_receipt(log: str, sequence: int) -> BaseResponse:
    """The receipt of one of this recipient's own consultations."""
    _deposit()
    if request.method == "HEAD":
        return Response(mimetype="application/json")
    recipient = current.session().access.recipient
    return streams.receipt(receipts.of_recipient(current.gateways(), recipient, log, sequence))


@bp.post("/deconnexion")
def leave() -> BaseResponse:
    """End the session on the server."""
    sessions.end(current.gateways(), current.session())
    response: Response = redirect(url_for("public.home"), 303)  # type: ignore[assignment]
    return current.take(response, current.ACCESS)


def _deposit() -> Deposit:
    return consultations.readable(current.gateways(), current.session())


def _context(deposit: Deposit) -> dict[str, object]:
    session = current.session()
    return {
        "deposit": deposit,
        "office": deposit.office,
        "recipient": session.access.recipient,
    }


def _following(deposit: Deposit, number: int) -> Document | None:
    return next((document for document in documents.listed(deposit) if document.number == number + 1), None)


def _served(
    reading: Reading, mode: str, chunks: Iterator[bytes], part: streams.Part, media_type: str, headers: dict[str, str]
) -> BaseResponse:
    gateways, session, trace = current.gateways(), current.session(), current.trace()

    def finish(sent: int) -> None:
        if part.partial and not part.whole and sent == part.length:
            reading.close()  # a part of a consultation says nothing of how the whole ended
            return
        consultations.finish(gateways, session, reading, mode, trace, whole=sent == part.size, sent=sent)

    corrupted = partial(consultations.corrupted_midway, gateways, session, reading, trace)
    return streams.send(streams.Handing(chunks, finish, corrupted), part, media_type, headers)


def _zipped(readings: list[Reading], done: list[int]) -> Iterator[bytes]:
    """Write the archive piece by piece, stored as they are: documents hardly compress."""
    out = _Outgoing()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_STORED) as archive:
        for reading in readings:
            info = zipfile.ZipInfo(_archived(reading.document), date_time=(1980, 1, 1, 0, 0, 0))
            with archive.open(info, "w", force_zip64=reading.document.size > 2**31) as entry:
                for chunk in reading.plaintext.chunks():
                    entry.write(chunk)
                    yield out.taken()
            yield out.taken()
            done.append(reading.document.size)
        archive.writestr("Bordereau.txt", _bordereau([reading.document for reading in readings]))
    yield out.taken()


class _Outgoing(io.RawIOBase):
    """What an archive is written into: bytes wait here only until they are sent."""

    def __init__(self) -> None:
        self._waiting = bytearray()

    def writable(self) -> bool:
        return True

    def write(self, data: bytes) -> int:  # type: ignore[override]
        self._waiting += data
        return len(data)

    def taken(self) -> bytes:
        """Return what waits, and forget it."""
        waiting, self._waiting = bytes(self._waiting), bytearray()
        return waiting


def _archived(document: Document) -> str:
    return f"{document.number:02} {document.filename.replace('/', '-')}"


def _bordereau(listed: list[Document]) -> str:
    lines = [f"Pièce {d.number} : {d.title}\r\n  {_archived(d)}\r\n  SHA-256 {d.fingerprint}\r\n" for d in listed]
    return "\ufeffBordereau des documents justificatifs\r\n\r\n" + "\r\n".join(lines)
