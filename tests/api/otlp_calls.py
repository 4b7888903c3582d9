"""Traces as programs export them, and what the gateway makes of them."""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, Process
from typing import Any
from urllib.parse import quote
from uuid import uuid4

import httpx
from google.rpc import status_pb2
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.trace.v1.trace_pb2 import ResourceSpans, ScopeSpans, Span, Status

from tests.api.calls import Calls
from tests.support.waiting import until

PATH = "/v1/traces"
PROTOBUF = {"Content-Type": "application/x-protobuf"}
JSON = {"Content-Type": "application/json"}
STARTED = 1_700_000_000_000_000_000
SECOND = 10**9
CHAT: dict[str, Any] = {
    "gen_ai.operation.name": "chat",
    "gen_ai.request.model": "gpt-4o",
    "gen_ai.usage.input_tokens": 1000,
    "gen_ai.usage.output_tokens": 100,
}
CHAT_USD = 0.0035


def new_trace() -> bytes:
    return uuid4().bytes


def value(of: Any) -> AnyValue:
    match of:
        case bool():
            return AnyValue(bool_value=of)
        case int():
            return AnyValue(int_value=of)
        case float():
            return AnyValue(double_value=of)
    return AnyValue(string_value=of)


def pairs(attributes: dict[str, Any]) -> list[KeyValue]:
    return [KeyValue(key=name, value=value(of)) for name, of in attributes.items()]


def span(trace: bytes, name: str = "chat gpt-4o", attributes: dict[str, Any] | None = None, **fields: Any) -> Span:
    """A chat of a second, somewhere in a trace."""
    error = fields.pop("error", None)
    return Span(
        **{
            "trace_id": trace,
            "span_id": os.urandom(8),
            "parent_span_id": b"\1" * 8,
            "name": name,
            "start_time_unix_nano": STARTED,
            "end_time_unix_nano": STARTED + SECOND,
            "attributes": pairs(CHAT if attributes is None else attributes),
            "status": Status(code=Status.STATUS_CODE_ERROR, message=error) if error is not None else None,
            **fields,
        }
    )


def root(trace: bytes, name: str = "GET /ask", **fields: Any) -> Span:
    return span(trace, name, {}, **{"parent_span_id": b"", "end_time_unix_nano": STARTED + 3 * SECOND, **fields})


def request(workflow: str, *spans: Span) -> ExportTraceServiceRequest:
    resource = ResourceSpans(scope_spans=[ScopeSpans(spans=spans)])
    resource.resource.attributes.extend(pairs({"service.name": workflow}))
    return ExportTraceServiceRequest(resource_spans=[resource])


async def send(calls: Calls, workflow: str, *spans: Span, **headers: str) -> httpx.Response:
    body = request(workflow, *spans).SerializeToString()
    return await calls.http.post(PATH, content=body, headers={**PROTOBUF, **headers})


def failed(response: httpx.Response) -> tuple[int, int, str]:
    """HTTP's status, and google.rpc's code and message."""
    if response.headers["content-type"] == "application/json":
        told = response.json()
        return response.status_code, told["code"], told["message"]
    assert response.headers["content-type"] == "application/x-protobuf"
    status = status_pb2.Status.FromString(response.content)
    return response.status_code, status.code, status.message


async def export(calls: Calls, workflow: str, *spans: Span) -> None:
    """All of the spans are kept."""
    response = await send(calls, workflow, *spans)
    assert response.status_code == 200, response.content
    assert response.content == b""
    assert response.headers["content-type"] == "application/x-protobuf"


async def instances(calls: Calls, workflow: str) -> list[dict[str, Any]]:
    """Those of a workflow, by their external ids."""
    response = await calls.http.get(f"/api/workflows/{workflow}/instances", params={"limit": 50})
    if response.status_code == 404:
        return []
    found = response.json()
    rows = [*filter(None, [found["running_instance"]]), *found["recent_instances"]]
    return [await calls.instance(row["id"]) for row in rows]


async def of_trace(calls: Calls, workflow: str, trace: bytes) -> dict[str, Any]:
    (found,) = [row for row in await instances(calls, workflow) if row.get("external_id") == trace.hex()]
    return found


async def settled(calls: Calls, workflow: str, trace: bytes, status: str) -> dict[str, Any]:
    return await calls.settled((await of_trace(calls, workflow, trace))["id"], status)


async def steps(calls: Calls, instance_id: str) -> list[dict[str, Any]]:
    return list((await calls.get(f"/api/instances/{instance_id}/timeline", limit=1000))["timeline"])


async def stages(calls: Calls, instance_id: str, count: int) -> dict[str, str]:
    """The status of each stage, once there are so many."""

    workflow = (await calls.instance(instance_id))["workflow_id"]

    async def are_there() -> Any:
        tree = await calls.get(f"/dhk/{workflow}/tree", instance_id=instance_id)
        found = {path: stage["status"] for path, stage in tree.items()}
        return found if len(found) == count else None

    return dict(await until(are_there))


async def start_program(code: str, url: str, key: str, **variables: str) -> Process:
    """A program that knows where to export to by its environment alone."""
    environment = {
        **{name: text for name, text in os.environ.items() if not name.startswith("OTEL_")},
        "OTEL_EXPORTER_OTLP_ENDPOINT": url,
        "OTEL_EXPORTER_OTLP_HEADERS": f"X-API-Key={quote(key)}",
        **variables,
    }
    return await asyncio.create_subprocess_exec(sys.executable, "-c", code, env=environment, stdout=PIPE, stderr=PIPE)


async def run_program(code: str, url: str, key: str, **variables: str) -> str:
    """What it has printed on standard error; it has ended well."""
    process = await start_program(code, url, key, **variables)
    _, error = await asyncio.wait_for(process.communicate(), 60)
    assert process.returncode == 0, error.decode()
    return error.decode()
