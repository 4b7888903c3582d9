"""FlowPulse's API: runs that are reported once they are over, and the workflows they may be of."""

from datetime import datetime
from time import perf_counter
from typing import Annotated, Any, Final, Literal

import orjson
from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncSession

from api import metrics
from api.deps import AnyPrincipalDep, SnapshotDep
from api.gateway import Gateway
from api.openapi import JSON_API_ERRORS, problems
from api.pages import Cursor, decode_cursor, encode_cursor
from api.report_input import idempotency_key, kept_text, read_members
from api.security import admit_ping
from api.views import in_utc
from config.clock import utc_now
from domain.errors import (
    DomainError,
    FieldError,
    InvalidRequest,
    NotFound,
    PayloadTooLarge,
    RateLimited,
    Unauthenticated,
    Unavailable,
)
from domain.keys import HOW_TO_SEND_A_KEY, redact
from domain.pings import PingFact, PingStatus, Report, error_text
from domain.reports import RUN_PATH, RunReport, read_report
from domain.routing import External
from domain.routing import Request as StageRequest
from domain.run_alerts import RunStanding
from domain.subjects import parts_of
from domain.verdicts import InstanceClosed
from domain.workflows import WorkflowKind
from storage.base import snapshot
from storage.expectations import Expected, expected_of
from storage.rows import NewPing
from storage.run_standings import list_run_standings
from storage.workflows import Workflow, find_workflows, list_workflows

router = APIRouter(prefix="/api/v1", tags=["flowpulse"])

MAX_LISTED: Final = 1_000

_NOT_FOUND: Final = NotFound("There is no workflow lead-enrichment. Create it with POST /api/workflows first.")


class Accepted(BaseModel):
    event_id: str = Field(examples=["evt_8123"])
    status: Literal["accepted"]
    workflow_id: str
    instance_id: str = Field(description="The run, which GET /api/instances/{id} shows.", examples=["rabc45678"])


class ListedWorkflow(BaseModel):
    id: str
    slug: str
    name: str
    kind: WorkflowKind
    status: Literal["healthy", "failing"] | None = Field(
        description="How the last of its runs ended, if they are reported."
    )
    last_success_at: datetime | None
    last_failure_at: datetime | None
    expected_interval_seconds: float | None
    created_at: datetime
    updated_at: datetime


class WorkflowsListed(BaseModel):
    workflows: list[ListedWorkflow]
    next_cursor: str | None


_TEXT: Final = {"type": "string", "maxLength": 256}
_TIME: Final = {"type": "string", "format": "date-time"}
_FIELDS: Final[dict[str, Any]] = {
    "workflow_id": {"type": "string", "description": "One of id, slug and name; of several, the first of these."},
    "workflow_slug": {"type": "string"},
    "workflow_name": {"type": "string", "description": "The exact name."},
    "ended_at": _TIME,
    "started_at": _TIME,
    "duration_ms": {"type": "number", "description": "If left out, the time from `started_at` to `ended_at`."},
    "external_execution_id": {**_TEXT, "description": "The same one is the same run."},
    "source_platform": _TEXT,
    "source_workflow_id": _TEXT,
    "correlation_id": {**_TEXT, "description": "Links runs, of any workflows."},
    "metadata": {"type": "object", "additionalProperties": True},
    "instance_id": {"type": "string", "description": "A rerun that waits for this run."},
}
_FAILURE_FIELDS: Final[dict[str, Any]] = {"error_message": {"type": "string"}, "error_type": _TEXT}
_EXAMPLE: Final = {
    "workflow_slug": "lead-enrichment",
    "started_at": "2026-01-15T09:00:00Z",
    "ended_at": "2026-01-15T09:00:04Z",
    "external_execution_id": "1234",
    "source_platform": "n8n",
}


def _body(required: list[str], more: dict[str, Any], example: dict[str, Any]) -> dict[str, Any]:
    schema = {"type": "object", "required": required, "properties": {**_FIELDS, **more}, "additionalProperties": True}
    content = {"schema": schema, "example": {**_EXAMPLE, **example}}
    form = "application/x-www-form-urlencoded"
    return {"requestBody": {"required": True, "content": {"application/json": content, form: {"schema": schema}}}}


_ERRORS: Final = problems(
    InvalidRequest(
        "ended_at: is missing; error_message: is missing",
        fields=(FieldError("ended_at", "is missing"), FieldError("error_message", "is missing")),
    ),
    Unauthenticated(f"An API key is needed. {HOW_TO_SEND_A_KEY}."),
    _NOT_FOUND,
    InstanceClosed("Instance rabc45678 has ended; use another id for what comes after it."),
    PayloadTooLarge("The body has 100001 bytes; a report may have 100000."),
    RateLimited("More than 6000 pings a minute. Try again in 17 s.", retry_after=17),
    Unavailable("The ping could not be kept; send it again.", retry_after=2),
)


@router.post(
    "/ingest/run-success",
    status_code=202,
    response_model=Accepted,
    responses=_ERRORS,
    openapi_extra=_body(["ended_at"], {}, {}),
)
async def run_success(request: Request) -> Response:
    """A run has succeeded."""
    return await _ingest(request, failed=False)


@router.post(
    "/ingest/run-failure",
    status_code=202,
    response_model=Accepted,
    responses=_ERRORS,
    openapi_extra=_body(
        ["ended_at", "error_message"],
        _FAILURE_FIELDS,
        {"error_message": "429 from the CRM", "error_type": "RateLimitError"},
    ),
)
async def run_failure(request: Request) -> Response:
    """A run has failed."""
    return await _ingest(request, failed=True)


async def _ingest(request: Request, *, failed: bool) -> Response:
    started = perf_counter()
    try:
        answer = await _take(request, failed)
    except DomainError as error:
        metrics.PINGS.labels(WorkflowKind.RUN, error.code).inc()
        raise
    metrics.PINGS.labels(WorkflowKind.RUN, "accepted").inc()
    metrics.ACK_LATENCY.observe(perf_counter() - started)
    return Response(orjson.dumps(answer), status_code=202, media_type="application/json")


async def _take(request: Request, failed: bool) -> dict[str, Any]:
    members, unreadable = await _read(request)
    principal = await admit_ping(request, members)
    if unreadable is not None:
        raise unreadable
    report = read_report(members, failed=failed)
    async with snapshot(request.app.state.sessions) as session:
        workflow = await _named(session, principal.account_id, report)
        named = workflow.id, WorkflowKind(workflow.kind)
    gateway: Gateway = request.app.state.gateway
    key = idempotency_key(request)
    receipt = await gateway.take(_new_ping(principal.account_id, *named, report, key))
    assert receipt.subject is not None
    return {
        "event_id": f"evt_{receipt.ping_id}",
        "status": "accepted",
        "workflow_id": named[0],
        "instance_id": parts_of(receipt.subject)[-1],
    }


async def _read(request: Request) -> tuple[dict[str, Any], DomainError | None]:
    """A body that cannot be read is nobody's business but the caller's: who that is, is asked first."""
    try:
        return await read_members(request), None
    except DomainError as error:
        return {}, error


async def _named(session: AsyncSession, account_id: str, report: RunReport) -> Workflow:
    """By id, else by slug, else by name. Raises NotFound, and InvalidRequest if several have the name."""
    named = {Workflow.id: report.workflow_id, Workflow.slug: report.workflow_slug, Workflow.name: report.workflow_name}
    column, value = next((column, value) for column, value in named.items() if value)
    found = await find_workflows(session, account_id, column, value)
    if not found:
        how = "Create it with POST /api/workflows first, as kind run."
        raise NotFound(f"There is no workflow with the {column.key} {value}. {how}")
    if len(found) > 1:
        ids = ", ".join(workflow.id for workflow in found)
        message = f"several workflows are called that; send workflow_id ({ids}) or workflow_slug instead"
        raise InvalidRequest.of_field("workflow_name", message)
    return found[0]


def _new_ping(account_id: str, workflow_id: str, kind: WorkflowKind, report: RunReport, key: str | None) -> NewPing:
    has_failed = report.status is PingStatus.FAILED
    error = error_text(redact(report.error_message)) if has_failed and report.error_message else None
    fact = PingFact(
        id=0,
        gateway=0,
        path=RUN_PATH,
        status=report.status,
        at=utc_now(),
        agent=report.source_platform,
        error=error,
        final=True,
        duration_ms=report.duration_ms,
    )
    external = External(
        report.external_execution_id, report.correlation_id, report.started_at, report.ended_at, is_whole=True
    )
    payload = kept_text(report.document())
    return NewPing(
        account_id=account_id,
        request=StageRequest(workflow_id, kind, fact, instance_id=report.instance_id, external=external),
        report=Report(status=report.status, error=error, duration_ms=report.duration_ms),
        payload=payload,
        size_bytes=len(payload.encode()),
        idempotency_key=key,
    )


@router.get("/workflows", responses=problems(*JSON_API_ERRORS))
async def list_all(
    session: SnapshotDep,
    principal: AnyPrincipalDep,
    limit: Annotated[int, Query(ge=1, le=MAX_LISTED)] = MAX_LISTED,
    cursor: Cursor = None,
    kind: WorkflowKind | None = None,
) -> WorkflowsListed:
    """The account's workflows, the newest first: what a report may name."""
    rows = await list_workflows(session, principal.account_id, limit=limit + 1, before=decode_cursor(cursor), kind=kind)
    page = rows[:limit]
    standings = await list_run_standings(session, [row.id for row in page])
    expectations = await expected_of(session, [row.id for row in page])
    return WorkflowsListed(
        workflows=[_listed(row, standings.get(row.id), expectations.get(row.id)) for row in page],
        next_cursor=encode_cursor(page[-1].created_at, page[-1].id) if len(rows) > limit else None,
    )


def _listed(row: Workflow, standing: RunStanding | None, expected: Expected | None) -> ListedWorkflow:
    standing = standing or RunStanding()
    has_run = standing.failed_at is not None or standing.succeeded_at is not None
    return ListedWorkflow(
        id=row.id,
        slug=row.slug,
        name=row.name,
        kind=WorkflowKind(row.kind),
        status=("failing" if standing.failing_since is not None else "healthy") if has_run else None,
        last_success_at=standing.succeeded_at and in_utc(standing.succeeded_at),
        last_failure_at=standing.failed_at and in_utc(standing.failed_at),
        expected_interval_seconds=expected.seconds if expected is not None else None,
        created_at=row.created_at,
        updated_at=row.updated_at,
    )
