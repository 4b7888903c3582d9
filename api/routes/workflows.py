"""Workflow definitions."""

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any, Final

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from api.approval_callers import caller_of
from api.deps import PrincipalDep, SessionDep, SessionsDep, Text
from api.gateway import Gateway
from api.interval_fields import INTERVAL_FIELDS, changed_interval
from api.openapi import JSON_API_ERRORS, problems
from api.pages import Cursor, Limit, decode_cursor, encode_cursor
from api.ping_input import check_id
from api.pulse_telling import tell_of_new_rules
from api.security import Principal, ensure_owner
from api.security.auditing import note
from api.workflow_fields import NewWorkflow, StageInput, WorkflowInput
from config.clock import utc_now
from domain.errors import Conflict, InvalidRequest, NotFound
from domain.ids import new_workflow_id, random_id
from domain.slugs import slug_of
from domain.subjects import workflow_source
from domain.workflows import StageDefinition, ValidationMode, WorkflowDefinition, WorkflowKind
from storage.base import transaction
from storage.budgets import get_budget
from storage.channels import attach, attached
from storage.expectations import expect, expected_of, follow
from storage.instances import terminate_instances
from storage.resume_approvals import cancel_needless
from storage.run_standings import forget_run_standing
from storage.slugs import slug_is_taken
from storage.workflows import (
    Workflow,
    columns_of,
    get_workflow,
    list_workflows,
    lock_workflows,
)
from temporal_workflows.approval import ApprovalEvent

router = APIRouter(prefix="/api/workflows", tags=["workflows"])


class WorkflowView(BaseModel):
    id: str
    kind: WorkflowKind
    name: str
    slug: str
    validation_mode: ValidationMode
    stages: list[StageInput]
    stage_timeout_seconds: float | None
    instance_timeout_seconds: float | None
    idle_timeout_seconds: float | None
    grace_period_seconds: float
    expected_interval_seconds: float | None
    expected_grace_seconds: float | None
    pulse_id: str | None = Field(description="The pulse that its reports are pings of, if they are expected.")
    tags: list[str]
    channels: list[str]
    created_at: datetime
    updated_at: datetime
    ping_url: str = Field(description="Where to ping it, without the key.")


class WorkflowList(BaseModel):
    workflows: list[WorkflowView]
    next_cursor: str | None


_PING_PATHS: Final = {
    WorkflowKind.STATIC: "/shk/{id}",
    WorkflowKind.DYNAMIC: "/dhk/{id}",
    WorkflowKind.RUN: "/api/v1/ingest/run-success",
}
_MISSING = NotFound("There is no workflow nightly_etl.")
_TAKEN = Conflict("The slug nightly-etl is taken; choose another.")


@router.post("", status_code=201, responses=problems(*JSON_API_ERRORS, _TAKEN))
async def create_workflow(
    body: NewWorkflow, sessions: SessionsDep, principal: PrincipalDep, request: Request
) -> WorkflowView:
    """Defines a workflow. If reports are expected of it, the first one is from now on."""
    async with transaction(sessions) as session:
        workflow, pulse_id = await _create(session, principal, body)
        note(session, request, principal, "workflow.created", f"workflow/{workflow.id}", name=workflow.name)
        view = await _view(session, workflow, request)
    if pulse_id is not None:
        await tell_of_new_rules(sessions, pulse_id, request)
    return view


async def _create(session: AsyncSession, principal: Principal, body: NewWorkflow) -> tuple[Workflow, str | None]:
    """With the pulse whose Temporal workflow is to be told."""
    workflow_id = check_id("id", body.id) if body.id else new_workflow_id(body.kind)
    existing = await session.get(Workflow, workflow_id, with_for_update=True)
    if existing is not None:
        ensure_owner(principal, existing.account_id)
        if existing.deleted_at is None:
            raise Conflict(f"The id {workflow_id} is taken; change that workflow with PATCH, or choose another id.")
    slug = body.slug or slug_of(body.name, workflow_id)
    if await slug_is_taken(session, Workflow, principal.account_id, slug, other_than=workflow_id):
        if body.slug:
            raise Conflict(f"The slug {slug} is taken; choose another.")
        slug = random_id(f"{slug[:100]}-", 6)
    _check_mode(body.kind, body.validation_mode)
    definition = WorkflowDefinition(
        id=workflow_id,
        account_id=principal.account_id,
        kind=body.kind,
        name=body.name,
        slug=slug,
        tags=tuple(body.tags),
        validation_mode=body.validation_mode,
        stages=stages_of(body.kind, body.stages),
        stage_timeout_seconds=body.stage_timeout_seconds,
        instance_timeout_seconds=body.instance_timeout_seconds,
        idle_timeout_seconds=body.idle_timeout_seconds,
        grace_period_seconds=body.grace_period_seconds,
    )
    interval = changed_interval(body, body.kind, None)
    now = utc_now()
    workflow = Workflow(**columns_of(definition), created_at=now, updated_at=now, deleted_at=None, pulse_id=None)
    workflow = await session.merge(workflow) if existing is not None else workflow
    session.add(workflow)
    await _flush(session)
    await attach(session, principal.account_id, workflow_source(workflow_id), body.channels)
    pulse_id = await expect(session, workflow, interval, now)
    await follow(session, workflow, body.channels, now)
    return workflow, pulse_id


@router.get("", responses=problems(*JSON_API_ERRORS))
async def list_all(
    session: SessionDep, principal: PrincipalDep, request: Request, limit: Limit = 50, cursor: Cursor = None
) -> WorkflowList:
    """The account's workflows, the newest first."""
    rows = await list_workflows(session, principal.account_id, limit=limit + 1, before=decode_cursor(cursor))
    page = rows[:limit]
    return WorkflowList(
        workflows=await _views(session, page, request),
        next_cursor=encode_cursor(page[-1].created_at, page[-1].id) if len(rows) > limit else None,
    )


@router.get("/{workflow_id}", responses=problems(*JSON_API_ERRORS, _MISSING))
async def read_workflow(
    workflow_id: Text, session: SessionDep, principal: PrincipalDep, request: Request
) -> WorkflowView:
    """One workflow."""
    return await _view(session, await owned_workflow(session, principal, workflow_id), request)


@router.patch("/{workflow_id}", responses=problems(*JSON_API_ERRORS, _MISSING, _TAKEN))
async def change_workflow(
    workflow_id: Text, body: WorkflowInput, sessions: SessionsDep, principal: PrincipalDep, request: Request
) -> WorkflowView:
    """Changes what the body names. Instances that are open keep the definition they were opened with."""
    async with transaction(sessions) as session:
        workflow, pulse_ids = await _change(session, principal, workflow_id, body)
        details = {"name": workflow.name, "changed": sorted(body.model_fields_set)}
        note(session, request, principal, "workflow.changed", f"workflow/{workflow.id}", **details)
        view = await _view(session, workflow, request)
    for pulse_id in pulse_ids:
        await tell_of_new_rules(sessions, pulse_id, request)
    return view


async def _change(
    session: AsyncSession, principal: Principal, workflow_id: str, body: WorkflowInput
) -> tuple[Workflow, set[str]]:
    """With the pulses whose Temporal workflows are to be told."""
    workflow = await owned_workflow(session, principal, workflow_id)
    changes: dict[str, Any] = body.model_dump(exclude_unset=True, mode="json")
    for name in ("name", "slug"):
        if changes.get(name, "") is None:
            del changes[name]
    is_about_interval = not changes.keys().isdisjoint(INTERVAL_FIELDS)
    interval = None
    if is_about_interval:
        expected = (await expected_of(session, [workflow_id])).get(workflow_id)
        interval = changed_interval(body, WorkflowKind(workflow.kind), expected)
        changes = {name: value for name, value in changes.items() if name not in INTERVAL_FIELDS}
    _check_mode(WorkflowKind(workflow.kind), changes.get("validation_mode"))
    if "stages" in changes:
        changes["stages"] = [asdict(stage) for stage in stages_of(WorkflowKind(workflow.kind), body.stages)]
    if "slug" in changes and await slug_is_taken(
        session, Workflow, principal.account_id, changes["slug"], other_than=workflow_id
    ):
        raise Conflict(f"The slug {changes['slug']} is taken; choose another.")
    if (channels := changes.pop("channels", None)) is not None:
        await attach(session, principal.account_id, workflow_source(workflow_id), channels)
    for name, value in changes.items():
        setattr(workflow, name, value)
    workflow.updated_at = now = utc_now()
    await _flush(session)
    changed = {await expect(session, workflow, interval, now)} if is_about_interval else set()
    if is_about_interval and channels is None:
        channels = (await attached(session, [workflow_source(workflow_id)]))[workflow_source(workflow_id)]
    changed.add(await follow(session, workflow, channels, now))
    return workflow, {pulse_id for pulse_id in changed if pulse_id is not None}


@router.delete("/{workflow_id}", status_code=204, responses=problems(*JSON_API_ERRORS, _MISSING))
async def delete_workflow(workflow_id: Text, sessions: SessionsDep, principal: PrincipalDep, request: Request) -> None:
    """Ends its open instances as `terminated` and takes no more pings; approvals that would resume one are cancelled.
    The history stays."""
    gateway: Gateway = request.app.state.gateway
    now = utc_now()
    async with transaction(sessions) as session:
        workflow = await owned_workflow(session, principal, workflow_id)
        who, _ = await caller_of(session, principal, request)
        # Before all other rows, and against a pause that would ask somebody behind our back.
        await get_budget(session, workflow_id, lock=True)
        # Whoever opens an instance holds this lock: none can slip in behind us.
        await lock_workflows(session, [workflow_id])
        workflow.deleted_at = now
        note(session, request, principal, "workflow.deleted", f"workflow/{workflow.id}", name=workflow.name)
        notes = f"Workflow {workflow_id} was deleted by {who.name}."
        cancelled = await cancel_needless(session, workflow_id, who, notes, now)
        await attach(session, workflow.account_id, workflow_source(workflow_id), [])
        pulse_id = await expect(session, workflow, None, now)
        ended = await terminate_instances(session, workflow_id, now)
        await forget_run_standing(session, workflow_id)
    if pulse_id is not None:
        await tell_of_new_rules(sessions, pulse_id, request)
    for approval_id in cancelled:
        gateway.follower.tell(approval_id, ApprovalEvent("cancelled", who.name))
    await gateway.end_instances(workflow_id, ended)


async def owned_workflow(session: SessionDep, principal: PrincipalDep, workflow_id: str) -> Workflow:
    """The workflow, if it is the principal's. Raises NotFound or Forbidden."""
    workflow = await get_workflow(session, workflow_id)
    if workflow is None:
        raise NotFound(f"There is no workflow {workflow_id}.")
    ensure_owner(principal, workflow.account_id)
    return workflow


def stages_of(kind: WorkflowKind, stages: list[StageInput]) -> tuple[StageDefinition, ...]:
    """In order. Raises InvalidRequest naming `stages` when they have gaps, or are not for this kind of workflow."""
    if (kind is WorkflowKind.STATIC) != bool(stages):
        need = {
            WorkflowKind.STATIC: "needs at least one stage",
            WorkflowKind.DYNAMIC: "takes no stages: they appear as pinged",
            WorkflowKind.RUN: "takes no stages: its runs are reported as a whole",
        }[kind]
        raise InvalidRequest.of_field("stages", f"a {kind} workflow {need}")
    in_order = sorted(stages, key=lambda stage: stage.order)
    if [stage.order for stage in in_order] != list(range(1, len(stages) + 1)):
        raise InvalidRequest.of_field("stages", "the orders must be 1, 2, 3 … without a gap or a repetition")
    return tuple(StageDefinition(stage.order, stage.name, stage.timeout_seconds) for stage in in_order)


def _check_mode(kind: WorkflowKind, mode: str | None) -> None:
    """Raises InvalidRequest naming `validation_mode`."""
    if kind is WorkflowKind.RUN and mode == ValidationMode.STRICT:
        raise InvalidRequest.of_field(
            "validation_mode", "must be flexible: the runs of a run workflow have no order to be strict about"
        )


async def _flush(session: AsyncSession) -> None:
    """Raises Conflict when another request was quicker to take the id or the slug."""
    try:
        await session.flush()
    except IntegrityError:
        raise Conflict("The id or the slug was taken by another request just now; choose another.") from None


async def _view(session: AsyncSession, workflow: Workflow, request: Request) -> WorkflowView:
    return (await _views(session, [workflow], request))[0]


async def _views(session: AsyncSession, workflows: Sequence[Workflow], request: Request) -> list[WorkflowView]:
    base_url = request.app.state.settings.base_url
    channels = await attached(session, [workflow_source(workflow.id) for workflow in workflows])
    watched = [workflow.id for workflow in workflows if workflow.pulse_id is not None]
    expectations = await expected_of(session, watched) if watched else {}
    views: list[WorkflowView] = []
    for workflow in workflows:
        columns = columns_of(workflow.definition())
        del columns["account_id"]
        expected = expectations.get(workflow.id)
        views.append(
            WorkflowView(
                **columns,
                channels=channels[workflow_source(workflow.id)],
                created_at=workflow.created_at,
                updated_at=workflow.updated_at,
                ping_url=f"{base_url}{_PING_PATHS[WorkflowKind(workflow.kind)].format(id=workflow.id)}",
                expected_interval_seconds=expected.seconds if expected is not None else None,
                expected_grace_seconds=expected.grace_seconds if expected is not None else None,
                pulse_id=expected.pulse_id if expected is not None else None,
            )
        )
    return views
