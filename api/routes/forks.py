"""Time travel: another course of an instance from one of its stages on, and the tree of all of them."""

import asyncio
from typing import Final

import structlog
from fastapi import APIRouter, Request

from api.deps import PrincipalDep, SessionsDep, SnapshotDep, Text
from api.fork_views import ForkCreated, Lineage, NewFork, fork_document, modifications_of, relative
from api.gateway import Gateway
from api.openapi import JSON_API_ERRORS, problems
from api.pages import Cursor, Limit, decode_cursor, encode_cursor
from api.routes.instances import owned_instance
from api.security.auditing import note
from api.views import current_views
from config.clock import utc_now
from domain.errors import Conflict, InvalidRequest, NotFound
from domain.paths import parse_path
from domain.subjects import instance_subject
from storage.base import transaction
from storage.forks import fork_instance, list_lineage
from storage.instances import Instance

router = APIRouter(prefix="/api/instances/{instance_id}", tags=["time travel"])
log = structlog.get_logger(__name__)

TELL_TIMEOUT_SECONDS: Final = 2.0

_MISSING: Final = NotFound("There is no instance dabc45678.")
_NOT_EXECUTED: Final = InvalidRequest.of_field("fork_from_stage", "stage 7 was not executed by this instance")
_TOO_DEEP: Final = Conflict("Instance dabc45678 is 100 steps away from its root; take one that is nearer to it.")


@router.post("/fork", status_code=201, responses=problems(*JSON_API_ERRORS, _NOT_EXECUTED, _MISSING, _TOO_DEEP))
async def fork(
    instance_id: Text, body: NewFork, request: Request, sessions: SessionsDep, principal: PrincipalDep
) -> ForkCreated:
    """A new instance whose history is that of this one up to and with the last ping of a stage. Pings with its
    `instance_id` go on from there; this one is not touched, whether it is running or finished."""
    stage = parse_path(body.fork_from_stage, "fork_from_stage")
    modifications = modifications_of(body.payload_modifications)
    async with transaction(sessions) as session:
        parent = await owned_instance(session, principal, instance_id)
        forked = await fork_instance(session, parent, stage, modifications, utc_now())
        subject = f"instance/{parent.workflow_id}/{parent.id}"
        note(session, request, principal, "instance.forked", subject, name=parent.id, made=forked.instance.id)
    await _start(request, forked.instance)
    return fork_document(forked)


@router.get("/lineage", responses=problems(*JSON_API_ERRORS, _MISSING))
async def read_lineage(
    instance_id: Text, session: SnapshotDep, principal: PrincipalDep, limit: Limit = 100, cursor: Cursor = None
) -> Lineage:
    """The whole tree that this instance belongs to, from the first one on: each with its parent."""
    instance = await owned_instance(session, principal, instance_id)
    root_id = instance.root_id or instance.id
    rows = await list_lineage(session, root_id, limit=limit + 1, after=decode_cursor(cursor))
    page = rows[:limit]
    views = await current_views(session, page)
    return Lineage(
        root_id=root_id,
        instances=[relative(row, views[row.id]) for row in page],
        next_cursor=encode_cursor(page[-1].opened_at, page[-1].id) if len(rows) > limit else None,
    )


async def _start(request: Request, instance: Instance) -> None:
    """Has its workflow, which keeps its deadlines, begin. If that fails, its next ping does it, or `pingpulse revive`.

    After the commit: the workflow loads what it begins with from Postgres.
    """
    gateway: Gateway = request.app.state.gateway
    try:
        async with asyncio.timeout(TELL_TIMEOUT_SECONDS):
            await gateway.temporal.signal(instance_subject(instance.workflow_id, instance.id), [])
    except Exception as error:
        log.info("the workflow of a fork was not started yet", instance=instance.id, error=str(error))
