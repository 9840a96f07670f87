"""The office's journal: its records found by period, kind, deposit or recipient, and each of them whole."""

from datetime import UTC

from flask import Response, render_template, request
from werkzeug.wrappers import Response as BaseResponse

from mespieces.domain import journal, offices, readings, records
from mespieces.errors import Invalid
from mespieces.verifier import record
from mespieces.views import current
from mespieces.views.office import door

FIELDS = ("du", "au", "genre", "depot", "destinataire")
"""What a reading is narrowed by, as the form and the address name it."""


@door.bp.get("/journal")
def read_journal() -> BaseResponse | str | tuple[str, int]:
    """The office's records, newest first; reading them is itself journaled."""
    if door.ahead():
        return Response()
    office, below = current.member().office, records.place(request.args.get("avant", ""))
    try:
        wanted = readings.read(office, request.args, today=door.today())
    except Invalid as error:
        return _page(records.Page(()), {error.field: str(error)}), 422
    return _page(readings.page(current.gateways(), office, wanted, below, by=current.author()))


@door.bp.get("/journal/<log>/<int:sequence>")
def read_record(log: str, sequence: int) -> BaseResponse | str:
    """One record of the office: its header as it is sealed, and what is kept beside it."""
    if door.ahead():
        return Response()
    office, where = current.member().office, records.Place(log, sequence)
    line = readings.one(current.gateways(), office, where, by=current.author())
    altered = readings.altered(log, line)
    body = line.proof[1] if line.proof and not altered else None
    entry = journal.read_entry(line.sequence, line.time, line.operation, body)
    return render_template(
        "office/record.html", line=line, log=log, entry=entry, kept=_kept(line), zone=offices.zone(office),
        deposit=readings.deposit_of(office, line), utc=record.parse_time(line.time).astimezone(UTC),
        header=line.header.decode(errors="replace"), altered=altered,
    )  # fmt: skip


def _kept(line: journal.Line) -> list[tuple[str, dict[str, str] | None]]:
    """Return what stands beside a record: each group with its salt and body exactly as kept, None once erased."""
    groups = (("proof", line.proof), ("trace", line.trace))
    return [
        (name, payload and {"salt": payload[0].hex(), "body": payload[1].decode(errors="replace")})
        for name, payload in groups
    ]


def _page(page: records.Page, errors: dict[str, str] | None = None) -> str:
    """Show a page of records, whole or as the fragment htmx asked for."""
    asked = {name: request.args[name] for name in FIELDS if request.args.get(name)}
    return render_template(
        "office/_records.html" if current.asked().htmx else "office/journal.html",
        page=page, names=readings.subjects(current.member().office, [line.entry for line in page.lines]),
        asked=asked, errors=errors or {}, zone=offices.zone(current.member().office), today=door.today(),
        exporter=current.member().role in offices.AUDITORS,
    )  # fmt: skip
