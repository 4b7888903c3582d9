"""Whoever is killed while people are told, and whenever: nobody is left untold, and nobody is told twice.

Most of the time is Temporal's: a dead worker is noticed when its time is over. So all scenes are played at once, each
with a database, a gateway and a task queue of its own, and each test looks at one.
"""

import asyncio
import os
import random
import signal
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final

import httpx
import pytest
from sqlalchemy import func, select
from temporalio.client import Client

from api.app import create_app
from cli.environment import child_environment
from cli.postgres import EmbeddedPostgres
from cli.supervisor.supervisor import Supervisor
from config.settings import Settings
from config.temporal import connect
from storage.alerts import AlertRow
from storage.base import Base, Sessions, create_engine, create_sessions
from storage.messages import Message
from storage.migrate import upgrade
from tests.conftest import copy_database
from tests.crash.dying_worker import STEPS, killed_at
from tests.crash.test_outages import temporal_server
from tests.support.receivers import HttpReceiver, Received, http_receiver
from tests.support.serving import serve
from tests.support.stack import make_account, make_settings
from tests.support.waiting import until
from worker.main import worker_on

TOLD_SECONDS: Final = 60
"""A worker that died while it sent is noticed after 20 seconds, and the next attempt is 5 seconds later."""

WORKER_SECONDS: Final = 40
"""To start, and to come to the step."""

PULSES: Final = 100
KILLS: Final = 2
UNAVOIDABLE: Final = "answered"
"""Who dies between the receiver's answer and its record cannot know that there was one."""


@dataclass(frozen=True)
class Scene:
    """A gateway, a channel to `receiver`, and no worker. `home` is an empty directory."""

    settings: Settings
    receiver: HttpReceiver
    sessions: Sessions
    gateway: httpx.AsyncClient
    home: Path

    async def call(self, path: str, **body: Any) -> Any:
        response = await self.gateway.post(path, json=body)
        assert response.is_success, response.text
        return response.json()

    def requests(self, kind: str) -> list[Received]:
        """Those that told of an alert of this kind."""
        return [
            request
            for request in self.receiver.received
            if any(alert["kind"] == kind for alert in request.json["data"]["alerts"])
        ]

    async def is_quiet(self) -> bool:
        """Nothing is left to be told or to be sent."""
        async with self.sessions() as session:
            new = await session.scalar(select(func.count()).where(AlertRow.state == "new"))
            left = await session.scalar(select(func.count()).where(Message.state != "sent"))
        return not new and not left

    @asynccontextmanager
    async def worker(self, *program: str) -> AsyncIterator[Process]:
        """A worker as a process of its own, which is killed in the end if it still lives."""
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PINGPULSE_")}
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-P", "-m", *program),
            cwd=self.home,
            env=inherited | child_environment(self.settings),
            stdout=PIPE,
            stderr=STDOUT,
        )
        try:
            yield process
        finally:
            with suppress(ProcessLookupError):
                process.kill()
            await process.communicate()

    @asynccontextmanager
    async def healthy_worker(self) -> AsyncIterator[None]:
        client = await connect(self.settings)
        async with worker_on(client, self.sessions, self.settings):
            yield


@dataclass(frozen=True)
class Stage:
    """What the scenes are played on. Only so many workers as there are `slots` start at once."""

    postgres: EmbeddedPostgres
    temporal: Client
    home: Path
    slots: asyncio.Semaphore = field(default_factory=partial(asyncio.Semaphore, 2))
    entrance: asyncio.Lock = field(default_factory=asyncio.Lock)

    @asynccontextmanager
    async def scene(self, name: str, *, url: str | None = None, temporal: str | None = None) -> AsyncIterator[Scene]:
        """`url` is that of a Postgres, and `temporal` the address of a Temporal, other than the tests' own."""
        home = self.home / name
        home.mkdir()
        async with AsyncExitStack() as stack:
            url = url or await copy_database(self.postgres, name)
            settings = make_settings(
                url,
                self.temporal,
                temporal_task_queue=name,
                outgoing_allow="127.0.0.0/8",
                mail_dir=home,
                database_pool_size=4,
                shutdown_seconds=1,
            )
            if temporal is not None:
                settings = settings.model_copy(update={"temporal_address": temporal})
            engine = create_engine(url, pool_size=4, application_name=name)
            stack.push_async_callback(engine.dispose)
            sessions = create_sessions(engine)
            _, key = await make_account(sessions)
            receiver = await stack.enter_async_context(http_receiver())
            async with self.entrance:
                address = await stack.enter_async_context(_gateway(settings))
                client = httpx.AsyncClient(base_url=address, headers={"X-API-Key": key}, timeout=30)
                await stack.enter_async_context(client)
                # It makes its routes when it first looks for one, and that in one thread at a time: FastAPI turns off
                # a warning meanwhile, which is of the whole process.
                assert (await client.get("/no/such/path")).status_code == 404
            scene = Scene(settings, receiver, sessions, client, home)
            channel = {"kind": "webhook", "name": "ops", "url": receiver.url(), "default": True}
            await scene.call("/api/channels", **channel, messages_per_minute=600)
            yield scene


@asynccontextmanager
async def _gateway(settings: Settings) -> AsyncIterator[str]:
    with ExitStack() as running:
        # In a thread, because it waits, and other scenes go on meanwhile.
        try:
            yield await asyncio.to_thread(running.enter_context, serve(create_app(settings)))
        finally:
            await asyncio.to_thread(running.close)


async def worker_dies(step: str, stage: Stage) -> None:
    async with stage.scene(step.replace(" ", "_")) as scene:
        await goes_down(scene)
        async with stage.slots, scene.worker("tests.crash.dying_worker", step) as process:
            output, _ = await asyncio.wait_for(process.communicate(), WORKER_SECONDS)
        assert process.returncode == -signal.SIGKILL, output.decode()
        assert output.decode().splitlines()[-1] == killed_at(step)
        async with scene.healthy_worker():
            await comes_up(scene)
        check_told(scene, times=2 if step == UNAVOIDABLE else 1)


async def temporal_dies(stage: Stage) -> None:
    (home := stage.home / "temporal").mkdir()
    async with temporal_server(home) as temporal, stage.scene("temporal_dies", temporal=temporal.address) as scene:
        await goes_down(scene)
        async with scene.worker("tests.crash.dying_worker", "alert committed", str(temporal.pid)) as worker:
            await said(worker, killed_at("alert committed"))
            await temporal.kill()
            # It is decided who is told, and nobody can be.
            await until(partial(count, scene, Message), timeout=TOLD_SECONDS)
            assert scene.receiver.received == []
            await temporal.start()
            await comes_up(scene)
        check_told(scene)


async def postgres_dies(stage: Stage) -> None:
    async with private_postgres() as (postgres, supervisor):
        for step in ("alert committed", "answered"):
            name = f"postgres_dies_{step.replace(' ', '_')}"
            async with stage.scene(name, url=await copy_database(postgres, name)) as scene:
                await goes_down(scene)
                victim = str(supervisor.pids["Postgres"])
                async with scene.worker("tests.crash.dying_worker", step, victim) as worker:
                    await said(worker, killed_at(step))
                    await comes_up(scene)
                check_told(scene)


async def worker_dies_in_a_storm(stage: Stage) -> None:
    async with stage.scene("storm") as scene:
        names = [f"job-{number}" for number in range(PULSES)]
        await asyncio.gather(*(scene.call(f"/hbk/{name}/fail?create=1") for name in names))
        for _ in range(KILLS):
            async with stage.slots, scene.worker("cli", "worker") as worker:
                await said(worker, "worker started")
                await asyncio.sleep(random.uniform(0, 1.5))
                worker.kill()
        async with scene.healthy_worker():
            await until(lambda: len(told(scene)) == PULSES, timeout=TOLD_SECONDS, every=0.1)
            await until(scene.is_quiet, timeout=TOLD_SECONDS, every=0.1)
        assert told(scene).keys() == set(names)
        # A message may have come twice, but nobody is in two messages.
        assert [name for name, messages in told(scene).items() if len(messages) > 1] == []


def told(scene: Scene) -> dict[str, set[str]]:
    """By the name of a pulse, the ids of the messages that told of it."""
    messages: dict[str, set[str]] = {}
    for request in scene.receiver.received:
        for alert in request.json["data"]["alerts"]:
            messages.setdefault(alert["name"], set()).add(request.headers["webhook-id"])
    return messages


async def goes_down(scene: Scene) -> None:
    """At once: nothing is waited for."""
    await scene.call("/api/pulses", name="backup", period_seconds=3600)
    await scene.call("/hbk/backup/fail")


async def comes_up(scene: Scene) -> None:
    """Once it was told that it is down; returns when that was told too, and nothing is left to tell."""
    await until(lambda: scene.requests("pulse_down"), timeout=TOLD_SECONDS)
    await until(partial(_is_taken, scene, "/hbk/backup"), timeout=TOLD_SECONDS, every=0.1)
    await until(lambda: scene.requests("pulse_recovered"), timeout=TOLD_SECONDS)
    await until(scene.is_quiet)
    assert await count(scene, AlertRow) == 2


async def _is_taken(scene: Scene, path: str) -> bool:
    return (await scene.gateway.post(path)).is_success


def check_told(scene: Scene, times: int = 1) -> None:
    """`times`: how often the receiver was told of the trouble, always by the same message."""
    down, recovered = scene.requests("pulse_down"), scene.requests("pulse_recovered")
    assert scene.receiver.received == [*down, *recovered]
    assert (len(down), len(recovered)) == (times, 1)
    assert len({request.headers["webhook-id"] for request in down}) == 1
    assert len({request.body for request in down}) == 1


async def count(scene: Scene, table: type[Base]) -> int:
    async with scene.sessions() as session:
        return await session.scalar(select(func.count()).select_from(table)) or 0


async def said(process: Process, words: str) -> None:
    assert process.stdout is not None
    async with asyncio.timeout(WORKER_SECONDS):
        await process.stdout.readuntil(words.encode())


@asynccontextmanager
async def private_postgres() -> AsyncIterator[tuple[EmbeddedPostgres, Supervisor]]:
    """A migrated and empty one that may be killed; its supervisor starts it again."""
    # Not below pytest's directories, which the next pytest to start closes to other users: Postgres is one.
    with TemporaryDirectory(prefix="pingpulse-tests-") as directory:
        server = EmbeddedPostgres(Path(directory, "postgres"), Path(directory, "postgres.log"))
        supervisor = Supervisor()
        try:
            await server.initialise()
            await supervisor.start(server.service())
            await server.create_database()
            await asyncio.to_thread(upgrade, server.url)
            yield server, supervisor
        finally:
            await supervisor.stop()
            server.clean_up()


SCENES: Final[dict[str, Callable[[Stage], Awaitable[None]]]] = {
    "postgres": postgres_dies,
    "storm": worker_dies_in_a_storm,
    "temporal": temporal_dies,
    **{step: partial(worker_dies, step) for step in reversed(STEPS)},
}
"""What takes longest is first."""


@pytest.fixture(scope="module")
async def scenes(
    postgres: EmbeddedPostgres, temporal: Client, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[dict[str, "asyncio.Task[None]"]]:
    """All of them, under way."""
    stage = Stage(postgres, temporal, tmp_path_factory.mktemp("telling"))
    playing = {name: asyncio.create_task(_play(scene, stage), name=name) for name, scene in SCENES.items()}
    yield playing
    for task in playing.values():
        task.cancel()
    await asyncio.gather(*playing.values(), return_exceptions=True)


async def _play(scene: Callable[[Stage], Awaitable[None]], stage: Stage) -> None:
    await scene(stage)


@pytest.mark.parametrize("step", STEPS)
async def test_a_worker_killed_at_any_step_of_telling_leaves_nobody_untold(
    scenes: dict[str, "asyncio.Task[None]"], step: str
) -> None:
    await scenes[step]


async def test_a_worker_killed_while_many_pulses_go_down_leaves_nobody_untold(
    scenes: dict[str, "asyncio.Task[None]"],
) -> None:
    await scenes["storm"]


async def test_temporal_killed_when_an_alert_was_committed_leaves_nobody_untold(
    scenes: dict[str, "asyncio.Task[None]"],
) -> None:
    await scenes["temporal"]


async def test_postgres_killed_while_an_alert_is_told_leaves_nobody_untold(
    scenes: dict[str, "asyncio.Task[None]"],
) -> None:
    await scenes["postgres"]
