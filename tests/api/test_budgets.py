"""Budgets over HTTP: setting and reading them, and what was told of them."""

import asyncio
import json
from collections.abc import AsyncIterator
from datetime import datetime
from decimal import Decimal
from typing import Any

import httpx
import pytest

from config.clock import utc_now
from tests.api.budget_calls import (
    budget_of,
    budgeted,
    read_exactly,
    set_budget,
    spend,
)
from tests.api.calls import Calls, new_id
from tests.api.conftest import Team, api_key, log_in
from tests.api.test_errors import fields, problem

AS_IN_THE_REFERENCE = {
    "budget_enabled": True,
    "budget_limit_usd": 100.0,
    "budget_alert_threshold_usd": 50.0,
    "budget_daily_limit_usd": 500.0,
    "budget_action": "terminate",
    "cost_anomaly_detection": True,
    "cost_anomaly_multiplier": 3.0,
}
DEFAULTS: dict[str, Any] = {
    "budget_enabled": False,
    "budget_limit_usd": None,
    "budget_alert_threshold_usd": None,
    "budget_daily_limit_usd": None,
    "budget_action": "alert",
    "cost_anomaly_detection": False,
    "cost_anomaly_multiplier": 3,
    "cost_anomaly_floor_usd": 1,
    "max_pings_per_instance": None,
    "max_visits_per_stage": None,
    "resume_approvers": [],
}
TODAY = {"today_cost_usd": 0, "unpriced_pings_today": 0, "stopped_until": None, "stop_reason": None}


def without_time(budget: dict[str, Any]) -> dict[str, Any]:
    assert datetime.fromisoformat(budget["updated_at"]) <= utc_now()
    return {name: value for name, value in budget.items() if name not in ("updated_at", "workflow_id")}


async def test_without_a_budget_there_is_one_that_is_not_enabled(ours: Calls) -> None:
    workflow_id = await ours.define()
    assert await budget_of(ours, workflow_id) == {"workflow_id": workflow_id, **DEFAULTS, **TODAY, "updated_at": None}
    # Looking has not made one.
    assert (await budget_of(ours, workflow_id))["updated_at"] is None


@pytest.mark.parametrize("method", ["PUT", "POST"])
async def test_a_budget_is_set_as_in_the_reference(ours: Calls, method: str) -> None:
    workflow_id = await ours.define()
    path = f"/api/workflows/{workflow_id}/budget"
    answered = read_exactly(await ours.http.request(method, path, json=AS_IN_THE_REFERENCE))
    assert without_time(answered) == {**DEFAULTS, **AS_IN_THE_REFERENCE, **TODAY}
    assert await budget_of(ours, workflow_id) == answered


@pytest.mark.parametrize("method", ["PUT", "POST"])
async def test_what_is_left_out_stays_and_null_clears(ours: Calls, method: str) -> None:
    workflow_id = await ours.define()
    everything = AS_IN_THE_REFERENCE | {
        "cost_anomaly_floor_usd": 0,
        "max_pings_per_instance": 10,
        "max_visits_per_stage": 3,
        "resume_approvers": ["ada@example.com"],
    }
    await set_budget(ours, workflow_id, **everything)
    path = f"/api/workflows/{workflow_id}/budget"
    assert without_time(read_exactly(await ours.http.request(method, path, json={}))) == everything | TODAY
    changed = await ours.http.request(method, path, json={"budget_limit_usd": 200, "budget_enabled": False})
    assert without_time(read_exactly(changed)) == everything | TODAY | {
        "budget_limit_usd": 200,
        "budget_enabled": False,
    }
    # Changing another field does not enable it again.
    cleared = {name: None for name, value in everything.items() if not isinstance(value, bool | str)}
    last = without_time(read_exactly(await ours.http.request(method, path, json=cleared)))
    assert last == DEFAULTS | TODAY | {"budget_action": "terminate", "cost_anomaly_detection": True}


async def test_the_first_request_enables_unless_it_says_otherwise(ours: Calls) -> None:
    asleep, awake = await ours.define(), await ours.define()
    assert (await set_budget(ours, awake, budget_limit_usd=1))["budget_enabled"] is True
    assert (await set_budget(ours, asleep, budget_enabled=False, budget_limit_usd=1))["budget_enabled"] is False
    assert (await set_budget(ours, asleep, budget_limit_usd=2))["budget_enabled"] is False


async def test_two_who_set_it_first_at_once_both_have_their_way(ours: Calls, ours_elsewhere: Calls) -> None:
    for _ in range(5):
        workflow_id = await ours.define()
        await asyncio.gather(
            set_budget(ours, workflow_id, budget_limit_usd=5),
            set_budget(ours_elsewhere, workflow_id, budget_daily_limit_usd=7),
        )
        budget = await budget_of(ours, workflow_id)
        assert (budget["budget_limit_usd"], budget["budget_daily_limit_usd"]) == (5, 7)


@pytest.mark.parametrize(
    "written",
    ["0.1", "123456789.123456789012345678", "0.000000000000000001", '"0.000000000000000001"', "1000000000", "1e2"],
)
async def test_money_is_what_was_sent(ours: Calls, written: str) -> None:
    path = f"/api/workflows/{await ours.define()}/budget"
    content = f'{{"budget_limit_usd": {written}}}'
    put = await ours.http.put(path, content=content, headers={"Content-Type": "application/json"})
    money = Decimal(written.strip('"'))
    for response in (put, await ours.http.get(path)):
        assert read_exactly(response)["budget_limit_usd"] == money
        assert f'"budget_limit_usd":{money:f},' in response.text


MONEY = ("budget_limit_usd", "budget_alert_threshold_usd", "budget_daily_limit_usd", "cost_anomaly_floor_usd")
NO_MONEY = (
    "-1",
    "1000000001",
    "0.0000000000000000001",
    "true",
    '"much"',
    '""',
    "[]",
    "1e400",
    "1e99999999999999999999",
)
NUMBERS = ("NaN", "Infinity", "-Infinity", '"NaN"', '"Infinity"', "1e-400")
WRONG = [
    *((name, wrong) for name in MONEY for wrong in (*NO_MONEY, *NUMBERS)),
    *((name, "0") for name in MONEY if name != "cost_anomaly_floor_usd"),
    *(("cost_anomaly_multiplier", wrong) for wrong in ("1", "0.5", "1000001", "true", *NUMBERS)),
    *(
        (name, wrong)
        for name in ("max_pings_per_instance", "max_visits_per_stage")
        for wrong in ("0", "-1", "1.5", "true", '"3"', "1000000001", *NUMBERS)
    ),
    *((name, wrong) for name in ("budget_enabled", "cost_anomaly_detection") for wrong in ("null", "1", '"yes"', "[]")),
    *(("budget_action", wrong) for wrong in ("null", '"stop"', '"Pause"', "1", "true")),
    *(("resume_approvers", wrong) for wrong in ('"ada@example.com"', '[""]', '["ada"]', "[1]", "{}")),
    ("resume_approvers", json.dumps([f"ada{number}@example.com" for number in range(51)])),
    *(("budget", "1"), ("limit_usd", "1"), ("workflow_id", '"x"'), ("updated_at", "null")),
]


async def test_what_is_wrong_is_named(ours: Calls) -> None:
    workflow_id = await ours.define()
    path = f"/api/workflows/{workflow_id}/budget"
    for name, wrong in WRONG:
        content = f'{{"{name}": {wrong}}}'
        response = await ours.http.put(path, content=content, headers={"Content-Type": "application/json"})
        named = fields(problem(response, 400, "invalid_request"))
        assert {field.partition(".")[0] for field in named} == {name}, content
    assert (await budget_of(ours, workflow_id))["updated_at"] is None


@pytest.mark.parametrize("body", [b"", b"[]", b'"x"', b"{", b"null", b"\xff", b"9" * 5000, b"[" * 10_000])
async def test_bodies_that_are_no_budget(ours: Calls, body: bytes) -> None:
    path = f"/api/workflows/{await ours.define()}/budget"
    response = await ours.http.post(path, content=body, headers={"Content-Type": "application/json"})
    assert fields(problem(response, 400, "invalid_request")) == ["body"]


async def test_the_threshold_is_below_the_limit(ours: Calls) -> None:
    workflow_id = await ours.define()

    async def wrong(**asked: float | None) -> list[str]:
        response = await ours.http.put(f"/api/workflows/{workflow_id}/budget", json=asked)
        return fields(problem(response, 400, "invalid_request"))

    assert await wrong(budget_limit_usd=5, budget_alert_threshold_usd=5) == ["budget_alert_threshold_usd"]
    await set_budget(ours, workflow_id, budget_limit_usd=5, budget_alert_threshold_usd=4)
    # What is named is what was asked for.
    assert await wrong(budget_alert_threshold_usd=6) == ["budget_alert_threshold_usd"]
    assert await wrong(budget_limit_usd=3) == ["budget_limit_usd"]
    budget = await budget_of(ours, workflow_id)
    assert (budget["budget_limit_usd"], budget["budget_alert_threshold_usd"]) == (5, 4)
    await set_budget(ours, workflow_id, budget_limit_usd=3, budget_alert_threshold_usd=2)
    await set_budget(ours, workflow_id, budget_limit_usd=None, budget_alert_threshold_usd=9)


async def test_approvers_are_addresses_as_they_are_compared(ours: Calls) -> None:
    workflow_id = await ours.define()
    asked = ["Ada@Example.COM ", "bob@example.com", "ada@example.com"]
    budget = await set_budget(ours, workflow_id, resume_approvers=asked)
    assert budget["resume_approvers"] == ["ada@example.com", "bob@example.com"]
    assert (await set_budget(ours, workflow_id, resume_approvers=[]))["resume_approvers"] == []


async def test_today_is_shown_as_far_as_it_is_known(ours: Calls) -> None:
    workflow_id = await budgeted(ours, budget_limit_usd=5)
    await spend(ours, workflow_id, "1", "0.25", start="yes")
    await spend(ours, workflow_id, "1", "0.5", start="yes")
    budget = await budget_of(ours, workflow_id)
    assert (budget["today_cost_usd"], budget["unpriced_pings_today"]) == (Decimal("0.75"), 0)
    unknown = await budgeted(ours, budget_limit_usd=5)
    await ours.post(f"/dhk/{unknown}", {"model_id": "house-llm-7"}, stagePath="1", start="yes")
    budget = await budget_of(ours, unknown)
    assert (budget["today_cost_usd"], budget["unpriced_pings_today"]) == (None, 1)


async def test_a_deleted_workflow_comes_back_with_its_budget(ours: Calls) -> None:
    workflow_id, _ = await ours.open()
    await set_budget(ours, workflow_id, budget_limit_usd=1, budget_action="pause")
    assert (await ours.http.delete(f"/api/workflows/{workflow_id}")).status_code == 204
    for method in ("GET", "PUT", "POST"):
        response = await ours.http.request(method, f"/api/workflows/{workflow_id}/budget", json={})
        problem(response, 404, "not_found")
    answer = await spend(ours, workflow_id, "1", 2, start="yes")
    assert (answer["workflow_status"], answer["budget"]["action_taken"]) == ("paused", "pause")


def requests(workflow_id: str) -> list[tuple[str, str]]:
    path = f"/api/workflows/{workflow_id}"
    return [
        ("GET", f"{path}/budget"),
        ("GET", f"{path}/cost-alerts"),
        *((m, f"{path}/budget") for m in ("PUT", "POST")),
    ]


async def test_what_is_someone_elses_and_what_nobody_has(ours: Calls, theirs: Calls) -> None:
    workflow_id = await budgeted(ours, budget_limit_usd=5)
    for method, path in requests(workflow_id):
        problem(await theirs.http.request(method, path, json={"budget_limit_usd": 9}), 403, "forbidden")
    assert (await budget_of(ours, workflow_id))["budget_limit_usd"] == 5
    for method, path in requests(new_id()):
        problem(await ours.http.request(method, path, json={"budget_limit_usd": 9}), 404, "not_found")


@pytest.fixture
async def member(quick_gateway: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=quick_gateway) as client:
        yield client


@pytest.mark.parametrize("who", ["owner", "viewer", "full key", "ping key", "nobody"])
async def test_who_may(member: httpx.AsyncClient, team: Team, who: str) -> None:
    headers = {"full key": api_key(team.full_key), "ping key": api_key(team.ping_key)}
    workflow = {"kind": "dynamic", "name": "A workflow"}
    made = await member.post("/api/workflows", json=workflow, headers=headers["full key"])
    assert made.status_code == 201, made.text
    if who in ("owner", "viewer"):
        member.headers.update(await log_in(member, team.owner if who == "owner" else team.viewer))
    for method, path in requests(made.json()["id"]):
        response = await member.request(method, path, json={"budget_limit_usd": 9}, headers=headers.get(who))
        if who == "nobody":
            problem(response, 401, "unauthenticated")
        elif who == "ping key":
            problem(response, 403, "insufficient_scope")
        elif who == "viewer" and method != "GET":
            problem(response, 403, "forbidden")
        else:
            assert response.status_code == 200, response.text


async def test_a_session_needs_its_token_to_change_a_budget(member: httpx.AsyncClient, team: Team) -> None:
    await log_in(member, team.owner)
    problem(await member.put("/api/workflows/any/budget", json={}), 403, "csrf_failed")
