"""Who asks for what, and in which order."""

import asyncio
from collections.abc import Callable
from time import perf_counter

from benchmarks.figures import Delivery, Figures, Pings, Rounds
from benchmarks.load import Answers, Load
from benchmarks.stack import Stack, running_stack

BARE = ["/bare"]
CONNECTIONS = (16, 64)
STAGES = 20
"""Of each instance that is pinged."""

STEADY_PINGS_PER_SECOND = 100
LIGHT_PINGS_PER_SECOND = 50
TREES_PER_SECOND = 20
TREE_SECONDS = 4.0

Tell = Callable[[str], None]


async def measure(rounds: int, seconds: float, instances: int, tell: Tell) -> Figures:
    """Runs everything on a stack of its own; `seconds` is the length of each measurement."""
    async with running_stack() as stack:
        tell(f"Opening {instances} instances")
        hot = pings_to(await open_instances(stack, "hot", 1))
        many = pings_to(await open_instances(stack, "many", instances))
        await stack.load(hot, connections=16, seconds=1)
        await stack.quiet()
        pings = []
        for connections in CONNECTIONS:
            pings.append(found := Pings(connections))
            for number in range(rounds):
                tell(f"{connections} connections, round {number + 1} of {rounds}")
                await _round(stack, found, hot, many, seconds)
            found.bare.answers.append(await stack.load(BARE, connections=connections, seconds=seconds))
        tell(f"{STEADY_PINGS_PER_SECOND} pings a second")
        steady = Rounds()
        await _pings(stack, steady, many, connections=16, seconds=2 * seconds, rate=STEADY_PINGS_PER_SECOND)
        tell("Trees")
        return Figures(instances, pings, steady, *await _trees(stack))


async def _round(stack: Stack, found: Pings, hot: list[str], many: list[str], seconds: float) -> None:
    """Each kind of ping between two looks at the bare route, so that what the machine does besides strikes all."""
    connections = found.connections
    for rounds, paths in ((found.hot, hot), (found.many, many)):
        found.bare.answers.append(await stack.load(BARE, connections=connections, seconds=seconds))
        await _pings(stack, rounds, paths, connections=connections, seconds=seconds)


async def _pings(
    stack: Stack, rounds: Rounds, paths: list[str], *, connections: int, seconds: float, rate: float | None = None
) -> None:
    await stack.lags()
    before = await stack.metrics()
    answers = await stack.load(paths, connections=connections, seconds=seconds, rate=rate)
    ended = perf_counter()
    at_the_end = await stack.metrics()
    drain_seconds = await stack.drained()
    took = Load.warm_up_seconds + seconds + perf_counter() - ended
    after = await stack.metrics()
    signals = after["pingpulse_signals_total"] - before["pingpulse_signals_total"]
    delivered = after["pingpulse_pings_per_signal_sum"] - before["pingpulse_pings_per_signal_sum"]
    rounds.answers.append(answers)
    rounds.deliveries.append(
        Delivery(
            lags=await stack.lags(),
            signals_per_second=(signals - 1) / took,
            pings_per_signal=delivered / max(1, signals),
            backlog=int(at_the_end["pingpulse_outbox_pings"]),
            drain_seconds=drain_seconds,
        )
    )
    # What the worker has still to do would be taken for the bare route's own slowness.
    await stack.quiet()


async def _trees(stack: Stack) -> tuple[Answers, Answers]:
    """A tree of some stages, while nothing else happens and while its instance is pinged all the time."""
    (workflow,) = await open_instances(stack, "tree", 1)
    pings = pings_to([workflow])
    await stack.load(pings, connections=1, seconds=None)
    tree = [f"/dhk/{workflow}/tree?key={{key}}"]
    idle = await stack.load(tree, connections=1, seconds=TREE_SECONDS, rate=TREES_PER_SECOND)
    busy, _ = await asyncio.gather(
        stack.load(tree, connections=1, seconds=TREE_SECONDS, rate=TREES_PER_SECOND),
        stack.load(pings, connections=4, seconds=TREE_SECONDS, rate=LIGHT_PINGS_PER_SECOND),
    )
    return idle, busy


async def open_instances(stack: Stack, name: str, count: int) -> list[str]:
    """Opens an instance of each of `count` dynamic workflows; returns the ids of the workflows."""
    workflows = [f"{name}_{number}" for number in range(count)]
    paths = [f"/dhk/{workflow}?stagePath=1&start=yes&key={{key}}" for workflow in workflows]
    answers = await stack.load(paths, connections=8, seconds=None)
    assert len(answers.latencies) == count, f"{answers.failed} instances could not be opened"
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
