"""Whatever is sent, the answer is a problem that names the field, and nothing is kept."""

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest
from sqlalchemy import text

from storage.base import Sessions
from tests.api.calls import JSON, Calls, new_id
from tests.api.test_errors import fields, problem

TABLES = ("pings", "outbox", "instances", "workflows", "idempotency_keys")


async def rows_of(sessions: Sessions, account_id: str) -> list[Any]:
    async with sessions() as session:
        return [
            await session.scalar(text(f"SELECT count(*) FROM {table} WHERE account_id = :id"), {"id": account_id})
            for table in TABLES
            if table != "outbox"
        ]


@pytest.fixture
async def nothing_is_kept(ours: Calls, sessions: Sessions) -> AsyncIterator[str]:
    """A workflow with an open instance, whose rows are counted before and after."""
    workflow_id, _ = await ours.open()
    before = await rows_of(sessions, ours.account_id)
    yield workflow_id
    assert await rows_of(sessions, ours.account_id) == before


def nested(levels: int) -> str:
    return '{"a":' * levels + "1" + "}" * levels


QUERIES = {
    "no stage": ("", "stagePath"),
    "empty stage": ("stagePath=", "stagePath"),
    "two dots": ("stagePath=1..2", "stagePath"),
    "ends with a dot": ("stagePath=1.", "stagePath"),
    "zero": ("stagePath=0", "stagePath"),
    "leading zero": ("stagePath=01", "stagePath"),
    "negative": ("stagePath=-1", "stagePath"),
    "not whole": ("stage=1.0", "stage"),
    "huge": ("stagePath=1000001", "stagePath"),
    "33 levels": ("stagePath=" + ".".join(["1"] * 33), "stagePath"),
    "200 levels": ("stagePath=" + ".".join(["1"] * 200), "stagePath"),
    "long name": ("stagePath=" + "x" * 300, "stagePath"),
    "odd name": ("stagePath=a%3Cb", "stagePath"),
    "line break": ("stagePath=a%0Ab", "stagePath"),
    "NUL in the stage": ("stagePath=a%00b", "stagePath"),
    "NUL in the agent": ("stagePath=1&agent=a%00b", "agent"),
    "NUL in the name": ("stagePath=1&stagename=%00", "stagename"),
    "NUL in the instance": ("stagePath=1&instance_id=%00", "instance_id"),
    "NUL in the key": ("stagePath=1&idempotency_key=%00", "idempotency_key"),
    "NUL in the status": ("stagePath=1&status=%00", "status"),
    "NUL in the error": ("stagePath=1&error=%00", "error"),
    "not UTF-8": ("stagePath=1&agent=%FF", "query"),
    "surrogate": ("stagePath=1&agent=%ED%A0%80", "query"),
    "long agent": ("stagePath=1&agent=" + "x" * 257, "agent"),
    "long name of a stage": ("stagePath=1&stagename=" + "x" * 257, "stagename"),
    "long instance": ("stagePath=1&instance_id=" + "x" * 65, "instance_id"),
    "long key": ("stagePath=1&idempotency_key=" + "x" * 256, "idempotency_key"),
    "odd start": ("stagePath=1&start=maybe", "start"),
    "odd final": ("stagePath=1&final=2", "final"),
    "too many": ("stagePath=1&" + "&".join(f"a{number}=1" for number in range(100)), "query"),
}


@pytest.mark.parametrize(("query", "field"), QUERIES.values(), ids=QUERIES)
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_bad_queries(ours: Calls, nothing_is_kept: str, method: str, query: str, field: str) -> None:
    response = await ours.http.request(method, f"/dhk/{nothing_is_kept}?{query}")
    assert fields(problem(response, 400, "invalid_request")) == [field]


BODIES = {
    "cut off": ('{"a": 1', "body"),
    "not JSON": ("{'a': 1}", "body"),
    "NaN": ('{"a": NaN}', "body"),
    "Infinity": ('{"a": -Infinity}', "body"),
    "beyond range": ('{"a": [{"b": 1e999}]}', "b"),
    "beyond range below": ('{"a": -1e999}', "a"),
    "too many digits": ('{"a": %s}' % ("9" * 5000), "body"),
    "nested too deep": (nested(65), "body"),
    "nested far too deep": ("[" * 99_000, "body"),
    "brackets": ('{"a":' * 19_000, "body"),
    "NUL": ('{"a": {"b": ["\\u0000"]}}', "b"),
    "NUL in a name": ('{"a": {"\\u0000": 1}}', "a"),
    "NUL in a first name": ('{"\\u0000": 1}', "body"),
    "lone surrogate": ('{"a": "\\ud800"}', "a"),
    "lone surrogate in a name": ('{"a": {"\\udfff": 1}}', "a"),
    "control character": ('{"a": "\x01"}', "body"),
    "NUL as it is": ('{"a": "\x00"}', "body"),
    "stage of no type": ('{"stage": null}', "stagePath"),
    "stage a list": ('{"stagePath": [1]}', "stagePath"),
    "stage an object": ('{"stage": {}}', "stage"),
    "stage a truth": ('{"stage": true}', "stage"),
    "stage huge": ('{"stage": %s}' % ("1" * 4000), "stage"),
    "stage not whole": ('{"stage": 1e22}', "stage"),
    "stage NUL": ('{"stage": "a\\u0000"}', "stage"),
    "stage surrogate": ('{"stage": "a\\ud800"}', "stage"),
    "agent": ('{"agent": ["a"]}', "agent"),
    "agent a truth": ('{"agent": true}', "agent"),
    "agent surrogate": ('{"agent": "\\ud800"}', "agent"),
    "agent huge": ('{"agent": %s}' % ("1" * 4000), "agent"),
    "stagename": ('{"stagename": {}}', "stagename"),
    "start": ('{"start": []}', "start"),
    "start a number": ('{"start": 1.0}', "start"),
    "final": ('{"final": {"a": 1}}', "final"),
    "instance_id": ('{"instance_id": [1]}', "instance_id"),
    "idempotency_key": ('{"idempotency_key": {}}', "idempotency_key"),
    "usage": ('{"usage": [1]}', "usage"),
    "tokens": ('{"usage": {"input_tokens": "many"}}', "usage.input_tokens"),
    "tokens beyond range": ('{"usage": {"output_tokens": 1e30}}', "usage.output_tokens"),
    "negative tokens": ('{"usage": {"input_tokens": -1}}', "usage.input_tokens"),
    "true tokens": ('{"usage": {"input_tokens": true}}', "usage.input_tokens"),
    "tool_calls": ('{"tool_calls": {}}', "tool_calls"),
    "cost": ('{"cost_usd": "free"}', "cost_usd"),
    "cost a list": ('{"cost_usd": []}', "cost_usd"),
    "negative cost": ('{"cost_usd": -0.01}', "cost_usd"),
    "cost beyond range": ('{"cost_usd": 1e999}', "cost_usd"),
    "cost too large": ('{"cost_usd": 1e10}', "cost_usd"),
    "cost NaN": ('{"cost_usd": "NaN"}', "cost_usd"),
    "cost too fine": ('{"cost_usd": "1e-20000"}', "cost_usd"),
    "duration": ('{"duration": -1}', "duration"),
    "duration beyond range": ('{"duration_ms": %s}' % ("9" * 400), "duration_ms"),
    "duration infinite": ('{"duration": 1e999}', "duration"),
    "model_id": ('{"model_id": "%s"}' % ("x" * 257), "model_id"),
    "handoff_reason": ('{"handoff_reason": "%s"}' % ("x" * 257), "handoff_reason"),
}


@pytest.mark.parametrize(("body", "field"), BODIES.values(), ids=BODIES)
async def test_bad_json(ours: Calls, nothing_is_kept: str, body: str, field: str) -> None:
    query = "" if field in ("stage", "stagePath") else "?stagePath=1"
    response = await ours.http.post(f"/dhk/{nothing_is_kept}{query}", content=body.encode(), headers=JSON)
    assert fields(problem(response, 400, "invalid_request")) == [field]


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b'{"a": "\xff"}', "application/json"),
        (b'{"a": "\xed\xa0\x80"}', "application/json"),
        ('{"a": 1}'.encode("utf-16"), "application/json"),
        (b"\xff\xfe", "text/plain"),
        (b"text\x00", "text/plain"),
        (b"\x1f\x8b\x08", "application/gzip"),
    ],
)
async def test_bodies_that_cannot_be_kept(ours: Calls, nothing_is_kept: str, body: bytes, content_type: str) -> None:
    response = await ours.http.post(
        f"/dhk/{nothing_is_kept}?stagePath=1", content=body, headers={"Content-Type": content_type}
    )
    assert fields(problem(response, 400, "invalid_request")) == ["body"]


async def test_chunks_without_an_end_in_sight(ours: Calls, nothing_is_kept: str) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(160):
            yield b"x" * 65536

    response = await ours.http.post(f"/dhk/{nothing_is_kept}?stagePath=1", content=chunks())
    problem(response, 413, "payload_too_large")


async def test_a_query_in_raw_bytes(ours: Calls, nothing_is_kept: str) -> None:
    reader, writer = await asyncio.open_connection(ours.http.base_url.host, ours.http.base_url.port)
    request = f"GET /dhk/{nothing_is_kept}?stagePath=1&key={ours.key}&agent=".encode() + b"\xe9"
    writer.write(request + b" HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    status, *_ = (await reader.read()).split(b"\r\n")
    writer.close()
    await writer.wait_closed()
    assert status.split()[1] == b"400"


async def test_a_bad_ping_costs_the_good_ones_beside_it_nothing(ours: Calls) -> None:
    """They share commits."""
    workflow_id, _ = await ours.open()

    async def ping(number: int) -> httpx.Response:
        bad = number % 5 == 0
        body = {"cost_usd": "1e-20000"} if bad else {"usage": {"n": 10**400}, "tool_calls": [10**400]}
        return await ours.http.post(f"/dhk/{workflow_id}?stage={number}", json=body)

    responses = await asyncio.gather(*(ping(number) for number in range(2, 42)))
    statuses = {number: response.status_code for number, response in enumerate(responses, 2)}
    assert statuses == {number: 400 if number % 5 == 0 else 200 for number in statuses}


@pytest.mark.parametrize("content", [nested(64), '{"a": %s}' % ("9" * 4300), '{"a": "\\\\u0000 \\ud83d\\ude00"}'])
async def test_what_is_just_within_bounds_comes_back(ours: Calls, content: str) -> None:
    workflow_id = await ours.define("dynamic", validation_mode="strict")
    response = await ours.http.post(f"/dhk/{workflow_id}?stage=2&agent=a", content=content, headers=JSON)
    problem(response, 404, "no_open_instance")
    (failed,) = await ours.failed_pings(workflow_id)
    assert failed["payload"] == json.loads(content)


async def test_names_in_any_script(ours: Calls) -> None:
    workflow_id, _ = await ours.open(new_id(), stage="Größe 日本", agent="🤖", stagename="नमस्ते")
    assert await ours.get(f"/dhk/{workflow_id}/tree") == {
        "Größe 日本": {"status": "healthy", "stage_name": "नमस्ते", "agent_code": "🤖"}
    }
