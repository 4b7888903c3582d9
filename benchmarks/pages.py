"""The dashboard's pages over a long history: how long the gateway takes to make them."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Final

import httpx

from benchmarks.asking import Caller, calling
from benchmarks.figures import Aim, Extent, Sheet
from benchmarks.load import percentile
from benchmarks.pings import Tell
from benchmarks.stack import Stack
from benchmarks.waiting import BenchmarkError

CALLERS: Final = 16
ASKED: Final = 30
PULSES: Final = 200
WANTED_MS: Final = 150

_ROW: Final = "/bare/nobody"

_WORKFLOWS: Final = """
INSERT INTO workflows (
    id, account_id, kind, name, slug, validation_mode, stages, grace_period_seconds, created_at, updated_at
)
SELECT 'history_' || number, accounts.id, 'dynamic', 'History ' || number, 'history-' || number, 'flexible', '[]', 0,
    now() - interval '90 days', now()
FROM accounts, generate_series(0, 9) AS number
"""

# Every ninth has failed. All but a tenth are of one workflow.
_INSTANCES: Final = """
INSERT INTO instances (
    id, workflow_id, account_id, status, opened_at, completed_at, closes_at, first_stage_seen, failure_reason,
    definition, version
)
SELECT 'd' || lpad(number::text, 8, '0'),
    'history_' || CASE WHEN number %% 10 = 0 THEN number / 10 %% 9 + 1 ELSE 0 END, accounts.id,
    CASE WHEN number %% 9 = 0 THEN 'failed' ELSE 'completed' END, at, at + interval '40 seconds' * (1 + number %% 7),
    at + interval '1 hour', true, CASE WHEN number %% 9 = 0 THEN 'Stage 2 failed: no answer' END, '{}', 1
FROM accounts, generate_series(0, %s - 1) AS number,
    LATERAL (SELECT now() - interval '2 hours' - number * interval '12 minutes' AS at) AS times
"""


@dataclass(frozen=True)
class PageFigures:
    """`times` in milliseconds, ascending, by the page; `row` of one row by its key."""

    instances: int
    stages: int
    row: list[float]
    times: dict[str, list[float]]
    kilobytes: dict[str, float]

    def sheets(self) -> list[Sheet]:
        title = f"Pages with {self.instances:,} instances, and a run of {self.stages:,} stages"
        rows = [_cells("one row by its key", self.row, self.row, None)]
        rows += [_cells(name, times, self.row, self.kilobytes[name]) for name, times in self.times.items()]
        return [Sheet(title, ("", "p50 ms", "p90 ms", "slowest ms", "of the row", "kB"), rows)]

    def aims(self) -> list[Aim]:
        name, slowest = max(
            ((name, percentile(times, 90)) for name, times in self.times.items()), key=lambda one: one[1]
        )
        return [Aim(f"p90 of the slowest page, {name}", f"< {WANTED_MS} ms", f"{slowest:.0f} ms", slowest < WANTED_MS)]


def _cells(name: str, times: list[float], row: list[float], kilobytes: float | None) -> list[str]:
    middle = percentile(times, 50)
    latencies = (middle, percentile(times, 90), times[-1])
    of_row = f"{middle / percentile(row, 50):.1f}"
    return [name, *(f"{value:.1f}" for value in latencies), of_row, "" if kilobytes is None else f"{kilobytes:.0f}"]


async def measure(stack: Stack, extent: Extent, tell: Tell) -> PageFigures:
    tell(f"{extent.shown:,} instances")
    await stack.database.execute(_WORKFLOWS)
    await stack.database.execute(_INSTANCES, (extent.shown,))
    async with AsyncExitStack() as opened:
        callers = [await opened.enter_async_context(calling(stack.port, stack.key)) for _ in range(CALLERS)]
        tell(f"a run of {extent.stages:,} stages")
        long = await _long_run(callers, extent.stages)
        for number in range(PULSES):
            await callers[0].ask("GET", f"/hbk/pulse_{number}?create=1&period=604800")
        await stack.drained()
        await stack.services.quiet()
        await stack.database.execute("VACUUM ANALYZE")
        browser = await opened.enter_async_context(_logged_in(stack))
        times: dict[str, list[float]] = {}
        kilobytes: dict[str, float] = {}
        row: list[float] = []
        for name, path in _pages(long, extent.stages).items():
            tell(name)
            times[name], beside, kilobytes[name] = await _times(browser, callers[0], path)
            row += beside
    return PageFigures(extent.shown, extent.stages, sorted(row), times, kilobytes)


def _pages(long: str, stages: int) -> Mapping[str, str]:
    return {
        "overview": "/",
        "workflows": "/workflows",
        "a workflow of 9 in 10 instances": "/workflows/history_0",
        "the long run": f"/instances/{long}",
        "the long run after half of its steps": f"/instances/{long}?step={stages // 2}",
        f"{PULSES} pulses": "/pulses",
        "costs": "/costs",
        "alerts": "/alerts",
        "search by the start of an id": "/search?q=d0000012",
        "search by a name": "/search?q=history",
    }


async def _long_run(callers: list[Caller], stages: int) -> str:
    """Twenty branches, by seven agents. Its id."""
    start = await callers[0].ask("POST", "/dhk/long?start=yes", {"stagePath": "1", "agent": "agent-0"})
    long = str(start.content["instance_id"])
    paths = iter([f"{1 + number % 20}.{1 + number // 20}" for number in range(1, stages)])

    async def report(caller: Caller) -> None:
        for path in paths:
            body = {"stagePath": path, "agent": f"agent-{len(path) % 7}", "instance_id": long, "cost_usd": "0.001"}
            await caller.ask("POST", "/dhk/long", body)

    await asyncio.gather(*map(report, callers))
    return long


@asynccontextmanager
async def _logged_in(stack: Stack) -> AsyncIterator[httpx.AsyncClient]:
    """A browser, as far as the gateway can tell."""
    async with httpx.AsyncClient(
        base_url=f"http://127.0.0.1:{stack.port}", headers={"Accept": "text/html"}, timeout=60, trust_env=False
    ) as browser:
        answer = await browser.post("/api/login", json={"email": stack.first.email, "password": stack.first.password})
        if answer.status_code != 200:
            raise BenchmarkError(f"the login was answered with {answer.status_code}: {answer.text[:200]}")
        yield browser


async def _times(browser: httpx.AsyncClient, caller: Caller, path: str) -> tuple[list[float], list[float], float]:
    """Milliseconds, ascending, of the page and of the row that is asked for between; and the page's size. The first
    answer is not counted."""
    times, row = [], []
    size = 0
    for _ in range(ASKED + 1):
        row.append(1000 * (await caller.ask("GET", _ROW)).seconds)
        begun = perf_counter()
        answer = await browser.get(path)
        times.append(1000 * (perf_counter() - begun))
        if answer.status_code != 200:
            raise BenchmarkError(f"{path} was answered with {answer.status_code}: {answer.text[:200]}")
        size = len(answer.content)
    return sorted(times[1:]), sorted(row[1:]), size / 1000
