"""Whoever is killed in the middle of an approval: it has the outcome and the times that it would have had.

All scenes are played at once, because most of their time is Temporal's and that of starting processes.
"""

import asyncio
import signal
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import Any

import httpx
import pytest
from sqlalchemy import func, select
from temporalio.client import Client, WorkflowExecutionStatus

from cli.ports import claim_ports
from cli.postgres import EmbeddedPostgres
from config.clock import utc_now
from config.temporal import connect
from domain.subjects import approval_subject
from storage.alerts import AlertRow
from storage.approvals import Approval, get_approval
from storage.gateways import BEAT_SECONDS
from storage.messages import Message
from tests.crash.dying_worker import killed_at
from tests.crash.test_telling import Scene, Stage
from tests.crash.test_two_gateways import _answers
from tests.support.receivers import http_receiver
from tests.support.up import running_up
from tests.support.waiting import until

ADA = "ada@example.com"
DEADLINE = 20
WORKER_SECONDS = 40
NOTICED_SECONDS = 60
"""Temporal gives a task of a dead worker to another one after ten seconds."""


async def the_gateway_dies(stage: Stage) -> None:
    """After the commit of a vote, before its workflow is told; the other gateway tells it."""
    async with stage.scene("approval_gateway_dies") as scene, scene.healthy_worker():
        (port,) = claim_ports(("127.0.0.1", 0, "--port", "PINGPULSE_PORT"))
        url = f"http://127.0.0.1:{port}"
        approval_id = await ask(scene, timeout_seconds=3600)
        async with stage.slots, scene.worker("tests.crash.dying_gateway", str(port)) as process:
            await until(lambda: _answers(url), timeout=WORKER_SECONDS, every=0.1)
            async with httpx.AsyncClient(base_url=url, headers=scene.gateway.headers) as client:
                # The answer may be on its way by then, or not.
                with suppress(httpx.TransportError):
                    await client.post(f"/api/approvals/{approval_id}/decide", json={"decision": "approve"})
            await asyncio.wait_for(process.communicate(), WORKER_SECONDS)
            assert process.returncode == -signal.SIGKILL
        assert (await read(scene.gateway, approval_id))["status"] == "approved"
        await until(partial(is_followed, scene, approval_id), timeout=NOTICED_SECONDS, every=0.1)


async def the_worker_dies(stage: Stage) -> None:
    """When it has looked at the deadline and committed, before it told anybody or Temporal of it."""
    async with stage.scene("approval_worker_dies") as scene, http_receiver() as callback:
        approval_id = await ask(scene, timeout_seconds=1, callback_url=callback.url())
        await until(partial(is_past, scene, approval_id))
        async with stage.slots, scene.worker("tests.crash.dying_worker", "alert committed") as process:
            output, _ = await asyncio.wait_for(process.communicate(), WORKER_SECONDS)
        assert output.decode().splitlines()[-1] == killed_at("alert committed")
        row = await load(scene, approval_id)
        assert (row.status, row.decided_at, row.decided_by) == ("denied", row.expires_at, "timeout")
        async with scene.healthy_worker():
            await until(partial(is_followed, scene, approval_id), timeout=NOTICED_SECONDS, every=0.1)
            await until(partial(is_told, scene), timeout=NOTICED_SECONDS, every=0.1)
        assert len(callback.received) == 1
        async with scene.sessions() as session:
            letters = (await session.scalars(select(Message).where(Message.approval_id == approval_id))).all()
            alerts = (await session.scalars(select(AlertRow))).all()
        assert Counter(letter.topic for letter in letters) == {"request": 1, "callback": 1}
        assert Counter(alert.kind for alert in alerts) == {"approval_requested": 1, "approval_expired": 1}
        assert (await load(scene, approval_id)).outcome() == row.outcome()


async def everything_stops(stage: Stage) -> None:
    """And comes back, with approvals in the middle."""
    (home := stage.home / "approval_up").mkdir()
    async with stage.slots, running_up(home) as up:
        async with up.client() as client:
            asked = {"context": "Deploy", "approvers": [ADA]}
            silent = await create(client, **asked, timeout_seconds=DEADLINE, reminders=[1, DEADLINE - 1])
            answered = await create(client, **asked, timeout_seconds=3600)
            before = await read(client, silent)
            assert (before["status"], before["result"]) == ("pending", None)
        killed_at = utc_now()
        assert not await up.stop(signal.SIGKILL)
        await up.start()
        # A machine may be slow to start. Who cannot decide for half of the time, or at its end, is given more; of the
        # gateway's life, the last beat is known.
        away, expires_at = utc_now() - killed_at, datetime.fromisoformat(before["expires_at"])
        may_move = away > timedelta(seconds=DEADLINE / 2 - 2 * BEAT_SECONDS) or utc_now() > expires_at
        async with up.client() as client:
            decision = {"decision": "approve", "notes": "still fine"}
            assert (await client.post(f"/api/approvals/{answered}/decide", json=decision)).status_code == 200
            assert (await read(client, answered))["notes"] == "still fine"
            await until(partial(is_decided, client, silent), timeout=NOTICED_SECONDS, every=0.1)
            after = await read(client, silent)
            assert (after["status"], after["result"], after["decided_by"]) == ("denied", 0, "timeout")
            assert after["decided_at"] == after["expires_at"]
            audit = (await client.get(f"/api/approvals/{silent}/audit")).json()["entries"]
            events = [entry["event"] for entry in audit]
            if "extended" not in events:
                assert after["expires_at"] == before["expires_at"]
                assert events == ["requested", "reminded", "reminded", "decided"]
            else:
                assert may_move, f"it was moved, although nobody was away for longer than {away}"
                assert after["expires_at"] > before["expires_at"]
                assert (events[0], events.count("decided"), events[-1]) == ("requested", 1, "decided")


SCENES = {"gateway": the_gateway_dies, "worker": the_worker_dies, "everything": everything_stops}


@pytest.fixture(scope="module")
async def scenes(
    postgres: EmbeddedPostgres, temporal: Client, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[dict[str, "asyncio.Task[None]"]]:
    """All of them, under way."""
    stage = Stage(postgres, temporal, tmp_path_factory.mktemp("approvals"))
    playing = {name: asyncio.create_task(scene(stage), name=name) for name, scene in SCENES.items()}
    yield playing
    for task in playing.values():
        task.cancel()
    await asyncio.gather(*playing.values(), return_exceptions=True)


async def test_a_vote_whose_gateway_was_killed_reaches_its_workflow(scenes: dict[str, "asyncio.Task[None]"]) -> None:
    await scenes["gateway"]


async def test_a_worker_killed_at_the_deadline_leaves_nobody_untold(scenes: dict[str, "asyncio.Task[None]"]) -> None:
    await scenes["worker"]


async def test_a_restart_of_everything_changes_nothing(scenes: dict[str, "asyncio.Task[None]"]) -> None:
    await scenes["everything"]


async def ask(scene: Scene, **values: Any) -> str:
    return await create(scene.gateway, context="Deploy", approvers=[ADA], **values)


async def create(client: httpx.AsyncClient, **body: Any) -> str:
    response = await client.post("/api/approvals", json=body)
    assert response.status_code == 201, response.text
    return str(response.json()["approval_id"])


async def read(client: httpx.AsyncClient, approval_id: str) -> dict[str, Any]:
    response = await client.get(f"/api/approvals/{approval_id}")
    assert response.status_code == 200, response.text
    document: dict[str, Any] = response.json()
    return document


async def is_decided(client: httpx.AsyncClient, approval_id: str) -> bool:
    return (await read(client, approval_id))["result"] is not None


async def load(scene: Scene, approval_id: str) -> Approval:
    async with scene.sessions() as session:
        approval = await get_approval(session, approval_id)
    assert approval is not None
    return approval


async def is_past(scene: Scene, approval_id: str) -> bool:
    return bool((await read(scene.gateway, approval_id))["seconds_remaining"] == 0)


async def is_followed(scene: Scene, approval_id: str) -> bool:
    """By a workflow that has ended with it."""
    row = await load(scene, approval_id)
    handle = (await connect(scene.settings)).get_workflow_handle(approval_subject(approval_id))
    is_over = (await handle.describe()).status is WorkflowExecutionStatus.COMPLETED
    return is_over and row.followed_revision == row.revision and bool(await handle.result() == row.status)


async def is_told(scene: Scene) -> bool:
    """Nothing is left to tell. The request is dropped, as nobody can decide any more."""
    async with scene.sessions() as session:
        new = await session.scalar(select(func.count()).where(AlertRow.state == "new"))
        states = set((await session.scalars(select(Message.state))).all())
    return not new and states == {"sent", "dropped"}
