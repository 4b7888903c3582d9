"""Time travel: the same work once more. Whoever does it gets the inputs, and reports a run that waits for it."""

from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response

from api.deps import PrincipalDep, SessionsDep, SettingsDep, SnapshotDep, Text
from api.fork_views import NewRerun, RerunCreated, RerunInputs, inputs_document, modifications_of
from api.openapi import JSON_API_ERRORS, Responses, problems
from api.routes.instances import owned_instance
from api.security.auditing import note
from api.timeline_views import answer
from config.clock import utc_now
from domain.errors import Conflict, InvalidRequest, NotFound
from domain.forks import Origin
from storage.base import transaction
from storage.reruns import read_inputs, rerun_instance

router = APIRouter(prefix="/api/instances/{instance_id}", tags=["time travel"])

MAX_START: Final = 2**31 - 2_000

_INPUTS: Final[Responses] = {200: {"model": RerunInputs}}
_MISSING: Final = NotFound("There is no instance dabc45678.")
_NO_RERUN: Final = NotFound("Instance dabc45678 is no rerun; only those have inputs.")
_NOT_EXECUTED: Final = InvalidRequest.of_field("payload_modifications.7", "stage 7 was not executed by this instance")
_TOO_DEEP: Final = Conflict("Instance dabc45678 is 100 steps away from its root; take one that is nearer to it.")


@router.post("/rerun", status_code=201, responses=problems(*JSON_API_ERRORS, _NOT_EXECUTED, _MISSING, _TOO_DEEP))
async def rerun(
    instance_id: Text,
    sessions: SessionsDep,
    settings: SettingsDep,
    principal: PrincipalDep,
    request: Request,
    body: NewRerun | None = None,
) -> RerunCreated:
    """A new instance that is `pending` until its first ping, for the work of this one to be done once more. The inputs
    are at `GET …/inputs`, and channels are told by an alert `instance_rerun_requested`."""
    modifications = modifications_of(body.payload_modifications if body is not None else {})
    inputs_url = settings.base_url + "/api/instances/{}/inputs"
    async with transaction(sessions) as session:
        parent = await owned_instance(session, principal, instance_id)
        made = await rerun_instance(session, parent, modifications, utc_now(), inputs_url)
        subject = f"instance/{parent.workflow_id}/{parent.id}"
        note(session, request, principal, "instance.rerun", subject, name=parent.id, made=made.id)
    assert made.session_id is not None
    return RerunCreated(new_instance_id=made.id, session_id=made.session_id)


@router.get("/inputs", responses=_INPUTS | problems(*JSON_API_ERRORS, _NO_RERUN))
async def read_rerun_inputs(
    instance_id: Text,
    session: SnapshotDep,
    principal: PrincipalDep,
    start: Annotated[int, Query(alias="from", ge=0, le=MAX_START, description="The first; they count from 0.")] = 0,
    limit: Annotated[int, Query(ge=1, le=1000, description="How many stages at most.")] = 100,
) -> Response:
    """What the stages of a rerun are to be done with: the last accepted payload of each, as it was modified."""
    instance = await owned_instance(session, principal, instance_id)
    if instance.origin != Origin.RERUN:
        raise NotFound(f"Instance {instance.id} is no rerun; only those have inputs.")
    return answer(inputs_document(instance, await read_inputs(session, instance.id, start=start, limit=limit), start))
