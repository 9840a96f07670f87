"""Proofs: the attestations an office keeps of a deposit, and of what each of its recipients consulted."""

from uuid import UUID

from flask import Response, render_template, request
from werkzeug.wrappers import Response as BaseResponse

from mespieces.domain import accesses, attestations, codes, dossiers, journal, receipts, recipients, statements
from mespieces.errors import Invalid
from mespieces.models import Deposit
from mespieces.views import current, paging, streams
from mespieces.views.office import door, filed


@door.bp.get("/depots/<uuid:deposit_id>/attestation.pdf")
def attest_deposit(deposit_id: UUID) -> BaseResponse:
    """What was deposited, for whom and when; each attestation is journaled with its fingerprint."""
    deposit = door.find(deposit_id)
    if _ahead():
        return Response(mimetype="application/pdf")
    made = attestations.of_deposit(current.gateways(), deposit, by=current.author())
    return streams.attestation(made, f"Attestation de dépôt {_reference(deposit)}.pdf")


@door.bp.get("/depots/<uuid:deposit_id>/suppression.pdf")
def attest_deletion(deposit_id: UUID) -> BaseResponse:
    """That every document of a deposit was deleted, and when."""
    deposit = door.find(deposit_id)
    if _ahead():
        return Response(mimetype="application/pdf")
    made = attestations.of_deletion(current.gateways(), deposit, by=current.author())
    return streams.attestation(made, f"Attestation de suppression {_reference(deposit)}.pdf")


@door.bp.get("/depots/<uuid:deposit_id>/releve.pdf")
def state_consultations(deposit_id: UUID) -> BaseResponse | tuple[str, int]:
    """Every consultation of a deposit known up to the day chosen, today unless another is."""
    deposit = door.filed(deposit_id)
    if _ahead():
        return Response(mimetype="application/pdf")
    typed = request.args.get("until", "")
    try:
        day = statements.read_day(typed, deposit, current.gateways().clock.now())
    except Invalid as error:
        return filed.page_of(deposit, proofs={"until": typed}, proofs_error=str(error)), 422
    made = attestations.of_statement(current.gateways(), deposit, day, by=current.author())
    return streams.attestation(made, f"Relevé des consultations {_reference(deposit)} au {day.isoformat()}.pdf")


@door.bp.get("/depots/<uuid:deposit_id>/destinataires/<uuid:recipient_id>/attestation.pdf")
def attest_consultations(deposit_id: UUID, recipient_id: UUID) -> BaseResponse:
    """What one recipient consulted; each attestation is journaled with its fingerprint."""
    _, recipient = door.recipient_of(deposit_id, recipient_id)
    if _ahead():
        return Response(mimetype="application/pdf")
    made = attestations.of_consultations(current.gateways(), recipient, by=current.author())
    return streams.attestation(made, f"Attestation de consultation {codes.show(accesses.of(recipient).reference)}.pdf")


@door.bp.get("/depots/<uuid:deposit_id>/dossier.zip")
def give_dossier(deposit_id: UUID) -> BaseResponse:
    """One archive of a deposit's attestations and of all its receipts, journaled with its fingerprint."""
    deposit = door.find(deposit_id)
    if _ahead():
        return Response(mimetype="application/zip")
    made = dossiers.make(current.gateways(), deposit, by=current.author())
    name = f"Dossier de preuve {_reference(deposit)}.zip"
    handing = streams.Handing(made.spool.chunks(), lambda _sent: made.spool.close())
    part = streams.Part(0, made.spool.size, made.spool.size, partial=False)
    return streams.send(handing, part, "application/zip", streams.keeping(bytes.fromhex(made.fingerprint), name))


@door.bp.get("/depots/<uuid:deposit_id>/recus")
def list_receipts(deposit_id: UUID) -> str:
    """Every record about a deposit, with its receipt."""
    deposit = door.filed(deposit_id)
    page = min(max(1, request.args.get("page", 1, type=int)), paging.LAST)
    listed, total = receipts.about(deposit, page)
    return render_template(
        "deposits/receipts.html", deposit=deposit, names=recipients.names(recipients.listed(deposit)),
        closed=[one.log for one in journal.closed()], configured=bool(current.gateways().authorities), shown=paging.Paged(
            listed, "page", page, max(1, -(-total // receipts.PAGE)), total, (page - 1) * receipts.PAGE
        ),
    )  # fmt: skip


@door.bp.get("/depots/<uuid:deposit_id>/recus/<log>/<int:sequence>.json")
def give_receipt(deposit_id: UUID, log: str, sequence: int) -> BaseResponse:
    """The receipt of one record about a deposit."""
    deposit = door.filed(deposit_id)
    if _ahead():
        return Response(mimetype="application/json")
    return streams.receipt(receipts.of_deposit(current.gateways(), deposit, log, sequence))


def _reference(deposit: Deposit) -> str:
    return deposit.office_reference.replace("/", "-")


def _ahead() -> bool:
    """Tell whether nobody reads the answer: a HEAD, or a browser asking ahead of its user."""
    return (
        request.method == "HEAD"
        or "prefetch" in request.headers.get("Sec-Purpose", "")
        or request.headers.get("Purpose") == "prefetch"
    )
