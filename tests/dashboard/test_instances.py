"""The page of an instance: its stages now and as of any step, what is asked of people, and what goes on."""

import asyncio
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from sqlalchemy import insert, select

from api.dashboard.stage_tree import PAGE
from storage.base import Sessions, transaction
from storage.pings import Ping
from tests.api.budget_calls import budgeted, spend
from tests.api.calls import Calls
from tests.api.ingest_calls import new_execution, runs, succeed
from tests.api.resume_calls import paused
from tests.dashboard.instance_calls import agents_at_work, lane_of, stages_shown
from tests.support.dashboard import Screen, Site

HOSTILE = "<script>alert(1)</script>\u202e"


async def test_the_stages_are_a_tree_with_what_is_known_of_each(site: Site, calls: Calls) -> None:
    _, instance_id = await agents_at_work(calls)
    screen = await site.open(f"/instances/{instance_id}")
    assert screen.status == 200
    assert instance_id in screen.main.select_one("h1").get_text()  # type: ignore[union-attr]
    rows = stages_shown(screen)
    assert [(row[0].split(" ")[0], row[1], row[2], row[4]) for row in rows] == [
        ("1", "Healthy", "A planner", "$0.10"),
        ("2", "1 of 2 wrong", "–", "$0.25"),
        ("2.1", "Healthy", "B coder", "$0.20"),
        ("2.2", "Failed", "C tester", "$0.05"),
        ("3", "Pending", "B coder", "–"),
    ]
    assert "2 of 48 tests failed" in rows[3][0]
    assert "Stage 2.2 failed: 2 of 48 tests failed" in screen.text
    assert "goes on" in lane_of(screen, "3")
    assert screen.links["Export as JSON"] == f"/api/instances/{instance_id}/export"
    assert screen.links["Compare"] == f"/compare?a={instance_id}"


async def test_handoffs_say_who_gave_to_whom_and_why(site: Site, calls: Calls) -> None:
    _, instance_id = await agents_at_work(calls)
    screen = await site.open(f"/instances/{instance_id}")
    handoffs = [" ".join(item.get_text(" ").split()) for item in screen.main.select(".handoffs li")]
    assert handoffs[0].startswith("A planner → to B coder at 2.1 ( plan ready )")
    assert [words.split(" at ")[0] for words in handoffs[1:]] == ["B coder → to C tester", "C tester → to B coder"]
    legend = screen.main.select_one(".legend")
    assert legend is not None
    assert " ".join(legend.get_text(" ").split()) == "A planner B coder C tester"


def happenings(screen: Screen) -> list[str]:
    """How it went: the states, in order."""
    return [badge.get_text(strip=True) for badge in screen.main.select(".happenings .state")]


async def test_a_step_shows_the_instance_as_it_stood_then(site: Site, calls: Calls) -> None:
    _, instance_id = await agents_at_work(calls)
    then = await site.open(f"/instances/{instance_id}?step=1")
    assert [row[0].split(" ")[0] for row in stages_shown(then)] == ["1", "2", "2.1"]
    assert "as it stood after step 2 of 4" in then.text
    assert "It is failed now" in then.text
    assert "Step 2: 2.1 Write it" in then.text
    assert '"lines": 12' in then.text
    assert then.links["Next step"].endswith("step=2")
    assert then.links["Previous step"].endswith("step=0")
    assert then.links["Back to now"] == f"/instances/{instance_id}"
    slider = then.form(f"/instances/{instance_id}").select_one("input[type=range]")
    assert slider is not None
    assert (slider["min"], slider["max"], slider["value"]) == ("0", "3", "1")
    assert "Failed" not in happenings(then)
    assert happenings(await site.open(f"/instances/{instance_id}"))[-1] == "Failed"
    beyond = await site.open(f"/instances/{instance_id}?step=99")
    assert happenings(beyond)[-1] == "Failed"
    assert "after step 4 of 4" in beyond.text
    assert "Next step" not in beyond.links
    assert (await site.open(f"/instances/{instance_id}?step=-1")).status == 400


async def test_what_crossed_a_line_is_told_and_resumed_with_a_higher_limit(site: Site, calls: Calls) -> None:
    _, instance_id = await paused(calls)
    await calls.settled(instance_id, "paused")
    screen = await site.open(f"/instances/{instance_id}")
    assert "Paused by its budget" in screen.text
    assert "Instance cost $1.10 exceeds budget limit $1.00" in screen.text
    assert "It has cost $1.10 of $1.00" in screen.text
    action = f"/instances/{instance_id}/resume"
    refused = await site.submit(screen, action, budget_limit_usd="0.50")
    assert refused.status == 400
    assert "must be more than the present limit, $1.00" in refused.text
    field = refused.form(action).select_one("input[name=budget_limit_usd]")
    assert field is not None
    assert (field["value"], field["aria-invalid"]) == ("0.50", "true")
    resumed = await site.submit(refused, action, budget_limit_usd="5")
    assert resumed.said.startswith("The instance was resumed")
    assert "Paused by its budget" not in resumed.text
    again = await site.post(action, [("csrf_token", _token(screen))])
    assert again.status == 409
    assert "not paused" in again.said


def _token(screen: Any) -> str:
    return str(screen.main.select_one("input[name=csrf_token]")["value"])


async def test_one_that_its_budget_has_ended_says_so(site: Site, calls: Calls) -> None:
    _, instance_id = await _ended(calls)
    screen = await site.open(f"/instances/{instance_id}")
    assert "Terminated Instance cost $2.00 exceeds budget limit $1.00" in screen.text
    assert f"/instances/{instance_id}/resume" not in [form.get("action") for form in screen.main.select("form")]


async def _ended(calls: Calls) -> tuple[str, str]:
    workflow_id = await budgeted(calls, budget_limit_usd=1, budget_action="terminate")
    opened = await spend(calls, workflow_id, "1", 0.5, start="yes")
    await spend(calls, workflow_id, "2", 1.5)
    instance_id = str(opened["instance_id"])
    await calls.settled(instance_id, "terminated")
    return workflow_id, instance_id


async def test_what_it_waits_for_is_linked(site: Site, calls: Calls) -> None:
    _, instance_id = await calls.open()
    asked = await calls.post(
        "/api/approvals",
        {"context": "Go on?", "instance_id": instance_id, "approvers": ["ada@example.com"], "title": "Go on?"},
        201,
    )
    screen = await site.open(f"/instances/{instance_id}")
    assert "Waiting for 1 approval" in screen.text
    assert screen.links["Go on?"] == f"/approvals/{asked['approval_id']}"


async def test_a_viewer_sees_it_all_and_changes_nothing(viewer: Site, calls: Calls) -> None:
    _, instance_id = await paused(calls)
    await calls.settled(instance_id, "paused")
    screen = await viewer.open(f"/instances/{instance_id}?step=0")
    assert screen.status == 200
    assert [form for form in screen.main.select("form") if form.get("method") == "post"] == []
    assert "Fork or rerun" not in screen.links
    token = _cookie(viewer)
    for action in ("resume", "go-on"):
        refused = await viewer.post(f"/instances/{instance_id}/{action}", [("csrf_token", token)])
        assert refused.status == 403
    assert (await viewer.open(f"/instances/{instance_id}/go-on")).status == 403


def _cookie(site: Site) -> str:
    return str(site.http.cookies["csrf_token"])


@pytest.mark.parametrize("page", ["", "/timeline", "/steps/0", "/lineage", "/go-on"])
async def test_nobody_sees_that_of_others(fresh: Site, calls: Calls, page: str) -> None:
    _, instance_id = await calls.open()
    assert (await fresh.open(f"/instances/{instance_id}{page}")).status == 403
    assert (await fresh.open(f"/instances/dnothing1{page}")).status == 404


async def test_words_of_others_are_words(site: Site, calls: Calls) -> None:
    _, instance_id = await calls.open(stagename=HOSTILE, agent="<b>bold</b>", status="failed", error=HOSTILE)
    screen = await site.open(f"/instances/{instance_id}?step=0")
    assert "<script>alert(1)</script>\ufffd" in screen.text
    assert "\u202e" not in screen.response.text
    assert screen.main.select("b, script, [style], [onclick]") == []


async def test_very_many_stages_are_shown_a_page_at_a_time_and_found(fresh: Site, fresh_calls: Calls) -> None:
    count = PAGE + 50
    workflow_id = await fresh_calls.define(stages=count)
    instance_id = (await fresh_calls.static(workflow_id, 1))["instance_id"]
    await fresh_calls.static(workflow_id, count, stagename="The last one")
    address = f"/instances/{instance_id}"
    first = await fresh.open(address)
    assert len(stages_shown(first)) == PAGE
    assert f"Rows 1 to {PAGE} of {count}" in first.text
    last = await fresh.open(first.links["Rows after"])
    assert [row[0].split(" ")[0] for row in stages_shown(last)][-1] == str(count)
    assert first.links["Go to the latest step"] == last.path
    found = await fresh.open(f"{address}?find=LAST+one")
    assert [row[0].split(" ")[0] for row in stages_shown(found)] == [str(count)]
    by_state = await fresh.open(f"{address}?state=healthy")
    assert len(stages_shown(by_state)) == 2
    assert "No stage is like that" in (await fresh.open(f"{address}?find=nothing")).text


async def test_what_is_deep_is_folded_and_unfolds(fresh: Site, fresh_calls: Calls) -> None:
    workflow_id, instance_id = await fresh_calls.open()
    paths = [f"{top}.{child}.{leaf}" for top in range(1, 4) for child in range(1, 11) for leaf in range(1, 11)]
    for number in range(0, len(paths), 60):
        await asyncio.gather(*(fresh_calls.dynamic(workflow_id, path) for path in paths[number : number + 60]))
    folded = await fresh.open(f"/instances/{instance_id}")
    rows = stages_shown(folded)
    assert len(rows) == 33
    assert "10 below" in rows[1][0]
    unfolded = await fresh.open(f"/instances/{instance_id}?under=2.3")
    assert [row[0].split(" ")[0] for row in stages_shown(unfolded)] == [
        "2.3",
        *(f"2.3.{leaf}" for leaf in range(1, 11)),
    ]


async def test_an_instance_without_pings_waits(site: Site, calls: Calls) -> None:
    _, instance_id = await calls.open()
    made = await calls.post(f"/api/instances/{instance_id}/rerun", {}, 201)
    screen = await site.open(f"/instances/{made['new_instance_id']}")
    assert "Waits for its first ping" in screen.text
    assert "No stages yet" in screen.text
    assert f"instance_id={made['new_instance_id']}" in screen.text


async def test_a_reported_run_has_its_own_times(site: Site, calls: Calls) -> None:
    workflow_id = await runs(calls)
    execution = new_execution()
    times: dict[str, Any] = {"started_at": "2026-01-15T08:58:04.500Z", "correlation_id": f"order of {execution}"}
    reported = await succeed(calls, workflow_id, external_execution_id=execution, **times)
    other = await succeed(calls, workflow_id, external_execution_id=new_execution(), **times)
    screen = await site.open(f"/instances/{reported['instance_id']}")
    assert "Duration 2 min" in screen.text
    assert lane_of(screen, "run") == "0 ms to 2 min"
    assert execution in screen.text
    assert screen.links[other["instance_id"]] == f"/instances/{other['instance_id']}"


async def test_a_deleted_workflow_leaves_its_instances_to_be_seen(fresh: Site, fresh_calls: Calls) -> None:
    workflow_id = await fresh_calls.define("dynamic", name="Gone")
    _, instance_id = await fresh_calls.open(workflow_id)
    assert (await fresh_calls.http.delete(f"/api/workflows/{workflow_id}")).status_code == 204
    screen = await fresh.open(f"/instances/{instance_id}")
    assert screen.title == f"Gone · {instance_id}"
    assert "Terminated" in screen.text


async def test_two_thousand_stages_come_page_by_page_and_each_is_found(
    fresh: Site, fresh_calls: Calls, sessions: Sessions
) -> None:
    _, instance_id = await fresh_calls.open()
    await _ping_many(sessions, instance_id, 2_000)
    address = f"/instances/{instance_id}"
    screen = await fresh.open(f"{address}?find=Part+1999")
    assert len(stages_shown(screen)) == 1
    assert "of 2,000" in (await fresh.open(address)).text


async def _ping_many(sessions: Sessions, instance_id: str, count: int) -> None:
    """Puts further pings into the journal, each of its own stage: to send them takes minutes."""
    async with transaction(sessions) as session:
        first = (await session.execute(select(Ping).where(Ping.instance_id == instance_id))).scalar_one()
        same = ("gateway_id", "account_id", "workflow_id", "instance_id", "subject", "status", "start", "final")
        row = {name: getattr(first, name) for name in (*same, "size_bytes", "outcome")}
        rows = [
            row
            | {
                "path": str(number),
                "name": f"Part {number}",
                "agent": ("planner", "coder", "tester")[number % 3],
                "received_at": first.received_at + timedelta(milliseconds=number),
                "cost_usd": Decimal("0.001"),
                "start": False,
            }
            for number in range(2, count + 1)
        ]
        await session.execute(insert(Ping), rows)
