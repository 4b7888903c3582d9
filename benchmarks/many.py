"""Targets that are only open: what they cost, and what a restart of worker and Temporal does to them."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from time import perf_counter

import httpx

from benchmarks.figures import Aim, Extent, Sheet
from benchmarks.load import percentile
from benchmarks.pings import Tell
from benchmarks.stack import Stack
from benchmarks.targets import LONG_SECONDS, create_target, creating, followed, patience, ping
from benchmarks.waiting import BenchmarkError, until

NAME, CALLED, PINGED = "open", "deadline", "meanwhile"
SHOWN = ("worker", "Temporal", "gateway")
STOPPED = ("worker", "Temporal")
"""In the order in which `up` stops them."""

DEADLINE_SECONDS = 8.0
LOOK_SECONDS = 0.005
PATIENCE_SECONDS = 120.0
AIM_SECONDS = 2.0

Memory = dict[str, float]
"""MB by service."""

_IS_RECORDED = """
SELECT s.last_ping_at >= %s FROM pulse_standings s JOIN pulses p ON p.id = s.pulse_id WHERE p.slug = %s
"""
_IS_DOWN = "SELECT s.status = 'down' FROM pulse_standings s JOIN pulses p ON p.id = s.pulse_id WHERE p.slug = %s"


@dataclass(frozen=True)
class Restart:
    """Seconds since Temporal was started again, the worker after it."""

    temporal_serves: float
    worker_polls: float
    ping_recorded: float
    """Of one that the gateway took while they were away."""
    deadline_called: float
    """Of one that passed in that time."""


@dataclass(frozen=True)
class ManyFigures:
    """`lags_before` and `lags_after` the restart: seconds, ascending, until the workflow of a target that was silent
    until then has recorded a ping."""

    targets: int
    answered_seconds: float
    followed_seconds: float
    restart: Restart
    memory: dict[str, Memory]
    lags_before: list[float]
    lags_after: list[float]

    def sheets(self) -> list[Sheet]:
        opening = {
            "first pings answered": self.answered_seconds,
            "all followed by workflows": self.followed_seconds,
            "after a restart: Temporal serves": self.restart.temporal_serves,
            "… worker polls": self.restart.worker_polls,
            "… ping taken meanwhile recorded": self.restart.ping_recorded,
            "… deadline passed meanwhile called": self.restart.deadline_called,
        }
        what = f"{self.targets:,} open targets"
        lags = (("before the restart", self.lags_before), ("after the restart", self.lags_after))
        percents = (50, 99)
        return [
            Sheet(what, ("", "s"), [[name, f"{seconds:.1f}"] for name, seconds in opening.items()]),
            Sheet(
                f"Memory in MB, {what}",
                ("", *SHOWN),
                [[when, *(f"{used[name]:,.0f}" for name in SHOWN)] for when, used in self.memory.items()],
            ),
            Sheet(
                f"Lag of {len(self.lags_after)} sparse pings, {what}",
                ("", "p50 s", "p99 s", "most s"),
                [
                    [when, *(f"{percentile(lag, each):.3f}" for each in percents), f"{max(lag):.3f}"]
                    for when, lag in lags
                ],
            ),
        ]

    def aims(self) -> list[Aim]:
        lag = percentile(self.lags_after, 99)
        what = f"p99 of the lag, {self.targets:,} open, restarted"
        return [Aim(what, f"< {AIM_SECONDS:g} s", f"{lag:.2f} s", lag < AIM_SECONDS)]


async def measure(stack: Stack, extent: Extent, tell: Tell) -> ManyFigures:
    memory = {"nothing open": stack.services.memory()}
    slugs = [f"{NAME}-{number}" for number in range(extent.open)]
    async with stack.client() as client:
        begun = perf_counter()
        tell(f"Opening {extent.open} targets")
        await stack.ask_each(creating(slugs), connections=8, patience_seconds=patience(extent.open))
        answered_seconds = perf_counter() - begun
        await _all_followed(stack, extent.open, tell)
        followed_seconds = perf_counter() - begun
        await stack.services.quiet()
        memory["all open"] = stack.services.memory()
        sparse = slugs[:: max(1, len(slugs) // (2 * extent.sparse))]
        tell("Sparse pings")
        lags_before = await _lags(stack, client, sparse[0::2])
        restart = await _restart(stack, client, tell)
        memory["restarted"] = stack.services.memory()
        tell("Sparse pings")
        lags_after = await _lags(stack, client, sparse[1::2])
        memory["pinged since"] = stack.services.memory()
    return ManyFigures(extent.open, answered_seconds, followed_seconds, restart, memory, lags_before, lags_after)


async def _all_followed(stack: Stack, count: int, tell: Tell) -> None:
    async def are_all() -> bool:
        found = await followed(stack, NAME)
        tell(f"{found} of {count} targets are followed")
        return found >= count

    what = f"{count} targets followed by their workflows"
    await until(what, are_all, timeout_seconds=patience(count), every_seconds=0.5)


async def _restart(stack: Stack, client: httpx.AsyncClient, tell: Tell) -> Restart:
    """Stops worker and Temporal, and starts them again with the same data, once a deadline has passed."""
    tell("Stopping worker and Temporal")
    loop = asyncio.get_running_loop()
    for slug, period_seconds in ((PINGED, LONG_SECONDS), (CALLED, DEADLINE_SECONDS)):
        await create_target(client, slug, period_seconds=period_seconds, grace_seconds=0)
        pinged_at = datetime.now(UTC)
        await ping(client, slug)
        passes_at = loop.time() + DEADLINE_SECONDS
        await _recorded(stack, slug, pinged_at)
    for name in STOPPED:
        await stack.services.stop(name)
    if loop.time() > passes_at - 1:
        raise BenchmarkError(f"worker and Temporal were not stopped within {DEADLINE_SECONDS:g} s")
    await asyncio.sleep(passes_at - loop.time())
    pinged_at = datetime.now(UTC)
    await ping(client, PINGED)
    tell("Starting Temporal and worker")
    begun = perf_counter()
    times = []
    for name in reversed(STOPPED):
        await stack.services.start_again(name)
        times.append(perf_counter() - begun)

    async def after(what: str, query: str, *values: object) -> float:
        await _true(stack, what, query, *values)
        return perf_counter() - begun

    recorded, called = await asyncio.gather(
        after("a ping taken meanwhile is recorded", _IS_RECORDED, pinged_at, PINGED),
        after("a deadline that passed meanwhile is called", _IS_DOWN, CALLED),
    )
    return Restart(times[0], times[1], recorded, called)


async def _lags(stack: Stack, client: httpx.AsyncClient, slugs: Sequence[str]) -> list[float]:
    """Pings one after the other; ascending."""
    lags = []
    for slug in slugs:
        pinged_at, begun = datetime.now(UTC), perf_counter()
        await ping(client, slug)
        await _recorded(stack, slug, pinged_at)
        lags.append(perf_counter() - begun)
    return sorted(lags)


async def _recorded(stack: Stack, slug: str, pinged_at: datetime) -> None:
    await _true(stack, f"a ping of {slug} is recorded", _IS_RECORDED, pinged_at, slug)


async def _true(stack: Stack, what: str, query: str, *values: object) -> None:
    async def look() -> bool:
        return await stack.rows(query, *values) == [(True,)]

    await until(what, look, timeout_seconds=PATIENCE_SECONDS, every_seconds=LOOK_SECONDS)
