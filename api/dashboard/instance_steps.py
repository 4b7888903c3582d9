"""The steps of an instance: a list of all, what happened between them, and each with its payload."""

from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from api.dashboard.instance_data import Look, head_of, look_at
from api.dashboard.payloads import Body, body_of
from api.dashboard.visitors import VisitorDep
from api.deps import SettingsDep, SnapshotDep, Text
from api.timeline_views import timeline_document
from domain.errors import NotFound
from domain.subjects import instance_subject
from domain.timeline import Step
from storage.timeline import StepPage, list_happenings, read_steps

router = APIRouter(include_in_schema=False)

PAGE: Final = 50
SHORT: Final = 4_000
"""Characters of a payload that are shown beside other things."""
LONG: Final = 20_000
"""Characters that are shown on the page of a step, unless all are asked for."""
ALL: Final = 1_000_000
"""The most that is ever shown; the JSON API has the rest."""

MAX_NUMBER: Final = 2**31 - 1


@dataclass(frozen=True)
class StepShown:
    """A step with what happened before the next one."""

    step: Step
    body: Body | None
    usage: Body | None
    tool_calls: Body | None
    events: list[dict[str, Any]]
    total: int

    @property
    def status(self) -> str:
        return self.step.status.value if self.step.accepted else "rejected"


async def shown_step(session: AsyncSession, look: Look, number: int, limit: int = SHORT) -> StepShown:
    """Raises NotFound if there are fewer steps."""
    page = await read_steps(session, look.row.id, start=number, limit=1)
    if not page.steps:
        raise NotFound(f"Instance {look.row.id} has no step {number}; it has {page.total}.")
    step = page.steps[0]
    return StepShown(
        step,
        body_of(step.payload, limit),
        body_of(step.usage, limit),
        body_of(step.tool_calls, limit),
        await _events(session, look, page, number),
        page.total,
    )


async def _events(session: AsyncSession, look: Look, page: StepPage, start: int) -> list[dict[str, Any]]:
    since = page.steps[0].at if page.steps and start else None
    happenings = await list_happenings(session, look.row, since, page.until)
    document = timeline_document(look.row, look.current.status, page, start, happenings)
    return list(document["events"])


@router.get("/instances/{instance_id}/timeline")
async def show_timeline(
    instance_id: Text,
    visitor: VisitorDep,
    session: SnapshotDep,
    settings: SettingsDep,
    start: Annotated[int, Query(alias="from", ge=0, le=MAX_NUMBER)] = 0,
) -> Response:
    """All steps in their order, a page at a time, with what happened between them."""
    look = await look_at(session, visitor.principal, instance_id)
    page = await read_steps(session, look.row.id, start=start, limit=PAGE)
    after: dict[int | None, list[dict[str, Any]]] = {}
    for event in await _events(session, look, page, start):
        after.setdefault(event["after_step"], []).append(event)
    return visitor.page(
        "instances/timeline.html",
        section="workflows",
        live=instance_subject(look.row.workflow_id, look.row.id),
        steps=page.steps,
        total=page.total,
        start=start,
        page_size=PAGE,
        events=after,
        **head_of(look, settings, "timeline"),
    )


@router.get("/instances/{instance_id}/steps/{number}")
async def show_step(
    instance_id: Text,
    number: Text,
    visitor: VisitorDep,
    session: SnapshotDep,
    settings: SettingsDep,
    whole: Annotated[bool, Query(alias="all")] = False,
) -> Response:
    """One step, with its payload."""
    if not number.isascii() or not number.isdecimal() or len(number) > 9:
        raise NotFound(f"Instance {instance_id} has no step {number}.")
    look = await look_at(session, visitor.principal, instance_id)
    chosen = await shown_step(session, look, int(number), ALL if whole else LONG)
    return visitor.page(
        "instances/step.html",
        section="workflows",
        chosen=chosen,
        whole=whole,
        most=ALL,
        **head_of(look, settings, "timeline"),
    )
