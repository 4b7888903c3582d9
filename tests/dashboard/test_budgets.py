"""Budgets and what they have stopped: shown with today's costs, and resumed by a form."""

from typing import Any

import pytest

from api.dashboard import budgets
from storage.base import Sessions
from tests.api.budget_calls import budgeted, set_budget, spend
from tests.api.calls import Calls
from tests.support.dashboard import Screen, Site

HOSTILE = "<script>alert(1)</script>\u202e"


async def paused(calls: Calls, **budget: Any) -> tuple[str, str]:
    """A workflow and its instance, which its budget of $1 has paused."""
    workflow_id = await budgeted(calls, budget_limit_usd=1, budget_action="pause", **budget)
    answer = await spend(calls, workflow_id, "1", 1.5, start="yes")
    instance_id = str(answer["instance_id"])
    await calls.settled(instance_id, "paused")
    return workflow_id, instance_id


def budget_rows(screen: Screen) -> list[list[str]]:
    return screen.rows("#all-budgets table")


async def test_without_budgets_it_says_what_they_are(fresh: Site) -> None:
    screen = await fresh.open("/costs/budgets")
    assert "No workflow has a budget yet" in screen.text
    assert screen.links["To the workflows"] == "/workflows"
    assert "No line was crossed yet" in (await fresh.open("/costs/alerts")).text


async def test_each_budget_says_how_today_stands_to_it(fresh: Site, fresh_calls: Calls) -> None:
    half = await budgeted(fresh_calls, budget_daily_limit_usd=4, budget_limit_usd=50)
    await spend(fresh_calls, half, "1", 2, start="yes")
    full = await budgeted(fresh_calls, budget_daily_limit_usd=2, budget_action="pause")
    await spend(fresh_calls, full, "1", 3, start="yes")
    off = await fresh_calls.define("dynamic", name="Turned off")
    await set_budget(fresh_calls, off, budget_enabled=False)
    screen = await fresh.open("/costs/budgets")
    rows = budget_rows(screen)
    assert rows[0][1:3] == ["$3.00 of $2.00, 150 % used", "$2.00"]
    assert rows[0][5].startswith("Stopped for today opens again")
    assert rows[1][1:] == ["$2.00 of $4.00, 50 % used", "$4.00", "$50.00", "Tells, and stops nothing", "Active"]
    assert rows[2] == ["Turned off", "$0", "no limit", "no limit", "Tells, and stops nothing", "Off"]
    addresses = [str(link["href"]) for link in screen.main.select("#all-budgets th a")]
    assert addresses == [f"/workflows/{one}/budget" for one in (full, half, off)]
    budget = await fresh_calls.get(f"/api/workflows/{half}/budget")
    assert budget["today_cost_usd"] == 2
    report = await fresh.open("/costs")
    assert "1 workflow may not spend any more today" in report.text


async def test_unpriced_pings_of_today_are_told(fresh: Site, fresh_calls: Calls) -> None:
    workflow_id = await budgeted(fresh_calls, budget_daily_limit_usd=4)
    body = {"model_id": "nobody-knows-it", "usage": {"input_tokens": 5}}
    await fresh_calls.post(f"/dhk/{workflow_id}", body, stagePath="1", start="yes")
    [row] = budget_rows(await fresh.open("/costs/budgets"))
    assert row[1] == "not known of $4.00, not known and 1 unpriced ping"


async def test_a_paused_run_goes_on_with_a_raised_limit(fresh: Site, fresh_calls: Calls) -> None:
    _, instance_id = await paused(fresh_calls)
    assert "1 run is paused by a budget" in (await fresh.open("/costs")).text
    screen = await fresh.open("/costs/budgets")
    assert screen.links[instance_id] == f"/instances/{instance_id}"
    assert "$1.50 spent of $1.00" in screen.text
    action = f"/costs/budgets/resume/{instance_id}"
    refused = await fresh.submit(screen, action, budget_limit_usd="1.2")
    assert refused.status == 400
    field = refused.main.select_one("#f-budget_limit_usd")
    assert field is not None
    assert (field["value"], field["aria-invalid"]) == ("1.2", "true")
    assert "must be more than what the run has cost already, $1.50" in refused.text
    done = await fresh.submit(refused, action, budget_limit_usd="$5")
    assert done.said == "The run goes on: it takes pings again."
    assert (await fresh_calls.instance(instance_id))["status"] == "running"
    again = await fresh.post(action, [("csrf_token", csrf(screen)), ("budget_limit_usd", "9")])
    assert again.status == 409
    assert "nothing to resume" in again.said


def csrf(screen: Screen) -> str:
    return str(screen.soup.select("input[name=csrf_token]")[0]["value"])


async def test_people_who_are_asked_are_linked(fresh: Site, fresh_calls: Calls) -> None:
    await paused(fresh_calls, resume_approvers=[fresh.email])
    screen = await fresh.open("/costs/budgets")
    address = screen.links["people are asked whether it may go on"]
    assert address.startswith("/approvals/apr_")
    assert "Lets a paused run go on" in (await fresh.open("/approvals")).text


async def test_crossed_lines_are_listed_and_page(
    fresh: Site, fresh_calls: Calls, monkeypatch: pytest.MonkeyPatch
) -> None:
    workflow_id, instance_id = await paused(fresh_calls)
    alerts = (await fresh_calls.get(f"/api/workflows/{workflow_id}/cost-alerts"))["alerts"]
    screen = await fresh.open("/costs/alerts")
    [row] = screen.rows()
    assert row[0] == f"Limit of a run {alerts[0]['message']}"
    assert row[2:5] == ["$1.50", "$1.00", "Paused"]
    assert screen.links[instance_id] == f"/instances/{instance_id}"
    monkeypatch.setattr(budgets, "PAGE", 1)
    await paused(fresh_calls)
    first = await fresh.open("/costs/alerts")
    second = await fresh.open(first.links["Older"])
    assert [*first.links, *second.links].count(instance_id) == 1
    assert (await fresh.open("/costs/alerts?cursor=x")).status == 400


async def test_budgets_and_paused_runs_page(fresh: Site, fresh_calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(budgets, "PAGE", 1)
    monkeypatch.setattr(budgets, "PAUSED", 1)
    instances = {(await paused(fresh_calls))[1] for _ in range(2)}
    screen = await fresh.open("/costs/budgets")
    later = await fresh.open(screen.links["Earlier paused runs"])
    assert {*screen.links, *later.links} >= instances
    more = await fresh.open(screen.links["More budgets"])
    assert len(budget_rows(screen)) == len(budget_rows(more)) == 1


async def test_a_viewer_looks_and_cannot_resume(site: Site, viewer: Site, calls: Calls, fresh: Site) -> None:
    _, instance_id = await paused(calls)
    screen = await viewer.open("/costs/budgets")
    assert instance_id in screen.text
    assert not screen.main.select("form")
    for somebody in (viewer, fresh):
        token = csrf(await somebody.open("/costs/budgets"))
        refused = await somebody.post(f"/costs/budgets/resume/{instance_id}", [("csrf_token", token)])
        assert refused.status == 403
    assert instance_id not in (await fresh.open("/costs/budgets")).text
    assert (await calls.instance(instance_id))["status"] == "paused"


async def test_hostile_names_stay_words(fresh: Site, fresh_calls: Calls, sessions: Sessions) -> None:
    workflow_id = await fresh_calls.define("dynamic", name=HOSTILE)
    await set_budget(fresh_calls, workflow_id, budget_limit_usd=1, budget_action="pause")
    await spend(fresh_calls, workflow_id, "1", 2, start="yes")
    for path in ("/costs/budgets", "/costs/alerts", "/costs?group_by=workflow"):
        screen = await fresh.open(path)
        assert screen.status == 200
        assert "<script>alert" not in screen.response.text
        assert "\u202e" not in screen.response.text
