"""`/`: what needs a human now, what runs, and what came of the last day."""

from typing import Final

from fastapi import APIRouter
from starlette.responses import Response

from api.dashboard.charts.day import day_plot
from api.dashboard.matters import KINDS, address_of
from api.dashboard.visitors import VisitorDep
from api.deps import SnapshotDep
from config.clock import utc_now
from storage.alerts import list_alerts
from storage.attention import list_matters
from storage.overview import find_arrival, list_open_runs, list_running, read_hours

router = APIRouter(include_in_schema=False)

SHOWN: Final = 5
"""Of each kind of matter, and of what runs."""
RUNNING_SHOWN: Final = 8
NEWS_SHOWN: Final = 8


@router.get("/")
async def show(visitor: VisitorDep, session: SnapshotDep) -> Response:
    account_id, now = visitor.account.id, utc_now()
    running, running_total = await list_running(session, account_id, RUNNING_SHOWN)
    runs, runs_total = await list_open_runs(session, account_id, now, RUNNING_SHOWN)
    matters = await list_matters(session, account_id, visitor.user.email, now, limit=SHOWN)
    has_pinged = bool(running or runs) or await find_arrival(session, account_id) is not None
    hours = await read_hours(session, account_id, now) if has_pinged else []
    return visitor.page(
        "overview/overview.html",
        section="overview",
        live="account",
        matters=matters,
        matters_total=sum(found.total for found in matters.values()),
        kinds=KINDS,
        address_of=address_of,
        has_pinged=has_pinged,
        running=running,
        running_total=running_total,
        runs=runs,
        runs_total=runs_total,
        hours=hours,
        plot=day_plot(hours),
        news=await list_alerts(session, account_id, limit=NEWS_SHOWN) if has_pinged else [],
    )
