"""The circuit breaker in an instance's workflow: in the middle of a batch, after a crash, between two histories."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import func, select
from temporalio.client import WorkflowExecutionStatus

from activities.instances import InstanceActivities, Recording
from api.delivery import Temporal
from config.clock import utc_now
from domain.budgets import Action, Budget, BudgetState, Rule
from domain.costs import Cost
from domain.evaluation import change_between, evaluate
from domain.pings import Outcome, PingFact, Report
from domain.routing import Request
from domain.verdicts import Verdict, judge_all
from storage.base import Sessions, transaction
from storage.budgets import BudgetRow, set_budget
from storage.cost_alerts import CostAlert
from storage.costs import CostRollup, InstanceCost, WorkflowDayCost
from storage.instances import Instance
from storage.journal import append
from storage.pings import Ping, withdraw
from storage.resuming import resume
from storage.rows import Journaled, NewPing
from storage.workflows import Workflow
from tests.domain.builders import dynamic, strict
from tests.support.stack import make_worker, temporal_server
from tests.support.waiting import until
from tests.workflows.post import QUEUE, Post, Run, fact
from tests.workflows.test_continue_as_new import count_histories


@pytest.fixture(scope="module")
async def hurried(post: Post, journals: Sessions) -> AsyncIterator[Post]:
    """A server that suggests a new history after 60 events instead of 4,096."""
    async with (
        temporal_server("limit.historyCount.suggestContinueAsNew=60") as client,
        make_worker(client, journals, task_queue=QUEUE),
    ):
        yield post.on(client)


async def open_with(post: Post, *, is_strict: bool = False, **rules: Any) -> Run:
    """An instance of a new workflow with a budget; amounts as text."""
    definition = dynamic(idle_timeout_seconds=3600.0)
    run = await post.open(strict(definition) if is_strict else definition)
    await set_rules(run, **rules)
    return run


async def set_rules(run: Run, **rules: Any) -> None:
    values: dict[str, Any] = {"action": Action.PAUSE, **rules}
    money = {name: Decimal(value) for name, value in values.items() if name.endswith("_usd")}
    async with transaction(run.post.sessions) as session:
        workflow = await session.get_one(Workflow, run.definition.id)
        await set_budget(session, workflow, Budget(**(values | money)), utc_now())


async def spend(run: Run, *costs: str, gateway: int = 0, paths: tuple[str, ...] = ()) -> list[PingFact]:
    """Keeps a ping for each cost as they come to a gateway, and returns them as they are to be delivered."""
    now = utc_now()
    new = [
        NewPing(
            run.post.account_id,
            Request(run.definition.id, run.definition.kind, fact(path), instance_id=run.id),
            Report(cost_usd=Decimal(cost)),
            cost=Cost(Decimal(cost), "caller", None, now.date()),
        )
        for cost, path in zip(costs, paths or ("1",) * len(costs), strict=True)
    ]
    async with transaction(run.post.sessions) as session:
        kept = await append(session, run.post.gateways[gateway], new, now)
    assert {item.outcome for item in kept if isinstance(item, Journaled)} <= {Outcome.PENDING, Outcome.REJECTED}
    # What is refused at the door is not delivered.
    return [item.facts[-1] for item in kept if isinstance(item, Journaled) and item.outcome is Outcome.PENDING]


def told(asked: list[PingFact], verdicts: dict[int, Verdict]) -> list[str | None]:
    return [verdicts[ping.id].code or "accepted" if ping.id in verdicts else None for ping in asked]


async def check_books(run: Run, total: str) -> None:
    """Journal and sums agree, the lines were told once, and what is shown is the fold of the journal."""
    workflow_id = run.definition.id
    queries = (
        select(func.sum(Ping.cost_usd)).where(Ping.workflow_id == workflow_id, Ping.outcome == Outcome.ACCEPTED),
        select(func.sum(InstanceCost.cost_usd)).where(InstanceCost.workflow_id == workflow_id),
        select(func.sum(WorkflowDayCost.cost_usd)).where(WorkflowDayCost.workflow_id == workflow_id),
        select(func.sum(CostRollup.cost_usd)).where(CostRollup.workflow_id == workflow_id),
    )
    async with run.post.sessions() as session:
        assert [await session.scalar(query) for query in queries] == [Decimal(total)] * 4
        waiting = select(func.count()).where(Ping.workflow_id == workflow_id, Ping.outcome == Outcome.PENDING)
        assert await session.scalar(waiting) == 0
    tree = await run.tree()
    assert tree == await run.folded()
    recorded = await run.recorded()
    assert (recorded.status, recorded.stages, recorded.failure_reason) == (
        tree.status,
        tree.stages,
        tree.failure_reason,
    )


async def lines(run: Run) -> list[tuple[str, int]]:
    """The lines that were crossed, and by which ping."""
    async with run.post.sessions() as session:
        query = select(CostAlert.alert_type, CostAlert.ping_id).where(CostAlert.workflow_id == run.definition.id)
        return [(row[0], row[1]) for row in await session.execute(query.order_by(CostAlert.id))]


async def go_on(run: Run, **values: Any) -> None:
    """Resumes it, and tells its workflow."""
    async with transaction(run.post.sessions) as session:
        await resume(session, run.id, "ada", utc_now(), **values)
    await Temporal(run.post.client, run.post.queue).tell_of_change(run.subject)


async def test_the_ping_that_crosses_the_line_hears_it_and_those_behind_it_are_refused(post: Post) -> None:
    run = await open_with(post, limit_usd="1", threshold_usd="0.5")
    asked = await spend(run, "0.4", "0.4", "0.4", "0.4")
    verdicts = await run.ask(asked)
    assert told(asked, verdicts) == ["accepted"] * 3 + ["instance_paused"]
    reports = [verdicts[ping.id].budget for ping in asked]
    assert [(report.state, report.alert_type) if report else None for report in reports] == [
        (BudgetState.OK, None),
        (BudgetState.WARNING, Rule.THRESHOLD),
        (BudgetState.EXCEEDED, Rule.LIMIT),
        None,
    ]
    assert [verdicts[ping.id].instance_status for ping in asked] == ["running", "running", "paused", "paused"]
    assert await lines(run) == [("budget_alert_threshold", asked[1].id), ("budget_exceeded", asked[2].id)]
    await check_books(run, "1.2")
    assert (await run.transitions())[-1] == (None, "paused")


async def test_of_more_than_are_judged_at_once_it_trips_where_the_sum_crosses(post: Post) -> None:
    run = await open_with(post, limit_usd="1", is_strict=True)
    asked = await spend(run, *["0.01"] * 150, paths=tuple(map(str, range(1, 151))))
    verdicts = await run.ask(asked)
    assert told(asked, verdicts) == ["accepted"] * 101 + ["instance_paused"] * 49
    assert await lines(run) == [("budget_exceeded", asked[100].id)]
    await check_books(run, "1.01")


async def test_a_strict_order_is_kept_up_to_the_trip(post: Post) -> None:
    run = await open_with(post, limit_usd="1", is_strict=True)
    asked = await spend(run, "0.4", "9", "0.4", "0.4", "0.4", paths=("1", "3", "2", "3", "4"))
    assert told(asked, await run.ask(asked)) == [
        "accepted",
        "stage_missed",
        "accepted",
        "accepted",
        "instance_paused",
    ]
    await check_books(run, "1.2")


async def test_a_withdrawn_ping_has_cost_nothing(post: Post) -> None:
    """Neither one that would have crossed the line, nor one behind it, is part of what is judged."""
    run = await open_with(post, limit_usd="1")
    asked = await spend(run, "0.6", "0.6", "0.3", "0.3", "0.3")
    async with transaction(post.sessions) as session:
        assert await withdraw(session, asked[1].id)
        assert await withdraw(session, asked[4].id)
    assert told(asked, await run.ask(asked)) == ["accepted", None, "accepted", "accepted", None]
    assert await lines(run) == [("budget_exceeded", asked[3].id)]
    await check_books(run, "1.2")


async def test_what_is_delivered_again_counts_once(post: Post) -> None:
    run = await open_with(post, limit_usd="1")
    first = await spend(run, "0.4", "0.4")
    other = await spend(run, "0.1", gateway=1)
    for batch in (first, other, first, other, [*first]):
        await run.ask(batch)
    await check_books(run, "0.9")
    last = await spend(run, "0.4", "0.4")
    both = await asyncio.gather(run.ask([*first, *last]), run.ask([*first, *last]))
    answered = {id_: verdict.accepted for each in both for id_, verdict in each.items()}
    assert answered == {last[0].id: True, last[1].id: False}
    assert await run.ask([*first, *last]) == {}
    assert len(await lines(run)) == 1
    await check_books(run, "1.3")


async def test_two_gateways_cannot_both_be_the_last_one(post: Post) -> None:
    run = await open_with(post, limit_usd="1")

    async def ask(gateway: int) -> list[str | None]:
        found: list[str | None] = []
        while asked := await spend(run, "0.1", gateway=gateway):
            found += told(asked, await run.ask(asked))
        return found

    both = await asyncio.gather(ask(0), ask(1))
    answers = [answer for each in both for answer in each]
    assert answers.count("accepted") == 11
    assert set(answers) <= {"accepted", "instance_paused"}
    assert len(await lines(run)) == 1
    await check_books(run, "1.1")


@pytest.mark.parametrize("action", [Action.PAUSE, Action.TERMINATE])
async def test_a_task_that_was_lost_after_it_had_recorded_a_trip_does_not_trip_again(
    post: Post, action: Action
) -> None:
    """The worker died between Postgres and Temporal."""
    run = await open_with(post, limit_usd="1", action=action)
    first = await spend(run, "0.5")
    await run.ask(first)
    snapshot = await run.snapshot()
    asked = await spend(run, "0.4", "0.4", "0.4")
    activities = InstanceActivities(post.sessions, utc_now)
    trip = None
    for _ in range(2):
        judgement = judge_all(snapshot.state, asked, trip)
        change = change_between(run.id, snapshot.version + 1, evaluate(snapshot.state), evaluate(judgement.state))
        recorded = await activities.record(Recording(change, judgement.verdicts, judgement.counts, trip))
        trip = recorded.trip
    assert not recorded.must_judge_again
    more = await spend_refused(run)
    # The gateway, which had no answer, delivers them again before anything else.
    verdicts = await run.ask(asked)
    assert verdicts == {}
    assert more == ("instance_paused" if action is Action.PAUSE else "instance_terminated")
    await until(lambda: has_status(run, "paused" if action is Action.PAUSE else "terminated"))
    assert await run.outcomes() == {"1": ["accepted"] * 3 + ["rejected"] * 2}
    assert len(await lines(run)) == 1
    await check_books(run, "1.3")


async def spend_refused(run: Run) -> str:
    """What a gateway answers at the door."""
    new = NewPing(
        run.post.account_id,
        Request(run.definition.id, run.definition.kind, fact("1"), instance_id=run.id),
        Report(),
    )
    async with transaction(run.post.sessions) as session:
        (kept,) = await append(session, run.post.gateways[1], [new], utc_now())
    assert isinstance(kept, Journaled)
    assert kept.rejection is not None
    return kept.rejection.code


async def has_status(run: Run, status: str) -> bool:
    return (await run.tree()).status == status


async def test_a_workflow_that_is_gone_comes_back_paused(post: Post) -> None:
    run = await open_with(post, limit_usd="1")
    asked = await spend(run, "0.6", "0.6")
    # On its way already when the breaker trips.
    late = await spend(run, "0.1")
    await run.ask(asked)
    await run.handle.terminate()
    assert told(late, await run.ask(late)) == ["instance_paused"]
    await check_books(run, "1.2")
    await run.handle.terminate()
    await go_on(run, limit_usd=Decimal(2))
    asked = await spend(run, "0.6", "0.6", "0.6")
    assert told(asked, await run.ask(asked)) == ["accepted", "accepted", "instance_paused"]
    await check_books(run, "2.4")


async def test_a_budget_that_is_changed_holds_for_the_next_ping(post: Post) -> None:
    run = await open_with(post, limit_usd="1")
    asked = await spend(run, "0.6")
    await run.ask(asked)
    await set_rules(run, limit_usd="5")
    on_its_way = await spend(run, "0.6", "0.6")
    await set_rules(run, limit_usd="1.5")
    assert told(on_its_way, await run.ask(on_its_way)) == ["accepted", "accepted"]
    assert [rule for rule, _ in await lines(run)] == ["budget_exceeded"]
    await check_books(run, "1.8")


async def test_without_its_budget_what_waits_is_accepted(post: Post) -> None:
    run = await open_with(post, limit_usd="1")
    waiting = await spend(run, "0.6", "0.6", "0.6")
    await set_rules(run, limit_usd="1", enabled=False)
    verdicts = await run.ask(waiting)
    assert told(waiting, verdicts) == ["accepted"] * 3
    assert {verdict.budget for verdict in verdicts.values()} == {None}
    await check_books(run, "1.8")


async def test_the_day_stops_other_runs_at_their_next_ping(post: Post) -> None:
    run = await open_with(post, daily_limit_usd="1")
    other = replace(await post.open(run.definition), definition=run.definition)
    async with transaction(post.sessions) as session:
        (await session.get_one(Instance, other.id)).workflow_id = run.definition.id
    on_its_way = await spend(other, "0.1", "0.1")
    await run.ask(await spend(run, "1.1"))
    assert told(on_its_way, await other.ask(on_its_way)) == ["instance_paused"] * 2
    assert (await other.row()).failure_reason == (await run.row()).failure_reason
    assert len(await lines(run)) == 1
    await check_books(run, "1.1")
    assert (await other.tree()).stages == {}


async def test_terminating_closes_the_workflow_and_stragglers_change_nothing(post: Post) -> None:
    run = await open_with(post, max_visits=2, action=Action.TERMINATE)
    asked = await spend(run, "1", "1", "1", "1")
    late = await spend(run, "1")
    assert told(asked, await run.ask(asked)) == ["accepted"] * 3 + ["instance_terminated"]
    assert (await run.row()).failure_reason == "Stage 1 was pinged 3 times; 2 are allowed"
    assert told(late, await run.ask(late)) == ["instance_terminated"]
    assert await run.handle.result() == "terminated"
    assert await run.ask(late) == {}
    assert await run.handle.result() == "terminated"
    assert (await run.transitions()).count((None, "terminated")) == 1
    assert (await run.handle.describe()).status is WorkflowExecutionStatus.COMPLETED
    await check_books(run, "3")


async def test_it_begins_a_new_history_while_it_is_paused(hurried: Post) -> None:
    run = await open_with(hurried, limit_usd="1")
    asked = await spend(run, "1.1")
    # All of these were kept before the breaker tripped, and are delivered one by one.
    late = [await spend(run, "0.1") for _ in range(40)]
    await run.ask(asked)
    for batch in late:
        verdicts = await run.ask(batch)
        assert told(batch, verdicts) in (["instance_paused"], [None])
    assert await count_histories(run) > 1
    assert (await run.snapshot()).state.pause is not None
    await check_books(run, "1.1")
    await go_on(run, limit_usd=Decimal(2))
    asked = await spend(run, "0.5", "0.5", "0.5")
    assert told(asked, await run.ask(asked)) == ["accepted", "accepted", "instance_paused"]
    assert [pause.end is not None for pause in (await run.snapshot()).state.pauses] == [True, False]
    await check_books(run, "2.1")
    async with hurried.sessions() as session:
        assert (await session.get_one(BudgetRow, run.definition.id)).stop_key is None


async def test_a_resume_that_nobody_told_of_is_found_by_the_next_ping(post: Post) -> None:
    run = await open_with(post, limit_usd="1")
    await run.ask(await spend(run, "1.1"))
    async with transaction(post.sessions) as session:
        await resume(session, run.id, "ada", utc_now())
    asked = await spend(run, "0.1")
    assert told(asked, await run.ask(asked)) == ["accepted"]
    await check_books(run, "1.2")
