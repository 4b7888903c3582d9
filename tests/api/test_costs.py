"""Costs over HTTP: what pings cost when they are taken, and what reports make of it."""

import asyncio
import csv
import json
from datetime import datetime, timedelta
from decimal import Decimal
from io import StringIO
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from sqlalchemy import select

from api.cost_views import CostReport, InstanceCostView, WorkflowCostView
from config.clock import utc_now
from domain.pings import Outcome
from storage.accounts import create_account
from storage.base import Sessions, transaction
from storage.pings import Ping
from tests.api.calls import Calls, new_id
from tests.api.conftest import api_key, calls_to, make_key
from tests.api.test_errors import fields, problem
from tests.conftest import StartGateway
from tests.support.stack import Stack
from tests.support.waiting import until

AS_IN_THE_REFERENCE = {
    "model_id": "claude-3-opus",
    "usage": {"input_tokens": 1500, "output_tokens": 500, "total_tokens": 2000},
    "cost_usd": 0.045,
    "tool_calls": [{"tool_name": "web_search", "latency_ms": 250, "success": True}],
}
GROUPS = ("day", "workflow", "model", "agent", "stage")


async def exact(calls: Calls, path: str, schema: Any, **params: Any) -> dict[str, Any]:
    """As the schema says that it is, and with money as it was written."""
    response = await calls.http.get(path, params=params)
    assert response.status_code == 200, response.text
    schema.model_validate(response.json())
    return dict(json.loads(response.text, parse_float=Decimal, parse_int=int))


async def cost_of(calls: Calls, instance_id: str, **params: Any) -> dict[str, Any]:
    return await exact(calls, f"/api/instances/{instance_id}/cost", InstanceCostView, **params)


async def cost_of_workflow(calls: Calls, workflow_id: str, **params: Any) -> dict[str, Any]:
    return await exact(calls, f"/api/workflows/{workflow_id}/cost", WorkflowCostView, **params)


async def report(calls: Calls, group_by: str, **params: Any) -> dict[str, Any]:
    return await exact(calls, "/api/costs", CostReport, group_by=group_by, **params)


async def post(calls: Calls, workflow_id: str, stage: str, body: Any, **params: Any) -> str:
    return str((await calls.post(f"/dhk/{workflow_id}", body, stagePath=stage, **params))["instance_id"])


async def test_costs_are_as_in_the_reference(mine: Calls) -> None:
    workflow_id = new_id()
    instance_id = await post(mine, workflow_id, "1", {"cost_usd": 0.08}, start="yes")
    await mine.post(f"/dhk/{workflow_id}", AS_IN_THE_REFERENCE, stage=2, key=mine.key)
    cost = await cost_of(mine, instance_id)
    first, second = cost.pop("breakdown")
    assert cost == {
        "instance_id": instance_id,
        "total_cost_usd": Decimal("0.125"),
        "unpriced_pings": 0,
        "held_usd": 0,
        "next_from": None,
    }
    assert (first["stage_path"], first["model_id"], first["cost_usd"]) == ("1", None, Decimal("0.08"))
    assert datetime.fromisoformat(second.pop("executed_at")) <= utc_now()
    assert second == {
        "stage_path": "2",
        "model_id": "claude-3-opus",
        "agent_code": None,
        "input_tokens": 1500,
        "output_tokens": 500,
        "cached_tokens": None,
        "cache_write_tokens": None,
        "reasoning_tokens": None,
        "cost_usd": Decimal("0.045"),
        "cost_source": "caller",
        "price_version": None,
    }
    other = await post(mine, workflow_id, "1", {"cost_usd": 0.3}, start="yes")
    assert await cost_of_workflow(mine, workflow_id) == {
        "total_cost_usd": Decimal("0.425"),
        "today_cost_usd": Decimal("0.425"),
        "average_cost_per_instance_usd": Decimal("0.2125"),
        "instance_count": 2,
        "most_expensive_instance": {"id": other, "cost_usd": Decimal("0.3")},
        "period_days": 7,
        "unpriced_pings": 0,
    }


async def test_without_a_cost_the_table_has_the_price(mine: Calls) -> None:
    usage = {"prompt_tokens": 1000, "completion_tokens": 100, "prompt_tokens_details": {"cached_tokens": 400}}
    instance_id = await post(mine, new_id(), "1", {"model": "gpt-4o", "usage": usage}, start="yes", agent="a")
    (ping,) = (await cost_of(mine, instance_id))["breakdown"]
    # 2.50 for input, 1.25 from the cache, 10 for output
    assert ping["cost_usd"] == Decimal("0.003")
    assert (ping["cost_source"], ping["cached_tokens"], ping["agent_code"]) == ("table", 400, "a")
    assert ping["price_version"].startswith("genai-prices ")


async def test_an_unknown_price_is_never_zero(mine: Calls) -> None:
    workflow_id = new_id()
    unknown = {"model_id": "house-llm-7", "usage": {"input_tokens": 10}}
    instance_id = await post(mine, workflow_id, "1", unknown, start="yes")
    cost = await cost_of(mine, instance_id)
    assert (cost["total_cost_usd"], cost["unpriced_pings"]) == (None, 1)
    assert (cost["breakdown"][0]["cost_usd"], cost["breakdown"][0]["cost_source"]) == (None, "unpriced")
    of_workflow = await cost_of_workflow(mine, workflow_id)
    assert (of_workflow["total_cost_usd"], of_workflow["today_cost_usd"]) == (None, None)
    assert (of_workflow["average_cost_per_instance_usd"], of_workflow["instance_count"]) == (None, 0)
    assert (of_workflow["most_expensive_instance"], of_workflow["unpriced_pings"]) == (None, 1)
    everything = await report(mine, "model")
    assert (everything["total"]["cost_usd"], everything["groups"][0]["cost_usd"]) == (None, None)
    # Beside one that is known.
    await post(mine, workflow_id, "2", {"cost_usd": "0.000000000000000001"})
    cost = await cost_of(mine, instance_id)
    assert (cost["total_cost_usd"], cost["unpriced_pings"]) == (Decimal("1e-18"), 1)


async def test_nothing_reported_costs_nothing(mine: Calls) -> None:
    workflow_id, instance_id = await mine.open()
    assert (await cost_of(mine, instance_id))["total_cost_usd"] == 0
    of_workflow = await cost_of_workflow(mine, workflow_id, days=30)
    assert (of_workflow["total_cost_usd"], of_workflow["instance_count"], of_workflow["period_days"]) == (0, 0, 30)
    assert of_workflow["average_cost_per_instance_usd"] is None
    everything = await report(mine, "day")
    assert (everything["groups"], everything["total"]["cost_usd"], everything["rest"]) == ([], 0, None)


async def test_pings_of_pulses_and_process_hooks_cost_too(mine: Calls) -> None:
    await mine.post("/hbk/nightly", {"cost_usd": 1}, create="1")
    response = await mine.http.post("/api/process-hooks", json={"name": "Long", "expected_seconds": 60})
    assert response.status_code == 201, response.text
    hook = response.json()["id"]
    await mine.post(f"/phk/{hook}/start", {"model_id": "m"})
    await mine.post(f"/phk/{hook}/finish", {"cost_usd": 2})
    (group,) = (await report(mine, "stage"))["groups"]
    assert (group["workflow_id"], group["stage_path"], group["pings"]) == (None, None, 3)
    assert (group["cost_usd"], group["unpriced_pings"]) == (3, 1)


async def test_all_groups_add_up_to_the_same(mine: Calls) -> None:
    for number in range(3):
        workflow_id = new_id()
        for stage in ("1", "2", "done"):
            body = {"model_id": f"model-{number % 2}", "cost_usd": f"0.{number}{stage.find('o') + 2}"}
            await post(mine, workflow_id, stage, body, start="yes" if stage == "1" else "no", agent=f"a{stage}")
    await mine.post("/hbk/also", {"model_id": "unknown"}, create="1")
    reports = {group_by: await report(mine, group_by) for group_by in GROUPS}
    assert [len(reports[name]["groups"]) for name in ("workflow", "model", "agent")] == [4, 3, 4]
    total = reports["day"]["total"]
    assert total["pings"] == 10
    for found in reports.values():
        assert found["total"] == total
        assert sum(group["cost_usd"] or 0 for group in found["groups"]) == total["cost_usd"]
        assert sum(group["unpriced_pings"] for group in found["groups"]) == 1
    of_workflows = reports["workflow"]["groups"]
    assert [group["cost_usd"] for group in of_workflows[:3]] == sorted(
        (group["cost_usd"] for group in of_workflows[:3]), reverse=True
    )
    assert of_workflows[0]["workflow_name"] == of_workflows[0]["workflow_id"]
    cut = await report(mine, "stage", limit=2)
    assert (len(cut["groups"]), cut["total"]) == (2, total)
    assert sum(group["cost_usd"] for group in (*cut["groups"], cut["rest"])) == total["cost_usd"]


async def test_strict_pings_count_once_they_are_accepted(mine: Calls) -> None:
    workflow_id = await mine.define(validation_mode="strict")
    opened = await mine.post(f"/shk/{workflow_id}", {"cost_usd": 1}, stage="1", agent="a")
    await mine.post(f"/shk/{workflow_id}", {"cost_usd": 2}, 400, stage="3", agent="a")
    await mine.post(f"/shk/{workflow_id}", {"cost_usd": 4}, stage="2", agent="a")
    assert (await cost_of(mine, opened["instance_id"]))["total_cost_usd"] == 5
    assert (await cost_of_workflow(mine, workflow_id))["total_cost_usd"] == 5


async def test_a_ping_that_is_sent_again_counts_once(mine: Calls) -> None:
    workflow_id = new_id()
    for _ in range(3):
        instance_id = await post(mine, workflow_id, "1", {"cost_usd": 1}, start="yes", idempotency_key="k")
    assert (await cost_of(mine, instance_id))["total_cost_usd"] == 1
    assert (await report(mine, "day"))["total"]["cost_usd"] == 1


async def test_no_gateway_loses_what_another_counts(
    mine: Calls, stack: Stack, start_gateway: StartGateway, sessions: Sessions
) -> None:
    workflow_id = new_id()
    instance_id = await post(mine, workflow_id, "1", {"cost_usd": 0}, start="yes")
    strict = await mine.define(validation_mode="strict", stages=1)
    urls = [start_gateway(), start_gateway(), start_gateway()]
    clients = [calls_to(url, mine.account_id, mine.key) for url in urls]
    callers = [await client.__aenter__() for client in clients]
    try:
        await asyncio.gather(
            *(post(callers[number % 3], workflow_id, "2", {"cost_usd": "0.01"}) for number in range(50)),
            *(
                callers[number % 3].post(f"/shk/{strict}", {"cost_usd": "0.001"}, stage="1", agent="a")
                for number in range(12)
            ),
        )
    finally:
        for client in clients:
            await client.__aexit__(None, None, None)
    assert (await cost_of(mine, instance_id))["total_cost_usd"] == Decimal("0.5")
    assert (await cost_of_workflow(mine, workflow_id))["total_cost_usd"] == Decimal("0.5")
    assert (await report(mine, "workflow"))["total"]["cost_usd"] == Decimal("0.512")
    async with sessions() as session:
        accepted = select(Ping.cost_usd).where(Ping.account_id == mine.account_id, Ping.outcome == Outcome.ACCEPTED)
        assert sum(cost or 0 for cost in await session.scalars(accepted)) == Decimal("0.512")


@pytest.mark.parametrize("zone", ["Pacific/Kiritimati", "Pacific/Pago_Pago", "Asia/Kathmandu", "no such place"])
async def test_days_are_those_of_the_account(quick_gateway: str, sessions: Sessions, zone: str) -> None:
    async with transaction(sessions) as session:
        account = await create_account(session, "elsewhere", utc_now(), time_zone=zone)
        key = await make_key(session, account.id, "full")
    async with calls_to(quick_gateway, account.id, key) as calls:

        def today() -> str:
            return str(utc_now().astimezone(ZoneInfo("UTC" if "such" in zone else zone)).date())

        before = today()
        workflow_id = new_id()
        await post(calls, workflow_id, "1", {"cost_usd": 1}, start="yes")
        found = await report(calls, "day")
        assert found["groups"][0]["day"] in (before, today())
        assert found["to"] in (before, today())
        assert found["time_zone"] == ("UTC" if "such" in zone else zone)
        assert (await cost_of_workflow(calls, workflow_id, days=2))["today_cost_usd"] == 1


async def test_a_report_is_of_the_days_it_is_asked_for(mine: Calls, sessions: Sessions) -> None:
    await post(mine, new_id(), "1", {"cost_usd": 1}, start="yes")
    today = utc_now().date()
    yesterday, long_ago = today - timedelta(days=1), today - timedelta(days=100)
    assert (await report(mine, "day", **{"from": str(yesterday)}))["total"]["cost_usd"] == 1
    past = await report(mine, "day", **{"from": str(long_ago), "to": str(yesterday)})
    assert (past["from"], past["to"], past["total"]["cost_usd"]) == (str(long_ago), str(yesterday), 0)
    assert (await report(mine, "day", to=str(yesterday)))["from"] == str(yesterday - timedelta(days=29))


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"from": "yesterday"}, "from"),
        ({"from": "20260301"}, "from"),
        ({"from": "1999-12-31"}, "from"),
        ({"from": "2026-03-02", "to": "2026-03-01"}, "from"),
        ({"from": "2000-01-01", "to": "2026-03-01"}, "from"),
        ({"to": "2026-02-30"}, "to"),
        ({"to": "2026-03-01T00:00:00Z"}, "to"),
        ({"group_by": "instance"}, "group_by"),
        ({"limit": "0"}, "limit"),
        ({"format": "xml"}, "format"),
    ],
)
async def test_what_makes_no_sense_is_named(mine: Calls, params: dict[str, str], field: str) -> None:
    found = problem(await mine.http.get("/api/costs", params=params), 400, "invalid_request")
    assert fields(found) == [field]


async def test_a_spreadsheet_gets_text_and_no_formulas(mine: Calls) -> None:
    workflow_id = new_id()
    for number, agent in enumerate(("=1+2", "+1", "-1", "@SUM(A1)", 'a "quoted", one', "-", "plain")):
        body = {"cost_usd": f"0.000000{7 - number}", "usage": {"input_tokens": 3}}
        await post(mine, workflow_id, "1", body, start="yes", agent=agent)
    await post(mine, workflow_id, "1", {"model_id": "unknown"}, start="yes")
    response = await mine.http.get("/api/costs", params={"group_by": "agent"}, headers={"Accept": "text/csv"})
    assert response.headers["content-type"] == "text/csv; charset=utf-8"
    assert response.headers["content-disposition"].startswith('attachment; filename="costs-by-agent-')
    names, *lines = csv.reader(StringIO(response.text, newline=""))
    assert names[:3] == ["agent", "pings", "unpriced_pings"]
    agents = ["'=1+2", "'+1", "'-1", "'@SUM(A1)", 'a "quoted", one', "'-", "plain", ""]
    assert [line[0] for line in lines] == agents
    assert [line[-1] for line in lines] == [f"0.000000{7 - number}" for number in range(7)] + [""]
    asked = await mine.http.get("/api/costs", params={"group_by": "agent", "format": "csv"})
    assert asked.text == response.text
    cut = await mine.http.get("/api/costs", params={"group_by": "agent", "format": "csv", "limit": 5})
    assert cut.text.splitlines()[-1] == "(rest),3,1,6,0,0,0,0,0.0000003"
    json_after_all = await mine.http.get("/api/costs?format=json", headers={"Accept": "text/csv"})
    assert json_after_all.headers["content-type"] == "application/json"


async def test_costs_are_paged(mine: Calls) -> None:
    workflow_id = new_id()
    instance_id = await post(mine, workflow_id, "1", {"cost_usd": 1}, start="yes")
    await mine.dynamic(workflow_id, "2")
    for stage in ("3", "4"):
        await post(mine, workflow_id, stage, {"cost_usd": 1})
    first = await cost_of(mine, instance_id, limit=2)
    assert ([ping["stage_path"] for ping in first["breakdown"]], first["next_from"]) == (["1", "3"], 2)
    second = await cost_of(mine, instance_id, limit=2, **{"from": 2})
    assert ([ping["stage_path"] for ping in second["breakdown"]], second["next_from"]) == (["4"], None)
    assert first["total_cost_usd"] == second["total_cost_usd"] == 3
    beyond = await cost_of(mine, instance_id, **{"from": 9})
    assert (beyond["breakdown"], beyond["next_from"], beyond["total_cost_usd"]) == ([], None, 3)


async def test_the_timeline_shows_the_same_costs(mine: Calls) -> None:
    workflow_id = new_id()
    usage = {"model": "gpt-4o", "usage": {"input_tokens": 1000, "output_tokens": 100}}
    instance_id = await post(mine, workflow_id, "1", usage, start="yes")
    steps = (await mine.get(f"/api/instances/{instance_id}/timeline"))["timeline"]
    assert (steps[0]["cost_usd"], steps[0]["cumulative_cost_usd"]) == (0.0035, 0.0035)


async def test_costs_are_the_account_s_own(mine: Calls, theirs: Calls, sessions: Sessions) -> None:
    workflow_id = new_id()
    instance_id = await post(mine, workflow_id, "1", {"cost_usd": 1}, start="yes")
    for path in (f"/api/instances/{instance_id}/cost", f"/api/workflows/{workflow_id}/cost"):
        problem(await theirs.http.get(path), 403, "forbidden")
        problem(
            await mine.http.get(path.replace(instance_id, "dnobody00").replace(workflow_id, "nobody")), 404, "not_found"
        )
    groups = (await report(theirs, "workflow"))["groups"]
    assert workflow_id not in {group["workflow_id"] for group in groups}
    async with transaction(sessions) as session:
        ping_key = await make_key(session, mine.account_id, "ping")
    problem(await mine.http.get("/api/costs", headers=api_key(ping_key)), 403, "insufficient_scope")


async def test_a_start_that_is_taken_back_costs_nothing(mine: Calls, stack: Stack) -> None:
    """Nothing of what was answered with an error is ever counted."""
    before = await report(mine, "day")
    await mine.post(f"/dhk/{new_id()}", {"cost_usd": 1}, 404, stagePath="2", instance_id="dnobody00")
    await mine.post(f"/dhk/{new_id()}", {"cost_usd": -1}, 400, stagePath="1", start="yes")

    async def is_unchanged() -> bool:
        return await report(mine, "day") == before

    await until(is_unchanged)
