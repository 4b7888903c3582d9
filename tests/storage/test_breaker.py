"""The circuit breaker on real Postgres: who spends of a budget waits for all others, and the first who crosses it
stops."""

import asyncio
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

import pytest
from sqlalchemy import func, select, text, update
from sqlalchemy.exc import DBAPIError

from activities.instances import InstanceActivities, InstanceQuestion, Recorded, Recording
from cli.postgres import EmbeddedPostgres
from domain.breaker import Trip
from domain.budgets import Action, Rule
from domain.evaluation import change_between, evaluate
from domain.instances import InstanceStatus, Pause
from domain.pings import Outcome
from domain.verdicts import DailyBudgetExceeded, InstancePaused, InstanceTerminated, judge_all
from storage.alerts import AlertRow
from storage.base import Sessions, transaction
from storage.breaker import Ledger, is_waived, open_ledger
from storage.instances import Instance, pauses_as_json
from storage.rows import Journaled
from tests.storage.conftest import STRICT, define
from tests.storage.spending import (
    DAY,
    NOON,
    PAUSE,
    budget_row,
    budgeted,
    change_budget,
    crossings,
    instance_of,
    run_of,
    spend,
    spend_all,
    sums,
    take_in,
)
from tests.storage.test_costs import join, joining
from tests.support.waiting import until


async def test_the_ping_that_crosses_is_kept_and_the_rest_of_the_batch_refused(
    sessions: Sessions, account: str
) -> None:
    caller = await budgeted(sessions, account, limit_usd="1", threshold_usd="0.5", **PAUSE)
    instance_id, answers = await run_of(caller, "0.4", "0.2", "0.6", "0.1", None)
    assert answers == ["accepted"] * 3 + ["instance_paused"] * 2
    assert await sums(caller) == (Decimal("1.2"),) * 3
    key = f"instance/{instance_id}"
    assert await crossings(caller) == [
        ("budget_alert_threshold", f"{key}/threshold/0.5", Decimal("0.6"), "alert"),
        ("budget_exceeded", f"{key}/limit/1/pause", Decimal("1.2"), "pause"),
    ]
    rows = {row.path + str(row.cost_usd): row for row in await caller.rows()}
    assert [row.budget and row.budget["instance_cost_usd"] for row in rows.values()] == ["0", "0.4", "0.6", "1.2"] + [
        None,
        None,
    ]
    crossed = rows["10.6"]
    assert (crossed.answered_status, crossed.budget and crossed.budget["action_taken"]) == ("paused", "pause")
    instance = await instance_of(caller, instance_id)
    (pause,) = instance.pauses_made()
    assert pause == Pause(NOON, "Instance cost $1.20 exceeds budget limit $1.00", f"{key}/limit/1/pause")
    assert (instance.status, instance.failure_reason) == ("paused", pause.reason)
    async with sessions() as session:
        alerts = await session.scalars(select(AlertRow).where(AlertRow.account_id == account))
        told = {row.kind: row.dedupe_key for row in alerts if row.kind.startswith("budget")}
    assert told == {
        "budget_alert_threshold": f"budget/{key}/threshold/0.5",
        "budget_exceeded": f"budget/{key}/limit/1/pause",
    }


async def test_one_that_is_terminated_closes_at_once(sessions: Sessions, account: str) -> None:
    caller = await budgeted(sessions, account, max_pings=2, action=Action.TERMINATE)
    instance_id, answers = await run_of(caller, "1", "1", "1")
    assert answers == ["accepted", "accepted", "instance_terminated"]
    instance = await instance_of(caller, instance_id)
    assert (instance.status, instance.closes_at) == ("terminated", NOON)
    assert instance.before_pings().termination_reason == "Instance has sent 3 pings; 2 are allowed"
    # What comes later is refused at the door, as a ping of that instance.
    (refused,) = await caller.append(spend(caller, "1"), now=NOON)
    assert isinstance(refused, Journaled)
    assert isinstance(refused.rejection, InstanceTerminated)
    assert (refused.outcome, refused.instance_id) == (Outcome.REJECTED, instance_id)
    assert await sums(caller) == (Decimal(2),) * 3


async def test_who_spends_waits_for_who_is_spending(sessions: Sessions, account: str) -> None:
    caller = await budgeted(sessions, account, limit_usd="1")
    one, _ = await run_of(caller)
    other, _ = await run_of(caller)
    look = text("SELECT 1 FROM budgets WHERE workflow_id = :id FOR UPDATE NOWAIT")
    async with transaction(sessions) as session:
        ledger = await open_ledger(session, one)
        assert isinstance(ledger, Ledger)
        assert ledger.instance.id == one
        async with sessions() as another:
            with pytest.raises(DBAPIError, match="could not obtain lock"):
                await another.execute(look, {"id": caller.workflow_id})
        waiting = asyncio.create_task(spend_all(caller, other, "0.1"))
        done, _ = await asyncio.wait([waiting], timeout=0.3)
        assert not done
    assert await waiting == ["accepted"]


async def test_without_a_budget_there_is_no_ledger(sessions: Sessions, account: str) -> None:
    caller = await budgeted(sessions, account, limit_usd="0", enabled=False)
    unbudgeted = await define(sessions, account, **STRICT)
    for each in (caller, unbudgeted):
        (opened,) = await each.keep(spend(each, "9", start=True), now=NOON)
        async with transaction(sessions) as session:
            assert await open_ledger(session, str(opened.instance_id)) is None
            assert await open_ledger(session, "dnobody99") is None
    assert [row.outcome for row in await caller.rows()] == ["accepted"]


@pytest.mark.parametrize("action", [Action.PAUSE, Action.TERMINATE])
async def test_a_day_is_crossed_by_one_of_many_and_the_others_stop_with_it(
    sessions: Sessions, account: str, action: Action
) -> None:
    """Twenty instances at once, each with three pings of 0.1 against a limit of 2: the 21st crosses, none after it."""
    caller = await budgeted(sessions, account, daily_limit_usd="2", action=action)
    runs = [(await run_of(caller))[0] for _ in range(20)]
    answers = await asyncio.gather(*(spend_all(caller, run, "0.1", "0.1", "0.1") for run in runs))
    told = [answer for each in answers for answer in each]
    refusal = InstancePaused.code if action is Action.PAUSE else InstanceTerminated.code
    assert {answer: told.count(answer) for answer in set(told)} == {"accepted": 21, refusal: 39}
    assert await sums(caller) == (Decimal("2.1"),) * 3
    key = f"workflow/{caller.workflow_id}/day/{DAY}/2/{action}"
    assert await crossings(caller) == [("daily_budget_exceeded", key, Decimal("2.1"), action)]
    row = await budget_row(caller)
    assert (row.stop_key, row.stopped_until) == (key, datetime(2026, 3, 11, tzinfo=UTC))
    # All who came too late are stopped by the same crossing, and it is told once.
    stopped = [await instance_of(caller, run) for run in runs]
    refused_by = {item.status for item, answer in zip(stopped, answers, strict=True) if refusal in answer}
    assert refused_by == {"paused" if action is Action.PAUSE else "terminated"}
    async with sessions() as session:
        kinds = select(func.count()).where(AlertRow.account_id == account, AlertRow.kind == Rule.DAILY)
        assert await session.scalar(kinds) == 1
    # Nothing is opened any more today, and what would have been is kept in the failed queue.
    (refused,) = await caller.append(spend(caller, "0.1", start=True), now=NOON)
    assert isinstance(refused, Journaled)
    assert isinstance(refused.rejection, DailyBudgetExceeded)
    assert refused.instance_id is None
    tomorrow = NOON + timedelta(days=1)
    assert (await run_of(caller, "0.1", at=tomorrow))[1] == ["accepted"]


async def test_lines_of_an_instance_are_told_by_each_and_the_days_by_the_first(
    sessions: Sessions, account: str
) -> None:
    caller = await budgeted(sessions, account, threshold_usd="1", daily_limit_usd="1", max_visits=2)
    first, answers = await run_of(caller, "2", "2")
    second, others = await run_of(caller, "2", "2")
    assert answers == others == ["accepted", "accepted"]
    third, _ = await run_of(caller, "2", at=NOON + timedelta(days=1))
    assert [(rule, key.split("/")[:2]) for rule, key, _, _ in await crossings(caller)] == [
        ("budget_alert_threshold", ["instance", first]),
        ("daily_budget_exceeded", ["workflow", caller.workflow_id]),
        ("runaway_stage", ["instance", first]),
        ("budget_alert_threshold", ["instance", second]),
        ("runaway_stage", ["instance", second]),
        ("budget_alert_threshold", ["instance", third]),
        ("daily_budget_exceeded", ["workflow", caller.workflow_id]),
    ]


async def test_who_was_resumed_from_the_days_stop_spends_on(sessions: Sessions, account: str) -> None:
    caller = await budgeted(sessions, account, daily_limit_usd="1", **PAUSE)
    other, _ = await run_of(caller)
    run, _ = await run_of(caller, "2")
    for resumed in (run, other):
        if resumed == other:
            assert await spend_all(caller, other, "1") == ["instance_paused"]
        instance = await instance_of(caller, resumed)
        (pause,) = instance.pauses_made()
        assert not is_waived(instance, pause.cause)
        ended = pauses_as_json([replace(pause, end=NOON)])
        async with transaction(sessions) as session:
            await session.execute(update(Instance).where(Instance.id == resumed).values(pauses=ended, status="running"))
        assert is_waived(await instance_of(caller, resumed), pause.cause)
        assert await spend_all(caller, resumed, "1", "1") == ["accepted", "accepted"]
    third = await caller.append(spend(caller, "1", start=True), now=NOON)
    assert isinstance(third[0], Journaled)
    assert isinstance(third[0].rejection, DailyBudgetExceeded)


async def test_a_run_that_completes_is_not_stopped_by_its_last_ping_nor_by_the_day(
    sessions: Sessions, account: str
) -> None:
    caller = await define(sessions, account, grace_period_seconds=60)
    await change_budget(caller, daily_limit_usd="1", **PAUSE)
    run, _ = await run_of(caller)
    (last,) = await caller.keep(spend(caller, "2", "9", instance_id=run, final=True), now=NOON)
    (verdict,) = await take_in(caller, run, [last])
    assert (verdict.accepted, verdict.instance_status) == (True, InstanceStatus.COMPLETED)
    assert [taken for _, _, _, taken in await crossings(caller)] == ["alert"]
    assert (await budget_row(caller)).stop_key is not None, "others are stopped"
    assert await spend_all(caller, run, "1") == ["accepted"], "what straggles in its grace period"
    assert (await instance_of(caller, run)).status == "completed"


async def test_what_was_judged_by_an_older_budget_is_judged_again(sessions: Sessions, account: str) -> None:
    caller = await budgeted(sessions, account, limit_usd="1", **PAUSE)
    budgets = iter([{"limit_usd": "5", **PAUSE}, {"limit_usd": "2", **PAUSE}, {"enabled": False}])

    async def change() -> None:
        if (rules := next(budgets, None)) is not None:
            await change_budget(caller, **rules)

    run, _ = await run_of(caller)
    pings = await caller.keep(*(spend(caller, "1", instance_id=run) for _ in range(4)), now=NOON)
    # 5 fits what was judged; next time 2 does not, and without a budget that trip is none again.
    assert all(item.accepted for item in await take_in(caller, run, pings[:1], between=change))
    verdicts = await take_in(caller, run, pings[1:], between=change)
    assert [item.accepted for item in verdicts] == [True] * 3
    assert [item.budget for item in verdicts] == [None] * 3
    assert await crossings(caller) == []


async def test_a_recording_that_must_be_judged_again_has_written_nothing(sessions: Sessions, account: str) -> None:
    caller = await budgeted(sessions, account, limit_usd="1", **PAUSE)
    run, _ = await run_of(caller)
    pings = await caller.keep(*(spend(caller, "1", instance_id=run) for _ in range(3)), now=NOON)
    activities = InstanceActivities(sessions, lambda: NOON)
    snapshot = await activities.load_instance(InstanceQuestion(run))
    assert snapshot is not None
    facts = [item.facts[-1] for item in pings]

    def recording(trip: Trip | None) -> Recording:
        judgement = judge_all(snapshot.state, facts, trip)
        change = change_between(run, snapshot.version + 1, evaluate(snapshot.state), evaluate(judgement.state))
        return Recording(change, judgement.verdicts, judgement.counts, trip)

    found = await activities.record(recording(None))
    assert found.must_judge_again
    assert found.trip is not None
    assert found.trip.ping_id == pings[1].ping_id
    assert [row.outcome for row in await caller.rows()] == ["accepted"] + ["pending"] * 3
    assert (await crossings(caller), await sums(caller)) == ([], (Decimal(0),) * 3)
    wrong = replace(found.trip, ping_id=pings[2].ping_id)
    assert await activities.record(recording(wrong)) == Recorded(must_judge_again=True, trip=found.trip)
    assert not (await activities.record(recording(found.trip))).must_judge_again
    # A task that is done again finds that it was done: nothing is counted or told twice.
    assert (await activities.record(recording(found.trip))).is_stale
    assert [row.outcome for row in await caller.rows()] == ["accepted"] * 3 + ["rejected"]
    assert (len(await crossings(caller)), await sums(caller)) == (1, (Decimal(2),) * 3)


async def test_what_was_changed_from_outside_meanwhile_is_not_recorded_over(sessions: Sessions, account: str) -> None:
    """The change is committed after the recording has begun, and before it comes to the instance."""
    caller = await budgeted(sessions, account, limit_usd="1", **PAUSE)
    run, _ = await run_of(caller)
    (ping,) = await caller.keep(spend(caller, "0.5", instance_id=run), now=NOON)
    activities = InstanceActivities(sessions, lambda: NOON)
    snapshot = await activities.load_instance(InstanceQuestion(run))
    assert snapshot is not None
    judgement = judge_all(snapshot.state, [ping.facts[-1]])
    change = change_between(run, snapshot.version + 1, evaluate(snapshot.state), evaluate(judgement.state))
    async with transaction(sessions) as session:
        await session.execute(update(Instance).where(Instance.id == run).values(version=Instance.version + 1))
        recording = asyncio.create_task(activities.record(Recording(change, judgement.verdicts, judgement.counts)))
        await until(lambda: is_waiting(sessions))
    assert (await recording).is_stale
    assert [row.outcome for row in await caller.rows()] == ["accepted", "pending"]
    assert await sums(caller) == (Decimal(0),) * 3


async def is_waiting(sessions: Sessions) -> bool:
    """Whether anybody waits for a lock."""
    async with sessions() as session:
        return bool(await session.scalar(text("SELECT count(*) FROM pg_locks WHERE NOT granted")))


async def test_the_short_way_is_closed_to_who_has_a_budget(
    sessions: Sessions, account: str, postgres: EmbeddedPostgres
) -> None:
    caller = await define(sessions, account)
    (opened,) = await caller.keep(spend(caller, "1", start=True), now=NOON)
    async with joining(postgres, 8) as connection:
        await join(connection, [spend(caller, "1")], str(opened.instance_id))
        await change_budget(caller, limit_usd="9")
        with pytest.raises(AssertionError):
            await join(connection, [spend(caller, "1")], str(opened.instance_id))
        await change_budget(caller, limit_usd="9", enabled=False)
        await join(connection, [spend(caller, "1")], str(opened.instance_id))
    assert await sums(caller) == (Decimal(3),) * 3
