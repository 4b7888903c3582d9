"""Reading the tree of an instance, while nothing else happens and while it is pinged."""

import asyncio
from dataclasses import dataclass

from benchmarks.figures import Aim, Extent, Sheet
from benchmarks.instances import open_instances, pings_to
from benchmarks.load import Answers
from benchmarks.pings import Tell
from benchmarks.stack import Stack

LIGHT_PINGS_PER_SECOND = 50
TREES_PER_SECOND = 20


@dataclass(frozen=True)
class TreeFigures:
    idle: Answers
    busy: Answers

    def sheets(self) -> list[Sheet]:
        besides = f"{LIGHT_PINGS_PER_SECOND} pings/s to its instance besides"
        rows = []
        for name, answers in (("idle", self.idle), (besides, self.busy)):
            latencies = [f"{answers.percentile(percent):.1f}" for percent in (50, 99)]
            rows.append([f"{TREES_PER_SECOND} trees/s, {name}", *latencies, str(answers.failed)])
        return [Sheet("Trees", ("", "p50 ms", "p99 ms", "not 200"), rows)]

    def aims(self) -> list[Aim]:
        found = []
        for name, answers in (("idle", self.idle), ("under light load", self.busy)):
            p50 = answers.percentile(50)
            found.append(Aim(f"p50 of a tree, {name}", "< 20 ms", f"{p50:.1f} ms", p50 < 20))
        return found


async def measure(stack: Stack, extent: Extent, tell: Tell) -> TreeFigures:
    tell("Trees")
    (workflow,) = await open_instances(stack, "tree", 1)
    pings = pings_to([workflow])
    await stack.ask_each(pings, connections=1)
    seconds = 1.6 * extent.seconds
    tree = [f"/dhk/{workflow}/tree?key={{key}}"]
    idle = await stack.load(tree, connections=1, seconds=seconds, rate=TREES_PER_SECOND)
    busy, _ = await asyncio.gather(
        stack.load(tree, connections=1, seconds=seconds, rate=TREES_PER_SECOND),
        stack.load(pings, connections=4, seconds=seconds, rate=LIGHT_PINGS_PER_SECOND),
    )
    return TreeFigures(idle, busy)
