"""How a message is delivered as time passes, on a server that skips it; Postgres is real."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from temporalio import activity
from temporalio.client import WorkflowHandle
from temporalio.testing import ActivityEnvironment, WorkflowEnvironment
from temporalio.worker import Worker

from activities import messages as message_activities
from activities.messages import MessageActivities
from activities.senders.base import Envelope, Receipt, TryLater, Undeliverable
from cli.postgres import EmbeddedPostgres
from domain.channels import ChannelKind
from domain.ids import random_id
from storage.base import Sessions, create_engine, create_sessions
from storage.messages import Message
from storage.vault import Vault
from temporal_workflows.message import MessageInput, MessageWorkflow
from temporal_workflows.search_attributes import STATUS
from tests.conftest import copy_database
from tests.support.telling import VAULT, Desk, Receiver, make_desk
from worker.main import sandbox

HOUR = 3600


def clock() -> datetime:
    """The time of the server."""
    return activity.info().started_time


@pytest.fixture(scope="module")
async def told(postgres: EmbeddedPostgres) -> AsyncIterator[Sessions]:
    engine = create_engine(await copy_database(postgres, "told"), application_name="told")
    yield create_sessions(engine)
    await engine.dispose()


@pytest.fixture
async def desk(told: Sessions) -> Desk:
    return await make_desk(told)


async def make_message(desk: Desk) -> Message:
    """With one alert, to a channel that there is, or a new one."""
    await desk.raise_("backup", len(await desk.messages()))
    await desk.route()
    await desk.form()
    return (await desk.messages())[-1]


@asynccontextmanager
async def delivered(
    skipping: WorkflowEnvironment, activities: MessageActivities, message: Message
) -> AsyncIterator[WorkflowHandle[MessageWorkflow, str]]:
    queue = random_id("queue", 8)
    async with Worker(
        skipping.client,
        task_queue=queue,
        workflows=[MessageWorkflow],
        activities=[activities.send_message, activities.give_up],
        workflow_runner=sandbox(),
    ):
        yield await skipping.client.start_workflow(
            MessageWorkflow.run,
            MessageInput(message.id, message.account_id),
            id=f"message/{message.id}",
            task_queue=queue,
        )


async def deliver(skipping: WorkflowEnvironment, desk: Desk, receiver: Receiver) -> tuple[str, Message]:
    """How the workflow ended, and what the message is now."""
    message = await make_message(desk)
    async with delivered(skipping, receiver.activities(desk.sessions, clock), message) as handle:
        state = await handle.result()
        attributes = (await handle.describe()).typed_search_attributes
        assert attributes.get(STATUS) == state
    return state, (await desk.messages())[-1]


async def outcomes(desk: Desk, message: Message) -> list[tuple[int, str, int | None, str | None]]:
    return [
        (attempt.number, attempt.outcome, attempt.status_code, attempt.detail)
        for attempt in await desk.attempts(message.id)
    ]


async def test_a_message_is_sent_once(skipping: WorkflowEnvironment, desk: Desk) -> None:
    await desk.channel()
    receiver = Receiver()
    state, message = await deliver(skipping, desk, receiver)
    assert (state, message.state) == ("sent", "sent")
    assert message.finished_at is not None
    assert await outcomes(desk, message) == [(1, "sent", 200, "ok")]
    (envelope,) = receiver.taken
    assert (envelope.message_id, envelope.account_id, envelope.channel_name) == (message.id, desk.account_id, "ops")
    assert (envelope.address, envelope.signing_secrets) == ("https://example.com/secret", ())
    assert (envelope.text.headline, [alert.name for alert in envelope.alerts]) == ("backup is overdue", ["backup"])
    assert (envelope.base_url, envelope.is_test) == ("https://pingpulse.example", False)


@pytest.mark.parametrize(("old_until", "secrets"), [(-1, ("new",)), (10**9, ("new", "old")), (None, ("new",))])
async def test_the_old_secret_signs_too_while_it_is_rotated(
    skipping: WorkflowEnvironment, desk: Desk, old_until: int | None, secrets: tuple[str, ...]
) -> None:
    await desk.channel(
        signing_secret=VAULT.encrypt("new"),
        old_signing_secret=VAULT.encrypt("old"),
        old_secret_until=None if old_until is None else desk.at(old_until),
    )
    receiver = Receiver()
    await deliver(skipping, desk, receiver)
    assert receiver.taken[0].signing_secrets == secrets


async def test_the_gaps_between_attempts_grow(skipping: WorkflowEnvironment, desk: Desk) -> None:
    await desk.channel()
    receiver = Receiver([*[TryLater("503", status_code=503)] * 4, Receipt(204)])
    state, message = await deliver(skipping, desk, receiver)
    assert (state, message.state) == ("sent", "sent")
    assert receiver.gaps == [5, 10, 20, 40]
    assert len({envelope.message_id for envelope in receiver.taken}) == 1
    assert await outcomes(desk, message) == [
        *((number, "retry", 503, "503") for number in (1, 2, 3, 4)),
        (5, "sent", 204, None),
    ]
    attempts = await desk.attempts(message.id)
    for attempt, following in zip(attempts, attempts[1:], strict=False):
        assert attempt.next_at is not None
        assert abs(attempt.next_at - following.at) < timedelta(seconds=2)


async def test_a_receiver_is_not_asked_before_it_wishes(skipping: WorkflowEnvironment, desk: Desk) -> None:
    await desk.channel()
    answers = [TryLater("429", status_code=429, retry_after=seconds) for seconds in (600.0, 1.0, 2.5 * HOUR)]
    receiver = Receiver([*answers, Receipt()])
    await deliver(skipping, desk, receiver)
    # Nor is it asked more often than it would be otherwise.
    assert receiver.gaps == [600, 10, 2.5 * HOUR]


async def test_what_is_refused_for_good_is_not_tried_again(skipping: WorkflowEnvironment, desk: Desk) -> None:
    await desk.channel()
    receiver = Receiver([Undeliverable("404: no such hook", status_code=404)])
    state, message = await deliver(skipping, desk, receiver)
    assert (state, message.state, len(receiver.taken)) == ("failed", "failed", 1)
    assert await outcomes(desk, message) == [(1, "failed", 404, "404: no such hook")]


async def test_after_three_days_it_is_given_up_and_stays_visible(skipping: WorkflowEnvironment, desk: Desk) -> None:
    await desk.channel()
    receiver = Receiver([TryLater("500", status_code=500)])
    state, message = await deliver(skipping, desk, receiver)
    assert (state, message.state) == ("failed", "failed")
    attempts = await desk.attempts(message.id)
    assert [attempt.number for attempt in attempts] == list(range(1, len(receiver.taken) + 1))
    assert {attempt.outcome for attempt in attempts[:-1]} == {"retry"}
    assert (attempts[-1].outcome, attempts[-1].next_at) == ("failed", None)
    assert 70 * HOUR < (attempts[-1].at - attempts[0].at).total_seconds() < 72 * HOUR
    assert max(receiver.gaps) == HOUR


async def test_a_receiver_that_wants_more_than_three_days_is_asked_at_their_end(
    skipping: WorkflowEnvironment, desk: Desk
) -> None:
    await desk.channel()
    receiver = Receiver([TryLater("429", retry_after=1e9), Receipt()])
    state, _ = await deliver(skipping, desk, receiver)
    assert state == "sent"
    assert 71.9 * HOUR < receiver.gaps[0] < 72 * HOUR


async def test_the_words_of_an_unexpected_error_are_told_to_nobody(skipping: WorkflowEnvironment, desk: Desk) -> None:
    await desk.channel()
    receiver = Receiver([ValueError("https://example.com/secret is odd"), Receipt()])
    state, message = await deliver(skipping, desk, receiver)
    assert state == "sent"
    assert (await outcomes(desk, message))[0] == (1, "retry", None, "an unexpected error: ValueError")


async def test_a_sender_that_hangs_is_left_and_tried_again(
    skipping: WorkflowEnvironment, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(message_activities, "SENDER_TIMEOUT", 0.2)
    monkeypatch.setattr(message_activities, "HEARTBEAT_SECONDS", 0.05)
    await desk.channel()
    calls = 0

    async def hang_once(envelope: Envelope) -> Receipt:
        nonlocal calls
        calls += 1
        if calls == 1:
            await asyncio.Event().wait()
        return Receipt()

    message = await make_message(desk)
    activities = MessageActivities(desk.sessions, clock, VAULT, {ChannelKind.WEBHOOK: hang_once}, {}, "")
    async with delivered(skipping, activities, message) as handle:
        assert await handle.result() == "sent"
    assert [outcome for _, outcome, _, _ in await outcomes(desk, message)] == ["retry", "sent"]


async def test_a_channel_that_was_deleted_is_not_told(skipping: WorkflowEnvironment, desk: Desk) -> None:
    await desk.channel(deleted_at=None)
    await desk.raise_("first")
    await desk.route()
    (delivery,) = await desk.deliveries()
    await desk.change(delivery.channel_id, deleted_at=desk.noon, address=b"")
    receiver = Receiver()
    await desk.form()
    (message,) = await desk.messages()
    async with delivered(skipping, receiver.activities(desk.sessions, clock), message) as handle:
        assert await handle.result() == "failed"
    assert receiver.taken == []
    assert await outcomes(desk, message) == [(1, "failed", None, "the channel was deleted")]


@pytest.mark.parametrize(
    ("channel", "detail"),
    [
        ({"kind": "pigeon"}, "cannot send to pigeon channels"),
        ({"address": Vault("another secret, of 32 characters or more").encrypt("x")}, "PINGPULSE_SECRET_KEY"),
    ],
)
async def test_what_an_operator_can_mend_is_tried_again(
    skipping: WorkflowEnvironment, desk: Desk, channel: dict[str, Any], detail: str
) -> None:
    id_ = await desk.channel(**channel)
    receiver = Receiver()
    message = await make_message(desk)
    async with delivered(skipping, receiver.activities(desk.sessions, clock), message) as handle:
        while not await desk.attempts(message.id):
            await asyncio.sleep(0.02)
        await desk.change(id_, kind="webhook", address=VAULT.encrypt("https://example.com/mended"))
        assert await handle.result() == "sent"
    first = (await outcomes(desk, message))[0]
    assert first[1] == "retry"
    assert detail in (first[3] or "")
    assert receiver.taken[0].address == "https://example.com/mended"


async def test_nobody_is_told_of_the_end_of_what_could_not_be_told(skipping: WorkflowEnvironment, desk: Desk) -> None:
    await desk.channel()
    message = await make_message(desk)
    await desk.raise_("backup", 5, ends=True)
    await desk.route(5)
    receiver = Receiver([Undeliverable("410", status_code=410)])
    async with delivered(skipping, receiver.activities(desk.sessions, clock), message) as handle:
        assert await handle.result() == "failed"
    assert (await desk.states())["+backup"][0] == "silent"
    assert await desk.step(10) == []


async def test_who_cancels_the_workflow_gives_the_message_up(skipping: WorkflowEnvironment, desk: Desk) -> None:
    await desk.channel()
    message, receiver = await make_message(desk), Receiver([TryLater("500", status_code=500)])
    async with delivered(skipping, receiver.activities(desk.sessions, clock), message) as handle:
        while not await desk.attempts(message.id):
            await asyncio.sleep(0.02)
        await handle.cancel()
        assert await handle.result() == "failed"
    assert (await desk.messages())[0].state == "failed"


async def test_a_message_that_is_recorded_is_not_sent_again(desk: Desk) -> None:
    await desk.channel()
    message, receiver = await make_message(desk), Receiver()
    activities = receiver.activities(desk.sessions, lambda: desk.noon)
    for _ in range(3):
        assert await ActivityEnvironment().run(activities.send_message, message.id) == "sent"
    assert await ActivityEnvironment().run(activities.give_up, message.id) == "sent"
    assert len(receiver.taken) == 1


async def test_it_is_given_up_when_postgres_never_answers(skipping: WorkflowEnvironment, desk: Desk) -> None:
    await desk.channel()
    message, receiver = await make_message(desk), Receiver()
    engine = create_engine("postgresql://nobody@127.0.0.1:1/nowhere")
    deaf, working = receiver.activities(create_sessions(engine), clock), receiver.activities(desk.sessions, clock)
    queue = random_id("queue", 8)
    async with Worker(
        skipping.client,
        task_queue=queue,
        workflows=[MessageWorkflow],
        activities=[deaf.send_message, working.give_up],
        workflow_runner=sandbox(),
    ):
        started_at = await skipping.get_current_time()
        state = await skipping.client.execute_workflow(
            MessageWorkflow.run,
            MessageInput(message.id, message.account_id),
            id=f"message/{message.id}",
            task_queue=queue,
        )
    assert state == "failed"
    (message,) = await desk.messages()
    assert message.state == "failed"
    assert message.finished_at is not None
    assert message.finished_at - started_at < timedelta(hours=72.1)
    assert receiver.taken == []
    await engine.dispose()


async def test_what_was_sent_is_recorded_once_postgres_is_back(desk: Desk, postgres: EmbeddedPostgres) -> None:
    await desk.channel()
    message = await make_message(desk)
    calls, back = 0, list[asyncio.Task[None]]()

    async def take_and_break(envelope: Envelope) -> Receipt:
        nonlocal calls
        calls += 1
        await _admin(
            postgres,
            "ALTER DATABASE told ALLOW_CONNECTIONS false",
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = 'told'",
        )
        back.append(asyncio.create_task(mend()))
        return Receipt(200)

    async def mend() -> None:
        await asyncio.sleep(0.2)
        await _admin(postgres, "ALTER DATABASE told ALLOW_CONNECTIONS true")

    activities = MessageActivities(
        desk.sessions, lambda: datetime.now(UTC), VAULT, {ChannelKind.WEBHOOK: take_and_break}, {}, ""
    )
    assert await ActivityEnvironment().run(activities.send_message, message.id) == "sent"
    await asyncio.gather(*back)
    assert calls == 1
    assert await outcomes(desk, message) == [(1, "sent", 200, None)]


async def _admin(postgres: EmbeddedPostgres, *statements: str) -> None:
    url = postgres.url.replace("/pingpulse?", "/postgres?")
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        for statement in statements:
            await connection.execute(statement.encode())
