"""Time travel: the timeline of a long run page by page, and two runs side by side."""

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import cycle
from typing import Any, Final

from benchmarks.asking import Caller, calling
from benchmarks.figures import Aim, Extent, Sheet
from benchmarks.load import percentile
from benchmarks.pings import Tell
from benchmarks.stack import Stack

PAGES: Final = (100, 1_000)
STAGES: Final = 500
"""Of the long run, each pinged several times."""

CALLERS: Final = 16
PAGED: Final = 100
COMPARED_TIMES: Final = 5
DIFFERENT_EVERY, MISSING_EVERY = 10, 40
WANTED_PAGE_MS: Final = 100
WANTED_COMPARISON_MS: Final = 2_000

_ROW: Final = "/bare/nobody"


@dataclass(frozen=True)
class TravelFigures:
    """`times` in milliseconds, ascending: of one row by its key, of pages by their length, of the tree after a step,
    and of comparisons."""

    steps: int
    compared: int
    row: list[float]
    pages: dict[int, list[float]]
    moments: list[float]
    comparisons: list[float]

    def sheets(self) -> list[Sheet]:
        named = {f"a page of {length:,} steps": times for length, times in self.pages.items()}
        named["the tree after a step"] = self.moments
        rows = [_cells(name, times, self.row) for name, times in {"one row by its key": self.row, **named}.items()]
        columns = ("", "p50 ms", "p99 ms", "slowest ms", "of the row")
        compared = [_cells("both read, aligned, compared and kept", self.comparisons, self.row)]
        return [
            Sheet(f"Timeline of a run of {self.steps:,} steps", columns, rows),
            Sheet(f"Two runs of {self.compared:,} steps compared", columns, compared),
        ]

    def aims(self) -> list[Aim]:
        found = []
        for length, times in self.pages.items():
            p99 = percentile(times, 99)
            wanted = f"< {WANTED_PAGE_MS} ms"
            found.append(Aim(f"p99 of a page of {length:,} steps", wanted, f"{p99:.1f} ms", p99 < WANTED_PAGE_MS))
        slowest = self.comparisons[-1]
        wanted = f"< {WANTED_COMPARISON_MS / 1000:g} s"
        name = f"slowest comparison, {self.compared:,} steps each"
        return [*found, Aim(name, wanted, f"{slowest / 1000:.2f} s", slowest < WANTED_COMPARISON_MS)]


def _cells(name: str, times: list[float], row: list[float]) -> list[str]:
    latencies = [percentile(times, 50), percentile(times, 99), times[-1]]
    return [name, *(f"{value:.1f}" for value in latencies), f"{latencies[0] / percentile(row, 50):.1f}"]


async def measure(stack: Stack, extent: Extent, tell: Tell) -> TravelFigures:
    async with AsyncExitStack() as connections:
        callers = [await connections.enter_async_context(calling(stack.port, stack.key)) for _ in range(CALLERS)]
        caller = callers[0]
        tell(f"a run of {extent.steps:,} steps")
        long = await _open(caller, "long")
        steps = iter(_step(number, f"2.{number % STAGES + 1}") for number in range(1, extent.steps))
        await asyncio.gather(*(_report(each, "long", long, steps) for each in callers))
        tell(f"two runs of {extent.compared:,} steps")
        runs = [await _open(caller, name) for name in ("compared_a", "compared_b")]
        # One after the other, so that their steps are in order.
        await asyncio.gather(
            _report(callers[0], "compared_a", runs[0], iter(_ours(extent.compared))),
            _report(callers[1], "compared_b", runs[1], iter(_theirs(extent.compared))),
        )
        await stack.drained()
        await stack.services.quiet()

        row: list[float] = []
        pages: dict[int, list[float]] = {}
        timeline = f"/api/instances/{long}/timeline"
        for length in PAGES:
            tell(f"pages of {length:,} steps")
            asked = cycle([f"{timeline}?from={start}&limit={length}" for start in range(0, extent.steps, length)])
            pages[length], beside = await _times(caller, asked)
            row += beside
        tell("the tree after a step")
        # The whole journal up to there is folded, so that the last ones take longest.
        last = cycle([f"{timeline}?at_step={extent.steps - 1 - back}" for back in range(10)])
        moments, beside = await _times(caller, last, PAGED // 5)
        tell("comparing")
        body = {"instance_a": runs[0], "instance_b": runs[1]}
        comparisons = [
            1000 * (await caller.ask("POST", "/api/instances/compare", body)).seconds for _ in range(COMPARED_TIMES)
        ]
        return TravelFigures(extent.steps, extent.compared, sorted(row + beside), pages, moments, sorted(comparisons))


async def _times(caller: Caller, paths: Iterator[str], count: int = PAGED) -> tuple[list[float], list[float]]:
    """Milliseconds, ascending, of so many answers, and of as many of the row that is asked for between them."""
    times, row = [], []
    await caller.ask("GET", next(paths))
    for _ in range(count):
        row.append(1000 * (await caller.ask("GET", _ROW)).seconds)
        times.append(1000 * (await caller.ask("GET", next(paths))).seconds)
    return sorted(times), sorted(row)


async def _open(caller: Caller, workflow: str) -> str:
    answer = await caller.ask("POST", f"/dhk/{workflow}?start=yes", _step(0, "1"))
    return str(answer.content["instance_id"])


async def _report(caller: Caller, workflow: str, instance_id: str, steps: Iterator[Mapping[str, Any]]) -> None:
    """Several callers may share `steps`."""
    for step in steps:
        await caller.ask("POST", f"/dhk/{workflow}", {**step, "instance_id": instance_id})


def _ours(count: int) -> Iterator[Mapping[str, Any]]:
    for number in range(1, count):
        yield _step(number, f"2.{number}")


def _theirs(count: int) -> Iterator[Mapping[str, Any]]:
    """The same with other answers here and there, and other stages in the place of some."""
    for number in range(1, count):
        path = f"3.{number}" if number % MISSING_EVERY == 0 else f"2.{number}"
        yield _step(number, path, other=number % DIFFERENT_EVERY == 0)


def _step(number: int, path: str, *, other: bool = False) -> dict[str, Any]:
    """As an agent reports one: a prompt, an answer, tokens and what they cost."""
    return {
        "stagePath": path,
        "agent": f"agent-{number % 7}",
        "model_id": "gpt-4o",
        "usage": {"input_tokens": 1200 + number, "output_tokens": 300},
        "cost_usd": "0.0031",
        "duration_ms": 900 + number % 100,
        "prompt": f"Summarise document {number} in three sentences, and say what is missing.",
        "answer": {"text": "It says little, and that at length. " * 5, "score": number % (7 if other else 11)},
        "tool_calls": [{"name": "search", "arguments": {"query": f"document {number}"}}],
    }
