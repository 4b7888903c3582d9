"""Pings of pulse targets, over connections that are kept and over those that curl would make."""

from dataclasses import dataclass

from benchmarks.figures import Aim, Extent, Sheet
from benchmarks.pings import Pings, Tell, Way, measure_ways, ping_sheets
from benchmarks.stack import Stack
from benchmarks.targets import open_targets, pings_to

FRESH = Way(16, keep_alive=False)
WAYS = (FRESH, Way(16), Way(64))

TO_ONE_CHECK, TO_MANY_CHECKS = 177, 230
"""Pings a second that Healthchecks takes on such a machine, tuned."""


@dataclass(frozen=True)
class PulseFigures:
    targets: int
    pings: list[Pings]

    def sheets(self) -> list[Sheet]:
        return list(ping_sheets("pulses", self.pings, "one target", self._many))

    def aims(self) -> list[Aim]:
        fresh = next(pings for pings in self.pings if pings.way == FRESH)
        found = []
        for name, rounds, wanted in (("one target", fresh.hot, TO_ONE_CHECK), (self._many, fresh.many, TO_MANY_CHECKS)):
            rate = rounds.per_second
            found.append(Aim(f"pings/s, {name}, {FRESH} conn.", f"> {wanted}", f"{rate:,.0f}", rate > wanted))
        return found

    @property
    def _many(self) -> str:
        return f"{self.targets:,} targets"


async def measure(stack: Stack, extent: Extent, tell: Tell) -> PulseFigures:
    tell(f"Opening {extent.many} targets")
    hot = pings_to(await open_targets(stack, "hot", 1))
    many = pings_to(await open_targets(stack, "many", extent.many))
    ways = WAYS[: extent.ways]
    pings = await measure_ways(stack, ways, hot, many, extent.pulse_rounds, extent.seconds, tell)
    return PulseFigures(extent.many, pings)
