"""OpenTelemetry's own SDK and exporter against a gateway, by their environment alone."""

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from fastapi import FastAPI, Request, Response
from temporalio.client import Client

from api.app import create_app
from cli.postgres import EmbeddedPostgres
from storage.base import create_engine, create_sessions
from tests.api.calls import Calls, new_id
from tests.api.conftest import api_key
from tests.api.otlp_calls import (
    CHAT_USD,
    PATH,
    PROTOBUF,
    failed,
    instances,
    new_trace,
    request,
    root,
    run_program,
    stages,
    start_program,
    steps,
)
from tests.conftest import copy_database
from tests.support.serving import serve
from tests.support.stack import make_account, make_settings

PAGE = Path(__file__).parents[2] / "docs" / "integrations" / "opentelemetry.md"
BEGIN = """
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

provider = TracerProvider()
provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter(), max_export_batch_size=SIZE))
tracer = provider.get_tracer("tests")
CHAT = {"gen_ai.operation.name": "chat", "gen_ai.request.model": "gpt-4o", "gen_ai.usage.prompt_tokens": 1000,
        "gen_ai.usage.completion_tokens": 100}
"""
ONE_TRACE = f"""{BEGIN.replace("SIZE", "512")}
with tracer.start_as_current_span("ask"):
    with tracer.start_as_current_span("chat", attributes=CHAT):
        pass
assert provider.force_flush()
provider.shutdown()
"""
MANY_TRACES = f"""{BEGIN.replace("SIZE", "7")}
for number in range(20):
    with tracer.start_as_current_span(f"ask {{number}}"):
        for call in range(4):
            with tracer.start_as_current_span("chat", attributes=CHAT | {{"gen_ai.request.model": f"m{{call}}"}}):
                pass
provider.shutdown()
"""
EXCEPTION = f"""{BEGIN.replace("SIZE", "512")}
try:
    with tracer.start_as_current_span("ask"):
        with tracer.start_as_current_span("x", attributes={{"gen_ai.operation.name": "execute_tool",
                                                            "gen_ai.tool.name": "search"}}):
            raise TimeoutError("the index did not answer")
except TimeoutError:
    pass
provider.shutdown()
"""


def example() -> str:
    (program,) = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    return str(program)


async def export(calls: Calls, program: str, workflow: str, url: str | None = None, **variables: str) -> str:
    return await run_program(
        program, url or str(calls.http.base_url), calls.key, OTEL_SERVICE_NAME=workflow, **variables
    )


async def test_the_program_of_our_page(ours: Calls) -> None:
    workflow = new_id()
    assert await export(ours, example(), workflow) == ""
    (row,) = await instances(ours, workflow)
    assert (await ours.settled(row["id"], "completed"))["agent_code"] == "Researcher"
    assert await stages(ours, row["id"], 3) == {
        "chat gpt-4o": "healthy",
        "execute_tool search": "healthy",
        "invoke_agent Researcher": "healthy",
    }
    timeline = await steps(ours, row["id"])
    assert [step["stage_path"] for step in timeline] == [
        "chat gpt-4o",
        "execute_tool search",
        "invoke_agent Researcher",
    ]
    assert timeline[1]["tool_calls"] == [{"name": "search"}]
    assert (timeline[0]["payload"]["service"], timeline[0]["payload"]["scope"]) == (workflow, "my-agent")
    cost = await ours.get(f"/api/instances/{row['id']}/cost")
    assert (cost["total_cost_usd"], cost["unpriced_pings"]) == (CHAT_USD, 0)
    assert [(ping["stage_path"], ping["model_id"]) for ping in cost["breakdown"]] == [("chat gpt-4o", "gpt-4o")]


async def test_the_request_of_our_page(ours: Calls) -> None:
    (command,) = re.findall(r"```sh\n(curl .*?)```", PAGE.read_text(), re.DOTALL)
    workflow = new_id()
    for theirs, mine in (
        ("http://localhost:8000", str(ours.http.base_url).rstrip("/")),
        ("YOUR_KEY", ours.key),
        ("research", workflow),
    ):
        command = command.replace(theirs, mine)
    process = await asyncio.create_subprocess_exec("bash", "-c", command, stdout=asyncio.subprocess.PIPE)
    out, _ = await asyncio.wait_for(process.communicate(), 30)
    assert (process.returncode, out) == (0, b"{}")
    (row,) = await instances(ours, workflow)
    assert await stages(ours, row["id"], 1) == {"chat gpt-4o": "healthy"}


@pytest.mark.parametrize("compression", ["gzip", "deflate", "none"])
async def test_by_bearer_compressed_and_for_another_workflow(ours: Calls, compression: str) -> None:
    workflow = new_id()
    variables = {
        "OTEL_EXPORTER_OTLP_HEADERS": f"Authorization=Bearer%20{ours.key}",
        "OTEL_EXPORTER_OTLP_COMPRESSION": compression,
        "OTEL_RESOURCE_ATTRIBUTES": f"pingpulse.workflow={workflow}",
    }
    assert await export(ours, ONE_TRACE, "not-this", **variables) == ""
    (row,) = await instances(ours, workflow)
    assert await stages(ours, row["id"], 2) == {"ask": "healthy", "chat gpt-4o": "healthy"}
    assert (await ours.get(f"/api/instances/{row['id']}/cost"))["total_cost_usd"] == CHAT_USD


async def test_an_exception_in_a_tool(ours: Calls) -> None:
    workflow = new_id()
    assert await export(ours, EXCEPTION, workflow) == ""
    (row,) = await instances(ours, workflow)
    row = await ours.settled(row["id"], "failed")
    assert row["failure_reason"] == "Stage execute_tool search failed: TimeoutError: the index did not answer"
    tool, _ = await steps(ours, row["id"])
    assert tool["payload"]["exception"]["exception.type"] == "TimeoutError"
    assert "Traceback" in tool["payload"]["exception"]["exception.stacktrace"]


async def test_a_wrong_key_is_told_by_the_exporter(ours: Calls) -> None:
    wrong = f"X-API-Key=ppk_0123456789_{'x' * 40}"
    said = await run_program(
        ONE_TRACE.replace("assert ", ""), str(ours.http.base_url), "", OTEL_EXPORTER_OTLP_HEADERS=wrong
    )
    assert "401" in said


async def test_two_exporters_at_once_through_two_gateways(ours: Calls, ours_elsewhere: Calls) -> None:
    workflow = new_id()
    said = await asyncio.gather(*(export(calls, MANY_TRACES, workflow) for calls in (ours, ours_elsewhere)))
    assert said == ["", ""]
    rows = await instances(ours, workflow)
    assert len({row["external_id"] for row in rows}) == len(rows) == 40
    for row in rows:
        await ours.settled(row["id"], "completed")
        assert len(await steps(ours, row["id"])) == 5


async def test_an_answer_that_got_lost_is_no_second_span(ours: Calls) -> None:
    """What is between exporter and gateway says 503, though the spans were kept."""
    target, seen = str(ours.http.base_url), []
    app = FastAPI()

    @app.post(PATH)
    async def forward(request: Request) -> Response:
        headers = {name: request.headers[name] for name in ("content-type", "x-api-key")}
        async with httpx.AsyncClient(base_url=target) as http:
            answer = await http.post(PATH, content=await request.body(), headers=headers)
        seen.append(answer.status_code)
        if len(seen) == 1:
            return Response(status_code=503, headers={"Retry-After": "0"})
        return Response(answer.content, answer.status_code, dict(answer.headers))

    workflow = new_id()
    with serve(app) as url:
        said = await export(ours, ONE_TRACE, workflow, url)
    assert "503" in said or "Transient error" in said
    assert seen == [200, 200]
    (row,) = await instances(ours, workflow)
    assert len(await steps(ours, row["id"])) == 2
    assert (await ours.get(f"/api/instances/{row['id']}/cost"))["total_cost_usd"] == CHAT_USD


@pytest.fixture
async def refusing(postgres: EmbeddedPostgres, temporal: Client) -> AsyncIterator[tuple[Calls, Any]]:
    """A gateway whose Postgres answers, and keeps no pings, until it does."""
    url = await copy_database(postgres, "refusing_traces")
    engine = create_engine(url)
    account = await make_account(create_sessions(engine))
    await engine.dispose()
    with serve(create_app(make_settings(url, temporal))) as address:
        async with (
            httpx.AsyncClient(base_url=address, headers=api_key(account[1]), timeout=30) as http,
            await psycopg.AsyncConnection.connect(url, autocommit=True) as database,
        ):
            yield Calls(http, *account), database


async def test_the_exporter_tries_again_while_nothing_can_be_kept(refusing: tuple[Calls, Any]) -> None:
    calls, database = refusing
    await database.execute("ALTER TABLE pings ADD CONSTRAINT full_disk CHECK (false) NOT VALID")
    body = request("agent", root(new_trace())).SerializeToString()
    response = await calls.http.post(PATH, content=body, headers=PROTOBUF)
    assert failed(response)[:2] == (503, 14)
    assert int(response.headers["retry-after"]) > 0

    program = await start_program(ONE_TRACE, str(calls.http.base_url), calls.key, OTEL_SERVICE_NAME="agent")
    assert program.stderr is not None
    async with asyncio.timeout(30):
        while b"Transient error" not in (line := await program.stderr.readline()):
            assert line, "it has not tried again"
        await database.execute("ALTER TABLE pings DROP CONSTRAINT full_disk")
        _, error = await program.communicate()
    assert program.returncode == 0, error.decode()
    (row,) = await instances(calls, "agent")
    assert [step["stage_path"] for step in await steps(calls, row["id"])] == ["chat gpt-4o", "ask"]
