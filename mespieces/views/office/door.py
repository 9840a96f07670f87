"""The office's door: who comes in, with what role, and how files are let in; what every page of the office needs."""

import ipaddress
import sys
from datetime import date
from uuid import UUID

from flask import Blueprint, Response, g, redirect, request, url_for
from flask_login import current_user

from mespieces.domain import (
    deposits,
    offices,
    recipients,
    sessions,
)
from mespieces.domain.documents import Arrival
from mespieces.errors import NotFound
from mespieces.models import Deposit, Recipient
from mespieces.views import current

bp = Blueprint("office", __name__, url_prefix="/etude")

OPEN = frozenset({"office.sign_in", "office.begin", "office.code", "office.confirm", "office.application"})
"""Endpoints that nobody needs to be signed in for."""

FOR_AUDITORS = frozenset({"office.read_journal", "office.leave", "office.home"})


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


def to(endpoint: str, **values: object) -> Response:
    """Lead to a page of the office."""
    return redirect(url_for(endpoint, **values), 303)  # type: ignore[arg-type, return-value]


def today() -> date:
    """Return today's date where the office is."""
    return current.gateways().clock.now().astimezone(offices.zone(current.member().office)).date()


def find(deposit_id: UUID) -> Deposit:
    """Return the deposit of the member's own office. Raises `DepositMissing`."""
    return deposits.find(current.member().office, deposit_id)


def draft(deposit_id: UUID) -> Deposit:
    """Return a draft of the member's own office. Raises `DepositMissing`, `DepositFiled`."""
    deposit = find(deposit_id)
    if deposit.filed_at:
        raise deposits.DepositFiled(reference=deposit.office_reference)
    return deposit


def recipient_of(deposit_id: UUID, recipient_id: UUID) -> tuple[Deposit, Recipient]:
    """Return a deposit of the member's own office and its recipient. Raises `DepositMissing`, `RecipientMissing`."""
    deposit = find(deposit_id)
    return deposit, recipients.find(deposit, recipient_id)


def _open_door(deposit_id: UUID) -> None:
    """Let files of any number in, each limited by the vault's door, once it is known whose draft they are for."""
    draft(deposit_id)
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
