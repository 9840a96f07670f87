"""For offices: signing in, the list of deposits, a deposit from its first document to its story."""

import ipaddress
import sys
from datetime import date
from urllib.parse import unquote
from uuid import UUID

from flask import Blueprint, Response, flash, g, redirect, render_template, request, url_for
from flask_login import current_user
from werkzeug.wrappers import Response as BaseResponse

from mespieces.domain import (
    accesses,
    codes,
    consultations,
    deposits,
    documents,
    identification,
    journal,
    members,
    offices,
    recipients,
    sessions,
    sheets,
    significations,
)
from mespieces.domain.documents import Arrival
from mespieces.errors import Invalid, NotFound
from mespieces.models import Deposit, Recipient
from mespieces.views import current, streams
from mespieces.views.htmx import FileIntoVault
from mespieces.views.sign_in import qr

bp = Blueprint("office", __name__, url_prefix="/etude")

OPEN = frozenset({"office.sign_in", "office.begin", "office.code", "office.confirm", "office.application"})
"""Endpoints that nobody needs to be signed in for."""

FOR_AUDITORS = frozenset({"office.read_journal", "office.leave", "office.home"})
CHUNK = 256 * 1024


class NotYourRole(NotFound):
    """An auditor reads the journal only."""

    message = "Votre rôle ne donne accès qu’au journal."


def guard() -> None:
    """Let in the office's networks, members signed in, and each role where it works."""
    if not _near(request.remote_addr or ""):
        raise NotFound
    if request.endpoint in OPEN:
        return
    member = current.member()
    sessions.touch(current.gateways(), current_user.session)
    if member.role not in offices.DEPOSITORS and request.endpoint not in FOR_AUDITORS:
        raise NotYourRole
    if request.endpoint == "office.add_documents":
        _open_door((request.view_args or {})["deposit_id"])


@bp.context_processor
def everywhere() -> dict[str, object]:
    """What every page of the office shows."""
    if request.endpoint in OPEN or not current_user.is_authenticated:
        return {}
    member = current.member()
    return {"member": member, "office": member.office}


# Signing in


@bp.get("/connexion")
def sign_in() -> str:
    """Ask for the address and the password."""
    return render_template("office/sign_in.html", email="", errors={})


@bp.post("/connexion")
def begin() -> BaseResponse | tuple[str, int] | tuple[str, int, dict[str, str]]:
    """Check the password, then lead to the code."""
    email = request.form.get("email", "")
    found = members.begin(current.gateways(), email, request.form.get("password", "")[:1000], current.trace())
    if isinstance(found, str):
        return current.give(_to(".code"), current.OFFICE_SIGN_IN, found)
    page = render_template("office/sign_in.html", email=email[:254], errors={"password": str(found)})
    if isinstance(found, members.Delayed):
        return page, 429, {"Retry-After": str(found.retry_after)}
    return page, 422


@bp.get("/connexion/code")
def code() -> str:
    """Ask for the application's code, after enrolling it at the first sign-in."""
    return _code()


@bp.post("/connexion/code")
def confirm() -> BaseResponse | tuple[str, int]:
    """Check the application's code and open the session."""
    found = members.confirm(current.gateways(), _token(), request.form.get("code", ""), current.trace())
    if isinstance(found, members.Delayed):
        raise found
    if isinstance(found, members.CodeWrong):
        if not found.details["left"]:
            raise members.SignInOver
        return _code(error=str(found)), 422
    return current.take(current.give(_to(".home"), current.OFFICE, found), current.OFFICE_SIGN_IN)


@bp.get("/connexion/application.svg")
def application() -> Response:
    """The enrolment of the member's application, as a QR code."""
    enrolment = members.enrolment(current.gateways(), members.find(current.gateways(), _token()))
    if enrolment is None:
        raise NotFound
    return qr(enrolment.uri)


@bp.post("/deconnexion")
def leave() -> BaseResponse:
    """End the session on the server."""
    sessions.end(current.gateways(), current_user.session)
    return current.take(_to(".sign_in"), current.OFFICE)


@bp.get("")
def home() -> BaseResponse:
    """Lead to where the member works."""
    return _to(".list_deposits" if current.member().role in offices.DEPOSITORS else ".read_journal")


# The list


@bp.get("/depots")
def list_deposits() -> str:
    """The office's deposits, searched and by state."""
    words, state = request.args.get("q", "")[:200], request.args.get("etat", "")
    page = min(max(1, request.args.get("page", 1, type=int)), 100_000)
    now = current.gateways().clock.now()
    listed, total = deposits.search(current.member().office, words, state, now, page=page)
    return render_template(
        "deposits/list.html", listed=listed, total=total, q=words, wanted=state, page=page,
        last=max(1, -(-total // deposits.PAGE)), state=lambda deposit: deposits.state(deposit, now),
    )  # fmt: skip


# A draft, step by step


@bp.get("/depots/nouveau")
def new() -> str:
    """An empty case."""
    return render_template("deposits/case.html", deposit=None, typed={}, errors={}, step=1)


@bp.post("/depots/nouveau")
def create() -> BaseResponse | tuple[str, int]:
    """Open a draft."""
    member = current.member()
    try:
        case = deposits.read_case(request.form, today=_today())
    except Invalid as error:
        return _case(None, error), 422
    deposit = deposits.open_draft(current.gateways(), case, office=member.office, by=current.author(), member=member)
    return _to(".documents_step", deposit_id=deposit.id)


@bp.get("/depots/<uuid:deposit_id>")
def show(deposit_id: UUID) -> BaseResponse | str:
    """A deposit: its documents, its recipients, its story. A draft goes on where it is filled in."""
    deposit = _find(deposit_id)
    if not deposit.filed_at:
        return _to(".documents_step", deposit_id=deposit.id)
    return _show(deposit)


@bp.get("/depots/<uuid:deposit_id>/affaire")
def case_step(deposit_id: UUID) -> str:
    """Correct the case of a draft."""
    return _case(_draft(deposit_id))


@bp.post("/depots/<uuid:deposit_id>/affaire")
def change_case(deposit_id: UUID) -> BaseResponse | tuple[str, int]:
    """Keep the corrected case."""
    deposit = _find(deposit_id)
    try:
        deposits.change(deposit.id, deposits.read_case(request.form, today=_today()))
    except Invalid as error:
        return _case(deposit, error), 422
    return _to(".documents_step", deposit_id=deposit.id)


@bp.get("/depots/<uuid:deposit_id>/pieces")
def documents_step(deposit_id: UUID) -> str:
    """The documents of a draft."""
    return _documents(_draft(deposit_id))


@bp.post("/depots/<uuid:deposit_id>/pieces")
def add_documents(deposit_id: UUID) -> BaseResponse | tuple[str, int]:
    """Take one document as the body of the request, or several as a form; straight into the vault either way."""
    deposit = _draft(deposit_id)
    if "X-Filename" in request.headers:
        _take_body(deposit)
        return _to(".documents_step", deposit_id=deposit.id)
    refused = _take_form(deposit)
    if refused:
        return _documents(deposit, errors={"files": " ".join(refused)}), 422
    return _to(".documents_step", deposit_id=deposit.id)


@bp.post("/depots/<uuid:deposit_id>/pieces/<uuid:document_id>")
def describe(deposit_id: UUID, document_id: UUID) -> BaseResponse | tuple[str, int]:
    """Keep the title, nature and date of a document, and its place."""
    deposit = _find(deposit_id)
    try:
        documents.describe(deposit.id, document_id, request.form, latest=_today())
    except Invalid as error:
        return _documents(deposit, errors={f"{document_id}-{error.field}": str(error)}), 422
    return _to(".documents_step", deposit_id=deposit.id)


@bp.post("/depots/<uuid:deposit_id>/pieces/<uuid:document_id>/place")
def arrange(deposit_id: UUID, document_id: UUID) -> BaseResponse:
    """Move a document up or down."""
    deposit = _find(deposit_id)
    documents.arrange(deposit.id, document_id, request.form.get("position", 1, type=int))
    return _to(".documents_step", deposit_id=deposit.id)


@bp.post("/depots/<uuid:deposit_id>/pieces/<uuid:document_id>/retirer")
def remove_document(deposit_id: UUID, document_id: UUID) -> BaseResponse:
    """Take a document out of a draft."""
    deposit = _find(deposit_id)
    documents.remove(current.gateways(), deposit.id, document_id, by=current.author())
    return _to(".documents_step", deposit_id=deposit.id)


@bp.get("/depots/<uuid:deposit_id>/destinataires")
def recipients_step(deposit_id: UUID) -> str:
    """The recipients of a draft."""
    return _recipients(_draft(deposit_id))


@bp.post("/depots/<uuid:deposit_id>/destinataires")
def add_recipient(deposit_id: UUID) -> BaseResponse | tuple[str, int]:
    """Add a recipient, to a draft or to a filed deposit."""
    deposit = _find(deposit_id)
    try:
        person = recipients.read(request.form)
        recipients.add(current.gateways(), deposit.id, person, by=current.author(), member=current.member())
    except Invalid as error:
        page = _show if deposit.filed_at else _recipients
        return page(deposit, typed=request.form, errors={error.field: str(error)}), 422
    if deposit.filed_at:
        flash("Le destinataire est ajouté : imprimez son feuillet d’accès.", "ok")
        return _to(".show", deposit_id=deposit.id)
    return _to(".recipients_step", deposit_id=deposit.id)


@bp.post("/depots/<uuid:deposit_id>/destinataires/<uuid:recipient_id>/retirer")
def remove_recipient(deposit_id: UUID, recipient_id: UUID) -> BaseResponse:
    """Take a recipient out of a draft."""
    deposit, recipient = _recipient(deposit_id, recipient_id)
    recipients.remove(deposit.id, recipient.id)
    return _to(".recipients_step", deposit_id=deposit.id)


@bp.get("/depots/<uuid:deposit_id>/verification")
def review(deposit_id: UUID) -> str:
    """Everything once more, before filing."""
    return _review(_draft(deposit_id))


@bp.post("/depots/<uuid:deposit_id>/deposer")
def file(deposit_id: UUID) -> BaseResponse | tuple[str, int]:
    """File the deposit: from here on it can only be consulted."""
    deposit = _find(deposit_id)
    try:
        deposits.file(current.gateways(), deposit.id, by=current.author(), member=current.member())
    except Invalid as error:
        return _review(deposit, errors={error.field: str(error)}), 422
    return _to(".show", deposit_id=deposit.id)


# A filed deposit


@bp.post("/depots/<uuid:deposit_id>/destinataires/<uuid:recipient_id>/feuillet")
def print_sheet(deposit_id: UUID, recipient_id: UUID) -> BaseResponse | tuple[str, int]:
    """Draw a new secret and give the sheet to annex to the act."""
    deposit, recipient = _recipient(deposit_id, recipient_id)
    try:
        sheet = sheets.issue(
            current.gateways(), recipient, by=current.author(), member=current.member(),
            motive=request.form.get("motive", ""),
        )  # fmt: skip
    except accesses.MotiveNeeded as error:
        return _person(deposit, recipient, errors={error.field: str(error)}), 422
    response = Response(sheet, mimetype="application/pdf")
    name = f"Feuillet {codes.show(accesses.of(recipient).reference)}.pdf"
    response.headers["Content-Disposition"] = streams.named(name, inline=True)
    return response


@bp.get("/depots/<uuid:deposit_id>/destinataires/<uuid:recipient_id>")
def person(deposit_id: UUID, recipient_id: UUID) -> str:
    """One recipient: access, significations, and the code to tell by phone."""
    return _person(*_recipient(deposit_id, recipient_id))


@bp.post("/depots/<uuid:deposit_id>/destinataires/<uuid:recipient_id>/signification")
def record_signification(deposit_id: UUID, recipient_id: UUID) -> BaseResponse | tuple[str, int]:
    """Record when the act was served."""
    deposit, recipient = _recipient(deposit_id, recipient_id)
    try:
        significations.record(
            current.gateways(), recipient.id, request.form, by=current.author(), member=current.member()
        )
    except Invalid as error:
        return _person(deposit, recipient, typed=request.form, errors={error.field: str(error)}), 422
    flash("La signification est enregistrée.", "ok")
    return _to(".show", deposit_id=deposit.id)


@bp.post("/depots/<uuid:deposit_id>/destinataires/<uuid:recipient_id>/canal")
def reset_way(deposit_id: UUID, recipient_id: UUID) -> BaseResponse | tuple[str, int]:
    """Change how a recipient receives codes: a mistyped address, a lost telephone."""
    deposit, recipient = _recipient(deposit_id, recipient_id)
    typed = request.form
    try:
        identification.reset_way(
            current.gateways(), recipient, typed.get("email", ""), typed.get("motive", ""),
            by=current.member(), trace=current.trace(),
        )  # fmt: skip
    except Invalid as error:
        return _person(deposit, recipient, typed=typed, way_errors={error.field: str(error)}), 422
    flash("La façon de recevoir le code est changée. Les sessions ouvertes sont terminées.", "ok")
    return _to(".person", deposit_id=deposit.id, recipient_id=recipient.id)


@bp.post("/depots/<uuid:deposit_id>/destinataires/<uuid:recipient_id>/code")
def tell_code(deposit_id: UUID, recipient_id: UUID) -> str | tuple[str, int]:
    """Show a code to tell the recipient, by phone or at the counter."""
    deposit, recipient = _recipient(deposit_id, recipient_id)
    try:
        told = identification.tell_code(
            current.gateways(), recipient, request.form.get("reason", ""), by=current.member(), trace=current.trace()
        )
    except Invalid as error:
        return _person(deposit, recipient, typed=request.form, errors={error.field: str(error)}), 422
    return _person(deposit, recipient, told=f"{told[:4]} {told[4:]}")


# The office itself


@bp.get("/membres")
def list_members() -> str:
    """Who works here, and with what role."""
    return render_template("office/members.html", members=offices.members(current.member().office))


@bp.get("/journal")
def read_journal() -> str:
    """The office's newest records; reading them is itself journaled."""
    office = current.member().office
    entries = journal.read_office(current.gateways(), office, by=current.author())
    return render_template("office/journal.html", entries=entries, head=journal.head())


def _near(address: str) -> bool:
    """Tell whether an address is of the office's networks; what is no address is of none but the whole world."""
    networks = current.gateways().settings.office_networks
    try:
        ip = ipaddress.ip_address(address)
    except ValueError:
        return any(network.prefixlen == 0 for network in networks)
    if isinstance(ip, ipaddress.IPv6Address) and ip.ipv4_mapped:
        ip = ip.ipv4_mapped
    return any(ip in network for network in networks)


def _to(endpoint: str, **values: object) -> Response:
    return redirect(url_for(endpoint, **values), 303)  # type: ignore[arg-type, return-value]


def _token() -> str:
    return request.cookies.get(current.OFFICE_SIGN_IN, "")


def _code(error: str = "") -> str:
    sign_in = members.find(current.gateways(), _token())
    return render_template("office/code.html", error=error, enrolment=members.enrolment(current.gateways(), sign_in))


def _today() -> date:
    return current.gateways().clock.now().astimezone(offices.zone(current.member().office)).date()


def _find(deposit_id: UUID) -> Deposit:
    return deposits.find(current.member().office, deposit_id)


def _draft(deposit_id: UUID) -> Deposit:
    deposit = _find(deposit_id)
    if deposit.filed_at:
        raise deposits.DepositFiled(reference=deposit.office_reference)
    return deposit


def _recipient(deposit_id: UUID, recipient_id: UUID) -> tuple[Deposit, Recipient]:
    deposit = _find(deposit_id)
    return deposit, recipients.find(deposit, recipient_id)


def _open_door(deposit_id: UUID) -> None:
    """Let files of any number in, each limited by the vault's door, once it is known whose draft they are for."""
    _draft(deposit_id)
    arrivals: list[Arrival] = g.setdefault("arrivals", [])

    def arrive() -> Arrival:
        arrivals.append(Arrival(current.gateways()))
        return arrivals[-1]

    current.asked().max_content_length = sys.maxsize
    current.asked().files_into = arrive


@bp.teardown_request
def drop_unwanted(_error: BaseException | None) -> None:
    """Drop the files that arrived and were not taken."""
    for arrival in g.pop("arrivals", ()):
        arrival.abort()


def _take_body(deposit: Deposit) -> None:
    """Seal the request's body as it arrives."""
    with Arrival(current.gateways()) as arrival:
        while chunk := request.stream.read(CHUNK):
            arrival.write(chunk)
        documents.add(
            current.gateways(), deposit.id, arrival, unquote(request.headers["X-Filename"]),
            by=current.author(), member=current.member(),
        )  # fmt: skip


def _take_form(deposit: Deposit) -> list[str]:
    """Take the files of a form, which its parser has sealed while it read; return a sentence for each refused."""
    refused: list[str] = []
    for sent in request.files.getlist("files"):
        into = sent.stream
        if not isinstance(into, FileIntoVault) or (not sent.filename and not into.arrival.size):
            continue
        try:
            documents.add(
                current.gateways(), deposit.id, into.arrival, sent.filename or "",
                by=current.author(), member=current.member(),
            )  # fmt: skip
        except documents.REFUSALS as error:
            refused.append(f"{sent.filename} : {error}")
    return refused


def _case(deposit: Deposit | None, error: Invalid | None = None) -> str:
    typed = request.form if error else (deposit.__data__ if deposit else {})
    errors = {error.field: str(error)} if error else {}
    return render_template("deposits/case.html", deposit=deposit, typed=typed, errors=errors, step=1)


def _documents(deposit: Deposit, errors: dict[str, str] | None = None) -> str:
    return render_template(
        "deposits/_documents.html" if current.asked().htmx else "deposits/documents.html",
        deposit=deposit, documents=documents.listed(deposit), errors=errors or {}, step=2,
        limit=current.gateways().settings.max_document_bytes,
    )  # fmt: skip


def _recipients(deposit: Deposit, typed: object = None, errors: dict[str, str] | None = None) -> str:
    return render_template(
        "deposits/_recipients.html" if current.asked().htmx else "deposits/recipients.html",
        deposit=deposit, recipients=recipients.listed(deposit), typed=typed or {}, errors=errors or {}, step=3,
    )  # fmt: skip


def _review(deposit: Deposit, errors: dict[str, str] | None = None) -> str:
    return render_template(
        "deposits/review.html", deposit=deposit, documents=documents.listed(deposit),
        recipients=recipients.listed(deposit), errors=errors or {}, step=4,
        until=deposits.end_if_filed(deposit, current.gateways().clock.now()),
    )  # fmt: skip


def _show(deposit: Deposit, typed: object = None, errors: dict[str, str] | None = None) -> str:
    now = current.gateways().clock.now()
    return render_template(
        "deposits/show.html", deposit=deposit, state=deposits.state(deposit, now),
        documents=documents.listed(deposit), recipients=recipients.listed(deposit),
        accesses=accesses.by_deposit(deposit), significations=significations.latest(deposit),
        history=consultations.history(deposit), story=journal.story(deposit),
        lapse=deposits.warning(deposit, now), today=_today(), typed=typed or {}, errors=errors or {},
    )  # fmt: skip


def _person(deposit: Deposit, recipient: Recipient, **context: object) -> str:
    access = accesses.by_deposit(deposit).get(recipient.id)
    if access is None:
        raise NotFound
    return render_template(
        "deposits/person.html", deposit=deposit, recipient=recipient, access=access,
        signification=significations.latest(deposit).get(recipient.id), manners=significations.MANNERS,
        waiting=identification.waiting_for_office(current.gateways(), recipient),
        state=deposits.state(deposit, current.gateways().clock.now()),
        **{"told": "", "typed": {}, "errors": {}, "way_errors": {}, **context},
    )  # fmt: skip
