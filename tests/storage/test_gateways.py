"""Who is alive, who takes over, and when nobody was there."""

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import delete
from sqlalchemy.ext.asyncio import AsyncSession

from domain.instances import Outage
from storage.base import Sessions, transaction
from storage.gateways import (
    DEAD_AFTER_SECONDS,
    Gateway,
    Life,
    adopt_dead_gateways,
    beat,
    list_outages,
    register_gateway,
    retire_gateway,
)
from storage.outbox import OutboxRow

NOON = datetime(2025, 1, 15, 12, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


@pytest.fixture
async def alone(sessions: Sessions) -> AsyncIterator[AsyncSession]:
    """A session in which no other gateway exists; rolled back."""
    async with sessions() as session:
        await session.execute(delete(Life))
        await session.execute(delete(Gateway))
        yield session


async def add(
    session: AsyncSession,
    started: float,
    seen: float,
    *,
    stopped: bool = False,
    pings: int = 0,
    adopter: int | None = None,
) -> int:
    gateway = Gateway(
        host="test",
        process_id=1,
        started_at=at(started),
        seen_at=at(seen),
        stopped_at=at(seen) if stopped else None,
        adopted_by=adopter,
    )
    session.add(gateway)
    await session.flush()
    session.add(Life(gateway_id=gateway.id, began_at=at(started), seen_at=at(seen)))
    for number in range(pings):
        session.add(
            OutboxRow(ping_id=-(gateway.id * 10 + number), gateway_id=gateway.id, subject="s", wants_verdict=False)
        )
    await session.flush()
    return gateway.id


@pytest.mark.parametrize(
    ("lives", "gaps"),
    [
        ([], [(0, 100)]),
        ([(-50, 150)], []),
        ([(-50, 100)], []),
        ([(-50, 97.5)], []),
        ([(-50, 90)], [(90, 100)]),
        ([(10, 150)], [(0, 10)]),
        ([(2.5, 150)], []),
        ([(-50, 20), (40, 150)], [(20, 40)]),
        ([(-50, 20), (22.5, 150)], []),
        ([(-50, 60), (40, 150)], []),
        ([(-50, 20), (10, 15), (40, 50), (45, 70)], [(20, 40), (70, 100)]),
        ([(-50, -10)], [(0, 100)]),
        ([(-50, -10), (110, 150)], [(0, 100)]),
        ([(-50, 90), (10, 20), (30, 40)], [(90, 100)]),
    ],
)
async def test_outages(alone: AsyncSession, lives: list[tuple[float, float]], gaps: list[tuple[float, float]]) -> None:
    for started, seen in lives:
        await add(alone, started, seen)
    outages = await list_outages(alone, at(0), at(100))
    assert outages == tuple(Outage(at(start), at(end)) for start, end in gaps)


async def test_the_dead_are_adopted_by_who_asks_first(alone: AsyncSession) -> None:
    now = 100.0
    me = await add(alone, 0, now, pings=1)
    await add(alone, 0, now, pings=1)
    await add(alone, 0, now - DEAD_AFTER_SECONDS + 1, pings=1)
    await add(alone, 0, 10)
    await add(alone, 0, now, stopped=True)
    silent = await add(alone, 0, now - DEAD_AFTER_SECONDS - 1, pings=2)
    stopped = await add(alone, 0, now, stopped=True, pings=1)
    orphan = await add(alone, 0, 10, pings=1, adopter=silent)
    assert set(await adopt_dead_gateways(alone, me, at(now))) == {silent, stopped, orphan}
    assert set(await adopt_dead_gateways(alone, me, at(now))) == {silent, stopped, orphan}
    other = await add(alone, 0, now)
    assert await adopt_dead_gateways(alone, other, at(now)) == []
    await retire_gateway(alone, me, at(now))
    assert set(await adopt_dead_gateways(alone, other, at(now))) == {me, silent, stopped, orphan}


async def test_two_that_ask_at_once_share_nothing(sessions: Sessions) -> None:
    async with transaction(sessions) as session:
        dead = {await add(session, 0, 10, pings=1) for _ in range(20)}
        living = [await add(session, 0, 100) for _ in range(4)]

    async def adopt(gateway_id: int) -> list[int]:
        async with transaction(sessions) as session:
            return await adopt_dead_gateways(session, gateway_id, at(100))

    try:
        adopted = [gateway_id for ids in await asyncio.gather(*map(adopt, living)) for gateway_id in ids]
        # Gateways of other tests may lie about.
        assert sorted(gateway_id for gateway_id in adopted if gateway_id in dead) == sorted(dead)
    finally:
        async with transaction(sessions) as session:
            await session.execute(delete(OutboxRow).where(OutboxRow.gateway_id.in_(dead)))
            await session.execute(delete(Life))
            await session.execute(delete(Gateway))


async def test_a_gateway_that_slept_leaves_the_gap_behind(alone: AsyncSession) -> None:
    gateway_id = await register_gateway(alone, host="test", process_id=1, now=at(0))
    for moment in (1, 2, 30, 31, 32):
        await beat(alone, gateway_id, at(moment))
    assert await list_outages(alone, at(0), at(33)) == (Outage(at(2), at(30)),)
