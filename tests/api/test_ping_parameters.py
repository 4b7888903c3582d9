"""What a ping may carry where, and what is left as its payload."""

import json
from typing import Any

import httpx
import pytest
from sqlalchemy import select, text

from domain.keys import new_key
from storage.base import Sessions
from storage.pings import Ping
from tests.api.calls import JSON, Calls, new_id
from tests.api.test_errors import problem
from tests.support.stack import Stack


async def last_ping(sessions: Sessions, workflow_id: str) -> Ping:
    async with sessions() as session:
        ping = await session.scalar(select(Ping).where(Ping.workflow_id == workflow_id).order_by(Ping.id.desc()))
    assert ping is not None
    return ping


async def count_pings(sessions: Sessions, account_id: str) -> int:
    async with sessions() as session:
        return len((await session.scalars(select(Ping.id).where(Ping.account_id == account_id))).all())


@pytest.mark.parametrize("name", ["stage", "stagePath"])
@pytest.mark.parametrize("where", ["params", "json"])
async def test_both_endpoints_take_both_names_of_the_stage_in_both_places(ours: Calls, name: str, where: str) -> None:
    static, dynamic = await ours.define(), await ours.define("dynamic")
    for path in (f"/shk/{static}", f"/dhk/{dynamic}"):
        said: dict[str, Any] = {where: {name: "2"}}
        response = await ours.http.post(path, **said)
        assert (response.status_code, response.json()["stage_order"]) == (200, 2), response.text


async def test_all_parameters_may_stand_in_the_body(ours: Calls, sessions: Sessions) -> None:
    workflow_id, instance_id = await ours.open()
    await ours.open(workflow_id)
    parameters = {"stagePath": "2.1", "final": True, "stagename": "Train", "agent": "gpt", "instance_id": instance_id}
    answer = await ours.post(f"/dhk/{workflow_id}", {**parameters, "key": ours.key, "rows": 5})
    assert (answer["instance_id"], answer["stage_path"]) == (instance_id, "2.1")
    ping = await last_ping(sessions, workflow_id)
    assert (ping.path, ping.final, ping.name, ping.agent) == ("2.1", True, "Train", "gpt")
    assert ping.payload == {"rows": 5}


async def test_the_query_wins_and_what_it_beats_is_payload(ours: Calls, sessions: Sessions) -> None:
    """As in the GitHub Actions example, where `stage` in the body is a name of the caller's own."""
    workflow_id = new_id()
    body = {"stage": "install", "commit": "abc", "agent": "body"}
    await ours.post(f"/dhk/{workflow_id}", body, stagePath="1", start="yes", agent="query")
    ping = await last_ping(sessions, workflow_id)
    assert (ping.path, ping.agent, ping.payload) == ("1", "query", body)


async def test_of_repeated_parameters_the_first_counts(ours: Calls) -> None:
    response = await ours.http.get(f"/dhk/{new_id()}?stagePath=1&stagePath=2&start=yes&start=no")
    assert response.json()["stage_path"] == "1"


async def test_what_is_understood_is_kept_in_columns_too(ours: Calls, sessions: Sessions) -> None:
    workflow_id, _ = await ours.open()
    payload = {
        "status": "failed",
        "error": {"code": 7},
        "duration": 12.345,
        "handoff_reason": "task_complete",
        "model_id": "claude-3-opus",
        "usage": {"input_tokens": 1500, "output_tokens": 500, "total_tokens": 2000},
        "cost_usd": 0.045,
        "tool_calls": [{"tool_name": "web_search", "latency_ms": 250, "success": True}],
    }
    await ours.post(f"/dhk/{workflow_id}", payload, stage=2)
    ping = await last_ping(sessions, workflow_id)
    assert (ping.status, ping.error, ping.duration_ms) == ("failed", '{"code": 7}', 12345)
    assert (ping.handoff_reason, ping.model_id, str(ping.cost_usd)) == ("task_complete", "claude-3-opus", "0.045")
    assert (ping.input_tokens, ping.output_tokens) == (1500, 500)
    assert (ping.usage, ping.tool_calls, ping.payload) == (payload["usage"], payload["tool_calls"], payload)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (b"line one\nline two", "text/plain"),
        (b"a=1&b=2", "application/x-www-form-urlencoded"),
        (b"[1, 2, 3]", "application/json"),
        (b'"text"', "application/json"),
        (b"null", "application/json"),
        (b"{not json", "application/x-www-form-urlencoded"),
        (b"<ping/>", "application/xml"),
        ("späte Grüße".encode(), "made/up"),
    ],
)
async def test_any_other_body_is_kept_as_text(ours: Calls, sessions: Sessions, body: bytes, content_type: str) -> None:
    workflow_id = new_id()
    response = await ours.http.post(
        f"/dhk/{workflow_id}?stage=1&start=yes", content=body, headers={"Content-Type": content_type}
    )
    assert response.status_code == 200, response.text
    ping = await last_ping(sessions, workflow_id)
    assert (ping.payload, ping.text, ping.size_bytes) == (None, body.decode(), len(body))


@pytest.mark.parametrize("headers", [{}, JSON, {"Content-Type": "application/x-www-form-urlencoded"}])
async def test_json_is_seen_whatever_curl_calls_it(ours: Calls, sessions: Sessions, headers: dict[str, str]) -> None:
    workflow_id = new_id()
    body = b'\xef\xbb\xbf {"stagePath": "1", "start": "yes", "rows": 1}'
    response = await ours.http.post(f"/dhk/{workflow_id}", content=body, headers=headers)
    assert response.status_code == 200, response.text
    assert (await last_ping(sessions, workflow_id)).payload == {"rows": 1}


async def test_a_chunked_body_is_read(ours: Calls, sessions: Sessions) -> None:
    async def chunks() -> Any:
        for part in (b'{"stage": 1, "start"', b': "yes", "a"', b": [1]}"):
            yield part

    workflow_id = new_id()
    assert (await ours.http.post(f"/dhk/{workflow_id}", content=chunks(), headers=JSON)).status_code == 200
    assert (await last_ping(sessions, workflow_id)).payload == {"a": [1]}


async def test_a_payload_of_100_kB_is_kept_and_a_larger_one_refused(ours: Calls, sessions: Sessions) -> None:
    workflow_id, _ = await ours.open()
    largest = b'{"a": "%s"}' % (b"x" * (100_000 - len('{"a": ""}')))
    before = await count_pings(sessions, ours.account_id)
    for body in (largest + b" ", b"x" * 100_001, b"x" * 10_000_000):
        response = await ours.http.post(f"/dhk/{workflow_id}?stage=2", content=body, headers=JSON)
        problem(response, 413, "payload_too_large")
    assert await count_pings(sessions, ours.account_id) == before
    assert (await ours.http.post(f"/dhk/{workflow_id}?stage=2", content=largest)).status_code == 200
    assert (await last_ping(sessions, workflow_id)).size_bytes == 100_000


@pytest.mark.parametrize("endpoint", ["shk", "dhk"])
async def test_only_get_and_post_ping(ours: Calls, sessions: Sessions, endpoint: str) -> None:
    workflow_id = await ours.define("static" if endpoint == "shk" else "dynamic")
    before = await count_pings(sessions, ours.account_id)
    url = f"/{endpoint}/{workflow_id}?stage=1&start=yes"
    preflight = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    assert (await ours.http.options(url, headers=preflight)).status_code == 204
    head = await ours.http.head(url)
    assert (head.status_code, head.headers["allow"], head.content) == (405, "GET, POST", b"")
    for method in ("PUT", "PATCH", "DELETE"):
        problem(await ours.http.request(method, url), 405, "method_not_allowed")
    assert await count_pings(sessions, ours.account_id) == before


# The key


@pytest.mark.parametrize("where", ["params", "json", "header", "bearer"])
async def test_a_key_is_taken_from_everywhere_and_kept_nowhere(
    stack: Stack, ours: Calls, sessions: Sessions, where: str
) -> None:
    workflow_id = await ours.define("dynamic", validation_mode="strict")
    params: dict[str, Any] = {"stage": "2", "start": "yes", "agent": "a"}
    said: dict[str, Any] = {
        "params": {"params": {**params, "key": ours.key}},
        "json": {"json": {"key": ours.key, "a": 1}},
        "header": {"headers": {"X-API-Key": ours.key}},
        "bearer": {"headers": {"Authorization": f"Bearer {ours.key}"}},
    }[where]
    async with httpx.AsyncClient(base_url=str(ours.http.base_url)) as http:
        problem(await http.post(f"/dhk/{workflow_id}", params=params), 401, "unauthenticated")
        problem(await http.post(f"/dhk/{workflow_id}", **{"params": params, **said}), 400, "stage_missed")
    failed = await ours.get(f"/api/workflows/{workflow_id}/failed-pings")
    assert len(failed["failed_pings"]) == 1
    assert ours.key not in json.dumps(failed)
    assert (await last_ping(sessions, workflow_id)).payload == ({"a": 1} if where == "json" else None)


async def test_a_key_in_the_wrong_place_is_not_kept_either(stack: Stack, ours: Calls, sessions: Sessions) -> None:
    """A log line with a pinged address in it is enough: neither Postgres nor Temporal may learn the secret."""
    _, key = new_key()
    secret = key.rpartition("_")[2]
    workflow_id, instance_id = await ours.open()
    said = f"curl https://gateway/dhk/x?key={key} failed"
    members = {"status": "failed", "error": said, "model_id": said, "handoff_reason": said, "nested": [{key: said}]}
    columns = {"usage": {"note": said}, "tool_calls": [{"command": said}]}
    await ours.post(f"/dhk/{workflow_id}", {**members, **columns}, stage=2)
    await ours.dynamic(workflow_id, "3", error=said, status=key)
    await ours.http.post(f"/dhk/{workflow_id}?stage=4", content=f"key={key}&rows=1")
    await ours.settled(instance_id, "failed")
    async with sessions() as session:
        for table in ("pings", "stages", "transitions", "instances", "outbox", "workflows"):
            assert await session.scalar(text(f"SELECT count(*) FROM {table} t WHERE t::text LIKE '%{secret}%'")) == 0
    history = await stack.temporal.get_workflow_handle(f"instance/{workflow_id}/{instance_id}").fetch_history()
    assert len(history.events) > 3
    assert not any(secret.encode() in event.SerializeToString() for event in history.events)


@pytest.mark.parametrize("field", ["stagePath", "agent", "stagename", "instance_id", "idempotency_key"])
async def test_a_key_is_no_name(ours: Calls, field: str) -> None:
    _, key = new_key()
    params = {"stagePath": "1", "start": "yes", field: key}
    response = await ours.http.get(f"/dhk/{new_id()}", params=params)
    assert problem(response, 400, "invalid_request")["errors"][0]["field"] == field
    assert key not in response.text
    response = await ours.http.get(f"/dhk/{key}", params={"stagePath": "1", "start": "yes"})
    assert problem(response, 400, "invalid_request")["errors"][0]["field"] == "workflow_id"


async def test_an_address_with_a_slash_too_many_is_no_redirect(ours: Calls) -> None:
    """curl without -L would lose the ping and be happy."""
    missing = await ours.http.get("/dhk/flow/", params={"stagePath": "1", "start": "yes"})
    problem(missing, 404, "not_found")
