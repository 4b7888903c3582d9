"""The pings: /shk and /dhk for stages, /hbk, /hhk and /hb for pulses, /phk for process hooks."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from typing import Any, Final

import orjson
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import Receive, Scope, Send

from api import metrics
from api.budget_views import report_document
from api.gateway import Gateway, Receipt
from api.ping_input import Body, Content, check_id, read_body, read_query
from api.ping_parsing import parse_pulse_ping, parse_run_ping, parse_stage_ping
from api.security import admit_ping
from config.clock import utc_now
from domain import paths
from domain.errors import DomainError
from domain.pings import Event, PingFact, PingStatus, error_text
from domain.routing import PulseRequest, RunRequest
from domain.routing import Request as StageRequest
from domain.subjects import parts_of
from domain.workflows import WorkflowKind
from storage.pulse_pings import STATUSES
from storage.rows import NewPing

STATIC, DYNAMIC = WorkflowKind.STATIC, WorkflowKind.DYNAMIC
PULSE, PROCESS = "pulse", "process"
_ACCEPTED: Final = {kind: metrics.PINGS.labels(kind, "accepted") for kind in (*WorkflowKind, PULSE, PROCESS)}
_STAGE_PARAMETER: Final = {STATIC: "stage", DYNAMIC: "stagePath"}

PULSE_EVENTS: Final = {"ping": Event.SUCCESS, "start": Event.START, "fail": Event.FAIL, "log": Event.LOG}
RUN_EVENTS: Final = {"start": Event.START, "finish": Event.SUCCESS, "fail": Event.FAIL}


@dataclass(frozen=True)
class Said:
    """What a caller said, and how to answer once it is kept."""

    request: StageRequest | PulseRequest | RunRequest
    content: Content
    answer: Callable[[Receipt], dict[str, Any]]


Reader = Callable[[Request, Mapping[str, str], Body], Said]


def _read_stage(kind: WorkflowKind, request: Request, query: Mapping[str, str], body: Body) -> Said:
    workflow_id = check_id("workflow_id", request.path_params["workflow_id"])
    said = parse_stage_ping(query, body, _idempotency_key(request), stage_parameter=_STAGE_PARAMETER[kind])
    fact = PingFact(
        id=0,
        gateway=0,
        path=said.path,
        status=said.content.report.status,
        at=utc_now(),
        agent=said.content.agent,
        name=said.name,
        error=said.content.report.error,
        final=said.final,
        duration_ms=said.content.report.duration_ms,
    )
    return Said(
        StageRequest(workflow_id, kind, fact, said.start, said.instance_id),
        said.content,
        partial(_stage_answer, workflow_id, kind, said.path),
    )


def _stage_answer(workflow_id: str, kind: WorkflowKind, path: str, receipt: Receipt) -> dict[str, Any]:
    levels = paths.numbers(path)
    answer: dict[str, Any] = {
        "status": "success",
        "workflow_id": workflow_id,
        "instance_id": parts_of(receipt.subject)[-1] if receipt.subject is not None else None,
        "stage_order": levels[0] if levels else None,
        "workflow_status": receipt.status,
    }
    if kind is DYNAMIC or levels is None or len(levels) > 1:
        answer["stage_path"] = path
    if receipt.budget is not None:
        answer["budget"] = report_document(receipt.budget)
    return answer


def _read_pulse(event: Event, request: Request, query: Mapping[str, str], body: Body) -> Said:
    target = check_id("target", request.path_params["target"])
    said = parse_pulse_ping(query, body, _idempotency_key(request), target=target, event=event)
    fact = _event_fact(said.event, said.content, said.run_id)
    keywords_in = body.text if body.text is not None else said.content.payload
    return Said(PulseRequest(target, fact, said.is_plain, keywords_in, said.create), said.content, _pulse_answer)


def _pulse_answer(receipt: Receipt) -> dict[str, Any]:
    assert receipt.subject is not None
    return {"status": "success", "target_id": parts_of(receipt.subject)[-1], "event": receipt.status}


def _read_run(event: Event, request: Request, query: Mapping[str, str], body: Body) -> Said:
    hook = check_id("process_hook_id", request.path_params["hook"])
    said = parse_run_ping(query, body, _idempotency_key(request), event=event)
    fact = _event_fact(said.event, said.content, said.run_id)
    return Said(RunRequest(hook, fact, said.run_id), said.content, _run_answer)


def _run_answer(receipt: Receipt) -> dict[str, Any]:
    assert receipt.subject is not None
    _, hook_id, run_id = parts_of(receipt.subject)
    return {"status": "success", "process_hook_id": hook_id, "run_id": run_id, "run_status": receipt.status}


def _event_fact(event: Event, content: Content, run_id: str | None) -> PingFact:
    return PingFact(
        id=0,
        gateway=0,
        path=event.value,
        status=STATUSES.get(event, PingStatus.HEALTHY),
        at=utc_now(),
        agent=content.agent,
        error=content.report.error or (error_text(content.text) if event is Event.FAIL else None),
        run_id=run_id,
        duration_ms=content.report.duration_ms,
    )


def _idempotency_key(request: Request) -> str | None:
    return request.headers.get("idempotency-key")


class PingEndpoint:
    """An endpoint for pings, as plain ASGI. `kind` is what metrics call it.

    What FastAPI does between a route and its handler would take a third of the time of a ping
    (docs/decisions/0006-what-a-ping-costs.md). `api/ping_docs.py` describes it for the OpenAPI page instead.
    """

    def __init__(self, kind: str, read: Reader) -> None:
        self._kind = kind
        self._read = read
        self._accepted = _ACCEPTED[kind]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        response = await self._ping(Request(scope, receive))
        await response(scope, receive, send)

    async def _ping(self, request: Request) -> Response:
        started = perf_counter()
        try:
            body = await read_body(request)
            query = read_query(request)
            principal = await admit_ping(request, body.members, query)
            said = self._read(request, query, body)
            gateway: Gateway = request.app.state.gateway
            receipt = await gateway.take(_new_ping(principal.account_id, said))
        except DomainError as error:
            metrics.PINGS.labels(self._kind, error.code).inc()
            raise
        self._accepted.inc()
        metrics.ACK_LATENCY.observe(perf_counter() - started)
        return Response(orjson.dumps(said.answer(receipt)), media_type="application/json")


def _new_ping(account_id: str, said: Said) -> NewPing:
    content = said.content
    return NewPing(
        account_id=account_id,
        request=said.request,
        report=content.report,
        payload=content.payload,
        text=content.text,
        size_bytes=content.size_bytes,
        idempotency_key=content.idempotency_key,
    )


def ping_routes() -> list[Route]:
    """To be put before all others. GET and POST only: Starlette adds HEAD to GET, but looking is not pinging."""
    pulse = PingEndpoint(PULSE, partial(_read_pulse, Event.SUCCESS))
    endpoints = {
        "/shk/{workflow_id}": PingEndpoint(STATIC, partial(_read_stage, STATIC)),
        "/dhk/{workflow_id}": PingEndpoint(DYNAMIC, partial(_read_stage, DYNAMIC)),
        "/hbk/{target}": pulse,
        "/hhk/{target}": pulse,
    }
    for word, event in PULSE_EVENTS.items():
        for prefix in ("hbk", "hhk", "hb"):
            endpoints[f"/{prefix}/{{target}}/{word}"] = PingEndpoint(PULSE, partial(_read_pulse, event))
    for word, event in RUN_EVENTS.items():
        endpoints[f"/phk/{{hook}}/{word}"] = PingEndpoint(PROCESS, partial(_read_run, event))
    routes = [Route(path, endpoint, methods=["GET", "POST"]) for path, endpoint in endpoints.items()]
    for route in routes:
        assert route.methods is not None
        route.methods.discard("HEAD")
    return routes
