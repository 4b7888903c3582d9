"""The failed queue and the budget of a workflow, as a browser without scripts uses them."""

from decimal import Decimal

from tests.api.calls import Calls
from tests.dashboard.test_workflows import HOSTILE, problems_of
from tests.support.dashboard import Site, save_from_two_tabs


async def test_the_failed_queue_says_what_was_wrong_and_what_to_do(site: Site, calls: Calls) -> None:
    workflow_id = await calls.define(validation_mode="strict")
    assert "The failed queue is empty" in (await site.open(f"/workflows/{workflow_id}/failed")).text
    instance_id = str((await calls.static(workflow_id, 1, agent="a"))["instance_id"])
    body = {
        "stage": 3,
        "agent": HOSTILE,
        "instance_id": instance_id,
        "payload": {"note": HOSTILE, "long": "y" * 10_000},
    }
    await calls.post(f"/shk/{workflow_id}", body, 400)
    await calls.static(workflow_id, 1, 409, agent="a", instance_id=instance_id)
    await calls.static(workflow_id, 7, 400, agent="a", instance_id=instance_id)
    await calls.static(workflow_id, 2, 400, instance_id=instance_id)
    screen = await site.open(f"/workflows/{workflow_id}/failed")
    cards = screen.main.select("ul.queue > li")
    assert [card.h2.get_text() for card in cards if card.h2] == [
        "Agent required", "Unknown stage", "Stage executed out of order", "Stage missed",
    ]  # fmt: skip
    words = [" ".join(card.get_text(" ").split()) for card in cards]
    assert "add agent=… to the ping" in words[0]
    assert "expected was" not in words[0]
    assert "Stage 3 came before stage 2, which was not seen yet." in words[3]
    assert "· expected was 2" in words[3]
    assert "characters more" in words[3]
    assert screen.links[instance_id] == f"/instances/{instance_id}"
    assert screen.links["To the rules"] == f"/workflows/{workflow_id}/edit"
    assert screen.main.select("script") == []


async def test_the_failed_queue_pages(site: Site, calls: Calls) -> None:
    workflow_id = await calls.define(validation_mode="strict")
    await calls.static(workflow_id, 1, agent="a")
    for number in range(27):
        await calls.static(workflow_id, 2, 400, note=number)
    first = await site.open(f"/workflows/{workflow_id}/failed")
    second = await site.open(first.links["Older"])
    ids = [str(card["id"]) for screen in (first, second) for card in screen.main.select("ul.queue > li")]
    assert len(ids) == len(set(ids)) == 27
    assert second.links["Back to the newest"] == f"/workflows/{workflow_id}/failed"
    assert (await site.open(f"/workflows/{workflow_id}/failed?cursor=x")).status == 400


async def test_a_budget_is_made_changed_and_removed(site: Site, calls: Calls) -> None:
    workflow_id = await calls.define("dynamic")
    page = f"/workflows/{workflow_id}/budget"
    empty = await site.open(page)
    assert "There is no budget yet" in empty.text
    made = await site.submit(
        empty, page,
        budget_limit_usd="$2.000000000001", budget_alert_threshold_usd="1.5", budget_daily_limit_usd="30",
        budget_action="pause", cost_anomaly_detection="yes", cost_anomaly_multiplier="4", max_pings_per_instance="900",
        resume_approvers="Ada@example.com\nbob@example.com",
    )  # fmt: skip
    assert made.said.startswith("The budget was saved.")
    view = await calls.get(f"/api/workflows/{workflow_id}/budget")
    expected = {
        "budget_enabled": True, "budget_limit_usd": 2.000000000001, "budget_alert_threshold_usd": 1.5,
        "budget_daily_limit_usd": 30, "budget_action": "pause", "cost_anomaly_detection": True,
        "cost_anomaly_multiplier": 4, "cost_anomaly_floor_usd": 1, "max_pings_per_instance": 900,
        "max_visits_per_stage": None, "resume_approvers": ["ada@example.com", "bob@example.com"],
    }  # fmt: skip
    assert {name: view[name] for name in expected} == expected
    assert made.main.select_one("[name=budget_limit_usd]")["value"] == "2.000000000001"  # type: ignore[index]
    off = await site.submit(made, page, budget_enabled=None, budget_limit_usd="")
    assert "switched off" in off.text
    assert (await calls.get(f"/api/workflows/{workflow_id}/budget"))["budget_limit_usd"] is None
    gone = await site.submit(off, f"{page}/remove")
    assert gone.said.startswith("The budget was removed.")
    assert "There is no budget yet" in gone.text
    assert (await calls.get(f"/api/workflows/{workflow_id}/budget"))["budget_enabled"] is False


async def test_amounts_that_are_none_are_told_at_their_fields(site: Site, calls: Calls) -> None:
    workflow_id = await calls.define("dynamic")
    page = f"/workflows/{workflow_id}/budget"
    refused = await site.submit(
        await site.open(page), page,
        budget_limit_usd="1,5", budget_daily_limit_usd="-1", max_visits_per_stage="some", budget_action="dance",
        cost_anomaly_multiplier="NaN", resume_approvers="nobody",
    )  # fmt: skip
    assert problems_of(refused) == {
        "budget_limit_usd", "budget_daily_limit_usd", "max_visits_per_stage", "budget_action",
        "cost_anomaly_multiplier", "resume_approvers",
    }  # fmt: skip
    assert refused.main.select_one("[name=budget_limit_usd]")["value"] == "1,5"  # type: ignore[index]
    refused = await site.submit(await site.open(page), page, budget_limit_usd="1", budget_alert_threshold_usd="2")
    assert problems_of(refused) == {"budget_alert_threshold_usd"}
    assert (await calls.get(f"/api/workflows/{workflow_id}/budget"))["updated_at"] is None


async def test_the_page_of_a_budget_says_what_is_spent_and_which_lines_were_crossed(site: Site, calls: Calls) -> None:
    workflow_id = await calls.define("dynamic")
    budget = {"budget_limit_usd": 2, "budget_daily_limit_usd": 25, "budget_action": "pause"}
    answer = await calls.http.put(f"/api/workflows/{workflow_id}/budget", json=budget)
    assert answer.status_code == 200, answer.text
    ping = f"/dhk/{workflow_id}"
    paused = str((await calls.post(ping, {"stagePath": "1", "start": "yes", "cost_usd": "0.84"}))["instance_id"])
    await calls.post(ping, {"stagePath": "2", "instance_id": paused, "cost_usd": "1.31"})
    cheap = str((await calls.post(ping, {"stagePath": "1", "start": "yes", "cost_usd": "0.5"}))["instance_id"])
    screen = await site.open(f"/workflows/{workflow_id}/budget")
    assert "Spent $2.65 of $25.00 a day" in screen.text
    assert "2 open runs have cost $2.65 so far." in screen.text
    dearest = [" ".join(item.get_text(" ").split()) for item in screen.main.select("#open li")]
    assert dearest == [f"{paused} Paused $2.15 of $2.00", f"{cheap} $0.50 of $2.00"]
    (crossing,) = screen.rows("#crossings table")
    assert crossing[1].startswith("Limit of a run Instance cost $2.15 exceeds budget limit")
    assert crossing[2:] == [paused, "$2.15", "$2.00", "told, run paused"]
    await calls.dynamic(workflow_id, "3", 409, instance_id=paused)
    queue = await site.open(f"/workflows/{workflow_id}/failed")
    assert queue.links["To the run"] == f"/instances/{paused}"
    meters = [str(meter["aria-label"]) for meter in screen.main.select("svg.meter")]
    assert meters[0] == f"{Decimal('10.6')} % of the daily limit is spent"


async def test_a_budget_changed_in_another_tab_is_not_overwritten_unknowingly(site: Site, calls: Calls) -> None:
    page = f"/workflows/{await calls.define('dynamic')}/budget"
    _, saved = await save_from_two_tabs(site, page, ("budget_limit_usd", "2"), ("max_pings_per_instance", "9"))
    assert saved.said.startswith("The budget was saved.")
    after = await calls.get(f"/api{page}")
    assert (after["budget_limit_usd"], after["max_pings_per_instance"]) == (None, 9)
