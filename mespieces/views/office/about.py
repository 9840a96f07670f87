"""The office itself: where its members begin, and its journal."""

from flask import Response, render_template, request
from werkzeug.wrappers import Response as BaseResponse

from mespieces.domain import (
    journal,
    offices,
)
from mespieces.views import current
from mespieces.views.office import door


@door.bp.get("")
def home() -> BaseResponse:
    """Lead to where the member works."""
    return door.to(".list_deposits" if current.member().role in offices.DEPOSITORS else ".read_journal")


@door.bp.get("/journal")
def read_journal() -> BaseResponse | str:
    """The office's newest records; reading them is itself journaled."""
    if request.method == "HEAD":  # shows nothing, so nothing was read
        return Response()
    office = current.member().office
    entries = journal.read_office(current.gateways(), office, by=current.author())
    return render_template("office/journal.html", entries=entries, head=journal.head())
