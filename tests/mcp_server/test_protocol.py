"""What clients see of the server before they call anything, and what it writes where."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from cli.main import app
from tests.api.approval_calls import decide
from tests.api.calls import Calls
from tests.mcp_server.agents import COMMAND, Mode, environment, http_server, over_http, over_stdio
from tests.mcp_server.conftest import Agents
from tests.mcp_server.test_failing import KEY
from tests.support.stack import Stack
from tests.support.waiting import until

PAGE = Path(__file__).parents[2] / "docs" / "integrations" / "mcp.md"
LOOKING = {
    "wait_for_approval",
    "get_tree",
    "get_timeline",
    "get_costs",
    "compare_instances",
    "list_workflows",
    "list_instances",
}
REPORTING = {"ping_stage", "ping_pulse", "request_approval", "ask_for_approval"}


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL)


@pytest.mark.parametrize("mode", ["auto", "legacy"])
async def test_tools_describe_themselves(agents: Agents, mode: Mode) -> None:
    async with agents(mode=mode) as agent:
        tools = (await agent.client.list_tools()).tools
        instructions = agent.client.instructions
    assert {tool.name for tool in tools} == LOOKING | REPORTING
    for tool in tools:
        assert tool.annotations is not None
        assert tool.annotations.read_only_hint is (tool.name in LOOKING)
        assert tool.description
        assert tool.title
        assert tool.output_schema is not None
        assert tool.output_schema["properties"]
        assert tool.input_schema["additionalProperties"] is False
        undescribed = [name for name, field in tool.input_schema["properties"].items() if not field.get("description")]
        assert undescribed == []
    assert instructions is not None
    assert all(tool.name in instructions for tool in tools if tool.name in ("ping_stage", "ask_for_approval"))
    assert len(json.dumps([tool.input_schema for tool in tools])) < 30_000


def request(number: int, method: str, **params: Any) -> dict[str, Any]:
    return {"jsonrpc": "2.0", "id": number, "method": method, "params": params}


def test_standard_output_carries_the_protocol_and_nothing_else(tmp_path: Path, stack: Stack) -> None:
    client = {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "tests", "version": "1"}}
    lines = [
        json.dumps(request(1, "initialize", **client)),
        json.dumps({"jsonrpc": "2.0", "method": "notifications/initialized"}),
        "no JSON at all",
        json.dumps(request(2, "tools/list")),
        json.dumps(request(3, "tools/call", name="list_workflows", arguments={})),
        json.dumps(request(4, "tools/call", name="no_such_tool", arguments={})),
    ]
    answered: dict[object, Any] = {}
    with subprocess.Popen(
        [sys.executable, *COMMAND],
        env=environment(stack.url, KEY) | {"PINGPULSE_LOG_LEVEL": "debug"},
        cwd=tmp_path,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdin.write("\n".join(lines) + "\n")
        process.stdin.flush()
        while not {1, 2, 3, 4} <= answered.keys():
            line = process.stdout.readline()
            assert line, process.stderr.read()
            message = json.loads(line)
            assert message["jsonrpc"] == "2.0"
            answered[message.get("id")] = message
        process.stdin.close()
        assert process.stdout.read() == ""
        logged = process.stderr.read()
        assert process.wait(10) == 0
    assert answered[3]["result"]["isError"]
    assert "Tool 'list_workflows' failed" in logged
    assert KEY not in logged


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_it_without_a_traceback(tmp_path: Path, stack: Stack, number: signal.Signals) -> None:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *COMMAND),
        env=environment(stack.url, KEY),
        cwd=tmp_path,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(json.dumps(request(1, "ping")).encode() + b"\n")
    await process.stdout.readline()
    process.send_signal(number)
    _, errors = await asyncio.wait_for(process.communicate(), 10)
    assert b"Traceback" not in errors


def test_the_command_explains_itself() -> None:
    result = CliRunner().invoke(app, ["mcp", "--help"])
    assert result.exit_code == 0
    assert "PINGPULSE_API_KEY" in result.output


WRONG: list[tuple[dict[str, str], str]] = [
    ({}, "PINGPULSE_API_KEY must be set"),
    ({"PINGPULSE_API_KEY": "two words"}, "PINGPULSE_API_KEY does not look like a key"),
    ({"PINGPULSE_API_KEY": KEY, "PINGPULSE_URL": "localhost:8000"}, "PINGPULSE_URL must be"),
    ({"PINGPULSE_API_KEY": KEY, "PINGPULSE_URL": "http://[half"}, "PINGPULSE_URL must be"),
]


@pytest.mark.parametrize(("variables", "said"), WRONG, ids=["none", "no key", "no scheme", "no address"])
def test_what_is_set_wrong_is_said_in_one_line(tmp_path: Path, variables: dict[str, str], said: str) -> None:
    command, variables = [sys.executable, *COMMAND], environment("http://localhost:8000", None) | variables
    result = subprocess.run(command, env=variables, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert result.returncode == 1
    assert result.stdout == ""
    assert result.stderr.startswith(f"pingpulse: {said}")
    assert result.stderr.count("\n") == 1


async def test_the_pages_python_example(tmp_path: Path, stack: Stack, mine: Calls, ping_key: str) -> None:
    (example,) = blocks("python")
    code = example.replace("http://localhost:8000", stack.url).replace("YOUR_KEY", ping_key)
    code = code.replace('command="pingpulse"', f"command={sys.executable!r}").replace('["mcp"]', repr(COMMAND))
    # The account has no owners who could be asked.
    code = code.replace('"Send the newsletter?"', '"Send the newsletter?", "approvers": ["ada@example.com"]')
    code = code.replace("newsletter", f"newsletter-{mine.account_id}")
    running = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", code), cwd=tmp_path, stdout=asyncio.subprocess.PIPE, env=dict(os.environ)
    )

    async def asked() -> Any:
        return (await mine.get("/api/approvals"))["approvals"]

    (approval,) = await until(asked)
    await decide(mine, approval["approval_id"])
    output, _ = await asyncio.wait_for(running.communicate(), 30)
    assert output.decode() == "sent\n"
    assert approval["workflow_id"] == f"newsletter-{mine.account_id}"
    tree = await mine.get(f"/dhk/newsletter-{mine.account_id}/tree")
    assert tree == {"1": {"status": "healthy"}, "2": {"status": "healthy", "stage_name": "sent"}}


async def test_the_pages_clients_are_configured_so(tmp_path: Path, stack: Stack, mine: Calls) -> None:
    local, remote = (json.loads(block)["mcpServers"]["pingpulse"] for block in blocks("json"))
    assert (local["command"], local["args"]) == ("pingpulse", ["mcp"])
    assert set(local["env"]) == {"PINGPULSE_URL", "PINGPULSE_API_KEY"}
    async with over_stdio(tmp_path, stack.url, mine.key) as agent:
        assert (await agent.call("list_workflows"))["workflows"] == []
    key = remote["headers"]["Authorization"].replace("YOUR_KEY", mine.key)
    (command,) = blocks("sh")
    assert command.split()[2:] == ["pingpulse", "mcp", "--http", "--port", "8808"]
    assert remote["url"] == "http://127.0.0.1:8808/mcp"
    async with (
        http_server(tmp_path, stack.url, stack.key) as server,
        over_http(server.url, Authorization=key) as agent,
    ):
        assert (await agent.call("list_workflows"))["workflows"] == []
