"""Traces over HTTP, as OTLP has them: what becomes of their spans, and what is answered."""

import asyncio
import gzip
import json
import zlib
from typing import Any

import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceResponse
from opentelemetry.proto.trace.v1.trace_pb2 import Span

from api import otlp
from domain.otel import workflow_id_within
from tests.api.calls import Calls, new_id
from tests.api.conftest import api_key
from tests.api.otlp_calls import (
    CHAT,
    CHAT_USD,
    JSON,
    PATH,
    PROTOBUF,
    SECOND,
    STARTED,
    export,
    failed,
    instances,
    new_trace,
    of_trace,
    request,
    root,
    send,
    settled,
    span,
    stages,
    steps,
)
from tests.conftest import StartGateway
from tests.support.stack import Stack

EXAMPLE = {
    "resourceSpans": [
        {
            "resource": {"attributes": [{"key": "service.name", "value": {"stringValue": "my.service"}}]},
            "scopeSpans": [
                {
                    "scope": {"name": "my.library", "version": "1.0.0"},
                    "spans": [
                        {
                            "traceId": "5B8EFFF798038103D269B633813FC60C",
                            "spanId": "EEE19B7EC3C1B174",
                            "parentSpanId": "",
                            "name": "chat llama-house",
                            "startTimeUnixNano": "1544712660000000000",
                            "endTimeUnixNano": "1544712661000000000",
                            "kind": 2,
                            "status": {"code": 1},
                            "attributes": [
                                {"key": "gen_ai.request.model", "value": {"stringValue": "llama-house"}},
                                {"key": "gen_ai.usage.input_tokens", "value": {"intValue": "12"}},
                                {"key": "gen_ai.usage.output_tokens", "value": {"intValue": 3}},
                                {"key": "list", "value": {"arrayValue": {"values": [{"boolValue": True}, {}]}}},
                                {"key": "bytes", "value": {"bytesValue": "AAEC"}},
                                {
                                    "key": "map",
                                    "value": {"kvlistValue": {"values": [{"key": "a", "value": {"doubleValue": 0.5}}]}},
                                },
                            ],
                            "links": [{"traceId": "5B8EFFF798038103D269B633813FC60D", "spanId": "EEE19B7EC3C1B175"}],
                            "madeUpLater": {"by": "others"},
                        }
                    ],
                }
            ],
        }
    ]
}


def example(workflow: str, **fields: Any) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(json.dumps(EXAMPLE))
    resource = document["resourceSpans"][0]
    resource["resource"]["attributes"][0]["value"]["stringValue"] = workflow
    resource["scopeSpans"][0]["spans"][0] |= fields
    return document


def partial(response: httpx.Response) -> tuple[int, str]:
    """How many spans were rejected, and why."""
    assert response.status_code == 200, response.content
    told = ExportTraceServiceResponse.FromString(response.content).partial_success
    return told.rejected_spans, told.error_message


async def test_the_example_in_json(ours: Calls) -> None:
    workflow = new_id()
    response = await ours.http.post(PATH, json=example(workflow))
    assert (response.status_code, response.json()) == (200, {})
    assert response.headers["content-type"] == "application/json"
    (row,) = await instances(ours, workflow)
    assert (row["external_id"], row["origin"]) == ("5b8efff798038103d269b633813fc60c", "external")
    assert (row["started_at"], row["completed_at"]) == ("2018-12-13T14:51:00Z", "2018-12-13T14:51:01Z")
    (step,) = await steps(ours, row["id"])
    assert (step["stage_path"], step["status"], step["response_time_ms"]) == ("chat llama-house", "success", 1000)
    assert step["payload"]["attributes"] == {
        "gen_ai.request.model": "llama-house",
        "gen_ai.usage.input_tokens": 12,
        "gen_ai.usage.output_tokens": 3,
        "list": [True, None],
        "bytes": "AAEC",
        "map": {"a": 0.5},
    }
    assert step["payload"]["scope"] == "my.library"
    cost = await ours.get(f"/api/instances/{row['id']}/cost")
    assert (cost["total_cost_usd"], cost["unpriced_pings"]) == (None, 1)
    assert (cost["breakdown"][0]["model_id"], cost["breakdown"][0]["input_tokens"]) == ("llama-house", 12)
    # A rerun's comparison, exports and forks have it as any other.
    assert (await ours.get(f"/api/instances/{row['id']}/export"))["format"]


async def test_a_trace_is_a_run_and_its_spans_are_stages(ours: Calls) -> None:
    workflow, trace = new_id(), new_trace()
    tool = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": "search", "gen_ai.agent.name": "Ada"}
    await export(
        ours,
        workflow,
        span(trace),
        span(trace, "execute_tool", tool),
        span(trace, "SELECT 1", {"db.system": "postgresql"}),
        root(trace),
    )
    row = await settled(ours, workflow, trace, "completed")
    assert (row["started_at"], row["completed_at"]) == ("2023-11-14T22:13:20Z", "2023-11-14T22:13:23Z")
    assert row["correlation_id"] == trace.hex()
    assert await stages(ours, row["id"], 3) == {
        "GET /ask": "healthy",
        "chat gpt-4o": "healthy",
        "execute_tool search": "healthy",
    }
    cost = await ours.get(f"/api/instances/{row['id']}/cost")
    assert (cost["total_cost_usd"], cost["unpriced_pings"]) == (CHAT_USD, 0)
    (call,) = [step for step in await steps(ours, row["id"]) if step["stage_path"] == "execute_tool search"]
    assert (call["agent_code"], call["tool_calls"]) == ("Ada", [{"name": "search"}])


async def test_the_root_may_come_first_and_the_rest_late_in_any_order(ours: Calls) -> None:
    workflow, trace = new_id(), new_trace()
    await ours.define("dynamic", id=workflow, grace_period_seconds=0)
    await export(ours, workflow, root(trace))
    row = await settled(ours, workflow, trace, "completed")
    await ours.closed(row["id"])
    late = [span(trace, f"chat m{n}", {"gen_ai.system": "x"}) for n in range(3)]
    for one in reversed(late):
        await export(ours, workflow, one)
    assert len(await stages(ours, row["id"], 4)) == 4
    assert len(await instances(ours, workflow)) == 1
    assert (await ours.instance(row["id"]))["status"] == "completed"


async def test_a_failed_span_fails_the_run_and_the_next_good_one_heals_it(ours: Calls) -> None:
    workflow, trace = new_id(), new_trace()
    await export(ours, workflow, span(trace, error="429: slow down"))
    row = await settled(ours, workflow, trace, "failed")
    assert row["failure_reason"] == "Stage chat gpt-4o failed: 429: slow down"
    later = STARTED + 2 * SECOND
    # Of one request, the order is that in which they ended.
    await export(
        ours,
        workflow,
        span(trace, start_time_unix_nano=later, end_time_unix_nano=later + SECOND),
        span(trace, error="again", end_time_unix_nano=later),
        root(trace),
    )
    row = await settled(ours, workflow, trace, "completed")
    assert [step["status"] for step in await steps(ours, row["id"])] == [
        "failed",
        "failed",
        "success",
        "success",
    ]


async def test_a_root_that_fails(ours: Calls) -> None:
    workflow, trace = new_id(), new_trace()
    event = Span.Event(name="exception")
    for name, text in (("type", "ValueError"), ("message", "no such page")):
        event.attributes.add(key=f"exception.{name}").value.string_value = text
    await export(ours, workflow, root(trace, "ask", error="", events=[event]))
    row = await settled(ours, workflow, trace, "failed")
    assert row["failure_reason"] == "Stage ask failed: ValueError: no such page"


async def test_each_service_of_a_distributed_trace_has_a_run_and_they_are_linked(ours: Calls) -> None:
    one, other, trace = new_id(), new_id(), new_trace()
    remote = 0x100 | 0x200
    await export(ours, other, span(trace), span(trace, "POST /search", {}, flags=remote))
    await export(ours, one, span(trace), root(trace))
    first = await settled(ours, one, trace, "completed")
    second = await settled(ours, other, trace, "completed")
    assert [link["instance_id"] for link in first["correlated_instances"]] == [second["id"]]


async def test_a_span_that_is_sent_again_counts_once(ours: Calls) -> None:
    workflow, trace = new_id(), new_trace()
    spans = [span(trace), root(trace)]
    for _ in range(2):
        await export(ours, workflow, *spans, spans[0])
    row = await settled(ours, workflow, trace, "completed")
    assert len(await steps(ours, row["id"])) == 2
    assert (await ours.get(f"/api/instances/{row['id']}/cost"))["total_cost_usd"] == CHAT_USD


async def test_traces_and_pings_do_not_get_into_each_others_way(ours: Calls) -> None:
    workflow, trace = new_id(), new_trace()
    _, pinged = await ours.open(workflow)
    await export(ours, workflow, span(trace))
    assert (await ours.dynamic(workflow, "2"))["instance_id"] == pinged
    await export(ours, workflow, root(trace))
    assert (await settled(ours, workflow, trace, "completed"))["id"] != pinged
    assert (await ours.instance(pinged))["status"] == "running"


async def test_a_workflow_may_be_named_by_its_slug(ours: Calls) -> None:
    slug, trace = new_id("slug"), new_trace()
    workflow = await ours.define("dynamic", slug=slug)
    await export(ours, slug.upper(), root(trace))
    assert (await of_trace(ours, workflow, trace))["external_id"] == trace.hex()


async def test_the_name_of_anothers_workflow_leads_to_ones_own(ours: Calls, theirs: Calls) -> None:
    name, ours_trace, their_trace = new_id(), new_trace(), new_trace()
    await export(ours, name, root(ours_trace))
    for one in (span(their_trace), root(their_trace)):
        await export(theirs, name, one)
    workflow = workflow_id_within(theirs.account_id, name)
    row = await settled(theirs, workflow, their_trace, "completed")
    assert len(await steps(theirs, row["id"])) == 2
    assert len(await instances(ours, name)) == 1


async def test_two_accounts_whose_first_traces_come_at_once(ours: Calls, theirs: Calls) -> None:
    for _ in range(5):
        name = new_id()
        calls = [(ours, new_trace()), (theirs, new_trace())]
        await asyncio.gather(*(export(account, name, root(trace)) for account, trace in calls))
        for account, trace in calls:
            found = [
                row["external_id"]
                for id_ in (name, workflow_id_within(account.account_id, name))
                if (response := await account.http.get(f"/api/workflows/{id_}")).status_code == 200
                for row in await instances(account, response.json()["id"])
            ]
            assert found == [trace.hex()]


async def test_spans_that_cannot_be_kept_are_told_beside_those_that_are(ours: Calls) -> None:
    static, workflow, trace = await ours.define("static"), new_id(), new_trace()
    both = request(workflow, span(trace), span(b""), span(trace, span_id=b""), span(bytes(16)))
    both.resource_spans.extend(request(static, span(trace), root(trace)).resource_spans)
    response = await ours.http.post(PATH, content=both.SerializeToString(), headers=PROTOBUF)
    count, message = partial(response)
    assert count == 5
    assert "a span needs the ids of its trace and of itself (3 spans)" in message
    assert f"{static} is a static workflow; ping it at /shk/{static} (2 spans)" in message
    assert len(await instances(ours, workflow)) == 1

    document = example(static)
    document["resourceSpans"] += example(new_id())["resourceSpans"]
    told = (await ours.http.post(PATH, json=document)).json()["partialSuccess"]
    assert told["rejectedSpans"] == "1"
    assert f"{static} is a static workflow" in told["errorMessage"]


async def test_if_none_can_be_kept_it_is_an_error_that_exporters_log(ours: Calls) -> None:
    static = await ours.define("static")
    status, code, message = failed(await send(ours, static, root(new_trace())))
    assert (status, code) == (400, 3)
    assert f"{static} is a static workflow" in message
    assert failed(await send(ours, new_id(), span(b"")))[0] == 400


async def test_a_strict_workflow_wants_agents(ours: Calls) -> None:
    workflow, trace = await ours.define("dynamic", validation_mode="strict"), new_trace()
    agent = {**CHAT, "gen_ai.agent.name": "Ada"}
    count, message = partial(await send(ours, workflow, span(trace, attributes=agent), root(trace)))
    assert count == 1
    assert "strict" in message


@pytest.mark.parametrize("nothing", [b"", request("nobody").SerializeToString()])
async def test_nothing_is_fine(ours: Calls, nothing: bytes) -> None:
    response = await ours.http.post(PATH, content=nothing, headers=PROTOBUF)
    assert (response.status_code, response.content) == (200, b"")
    skipped = await send(ours, new_id(), span(new_trace(), "SELECT", {"db.system": "x"}))
    assert (skipped.status_code, skipped.content) == (200, b"")
    assert (await ours.http.post(PATH, content=b"{}", headers=JSON)).json() == {}


@pytest.mark.parametrize(
    ("compress", "name"),
    [(gzip.compress, "gzip"), (zlib.compress, "deflate"), (bytes, "identity")]
    + [(lambda body: gzip.compress(body[:10]) + gzip.compress(body[10:]), "GZIP")],
)
async def test_compressed(ours: Calls, compress: Any, name: str) -> None:
    workflow, trace = new_id(), new_trace()
    body = compress(request(workflow, root(trace)).SerializeToString())
    response = await ours.http.post(PATH, content=body, headers={**PROTOBUF, "Content-Encoding": name})
    assert response.status_code == 200, response.content
    assert await of_trace(ours, workflow, trace)


@pytest.mark.parametrize(
    ("body", "headers", "status", "words"),
    [
        (b"\xff\xff", PROTOBUF, 400, "in protobuf"),
        (b"{", JSON, 400, "cannot be read as JSON"),
        (b"[]", JSON, 400, "ExportTraceServiceRequest in JSON"),
        (b'{"resourceSpans": {"scopeSpans": 1}}', JSON, 400, "ExportTraceServiceRequest in JSON"),
        (json.dumps(example("x", traceId="no hex")).encode(), JSON, 400, "traceId: must be 16 bytes as 32"),
        (json.dumps(example("x", startTimeUnixNano="soon")).encode(), JSON, 400, "ExportTraceServiceRequest in JSON"),
        (b"<xml/>", {"Content-Type": "text/xml"}, 415, "application/x-protobuf or application/json"),
        (b"{}", {}, 415, "application/x-protobuf or application/json"),
        (b"{}", {**JSON, "Content-Encoding": "br"}, 415, "gzip or deflate"),
        (b"{}", {**JSON, "Content-Encoding": "gzip"}, 400, "is not gzip"),
        (gzip.compress(b"{}", mtime=0)[:-4], {**JSON, "Content-Encoding": "gzip"}, 400, "ends in the middle"),
        (gzip.compress(bytes(otlp.MAX_BYTES + 1), mtime=0), {**PROTOBUF, "Content-Encoding": "gzip"}, 413, "inflated"),
        (gzip.compress(bytes(2**20), mtime=0) * 21, {**PROTOBUF, "Content-Encoding": "gzip"}, 413, "inflated"),
        (bytes(otlp.MAX_BYTES + 1), PROTOBUF, 413, "The body has more than"),
    ],
    ids=range(14),
)
async def test_what_cannot_be_read(ours: Calls, body: bytes, headers: dict[str, str], status: int, words: str) -> None:
    response = await ours.http.post(PATH, content=body, headers=headers)
    told = failed(response)
    assert told[:2] == (status, {400: 3, 413: 8, 415: 3}[status])
    assert words in told[2]
    is_protobuf = response.headers["content-type"] == "application/x-protobuf"
    assert is_protobuf == (headers.get("Content-Type") == "application/x-protobuf")


async def test_too_many_spans(ours: Calls) -> None:
    spans = [Span(name="a")] * (otlp.MAX_SPANS + 1)
    status, _, message = failed(await send(ours, new_id(), *spans))
    assert (status, "10001 spans" in message) == (413, True)


async def test_keys(ours: Calls, quick_gateway: str) -> None:
    body = request(new_id(), root(new_trace())).SerializeToString()
    async with httpx.AsyncClient(base_url=quick_gateway) as http:
        for headers, status in (
            ({}, 401),
            (api_key("ppk_0123456789_" + "x" * 40), 401),
            ({"Authorization": f"Bearer {ours.key}"}, 200),
            (api_key(ours.key), 200),
        ):
            response = await http.post(PATH, content=body, headers={**PROTOBUF, **headers})
            assert response.status_code == status
            if status == 401:
                assert failed(response)[1] == 16
                assert response.headers["www-authenticate"].startswith("Bearer")
    assert failed(await ours.http.get(PATH))[:2] == (405, 12)


async def test_each_span_counts_as_a_ping_and_a_request_is_taken_whole(
    stack: Stack, start_gateway: StartGateway
) -> None:
    url = start_gateway(pings_per_minute=10)
    async with httpx.AsyncClient(base_url=url, headers=api_key(stack.key)) as http:
        calls = Calls(http, stack.account_id, stack.key)
        trace = new_trace()
        first = await send(calls, new_id(), *(span(trace) for _ in range(25)), span(trace, "skipped", {"a": 1}))
        assert (first.status_code, first.headers["ratelimit-remaining"]) == (200, "0")
        second = await send(calls, new_id(), root(trace))
        assert failed(second)[:2] == (429, 8)
        assert int(second.headers["retry-after"]) > 0


async def test_what_it_says_is_kept_as_it_was_and_no_key_is(ours: Calls) -> None:
    workflow, trace = new_id(), new_trace()
    secret = {"gen_ai.system": "x", "gen_ai.prompt": f"my key is {ours.key}", "gen_ai.nul": "a\x00b"}
    await export(ours, workflow, span(trace, f"chat {ours.key}", secret, error=f"{ours.key} is wrong"))
    row = await settled(ours, workflow, trace, "failed")
    shown = json.dumps([row, await steps(ours, row["id"])])
    assert ours.key not in shown
    assert "a\\ufffdb" in shown


async def test_a_thousand_spans_and_the_same_again(mine: Calls) -> None:
    """An exporter waits for ten seconds, and then sends them again: so far it has come, and goes on from there."""
    workflow, traces = new_id(), [new_trace() for _ in range(20)]
    spans = [one for trace in traces for one in (*(span(trace) for _ in range(49)), root(trace))]
    await asyncio.gather(export(mine, workflow, *spans), export(mine, workflow, *spans))
    await export(mine, workflow, *spans)
    rows = await instances(mine, workflow)
    assert {row["external_id"] for row in rows} == {trace.hex() for trace in traces}
    for row in rows:
        assert len(await steps(mine, row["id"])) == 50
    cost = await mine.get(f"/api/workflows/{workflow}/cost")
    assert (cost["instance_count"], cost["total_cost_usd"]) == (20, pytest.approx(49 * 20 * CHAT_USD))
