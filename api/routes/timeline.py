"""Time travel: an instance step by step, and how it stood after any of them."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Response
from sqlalchemy.ext.asyncio import AsyncSession

from api.deps import PrincipalDep, SnapshotDep, Text
from api.openapi import JSON_API_ERRORS, Responses, problems
from api.routes.instances import owned_instance
from api.timeline_views import Timeline, TimelineMoment, answer, moment_document, timeline_document
from api.views import current_views
from domain.errors import InvalidRequest, NotFound
from domain.timeline import as_of
from storage.exports import outages_of
from storage.instances import Instance
from storage.pings import list_facts
from storage.timeline import count_steps, find_step, list_happenings, read_steps

router = APIRouter(prefix="/api/instances/{instance_id}", tags=["time travel"])

MAX_STEP: Final = 2**31 - 1

_TIMELINE: Final[Responses] = {200: {"model": Timeline | TimelineMoment}}
_MISSING: Final = NotFound("There is no instance dabc45678.")
_OUT_OF_RANGE: Final = InvalidRequest.of_field("at_step", "must be one of the steps 0 to 41")


@router.get("/timeline", responses=_TIMELINE | problems(*JSON_API_ERRORS, _OUT_OF_RANGE, _MISSING))
async def read_timeline(
    instance_id: Text,
    session: SnapshotDep,
    principal: PrincipalDep,
    start: Annotated[int, Query(alias="from", ge=0, le=MAX_STEP, description="The first step; they count from 0.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000, description="How many steps at most.")] = 100,
    at_step: Annotated[
        int | None, Query(ge=0, le=MAX_STEP, description="Instead of the steps, the whole tree as it stood after one.")
    ] = None,
) -> Response:
    """Every ping that the instance got, rejected ones too, in the order in which they were received, and what happened
    between them. Or, with `at_step`, how the instance stood right after one of them."""
    instance = await owned_instance(session, principal, instance_id)
    if at_step is not None:
        return answer(await _moment(session, instance, at_step))
    page = await read_steps(session, instance.id, start=start, limit=limit)
    since = page.steps[0].at if page.steps and start else None
    happenings = await list_happenings(session, instance, since, page.until)
    status = (await current_views(session, [instance]))[instance.id].status
    return answer(timeline_document(instance, status, page, start, happenings))


async def _moment(session: AsyncSession, instance: Instance, number: int) -> dict[str, Any]:
    total = await count_steps(session, instance.id)
    last = await find_step(session, instance.id, number)
    if last is None:
        steps = f"one of the steps 0 to {total - 1}" if total else "left out: this instance has no steps yet"
        raise InvalidRequest.of_field("at_step", f"must be {steps}")
    outages = await outages_of(session, instance, last.at)
    view = as_of(instance.before_pings(), await list_facts(session, instance.id), last, outages)
    return moment_document(instance, view, total, number, last.at)
