"""/shk and /dhk: the stage pings."""

from time import perf_counter
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from api import metrics
from api.gateway import Gateway, Receipt
from api.ping_input import StagePing, check_workflow_id, parse_stage_ping, read_body, read_query
from api.security import admit_ping
from config.clock import utc_now
from domain import paths
from domain.errors import DomainError
from domain.pings import PingFact
from domain.routing import Request as Routing
from domain.workflows import WorkflowKind
from storage.batch import NewPing

STATIC, DYNAMIC = WorkflowKind.STATIC, WorkflowKind.DYNAMIC
_ACCEPTED: Final = {kind: metrics.PINGS.labels(kind.value, "accepted") for kind in WorkflowKind}
_STAGE_PARAMETER: Final = {STATIC: "stage", DYNAMIC: "stagePath"}


async def _ping(request: Request, kind: WorkflowKind) -> Response:
    started = perf_counter()
    try:
        body = await read_body(request)
        query = read_query(request)
        principal = await admit_ping(request, body.members, query)
        workflow_id = check_workflow_id(request.path_params["workflow_id"])
        said = parse_stage_ping(
            query,
            body,
            stage_parameter=_STAGE_PARAMETER[kind],
            idempotency_header=request.headers.get("idempotency-key"),
        )
        gateway: Gateway = request.app.state.gateway
        receipt = await gateway.take(_new_ping(principal.account_id, workflow_id, kind, said))
    except DomainError as error:
        metrics.PINGS.labels(kind.value, error.code).inc()
        raise
    _ACCEPTED[kind].inc()
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


class StagePingEndpoint:
    """The endpoint of one kind of workflow, as plain ASGI.

    What FastAPI does between a route and its handler would take a third of the time of a ping
    (docs/decisions/0006-what-a-ping-costs.md). `api/ping_docs.py` describes it for the OpenAPI page instead.
    """

    def __init__(self, kind: WorkflowKind) -> None:
        self._kind = kind

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await _ping(Request(scope, receive), self._kind)
        await response(scope, receive, send)


def stage_ping_routes() -> list[Route]:
    """To be put before all others. GET and POST only: Starlette adds HEAD to GET, but looking is not pinging."""
    routes = [
        Route("/shk/{workflow_id}", StagePingEndpoint(STATIC), methods=["GET", "POST"]),
        Route("/dhk/{workflow_id}", StagePingEndpoint(DYNAMIC), methods=["GET", "POST"]),
    ]
    for route in routes:
        assert route.methods is not None
        route.methods.discard("HEAD")
    return routes
