"""Gateways that are killed while runs are reported: each execution is one run, and none is lost."""

import asyncio
from pathlib import Path

import httpx
from sqlalchemy import func, select

from storage.instances import Instance
from storage.pings import Ping
from tests.support.up import Up, running_up
from tests.support.waiting import until

CALLERS = 6
RUNS = 15


async def report(client: httpx.AsyncClient, body: dict[str, str], give_up: float) -> dict[str, str]:
    """As a careful client does: sent again until it is accepted."""
    loop = asyncio.get_running_loop()
    while loop.time() < give_up:
        try:
            response = await client.post("/api/v1/ingest/run-success", json=body)
        except httpx.HTTPError:
            await asyncio.sleep(0.05)
            continue
        if response.status_code == 202:
            return dict(response.json())
        assert response.status_code == 503, response.text
        await asyncio.sleep(0.05)
    raise AssertionError(f"{body} was not accepted in time")


Answer = tuple[str, dict[str, str], dict[str, str]]


async def call(up: Up, workflow_id: str, name: int, answers: list[Answer]) -> None:
    """Each run is reported twice."""
    give_up = asyncio.get_running_loop().time() + 60
    async with up.client() as client:
        for number in range(RUNS):
            execution = f"{name}-{number}"
            body = {"workflow_id": workflow_id, "ended_at": "2026-01-15T09:00:00Z", "external_execution_id": execution}
            answers.append((execution, await report(client, body, give_up), await report(client, body, give_up)))


async def test_every_execution_is_one_run_however_gateways_die(tmp_path: Path) -> None:
    async with running_up(tmp_path) as up:
        async with up.client() as client:
            body = {"kind": "run", "name": "Enrichment", "expected_interval_minutes": 60}
            workflow = (await client.post("/api/workflows", json=body)).json()
        answers: list[Answer] = []
        calls = [asyncio.create_task(call(up, workflow["id"], name, answers)) for name in range(CALLERS)]
        for some in (CALLERS * RUNS // 6, CALLERS * RUNS // 2):
            await until(lambda some=some: len(answers) >= some, timeout=30)  # type: ignore[misc]
            await up.kill("gateway")
            await up.healthy()
        await asyncio.gather(*calls)
        assert len({execution for execution, _, _ in answers}) == CALLERS * RUNS
        assert all(first == second for _, first, second in answers)
        assert len({first["instance_id"] for _, first, _ in answers}) == CALLERS * RUNS
        async with up.sessions() as sessions:

            async def are_recorded() -> bool:
                query = select(func.count()).where(Instance.status == "completed")
                async with sessions() as session:
                    return await session.scalar(query) == CALLERS * RUNS

            await until(are_recorded, timeout=30, every=0.1)
            async with sessions() as session:
                assert await session.scalar(select(func.count(Instance.id))) == CALLERS * RUNS
                steps = select(func.count()).where(Ping.instance_id.is_not(None))
                signs = select(func.count()).where(Ping.subject == f"pulse/{workflow['pulse_id']}")
                assert await session.scalar(steps) == await session.scalar(signs) == CALLERS * RUNS
