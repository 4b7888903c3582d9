"""OpenTelemetry's traces, as any of its exporters sends them by OTLP over HTTP."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby
from operator import attrgetter
from time import perf_counter
from typing import Final

from fastapi import APIRouter, Request, Response

from api import metrics, otlp
from api.compression import inflate, is_understood
from api.errors import UnsupportedMediaType
from api.gateway import Gateway
from api.security import Limiter, Principal, admit_ping
from config.clock import utc_now
from domain.errors import DomainError, Forbidden, InvalidRequest, NotFound, Unavailable
from domain.otel import SpanPing, is_kept, ping_of, span_of_time
from domain.pings import PingFact
from domain.routing import External
from domain.routing import Request as StageRequest
from domain.workflows import WorkflowKind
from storage.base import snapshot
from storage.rows import NewPing
from storage.traces import TraceWorkflow, find_kept_keys, find_trace_workflows

router = APIRouter(tags=["opentelemetry"])

AT_ONCE: Final = 64
"""Pings that wait for the journal at one time: those of others are not to wait for a whole batch."""
MAX_REASONS: Final = 5

_MOVED: Final = (Forbidden, NotFound)
"""What a ping is refused with whose workflow was made, or deleted, since it was looked for."""
_NO_ID: Final = "a span needs the ids of its trace and of itself"


@dataclass(frozen=True)
class Spans:
    """What a request has brought. `without_id` of its spans could not be told from others."""

    pings: list[SpanPing]
    without_id: int


# Not on the OpenAPI page: its answers and errors are not those of all other routes, but of OTLP.
@router.post(otlp.TRACES, include_in_schema=False)
async def export_traces(request: Request) -> Response:
    """Keeps the spans that are pings, and answers once all of them are kept or refused."""
    started = perf_counter()
    principal = await admit_ping(request)
    encoding = otlp.encoding_of(request.headers.get("content-type", ""))
    if encoding is None:
        raise UnsupportedMediaType(f"Traces are sent as {' or '.join(otlp.Encoding)}.")
    compression = request.headers.get("content-encoding", "")
    if not is_understood(compression):
        raise UnsupportedMediaType("The body may be compressed by gzip or deflate only.")
    body = await request.body()
    decoding: asyncio.Semaphore = request.app.state.decoding
    # One at a time: it may be much to hold in memory, and pings are not to wait for more than one other thread.
    async with decoding:
        spans = await asyncio.to_thread(_read, body, compression, encoding)
    limiter: Limiter = request.app.state.limiter
    limiter.count_pings(request.scope, principal, len(spans.pings) - 1)
    refused = await _keep_all(request, principal, spans.pings)
    reasons = Counter({_NO_ID: spans.without_id} if spans.without_id else {})
    reasons.update(error.message for error in refused)
    if reasons.total() and len(refused) == len(spans.pings):
        raise InvalidRequest(f"None of the spans could be kept: {_words(reasons)}")
    metrics.ACK_LATENCY.observe(perf_counter() - started)
    return otlp.accepted(encoding, reasons.total(), _words(reasons))


def _read(body: bytes, compression: str, encoding: otlp.Encoding) -> Spans:
    spans = [span for span in otlp.read_spans(inflate(body, compression, otlp.MAX_BYTES), encoding) if is_kept(span)]
    # Of a stage, the last one counts: the order is that in which they ended.
    spans.sort(key=attrgetter("ended_ns"))
    pings = [ping for span in spans if (ping := ping_of(span)) is not None]
    return Spans(pings, len(spans) - len(pings))


def _words(reasons: "Counter[str]") -> str:
    """Why spans were refused, the most frequent reason first."""
    common = reasons.most_common(MAX_REASONS)
    words = [f"{reason} ({count} {'span' if count == 1 else 'spans'})" for reason, count in common]
    left = reasons.total() - sum(count for _, count in common)
    return "; ".join([*words, f"and {left} more spans"] if left else words)


async def _keep_all(request: Request, principal: Principal, pings: Sequence[SpanPing]) -> list[DomainError]:
    """What spans were refused with. Raises Unavailable if any could not be kept that might be, sent again."""
    refused = await _keep(request, principal, pings) if pings else []
    if moved := [ping for ping, error in refused if isinstance(error, _MOVED)]:
        refused = [pair for pair in refused if not isinstance(pair[1], _MOVED)]
        refused += await _keep(request, principal, moved)
    return [error for _, error in refused]


async def _keep(
    request: Request, principal: Principal, pings: Sequence[SpanPing]
) -> list[tuple[SpanPing, DomainError]]:
    """Those that were refused, and with what."""
    account_id, now = principal.account_id, utc_now()
    async with snapshot(request.app.state.sessions) as session:
        workflows = await find_trace_workflows(session, account_id, {ping.workflow for ping in pings})
        kept = await find_kept_keys(session, account_id, [ping.key for ping in pings], now)
    pings = [ping for ping in pings if ping.key not in kept]
    news = _new_pings(account_id, pings, workflows, now)
    gateway: Gateway = request.app.state.gateway
    refused: list[tuple[SpanPing, DomainError]] = []
    for begin in range(0, len(news), AT_ONCE):
        some = slice(begin, begin + AT_ONCE)
        if (priced := next((new for new in news[some] if new.report.tells_costs), None)) is not None:
            # So that prices are known, and no span waits for them while those behind it go ahead.
            await gateway.pricing.cost_of(priced)
        results = await asyncio.gather(*(_take(gateway, ping) for ping in news[some]))
        refused += [(ping, error) for ping, error in zip(pings[some], results, strict=True) if error is not None]
        if unavailable := next((error for _, error in refused if isinstance(error, Unavailable)), None):
            raise unavailable
    return refused


async def _take(gateway: Gateway, ping: NewPing) -> DomainError | None:
    try:
        await gateway.take(ping)
    except DomainError as error:
        metrics.PINGS.labels(WorkflowKind.DYNAMIC, error.code).inc()
        return error
    metrics.PINGS.labels(WorkflowKind.DYNAMIC, "accepted").inc()
    return None


def _new_pings(
    account_id: str, pings: Sequence[SpanPing], workflows: Mapping[str, TraceWorkflow], now: datetime
) -> list[NewPing]:
    """In the same order. The first of each trace tells the times of all of them: it takes a statement to note them."""
    told: dict[tuple[str, str], External] = {}
    by_trace = attrgetter("workflow", "trace_id")
    for trace, of_trace in groupby(sorted(pings, key=by_trace), by_trace):
        told[trace] = External(trace[1], trace[1], *span_of_time(of_trace))
    news = []
    for ping in pings:
        external = told.pop((ping.workflow, ping.trace_id), External(ping.trace_id, ping.trace_id))
        news.append(_new_ping(account_id, ping, workflows[ping.workflow], external, now))
    return news


def _new_ping(account_id: str, ping: SpanPing, workflow: TraceWorkflow, external: External, now: datetime) -> NewPing:
    fact = PingFact(
        id=0,
        gateway=0,
        path=ping.path,
        status=ping.report.status,
        at=now,
        agent=ping.agent,
        name=ping.name,
        error=ping.report.error,
        final=ping.is_final,
        duration_ms=ping.report.duration_ms,
    )
    request = StageRequest(workflow.id, WorkflowKind.DYNAMIC, fact, start=not workflow.exists, external=external)
    return NewPing(
        account_id=account_id,
        request=request,
        report=ping.report,
        payload=ping.payload,
        size_bytes=len(ping.payload.encode()),
        idempotency_key=ping.key,
    )
