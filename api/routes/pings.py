"""/shk and /dhk: the stage pings. Bare handlers, because a dependency stack would cost more than the ping."""

from time import perf_counter
from typing import Any, Final

import orjson
from fastapi import APIRouter, Request, Response

from api import metrics
from api.gateway import Gateway, Receipt
from api.ping_docs import PING_ERRORS, ping_operation
from api.ping_input import StagePing, check_workflow_id, parse_stage_ping, read_body, read_query
from api.security import admit_ping
from config.clock import utc_now
from domain import paths
from domain.errors import DomainError
from domain.pings import PingFact
from domain.routing import Request as Routing
from domain.workflows import WorkflowKind
from storage.batch import NewPing

router = APIRouter(tags=["pings"])

STATIC, DYNAMIC = WorkflowKind.STATIC, WorkflowKind.DYNAMIC
_STAGE_PARAMETER: Final = {STATIC: "stage", DYNAMIC: "stagePath"}


async def _ping(request: Request, kind: WorkflowKind) -> Response:
    started = perf_counter()
    try:
        body = await read_body(request)
        principal = await admit_ping(request, body.members)
        workflow_id = check_workflow_id(request.path_params["workflow_id"])
        said = parse_stage_ping(
            read_query(request),
            body,
            stage_parameter=_STAGE_PARAMETER[kind],
            idempotency_header=request.headers.get("idempotency-key"),
        )
        gateway: Gateway = request.app.state.gateway
        receipt = await gateway.take(_new_ping(principal.account_id, workflow_id, kind, said))
    except DomainError as error:
        metrics.PINGS.labels(kind.value, error.code).inc()
        raise
    metrics.PINGS.labels(kind.value, "accepted").inc()
    metrics.ACK_LATENCY.observe(perf_counter() - started)
    return Response(orjson.dumps(_answer(receipt, kind, said.path)), media_type="application/json")


def _new_ping(account_id: str, workflow_id: str, kind: WorkflowKind, said: StagePing) -> NewPing:
    fact = PingFact(
        id=0,
        gateway=0,
        path=said.path,
        status=said.report.status,
        at=utc_now(),
        agent=said.agent,
        name=said.name,
        error=said.report.error,
        final=said.final,
    )
    return NewPing(
        account_id=account_id,
        request=Routing(workflow_id, kind, fact, said.start, said.instance_id),
        report=said.report,
        payload=said.payload,
        text=said.text,
        size_bytes=said.size_bytes,
        idempotency_key=said.idempotency_key,
    )


def _answer(receipt: Receipt, kind: WorkflowKind, path: str) -> dict[str, Any]:
    levels = paths.numbers(path)
    answer = {
        "status": "success",
        "workflow_id": receipt.workflow_id,
        "instance_id": receipt.instance_id,
        "stage_order": levels[0] if levels else None,
        "workflow_status": receipt.status,
    }
    if kind is DYNAMIC or levels is None or len(levels) > 1:
        answer["stage_path"] = path
    return answer


@router.get("/shk/{workflow_id}", responses=PING_ERRORS, openapi_extra=ping_operation(STATIC, "GET"))
async def ping_static_by_get(request: Request) -> Response:
    """Reports a stage of a static workflow."""
    return await _ping(request, STATIC)


@router.post("/shk/{workflow_id}", responses=PING_ERRORS, openapi_extra=ping_operation(STATIC, "POST"))
async def ping_static(request: Request) -> Response:
    """Reports a stage of a static workflow, with a payload."""
    return await _ping(request, STATIC)


@router.get("/dhk/{workflow_id}", responses=PING_ERRORS, openapi_extra=ping_operation(DYNAMIC, "GET"))
async def ping_dynamic_by_get(request: Request) -> Response:
    """Reports a stage of a dynamic workflow; `start=yes` opens an instance, and the workflow if need be."""
    return await _ping(request, DYNAMIC)


@router.post("/dhk/{workflow_id}", responses=PING_ERRORS, openapi_extra=ping_operation(DYNAMIC, "POST"))
async def ping_dynamic(request: Request) -> Response:
    """Reports a stage of a dynamic workflow, with a payload."""
    return await _ping(request, DYNAMIC)
