"""Agents: the SDK's own client, with the server as a process of its own."""

import asyncio
import os
import re
import sys
from asyncio.subprocess import PIPE, Process
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import httpx2
from mcp.client import Client
from mcp.client.stdio import StdioServerParameters
from mcp.client.streamable_http import streamable_http_client
from mcp.types import CallToolResult, TextContent

COMMAND = ["-W", "error", "-P", "-m", "cli", "mcp"]
Mode = Literal["auto", "legacy"]


@dataclass(frozen=True)
class Agent:
    """A client whose calls check whether they should work. `progress` has what it was told while it waited."""

    client: Client
    progress: list[str] = field(default_factory=list)

    async def call(self, tool: str, **arguments: Any) -> dict[str, Any]:
        result = await self._call(tool, arguments)
        assert not result.is_error, said_in(result)
        assert isinstance(result.structured_content, dict)
        return dict(result.structured_content)

    async def fail(self, tool: str, **arguments: Any) -> str:
        """What the agent is told instead."""
        result = await self._call(tool, arguments)
        assert result.is_error, result.structured_content
        assert "Traceback" not in said_in(result)
        return said_in(result)

    async def _call(self, tool: str, arguments: dict[str, Any]) -> CallToolResult:
        return await self.client.call_tool(tool, arguments, progress_callback=self._told)

    async def _told(self, progress: float, total: float | None, message: str | None) -> None:
        assert total is not None
        assert 0 <= progress <= total
        self.progress.append(message or "")


def said_in(result: CallToolResult) -> str:
    assert [type(part) for part in result.content] == [TextContent]
    part = result.content[0]
    assert isinstance(part, TextContent)
    return part.text


def environment(url: str, key: str | None) -> dict[str, str]:
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("PINGPULSE_")}
    return inherited | {"PINGPULSE_URL": url} | ({"PINGPULSE_API_KEY": key} if key is not None else {})


@asynccontextmanager
async def over_stdio(home: Path, url: str, key: str, mode: Mode = "auto") -> AsyncIterator[Agent]:
    """An agent with a server of its own."""
    server = StdioServerParameters(command=sys.executable, args=COMMAND, env=environment(url, key), cwd=home)
    async with Client(server, mode=mode, read_timeout_seconds=60) as client:
        yield Agent(client)


@asynccontextmanager
async def over_http(url: str, mode: Mode = "auto", **headers: str) -> AsyncIterator[Agent]:
    """An agent of a server that others have too."""
    async with (
        httpx2.AsyncClient(headers=headers, timeout=60) as http,
        Client(streamable_http_client(url, http_client=http), mode=mode, read_timeout_seconds=60) as client,
    ):
        yield Agent(client)


@dataclass
class HttpServer:
    """`pingpulse mcp --http`, and all that it has written."""

    url: str
    process: Process
    lines: list[str]

    async def stop(self) -> None:
        if self.process.returncode is None:
            self.process.terminate()
        assert await asyncio.wait_for(self.process.wait(), 10) in (0, -15)


@asynccontextmanager
async def http_server(home: Path, url: str, key: str | None, *flags: str) -> AsyncIterator[HttpServer]:
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, *COMMAND, "--http", "--port", "0", *flags),
        env=environment(url, key),
        cwd=home,
        stdout=PIPE,
        stderr=PIPE,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    lines: list[str] = []
    try:
        address = await asyncio.wait_for(_first(process.stderr, lines, re.compile(r"http://\S+/mcp")), 20)
        reading = asyncio.create_task(_read(process.stderr, lines.append))
        server = HttpServer(address, process, lines)
        yield server
        await server.stop()
        await reading
        assert await process.stdout.read() == b""
        assert not [line for line in lines if "Traceback" in line]
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _first(stream: asyncio.StreamReader, lines: list[str], pattern: re.Pattern[str]) -> str:
    while line := (await stream.readline()).decode():
        lines.append(line)
        if (found := pattern.search(line)) is not None:
            return found[0]
    raise AssertionError("".join(lines))


async def _read(stream: asyncio.StreamReader, take: Callable[[str], None]) -> None:
    while line := await stream.readline():
        take(line.decode())
