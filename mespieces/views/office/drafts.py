"""A draft, step by step: the case, its documents, its recipients, a last look, and *Déposer*."""

from urllib.parse import unquote
from uuid import UUID

from flask import flash, render_template, request
from werkzeug.wrappers import Response as BaseResponse

from mespieces.domain import (
    deposits,
    documents,
    drafts,
    recipients,
)
from mespieces.domain.documents import Arrival
from mespieces.errors import Invalid
from mespieces.models import Deposit
from mespieces.views import current, paging
from mespieces.views.htmx import FileIntoVault
from mespieces.views.office import door, filed

CHUNK = 256 * 1024
DOCUMENTS, RECIPIENTS = 12, 50  # a page of each list: the documents' forms weigh
REVIEWED = 30  # documents seen once more on one page


@door.bp.get("/depots/nouveau")
def new() -> str:
    """An empty case."""
    return render_template("deposits/case.html", deposit=None, typed={}, errors={}, step=1)


@door.bp.post("/depots/nouveau")
def create() -> BaseResponse | tuple[str, int]:
    """Open a draft."""
    member = current.member()
    try:
        case = deposits.read_case(request.form, today=door.today())
    except Invalid as error:
        return _case(None, error), 422
    deposit = deposits.open_draft(
        current.gateways(), case, office=member.office, by=current.author(), member=member,
        key=request.form.get("once", ""),
    )  # fmt: skip
    return door.to(".documents_step", deposit_id=deposit.id)


@door.bp.get("/depots/<uuid:deposit_id>/affaire")
def case_step(deposit_id: UUID) -> str:
    """Correct the case of a draft."""
    return _case(door.draft(deposit_id))


@door.bp.post("/depots/<uuid:deposit_id>/affaire")
def change_case(deposit_id: UUID) -> BaseResponse | tuple[str, int]:
    """Keep the corrected case."""
    deposit = door.draft(deposit_id)
    try:
        deposits.change(deposit.id, deposits.read_case(request.form, today=door.today()))
    except Invalid as error:
        return _case(deposit, error), 422
    return door.to(".documents_step", deposit_id=deposit.id)


@door.bp.get("/depots/<uuid:deposit_id>/pieces")
def documents_step(deposit_id: UUID) -> str:
    """The documents of a draft."""
    return _documents(door.draft(deposit_id))


@door.bp.post("/depots/<uuid:deposit_id>/pieces")
def add_documents(deposit_id: UUID) -> BaseResponse | tuple[str, int]:
    """Take one document as the body of the request, or several as a form; straight into the vault either way."""
    deposit = door.draft(deposit_id)
    if "X-Filename" in request.headers:
        _take_body(deposit)
        return _at_the_end(deposit)
    refused = _take_form(deposit)
    if refused:
        return _documents(deposit, errors={"files": " ".join(refused)}), 422
    return _at_the_end(deposit)


@door.bp.post("/depots/<uuid:deposit_id>/pieces/<uuid:document_id>")
def describe(deposit_id: UUID, document_id: UUID) -> BaseResponse | tuple[str, int]:
    """Keep the title, nature and date of a document, and its place."""
    deposit = door.draft(deposit_id)
    try:
        documents.describe(deposit.id, document_id, request.form, latest=door.today())
    except Invalid as error:
        return _documents(deposit, errors={f"{document_id}-{error.field}": str(error)}), 422
    return door.to(".documents_step", deposit_id=deposit.id, **paging.asked())


@door.bp.post("/depots/<uuid:deposit_id>/pieces/<uuid:document_id>/place")
def arrange(deposit_id: UUID, document_id: UUID) -> BaseResponse:
    """Move a document up or down."""
    deposit = door.find(deposit_id)
    position = request.form.get("position", 1, type=int)
    documents.arrange(deposit.id, document_id, position)
    page = min(max(1, -(-position // DOCUMENTS)), paging.LAST)
    return door.to(".documents_step", deposit_id=deposit.id, **({"page": page} if page > 1 else {}))


@door.bp.post("/depots/<uuid:deposit_id>/pieces/<uuid:document_id>/retirer")
def remove_document(deposit_id: UUID, document_id: UUID) -> BaseResponse:
    """Take a document out of a draft."""
    deposit = door.find(deposit_id)
    documents.remove(current.gateways(), deposit.id, document_id, by=current.author())
    return door.to(".documents_step", deposit_id=deposit.id, **paging.asked())


@door.bp.get("/depots/<uuid:deposit_id>/destinataires")
def recipients_step(deposit_id: UUID) -> str:
    """The recipients of a draft."""
    return recipients_page(door.draft(deposit_id))


@door.bp.post("/depots/<uuid:deposit_id>/destinataires")
def add_recipient(deposit_id: UUID) -> BaseResponse | tuple[str, int]:
    """Add a recipient, to a draft or to a filed deposit."""
    deposit = door.find(deposit_id)
    try:
        person = recipients.read(request.form)
        recipients.add(
            current.gateways(), deposit.id, person, by=current.author(), member=current.member(),
            key=request.form.get("once", ""),
        )  # fmt: skip
    except Invalid as error:
        page = filed.page_of if deposit.filed_at else recipients_page
        return page(deposit, typed=request.form, errors={error.field: str(error)}), 422
    if deposit.filed_at:
        flash("Le destinataire est ajouté : imprimez son feuillet d’accès.", "ok")
        return door.to(".show", deposit_id=deposit.id)
    last = -(-len(recipients.listed(deposit)) // RECIPIENTS)
    return door.to(".recipients_step", deposit_id=deposit.id, **({"page": last} if last > 1 else {}))


@door.bp.post("/depots/<uuid:deposit_id>/destinataires/<uuid:recipient_id>/retirer")
def remove_recipient(deposit_id: UUID, recipient_id: UUID) -> BaseResponse:
    """Take a recipient out of a draft."""
    deposit, recipient = door.recipient_of(deposit_id, recipient_id)
    recipients.remove(deposit.id, recipient.id)
    return door.to(".recipients_step", deposit_id=deposit.id, **paging.asked())


@door.bp.get("/depots/<uuid:deposit_id>/verification")
def review(deposit_id: UUID) -> str:
    """Everything once more, before filing."""
    return _review(door.draft(deposit_id))


@door.bp.post("/depots/<uuid:deposit_id>/deposer")
def file(deposit_id: UUID) -> BaseResponse | tuple[str, int]:
    """File the deposit: from here on it can only be consulted."""
    deposit = door.find(deposit_id)
    try:
        deposits.file(current.gateways(), deposit.id, by=current.author(), member=current.member())
    except Invalid as error:
        return _review(deposit, errors={error.field: str(error)}), 422
    return door.to(".show", deposit_id=deposit.id)


@door.bp.post("/depots/<uuid:deposit_id>/abandonner")
def drop(deposit_id: UUID) -> BaseResponse:
    """Give a draft up: its documents and their bytes go, the journal keeps that it was there."""
    drafts.drop(current.gateways(), door.find(deposit_id).id, by=current.author())
    flash("Le brouillon est supprimé, avec ses pièces.", "ok")
    return door.to(".list_deposits")


def _at_the_end(deposit: Deposit) -> BaseResponse:
    """Lead to the page of the list that the newest documents are on."""
    page = -(-len(documents.listed(deposit)) // DOCUMENTS)
    return door.to(".documents_step", deposit_id=deposit.id, **({"page": page} if page > 1 else {}))


def _take_body(deposit: Deposit) -> None:
    """Seal the request's body as it arrives."""
    with Arrival(current.gateways()) as arrival:
        while chunk := request.stream.read(CHUNK):
            arrival.write(chunk)
        if request.content_length not in {None, arrival.size}:
            raise documents.UploadCut  # a PDF cut after an earlier %%EOF would pass for another version of it
        documents.add(
            current.gateways(), deposit.id, arrival, unquote(request.headers["X-Filename"]),
            by=current.author(), member=current.member(),
        )  # fmt: skip


def _take_form(deposit: Deposit) -> list[str]:
    """Take the files of a form, which its parser has sealed while it read; return a sentence for each refused."""
    refused: list[str] = []
    chosen = False
    for sent in request.files.getlist("files"):
        into = sent.stream
        if not isinstance(into, FileIntoVault) or (not sent.filename and not into.arrival.size):
            continue
        chosen = True
        try:
            documents.add(
                current.gateways(), deposit.id, into.arrival, sent.filename or "",
                by=current.author(), member=current.member(),
            )  # fmt: skip
        except documents.REFUSALS as error:
            refused.append(f"{sent.filename} : {error}")
    return refused if chosen else ["Choisissez au moins un fichier."]


def _case(deposit: Deposit | None, error: Invalid | None = None) -> str:
    typed = request.form if error else (deposit.__data__ if deposit else {})
    errors = {error.field: str(error)} if error else {}
    return render_template("deposits/case.html", deposit=deposit, typed=typed, errors=errors, step=1)


def _documents(deposit: Deposit, errors: dict[str, str] | None = None) -> str:
    return render_template(
        "deposits/_documents.html" if current.asked().htmx else "deposits/documents.html",
        deposit=deposit, documents=paging.cut(documents.listed(deposit), DOCUMENTS), errors=errors or {}, step=2,
        limit=current.gateways().settings.max_document_bytes,
    )  # fmt: skip


def recipients_page(deposit: Deposit, typed: object = None, errors: dict[str, str] | None = None) -> str:
    """Show the recipients of a draft, whole or as the fragment htmx asked for."""
    return render_template(
        "deposits/_recipients.html" if current.asked().htmx else "deposits/recipients.html",
        deposit=deposit, recipients=paging.cut(recipients.listed(deposit), RECIPIENTS), typed=typed or {}, errors=errors or {}, step=3,
    )  # fmt: skip


def _review(deposit: Deposit, errors: dict[str, str] | None = None) -> str:
    return render_template(
        "deposits/review.html", deposit=deposit, documents=paging.cut(documents.listed(deposit), REVIEWED),
        recipients=recipients.listed(deposit), errors=errors or {}, step=4,
        until=deposits.end_if_filed(deposit, current.gateways().clock.now()),
    )  # fmt: skip
