"""Budgets on real Postgres: what they count, when a day ends and its stop with it, and what a run typically costs."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
from alembic import command
from sqlalchemy import func, select, update

from activities.instances import InstanceActivities, InstanceQuestion
from cli.postgres import EmbeddedPostgres
from config.clock import utc_now
from domain.budgets import Action
from domain.costs import day_of, end_of
from domain.forks import Origin
from domain.pings import Outcome
from domain.verdicts import judge_all
from storage.accounts import Account
from storage.base import Sessions, transaction
from storage.breaker import assess_pings, open_ledger
from storage.costs import InstanceCost, WorkflowDayCost
from storage.instances import Instance
from storage.migrate import _config, upgrade
from storage.pings import Ping
from storage.rows import Journaled
from tests.conftest import copy_database
from tests.storage.conftest import Caller, define
from tests.storage.spending import (
    DAY,
    NOON,
    PAUSE,
    budget_row,
    budgeted,
    change_budget,
    crossings,
    open_one,
    run_of,
    spend,
    spend_all,
    take_in,
)
from tests.storage.test_costs import costing

ZONES = [
    # Five hours and three quarters before everybody else.
    ("Asia/Kathmandu", "2026-03-10T18:14:59Z", "2026-03-10", "2026-03-10T18:15:00Z"),
    ("Asia/Kathmandu", "2026-03-10T18:15:00Z", "2026-03-11", "2026-03-11T18:15:00Z"),
    # Days of 23 and of 25 hours.
    ("Europe/Berlin", "2026-03-29T12:00:00Z", "2026-03-29", "2026-03-29T22:00:00Z"),
    ("Europe/Berlin", "2026-03-28T23:00:00Z", "2026-03-29", "2026-03-29T22:00:00Z"),
    ("Europe/Berlin", "2026-10-25T22:59:59Z", "2026-10-25", "2026-10-25T23:00:00Z"),
    ("America/New_York", "2026-11-01T04:30:00Z", "2026-11-01", "2026-11-02T05:00:00Z"),
    # The night in which there is no midnight, and the one with two.
    ("Africa/Cairo", "2026-04-23T12:00:00Z", "2026-04-23", "2026-04-23T22:00:00Z"),
    ("America/Havana", "2026-10-31T12:00:00Z", "2026-10-31", "2026-11-01T04:00:00Z"),
    ("Pacific/Kiritimati", "2026-03-10T09:59:59Z", "2026-03-10", "2026-03-10T10:00:00Z"),
    ("UTC", "2026-12-31T23:59:59Z", "2026-12-31", "2027-01-01T00:00:00Z"),
]


@pytest.mark.parametrize(("zone", "at", "day", "until"), ZONES)
def test_when_a_day_ends(zone: str, at: str, day: str, until: str) -> None:
    moment, end = datetime.fromisoformat(at), datetime.fromisoformat(until)
    assert day_of(moment, ZoneInfo(zone)) == date.fromisoformat(day)
    assert end_of(date.fromisoformat(day), ZoneInfo(zone)).astimezone(UTC) == end
    assert day_of(end, ZoneInfo(zone)) > date.fromisoformat(day)
    assert day_of(end - timedelta(microseconds=1), ZoneInfo(zone)) == date.fromisoformat(day)


@pytest.mark.parametrize(("zone", "at", "day", "until"), [ZONES[0], ZONES[2], ZONES[5]])
async def test_a_day_is_one_of_the_accounts_time_zone(
    sessions: Sessions, account: str, zone: str, at: str, day: str, until: str
) -> None:
    async with transaction(sessions) as session:
        await session.execute(update(Account).where(Account.id == account).values(time_zone=zone))
    now, end, local = datetime.fromisoformat(at), datetime.fromisoformat(until), date.fromisoformat(day)
    caller = await budgeted(sessions, account, daily_limit_usd="1", now=now, **PAUSE)
    run, _ = await run_of(caller, at=now)
    other, _ = await run_of(caller, at=now)

    async def spends(instance_id: str, at: datetime) -> list[str]:
        ping = spend(caller, "2", instance_id=instance_id, at=at, day=day_of(at, ZoneInfo(zone)))
        pings = await caller.keep(ping, now=at)
        return [item.code or "accepted" for item in await take_in(caller, instance_id, pings, now=at)]

    assert await spends(run, now) == ["accepted"]
    row = await budget_row(caller)
    assert (row.stop_key, row.stopped_until) == (f"workflow/{caller.workflow_id}/day/{local}/1/pause", end)
    assert await spends(other, end) == ["accepted"], "it is tomorrow"
    assert [key.split("/")[3] for _, key, _, _ in await crossings(caller)] == [day, str(local + timedelta(days=1))]


async def test_a_ping_of_yesterday_that_is_judged_late_does_not_end_todays_stop(
    sessions: Sessions, account: str
) -> None:
    caller = await budgeted(sessions, account, daily_limit_usd="1", **PAUSE)
    yesterday = NOON - timedelta(hours=12, seconds=1)
    late, _ = await run_of(caller, at=yesterday)
    (waiting,) = await caller.keep(spend(caller, "2", instance_id=late, at=yesterday), now=yesterday)
    await run_of(caller, "2")
    today = (await budget_row(caller)).stopped_until
    assert today == datetime(2026, 3, 11, tzinfo=UTC)
    await take_in(caller, late, [waiting])
    assert (await budget_row(caller)).stopped_until == today


async def finished(caller: Caller, cost: str | None, number: int, **columns: Any) -> None:
    """An instance that has ended, the later the greater its number."""
    opened = await open_one(caller, cost)
    await take_in(caller, opened.instance_id, [opened])
    values = {"status": "completed", "closes_at": NOON + timedelta(minutes=number), **columns}
    async with transaction(caller.sessions) as session:
        await session.execute(update(Instance).where(Instance.id == opened.instance_id).values(**values))


async def typical(caller: Caller, instance_id: str) -> Decimal | None:
    """By what an anomaly is told: the line that the next ping has to stay under, for a multiplier of 1 and no floor."""
    (probe,) = await caller.keep(spend(caller, "1000000", instance_id=instance_id), now=NOON)
    snapshot = await InstanceActivities(caller.sessions, utc_now).load_instance(InstanceQuestion(instance_id))
    assert snapshot is not None
    counts = judge_all(snapshot.state, [probe.facts[-1]]).counts
    async with caller.sessions() as session:
        ledger = await open_ledger(session, instance_id)
        assert ledger is not None
        found = await assess_pings(session, ledger, counts, NOON)
    return found.crossings[0].threshold_usd if found.crossings else None


@pytest.mark.parametrize(
    ("costs", "expected"),
    [
        (["1", "2", "3", "4"], None),
        (["1", "2", "3", "4", "5"], "3"),
        (["1", "2", "3", "4", "5", "6"], "3.5"),
        # What nobody knows the price of says nothing.
        (["1", "2", "3", "4", None, None], None),
        (["1", None, "2", "3", None, "4", "5"], "3"),
        # The latest twenty.
        (["100"] * 6 + ["1"] * 20, "1"),
        (["1"] * 6 + ["100"] * 11 + ["1"] * 9, "100"),
    ],
)
async def test_what_is_typical(sessions: Sessions, account: str, costs: list[str | None], expected: str | None) -> None:
    rules: dict[str, Any] = {"anomaly_multiplier": Decimal(1), "anomaly_floor_usd": "0"}
    caller = await budgeted(sessions, account)
    for number, cost in enumerate(costs):
        await finished(caller, cost, number)
    run, _ = await run_of(caller)
    await change_budget(caller, anomaly_detection=True, **rules)
    assert await typical(caller, run) == (None if expected is None else Decimal(expected))


async def test_forks_and_what_goes_on_are_not_typical_nor_is_one_for_itself(sessions: Sessions, account: str) -> None:
    caller = await budgeted(sessions, account)
    for number in range(5):
        await finished(caller, "3", number)
    others: list[dict[str, Any]] = [
        {"origin": Origin.FORK.value},
        {"origin": Origin.RERUN.value},
        {"status": "running", "closes_at": None},
        {"status": "paused", "closes_at": None},
    ]
    for number, columns in enumerate(others):
        await finished(caller, "99", 10 + number, **columns)
    other = await budgeted(sessions, account)
    for number in range(9):
        await finished(other, "50", number)
    await change_budget(caller, anomaly_detection=True, anomaly_multiplier=Decimal(1), anomaly_floor_usd="0")
    run, _ = await run_of(caller)
    assert await typical(caller, run) == 3
    # A straggler of one that has finished is held against the others.
    async with transaction(sessions) as session:
        await session.execute(update(Instance).where(Instance.id == run).values(status="failed", closes_at=NOON))
    assert await typical(caller, run) == 3
    for status in ("failed", "terminated"):
        await finished(caller, "9", 20, status=status)
    await finished(caller, "9", 21)
    run, _ = await run_of(caller)
    assert await typical(caller, run) == 3
    await finished(caller, "9", 22)
    await finished(caller, "9", 23)
    assert await typical(caller, run) == Decimal(6)


@pytest.mark.parametrize(
    ("rules", "is_lifted"),
    [
        ({"daily_limit_usd": "5", **PAUSE}, True),
        ({"daily_limit_usd": "2", **PAUSE}, True),
        ({"daily_limit_usd": "1.5", **PAUSE}, False),
        ({"daily_limit_usd": "0.5", "action": Action.TERMINATE}, False),
        ({"daily_limit_usd": "1", "action": Action.ALERT}, True),
        ({"limit_usd": "1", **PAUSE}, True),
        ({"daily_limit_usd": "1", "enabled": False, **PAUSE}, True),
    ],
)
async def test_a_days_stop_is_lifted_by_a_budget_that_would_not_have_made_it(
    sessions: Sessions, account: str, rules: dict[str, Any], is_lifted: bool
) -> None:
    caller = await budgeted(sessions, account, daily_limit_usd="1", **PAUSE)
    await run_of(caller, "2")
    stopped = await budget_row(caller)
    assert stopped.stop_key is not None
    row = await change_budget(caller, **rules)
    expected = (None, None, None) if is_lifted else (stopped.stop_key, stopped.stop_reason, stopped.stopped_until)
    assert (row.stop_key, row.stop_reason, row.stopped_until) == expected


@pytest.mark.parametrize("meanwhile", [{"daily_limit_usd": "9", **PAUSE}, {"daily_limit_usd": "1", "enabled": False}])
async def test_a_limit_that_is_set_back_stops_the_day_again(
    sessions: Sessions, account: str, meanwhile: dict[str, Any]
) -> None:
    """It was told, and is not told again; but it holds."""
    rules: dict[str, Any] = {"daily_limit_usd": "1", **PAUSE}
    caller = await budgeted(sessions, account, **rules)
    run, _ = await run_of(caller)
    await run_of(caller, "2")
    stopped = await budget_row(caller)
    await change_budget(caller, **meanwhile)
    assert (await budget_row(caller)).stop_key is None
    await change_budget(caller, **rules)
    again = await budget_row(caller)
    assert (again.stop_key, again.stop_reason, again.stopped_until) == (
        stopped.stop_key,
        stopped.stop_reason,
        stopped.stopped_until,
    )
    assert await spend_all(caller, run, "1") == ["instance_paused"]
    assert len(await crossings(caller)) == 1


async def test_a_limit_that_is_set_below_what_was_spent_stops_at_the_next_ping(
    sessions: Sessions, account: str
) -> None:
    caller = await budgeted(sessions, account, daily_limit_usd="5", **PAUSE)
    run, _ = await run_of(caller, "2")
    await change_budget(caller, daily_limit_usd="1", **PAUSE)
    assert (await budget_row(caller)).stop_key is None
    assert await spend_all(caller, run, "0", "0") == ["accepted", "instance_paused"]


@pytest.mark.parametrize("seed", range(6))
async def test_a_workflows_sum_is_that_of_its_instances_and_of_the_journal(
    sessions: Sessions, account: str, seed: int
) -> None:
    """Whatever is kept at once, accepted by a verdict, refused by the breaker, or adopted: the three books agree."""
    random = Random(seed)
    callers = [await define(sessions, account, grace_period_seconds=60) for _ in range(3)]
    await change_budget(callers[0], limit_usd="40", action=random.choice(list(Action)))
    await change_budget(callers[1], daily_limit_usd="60", **PAUSE)
    costs = ("0", "0.000000000000000001", "12.5", "0.1", None)
    for _ in range(12):
        caller = random.choice(callers)
        # A budget that comes and goes while pings are on their way.
        if random.random() < 0.2:
            await change_budget(callers[2], limit_usd="30", enabled=random.random() < 0.7, **PAUSE)
        pings = []
        for _ in range(random.randint(1, 6)):
            ping = caller.ping(random.choice("12"), at=NOON, start=random.random() < 0.3, agent="ada")
            day = DAY + timedelta(days=random.randrange(3))
            pings.append(costing(ping, random.choice(costs), day) if random.random() < 0.8 else ping)
        kept = [item for item in await caller.append(*pings, now=NOON) if isinstance(item, Journaled)]
        waiting: dict[str | None, list[Journaled]] = {}
        for item in kept:
            if item.outcome is Outcome.PENDING and random.random() < 0.8:
                waiting.setdefault(item.instance_id, []).append(item)
        for instance_id, items in waiting.items():
            await take_in(caller, instance_id, items)
    counted = (Ping.outcome == Outcome.ACCEPTED, Ping.cost_source.is_not(None), Ping.account_id == account)
    ids = [caller.workflow_id for caller in callers]
    async with sessions() as session:
        by_workflow = await session.execute(
            select(WorkflowDayCost.workflow_id, WorkflowDayCost.day, WorkflowDayCost.cost_usd).where(
                WorkflowDayCost.workflow_id.in_(ids)
            )
        )
        by_instance = await session.execute(
            select(InstanceCost.workflow_id, InstanceCost.day, func.sum(InstanceCost.cost_usd))
            .where(InstanceCost.workflow_id.in_(ids))
            .group_by(InstanceCost.workflow_id, InstanceCost.day)
        )
        by_ping = await session.execute(
            select(Ping.workflow_id, Ping.cost_day, func.sum(Ping.cost_usd))
            .where(*counted)
            .group_by(Ping.workflow_id, Ping.cost_day)
        )
        books = [sorted(tuple(row) for row in rows) for rows in (by_workflow, by_instance, by_ping)]
    assert books[0]
    assert books[0] == books[1] == books[2]


async def test_a_daily_limit_counts_what_was_spent_before_there_were_any(postgres: EmbeddedPostgres) -> None:
    """The migration adds up what instances had cost by then."""
    url = await copy_database(postgres, "migrations_budgets")
    command.downgrade(_config(url), "0004")
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO instance_costs (instance_id, day, workflow_id, pings, unpriced_pings, cost_usd) VALUES "
            "('d1', '2026-03-10', 'one', 1, 0, 0.1), ('d2', '2026-03-10', 'one', 1, 0, 0.2),"
            "('d2', '2026-03-11', 'one', 1, 0, 5), ('d3', '2026-03-10', 'one', 1, 1, NULL),"
            "('d4', '2026-03-10', 'other', 1, 1, NULL)"
        )
    upgrade(url)
    with psycopg.connect(url) as connection:
        rows = connection.execute("SELECT workflow_id, day, cost_usd FROM workflow_costs ORDER BY 1, 2").fetchall()
    assert rows == [
        ("one", date(2026, 3, 10), Decimal("0.3")),
        ("one", date(2026, 3, 11), Decimal(5)),
        ("other", date(2026, 3, 10), None),
    ]
