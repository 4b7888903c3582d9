"""The pages of process hooks, and of their runs."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Final

from fastapi import APIRouter, Query
from markupsafe import Markup
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from api.dashboard.charts.durations import LOOKS, RunPoint, durations_plot, run_strip, symbol, typical_seconds
from api.dashboard.links import temporal_url, with_query
from api.dashboard.rendering import see
from api.dashboard.visitors import FormDep, VisitorDep
from api.deps import SessionDep, SnapshotDep, Text
from api.pages import Cursor
from api.routes import process_hooks
from api.routes.process_hooks import HookView
from api.run_views import RunDocument, run_documents
from config.clock import utc_now
from domain.processes import RunStatus, seconds_between
from domain.subjects import process_source, run_subject
from storage.alerts import list_alerts
from storage.channels import list_channels
from storage.processes import ProcessRun
from storage.run_lists import latest_runs

router = APIRouter(include_in_schema=False)

PAGE: Final = 25
STRIP: Final = 30
"""Runs in the list of hooks, of each."""

PLOTTED: Final = 200
MOST_CHANNELS: Final = 500
MOST_ALERTS: Final = 20

DONE: Final = {
    "created": "The process hook was created. Its runs are shown here as soon as they begin.",
    "changed": "The changes were saved. Runs that are under way keep the times they were started with.",
}
_DONE_IN_LIST: Final = {"deleted": "The process hook was deleted. It takes no more pings."}


@dataclass(frozen=True)
class Line:
    """One hook in the list. `last` is its latest run."""

    hook: HookView
    strip: Markup
    last: RunPoint | None
    typical_seconds: float | None


@router.get("/process-hooks")
async def show_all(visitor: VisitorDep, session: SnapshotDep, cursor: Cursor = None) -> Response:
    found = await process_hooks.list_all_hooks(session, visitor.principal, visitor.request, PAGE, cursor)
    hooks = found.process_hooks
    runs = await latest_runs(session, [hook.id for hook in hooks], STRIP)
    points = await _points(session, [run for hook in hooks for run in runs[hook.id]], utc_now())
    by_hook = {hook.id: [points[run.id] for run in runs[hook.id]] for hook in hooks}
    return visitor.page(
        "process_hooks/list.html",
        section="process",
        live=process_source(""),
        done=_DONE_IN_LIST,
        lines=[_line(hook, by_hook[hook.id]) for hook in hooks],
        next=with_query("/process-hooks", cursor=found.next_cursor) if found.next_cursor else None,
        first="/process-hooks" if cursor else None,
    )


@router.get("/process-hooks/{hook_id}")
async def show(
    hook_id: Text,
    visitor: VisitorDep,
    session: SnapshotDep,
    cursor: Cursor = None,
    status: Annotated[str, Query(max_length=100)] = "",
) -> Response:
    hook = await process_hooks.read_hook(hook_id, session, visitor.principal, visitor.request)
    found = await process_hooks.read_runs(hook.id, session, visitor.principal, PAGE, cursor, [status])
    runs = (await latest_runs(session, [hook.id], PLOTTED))[hook.id]
    points = list((await _points(session, runs, utc_now())).values())
    channels = await list_channels(session, visitor.account.id, limit=MOST_CHANNELS, before=None)
    path = f"/process-hooks/{hook.id}"
    return visitor.page(
        "process_hooks/show.html",
        section="process",
        live=process_source(hook.id),
        done=DONE,
        hook=hook,
        points=points,
        plot=durations_plot(points, hook.expected_seconds, hook.grace_seconds, visitor.account.time_zone),
        key=[(symbol(tone, shape), words) for tone, shape, words in LOOKS if _is_among(points, words)],
        runs=found.runs,
        statistics=found.statistics,
        statuses=[one.value for one in RunStatus],
        wanted=status,
        next=with_query(path, status=status, cursor=found.next_cursor) if found.next_cursor else None,
        first=with_query(path, status=status) if cursor else None,
        channels=[channel for channel in channels if channel.id in hook.channels],
    )


@router.get("/process-hooks/{hook_id}/runs/{run_id}")
async def show_run(hook_id: Text, run_id: Text, visitor: VisitorDep, session: SnapshotDep) -> Response:
    hook = await process_hooks.read_hook(hook_id, session, visitor.principal, visitor.request)
    run = await process_hooks.read_run(hook.id, run_id, session, visitor.principal)
    subject = run_subject(hook.id, run.run_id)
    settings = visitor.request.app.state.settings
    return visitor.page(
        "process_hooks/run.html",
        section="process",
        live=subject,
        hook=hook,
        run=run,
        running_seconds=seconds_between(run.started_at, utc_now()) if run.finished_at is None else None,
        alerts=await list_alerts(session, visitor.account.id, limit=MOST_ALERTS, subject=subject),
        temporal_url=temporal_url(settings, subject),
    )


@router.post("/process-hooks/{hook_id}/delete")
async def delete(hook_id: Text, visitor: VisitorDep, form: FormDep, session: SessionDep) -> Response:
    await process_hooks.delete_hook(hook_id, session, visitor.principal, visitor.request)
    return see("/process-hooks?done=deleted")


def _line(hook: HookView, points: Sequence[RunPoint]) -> Line:
    last = points[-1] if points else None
    return Line(hook, run_strip(points, hook.name, STRIP), last, typical_seconds(points))


def _is_among(points: Sequence[RunPoint], words: str) -> bool:
    return any(point.look[2] == words.lower() for point in points)


async def _points(session: AsyncSession, runs: Sequence[ProcessRun], now: datetime) -> dict[str, RunPoint]:
    """By run, in their order. What has ended and is not recorded yet is read from the journal."""
    behind = [run for run in runs if run.ended_at is not None and run.finished_at is None]
    documents = {document.run_id: document for document in await run_documents(session, behind)}
    return {run.id: _point(run, documents.get(run.id), now) for run in runs}


def _point(run: ProcessRun, document: RunDocument | None, now: datetime) -> RunPoint:
    if document is not None:
        status, finished_at, overdue_at = document.status, document.finished_at, document.overdue_at
    else:
        status, finished_at, overdue_at = RunStatus(run.status), run.finished_at, run.overdue_at
    seconds = seconds_between(run.started_at, finished_at or now)
    return RunPoint(run.id, status, run.started_at, seconds, overdue_at is not None)
