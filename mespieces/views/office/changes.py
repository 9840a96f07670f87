"""What changes after filing: a deposit withdrawn, then replaced; a recipient's name corrected."""

from uuid import UUID

from flask import flash, request
from werkzeug.wrappers import Response as BaseResponse

from mespieces.domain import recipients, replacements, withdrawals
from mespieces.errors import Invalid
from mespieces.views import current
from mespieces.views.office import door, filed


@door.bp.post("/depots/<uuid:deposit_id>/retirer")
def withdraw(deposit_id: UUID) -> BaseResponse | tuple[str, int]:
    """Withdraw a filed deposit, its motive given."""
    deposit = door.find(deposit_id)
    try:
        withdrawals.withdraw(
            current.gateways(), deposit.id, request.form.get("motive", ""), by=current.author(), member=current.member()
        )
    except Invalid as error:
        return filed.page_of(deposit, withdrawal=request.form, withdrawal_error=str(error)), 422
    flash("Le dépôt est retiré : ses pièces ne peuvent plus être lues par les destinataires.", "ok")
    return door.to(".show", deposit_id=deposit.id)


@door.bp.post("/depots/<uuid:deposit_id>/remplacer")
def replace(deposit_id: UUID) -> BaseResponse:
    """Open the draft that replaces a withdrawn deposit, or lead to what already replaces it."""
    deposit = door.find(deposit_id)
    draft = replacements.prepare(current.gateways(), deposit.id, by=current.author(), member=current.member())
    return door.to(".show", deposit_id=draft.id)


@door.bp.post("/depots/<uuid:deposit_id>/destinataires/<uuid:recipient_id>/correction")
def correct(deposit_id: UUID, recipient_id: UUID) -> BaseResponse | tuple[str, int]:
    """Correct the name or the postal address of a recipient of a filed deposit."""
    deposit, recipient = door.recipient_of(deposit_id, recipient_id)
    typed = request.form
    try:
        changed = recipients.correct(current.gateways(), recipient.id, typed, by=current.author())
    except Invalid as error:
        return filed.person_page(deposit, recipient, correction=typed, correction_errors={error.field: str(error)}), 422
    if changed:
        flash("Le destinataire est corrigé. Les enregistrements passés du journal gardent l’ancien nom.", "ok")
    else:
        flash("Rien n’a été corrigé : ce nom et cette adresse sont ceux déjà enregistrés.", "warn")
    return door.to(".person", deposit_id=deposit.id, recipient_id=recipient.id)
