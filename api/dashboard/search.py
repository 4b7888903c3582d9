"""`/search`: whatever in the account fits what was typed; what is named exactly is opened at once."""

from typing import Annotated, Final

from fastapi import APIRouter, Query
from starlette.responses import Response

from api.dashboard.links import subject_url
from api.dashboard.rendering import see
from api.dashboard.visitors import VisitorDep
from api.deps import SnapshotDep
from storage.search import Found, cleaned_query, find_things

router = APIRouter(include_in_schema=False)

SHOWN: Final = 8

HEADINGS: Final = {
    "workflows": "Workflows",
    "instances": "Runs of workflows",
    "pulses": "Pulses",
    "hooks": "Process hooks",
    "runs": "Runs of process hooks",
    "approvals": "Approvals",
    "channels": "Channels",
}


@router.get("/search")
async def show(visitor: VisitorDep, session: SnapshotDep, q: Annotated[str, Query(max_length=2000)] = "") -> Response:
    query = cleaned_query(q)
    found = await find_things(session, visitor.account.id, query, limit=SHOWN + 1)
    if (exact := _only_exact(found)) is not None:
        return see(subject_url(exact.subject))
    return visitor.page("search/search.html", query=query, found=found, headings=HEADINGS, shown=SHOWN)


def _only_exact(found: dict[str, list[Found]]) -> Found | None:
    """What was named by its id, if that is clear."""
    exact = [one for group in found.values() for one in group if one.is_exact]
    return exact[0] if len(exact) == 1 else None
