"""The failed queue of a workflow: pings that were refused, and what to do about each."""

from collections.abc import Mapping
from typing import Final

from fastapi import APIRouter
from starlette.responses import Response

from api.dashboard.links import with_query
from api.dashboard.numbers import pretty
from api.dashboard.visitors import VisitorDep
from api.deps import SnapshotDep, Text
from api.pages import Cursor, decode_number, encode_cursor
from api.routes import workflows
from domain.strict import AgentRequired, StageMissed, StageOutOfOrder, StageUnknown
from domain.verdicts import (
    REJECTIONS,
    DailyBudgetExceeded,
    InstanceClosed,
    InstancePaused,
    InstanceTerminated,
    NoOpenInstance,
)
from storage.pings import Ping, list_rejected

router = APIRouter(include_in_schema=False)

PAGE: Final = 25
MAX_SHOWN: Final = 8_000

ADVICE: Final[Mapping[str, str]] = {
    StageMissed.code: "Send the stage that is missing first, then this one again. If stages may come in any order "
    "or not at all, make the workflow flexible.",
    StageOutOfOrder.code: "The run is further on already. If the stage was done once more on purpose, fork the run or "
    "open a new one; if the sender repeats itself, give its pings an idempotency key.",
    AgentRequired.code: "Strict workflows want to know who reports: add agent=… to the ping.",
    StageUnknown.code: "Correct the number of the stage in the ping, or add the stage to the workflow.",
    InstanceClosed.code: "The run and its grace period were over. Open a new run, or give stragglers more time with a "
    "longer grace period.",
    NoOpenInstance.code: "Nothing was open that it could belong to. Open a run first, with stage=1 or start=yes.",
    InstancePaused.code: "The budget's circuit breaker has paused the run. Resume it on its page; then the sender may "
    "send again.",
    InstanceTerminated.code: "The budget's circuit breaker has ended the run. Look at what it has spent; if the work "
    "is to go on, open a new one.",
    DailyBudgetExceeded.code: "The daily limit is spent, and no run is opened before the next day. Raise the limit if "
    "that is too long.",
}
"""By the code of the rejection, for people."""

_OTHERWISE: Final = "The reason says what was wrong."
_TO_THE_BUDGET: Final = frozenset((InstanceTerminated.code, DailyBudgetExceeded.code))
_TO_THE_RULES: Final = frozenset((StageMissed.code, StageUnknown.code, InstanceClosed.code))


@router.get("/workflows/{workflow_id}/failed")
async def show_failed(workflow_id: Text, visitor: VisitorDep, session: SnapshotDep, cursor: Cursor = None) -> Response:
    view = await workflows.read_workflow(workflow_id, session, visitor.principal, visitor.request)
    before = decode_number(cursor)
    rows = await list_rejected(session, view.id, limit=PAGE + 1, before=before)
    page = rows[:PAGE]
    more = encode_cursor(page[-1].received_at, str(page[-1].id)) if len(rows) > PAGE else None
    address = f"/workflows/{view.id}/failed"
    return visitor.page(
        "workflows/failed.html",
        section="workflows",
        live=f"instance/{view.id}/",
        workflow=view,
        pings=page,
        title_of=_title_of,
        shown_of=shown_of,
        advice_of=_advice_of,
        link_of=lambda ping: _link_of(ping, view.id),
        next=with_query(address, cursor=more) if more else None,
        first=address if before is not None else None,
    )


def shown_of(ping: Ping) -> str:
    """What came with it, as far as a list has room."""
    text = pretty(ping.payload) if ping.payload is not None else ping.text or ""
    return text if len(text) <= MAX_SHOWN else f"{text[:MAX_SHOWN]}\n… {len(text) - MAX_SHOWN:,} characters more"


def _title_of(ping: Ping) -> str:
    rejection = REJECTIONS.get(ping.reason_code or "")
    return rejection.title if rejection is not None else "Refused"


def _advice_of(ping: Ping) -> str:
    return ADVICE.get(ping.reason_code or "", _OTHERWISE)


def _link_of(ping: Ping, workflow_id: str) -> tuple[str, str] | None:
    """Where that can be done, and how it is called."""
    if ping.reason_code in _TO_THE_BUDGET:
        return f"/workflows/{workflow_id}/budget", "To the budget"
    if ping.reason_code in _TO_THE_RULES:
        return f"/workflows/{workflow_id}/edit", "To the rules"
    if ping.reason_code == InstancePaused.code and ping.instance_id is not None:
        return f"/instances/{ping.instance_id}", "To the run"
    return None
