"""Streamable HTTP: whose key a request acts with, and who is let in at all."""

import asyncio
import json
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli.mcp_server.serving import is_loopback, transport_security
from tests.api.approval_calls import ADA, ask
from tests.api.calls import Calls, new_id
from tests.mcp_server.agents import COMMAND, Mode, environment, http_server, over_http
from tests.support.stack import Stack
from tests.support.waiting import until

MODES: list[Mode] = ["auto", "legacy"]
MODERN = "2026-07-28"
OLD = "2025-06-18"


def listing(version: str) -> dict[str, Any]:
    meta = {
        "io.modelcontextprotocol/protocolVersion": version,
        "io.modelcontextprotocol/clientInfo": {"name": "tests", "version": "1"},
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    return {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {"_meta": meta}}


INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": OLD, "capabilities": {}, "clientInfo": {"name": "tests", "version": "1"}},
}
ACCEPT = {"Accept": "application/json, text/event-stream"}


def post(url: str, body: dict[str, Any], **headers: str) -> httpx.Response:
    headers = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.post(url, json=body, headers=ACCEPT | headers, timeout=20)


def posts(url: str, **headers: str) -> set[int]:
    """The statuses of requests of both kinds of clients."""
    modern = {"MCP_Protocol_Version": MODERN, "Mcp_Method": "tools/list"}
    return {
        post(url, listing(MODERN), **modern, **headers).status_code,
        post(url, INITIALIZE, **headers).status_code,
    }


@pytest.mark.parametrize("mode", MODES)
async def test_two_clients_with_their_own_keys_see_their_own_things(
    tmp_path: Path, stack: Stack, mine: Calls, theirs: Calls, mode: Mode
) -> None:
    ours, others = await mine.define("dynamic"), await theirs.define("dynamic")
    async with (
        http_server(tmp_path, stack.url, stack.key) as server,
        over_http(server.url, mode, Authorization=f"Bearer {mine.key}") as agent,
        over_http(server.url, mode, Authorization=f"Bearer {theirs.key}") as other,
        over_http(server.url, mode) as owner,
    ):
        started = [client.call("ping_stage", workflow_id=id_, stage=1, start=True) for client, id_ in
                   ((agent, ours), (other, others))]  # fmt: skip
        await asyncio.gather(*started)
        lists = await asyncio.gather(*(client.call("list_workflows") for client in (agent, other, owner)))
        refused = await agent.fail("get_tree", workflow_id=others)
    assert [[row["id"] for row in answer["workflows"]] for answer in lists[:2]] == [[ours], [others]]
    assert {ours, others}.isdisjoint(row["id"] for row in lists[2]["workflows"])
    assert "forbidden" in refused
    assert not [line for line in server.lines if mine.key in line or theirs.key in line]


async def test_a_session_belongs_to_the_key_that_has_opened_it(
    tmp_path: Path, stack: Stack, mine: Calls, theirs: Calls
) -> None:
    async with http_server(tmp_path, stack.url, None) as server:
        opened = post(server.url, INITIALIZE, Authorization=f"Bearer {mine.key}")
        session = {"Mcp_Session_Id": opened.headers["mcp-session-id"], "MCP_Protocol_Version": OLD}
        told = {"jsonrpc": "2.0", "method": "notifications/initialized"}
        statuses = [
            post(server.url, told, **session, Authorization=f"Bearer {calls.key}").status_code
            for calls in (theirs, mine)
        ]
    assert statuses == [404, 202]


async def test_foreign_hosts_and_origins_are_refused(tmp_path: Path, stack: Stack, mine: Calls) -> None:
    async with http_server(tmp_path, stack.url, mine.key) as server:
        port = httpx.URL(server.url).port
        assert posts(server.url) == {200}
        assert posts(server.url, Host=f"localhost:{port}", Origin=f"http://localhost:{port}") == {200}
        assert posts(server.url, Host=f"LocalHost:{port}") == {200}
        assert posts(server.url, Host="evil.example") == {421}
        assert posts(server.url, Host=f"evil.example:{port}") == {421}
        assert posts(server.url, Origin="https://evil.example") == {403}
        assert posts(server.url, Origin="null") == {403}
        assert posts(server.url, Origin="http://localhost:3000") == {403}
        assert posts(server.url, Host="evil.example", Authorization=f"Bearer {mine.key}") == {421}


async def test_without_a_key_nobody_gets_in(tmp_path: Path, stack: Stack, mine: Calls) -> None:
    async with http_server(tmp_path, stack.url, None) as server:
        refused = post(server.url, INITIALIZE)
        assert refused.headers["www-authenticate"].startswith("Bearer")
        assert "Authorization: Bearer" in refused.json()["error"]["message"]
        assert posts(server.url) == {401}
        assert posts(server.url, Authorization=f"Bearer {mine.key}") == {200}


async def test_a_header_that_is_no_key_does_not_fall_back_to_the_servers_own(
    tmp_path: Path, stack: Stack, mine: Calls
) -> None:
    async with http_server(tmp_path, stack.url, mine.key) as server:
        for said in ("Basic YTpi", "Bearer", "Bearer two words", mine.key):
            assert posts(server.url, Authorization=said) == {401}
        for name in (
            *("X_Forwarded_For", "Forwarded", "X_Real_IP", "Via", "CF_Connecting_IP"),
            *("X_Forwarded_Proto", "X_Forwarded_Host", "X_Forwarded_Port", "X_Forwarded_Server"),
        ):
            assert posts(server.url, **{name: "192.0.2.1"}) == {401}


async def test_behind_a_proxy_the_servers_own_key_is_not_used(tmp_path: Path, stack: Stack, mine: Calls) -> None:
    async with http_server(tmp_path, stack.url, mine.key, "--allow-host", "MCP.example.com") as server:
        assert [line for line in server.lines if "PINGPULSE_API_KEY is not used" in line]
        assert posts(server.url) == {401}
        bearer = {"Authorization": f"Bearer {mine.key}"}
        assert posts(server.url, Host="mcp.example.com", Origin="https://mcp.example.com", **bearer) == {200}
        assert posts(server.url, Host="evil.example", **bearer) == {421}


def test_the_servers_own_key_is_for_loopback_alone() -> None:
    assert all(is_loopback(host) for host in ("127.0.0.1", "127.1.2.3", "::1", "localhost"))
    assert not any(is_loopback(host) for host in ("0.0.0.0", "::", "10.0.0.1", "mcp.example.com", "localhost.evil"))


def test_names_under_which_it_is_reached() -> None:
    assert "10.0.0.1:8808" in transport_security("10.0.0.1", 8808, ()).allowed_hosts
    assert "[fd00::1]:8808" in transport_security("fd00::1", 8808, ()).allowed_hosts
    assert "localhost" in transport_security("127.0.0.1", 80, ()).allowed_hosts
    everywhere = transport_security("0.0.0.0", 8808, ("mcp.example.com",))
    assert not [host for host in everywhere.allowed_hosts if host.startswith("0.")]
    assert "https://mcp.example.com" in everywhere.allowed_origins
    assert everywhere.enable_dns_rebinding_protection


async def test_a_wrong_key_is_told_by_the_tool(tmp_path: Path, stack: Stack) -> None:
    async with (
        http_server(tmp_path, stack.url, None) as server,
        over_http(server.url, Authorization="Bearer ppk_wrong") as agent,
    ):
        assert "unauthenticated" in await agent.fail("list_workflows")


async def test_many_waits_do_not_keep_pings_from_being_sent(tmp_path: Path, stack: Stack, mine: Calls) -> None:
    approval_id = await ask(mine, approvers=[ADA])
    async with http_server(tmp_path, stack.url, mine.key) as server, over_http(server.url) as agent:
        waits = [
            asyncio.create_task(agent.call("wait_for_approval", approval_id=approval_id, max_wait_seconds=30))
            for _ in range(40)
        ]
        await until(lambda: len(agent.progress) >= 40)
        await agent.call("ping_stage", workflow_id=new_id(), stage=1, start=True)
        await mine.post(f"/api/approvals/{approval_id}/cancel", {})
        assert {answer["status"] for answer in await asyncio.gather(*waits)} == {"cancelled"}


async def test_it_stops_while_somebody_waits(tmp_path: Path, stack: Stack, mine: Calls) -> None:
    approval_id = await ask(mine, approvers=[ADA])
    async with http_server(tmp_path, stack.url, mine.key) as server, over_http(server.url) as agent:
        wait = {"approval_id": approval_id, "max_wait_seconds": 3600}
        waiting = asyncio.create_task(agent.client.call_tool("wait_for_approval", wait, progress_callback=agent._told))
        await until(lambda: agent.progress)
        begun = time.monotonic()
        await server.stop()
        assert time.monotonic() - begun < 8
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)


def test_a_port_that_is_taken_is_one_line(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        result = subprocess.run(
            [sys.executable, *COMMAND, "--http", "--port", str(taken.getsockname()[1])],
            env=environment("http://localhost:1", "key"),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
    assert result.returncode == 1
    assert result.stderr.startswith("pingpulse: Cannot listen on 127.0.0.1 port")
    assert result.stderr.count("\n") == 1


async def test_what_is_no_text_is_refused_by_the_gateway(tmp_path: Path, stack: Stack, mine: Calls) -> None:
    call = listing(MODERN) | {"method": "tools/call"}
    arguments = {"workflow_id": new_id(), "stage": 1, "start": True, "payload": {"half": "\ud83d"}}
    call["params"] |= {"name": "ping_stage", "arguments": arguments}
    headers = {"MCP-Protocol-Version": MODERN, "Mcp-Method": "tools/call", "Mcp-Name": "ping_stage"}
    async with http_server(tmp_path, stack.url, mine.key) as server:
        headers |= ACCEPT | {"Content-Type": "application/json"}
        answer = httpx.post(server.url, content=json.dumps(call), headers=headers, timeout=20)
    assert "half: is not valid Unicode" in answer.text
