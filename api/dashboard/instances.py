"""The page of an instance: its stages as a tree and in time, now or as of any of its steps."""

from typing import Annotated, Final
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Query
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import Request
from starlette.responses import Response

from api.dashboard.forms import Form, build
from api.dashboard.instance_data import Look, head_of, look_at, surroundings_of
from api.dashboard.instance_steps import StepShown, shown_step
from api.dashboard.links import with_query
from api.dashboard.rendering import see
from api.dashboard.stage_rows import stages_of
from api.dashboard.stage_tree import PAGE, Wanted
from api.dashboard.visitors import FormDep, Visitor, VisitorDep
from api.deps import SessionsDep, SettingsDep, SnapshotDep, Text
from api.routes import resuming
from config.settings import Settings
from domain import paths
from domain.errors import DomainError
from domain.forks import Origin
from domain.instances import FINISHED, InstanceStatus, StageStatus
from domain.subjects import instance_subject
from storage.base import snapshot

router = APIRouter(include_in_schema=False)

MAX_NUMBER: Final = 2**31 - 1
SHOWN_HANDOFFS: Final = 8
MAX_HANDOFFS: Final = 200

DONE: Final = {
    "resumed": "The instance was resumed: it takes pings again.",
    "forked": "The fork was made. Pings that name it go on from here.",
    "rerun": "The rerun was made. It waits for its first ping.",
}


@router.get("/instances/{instance_id}")
async def show_instance(
    instance_id: Text,
    visitor: VisitorDep,
    session: SnapshotDep,
    settings: SettingsDep,
    step: Annotated[int | None, Query(ge=0, le=MAX_NUMBER)] = None,
    under: Annotated[Text, Query(max_length=300)] = "",
    find: Annotated[Text, Query(max_length=200)] = "",
    state: Annotated[Text, Query(max_length=20)] = "",
    start: Annotated[int, Query(alias="from", ge=0, le=MAX_NUMBER)] = 0,
) -> Response:
    look = await look_at(session, visitor.principal, instance_id, step)
    return await _page(visitor, session, settings, look, Wanted(under, find, state, start))


@router.post("/instances/{instance_id}/resume")
async def resume(
    instance_id: Text,
    request: Request,
    visitor: VisitorDep,
    form: FormDep,
    sessions: SessionsDep,
    settings: SettingsDep,
) -> Response:
    try:
        body = build(resuming.Resumption, {"budget_limit_usd": form.text("budget_limit_usd")})
        await resuming.resume(instance_id, request, sessions, visitor.principal, body)
    except DomainError as error:
        async with snapshot(sessions) as session:
            look = await look_at(session, visitor.principal, instance_id)
            return await _page(visitor, session, settings, look, Wanted(), error=error, form=form)
    return see(f"/instances/{instance_id}?done=resumed")


async def _page(
    visitor: Visitor,
    session: AsyncSession,
    settings: Settings,
    look: Look,
    wanted: Wanted,
    *,
    error: DomainError | None = None,
    form: Form | None = None,
) -> Response:
    around = await surroundings_of(session, look)
    chosen: StepShown | None = None
    if look.step is not None:
        chosen = await shown_step(session, look, look.step)
    handoffs = look.course.handoffs()
    return visitor.page(
        "instances/show.html",
        section="workflows",
        live=instance_subject(look.row.workflow_id, look.row.id),
        done=DONE,
        error=error,
        form=form,
        stages=stages_of(look, wanted, around.changes),
        wanted=wanted,
        states=[status.value for status in StageStatus],
        around=around,
        happened=[change for change in around.changes if look.step is None or change.at <= look.end],
        chosen=chosen,
        handoffs=handoffs[:MAX_HANDOFFS],
        handoff_count=len(handoffs),
        shown_handoffs=SHOWN_HANDOFFS,
        page_size=PAGE,
        is_paused=look.current.status is InstanceStatus.PAUSED,
        is_terminated=look.current.status is InstanceStatus.TERMINATED,
        address=f"/instances/{look.row.id}",
        with_query=with_query,
        next_ping=next_ping(look, settings.base_url) if look.row.origin in (Origin.FORK, Origin.RERUN) else None,
        **head_of(look, settings, "stages"),
    )


def next_ping(look: Look, base_url: str) -> str | None:
    """How somebody goes on with an instance that takes only pings that name it; None if it takes none any more."""
    if look.current.status in FINISHED and (look.current.closes_at is None or look.current.closes_at <= look.now):
        return None
    rules = look.row.rules()
    door, name = ("shk", "stage") if rules.is_static else ("dhk", "stagePath")
    query = urlencode({name: next_stage(look), "instance_id": look.row.id, "key": "YOUR_KEY"})
    return f'curl "{base_url}/{door}/{quote(look.row.workflow_id, safe="")}?{query}"'


def next_stage(look: Look) -> str:
    """Which stage comes next, as far as numbers say: the first that is pending, or the one after the highest."""
    stages = look.current.stages
    pending = next((path for path, stage in stages.items() if stage.status is StageStatus.PENDING), None)
    if pending is not None:
        return pending
    tops = [levels[0] for path in stages if (levels := paths.numbers(path)) is not None]
    return str(max(tops, default=0) + 1)
