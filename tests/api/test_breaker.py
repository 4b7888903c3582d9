"""The circuit breaker over HTTP: every line, every action, and what becomes of the pings around the crossing."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

import pytest

from tests.api.budget_calls import (
    alerts_told,
    budgeted,
    cost_alerts,
    read_exactly,
    refused,
    set_budget,
    spend,
    timeline,
)
from tests.api.calls import Calls

Cross = Callable[[Calls, str], Awaitable[dict[str, Any]]]
STATUS = {"alert": "running", "pause": "paused", "terminate": "terminated"}
CODE = {"pause": "instance_paused", "terminate": "instance_terminated"}


@dataclass(frozen=True)
class Line:
    """A rule, the budget that has it alone, and pings of which the last one crosses it."""

    rule: str
    budget: dict[str, Any]
    pings: list[tuple[str, str | None]]
    message: str
    threshold: Decimal | None = None
    finished_runs: tuple[str, ...] = ()


LINES = [
    Line(
        "budget_exceeded",
        {"budget_limit_usd": 1},
        [("1", "0.5"), ("2", "0.5"), ("2", None), ("3", "0.001")],
        "Instance cost $1.001 exceeds budget limit $1.00",
        Decimal(1),
    ),
    Line(
        "daily_budget_exceeded",
        {"budget_daily_limit_usd": "1.5"},
        [("1", "1.5"), ("2", "0.25")],
        "Workflow cost $1.75 on {day} exceeds daily limit $1.50",
        Decimal("1.5"),
    ),
    Line(
        "cost_anomaly",
        {"cost_anomaly_detection": True, "cost_anomaly_multiplier": 2, "cost_anomaly_floor_usd": "0.1"},
        [("1", "0.8"), ("2", "0.01")],
        "Instance cost $0.81 is unusual: instances of this workflow typically cost $0.40, and up to $0.80 is let pass",
        Decimal("0.8"),
        ("0.1", "0.4", "0.4", "0.5", "9"),
    ),
    Line(
        "runaway_pings",
        {"max_pings_per_instance": 3},
        [("1", "0.25"), ("2", None), ("3", None), ("4", None)],
        "Instance has sent 4 pings; 3 are allowed",
    ),
    Line(
        "runaway_stage",
        {"max_visits_per_stage": 2},
        [("1", "0.25"), ("2", None), ("1", None), ("3", None), ("1", None)],
        "Stage 1 was pinged 3 times; 2 are allowed",
    ),
]


@pytest.mark.parametrize("action", STATUS)
@pytest.mark.parametrize("line", LINES, ids=lambda line: line.rule)
async def test_a_crossing_is_recorded_told_and_acted_upon(mine: Calls, line: Line, action: str) -> None:
    workflow_id = await mine.define("dynamic")
    for cost in line.finished_runs:
        finished = await spend(mine, workflow_id, "1", cost, start="yes", final="yes")
        await mine.settled(finished["instance_id"], "completed")
    await set_budget(mine, workflow_id, **line.budget, budget_action=action)
    (first, *between), last = line.pings[:-1], line.pings[-1]
    answer = await spend(mine, workflow_id, *first, start="yes")
    instance_id = answer["instance_id"]
    for ping in between:
        answer = await spend(mine, workflow_id, *ping)
    assert (answer["workflow_status"], answer["budget"]["alert_type"]) == ("running", None)
    assert answer["budget"]["state"] == "ok"

    # The ping that crosses the line is taken, and its own answer says what it did.
    answer = await spend(mine, workflow_id, *last)
    spent = sum((Decimal(cost) for _, cost in line.pings if cost is not None), Decimal(0))
    before = sum(map(Decimal, line.finished_runs), Decimal(0))
    budget = answer.pop("budget")
    message = line.message.format(day=budget["message"].split(" on ")[-1][:10])
    is_limit = line.rule in ("budget_exceeded", "daily_budget_exceeded")
    assert budget == {
        "state": "exceeded" if is_limit else "warning",
        "instance_cost_usd": spent,
        "limit_usd": line.threshold if line.rule == "budget_exceeded" else None,
        "today_cost_usd": spent + before,
        "daily_limit_usd": line.threshold if line.rule == "daily_budget_exceeded" else None,
        "unpriced_pings": 0,
        "alert_type": line.rule,
        "action_taken": action,
        "message": message,
    }
    assert (answer["instance_id"], answer["workflow_status"]) == (instance_id, STATUS[action])
    (alert,) = await cost_alerts(mine, workflow_id)
    assert (alert["alert_type"], alert["action_taken"], alert["message"]) == (line.rule, action, message)
    assert (alert["instance_id"], alert["current_cost_usd"]) == (instance_id, spent)
    assert alert["threshold_usd"] == line.threshold

    # Those behind it are refused, or go on.
    if action == "alert":
        behind = await spend(mine, workflow_id, "5", "0.125")
        assert (behind["workflow_status"], behind["budget"]["alert_type"]) == ("running", None)
        spent += Decimal("0.125")
    else:
        for named in ({}, {"instance_id": instance_id}):
            refusal = await spend(mine, workflow_id, "5", "0.125", 409, **named)
            assert (refusal["code"], refusal["workflow_status"]) == (CODE[action], STATUS[action])
            assert message in refusal["detail"]
        assert await refused(mine, workflow_id) == [("5", CODE[action], instance_id)] * 2
    of_instance = read_exactly(await mine.http.get(f"/api/instances/{instance_id}/cost"))
    assert of_instance["total_cost_usd"] == spent
    await _is_shown(mine, workflow_id, instance_id, line, action, message)
    # One crossing, told once.
    (told,) = await alerts_told(mine, workflow_id, 1)
    assert (told["kind"], told["data"]["action_taken"]) == (line.rule, action)
    assert told["reason"].startswith(message)
    assert len(await cost_alerts(mine, workflow_id)) == 1


async def _is_shown(calls: Calls, workflow_id: str, instance_id: str, line: Line, action: str, message: str) -> None:
    """How the instance is shown everywhere."""
    reason = None if action == "alert" else message
    shown = await calls.instance(instance_id)
    assert (shown["status"], shown.get("failure_reason")) == (STATUS[action], reason)
    tree = await calls.get(f"/dhk/{workflow_id}/tree", instance_id=instance_id)
    stages = sorted({stage for stage, _ in line.pings} | ({"5"} if action == "alert" else set()))
    assert list(tree) == list(shown["stage_statuses"]) == stages
    whole = await timeline(calls, instance_id)
    crossing = len(line.pings) - 1
    taken = [step["accepted"] for step in whole["timeline"]]
    assert whole["status"] == STATUS[action]
    assert taken == [True] * (crossing + 1) + ([True] if action == "alert" else [False] * 2)
    if action != "alert":
        rejected = whole["timeline"][-1]
        assert (rejected["reason_code"], message in rejected["reason"]) == (CODE[action], True)
        changes = [event for event in whole["events"] if event["type"] == "transition"]
        assert (changes[-1]["to_status"], changes[-1]["reason"]) == (STATUS[action], message)
        assert changes[-1]["after_step"] == crossing
    for step, status in ((crossing - 1, "running"), (crossing, STATUS[action])):
        moment = await timeline(calls, instance_id, at_step=step)
        assert moment["status"] == status
        assert moment["failure_reason"] == (None if status == "running" else reason)
    history = await calls.history(workflow_id)
    listed = [history["running_instance"], *history["recent_instances"]]
    assert {one["id"]: one["status"] for one in listed if one}[instance_id] == STATUS[action]


@pytest.mark.parametrize("action", STATUS)
async def test_the_alert_threshold_stops_nothing_and_tells_once(mine: Calls, action: str) -> None:
    workflow_id = await budgeted(mine, budget_alert_threshold_usd=1, budget_action=action)
    answer = await spend(mine, workflow_id, "1", 1, start="yes")
    assert answer["budget"]["state"] == "ok"
    answer = await spend(mine, workflow_id, "2", 1)
    assert (answer["workflow_status"], answer["budget"]["state"]) == ("running", "warning")
    assert (answer["budget"]["alert_type"], answer["budget"]["action_taken"]) == ("budget_alert_threshold", "alert")
    for _ in range(2):
        answer = await spend(mine, workflow_id, "3", 1)
        assert (answer["budget"]["state"], answer["budget"]["alert_type"]) == ("warning", None)
    # Another action is no other threshold, another amount is.
    await set_budget(mine, workflow_id, budget_action="pause")
    assert (await spend(mine, workflow_id, "3"))["budget"]["alert_type"] is None
    await set_budget(mine, workflow_id, budget_alert_threshold_usd="1.5")
    assert (await spend(mine, workflow_id, "3"))["budget"]["alert_type"] == "budget_alert_threshold"
    alerts = await cost_alerts(mine, workflow_id)
    assert [(alert["current_cost_usd"], alert["threshold_usd"]) for alert in alerts] == [(2, 1), (4, Decimal("1.5"))]
    told = await alerts_told(mine, workflow_id, 2)
    assert {alert["kind"] for alert in told} == {"budget_alert_threshold"}
    # Each instance has its own.
    await spend(mine, workflow_id, "1", 2, start="yes")
    assert len(await cost_alerts(mine, workflow_id)) == 3


async def test_one_ping_may_cross_several_lines(mine: Calls) -> None:
    workflow_id = await budgeted(
        mine, budget_alert_threshold_usd=1, budget_limit_usd=2, budget_daily_limit_usd=2, budget_action="pause"
    )
    answer = await spend(mine, workflow_id, "1", 3, start="yes")
    # What was acted upon goes before what was only told.
    assert (answer["workflow_status"], answer["budget"]["alert_type"]) == ("paused", "budget_exceeded")
    alerts = [(alert["alert_type"], alert["action_taken"]) for alert in await cost_alerts(mine, workflow_id)]
    assert sorted(alerts) == [
        ("budget_alert_threshold", "alert"),
        ("budget_exceeded", "pause"),
        ("daily_budget_exceeded", "pause"),
    ]
    await alerts_told(mine, workflow_id, 3)


async def test_another_action_or_a_higher_limit_is_a_new_line(mine: Calls) -> None:
    workflow_id = await budgeted(mine, budget_limit_usd=1)
    await spend(mine, workflow_id, "1", 2, start="yes")
    assert (await spend(mine, workflow_id, "2", 2))["budget"]["alert_type"] is None
    # The same in other words.
    await set_budget(mine, workflow_id, budget_limit_usd="1.00")
    assert (await spend(mine, workflow_id, "2"))["budget"]["alert_type"] is None
    await set_budget(mine, workflow_id, budget_limit_usd=5)
    assert (await spend(mine, workflow_id, "2"))["budget"]["state"] == "ok"
    assert (await spend(mine, workflow_id, "2", 2))["budget"]["alert_type"] == "budget_exceeded"
    # Whoever has learned from an alert: the next ping is stopped, whatever it costs.
    await set_budget(mine, workflow_id, budget_action="pause")
    answer = await spend(mine, workflow_id, "2")
    assert (answer["workflow_status"], answer["budget"]["action_taken"]) == ("paused", "pause")
    alerts = [(alert["threshold_usd"], alert["action_taken"]) for alert in await cost_alerts(mine, workflow_id)]
    assert alerts == [(1, "alert"), (5, "alert"), (5, "pause")]
