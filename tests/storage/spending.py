"""Workflows with a budget, and runs that spend of it, as their Temporal workflow records them."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import func, select

from activities.instances import InstanceActivities, InstanceQuestion, Recording
from domain.breaker import Trip
from domain.budgets import Action, Budget
from domain.evaluation import change_between, evaluate
from domain.pings import Outcome
from domain.verdicts import Verdict, judge_all
from storage.base import Sessions, transaction
from storage.budgets import BudgetRow, set_budget
from storage.cost_alerts import list_cost_alerts
from storage.costs import InstanceCost, WorkflowDayCost
from storage.instances import Instance
from storage.pings import Ping
from storage.rows import Journaled, NewPing
from storage.workflows import Workflow
from tests.storage.conftest import Caller, define
from tests.storage.test_costs import costing

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)


DAY = NOON.date()


PAUSE: dict[str, Any] = {"action": Action.PAUSE}


async def budgeted(sessions: Sessions, account: str, *, now: datetime = NOON, **rules: Any) -> Caller:
    """A workflow with a budget; amounts as text."""
    caller = await define(sessions, account)
    await change_budget(caller, now=now, **rules)
    return caller


async def change_budget(caller: Caller, *, now: datetime = NOON, **rules: Any) -> BudgetRow:
    money: dict[str, Any] = {name: Decimal(value) if name.endswith("_usd") else value for name, value in rules.items()}
    async with transaction(caller.sessions) as session:
        workflow = await session.get_one(Workflow, caller.workflow_id)
        return await set_budget(session, workflow, Budget(**money), now)


async def budget_row(caller: Caller) -> BudgetRow:
    async with caller.sessions() as session:
        return await session.get_one(BudgetRow, caller.workflow_id)


def spend(caller: Caller, cost: str | None, path: str = "1", *, at: datetime = NOON, **values: Any) -> NewPing:
    """A ping that costs so much; None is unpriced."""
    day = values.pop("day", at.date())
    return costing(caller.ping(path, at=at, agent="ada", **values), cost, day)


async def open_one(caller: Caller, cost: str | None = "0", *, at: datetime = NOON, **values: Any) -> Journaled:
    (opened,) = await caller.keep(spend(caller, cost, start=True, at=at, **values), now=at)
    return opened


async def take_in(
    caller: Caller,
    instance_id: str | None,
    pings: Sequence[Journaled],
    *,
    now: datetime = NOON,
    between: Callable[[], Any] | None = None,
) -> list[Verdict]:
    """As the instance's workflow does it: load, judge, record, and judge again as long as Postgres says so."""
    assert instance_id is not None
    activities = InstanceActivities(caller.sessions, lambda: now)
    trip: Trip | None = None
    for _ in range(5):
        snapshot = await activities.load_instance(InstanceQuestion(instance_id))
        assert snapshot is not None
        before = evaluate(snapshot.state) if snapshot.version else None
        judgement = judge_all(snapshot.state, [item.facts[-1] for item in pings], trip)
        change = change_between(instance_id, snapshot.version + 1, before, evaluate(judgement.state))
        if between is not None:
            await between()
        recorded = await activities.record(Recording(change, judgement.verdicts, judgement.counts, trip))
        assert not recorded.is_stale
        if not recorded.must_judge_again:
            reports = recorded.reports
            return [replace(item, budget=reports.get(item.ping_id)) for item in judgement.verdicts]
        trip = recorded.trip
    raise AssertionError("it is judged again and again")


async def spend_all(caller: Caller, instance_id: str | None, *costs: str | None, at: datetime = NOON) -> list[str]:
    """Pings of one instance at once: `accepted`, or why not."""
    pings = await caller.keep(*(spend(caller, cost, instance_id=instance_id, at=at) for cost in costs), now=at)
    return [item.code or "accepted" for item in await take_in(caller, instance_id, pings, now=at)]


async def run_of(caller: Caller, *costs: str | None, at: datetime = NOON) -> tuple[str, list[str]]:
    """A new instance whose first ping costs nothing."""
    opened = await open_one(caller, at=at)
    assert opened.instance_id is not None
    (first,) = await take_in(caller, opened.instance_id, [opened], now=at)
    assert first.accepted
    return opened.instance_id, await spend_all(caller, opened.instance_id, *costs, at=at) if costs else []


async def crossings(caller: Caller) -> list[tuple[str, str, Decimal, str]]:
    async with caller.sessions() as session:
        rows = await list_cost_alerts(session, caller.workflow_id, NOON - timedelta(days=999), limit=100)
        return [(row.alert_type, row.key, row.current_cost_usd, row.action_taken) for row in reversed(rows)]


async def instance_of(caller: Caller, instance_id: str) -> Instance:
    async with caller.sessions() as session:
        return await session.get_one(Instance, instance_id)


async def sums(caller: Caller) -> tuple[Decimal, Decimal, Decimal]:
    """What the workflow has cost by its own sums, by those of its instances, and by the journal."""
    accepted = (Ping.workflow_id == caller.workflow_id, Ping.outcome == Outcome.ACCEPTED)
    queries = (
        select(func.sum(WorkflowDayCost.cost_usd)).where(WorkflowDayCost.workflow_id == caller.workflow_id),
        select(func.sum(InstanceCost.cost_usd)).where(InstanceCost.workflow_id == caller.workflow_id),
        select(func.sum(Ping.cost_usd)).where(*accepted),
    )
    async with caller.sessions() as session:
        one, two, three = [Decimal(await session.scalar(query) or 0) for query in queries]
        return one, two, three
