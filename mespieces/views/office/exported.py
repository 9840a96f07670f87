"""Exports of the journal for the office's auditors: asked for, followed while they are prepared, downloaded."""

from uuid import UUID

from flask import Response, flash, render_template
from werkzeug.wrappers import Response as BaseResponse

from mespieces.domain import checkpoints, office_exports, offices
from mespieces.views import current, streams
from mespieces.views.office import door


@door.bp.get("/journal/exports")
def list_exports() -> str:
    """The office's exports: how far the one under way is, and those that can be downloaded."""
    office, now = current.member().office, current.gateways().clock.now()
    rows = office_exports.listed(office, now)
    return render_template(
        "office/_exports.html" if current.asked().htmx else "office/exports.html",
        rows=rows, waiting=any(map(office_exports.under_way, rows)), ends=office_exports.ends, zone=offices.zone(office),
        vkey=checkpoints.vkey(current.gateways()),
    )  # fmt: skip


@door.bp.post("/journal/exports")
def ask_export() -> BaseResponse:
    """Have an export prepared by the worker."""
    office_exports.ask(current.gateways(), current.member(), current.trace())
    return door.to(".list_exports")


@door.bp.get("/journal/exports/<uuid:export_id>/journal.zip")
def download_export(export_id: UUID) -> BaseResponse:
    """An export, streamed as it is unsealed; journaled before its first byte leaves."""
    if door.ahead():
        return Response(mimetype="application/zip")
    row, plaintext = office_exports.download(current.gateways(), current.member(), export_id, current.trace())
    part = streams.Part(0, plaintext.size, plaintext.size, partial=False)
    handing = streams.Handing(plaintext.chunks(), lambda _sent: plaintext.close())
    return streams.send(handing, part, "application/zip", streams.exported(row))


@door.bp.post("/journal/exports/<uuid:export_id>/supprimer")
def drop_export(export_id: UUID) -> BaseResponse:
    """Destroy an export before its time, or give up its preparation."""
    office_exports.drop(current.gateways(), current.member().office, export_id)
    flash("L’export est supprimé.", "ok")
    return door.to(".list_exports")
