"""Temporal away for long, and outages of ours beyond a deadline: nothing is lost, and nobody is told nonsense."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest

from cli.environment import load_settings
from cli.ports import claim_ports
from cli.supervisor.child import Child
from cli.temporal_server import temporal_service
from tests.crash.books import check_books
from tests.crash.callers import Answers, Caller
from tests.support.up import Up, running_up
from tests.support.waiting import until

STAGE_SECONDS = 5.0


class TemporalServer:
    """A Temporal that nobody restarts."""

    def __init__(self, directory: Path) -> None:
        port, ui_port = claim_ports(*(("127.0.0.1", 0, flag, flag) for flag in ("--port", "--ui-port")))
        self._settings = load_settings(temporal_port=port, temporal_ui_port=ui_port)
        self._service = temporal_service(self._settings, directory / "temporal.db", directory / "temporal.log")
        self.address = f"127.0.0.1:{port}"

    async def start(self) -> None:
        self._child = await Child.spawn(self._service)
        await until(lambda: self._service.ready(self._child.pid), timeout=20, every=0.1)

    @property
    def pid(self) -> int:
        return self._child.pid

    async def kill(self) -> None:
        await self._child.stop(0, asyncio.Event())
        self._service.output.close()


@asynccontextmanager
async def temporal_server(directory: Path) -> AsyncIterator[TemporalServer]:
    server = TemporalServer(directory)
    await server.start()
    try:
        yield server
    finally:
        await server.kill()


async def test_while_temporal_is_away_flexible_pings_are_taken_and_strict_ones_are_taken_back(tmp_path: Path) -> None:
    answers = Answers()
    async with (
        temporal_server(tmp_path) as temporal,
        running_up(tmp_path, PINGPULSE_TEMPORAL_ADDRESS=temporal.address) as up,
        up.client() as client,
    ):
        caller = Caller("caller", answers, client)
        strict = {"kind": "dynamic", "id": "strict", "name": "Strict", "validation_mode": "strict"}
        assert (await client.post("/api/workflows", json=strict)).status_code == 201
        opened = await caller.ping("strict", "1", start=True)
        assert opened is not None
        assert opened.status_code == 200
        await caller.ping("flexible", "1", start=True)

        await temporal.kill()
        await _ping_while_temporal_is_away(caller, opened.json()["instance_id"])
        await up.kill("gateway")
        await until(lambda: _takes_pings(up), timeout=20, every=0.1)
        await _ping_while_temporal_is_away(caller, opened.json()["instance_id"])
        await temporal.start()
        await up.healthy()

        await check_books(up, answers)
        last = await caller.ping("strict", "2", instance_id=opened.json()["instance_id"])
        assert last is not None
        assert last.status_code == 200, last.text


async def _ping_while_temporal_is_away(caller: Caller, strict_instance: str) -> None:
    for number in range(5):
        flexible = await caller.ping("flexible", f"2.{number + 1}")
        assert flexible is not None
        assert flexible.status_code == 200, flexible.text
    for members in ({"start": True}, {"instance_id": strict_instance}):
        strict = await caller.ping("strict", "1" if "start" in members else "2", **members)
        assert strict is not None
        assert strict.status_code == 503, strict.text
        assert int(strict.headers["retry-after"]) > 0


async def _takes_pings(up: Up) -> bool:
    async with up.client() as client:
        try:
            return (await client.get("/health")).status_code == 200
        except httpx.TransportError:
            return False


@pytest.fixture(scope="module")
async def up(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Up]:
    """Started once for the tests below, which use it in their order."""
    async with running_up(tmp_path_factory.mktemp("outages")) as up:
        yield up


async def test_a_worker_that_slept_beyond_a_deadline_knows_what_came_in_time(up: Up) -> None:
    async with up.client() as client:
        instance = await _open(client, "worker_sleeps")
        with up.paused("worker"):
            assert (await client.get("/shk/worker_sleeps", params={"stage": "2"})).status_code == 200
            await asyncio.sleep(STAGE_SECONDS + 1)
        await until(lambda: _has_status(client, instance, "completed"))
        await asyncio.sleep(0.5)
        assert "failed" not in _statuses(await _instance(client, instance))


async def test_a_gateway_that_slept_beyond_a_deadline_moves_it(up: Up) -> None:
    """As on a machine that was suspended: nobody could ping meanwhile, though no process died."""
    async with up.client() as client:
        instance = await _open(client, "gateway_sleeps")
        with up.paused("gateway"):
            await asyncio.sleep(STAGE_SECONDS + 3)
        # Less than the stage has left, and more than it seemed to have left when the worker looked meanwhile.
        await asyncio.sleep(STAGE_SECONDS - 1.5)
        assert (await _instance(client, instance))["status"] == "running"
        assert (await client.get("/shk/gateway_sleeps", params={"stage": "2"})).status_code == 200
        await until(lambda: _has_status(client, instance, "completed"))
        assert "failed" not in _statuses(await _instance(client, instance))


async def test_a_stop_of_everything_beyond_a_deadline_moves_it(up: Up) -> None:
    async with up.client() as client:
        pinged, silent = [await _open(client, name) for name in ("pinged", "silent")]
        params: dict[str, float] = {"create": 1, "period": STAGE_SECONDS / 2, "grace": STAGE_SECONDS / 2}
        assert (await client.get("/hbk/asleep", params=params)).status_code == 200
        await until(lambda: _pulse_events(client, "asleep"))
    assert not await up.stop(signal.SIGKILL)
    await asyncio.sleep(STAGE_SECONDS)
    await up.start()
    async with up.client() as client:
        assert (await _instance(client, pinged))["status"] == "running"
        assert (await client.get("/shk/pinged", params={"stage": "2"})).status_code == 200
        await until(lambda: _has_status(client, pinged, "completed"))
        assert "failed" not in _statuses(await _instance(client, pinged))
        # Nobody knows whether the pulse was silent: it is not told as down before it had all of its time.
        await until(lambda: _pulse_events(client, "asleep", 2))
        assert (await _pulse_events(client, "asleep"))[:2] == ["up", "unknown"]
        # The deadline was moved, not forgotten.
        await until(lambda: _has_status(client, silent, "failed"), timeout=3 * STAGE_SECONDS, every=0.2)
        failed = await _instance(client, silent)
        assert _at(failed, "failed") - _at(failed, "running") > timedelta(seconds=2 * STAGE_SECONDS)


async def _open(client: httpx.AsyncClient, workflow: str) -> str:
    stages = [{"order": 1}, {"order": 2, "timeout_seconds": STAGE_SECONDS}]
    definition = {"kind": "static", "id": workflow, "name": workflow, "stages": stages}
    assert (await client.post("/api/workflows", json=definition)).status_code == 201
    instance_id = str((await client.get(f"/shk/{workflow}", params={"stage": "1"})).json()["instance_id"])
    # Once its workflow has recorded the stage, its deadline runs.
    await until(lambda: _has_transition(client, instance_id, "1"))
    return instance_id


async def _instance(client: httpx.AsyncClient, instance_id: str) -> dict[str, Any]:
    response = await client.get(f"/api/instances/{instance_id}")
    assert response.status_code == 200, response.text
    document: dict[str, Any] = response.json()
    return document


async def _pulse_events(client: httpx.AsyncClient, pulse: str, least: int = 1) -> list[str]:
    """The statuses that a pulse got, in order, once there are enough of them."""
    response = await client.get(f"/api/pulses/{pulse}/events")
    assert response.status_code == 200, response.text
    events = [event["to_status"] for event in reversed(response.json()["events"])]
    return events if len(events) >= least else []


async def _has_status(client: httpx.AsyncClient, instance_id: str, status: str) -> bool:
    return bool((await _instance(client, instance_id))["status"] == status)


async def _has_transition(client: httpx.AsyncClient, instance_id: str, path: str) -> bool:
    return any(item["stage_path"] == path for item in (await _instance(client, instance_id))["transitions"])


def _statuses(instance: dict[str, Any]) -> set[str]:
    """Every status that the instance or one of its stages ever had."""
    return {item["to_status"] for item in instance["transitions"]}


def _at(instance: dict[str, Any], status: str) -> datetime:
    """When the instance itself got a status."""
    return next(
        datetime.fromisoformat(item["at"])
        for item in instance["transitions"]
        if item["stage_path"] is None and item["to_status"] == status
    )
