"""The office itself: where its members begin."""

from werkzeug.wrappers import Response as BaseResponse

from mespieces.domain import offices
from mespieces.views import current
from mespieces.views.office import door


@door.bp.get("")
def home() -> BaseResponse:
    """Lead to where the member works."""
    return door.to(".list_deposits" if current.member().role in offices.DEPOSITORS else ".read_journal")
