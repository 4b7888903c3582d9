"""Pings of the stages of workflow instances."""

from dataclasses import dataclass

from benchmarks.figures import Aim, Extent, Rounds, Sheet
from benchmarks.pings import Pings, Tell, Way, answer_cells, delivery_cells, measure_pings, measure_ways, ping_sheets
from benchmarks.stack import Stack

SIXTEEN = Way(16)
WAYS = (SIXTEEN, Way(64))
STAGES = 20
"""Of each instance that is pinged."""

STEADY_PINGS_PER_SECOND = 100


@dataclass(frozen=True)
class InstanceFigures:
    """`instances` is how many the many are, `steady` are pings to them at a rate that leaves the machine room."""

    instances: int
    pings: list[Pings]
    steady: Rounds

    def sheets(self) -> list[Sheet]:
        answers, deliveries = ping_sheets("instances", self.pings, "one instance", self._many)
        steady = [f"{self.instances:,}, {STEADY_PINGS_PER_SECOND} pings/s", str(SIXTEEN)]
        answers.rows.append([*steady, *answer_cells(self.steady, None)])
        deliveries.rows.append([*steady, *delivery_cells(self.steady)])
        return [answers, deliveries]

    def aims(self) -> list[Aim]:
        found = []
        for pings in self.pings:
            for name, rounds in (("one instance", pings.hot), (self._many, pings.many)):
                ratio = rounds.per_second / pings.bare.per_second
                found.append(Aim(f"share of bare, {name}, {pings.way} conn.", "≥ 0.7", f"{ratio:.2f}", ratio >= 0.7))
        sixteen = next(pings for pings in self.pings if pings.way == SIXTEEN)
        for name, rounds in (("one instance", sixteen.hot), (self._many, sixteen.many)):
            p99 = rounds.latency(99)
            found.append(Aim(f"p99 of a ping, {name}, 16 conn.", "< 25 ms", f"{p99:.1f} ms", p99 < 25))
        signals = max(pings.hot.signals_per_second for pings in self.pings)
        found.append(Aim("signals a second to one instance", "≤ 1", f"{signals:.2f}", signals <= 1.0))
        lags = {f"one instance, {pings.way} conn.": pings.hot.lag(99) for pings in self.pings}
        lags |= {f"{self._many}, {pings.way} conn.": pings.many.lag(99) for pings in self.pings}
        lags[f"{self._many}, steady"] = self.steady.lag(99)
        found += [Aim(f"p99 of the lag, {where}", "< 2 s", f"{lag:.2f} s", lag < 2) for where, lag in lags.items()]
        return found

    @property
    def _many(self) -> str:
        return f"{self.instances:,} instances"


async def measure(stack: Stack, extent: Extent, tell: Tell) -> InstanceFigures:
    tell(f"Opening {extent.many} instances")
    hot = pings_to(await open_instances(stack, "hot", 1))
    many = pings_to(await open_instances(stack, "many", extent.many))
    pings = await measure_ways(stack, WAYS[: extent.ways], hot, many, extent.rounds, extent.seconds, tell)
    tell(f"{STEADY_PINGS_PER_SECOND} pings a second")
    steady = Rounds()
    await measure_pings(stack, steady, many, SIXTEEN, 2 * extent.seconds, rate=STEADY_PINGS_PER_SECOND)
    return InstanceFigures(extent.many, pings, steady)


async def open_instances(stack: Stack, name: str, count: int) -> list[str]:
    """Opens an instance of each of `count` dynamic workflows; returns the ids of the workflows."""
    workflows = [f"{name}_{number}" for number in range(count)]
    await stack.ask_each(
        [f"/dhk/{workflow}?stagePath=1&start=yes&key={{key}}" for workflow in workflows], connections=8
    )
    await stack.drained()
    return workflows


def pings_to(workflows: list[str]) -> list[str]:
    """A ping of one stage of each workflow in turn; the stages of a single one in turn."""
    rounds = max(1, STAGES // len(workflows))
    return [
        f"/dhk/{workflow}?stagePath=2.{1 + (number + turn) % STAGES}&key={{key}}"
        for turn in range(rounds)
        for number, workflow in enumerate(workflows)
    ]
