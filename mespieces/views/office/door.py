"""The office's door: who comes in, with what role, and how files are let in; what every page of the office needs."""

import ipaddress
import re
import sys
from datetime import date
from urllib.parse import unquote, urlsplit
from uuid import UUID

from flask import Blueprint, Response, current_app, g, redirect, request, url_for
from flask import session as flask_session
from flask_login import current_user

from mespieces.domain import (
    attestations,
    deposits,
    offices,
    proofs,
    recipients,
    sessions,
)
from mespieces.domain.documents import Arrival
from mespieces.errors import NotFound
from mespieces.models import Deposit, Recipient
from mespieces.views import current, lasting

bp = Blueprint("office", __name__, url_prefix="/etude")

OPEN = frozenset({
    "office.sign_in", "office.begin", "office.code", "office.confirm", "office.application",
    "office.invitation", "office.accept",
})  # fmt: skip
"""Endpoints that nobody needs to be signed in for."""

OWN = frozenset({
    "office.account", "office.change_password", "office.end_session", "office.end_other_sessions",
    "office.recovery", "office.draw_recovery", "office.new_application", "office.begin_application",
    "office.show_application", "office.confirm_application", "office.prove", "office.proven",
    "office.leave", "office.home", "office.session_left", "office.go_on",
})  # fmt: skip
"""Endpoints that are anybody's own, whatever their role."""

EXPORTS = frozenset({"office.list_exports", "office.ask_export", "office.download_export", "office.drop_export"})
"""Endpoints for who takes the journal away: auditors and administrators."""

FOR_AUDITORS = OWN | EXPORTS | {"office.read_journal", "office.read_record"}

FOR_ADMINISTRATORS = frozenset({
    "office.invite", "office.show_member", "office.invite_again", "office.change_role", "office.end_membership",
})  # fmt: skip

SECTIONS = (
    ("Dépôts", "depots", "office.list_deposits"),
    ("Journal", "journal", "office.read_journal"),
    ("Étude", "etude", "office.list_members"),
    ("Compte", "compte", "office.account"),
)
"""The parts of the office's navigation: the name, what pages of the part call it, its first page."""

SENSITIVE = {
    "office.print_sheet": "office.person",
    "office.print_sheets": "office.show",
    "office.print_enrolment": "office.person",
    "office.tell_code": "office.person",
    "office.reset_way": "office.person",
    "office.withdraw": "office.show",
    "office.invite": "office.list_members",
    "office.invite_again": "office.show_member",
    "office.change_role": "office.show_member",
    "office.end_membership": "office.show_member",
    "office.draw_recovery": "office.recovery",
    "office.begin_application": "office.new_application",
    "office.ask_export": "office.list_exports",
    "office.download_export": "office.list_exports",
}
"""What asks for a proof of the last ten minutes, and the page it is asked from, which the proof leads back to."""


class NotYourRole(NotFound):
    """An auditor reads the journal only."""

    message = "Votre rôle ne donne accès qu’au journal."


class NotAdministrator(NotFound):
    """Members are the administrators' business."""

    message = "Seul un administrateur de l’étude peut inviter un membre, changer son rôle ou mettre fin à son accès."


class NotAuditor(NotFound):
    """An export holds the whole office's records."""

    message = "Seul un auditeur ou un administrateur de l’étude peut exporter le journal."


class ProofNeeded(Exception):  # noqa: N818 — a state, like the refusals
    """The last proof is too old; the member is asked for a code, then led back to `page`."""

    def __init__(self, page: str) -> None:
        self.page = page
        super().__init__(page)


def guard() -> None:
    """Let in the office's networks, members signed in, each role where it works, and what is sensitive after a proof."""
    if not _near(request.remote_addr or ""):
        raise NotFound
    if request.endpoint in OPEN:
        return
    member = current.member()
    if not _by_itself():
        sessions.touch(current.gateways(), current_user.session)
    if refused := _closed(member.role, request.endpoint or ""):
        raise refused
    if request.endpoint in SENSITIVE and not proofs.recent(current_user.session, current.gateways().clock.now()):
        raise ProofNeeded(_asked_from(SENSITIVE[request.endpoint]))
    if request.endpoint == "office.add_documents":
        _open_door((request.view_args or {})["deposit_id"])


def _closed(role: str, endpoint: str) -> type[NotFound] | None:
    """Return what says that a role may not open a page, None when it may."""
    if role not in offices.DEPOSITORS and endpoint not in FOR_AUDITORS:
        return NotYourRole
    if role != "administrateur" and endpoint in FOR_ADMINISTRATORS:
        return NotAdministrator
    if role not in offices.AUDITORS and endpoint in EXPORTS:
        return NotAuditor
    return None


@bp.context_processor
def everywhere() -> dict[str, object]:
    """What every page of the office shows."""
    if request.endpoint in OPEN or not current_user.is_authenticated:
        return {}
    member = current.member()
    return {
        "member": member,
        "sections": [one for one in SECTIONS if not _closed(member.role, one[2])],
        "office": member.office,
        "lasting": lasting.shown(current_user.session),
    }


def inside(path: str) -> str:
    """Return `path` if it leads to a page of the office, else the office's first page: a proof leads nowhere else."""
    home = url_for("office.home")
    try:
        parts = urlsplit(path)
    except ValueError:  # a bracket
        return home
    climbs = {".", ".."} & set(unquote(parts.path).split("/"))  # browsers follow them, written %2e as well
    elsewhere = parts.scheme or parts.netloc or climbs or "\\" in path or not path.isprintable()
    return path if not elsewhere and (parts.path == home or parts.path.startswith(home + "/")) else home


def remember() -> None:
    """Keep the page that somebody who is not signed in asked for, or was reading: signing in leads back to it."""
    asked, rule = current.asked(), request.url_rule.rule if request.url_rule else ""
    if asked.htmx:
        # Without its site: whatever it says, `inside` has the last word.
        flask_session[_BACK] = re.sub("^https?://[^/]*", "", asked.htmx.current_url or "")[:1000]
    elif request.method == "GET" and not rule.endswith(_NO_PAGE):
        flask_session[_BACK] = request.full_path.removesuffix("?")[:1000]


def back() -> str:
    """Return the page that was remembered, once, else the office's first page."""
    return inside(flask_session.pop(_BACK, ""))


def ahead() -> bool:
    """Tell whether nobody reads the answer: a HEAD, or a browser asking ahead of its user."""
    purposes = request.headers.get("Sec-Purpose", "") + request.headers.get("Purpose", "")
    return request.method == "HEAD" or "prefetch" in purposes


def _by_itself() -> bool:
    """Tell whether the page asks, not the member: that is no use of the session, which would never end."""
    followed = request.endpoint == "office.list_exports" and current.asked().htmx
    return request.endpoint == "office.session_left" or bool(followed)


def _asked_from(endpoint: str) -> str:
    """Return the address of the page that holds the form sent."""
    given = request.view_args or {}
    expected = current_app.url_map.is_endpoint_expecting
    return url_for(endpoint, **{name: value for name, value in given.items() if expected(endpoint, name)})


_BACK = "back"
_NO_PAGE = ("/fichier", ".pdf", "/session")


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


def filed(deposit_id: UUID) -> Deposit:
    """Return a filed deposit of the member's own office. Raises `DepositMissing`, `NothingFiled`."""
    deposit = find(deposit_id)
    if not deposit.filed_at:
        raise attestations.NothingFiled
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
