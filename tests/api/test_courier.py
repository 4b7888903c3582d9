"""How long pings wait to travel together, in a courier whose Temporal takes note of what it is told."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field

import pytest

from api.courier import Courier
from api.delivery import Temporal
from config.clock import utc_now
from domain.pings import PingFact, PingStatus
from tests.support.waiting import until

LONG = 60.0
"""Longer than any test waits."""


class NotedTemporal(Temporal):
    def __init__(self) -> None:
        self.signals: list[list[int]] = []

    async def signal(self, subject: str, pings: Sequence[PingFact]) -> None:
        self.signals.append([ping.id for ping in pings])


@dataclass
class Desk:
    temporal: NotedTemporal
    courier: Courier
    delivered: list[int] = field(default_factory=list)

    def offer(self, ping_id: int, window_seconds: float | None = None) -> None:
        ping = PingFact(ping_id, 1, "success", PingStatus.HEALTHY, utc_now())
        self.courier.offer("pulse/pls_1", [ping], window_seconds)

    async def told(self, *signals: list[int]) -> None:
        await until(lambda: self.temporal.signals == list(signals), timeout=10)


@pytest.fixture
async def desk() -> AsyncIterator[Desk]:
    temporal, delivered = NotedTemporal(), list[int]()
    courier = Courier(
        temporal, delivered.extend, window_seconds=0.05, verdict_timeout_seconds=1, concurrency=4, memory=100
    )
    yield Desk(temporal, courier, delivered)
    await courier.drain(5)


async def test_the_first_ping_goes_at_once_and_those_within_its_window_together(desk: Desk) -> None:
    desk.offer(1, LONG)
    await desk.told([1])
    desk.offer(2, LONG)
    desk.offer(3, LONG)
    await desk.courier.drain(5)
    assert desk.temporal.signals == [[1], [2, 3]]


async def test_news_does_not_wait_for_a_long_window(desk: Desk) -> None:
    """A failure while all was well."""
    desk.offer(1, LONG)
    await desk.told([1])
    desk.offer(2)
    await desk.told([1], [2])


async def test_what_comes_soon_after_news_does_not_wait_either(desk: Desk) -> None:
    """The recovery from a failure."""
    desk.offer(1)
    await desk.told([1])
    desk.offer(2, LONG)
    await desk.told([1], [2])
    assert desk.delivered == [1, 2]
