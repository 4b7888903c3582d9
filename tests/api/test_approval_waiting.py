"""`?wait=`: the answer comes with the decision, whichever gateway took it, and whatever happens to connections."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack
from typing import Any

import pytest
from sqlalchemy import text

from api.app import create_app
from api.approval_watch import APPLICATION_NAME, LOOK_AGAIN_SECONDS
from api.gateway import Gateway
from storage.base import Sessions, transaction
from tests.api.approval_calls import ADA, BOB, ask, decide, look
from tests.api.calls import Calls
from tests.api.conftest import calls_to
from tests.api.test_errors import fields, problem
from tests.support.serving import serve
from tests.support.stack import Stack
from tests.support.waiting import until

SOON = 2.0
"""Seconds in which a decision must have reached whoever waits: less than it takes to look again without being told."""

assert SOON < LOOK_AGAIN_SECONDS


class House:
    """A gateway of one's own, whose inside can be looked at."""

    def __init__(self, gateway: Gateway, calls: Calls, stop: Callable[[], None]) -> None:
        self.watch, self.calls, self._stop = gateway.approval_watch, calls, stop

    async def waiting(self, count: int) -> None:
        await until(lambda: self.watch.waiting == count)

    async def stop(self) -> None:
        await asyncio.to_thread(self._stop)


@pytest.fixture
async def house(stack: Stack) -> AsyncIterator[House]:
    app = create_app(stack.settings)
    with ExitStack() as running:
        url = running.enter_context(serve(app))
        async with calls_to(url, stack.account_id, stack.key) as calls:
            house = House(app.state.gateway, calls, running.close)
            yield house
        await house.stop()


async def timed(calls: Calls, approval_id: str, **params: Any) -> tuple[dict[str, Any], float]:
    """The answer, and when it came."""
    return await look(calls, approval_id, **params), time.monotonic()


async def listeners(sessions: Sessions) -> list[int]:
    async with sessions() as session:
        query = text("SELECT pid FROM pg_stat_activity WHERE application_name = :name AND query LIKE 'LISTEN%'")
        return list(await session.scalars(query, {"name": APPLICATION_NAME}))


async def test_a_decision_ends_the_wait(house: House) -> None:
    approval_id = await ask(house.calls)
    waiting = asyncio.create_task(timed(house.calls, approval_id, wait=30))
    await house.waiting(1)
    before = time.monotonic()
    document = await decide(house.calls, approval_id, approver=ADA)
    answered, at = await waiting
    assert answered == document
    assert at - before < SOON
    await house.waiting(0)


async def test_through_another_gateway_too(house: House, ours: Calls, ours_elsewhere: Calls) -> None:
    for elsewhere in (ours, ours_elsewhere):
        approval_id = await ask(house.calls)
        waiting = asyncio.create_task(timed(house.calls, approval_id, wait=30))
        await house.waiting(1)
        before = time.monotonic()
        document = await decide(elsewhere, approval_id, "deny", approver=ADA)
        answered, at = await waiting
        assert answered == document
        assert at - before < SOON


async def test_cancelling_and_the_deadline_end_it_too(house: House, ours: Calls) -> None:
    approval_id = await ask(ours)
    waiting = asyncio.create_task(timed(house.calls, approval_id, wait=30))
    await house.waiting(1)
    await ours.post(f"/api/approvals/{approval_id}/cancel", {})
    assert (await waiting)[0]["status"] == "cancelled"
    approval_id = await ask(ours, timeout_seconds=1, timeout_action="approve")
    assert (await look(house.calls, approval_id, wait=30))["decided_by"] == "timeout"


async def test_a_vote_that_decides_nothing_does_not(house: House) -> None:
    approval_id = await ask(house.calls, approvers=[ADA, BOB], quorum=2)
    waiting = asyncio.create_task(timed(house.calls, approval_id, wait=30))
    await house.waiting(1)
    assert (await decide(house.calls, approval_id, approver=ADA))["status"] == "pending"
    await decide(house.calls, approval_id, approver=BOB)
    answered, _ = await waiting
    assert (answered["status"], answered["approvals"]) == ("approved", 2)


async def test_without_a_decision_it_ends_in_time(house: House) -> None:
    approval_id = await ask(house.calls)
    before = time.monotonic()
    document, at = await timed(house.calls, approval_id, wait=0.5)
    assert (document["status"], document["result"]) == ("pending", None)
    assert 0.5 <= at - before < 0.5 + SOON
    assert house.watch.waiting == 0


async def test_what_is_decided_is_answered_at_once(house: House) -> None:
    approval_id = await ask(house.calls)
    await decide(house.calls, approval_id)
    before = time.monotonic()
    assert (await look(house.calls, approval_id, wait=60))["status"] == "approved"
    assert time.monotonic() - before < SOON


@pytest.mark.parametrize("wait", ["-1", "61", "long", "nan", "inf", ""])
async def test_waits_that_will_not_do(ours: Calls, wait: str) -> None:
    response = await ours.http.get("/api/approvals/apr_none", params={"wait": wait})
    assert fields(problem(response, 400, "invalid_request")) == ["wait"]


async def test_nothing_of_the_database_is_held_meanwhile(house: House, stack: Stack) -> None:
    """More wait than there are connections; and while they do, all else goes on."""
    approval_ids = [await ask(house.calls) for _ in range(4)]
    count = 3 * stack.settings.database_pool_size
    waiting = [
        asyncio.create_task(timed(house.calls, approval_ids[number % 4], wait=30)) for number in range(2 * count)
    ]
    await house.waiting(2 * count)
    before = time.monotonic()
    for approval_id in approval_ids:
        await decide(house.calls, approval_id)
    for answered, at in await asyncio.gather(*waiting):
        assert answered["status"] == "approved"
        assert at - before < 2 * SOON
    await house.waiting(0)


async def test_a_lost_listener_costs_nobody_their_answer(house: House, stack: Stack) -> None:
    approval_id = await ask(house.calls)
    waiting = asyncio.create_task(timed(house.calls, approval_id, wait=60))
    await house.waiting(1)
    killed = await until(lambda: listeners(stack.sessions))
    async with transaction(stack.sessions) as session:
        await session.execute(
            text("SELECT pg_terminate_backend(pid) FROM unnest(CAST(:pids AS int[])) AS pid"), {"pids": killed}
        )
    # Whether or not somebody listens again by now.
    await decide(house.calls, approval_id)
    answered, _ = await waiting
    assert answered["status"] == "approved"

    async def listens_again() -> bool:
        return len(set(await listeners(stack.sessions)) - set(killed)) >= len(killed)

    await until(listens_again)
    approval_id = await ask(house.calls)
    waiting = asyncio.create_task(timed(house.calls, approval_id, wait=30))
    await house.waiting(1)
    before = time.monotonic()
    await decide(house.calls, approval_id)
    assert (await waiting)[1] - before < SOON


async def test_without_being_told_they_look_again(house: House, stack: Stack) -> None:
    approval_id = await ask(house.calls)
    waiting = asyncio.create_task(timed(house.calls, approval_id, wait=30))
    await house.waiting(1)
    # As if the message had been lost: the outcome is there, and nobody says so.
    before = time.monotonic()
    async with transaction(stack.sessions) as session:
        await session.execute(
            text("UPDATE approvals SET status = 'approved', decided_at = now(), decided_by = 'x' WHERE id = :id"),
            {"id": approval_id},
        )
    answered, at = await waiting
    assert answered["status"] == "approved"
    assert at - before < LOOK_AGAIN_SECONDS + SOON


async def test_whoever_hangs_up_is_forgotten(house: House) -> None:
    approval_id = await ask(house.calls)
    waiting = [asyncio.create_task(look(house.calls, approval_id, wait=60)) for _ in range(10)]
    await house.waiting(10)
    for task in waiting[:9]:
        task.cancel()
    await house.waiting(1)
    await decide(house.calls, approval_id)
    assert (await waiting[9])["status"] == "approved"
    for task in waiting[:9]:
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def test_a_gateway_that_stops_answers_those_who_wait(house: House, ours: Calls) -> None:
    approval_id = await ask(ours)
    waiting = [asyncio.create_task(timed(house.calls, approval_id, wait=60)) for _ in range(5)]
    await house.waiting(5)
    before = time.monotonic()
    await house.stop()
    for answered, at in await asyncio.gather(*waiting):
        assert answered["status"] == "pending"
        assert at - before < SOON
    assert (await look(ours, approval_id))["status"] == "pending"
