"""Two instances side by side, and comparisons that were made before."""

import asyncio
from typing import Annotated, Final

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from api.comparison_views import ComparisonSession, Run, comparison_json, session_json
from api.deps import PrincipalDep, SessionDep, SessionsDep, Text
from api.openapi import JSON_API_ERRORS, Responses, problems
from api.routes.instances import owned_instance
from api.security import ensure_owner
from config.clock import utc_now
from domain.alignment import MAX_ITEMS
from domain.comparison import compare
from domain.errors import InvalidRequest, NotFound
from domain.json_diff import DEFAULT_IGNORE, Ignore
from domain.timeline import Step
from storage.base import snapshot, transaction
from storage.comparisons import ComparisonRow, Extent, get_comparison, keep_comparison, measure, new_session_id
from storage.instances import Instance
from storage.timeline import read_steps

router = APIRouter(prefix="/api", tags=["time travel"])

MAX_BYTES: Final = 64 * 1024 * 1024
"""Of what was sent with all steps of both."""

InstanceId = Annotated[Text, Field(min_length=1, max_length=64)]

_ANSWER: Final[Responses] = {200: {"model": ComparisonSession}}
_NO_INSTANCE: Final = NotFound("There is no instance dabc45678.")
_NO_SESSION: Final = NotFound("There is no comparison 2f6c1d52-0c0b-4ad5-9a51-6c8a07b31a8e.")


class ComparisonRequest(BaseModel):
    model_config = ConfigDict(extra="forbid")

    instance_a: InstanceId
    instance_b: InstanceId
    ignore: list[Text] = Field(
        list(DEFAULT_IGNORE),
        description="Members of payloads that do not count: JSON pointers such as `/meta/run`, with `*` for any part "
        "of a name, `*/id` for any depth, and the word `timestamps` for texts that are both a date with a time. Ids "
        "and timestamps unless you say otherwise.",
        examples=[["/meta/run", "*/id", "timestamps"]],
    )


@router.post("/instances/compare", responses=_ANSWER | problems(*JSON_API_ERRORS, _NO_INSTANCE))
async def compare_instances(
    body: ComparisonRequest, request: Request, sessions: SessionsDep, principal: PrincipalDep
) -> Response:
    """What two instances add up to, in what they differ, and from which step on. Their steps are aligned by stage
    paths, so that one more or less does not shift the rest; the workflows may be different ones."""
    Ignore(body.ignore)
    at_work: asyncio.Semaphore = request.app.state.at_work
    # One at a time: it is much to hold in memory, and pings are not to wait for more than one other thread.
    async with at_work:
        async with snapshot(sessions) as session:
            a = await owned_instance(session, principal, body.instance_a)
            b = await owned_instance(session, principal, body.instance_b)
            _check_extent(await measure(session, {a.id, b.id}))
            ours = await _steps(session, a)
            theirs = await _steps(session, b) if b.id != a.id else ours
        document = await asyncio.to_thread(_compare, _run(a), _run(b), ours, theirs, body.ignore)
    row = ComparisonRow(
        session_id=new_session_id(),
        account_id=principal.account_id,
        created_at=utc_now(),
        instance_a=a.id,
        instance_b=b.id,
        request=body.model_dump(mode="json"),
        document=document,
    )
    async with transaction(sessions) as session:
        await keep_comparison(session, row)
    return _answer(row)


@router.get("/comparisons/{session_id}", responses=_ANSWER | problems(*JSON_API_ERRORS, _NO_SESSION))
async def read_comparison(session_id: Text, session: SessionDep, principal: PrincipalDep) -> Response:
    """A comparison as it was answered then. The last 1,000 of an account are kept."""
    row = await get_comparison(session, session_id)
    if row is None:
        raise NotFound(f"There is no comparison {session_id}.")
    ensure_owner(principal, row.account_id)
    return _answer(row)


def _check_extent(extents: dict[str, Extent]) -> None:
    for instance_id, extent in extents.items():
        if extent.steps > MAX_ITEMS:
            raise InvalidRequest(
                f"Instance {instance_id} has {extent.steps} steps; instances of up to {MAX_ITEMS} can be compared."
            )
    size = sum(extent.size_bytes for extent in extents.values())
    if size > MAX_BYTES:
        raise InvalidRequest(
            f"The payloads of both have {size} bytes; up to {MAX_BYTES} can be compared. Compare instances with fewer "
            "steps, or with smaller payloads."
        )


async def _steps(session: SessionDep, instance: Instance) -> list[Step]:
    return (await read_steps(session, instance.id, limit=MAX_ITEMS)).steps


def _run(instance: Instance) -> Run:
    return Run(instance.id, instance.workflow_id)


def _compare(a: Run, b: Run, ours: list[Step], theirs: list[Step], ignore: list[str]) -> str:
    return comparison_json(a, b, compare(ours, theirs, ignore), ignore).decode()


def _answer(row: ComparisonRow) -> Response:
    return Response(session_json(row.session_id, row.document), media_type="application/json")
