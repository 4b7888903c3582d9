"""Instances that a budget has paused go on."""

import asyncio
from typing import Final

import structlog
from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from api.approval_callers import caller_of
from api.budget_input import ExactRoute, Limit
from api.deps import PrincipalDep, SessionsDep, Text
from api.gateway import Gateway
from api.openapi import JSON_API_ERRORS, problems
from api.routes.instances import owned_instance
from api.security.auditing import note
from config.clock import utc_now
from domain.errors import InvalidRequest, NotFound
from domain.instances import InstanceStatus
from domain.resuming import NotPaused
from domain.subjects import instance_subject
from storage.base import transaction
from storage.instances import Instance
from storage.resume_approvals import resume_by_request
from temporal_workflows.approval import ApprovalEvent

router = APIRouter(prefix="/api/instances/{instance_id}", tags=["costs"], route_class=ExactRoute)
log = structlog.get_logger(__name__)

TELL_TIMEOUT_SECONDS: Final = 2.0

_MISSING: Final = NotFound("There is no instance dabc45678.")
_TERMINATED: Final = NotPaused.of("dabc45678", InstanceStatus.TERMINATED)
_TOO_LITTLE: Final = InvalidRequest.of_field("budget_limit_usd", "must be more than the present limit, $100.00")


class Resumption(BaseModel):
    model_config = ConfigDict(extra="forbid")

    budget_limit_usd: Limit | None = Field(
        None,
        description="What this instance may cost in all from now on, in US dollars: more than its limit, and than it "
        "has cost. If left out, its limit stays, and the line that paused it does not stop it again.",
    )


class ResumedInstance(BaseModel):
    message: str
    instance_id: str
    status: InstanceStatus


@router.post("/resume", responses=problems(*JSON_API_ERRORS, _TOO_LITTLE, _MISSING, _TERMINATED))
async def resume(
    instance_id: Text,
    request: Request,
    sessions: SessionsDep,
    principal: PrincipalDep,
    body: Resumption | None = None,
) -> ResumedInstance:
    """An instance that its budget has paused takes pings again. Its deadlines have stood still meanwhile."""
    limit_usd = body.budget_limit_usd if body is not None else None
    async with transaction(sessions) as session:
        await owned_instance(session, principal, instance_id)
        who, _ = await caller_of(session, principal, request)
        resumed = await resume_by_request(session, instance_id, who, utc_now(), limit_usd)
        subject = f"instance/{resumed.instance.workflow_id}/{instance_id}"
        note(session, request, principal, "instance.resumed", subject, name=instance_id)
    if resumed.cancelled is not None:
        _gateway(request).follower.tell(resumed.cancelled, ApprovalEvent("cancelled", who.name))
    await _tell(_gateway(request), resumed.instance)
    status = InstanceStatus(resumed.instance.status)
    return ResumedInstance(message="Instance resumed", instance_id=instance_id, status=status)


async def _tell(gateway: Gateway, instance: Instance) -> None:
    """Has its workflow load it again. If that fails, housekeeping does it, or its next ping."""
    try:
        async with asyncio.timeout(TELL_TIMEOUT_SECONDS):
            await gateway.temporal.tell_of_change(instance_subject(instance.workflow_id, instance.id))
    except Exception as error:
        log.info("a workflow was not told yet that it was resumed", instance=instance.id, error=str(error))


def _gateway(request: Request) -> Gateway:
    gateway: Gateway = request.app.state.gateway
    return gateway
