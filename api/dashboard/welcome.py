"""`/welcome`: the first ping, from a line that works to the moment it arrives."""

from typing import Final

from fastapi import APIRouter
from starlette.responses import Response

from api.dashboard.made_keys import make_key
from api.dashboard.visitors import FormDep, Visitor, VisitorDep
from api.deps import SessionDep, SnapshotDep
from domain.errors import DomainError
from storage.overview import Arrival, find_arrival

router = APIRouter(include_in_schema=False)

PULSE: Final = "first-ping"


@router.get("/welcome")
async def show(visitor: VisitorDep, session: SnapshotDep) -> Response:
    return _page(visitor, await find_arrival(session, visitor.account.id))


@router.post("/welcome")
async def show_with_key(visitor: VisitorDep, form: FormDep, session: SessionDep) -> Response:
    """The same page with a new key in its line. The key is shown this once; the page must not be kept."""
    arrival = await find_arrival(session, visitor.account.id)
    try:
        key = await make_key(visitor, session, "First ping")
    except DomainError as error:
        return _page(visitor, arrival, error=error)
    return _page(visitor, arrival, key=key)


def _page(
    visitor: Visitor, arrival: Arrival | None, *, key: str | None = None, error: DomainError | None = None
) -> Response:
    return visitor.page(
        "overview/welcome.html", section="overview", live="account", arrival=arrival, key=key, pulse=PULSE, error=error
    )
