"""The parts of the benchmark. Each is measured on a stack of its own, so that none pays for what another left."""

from collections.abc import Awaitable, Callable

from benchmarks import approvals, budgets, costs, due, instances, many, pages, pulses, storm, travel, trees
from benchmarks.figures import Extent, Findings
from benchmarks.pings import Tell
from benchmarks.stack import Stack, running_stack

PARTS: dict[str, Callable[[Stack, Extent, Tell], Awaitable[Findings]]] = {
    "instances": instances.measure,
    "trees": trees.measure,
    "pulses": pulses.measure,
    "due": due.measure,
    "storm": storm.measure,
    "many": many.measure,
    "approvals": approvals.measure,
    "costs": costs.measure,
    "budgets": budgets.measure,
    "travel": travel.measure,
    "pages": pages.measure,
}


async def measure(part: str, extent: Extent, tell: Tell) -> Findings:
    """Raises BenchmarkError."""
    tell(f"{part}: starting")
    async with running_stack() as stack:
        return await PARTS[part](stack, extent, lambda text: tell(f"{part}: {text}"))
