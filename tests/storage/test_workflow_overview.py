"""What lists of workflows say, beside the same computed from the rows by other means."""

from datetime import date, datetime, timedelta
from decimal import Decimal
from random import Random
from statistics import median
from typing import Any

import pytest

from config.clock import utc_now
from domain.alerts import Alert
from domain.costs import last_days
from domain.instance_alerts import INSTANCE_FAILED, INSTANCE_RECOVERED, RERUN_REQUESTED
from domain.instances import FINISHED, InstanceStatus
from domain.workflows import WorkflowKind
from storage.alerts import raise_alerts
from storage.base import Sessions, transaction
from storage.costs import InstanceCost, WorkflowDayCost
from storage.instances import Instance
from storage.workflow_overview import (
    JUDGED_RUNS,
    NEVER_RUN,
    STRIP_RUNS,
    Overview,
    Run,
    duration_of,
    find_listed,
    list_open_troubles,
    list_runs,
    list_tags,
    read_open_costs,
    read_overviews,
)
from storage.workflows import Workflow
from tests.api.calls import new_id
from tests.support.stack import make_account

NOW = utc_now().replace(microsecond=0)
FIRST, TODAY = last_days(NOW.date(), 30)


@pytest.fixture
async def account(sessions: Sessions) -> str:
    return (await make_account(sessions))[0]


async def a_workflow(sessions: Sessions, account: str, age: int = 0, **values: Any) -> str:
    """`age` in seconds."""
    workflow_id = new_id()
    at = NOW - timedelta(seconds=age)
    row = {
        "kind": "dynamic",
        "name": "A workflow",
        "slug": workflow_id,
        "tags": [],
        "validation_mode": "flexible",
        "stages": [],
        "grace_period_seconds": 60.0,
        "created_at": at,
        "updated_at": at,
        **values,
    }
    async with transaction(sessions) as session:
        session.add(Workflow(id=workflow_id, account_id=account, **row))
    return workflow_id


def an_instance(account: str, workflow_id: str, status: str, opened_at: datetime, **values: Any) -> Instance:
    return Instance(
        id=new_id("i"),
        workflow_id=workflow_id,
        account_id=account,
        status=status,
        opened_at=opened_at,
        first_stage_seen=True,
        definition={},
        **values,
    )


def runs_of_all_sorts(account: str, workflow_id: str, count: int, random: Random) -> list[Instance]:
    """Watched and reported ones, with and without a beginning, open ones; two that were opened at the same moment."""
    rows = []
    for number in range(count):
        at = NOW - timedelta(minutes=7 * (number // 2 if number < 4 else number))
        status = random.choice(list(InstanceStatus))
        values: dict[str, Any] = {}
        if status in FINISHED:
            ended = at + timedelta(seconds=random.randint(0, 900), milliseconds=random.randint(0, 999))
            values = {"completed_at": ended, "closes_at": ended + timedelta(minutes=1)}
            if random.random() < 0.3:
                values["ended_at"] = ended - timedelta(hours=1)
                if random.random() < 0.7:
                    values["started_at"] = values["ended_at"] - timedelta(seconds=random.randint(-5, 300))
        elif random.random() < 0.3:
            values["started_at"] = at - timedelta(seconds=5)
        rows.append(an_instance(account, workflow_id, status, at, **values))
    random.shuffle(rows)
    return rows


def computed(rows: list[Instance], costs: dict[date, Decimal | None]) -> Overview:
    """In plain Python, from all of the rows."""
    newest = sorted(rows, key=lambda row: (row.opened_at, row.id), reverse=True)
    judged = newest[:JUDGED_RUNS]
    completed = [row for row in judged if row.status == "completed"]
    known = [seconds for row in completed if (seconds := took(row)) is not None]
    spent = [cost for day, cost in costs.items() if FIRST <= day <= TODAY and cost is not None]
    return Overview(
        tuple(
            Run(row.id, InstanceStatus(row.status), row.started_at or row.ended_at or row.opened_at, took(row))
            for row in reversed(newest[:STRIP_RUNS])
        ),
        sum(row.status in ("completed", "failed", "terminated") for row in judged),
        len(completed),
        median(known) if known else None,
        sum(row.closes_at is None for row in rows),
        sum(spent, Decimal(0)) if spent else None,
    )


def took(row: Instance) -> float | None:
    if row.status not in ("completed", "failed", "terminated"):
        return None
    if row.ended_at is None:
        assert row.completed_at is not None
        return (row.completed_at - (row.started_at or row.opened_at)).total_seconds()
    return max(0.0, (row.ended_at - row.started_at).total_seconds()) if row.started_at is not None else None


@pytest.mark.parametrize("count", [0, 1, 4, 29, 31, 150])
async def test_an_overview_is_what_the_rows_add_up_to(sessions: Sessions, account: str, count: int) -> None:
    random = Random(count)
    workflow_id, other = await a_workflow(sessions, account), await a_workflow(sessions, account)
    rows = runs_of_all_sorts(account, workflow_id, count, random)
    costs: dict[date, Decimal | None] = {
        TODAY - timedelta(days=days): random.choice([None, Decimal("0.1"), Decimal("2.000000000001")])
        for days in random.sample(range(40), count % 29)
    }
    async with transaction(sessions) as session:
        session.add_all([*rows, *runs_of_all_sorts(account, other, 3, random)])
        session.add_all(WorkflowDayCost(workflow_id=workflow_id, day=day, cost_usd=cost) for day, cost in costs.items())
        session.add(WorkflowDayCost(workflow_id=other, day=TODAY, cost_usd=Decimal(99)))
    async with sessions() as session:
        found = await read_overviews(session, [workflow_id, other], FIRST, TODAY)
    expected = computed(rows, costs)
    assert found[workflow_id].median_seconds == pytest.approx(expected.median_seconds)
    assert found.keys() == {workflow_id, other}
    assert found[workflow_id].runs == expected.runs
    assert found[workflow_id] == Overview(
        *(expected.runs, expected.finished, expected.completed, found[workflow_id].median_seconds),
        *(expected.open_runs, expected.cost_usd),
    )
    assert [duration_of(row) for row in rows] == [took(row) for row in rows]


async def test_the_success_is_a_share_of_what_is_over() -> None:
    assert Overview((), 0, 0, None, 3, None).success is None
    assert Overview((), 8, 6, None, 3, None).success == 0.75


async def test_the_list_takes_filters_and_pages(sessions: Sessions, account: str) -> None:
    failed = await a_workflow(sessions, account, 1, name="100%_sure", tags=["a", "b"])
    recovered = await a_workflow(sessions, account, 2, name="Nightly ETL", kind="static", tags=["b"])
    silent = await a_workflow(sessions, account, 3, name="nightly backup", kind="run")
    await a_workflow(sessions, account, 0, deleted_at=NOW)
    await a_workflow(sessions, (await make_account(sessions))[0], name="Nightly of others")
    async with transaction(sessions) as session:
        for workflow_id, order in ((failed, ("completed", "failed")), (recovered, ("failed", "completed"))):
            for number, status in enumerate(order):
                session.add(an_instance(account, workflow_id, status, NOW + timedelta(seconds=number)))

    async def found(**filters: Any) -> list[str]:
        async with sessions() as session:
            return [row.id for row in await find_listed(session, account, limit=9, **filters)]

    assert await found() == [failed, recovered, silent]
    assert await found(name="NIGHTLY") == [recovered, silent]
    assert await found(name="%_s") == [failed]
    assert await found(name=failed[4:]) == [failed]
    assert await found(kind=WorkflowKind.STATIC) == [recovered]
    assert await found(tag="b") == [failed, recovered]
    assert await found(tag="b", kind=WorkflowKind.DYNAMIC) == [failed]
    assert await found(last_run=InstanceStatus.FAILED) == [failed]
    assert await found(last_run=NEVER_RUN) == [silent]
    assert await found(before=(NOW - timedelta(seconds=2), recovered)) == [silent]
    async with sessions() as session:
        assert await list_tags(session, account) == ["a", "b"]


async def test_runs_come_with_what_they_cost(sessions: Sessions, account: str) -> None:
    workflow_id = await a_workflow(sessions, account)
    rows = [
        an_instance(account, workflow_id, status, NOW - timedelta(hours=hours), **values)
        for hours, status, values in (
            (0, "running", {}),
            (1, "failed", {"completed_at": NOW, "closes_at": NOW}),
            (2, "paused", {}),
        )
    ]
    ids = [row.id for row in rows]
    async with transaction(sessions) as session:
        session.add_all(rows)
        for number, day, unpriced, cost in ((0, 0, 0, "1.5"), (0, 1, 2, "0.25"), (1, 0, 0, "70"), (2, 0, 1, None)):
            amount = Decimal(cost) if cost else None
            session.add(
                InstanceCost(
                    instance_id=ids[number],
                    day=TODAY - timedelta(days=day),
                    workflow_id=workflow_id,
                    pings=3,
                    unpriced_pings=unpriced,
                    cost_usd=amount,
                )
            )
    async with sessions() as session:
        found = await list_runs(session, workflow_id, limit=9)
        assert [(run.instance.id, run.cost_usd, run.unpriced_pings) for run in found] == [
            (ids[0], Decimal("1.75"), 2),
            (ids[1], Decimal(70), 0),
            (ids[2], None, 1),
        ]
        since = NOW - timedelta(hours=1)
        assert [run.instance.id for run in await list_runs(session, workflow_id, limit=9, opened_from=since)] == ids[:2]
        assert [run.instance.id for run in await list_runs(session, workflow_id, limit=9, opened_until=since)] == ids[
            2:
        ]
        wanted = await list_runs(session, workflow_id, limit=9, statuses=[InstanceStatus.FAILED])
        assert [run.instance.id for run in wanted] == [ids[1]]
        assert [run.instance.id for run in await list_runs(session, workflow_id, limit=9, before=(since, ids[1]))] == [
            ids[2]
        ]
        opened = await read_open_costs(session, workflow_id, 5)
    assert (opened.instances, opened.cost_usd) == (1, Decimal("1.75"))
    assert [(row.id, cost) for row, cost in opened.dearest] == [(ids[0], Decimal("1.75"))]


async def test_a_trouble_is_open_until_its_good_end(sessions: Sessions, account: str) -> None:
    def alert(number: int, kind: Any, trouble: str, source: str = "workflow/one") -> Alert:
        key = f"{trouble}/{number}"
        return Alert(kind, account, source, "instance/one/i", "One", f"alert {number}", trouble, key, NOW)

    told = [
        (1, INSTANCE_FAILED, "healed", "workflow/one"),
        (2, INSTANCE_RECOVERED, "healed", "workflow/one"),
        (3, INSTANCE_FAILED, "open", "workflow/one"),
        (4, INSTANCE_FAILED, "open", "workflow/one"),
        (5, INSTANCE_FAILED, "elsewhere", "workflow/two"),
        (6, INSTANCE_FAILED, "pulse", "pulse/p"),
        (7, RERUN_REQUESTED, "rerun", "workflow/one"),
    ]
    async with transaction(sessions) as session:
        for number, kind, trouble, source in told:
            await raise_alerts(session, [alert(number, kind, trouble, source)], NOW + timedelta(seconds=number))
        await raise_alerts(session, [alert(8, INSTANCE_FAILED, "long ago")], NOW - timedelta(days=9))
    async with sessions() as session:
        rows = await list_open_troubles(session, account, ["workflow/one", "pulse/p"], NOW - timedelta(days=7), 9)
        assert [row.title for row in rows] == ["alert 6", "alert 4"]
