"""Reports of what a long time of pings has cost."""

from dataclasses import dataclass
from typing import Final

from benchmarks.asking import Caller, calling
from benchmarks.figures import Aim, Extent, Sheet
from benchmarks.load import percentile
from benchmarks.pings import Tell
from benchmarks.stack import Stack
from storage.cost_reads import GROUPED_BY
from storage.costs import COUNTED_COLUMNS, counted

DAYS: Final = 90
PINGS_EACH: Final = 10
WORKFLOWS: Final = 10
ASKED: Final = 30
WANTED_MS: Final = 300

_ZONE: Final = "UPDATE accounts SET time_zone = 'Europe/Berlin'"

_WORKFLOWS: Final = """
INSERT INTO workflows (
    id, account_id, kind, name, slug, validation_mode, stages, grace_period_seconds, created_at, updated_at
)
SELECT 'costly_' || number, accounts.id, 'dynamic', 'Costly ' || number, 'costly-' || number, 'flexible', '[]', 0,
    now(), now()
FROM accounts, generate_series(0, %s - 1) AS number
"""

_INSTANCES: Final = """
INSERT INTO instances (
    id, workflow_id, account_id, status, opened_at, completed_at, closes_at, first_stage_seen, definition, version
)
SELECT 'd' || lpad(number::text, 8, '0'), 'costly_' || number %% %s, accounts.id, 'completed', now(), now(), now(),
    true, '{}', 1
FROM accounts, generate_series(0, %s - 1) AS number
"""

# Every sixth ping is of a model that nobody knows.
_PINGS: Final = """
INSERT INTO pings (
    gateway_id, account_id, workflow_id, instance_id, subject, path, agent, status, start, final, received_at, model_id,
    input_tokens, output_tokens, cached_tokens, cost_usd, size_bytes, outcome, cost_source, price_version, cost_day
)
SELECT
    1, account_id, 'costly_' || number %% %s, 'd' || lpad(number::text, 8, '0'), 'instance/costly', stage::text,
    'agent-' || (number * 7 + stage) %% 40, 'healthy', stage = 1, stage = %s, at, 'model-' || kind, 1500, 500, 100,
    CASE WHEN kind < 5 THEN 0.0001 * ((number * 31 + stage * 17) %% 4000) END, 300, 'accepted',
    CASE WHEN kind < 5 THEN 'table' ELSE 'unpriced' END, 'a table', (at AT TIME ZONE 'Europe/Berlin')::date
FROM (
    SELECT accounts.id AS account_id, number, stage, (number + stage) %% 6 AS kind,
        now() - number * interval '1 day' * %s / %s - stage * interval '1 second' AS at
    FROM accounts, generate_series(0, %s - 1) AS number, generate_series(1, %s) AS stage
) AS made
"""

_SUMS: Final = f"""
WITH accepted AS (SELECT {", ".join(COUNTED_COLUMNS)} FROM pings WHERE cost_source IS NOT NULL),
{counted("accepted")}
SELECT
"""


@dataclass(frozen=True)
class CostFigures:
    """`times` in milliseconds, ascending, by what was asked for."""

    pings: int
    sums: int
    times: dict[str, list[float]]

    def sheets(self) -> list[Sheet]:
        title = f"Reports on {self.pings:,} pings of {DAYS} days, kept in {self.sums:,} sums"
        rows = [
            [name, f"{percentile(times, 50):.0f}", f"{percentile(times, 90):.0f}", f"{times[-1]:.0f}"]
            for name, times in self.times.items()
        ]
        return [Sheet(title, ("", "p50 ms", "p90 ms", "slowest ms"), rows)]

    def aims(self) -> list[Aim]:
        slowest = max(percentile(times, 50) for times in self.times.values())
        return [Aim("p50 of the slowest report", f"< {WANTED_MS} ms", f"{slowest:.0f} ms", slowest < WANTED_MS)]


async def measure(stack: Stack, extent: Extent, tell: Tell) -> CostFigures:
    instances = extent.costed // PINGS_EACH
    tell(f"making {instances * PINGS_EACH:,} pings")
    await stack.database.execute(_ZONE)
    await stack.database.execute(_WORKFLOWS, (WORKFLOWS,))
    await stack.database.execute(_INSTANCES, (WORKFLOWS, instances))
    values = (WORKFLOWS, PINGS_EACH, DAYS, instances, instances, PINGS_EACH)
    await stack.database.execute(_PINGS, values)
    tell("summing them up")
    await stack.database.execute(_SUMS)
    await stack.database.execute("VACUUM ANALYZE")
    ((sums,),) = await stack.rows("SELECT count(*) FROM cost_rollups")
    ((first, last),) = await stack.rows("SELECT min(day), max(day) FROM cost_rollups")
    asked = {f"by {group}": f"/api/costs?group_by={group}&from={first}&to={last}" for group in GROUPED_BY}
    asked["of a workflow"] = f"/api/workflows/costly_3/cost?days={(last - first).days + 1}"
    asked["of an instance"] = "/api/instances/d00000003/cost"
    async with calling(stack.port, stack.key) as caller:
        times = {}
        for name, path in asked.items():
            tell(f"reports {name}")
            times[name] = await _times(caller, path)
    return CostFigures(instances * PINGS_EACH, sums, times)


async def _times(caller: Caller, path: str) -> list[float]:
    """In milliseconds, ascending. The first answer is not counted."""
    await caller.ask("GET", path)
    return sorted([1000 * (await caller.ask("GET", path)).seconds for _ in range(ASKED)])
