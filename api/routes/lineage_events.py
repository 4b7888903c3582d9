"""OpenLineage's API: what Airflow, Spark and dbt tell of their runs, without any code of ours."""

import asyncio
from time import perf_counter
from typing import Any, Final, Literal

import orjson
from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, Field

from api import metrics
from api.compression import is_understood
from api.errors import UnsupportedMediaType
from api.lineage_input import BATCH_PATH, MAX_EVENTS, PATH, Sent, read_events
from api.lineage_taking import EventTaker
from api.openapi import problems
from api.security import Limiter, admit_ping
from domain.errors import (
    DomainError,
    FieldError,
    Forbidden,
    InvalidRequest,
    PayloadTooLarge,
    RateLimited,
    Unauthenticated,
    Unavailable,
)
from domain.keys import HOW_TO_SEND_A_KEY
from domain.openlineage import EventType
from domain.verdicts import InstanceClosed

router = APIRouter(tags=["openlineage"])

OPENLINEAGE: Final = "openlineage"


class EventTaken(BaseModel):
    status: Literal["accepted", "ignored"] = Field(description="Ignored: it is not about a run.")
    event_id: str | None = Field(None, examples=["evt_8123"])
    workflow_id: str | None = Field(None, examples=["prod.nightly_etl"])
    instance_id: str | None = Field(None, description="The run, which GET /api/instances/{id} shows.")
    stage_path: str | None = Field(None, examples=["load"])
    reason: str | None = Field(None, description="Why it is ignored.")


class EventsTaken(BaseModel):
    status: Literal["accepted"]
    events: list[EventTaken] = Field(description="In the order in which they were sent.")


_IGNORED: Final = {"status": "ignored", "reason": "It is about a job or a dataset and no run; PingPulse watches runs."}

_EVENT: Final[dict[str, Any]] = {
    "type": "object",
    "description": "An event of OpenLineage. Those of jobs and datasets, which have no run, are ignored.",
    "properties": {
        "eventType": {"type": "string", "enum": [type_.value for type_ in EventType]},
        "eventTime": {"type": "string", "format": "date-time"},
        "run": {"type": "object", "additionalProperties": True},
        "job": {"type": "object", "additionalProperties": True},
    },
    "additionalProperties": True,
}
_EXAMPLE: Final[dict[str, Any]] = {
    "eventType": "COMPLETE",
    "eventTime": "2026-01-15T09:00:04Z",
    "producer": "https://github.com/apache/airflow",
    "run": {
        "runId": "01941b2c-3f55-7c1e-9f5a-2f1c3c9a7e10",
        "facets": {
            "parent": {
                "run": {"runId": "01941b2c-0000-7c1e-9f5a-2f1c3c9a7e10"},
                "job": {"namespace": "prod", "name": "nightly_etl"},
            }
        },
    },
    "job": {"namespace": "prod", "name": "nightly_etl.load"},
}
_ERRORS: Final = problems(
    InvalidRequest("run.runId: is missing", fields=(FieldError("run.runId", "is missing"),)),
    Unauthenticated(f"An API key is needed. {HOW_TO_SEND_A_KEY}."),
    Forbidden("Workflow prod.nightly_etl belongs to another account."),
    InstanceClosed("Instance d12345678 has ended; use another id for what comes after it."),
    PayloadTooLarge("The body has more than 5242880 bytes."),
    UnsupportedMediaType("Content-Encoding br is not understood; send gzip, or none."),
    RateLimited("More than 6000 pings a minute. Try again in 17 s.", retry_after=17),
    Unavailable("The ping could not be kept; send it again.", retry_after=2),
)


def _body(schema: dict[str, Any], example: Any) -> dict[str, Any]:
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema, "example": example}}}}


@router.post(
    PATH,
    status_code=201,
    response_model=EventTaken | EventsTaken,
    responses=_ERRORS,
    openapi_extra=_body({"oneOf": [_EVENT, {"type": "array", "items": _EVENT, "maxItems": MAX_EVENTS}]}, _EXAMPLE),
)
async def take_event(request: Request) -> Response:
    """An event of a run, or a list of events."""
    return await _answer(request)


@router.post(
    BATCH_PATH,
    status_code=201,
    response_model=EventsTaken,
    responses=_ERRORS,
    openapi_extra=_body({"type": "array", "items": _EVENT, "maxItems": MAX_EVENTS}, [_EXAMPLE]),
)
async def take_events(request: Request) -> Response:
    """A list of events."""
    return await _answer(request, only_lists=True)


async def _answer(request: Request, *, only_lists: bool = False) -> Response:
    started = perf_counter()
    try:
        answer = await _take(request, only_lists)
    except DomainError as error:
        metrics.PINGS.labels(OPENLINEAGE, error.code).inc()
        raise
    metrics.ACK_LATENCY.observe(perf_counter() - started)
    return Response(orjson.dumps(answer), status_code=201, media_type="application/json")


async def _take(request: Request, only_lists: bool) -> dict[str, Any]:
    """The key is in the headers or the query: events are large, and read for those only who may send them."""
    principal = await admit_ping(request)
    compression = request.headers.get("content-encoding", "")
    if not is_understood(compression):
        raise UnsupportedMediaType(f"Content-Encoding {compression} is not understood; send gzip, or none.")
    body = await request.body()
    decoding: asyncio.Semaphore = request.app.state.decoding
    async with decoding:
        sent = await asyncio.to_thread(read_events, body, compression, only_lists=only_lists)
    state = request.app.state
    taker = EventTaker(state.gateway, state.sessions, state.lineage_turns, principal.account_id)
    if not isinstance(sent, list):
        return await _take_one(taker, sent)
    limiter: Limiter = state.limiter
    limiter.count_pings(request.scope, principal, len(sent) - 1)
    return {"status": "accepted", "events": [await _take_one(taker, each) for each in sent]}


async def _take_one(taker: EventTaker, sent: Sent | None) -> dict[str, Any]:
    if sent is None:
        metrics.PINGS.labels(OPENLINEAGE, "ignored").inc()
        return _IGNORED
    taken = await taker.take(sent)
    metrics.PINGS.labels(OPENLINEAGE, "accepted").inc()
    return {
        "status": "accepted",
        "event_id": f"evt_{taken.ping_id}",
        "workflow_id": taken.workflow_id,
        "instance_id": taken.instance_id,
        "stage_path": taken.path,
    }
