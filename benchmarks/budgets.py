"""Pings of a workflow with a budget, beside those of a flexible and of a strict one."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from benchmarks.figures import Aim, Extent, Rounds, Sheet
from benchmarks.pings import ANSWER_COLUMNS, BARE, Tell, answer_cells
from benchmarks.stack import Stack

CONNECTIONS: Final = (1, 16)
MANY: Final = 50
"""Instances of one workflow, which share its budget."""

BUDGET: Final = {
    "budget_limit_usd": 1_000_000,
    "budget_daily_limit_usd": 1_000_000,
    "budget_alert_threshold_usd": 900_000,
    "budget_action": "pause",
}
"""Nobody comes near it: what is measured is the looking."""

KINDS: Final = ("flexible", "strict", "budgeted")

# A name is in no order, so that a strict workflow takes it any number of times.
_BODY: Final = json.dumps({"stagePath": "work", "agent": "bench", "cost_usd": "0.000001"})


@dataclass
class Kind:
    """What was found of pings to one instance, and to many of one workflow, at one number of connections."""

    one: Rounds = field(default_factory=Rounds)
    many: Rounds = field(default_factory=Rounds)


@dataclass
class Way:
    connections: int
    bare: Rounds = field(default_factory=Rounds)
    kinds: dict[str, Kind] = field(default_factory=lambda: {name: Kind() for name in KINDS})


@dataclass(frozen=True)
class BudgetFigures:
    ways: Sequence[Way]

    def sheets(self) -> list[Sheet]:
        rows = []
        for way in self.ways:
            bare, connections = way.bare.per_second, str(way.connections)
            rows.append(["bare route", connections, *answer_cells(way.bare, bare)])
            for name, kind in way.kinds.items():
                rows.append([f"{name}, one instance", connections, *answer_cells(kind.one, bare)])
                rows.append([f"{name}, {MANY} instances of one workflow", connections, *answer_cells(kind.many, bare)])
        first = self.ways[0].bare.answers
        length = f"{len(self.ways[0].kinds['strict'].one.answers)} rounds of {first[0].seconds:.1f} s"
        return [Sheet(f"Answers to pings that say what they cost, {length}", ANSWER_COLUMNS, rows)]

    def aims(self) -> list[Aim]:
        """No more is promised of it than that it is nothing to be afraid of."""
        found = []
        for way in self.ways:
            strict, budgeted = (way.kinds[name].one.per_second for name in ("strict", "budgeted"))
            share = budgeted / strict
            found.append(
                Aim(f"pings/s beside a strict workflow, {way.connections} conn.", "≥ 0.5", f"{share:.2f}", share >= 0.5)
            )
        return found


async def measure(stack: Stack, extent: Extent, tell: Tell) -> BudgetFigures:
    tell("opening instances")
    paths = {name: await _open(stack, name) for name in KINDS}
    await stack.drained()
    await stack.services.quiet()
    ways = []
    for connections in CONNECTIONS:
        ways.append(way := Way(connections))
        for number in range(extent.rounds):
            tell(f"{connections} connections, round {number + 1} of {extent.rounds}")
            for name, kind in way.kinds.items():
                # Each kind between two looks at the bare route, so that what the machine does besides strikes all.
                await _load(stack, way.bare, BARE, connections, extent.seconds, body=None)
                await _load(stack, kind.one, paths[name][:1], connections, extent.seconds, body=_BODY)
                await _load(stack, kind.many, paths[name], connections, extent.seconds, body=_BODY)
        await _load(stack, way.bare, BARE, connections, extent.seconds, body=None)
    return BudgetFigures(ways)


async def _load(
    stack: Stack, rounds: Rounds, paths: list[str], connections: int, seconds: float, *, body: str | None
) -> None:
    rounds.answers.append(await stack.load(paths, connections=connections, seconds=seconds, body=body))
    await stack.drained()
    await stack.services.quiet()


async def _open(stack: Stack, name: str) -> list[str]:
    """Paths of pings to each of MANY instances of one workflow."""
    async with stack.client() as client:
        definition = {"kind": "dynamic", "id": name, "name": name}
        if name == "strict":
            definition["validation_mode"] = "strict"
        (await client.post("/api/workflows", json=definition)).raise_for_status()
        if name == "budgeted":
            (await client.put(f"/api/workflows/{name}/budget", json=BUDGET)).raise_for_status()
        opened = []
        for _ in range(MANY):
            answer = await client.post(f"/dhk/{name}?start=yes", json={"stagePath": "1", "agent": "bench"})
            opened.append(answer.raise_for_status().json()["instance_id"])
    return [f"/dhk/{name}?instance_id={instance_id}&key={{key}}" for instance_id in opened]
