"""Paused instances go on at somebody's request, over HTTP."""

import asyncio
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import select

from config.clock import utc_now
from storage.alerts import AlertRow
from storage.base import Sessions, transaction
from storage.instances import Instance
from tests.api.budget_calls import budgeted, cost_alerts, set_budget, spend
from tests.api.calls import Calls
from tests.api.conftest import Team, api_key, calls_to, log_in, make_key
from tests.api.resume_calls import paused, resume, steps
from tests.api.test_errors import fields, problem
from tests.api.test_exports import export, import_
from tests.conftest import StartGateway
from tests.support.stack import Stack
from tests.support.waiting import until

UNREACHABLE = "127.0.0.1:1"


async def test_resuming_is_as_in_the_reference(ours: Calls, sessions: Sessions) -> None:
    workflow_id, instance_id = await paused(ours)
    refused = await ours.http.post(f"/dhk/{workflow_id}", json={}, params={"stagePath": "3"})
    assert "/resume" in problem(refused, 409, "instance_paused")["detail"]
    assert (await ours.instance(instance_id))["failure_reason"] == "Instance cost $1.10 exceeds budget limit $1.00"
    before = utc_now()
    assert await resume(ours, instance_id) == {
        "message": "Instance resumed",
        "instance_id": instance_id,
        "status": "running",
    }
    shown = await ours.instance(instance_id)
    assert shown["status"] == "running"
    assert "failure_reason" not in shown
    last = shown["transitions"][-1]
    assert (last["from_status"], last["to_status"]) == ("paused", "running")
    assert "Resumed by api-key:" in last["reason"]
    assert "Instance cost $1.10 exceeds budget limit $1.00" in last["reason"]
    assert before <= datetime.fromisoformat(last["at"]) <= utc_now()
    went_on = await spend(ours, workflow_id, "3", 0.5, final="yes")
    assert (went_on["instance_id"], went_on["workflow_status"]) == (instance_id, "completed")
    assert went_on["budget"]["state"] == "exceeded"
    assert [line["action_taken"] for line in await cost_alerts(ours, workflow_id)] == ["pause"]
    assert await steps(ours, instance_id) == ["running", "paused", "running", "completed"]
    async with sessions() as session:
        query = select(AlertRow).where(AlertRow.source == f"workflow/{workflow_id}").order_by(AlertRow.created_at)
        told = (await session.scalars(query)).all()
    assert [(row.kind, row.resolves) for row in told] == [("budget_exceeded", False), ("instance_resumed", True)]
    assert told[0].trouble == told[1].trouble


async def test_a_raised_limit_is_the_next_line(ours: Calls) -> None:
    workflow_id, instance_id = await paused(ours)
    await resume(ours, instance_id, budget_limit_usd=2)
    within = await spend(ours, workflow_id, "3", 0.9)
    assert (within["workflow_status"], within["budget"]["limit_usd"]) == ("running", 2)
    assert within["budget"]["instance_cost_usd"] == Decimal("2.0")
    beyond = await spend(ours, workflow_id, "4", "0.01")
    assert (beyond["workflow_status"], beyond["budget"]["alert_type"]) == ("paused", "budget_exceeded")
    assert (await resume(ours, instance_id, budget_limit_usd=150.5))["status"] == "running"
    assert (await ours.instance(instance_id))["budget_limit_usd"] == 150.5
    assert (await spend(ours, workflow_id, "5", 100))["workflow_status"] == "running"
    other = await spend(ours, workflow_id, "1", "1.01", start="yes")
    assert other["workflow_status"] == "paused"


@pytest.mark.parametrize(
    ("limit", "said"),
    [
        (0.5, "present limit, $1.00"),
        (1, "present limit, $1.00"),
        (1.05, "has cost already, $1.10"),
        ("1.1", "has cost already, $1.10"),
        (0, "greater than 0"),
        (-1, "greater than 0"),
        ("much", "number such as"),
        ("1_000", "number such as"),
        (10**12, "less than or equal"),
    ],
)
async def test_a_limit_that_would_not_help(ours: Calls, limit: object, said: str) -> None:
    _, instance_id = await paused(ours)
    response = await ours.http.post(f"/api/instances/{instance_id}/resume", json={"budget_limit_usd": limit})
    document = problem(response, 400, "invalid_request")
    assert fields(document) == ["budget_limit_usd"]
    assert said in document["detail"]
    assert (await ours.instance(instance_id))["status"] == "paused"
    assert (await resume(ours, instance_id, budget_limit_usd="1.11"))["status"] == "running"


async def test_only_what_is_paused_is_resumed(ours: Calls) -> None:
    workflow_id = await budgeted(ours, budget_limit_usd=1, budget_action="terminate")
    running = (await spend(ours, workflow_id, "1", 0.1, start="yes"))["instance_id"]
    said = await resume(ours, running, 409)
    assert (said["code"], said["workflow_status"]) == ("not_paused", "running")
    await spend(ours, workflow_id, "2", 5)
    said = await resume(ours, running, 409, budget_limit_usd=50)
    assert (said["code"], said["workflow_status"]) == ("not_paused", "terminated")
    assert "Open a new one" in said["detail"]
    completed = (await spend(ours, workflow_id, "1", start="yes", final="yes"))["instance_id"]
    assert "is completed" in (await resume(ours, completed, 409))["detail"]
    _, instance_id = await paused(ours)
    await resume(ours, instance_id)
    assert (await resume(ours, instance_id, 409))["workflow_status"] == "running"


async def test_of_those_who_resume_at_once_one_does(ours: Calls, ours_elsewhere: Calls) -> None:
    workflow_id, instance_id = await paused(ours)
    calls = [(ours, ours_elsewhere)[number % 2] for number in range(8)]
    url = f"/api/instances/{instance_id}/resume"
    responses = await asyncio.gather(*(each.http.post(url) for each in calls))
    assert sorted(response.status_code for response in responses) == [200] + [409] * 7
    assert await steps(ours, instance_id) == ["running", "paused", "running"]
    assert (await spend(ours, workflow_id, "3"))["workflow_status"] == "running"


async def test_whoever_is_resumed_from_a_daily_stop_goes_on_and_the_others_do_not(ours: Calls) -> None:
    workflow_id = await budgeted(ours, budget_daily_limit_usd=1, budget_action="pause")
    first, second = [str((await spend(ours, workflow_id, "1", 0.3, start="yes"))["instance_id"]) for _ in "ab"]
    crossed = await spend(ours, workflow_id, "2", 0.5, instance_id=first)
    assert (crossed["workflow_status"], crossed["budget"]["alert_type"]) == ("paused", "daily_budget_exceeded")
    url = f"/dhk/{workflow_id}"
    problem(await ours.http.get(url, params={"stagePath": "2", "instance_id": second}), 409, "instance_paused")
    await resume(ours, first)
    assert (await spend(ours, workflow_id, "3", 0.5, instance_id=first))["workflow_status"] == "running"
    problem(await ours.http.get(url, params={"stagePath": "2", "instance_id": second}), 409, "instance_paused")
    await resume(ours, second)
    assert (await spend(ours, workflow_id, "2", 0.5, instance_id=second))["workflow_status"] == "running"
    problem(await ours.http.get(url, params={"stagePath": "1", "start": "yes"}), 409, "daily_budget_exceeded")


async def test_what_had_failed_is_failed_again_and_heals_as_ever(ours: Calls) -> None:
    workflow_id = await budgeted(ours, budget_limit_usd=1, budget_action="pause")
    opened = await spend(ours, workflow_id, "1", 0.4, start="yes")
    instance_id = opened["instance_id"]
    await spend(ours, workflow_id, "2", 0.1, status="failed")
    assert (await spend(ours, workflow_id, "3", 0.7))["workflow_status"] == "paused"
    assert (await resume(ours, instance_id))["status"] == "failed"
    assert (await ours.instance(instance_id))["failure_reason"] == "Stage 2 failed"
    assert (await spend(ours, workflow_id, "2"))["workflow_status"] == "running"
    assert await steps(ours, instance_id) == ["running", "failed", "paused", "failed", "running"]

    async def told() -> list[dict[str, Any]] | None:
        alerts = (await ours.get("/api/alerts", source=f"workflow/{workflow_id}", limit=100))["alerts"]
        of_failures = [alert for alert in reversed(alerts) if alert["kind"].startswith("instance_")]
        return of_failures if len(of_failures) >= 3 else None

    kinds = [alert["kind"] for alert in await until(told)]
    assert kinds == ["instance_failed", "instance_resumed", "instance_recovered"]


async def test_what_a_deadline_had_failed_stays_failed_by_it(ours: Calls) -> None:
    """Nobody is told of that deadline a second time."""
    stages = [{"order": 1}, {"order": 2, "timeout_seconds": 1}, {"order": 3}]
    workflow_id = await ours.define(stages=stages)
    await set_budget(ours, workflow_id, max_pings_per_instance=1, budget_action="pause")
    instance_id = (await ours.static(workflow_id, 1))["instance_id"]
    await ours.settled(instance_id, "failed")
    assert (await ours.static(workflow_id, 3))["workflow_status"] == "paused"
    assert (await resume(ours, instance_id))["status"] == "failed"
    assert (await ours.instance(instance_id))["failure_reason"] == "Stage 2 timeout"

    async def is_back() -> bool:
        stages = (await ours.instance(instance_id))["stage_statuses"]
        return bool(stages["2"]["status"] == "timeout")

    await until(is_back)
    await ours.static(workflow_id, 2)
    await ours.settled(instance_id, "completed")
    assert await steps(ours, instance_id) == ["running", "failed", "paused", "failed", "completed"]
    alerts = (await ours.get("/api/alerts", source=f"workflow/{workflow_id}", limit=100))["alerts"]
    assert [alert["kind"] for alert in reversed(alerts) if alert["kind"].startswith("instance_")] == [
        "instance_failed",
        "instance_resumed",
        "instance_recovered",
    ]


async def test_what_the_pausing_ping_has_healed_is_told_when_it_goes_on(ours: Calls, sessions: Sessions) -> None:
    workflow_id = await budgeted(ours, budget_limit_usd=1, budget_action="pause")
    instance_id = (await spend(ours, workflow_id, "1", 0.4, start="yes"))["instance_id"]
    await spend(ours, workflow_id, "2", 0.1, status="failed")
    assert (await spend(ours, workflow_id, "2", 0.7))["workflow_status"] == "paused"
    assert (await resume(ours, instance_id))["status"] == "running"
    async with sessions() as session:
        query = select(AlertRow).where(AlertRow.source == f"workflow/{workflow_id}").order_by(AlertRow.created_at)
        told = {row.kind: row.trouble for row in await session.scalars(query)}
    assert told["instance_recovered"] == told["instance_failed"]


async def test_who_may_resume(ours: Calls, theirs: Calls, stack: Stack, sessions: Sessions, team: Team) -> None:
    _, instance_id = await paused(ours)
    url = f"/api/instances/{instance_id}/resume"
    problem(await theirs.http.post(url), 403, "forbidden")
    problem(await ours.http.post("/api/instances/dnothing1/resume"), 404, "not_found")
    async with transaction(sessions) as session:
        key = await make_key(session, ours.account_id, "ping")
    problem(await ours.http.post(url, headers=api_key(key)), 403, "insufficient_scope")
    problem(await ours.http.post(url, json={"limit": 3}), 400, "invalid_request")
    async with calls_to(stack.url, team.account_id, team.full_key) as teams:
        _, instance_id = await paused(teams)
        url = f"/api/instances/{instance_id}/resume"
        del teams.http.headers["X-API-Key"]
        viewer = await log_in(teams.http, team.viewer)
        problem(await teams.http.post(url, headers=viewer), 403, "forbidden")
        teams.http.cookies.clear()
        owner = await log_in(teams.http, team.owner)
        problem(await teams.http.post(url), 403, "csrf_failed")
        assert (await teams.http.post(url, headers=owner)).status_code == 200
        document = (await teams.http.get(f"/api/instances/{instance_id}")).json()
        assert f"Resumed by {team.owner}." in document["transitions"][-1]["reason"]


async def test_while_temporal_is_away_it_is_resumed_and_its_workflow_told_later(
    stack: Stack, start_gateway: StartGateway, ours: Calls, sessions: Sessions
) -> None:
    workflow_id, instance_id = await paused(ours)

    async def is_unheard() -> bool:
        async with sessions() as session:
            return bool((await session.get_one(Instance, instance_id)).is_unheard)

    async with calls_to(start_gateway(temporal_address=UNREACHABLE), stack.account_id, stack.key) as cut_off:
        assert (await resume(cut_off, instance_id))["status"] == "running"

    async def is_heard() -> bool:
        return not await is_unheard()

    await until(is_heard)
    tree = await ours.http.get(f"/dhk/{workflow_id}/tree")
    assert tree.headers["x-pingpulse-source"] == "temporal"
    assert (await spend(ours, workflow_id, "3", final="yes"))["workflow_status"] == "completed"


async def test_a_ping_that_comes_at_once_finds_it_resumed(
    stack: Stack, start_gateway: StartGateway, ours: Calls
) -> None:
    """Its workflow was not told, and finds what it knows outdated when it records the verdict."""
    workflow_id, instance_id = await paused(ours)
    async with calls_to(start_gateway(temporal_address=UNREACHABLE), stack.account_id, stack.key) as cut_off:
        await resume(cut_off, instance_id)
    assert (await spend(ours, workflow_id, "3"))["workflow_status"] == "running"


# Elsewhere


async def test_a_paused_instance_is_exported_and_imported_as_finished(ours: Calls, theirs: Calls) -> None:
    _, instance_id = await paused(ours)
    file = await export(ours, instance_id)
    (still,) = file["outages"]
    assert (file["instance"]["status"], still["end"]) == ("paused", file["exported_at"])
    made = await import_(theirs, file)
    assert made["status"] == "terminated"
    last = (await theirs.instance(made["instance_id"]))["transitions"][-1]
    assert (last["from_status"], last["to_status"]) == ("paused", "terminated")


async def test_why_it_was_terminated_is_imported_too(ours: Calls, theirs: Calls) -> None:
    workflow_id = await budgeted(ours, budget_action="terminate", budget_limit_usd=1)
    instance_id = (await spend(ours, workflow_id, "1", 2, start="yes"))["instance_id"]
    made = await import_(theirs, await export(ours, instance_id))
    reason = (await ours.instance(instance_id))["failure_reason"]
    assert reason is not None
    assert (await theirs.instance(made["instance_id"]))["failure_reason"] == reason


async def test_a_pause_moves_the_deadlines_of_whoever_imports_it(
    ours: Calls, theirs: Calls, sessions: Sessions
) -> None:
    workflow_id = await ours.define("dynamic", instance_timeout_seconds=3600)
    await set_budget(ours, workflow_id, budget_limit_usd=1, budget_action="pause")
    instance_id = (await spend(ours, workflow_id, "1", 2, start="yes"))["instance_id"]
    await resume(ours, instance_id)
    await spend(ours, workflow_id, "2")
    file = await export(ours, instance_id)
    (still,) = file["outages"]
    (ping, _) = file["pings"]
    assert still["start"] == ping["received_at"]
    # As if the pause had lasted for two hours, and the rest been as long ago.
    for document, name in ((still, "start"), (ping, "received_at"), (file["instance"], "opened_at")):
        document[name] = (datetime.fromisoformat(document[name]) - timedelta(hours=2)).isoformat()
    file["transitions"] = []
    assert (await import_(theirs, file))["status"] == "terminated"
    file["outages"] = []
    made = await import_(theirs, file)
    assert (await theirs.instance(made["instance_id"]))["failure_reason"] == "Instance timeout"
