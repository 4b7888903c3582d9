"""From an alert to its receiver by the loop of the worker; no crash between two steps leaves anybody untold."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import psycopg
import pytest
from temporalio.client import Client
from temporalio.worker import Worker

from cli.postgres import EmbeddedPostgres
from config.clock import utc_now
from domain.ids import random_id
from storage import messages
from storage.base import Sessions, create_engine, create_sessions, transaction
from storage.channels import Channel
from temporal_workflows.message import MessageInput, MessageWorkflow
from temporal_workflows.search_attributes import KIND, OWNER, STATUS
from tests.conftest import copy_database
from tests.support.telling import Desk, Receiver, make_desk
from tests.support.waiting import until
from worker.main import sandbox
from worker.telling import Telling


@pytest.fixture(scope="module")
async def telling_sessions(postgres: EmbeddedPostgres) -> AsyncIterator[Sessions]:
    engine = create_engine(await copy_database(postgres, "telling"), application_name="telling")
    yield create_sessions(engine)
    await engine.dispose()


@pytest.fixture
async def desk(telling_sessions: Sessions) -> Desk:
    return await make_desk(telling_sessions, utc_now())


@pytest.fixture
def queue() -> str:
    return random_id("queue", 8)


@asynccontextmanager
async def running(telling: Telling) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(telling.run())
    try:
        yield task
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


def delivering(client: Client, desk: Desk, queue: str, receiver: Receiver) -> Worker:
    activities = receiver.activities(desk.sessions, utc_now)
    return Worker(
        client,
        task_queue=queue,
        workflows=[MessageWorkflow],
        activities=[activities.send_message, activities.give_up],
        workflow_runner=sandbox(),
    )


def told_by(receiver: Receiver) -> list[str]:
    """The names of all alerts that came, good ends with a `+`."""
    return sorted(
        ("+" if alert.resolves else "") + alert.name for envelope in receiver.taken for alert in envelope.alerts
    )


async def all_are(desk: Desk, state: str = "sent") -> bool:
    found = await desk.messages()
    return bool(found) and all(message.state == state and message.handed_over_at is not None for message in found)


async def test_an_alert_reaches_its_receiver_when_the_loop_is_woken(desk: Desk, temporal: Client, queue: str) -> None:
    await desk.channel()
    telling, receiver = Telling(desk.sessions, temporal, queue, utc_now), Receiver()
    async with delivering(temporal, desk, queue, receiver), running(telling):
        await desk.raise_()
        telling.wake()
        await until(lambda: all_are(desk))
        (message,) = await desk.messages()
        handle = temporal.get_workflow_handle_for(MessageWorkflow.run, f"message/{message.id}")
        assert await handle.result() == "sent"
        description = await handle.describe()
    assert told_by(receiver) == ["backup"]
    attributes = description.typed_search_attributes
    assert [attributes.get(key) for key in (KIND, OWNER, STATUS)] == ["message", desk.account_id, "sent"]
    assert await description.static_summary() == f"message {message.id}"


async def test_alerts_that_nobody_woke_it_for_are_told_too(desk: Desk, temporal: Client, queue: str) -> None:
    await desk.channel()
    receiver = Receiver()
    async with (
        delivering(temporal, desk, queue, receiver),
        running(Telling(desk.sessions, temporal, queue, utc_now)),
    ):
        await desk.raise_()
        await until(lambda: all_are(desk))
        # What came meanwhile goes together, when the channel is free again.
        await desk.raise_("late", 1)
        await desk.raise_("later", 2)
        await until(lambda: len(receiver.taken) == 2)
    assert told_by(receiver) == ["backup", "late", "later"]


async def test_routed_but_not_formed(desk: Desk, temporal: Client, queue: str) -> None:
    await desk.channel()
    await desk.raise_()
    await desk.route()
    receiver = Receiver()
    async with (
        delivering(temporal, desk, queue, receiver),
        running(Telling(desk.sessions, temporal, queue, utc_now)),
    ):
        await until(lambda: all_are(desk))
    assert told_by(receiver) == ["backup"]


async def test_formed_but_not_handed_over(desk: Desk, temporal: Client, queue: str) -> None:
    await desk.channel()
    await desk.raise_()
    await desk.step()
    receiver = Receiver()
    async with (
        delivering(temporal, desk, queue, receiver),
        running(Telling(desk.sessions, temporal, queue, utc_now)),
    ):
        await until(lambda: all_are(desk))
    assert told_by(receiver) == ["backup"]


@pytest.mark.parametrize("is_finished", [False, True])
async def test_handed_over_but_not_marked(desk: Desk, temporal: Client, queue: str, is_finished: bool) -> None:
    await desk.channel()
    await desk.raise_()
    await desk.step()
    (message,) = await desk.messages()
    handle = await temporal.start_workflow(
        MessageWorkflow.run,
        MessageInput(message.id, message.account_id),
        id=f"message/{message.id}",
        task_queue=queue,
    )
    receiver = Receiver()
    if is_finished:
        async with delivering(temporal, desk, queue, receiver):
            await handle.result()
    async with running(Telling(desk.sessions, temporal, queue, utc_now)):
        if not is_finished:
            await until(lambda: all_are(desk, "pending"))
        async with delivering(temporal, desk, queue, receiver):
            assert await handle.result() == "sent"
            await desk.raise_("other", 1)
            await until(lambda: len(receiver.taken) == 2)
    assert told_by(receiver) == ["backup", "other"]


async def test_a_test_message_of_another_process_is_handed_over(desk: Desk, temporal: Client, queue: str) -> None:
    channel_id, receiver = await desk.channel(), Receiver()
    async with (
        delivering(temporal, desk, queue, receiver),
        running(Telling(desk.sessions, temporal, queue, utc_now)),
    ):
        async with transaction(desk.sessions) as session:
            await messages.test_message(session, await session.get_one(Channel, channel_id), utc_now())
        await until(lambda: all_are(desk))
    assert receiver.taken[0].is_test


async def test_the_loop_outlives_temporal(desk: Desk, temporal: Client, queue: str) -> None:
    await desk.channel()
    dead = await Client.connect("127.0.0.1:1", lazy=True)
    telling, receiver = Telling(desk.sessions, dead, queue, utc_now), Receiver()
    async with running(telling) as task:
        await desk.raise_()
        telling.wake()
        await until(lambda: desk.messages())
        # Alerts are routed and put into messages all the same.
        await desk.raise_("second", 1)
        await until(lambda: _count_messages(desk, 2))
        assert not task.done()
    assert {message.handed_over_at for message in await desk.messages()} == {None}
    async with (
        delivering(temporal, desk, queue, receiver),
        running(Telling(desk.sessions, temporal, queue, utc_now)),
    ):
        await until(lambda: all_are(desk))
    assert told_by(receiver) == ["backup", "second"]


async def _count_messages(desk: Desk, count: int) -> bool:
    return len(await desk.messages()) == count


async def test_the_loop_outlives_postgres(desk: Desk, temporal: Client, queue: str, postgres: EmbeddedPostgres) -> None:
    await desk.channel()
    telling, receiver = Telling(desk.sessions, temporal, queue, utc_now), Receiver()
    async with delivering(temporal, desk, queue, receiver), running(telling) as task:
        await desk.raise_()
        url = postgres.url.replace("/pingpulse?", "/postgres?")
        async with await psycopg.AsyncConnection.connect(url, autocommit=True) as admin:
            await admin.execute("ALTER DATABASE telling ALLOW_CONNECTIONS false")
            await admin.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'telling'")
            for _ in range(20):
                telling.wake()
                await asyncio.sleep(0.02)
            assert not task.done()
            await admin.execute("ALTER DATABASE telling ALLOW_CONNECTIONS true")
        await until(lambda: all_are(desk))
    assert told_by(receiver) == ["backup"]


async def test_several_loops_tell_everything_once(desk: Desk, temporal: Client, queue: str) -> None:
    for _ in range(4):
        await desk.channel()
    receiver, names = Receiver(), [f"job{number:02}" for number in range(60)]
    loops = [Telling(desk.sessions, temporal, queue, utc_now) for _ in range(3)]
    async with (
        delivering(temporal, desk, queue, receiver),
        running(loops[0]),
        running(loops[1]),
        running(loops[2]),
    ):
        for number, name in enumerate(names):
            await desk.raise_(name, number / 1000)
            loops[number % 3].wake()
        await until(lambda: len(told_by(receiver)) >= 4 * len(names))
        await until(lambda: all_are(desk))
    assert told_by(receiver) == sorted(4 * names)
