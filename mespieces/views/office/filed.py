"""Deposits: their list, and each filed one with its recipients and its story."""

from uuid import UUID

from flask import Response, flash, render_template, request
from werkzeug.wrappers import Response as BaseResponse

from mespieces.domain import (
    accesses,
    announcements,
    codes,
    consultations,
    deposits,
    documents,
    enrolments,
    identification,
    journal,
    offers,
    one_time_codes,
    purges,
    recipients,
    replacements,
    sheets,
    significations,
    ways,
)
from mespieces.errors import Invalid, NotFound
from mespieces.models import Deposit, Recipient
from mespieces.views import current, paging, streams
from mespieces.views.office import door

PAGE = 20  # recipients, or documents, of a filed deposit on one page


@door.bp.get("/depots")
def list_deposits() -> str:
    """The office's deposits, searched and by state."""
    words, state = request.args.get("q", "")[:200], request.args.get("etat", "")
    page = min(max(1, request.args.get("page", 1, type=int)), 100_000)
    now = current.gateways().clock.now()
    listed, total = deposits.search(current.member().office, words, state, now, page=page)
    return render_template(
        "deposits/list.html", listed=listed, total=total, q=words, wanted=state, page=page,
        offered=offers.waiting(current.member().office), wanting=offers.wanting(line.deposit.id for line in listed), last=max(1, -(-total // deposits.PAGE)), state=lambda deposit: deposits.state(deposit, now),
    )  # fmt: skip


@door.bp.get("/depots/<uuid:deposit_id>")
def show(deposit_id: UUID) -> BaseResponse | str:
    """A deposit: its documents, its recipients, its story. A draft goes on where it is filled in."""
    deposit = door.find(deposit_id)
    if not deposit.filed_at:
        return door.to(".documents_step", deposit_id=deposit.id)
    return page_of(deposit)


@door.bp.post("/depots/<uuid:deposit_id>/destinataires/<uuid:recipient_id>/feuillet")
def print_sheet(deposit_id: UUID, recipient_id: UUID) -> BaseResponse | tuple[str, int]:
    """Draw a new secret and give the sheet to annex to the act."""
    deposit, recipient = door.recipient_of(deposit_id, recipient_id)
    try:
        sheet = sheets.issue(
            current.gateways(), recipient, by=current.author(), member=current.member(),
            motive=request.form.get("motive", ""), last=request.form.get("last", ""),
        )  # fmt: skip
    except accesses.MotiveNeeded as error:
        return person_page(deposit, recipient, errors={error.field: str(error)}), 422
    response = Response(sheet, mimetype="application/pdf")
    name = f"Feuillet {codes.show(accesses.of(recipient).reference)}.pdf"
    response.headers["Content-Disposition"] = streams.named(name, inline=True)
    return response


@door.bp.post("/depots/<uuid:deposit_id>/destinataires/<uuid:recipient_id>/application")
def print_enrolment(deposit_id: UUID, recipient_id: UUID) -> BaseResponse | tuple[str, int]:
    """Draw the key of an application and give the sheet for the second letter."""
    deposit, recipient = door.recipient_of(deposit_id, recipient_id)
    typed = request.form
    try:
        sheet = enrolments.issue(
            current.gateways(), recipient, typed.get("motive", ""), typed.get("last", ""),
            by=current.member(), trace=current.trace(),
        )  # fmt: skip
    except accesses.MotiveNeeded as error:
        return person_page(deposit, recipient, typed=typed, enrolment_error=str(error)), 422
    response = Response(sheet, mimetype="application/pdf")
    name = f"Application {codes.show(accesses.of(recipient).reference)}.pdf"
    response.headers["Content-Disposition"] = streams.named(name, inline=True)
    return response


@door.bp.post("/depots/<uuid:deposit_id>/feuillets")
def print_sheets(deposit_id: UUID) -> BaseResponse | tuple[str, int]:
    """Draw new secrets for all who have not come yet, or for everybody with a motive, and give their sheets in one PDF."""
    deposit, typed = door.find(deposit_id), request.form
    try:
        made = sheets.issue_all(
            current.gateways(), deposit, typed.get("last", ""), by=current.author(), member=current.member(),
            everyone="everyone" in typed, motive=typed.get("motive", ""),
        )  # fmt: skip
    except Invalid as error:
        return page_of(deposit, batch=typed, batch_error=str(error)), 422
    response = Response(made, mimetype="application/pdf")
    response.headers["Content-Disposition"] = streams.named(f"Feuillets {deposit.office_reference}.pdf", inline=True)
    return response


@door.bp.get("/depots/<uuid:deposit_id>/pieces/<uuid:document_id>/fichier")
def read_document(deposit_id: UUID, document_id: UUID) -> BaseResponse:
    """A document as it was deposited, for the office to check; journaled like any reading."""
    document = documents.find(door.find(deposit_id), document_id)
    if request.method == "HEAD" or "prefetch" in request.headers.get("Sec-Purpose", ""):
        return Response(mimetype=document.media_type)
    plaintext = consultations.read_by_member(current.gateways(), document, by=current.author())
    part = streams.Part(0, document.size, document.size, partial=False)
    handing = streams.Handing(plaintext.chunks(), lambda _sent: plaintext.close())
    return streams.send(handing, part, document.media_type, streams.described(document))


@door.bp.get("/depots/<uuid:deposit_id>/destinataires/<uuid:recipient_id>")
def person(deposit_id: UUID, recipient_id: UUID) -> str:
    """One recipient: access, significations, and the code to tell by phone."""
    return person_page(*door.recipient_of(deposit_id, recipient_id))


@door.bp.post("/depots/<uuid:deposit_id>/destinataires/<uuid:recipient_id>/signification")
def record_signification(deposit_id: UUID, recipient_id: UUID) -> BaseResponse | tuple[str, int]:
    """Record when the act was served."""
    deposit, recipient = door.recipient_of(deposit_id, recipient_id)
    try:
        significations.record(
            current.gateways(), recipient.id, request.form, by=current.author(), member=current.member()
        )
    except Invalid as error:
        return person_page(deposit, recipient, typed=request.form, errors={error.field: str(error)}), 422
    flash("La signification est enregistrée.", "ok")
    return door.to(".show", deposit_id=deposit.id)


@door.bp.post("/depots/<uuid:deposit_id>/destinataires/<uuid:recipient_id>/canal")
def reset_way(deposit_id: UUID, recipient_id: UUID) -> BaseResponse | tuple[str, int]:
    """Change how a recipient receives codes: a mistyped address, a lost telephone."""
    deposit, recipient = door.recipient_of(deposit_id, recipient_id)
    typed = request.form
    try:
        ways.reset(
            current.gateways(), recipient, typed.get("email", ""), typed.get("motive", ""), typed.get("way", ""),
            by=current.member(), trace=current.trace(),
        )  # fmt: skip
    except Invalid as error:
        return person_page(deposit, recipient, typed=typed, way_errors={error.field: str(error)}), 422
    flash("La façon de recevoir le code est changée. Les sessions ouvertes sont terminées.", "ok")
    return door.to(".person", deposit_id=deposit.id, recipient_id=recipient.id)


@door.bp.post("/depots/<uuid:deposit_id>/destinataires/<uuid:recipient_id>/code")
def tell_code(deposit_id: UUID, recipient_id: UUID) -> str | tuple[str, int]:
    """Show a code to tell the recipient, by phone or at the counter."""
    deposit, recipient = door.recipient_of(deposit_id, recipient_id)
    try:
        told = one_time_codes.tell(
            current.gateways(), recipient, request.form.get("reason", ""), by=current.member(), trace=current.trace()
        )
    except Invalid as error:
        return person_page(deposit, recipient, typed=request.form, errors={error.field: str(error)}), 422
    return person_page(deposit, recipient, told=f"{told[:4]} {told[4:]}")


def page_of(deposit: Deposit, typed: object = None, errors: dict[str, str] | None = None, **context: object) -> str:
    """Show a filed deposit."""
    now, everybody = current.gateways().clock.now(), recipients.listed(deposit)
    printable = accesses.every(deposit)
    return render_template(
        "deposits/show.html", deposit=deposit, every=printable, last_printed=accesses.last_printed(printable), state=deposits.state(deposit, now),
        documents=paging.cut(documents.listed(deposit), PAGE, "pieces"), people=everybody,
        recipients=paging.cut(everybody, PAGE, "destinataires"),
        accesses=accesses.by_deposit(deposit), significations=significations.latest(deposit),
        history=consultations.history(deposit), waiting=one_time_codes.waited_for(current.gateways(), deposit), story=journal.story(deposit), names=recipients.names(everybody),
        failures=identification.failures_today(current.gateways(), deposit),
        lapse=deposits.warning(deposit, now), forgets_at=purges.forgets_at(current.gateways(), deposit), wanting=offers.wanting([deposit.id]), today=door.today(), typed=typed or {}, errors=errors or {},
        told=announcements.told(deposit) if deposit.withdrawn_at else (), replacement=replacements.of(deposit),
        **{"withdrawal": {}, "withdrawal_error": "", "proofs": {}, "proofs_error": "", "batch": {}, "batch_error": "", **context},
    )  # fmt: skip


def person_page(deposit: Deposit, recipient: Recipient, **context: object) -> str:
    """Show one recipient of a filed deposit."""
    access = accesses.by_deposit(deposit).get(recipient.id)
    if access is None:
        raise NotFound
    return render_template(
        "deposits/person.html", deposit=deposit, recipient=recipient, access=access,
        signification=significations.latest(deposit).get(recipient.id), manners=significations.MANNERS,
        waiting=one_time_codes.waiting_for_office(current.gateways(), recipient),
        how_to_be_told=one_time_codes.how_to_be_told(current.gateways(), access),
        refused_until=one_time_codes.refused_until(current.gateways(), access),
        state=deposits.state(deposit, current.gateways().clock.now()),
        enrolled=enrolments.known(access), may_waive=ways.may_waive(current.gateways(), current.member()),
        **{"told": "", "enrolment_error": "", "typed": {}, "errors": {}, "way_errors": {}, "correction": {}, "correction_errors": {}, **context},
    )  # fmt: skip
