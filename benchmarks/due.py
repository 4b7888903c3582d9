"""How long it takes from the moment in which a target is down until somebody is told."""

import asyncio
from dataclasses import dataclass

from benchmarks.figures import Aim, Extent, Sheet
from benchmarks.load import percentile
from benchmarks.pings import Tell
from benchmarks.receiver import DOWN, receiving
from benchmarks.stack import Stack
from benchmarks.targets import create_target, create_webhook, ping
from benchmarks.waiting import BenchmarkError

PERIOD_SECONDS, GRACE_SECONDS = 4.0, 1.0
SPREAD_SECONDS = 0.37
"""From one target to the next, so that no two are down in the same moment."""

PATIENCE_SECONDS = 30.0
AIM_SECONDS = 0.5

WRITTEN = "SELECT extract(epoch FROM created_at - at)::float8 FROM alerts WHERE kind = %s ORDER BY 1"
"""Seconds from the moment in which each went down to its alert."""


@dataclass(frozen=True)
class DueFigures:
    """`written` and `received`: seconds, ascending, from being down to the alert in Postgres and at the receiver."""

    targets: int
    written: list[float]
    received: list[float]

    def sheets(self) -> list[Sheet]:
        rows = [
            [name, *(f"{percentile(delays, percent):.3f}" for percent in (50, 99)), f"{max(delays):.3f}"]
            for name, delays in (("alert written", self.written), ("alert received", self.received))
        ]
        columns = ("seconds after being down", "p50", "p99", "most")
        return [Sheet(f"From due to received, {self.targets} targets", columns, rows)]

    def aims(self) -> list[Aim]:
        p50 = percentile(self.received, 50)
        return [
            Aim("median from due to received", f"< {AIM_SECONDS} s", f"{p50:.2f} s", p50 < AIM_SECONDS),
        ]


async def measure(stack: Stack, extent: Extent, tell: Tell) -> DueFigures:
    tell(f"{extent.due} targets, one after the other")
    slugs = [f"due-{number}" for number in range(extent.due)]
    async with receiving() as receiver, stack.client() as client:
        for slug in slugs:
            # Of its own: the channel of an alert that was told just now waits for more to tell together.
            channel = await create_webhook(client, slug, receiver.url)
            rules = {"period_seconds": PERIOD_SECONDS, "grace_seconds": GRACE_SECONDS, "channels": [channel]}
            await create_target(client, slug, **rules)
        await stack.services.quiet()
        for slug in slugs:
            await ping(client, slug)
            await asyncio.sleep(SPREAD_SECONDS)
        tell(f"Waiting for {extent.due} targets to be down")
        if not await receiver.has_heard_of(extent.due, PERIOD_SECONDS + GRACE_SECONDS + PATIENCE_SECONDS):
            raise BenchmarkError(f"only {len(receiver.delays)} of {extent.due} targets that are down were told of")
    written = [row[0] for row in await stack.rows(WRITTEN, DOWN)]
    return DueFigures(extent.due, written, sorted(receiver.delays.values()))
