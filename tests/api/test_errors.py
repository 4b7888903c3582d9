"""Every error is one problem document, and none quotes a key."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from structlog.testing import capture_logs

from api.errors import Problem
from api.middleware import MAX_BODY_BYTES
from domain.keys import new_key, redact
from tests.api.conftest import Gateway, Team


def problem(response: httpx.Response, status: int, code: str) -> dict[str, Any]:
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    assert response.headers["x-request-id"]
    document: dict[str, Any] = response.json()
    Problem.model_validate(document)
    assert (document["status"], document["code"]) == (status, code)
    assert document["type"] == f"/docs/errors#{code}"
    assert document["detail"]
    return document


def fields(document: dict[str, Any]) -> list[str]:
    return [error["field"] for error in document["errors"]]


async def test_unknown_address(client: httpx.AsyncClient) -> None:
    problem(await client.get("/nowhere"), 404, "not_found")


async def test_wrong_method_names_every_method_of_the_address(client: httpx.AsyncClient) -> None:
    response = await client.put("/api/keys")
    problem(response, 405, "method_not_allowed")
    assert response.headers["allow"] == "GET, POST"


async def test_wrong_fields_are_named_as_sent(client: httpx.AsyncClient) -> None:
    body = {"things": [{"name": "a", "size": 1}, {"name": "b\x00", "size": "many"}]}
    document = problem(await client.post("/api/boxes?limit=0", json=body), 400, "invalid_request")
    assert fields(document) == ["limit", "things.1.name", "things.1.size"]
    assert "things.1.size" in document["detail"]


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b'{"things": [', "not valid JSON"),
        (b'{"things": "\xff"}', "not valid UTF-8"),
        (b"[" * 100_000, "not JSON that can be read"),
        (b"9" * 5000, "not JSON that can be read"),
        (b"[1]", "must be a JSON object"),
        (b"", "is missing"),
    ],
)
async def test_bodies_that_are_not_json(client: httpx.AsyncClient, body: bytes, said: str) -> None:
    response = await client.post("/api/boxes", content=body, headers={"Content-Type": "application/json"})
    document = problem(response, 400, "invalid_request")
    assert fields(document) == ["body"]
    assert said in document["detail"]


async def test_lone_surrogates_are_refused(client: httpx.AsyncClient) -> None:
    content = b'{"things": [{"name": "\\ud800", "size": 1}]}'
    response = await client.post("/api/boxes", content=content, headers={"Content-Type": "application/json"})
    assert fields(problem(response, 400, "invalid_request")) == ["things.0.name"]


async def test_a_value_that_postgres_refuses_is_the_callers_fault(client: httpx.AsyncClient) -> None:
    problem(await client.get("/api/store", params={"number": 2**40}), 400, "invalid_request")
    for text in (b"\\u0000", b"\\ud800"):
        content = b'{"text": "' + text + b'"}'
        response = await client.post("/api/store", content=content, headers={"Content-Type": "application/json"})
        problem(response, 400, "invalid_request")


@pytest.mark.parametrize("path", ["/api/read", "/api/boxes"])
async def test_large_bodies_are_refused_unread(client: httpx.AsyncClient, path: str) -> None:
    document = problem(await client.post(path, content=b"x" * (MAX_BODY_BYTES + 1)), 413, "payload_too_large")
    assert str(MAX_BODY_BYTES) in document["detail"]


@pytest.mark.parametrize("path", ["/api/read", "/api/boxes"])
async def test_large_bodies_of_unknown_size_are_read_to_the_limit_only(client: httpx.AsyncClient, path: str) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(160):
            yield b"x" * 65536

    response = await client.post(path, content=chunks())
    problem(response, 413, "payload_too_large")


async def test_bodies_at_the_limit_are_read(client: httpx.AsyncClient) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        yield b"x" * (MAX_BODY_BYTES - 1)
        yield b"x"

    assert (await client.post("/api/read", content=b"x" * MAX_BODY_BYTES)).json() == MAX_BODY_BYTES
    assert (await client.post("/api/read", content=chunks())).json() == MAX_BODY_BYTES


async def test_unexpected_errors_tell_nothing_and_are_logged_without_keys(client: httpx.AsyncClient) -> None:
    _, key = new_key()
    with capture_logs() as logs:
        response = await client.get("/api/crash", params={"key": key}, headers={"X-Request-ID": "the-request.1"})
    document = problem(response, 500, "internal_error")
    assert document["request_id"] == response.headers["x-request-id"] == "the-request.1"
    assert "KeyError" not in response.text
    (error,) = [entry for entry in logs if entry["log_level"] == "error"]
    assert error["request_id"] == "the-request.1"
    assert f"KeyError: '{redact(key)}'" in error["traceback"]
    assert key not in repr(logs)


async def test_the_servers_log_gets_nothing_of_it(client: httpx.AsyncClient, caplog: pytest.LogCaptureFixture) -> None:
    await client.get("/api/crash", params={"key": "a secret"})
    assert "a secret" not in caplog.text


async def test_without_postgres(start: Callable[..., Gateway]) -> None:
    _, key = new_key()
    gateway = start("postgresql://nobody:hidden@127.0.0.1:1/nothing")
    with capture_logs() as logs:
        async with gateway.client() as client:
            response = await client.get("/dhk/w", params={"key": key})
    problem(response, 503, "unavailable")
    assert int(response.headers["retry-after"]) > 0
    assert "hidden" not in repr(logs) + response.text


@pytest.mark.parametrize("given", [b"", b"two words", b"x" * 65, "naïve".encode()])
async def test_request_ids_that_will_not_do_are_replaced(client: httpx.AsyncClient, given: bytes) -> None:
    response = await client.get("/nowhere", headers={b"X-Request-ID": given})
    assert 0 < len(response.headers["x-request-id"]) <= 64
    assert response.headers["x-request-id"].encode() != given


async def test_headers_that_are_not_utf8(gateway: Gateway, team: Team) -> None:
    host, port = gateway.url.removeprefix("http://").split(":")
    for header in (b"X-API-Key", b"Authorization", b"Cookie: access_token=\xff; x", b"X-CSRF-Token", b"X-Request-ID"):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /api/keys HTTP/1.1\r\nHost: x\r\nConnection: close\r\n" + header + b": \xff\xfe\r\n\r\n")
        status, *_ = (await reader.read()).split(b"\r\n")
        writer.close()
        await writer.wait_closed()
        assert status.split()[1] == b"401", header


async def test_preflights_are_answered_and_do_not_ping(client: httpx.AsyncClient) -> None:
    asked = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    response = await client.options("/dhk/w", headers=asked)
    assert (response.status_code, response.text) == (204, "")
    assert response.headers["access-control-allow-origin"] == "*"
    assert "POST" in response.headers["access-control-allow-methods"]
    assert "access-control-allow-credentials" not in response.headers


async def test_only_pings_are_open_to_other_origins(client: httpx.AsyncClient) -> None:
    origin = {"Origin": "https://a.example"}
    assert (await client.get("/dhk/w", headers=origin)).headers["access-control-allow-origin"] == "*"
    assert "access-control-allow-origin" not in (await client.get("/api/me", headers=origin)).headers
    problem(await client.options("/api/me", headers=origin), 405, "method_not_allowed")


async def test_access_log_has_the_path_and_never_the_query(client: httpx.AsyncClient, team: Team) -> None:
    with capture_logs() as logs:
        await client.get("/api/me", params={"key": team.full_key})
        await client.get(f"/nowhere/{team.full_key}%0Aforged", params={"key": team.full_key})
        await client.get("/dhk/w", params={"key": team.full_key})
        await client.get("/dhk/w", params={"key": "wrong"})
    paths = [(entry["path"], entry["status"]) for entry in logs if entry["event"] == "request"]
    assert paths == [("/api/me", 200), (f"/nowhere/{redact(team.full_key)}%0Aforged", 404), ("/dhk/w", 401)]
    assert team.full_key not in repr(logs)


async def test_good_pings_are_logged_for_debugging_only(start: Callable[..., Gateway], team: Team) -> None:
    async with start(log_level="debug").client() as client:
        with capture_logs() as logs:
            await client.get("/dhk/w", params={"key": team.ping_key})
    (entry,) = logs
    assert (entry["log_level"], entry["path"], entry["status"]) == ("debug", "/dhk/w", 200)


async def test_openapi_speaks_of_problems_only(client: httpx.AsyncClient) -> None:
    document = (await client.get("/openapi.json")).json()
    assert "HTTPValidationError" not in json.dumps(document)
    assert "Problem" in document["components"]["schemas"]
    for path, operations in document["paths"].items():
        for method, operation in operations.items():
            assert "422" not in operation["responses"], (method, path)
            for status, response in operation["responses"].items():
                if status >= "4":
                    assert list(response["content"]) == ["application/problem+json"]
                    for code, example in response["content"]["application/problem+json"]["examples"].items():
                        Problem.model_validate(example["value"])
                        assert (example["value"]["code"], str(example["value"]["status"])) == (code, status)
    assert set(document["paths"]["/api/keys/{key_id}"]["delete"]["responses"]) >= {"204", "401", "403", "404", "429"}


async def test_every_code_is_documented_where_its_type_points(client: httpx.AsyncClient) -> None:
    page = await client.get("/docs/errors")
    assert page.headers["content-type"].startswith("text/html")
    for code in ("not_found", "csrf_failed", "internal_error"):
        assert f'id="{code}"' in page.text
