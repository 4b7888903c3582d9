"""The server: its tools, and the two ways in which clients reach it."""

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from importlib.metadata import PackageNotFoundError, version
from typing import Any, Final

import httpx
from mcp.server.mcpserver import Context, MCPServer
from mcp.server.mcpserver.exceptions import ToolError, UnexpectedToolError
from mcp_types import CallToolResult, InputRequiredResult, TextContent, ToolAnnotations
from mcp_types import Tool as ListedTool
from pydantic import ValidationError

from cli.mcp_server.approving import ask_for_approval, request_approval, wait_for_approval
from cli.mcp_server.gateway import NOT_UNDERSTOOD, Connection
from cli.mcp_server.pinging import ping_pulse, ping_stage
from cli.mcp_server.reading import (
    compare_instances,
    get_costs,
    get_timeline,
    get_tree,
    list_instances,
    list_workflows,
)

INSTRUCTIONS: Final = """PingPulse watches the work that you do, and asks people before anything grave happens.

- Report your work: ping_stage with start=true at the beginning, once for each stage, with final=true at the end; report
  failures too, with status=failed and error. Give model_id and usage, so that costs are known.
- Ask before you do what cannot be undone, costs much, or speaks to others: ask_for_approval. Go on only if `proceed` is
  true. Nobody's silence is a yes unless you were told so.
- If a ping is answered with an error that says to stop, stop: a budget is used up. Tell the person you work for.
- Look at what happened with list_instances, get_tree, get_timeline, get_costs and compare_instances.
"""

_LOOKS: Final = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=False)
_REPORTS: Final = ToolAnnotations(
    read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=False
)
_ASKS: Final = ToolAnnotations(
    read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=True
)
_WAITS: Final = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=True)

TOOLS: Final[tuple[tuple[Callable[..., Any], str, ToolAnnotations], ...]] = (
    (ping_stage, "Report a stage", _REPORTS),
    (ping_pulse, "Report a pulse", _REPORTS),
    (request_approval, "Ask people, without waiting", _ASKS),
    (wait_for_approval, "Wait for people's decision", _WAITS),
    (ask_for_approval, "Ask people and wait", _ASKS),
    (get_tree, "Stages of a run", _LOOKS),
    (get_timeline, "Timeline of a run", _LOOKS),
    (get_costs, "Costs", _LOOKS),
    (compare_instances, "Compare two runs", _LOOKS),
    (list_workflows, "Workflows", _LOOKS),
    (list_instances, "Runs of a workflow", _LOOKS),
)


class Server(MCPServer[Connection]):
    """Tells agents of arguments that do not exist, which the SDK would leave out in silence, and says all else about
    arguments without the rejected values."""

    async def list_tools(self) -> list[ListedTool]:
        tools = await super().list_tools()
        return [
            tool.model_copy(update={"input_schema": {**tool.input_schema, "additionalProperties": False}})
            for tool in tools
        ]

    async def call_tool(
        self, name: str, arguments: dict[str, Any], context: Context[Connection, Any] | None = None
    ) -> CallToolResult | InputRequiredResult:
        known = {tool.name: tool.input_schema["properties"] for tool in await super().list_tools()}
        if name in known and (unknown := sorted(arguments.keys() - known[name].keys())):
            raise ToolError(f"{name} has no {', '.join(unknown)}. Its arguments are {', '.join(known[name])}.")
        try:
            result = await super().call_tool(name, arguments, context)
        except UnexpectedToolError as error:
            # Still logged with its traceback, which agents do not see.
            raise UnexpectedToolError(NOT_UNDERSTOOD) from error.__cause__
        except ToolError as error:
            if not isinstance(error.__cause__, ValidationError):
                raise
            problems = error.__cause__.errors(include_input=False, include_url=False, include_context=False)
            said = {".".join(str(part) for part in problem["loc"]): problem["msg"] for problem in problems}
            raise ToolError("; ".join(f"{field}: {problem}" for field, problem in said.items())) from None
        if isinstance(result, CallToolResult) and result.structured_content is not None:
            # The SDK's own text is the same with line breaks and indents, which agents pay for.
            text = json.dumps(result.structured_content, ensure_ascii=False, separators=(",", ":"))
            result.content = [TextContent(type="text", text=text)]
        return result


def make_server(url: str, key: str | None) -> Server:
    """Tools for the gateway at `url`. `key` is what the server acts with for callers who bring none of their own."""

    @asynccontextmanager
    async def connected(_: MCPServer[Connection]) -> AsyncIterator[Connection]:
        # Those who wait for approvals hold a connection each; they must not keep pings from being sent.
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=20, keepalive_expiry=4)
        agent = {"User-Agent": "pingpulse-mcp"}
        async with httpx.AsyncClient(base_url=url, limits=limits, headers=agent) as http:
            yield Connection(http, key)

    server = Server("pingpulse", title="PingPulse", instructions=INSTRUCTIONS, version=_version(), lifespan=connected)
    for function, title, annotations in TOOLS:
        server.add_tool(function, title=title, annotations=annotations, structured_output=True)
    return server


def _version() -> str:
    try:
        return version("pingpulse")
    except PackageNotFoundError:  # run from its sources, without being installed
        return ""
