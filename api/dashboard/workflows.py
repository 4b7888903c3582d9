"""Pages of workflows: all of them, one of them with its runs, and its end."""

from collections.abc import Sequence
from datetime import date, datetime, timedelta, tzinfo
from shlex import quote
from typing import Annotated, Final

from fastapi import APIRouter, Query
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from api.dashboard.charts.strip import LEGEND, strip
from api.dashboard.links import with_query
from api.dashboard.numbers import duration, plural
from api.dashboard.rendering import see
from api.dashboard.visitors import FormDep, Visitor, VisitorDep
from api.deps import SessionsDep, SnapshotDep, Text
from api.pages import Cursor, decode_cursor, encode_cursor
from api.pulse_views import PulseView, pulse_views
from api.routes import workflows
from api.routes.workflows import WorkflowView
from config.clock import utc_now
from domain.costs import day_of, end_of, last_days
from domain.errors import DomainError
from domain.instances import InstanceStatus
from domain.subjects import pulse_source, workflow_source
from domain.workflows import WorkflowKind
from storage.budgets import get_budget
from storage.channels import list_channels
from storage.prices import account_zone
from storage.pulses import get_pulse
from storage.workflow_overview import (
    COUNTED_REJECTIONS,
    JUDGED_RUNS,
    NEVER_RUN,
    STRIP_RUNS,
    count_rejected,
    find_listed,
    list_open_troubles,
    list_runs,
    list_tags,
    read_overviews,
)

router = APIRouter(include_in_schema=False)

PAGE: Final = 25
COST_DAYS: Final = 30
TROUBLE_DAYS: Final = 7
MAX_TROUBLES: Final = 5
MAX_CHANNELS: Final = 500
KEY_PLACEHOLDER: Final = "YOUR_API_KEY"

_LIST: Final = "/workflows"
_DONE_WITH_ALL: Final = {"deleted": "The workflow was deleted. The history of its runs stays."}
_DONE_WITH_ONE: Final = {
    "created": "The workflow was created. It takes pings from now on.",
    "changed": "The workflow was changed. Runs that are open keep the rules they began with.",
}

Filter = Annotated[Text, Query(max_length=200)]


@router.get(_LIST)
async def show_all(
    visitor: VisitorDep,
    session: SnapshotDep,
    q: Filter = "",
    kind: Filter = "",
    tag: Filter = "",
    last: Filter = "",
    cursor: Cursor = None,
) -> Response:
    account_id = visitor.account.id
    states = {status.value: status for status in InstanceStatus}
    rows = await find_listed(
        session,
        account_id,
        limit=PAGE + 1,
        before=decode_cursor(cursor),
        name=q.strip() or None,
        kind=WorkflowKind(kind) if kind in list(WorkflowKind) else None,
        tag=tag or None,
        last_run=NEVER_RUN if last == NEVER_RUN else states.get(last),
    )
    page = rows[:PAGE]
    first, today = last_days(day_of(utc_now(), await account_zone(session, account_id)), COST_DAYS)
    overviews = await read_overviews(session, [row.id for row in page], first, today)
    filters = {"q": q, "kind": kind, "tag": tag, "last": last}
    more = encode_cursor(page[-1].created_at, page[-1].id) if len(rows) > PAGE else None
    return visitor.page(
        "workflows/list.html",
        section="workflows",
        live="account",
        done=_DONE_WITH_ALL,
        workflows=page,
        overviews=overviews,
        strip=strip,
        legend=LEGEND,
        room=STRIP_RUNS,
        judged=JUDGED_RUNS,
        cost_days=COST_DAYS,
        filters=filters,
        is_filtered=any(value.strip() for value in filters.values()),
        tags=await _tag_options(session, account_id, tag),
        next=with_query(_LIST, **filters, cursor=more) if more else None,
        first=with_query(_LIST, **filters) if cursor else None,
    )


@router.get("/workflows/{workflow_id}")
async def show(
    workflow_id: Text,
    visitor: VisitorDep,
    session: SnapshotDep,
    status: Filter = "",
    since: Filter = "",
    until: Filter = "",
    cursor: Cursor = None,
) -> Response:
    view = await workflows.read_workflow(workflow_id, session, visitor.principal, visitor.request)
    account_id, now = visitor.account.id, utc_now()
    zone = await account_zone(session, account_id)
    first, today = last_days(day_of(now, zone), COST_DAYS)
    first_day, last_day = _day(since), _day(until)
    rows = await list_runs(
        session,
        view.id,
        limit=PAGE + 1,
        before=decode_cursor(cursor),
        statuses=[one for one in InstanceStatus if one == status],
        opened_from=_start_of(first_day, zone) if first_day else None,
        opened_until=end_of(last_day, zone) if last_day else None,
    )
    page = rows[:PAGE]
    filters = {
        "status": status,
        "since": first_day.isoformat() if first_day else "",
        "until": last_day.isoformat() if last_day else "",
    }
    address = f"/workflows/{view.id}"
    more = encode_cursor(page[-1].instance.opened_at, page[-1].instance.id) if len(rows) > PAGE else None
    sources = [workflow_source(view.id), *([pulse_source(view.pulse_id)] if view.pulse_id else [])]
    return visitor.page(
        "workflows/show.html",
        section="workflows",
        live=f"instance/{view.id}/",
        done=_DONE_WITH_ONE,
        workflow=view,
        overview=(await read_overviews(session, [view.id], first, today))[view.id],
        strip=strip,
        legend=LEGEND,
        room=STRIP_RUNS,
        judged=JUDGED_RUNS,
        cost_days=COST_DAYS,
        runs=page,
        filters=filters,
        is_filtered=any(filters.values()),
        zone=visitor.account.time_zone,
        troubles=await list_open_troubles(
            session, account_id, sources, now - timedelta(days=TROUBLE_DAYS), MAX_TROUBLES
        ),
        trouble_days=TROUBLE_DAYS,
        budget=await get_budget(session, view.id),
        rejected=await count_rejected(session, view.id),
        most_rejected=COUNTED_REJECTIONS,
        channels=await _channel_names(session, account_id, view.channels),
        awaited=await _awaited(session, view),
        gist=gist_of(view),
        ping_line=ping_line(view, visitor.request.app.state.settings.base_url),
        next=with_query(address, **filters, cursor=more) if more else None,
        first=with_query(address, **filters) if cursor else None,
    )


@router.get("/workflows/{workflow_id}/delete")
async def ask_to_delete(workflow_id: Text, visitor: VisitorDep, session: SnapshotDep) -> Response:
    return await _delete_page(session, workflow_id, visitor)


@router.post("/workflows/{workflow_id}/delete")
async def delete(workflow_id: Text, visitor: VisitorDep, form: FormDep, sessions: SessionsDep) -> Response:
    try:
        await workflows.delete_workflow(workflow_id, sessions, visitor.principal, visitor.request)
    except DomainError as error:
        if error.status == 404:
            raise
        async with sessions() as session:
            return await _delete_page(session, workflow_id, visitor, error)
    return see(f"{_LIST}?done=deleted")


async def _delete_page(
    session: AsyncSession, workflow_id: str, visitor: Visitor, error: DomainError | None = None
) -> Response:
    view = await workflows.read_workflow(workflow_id, session, visitor.principal, visitor.request)
    today = day_of(utc_now(), await account_zone(session, visitor.account.id))
    overview = (await read_overviews(session, [view.id], today, today))[view.id]
    return visitor.page("workflows/delete.html", section="workflows", error=error, workflow=view, overview=overview)


def gist_of(view: WorkflowView) -> str:
    """Its rules in one line."""
    if view.kind is WorkflowKind.RUN:
        every = view.expected_interval_seconds
        return f"A report at least every {duration(every)}" if every else "Reported, whenever a run is over"
    parts = [
        view.validation_mode.value.capitalize(),
        plural(len(view.stages), "stage") if view.stages else "",
        f"{duration(view.instance_timeout_seconds)} a run" if view.instance_timeout_seconds else "",
        f"given up after {duration(view.idle_timeout_seconds)} of silence" if view.idle_timeout_seconds else "",
    ]
    return " · ".join(filter(None, parts))


def ping_line(view: WorkflowView, base_url: str) -> str:
    """A line for a shell that pings the workflow for the first time, but for the key."""
    head = f"curl -H {quote(f'X-API-Key: {KEY_PLACEHOLDER}')}"
    if view.kind is WorkflowKind.RUN:
        fields = f"-d workflow_id={quote(view.id)} -d ended_at=$(date -u +%FT%TZ)"
        return f"{head} {fields} {quote(f'{base_url}/api/v1/ingest/run-success')}"
    stage = "stage=1" if view.kind is WorkflowKind.STATIC else "stagePath=1&start=yes"
    agent = "&agent=me" if view.validation_mode == "strict" else ""
    return f"{head} {quote(f'{view.ping_url}?{stage}{agent}')}"


async def _tag_options(session: AsyncSession, account_id: str, chosen: str) -> list[tuple[str, str]]:
    """None if there is nothing to choose."""
    tags = await list_tags(session, account_id)
    options = [*tags, *([chosen] if chosen and chosen not in tags else [])]
    return [("", "All tags"), *((tag, tag) for tag in options)] if options else []


async def _channel_names(session: AsyncSession, account_id: str, channel_ids: Sequence[str]) -> dict[str, str]:
    if not channel_ids:
        return {}
    names = {row.id: row.name for row in await list_channels(session, account_id, limit=MAX_CHANNELS, before=None)}
    return {channel_id: names.get(channel_id, channel_id) for channel_id in channel_ids}


async def _awaited(session: AsyncSession, view: WorkflowView) -> PulseView | None:
    """The pulse that its reports are pings of: it knows when the next one is due."""
    pulse = await get_pulse(session, view.pulse_id) if view.pulse_id else None
    return (await pulse_views(session, [pulse], ""))[0] if pulse is not None else None


def _day(text: str) -> date | None:
    """None for what is no day that one can look for."""
    try:
        day = date.fromisoformat(text.strip())
    except ValueError:
        return None
    return day if 1970 <= day.year <= 9000 else None


def _start_of(day: date, zone: tzinfo) -> datetime:
    return end_of(day - timedelta(days=1), zone)
