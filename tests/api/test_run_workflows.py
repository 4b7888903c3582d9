"""Workflows whose runs are reported: their definition, FlowPulse's list of them, and what is expected of them."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

from config.clock import utc_now
from domain.pulses import PulseDefinition
from storage.base import Sessions, transaction
from storage.pulses import create_pulse
from tests.api.calls import Calls, new_id
from tests.api.ingest_calls import fail, runs, succeed, told
from tests.api.pulse_calls import patch as patch_pulse
from tests.api.pulse_calls import read as read_pulse
from tests.support.waiting import until


async def patch(calls: Calls, workflow_id: str, expected: int = 200, **changes: Any) -> dict[str, Any]:
    response = await calls.http.patch(f"/api/workflows/{workflow_id}", json=changes)
    assert response.status_code == expected, response.text
    return dict(response.json())


async def pulse_alerts(calls: Calls, pulse_id: str, *kinds: str) -> list[dict[str, Any]]:
    """The alerts of a pulse, the oldest first, once there are exactly these."""

    async def are_there() -> Any:
        alerts = (await calls.get("/api/alerts", source=f"pulse/{pulse_id}"))["alerts"]
        return alerts[::-1] if [alert["kind"] for alert in reversed(alerts)] == list(kinds) else None

    return list(await until(are_there))


async def test_a_run_workflow(ours: Calls) -> None:
    workflow_id = await runs(ours)
    assert workflow_id.startswith("rwf_")
    workflow = await ours.get(f"/api/workflows/{workflow_id}")
    assert workflow["kind"] == "run"
    assert workflow["stages"] == []
    assert workflow["ping_url"].endswith("/api/v1/ingest/run-success")
    expected = ("expected_interval_seconds", "expected_grace_seconds", "pulse_id")
    assert [workflow[name] for name in expected] == [None, None, None]
    problem = await patch(ours, workflow_id, 400, validation_mode="strict")
    assert problem["errors"][0]["field"] == "validation_mode"


async def test_flowpulse_lists_workflows_with_how_their_runs_stand(mine: Calls) -> None:
    healthy, failing, new = [await runs(mine) for _ in range(3)]
    dynamic = await mine.define("dynamic")
    await patch(mine, healthy, expected_interval_minutes=15)
    await succeed(mine, healthy)
    await fail(mine, failing)

    async def are_recorded() -> Any:
        listed = {item["id"]: item for item in (await mine.get("/api/v1/workflows"))["workflows"]}
        return listed if [listed[item]["status"] for item in (healthy, failing)] == ["healthy", "failing"] else None

    listed = await until(are_recorded)
    assert list(listed) == [dynamic, new, failing, healthy]
    assert (listed[new]["status"], listed[new]["last_success_at"]) == (None, None)
    assert listed[healthy]["last_success_at"] is not None
    assert listed[failing]["last_failure_at"] is not None
    assert listed[healthy]["expected_interval_seconds"] == 900
    workflow = await mine.get(f"/api/workflows/{healthy}")
    assert {name: listed[healthy][name] for name in ("id", "slug", "name", "kind")} == {
        name: workflow[name] for name in ("id", "slug", "name", "kind")
    }
    kinds = await mine.get("/api/v1/workflows", kind="run", limit=2)
    assert [item["id"] for item in kinds["workflows"]] == [new, failing]
    rest = await mine.get("/api/v1/workflows", kind="run", cursor=kinds["next_cursor"])
    assert [item["id"] for item in rest["workflows"]] == [healthy]


async def test_silence_is_an_alert_and_the_next_report_its_good_end(ours: Calls) -> None:
    name = new_id("Hourly")
    workflow_id = await runs(ours, name=name, tags=["crm"], expected_interval_minutes=60, expected_grace_seconds=0)
    pulse_id = (await ours.get(f"/api/workflows/{workflow_id}"))["pulse_id"]
    pulse = await read_pulse(ours, pulse_id)
    assert (pulse["status"], pulse["next_due_at"] is not None) == ("new", True)
    await succeed(ours, workflow_id)
    await patch(ours, workflow_id, expected_interval_seconds=1)
    (down,) = await pulse_alerts(ours, pulse_id, "pulse_down")
    assert down["title"].startswith(f"{name} is down: no ping since")
    assert "set up" not in down["title"]
    assert down["tags"] == ["crm"]
    # A run that fails is not silent: its failure is told, and that it reports again.
    await patch(ours, workflow_id, expected_interval_seconds=3600)
    await fail(ours, workflow_id)
    await pulse_alerts(ours, pulse_id, "pulse_down", "pulse_recovered")
    await told(ours, workflow_id, "instance_failed")
    assert (await read_pulse(ours, pulse_id))["status"] == "up"


async def test_a_workflow_that_never_reports_is_an_alert_and_its_first_report_the_good_end(ours: Calls) -> None:
    name = new_id("Silent")
    workflow_id = await runs(ours, name=name, tags=["crm"], expected_interval_seconds=1, expected_grace_seconds=0)
    pulse_id = (await ours.get(f"/api/workflows/{workflow_id}"))["pulse_id"]
    (down,) = await pulse_alerts(ours, pulse_id, "pulse_down")
    assert down["title"].startswith(f"{name} is down: no ping since it was set up at")
    assert down["tags"] == ["crm"]
    pulse = await read_pulse(ours, pulse_id)
    assert (pulse["status"], pulse["last_ping_at"]) == ("down", None)
    # A run that fails has been reported all the same: it is no silence, and told by itself.
    await patch(ours, workflow_id, expected_interval_seconds=3600)
    await fail(ours, workflow_id)
    _, recovered = await pulse_alerts(ours, pulse_id, "pulse_down", "pulse_recovered")
    assert recovered["title"].startswith(f"{name} is up again after")
    await told(ours, workflow_id, "instance_failed")


async def test_a_workflow_that_never_reports_after_it_was_given_an_interval_is_an_alert(ours: Calls) -> None:
    given = await runs(ours)
    shortened = await runs(ours, expected_interval_minutes=60)
    await succeed(ours, given)
    for workflow_id in (given, shortened):
        workflow = await patch(ours, workflow_id, expected_interval_seconds=1, expected_grace_seconds=0)
        (down,) = await pulse_alerts(ours, workflow["pulse_id"], "pulse_down")
        assert "no ping since it was set up at" in down["title"]


async def test_a_pulse_that_waits_for_its_first_report_can_be_paused(ours: Calls) -> None:
    workflow_id = await runs(ours, expected_interval_seconds=3600, expected_grace_seconds=0)
    pulse_id = (await ours.get(f"/api/workflows/{workflow_id}"))["pulse_id"]
    before = await read_pulse(ours, pulse_id)
    await ours.post(f"/api/pulses/{pulse_id}/pause", {})
    await patch(ours, workflow_id, expected_interval_seconds=1)
    paused = await read_pulse(ours, pulse_id)
    assert (paused["status"], paused["next_due_at"]) == ("paused", None)
    await patch_pulse(ours, pulse_id, period_seconds=3600)
    resumed = await ours.post(f"/api/pulses/{pulse_id}/resume", {})
    assert resumed["status"] == "new"
    assert resumed["next_due_at"] > before["next_due_at"]
    await patch(ours, workflow_id, expected_interval_seconds=1)
    await pulse_alerts(ours, pulse_id, "pulse_down")


async def test_a_pulse_whose_workflow_nobody_told_to_begin_is_watched_all_the_same(
    ours: Calls, sessions: Sessions
) -> None:
    """As if its gateway had died right after the commit."""
    now = utc_now()
    pulse_id = new_id("pls")
    rules = PulseDefinition(pulse_id, ours.account_id, "Untold", pulse_id, period_seconds=1, grace_seconds=0)
    async with transaction(sessions) as session:
        # Made a while ago, so that housekeeping need not wait before it looks.
        assert await create_pulse(session, replace(rules, awaited_since=now), now - timedelta(minutes=1))
    await pulse_alerts(ours, pulse_id, "pulse_down")


async def test_a_repeated_report_is_no_sign_of_life(ours: Calls) -> None:
    workflow_id = await runs(ours, expected_interval_minutes=60)
    pulse_id = (await ours.get(f"/api/workflows/{workflow_id}"))["pulse_id"]
    for _ in range(3):
        await succeed(ours, workflow_id, external_execution_id="1", duration_ms=1500)
    await succeed(ours, workflow_id, external_execution_id="2")
    pings = (await ours.get(f"/api/pulses/{pulse_id}/pings"))["pings"]
    assert [ping["event"] for ping in pings] == ["success", "success"]


async def test_what_is_expected_can_be_changed_and_is_a_pulse_like_any(ours: Calls) -> None:
    channel = (await ours.post("/api/channels", {"kind": "email", "name": "A", "address": "a@example.com"}, 201))["id"]
    workflow_id = await runs(ours, channels=[channel])
    workflow = await patch(ours, workflow_id, expected_interval_minutes=10)
    pulse_id = workflow["pulse_id"]
    assert (workflow["expected_interval_seconds"], workflow["expected_grace_seconds"]) == (600, 300)
    pulse = await read_pulse(ours, pulse_id)
    assert (pulse["name"], pulse["slug"]) == (workflow["name"], workflow["slug"])
    assert (pulse["period_seconds"], pulse["channels"]) == (600, [channel])
    workflow = await patch(ours, workflow_id, expected_grace_seconds=5, name="Renamed", tags=["x"], channels=[])
    assert (workflow["expected_interval_seconds"], workflow["expected_grace_seconds"]) == (600, 5)
    pulse = await read_pulse(ours, pulse_id)
    assert (pulse["id"], pulse["name"], pulse["tags"], pulse["channels"]) == (pulse_id, "Renamed", ["x"], [])
    await patch_pulse(ours, pulse_id, cron="0 6 * * *")
    workflow = await ours.get(f"/api/workflows/{workflow_id}")
    assert (workflow["expected_interval_seconds"], workflow["pulse_id"]) == (None, pulse_id)
    workflow = await patch(ours, workflow_id, expected_interval_seconds=60)
    assert (await read_pulse(ours, pulse_id))["period_seconds"] == 60
    workflow = await patch(ours, workflow_id, expected_interval_seconds=None)
    assert (workflow["expected_interval_seconds"], workflow["pulse_id"]) == (None, None)
    await ours.get(f"/api/pulses/{pulse_id}", 404)
    await succeed(ours, workflow_id)


async def test_a_pulse_that_was_deleted_by_itself_is_made_anew(ours: Calls) -> None:
    workflow_id = await runs(ours, expected_interval_minutes=60)
    first = (await ours.get(f"/api/workflows/{workflow_id}"))["pulse_id"]
    assert (await ours.http.delete(f"/api/pulses/{first}")).status_code == 204
    assert (await ours.get(f"/api/workflows/{workflow_id}"))["pulse_id"] is None
    await succeed(ours, workflow_id)
    second = (await patch(ours, workflow_id, expected_interval_minutes=30))["pulse_id"]
    assert second not in (None, first)


async def test_a_deleted_workflow_takes_its_pulse_with_it_and_comes_back_without_trouble(ours: Calls) -> None:
    workflow_id = await runs(ours, id=new_id("rwf"), expected_interval_minutes=60, expected_grace_seconds=0)
    pulse_id = (await ours.get(f"/api/workflows/{workflow_id}"))["pulse_id"]
    await fail(ours, workflow_id)
    await patch(ours, workflow_id, expected_interval_seconds=1)
    await pulse_alerts(ours, pulse_id, "pulse_down")
    await told(ours, workflow_id, "instance_failed")
    assert (await ours.http.delete(f"/api/workflows/{workflow_id}")).status_code == 204
    await ours.get(f"/api/pulses/{pulse_id}", 404)
    await pulse_alerts(ours, pulse_id, "pulse_down", "pulse_deleted")
    assert await runs(ours, id=workflow_id) == workflow_id
    again = await succeed(ours, workflow_id)
    await ours.settled(again["instance_id"], "completed")
    await told(ours, workflow_id, "instance_failed")


async def test_a_slug_that_a_pulse_has_already(ours: Calls) -> None:
    slug = new_id("taken").replace("_", "-")
    await ours.post("/api/pulses", {"name": "A pulse", "slug": slug, "period_seconds": 60}, 201)
    workflow_id = await runs(ours, slug=slug, expected_interval_minutes=1)
    pulse = await read_pulse(ours, (await ours.get(f"/api/workflows/{workflow_id}"))["pulse_id"])
    assert pulse["slug"].startswith(f"{slug}-")


async def test_whoever_was_told_of_the_failure_is_told_of_the_next_success(ours: Calls) -> None:
    channel = (await ours.post("/api/channels", {"kind": "email", "name": "A", "address": "a@example.com"}, 201))["id"]
    workflow_id = await runs(ours, channels=[channel])

    async def sent(alert: dict[str, Any]) -> Any:
        deliveries = (await ours.get(f"/api/alerts/{alert['id']}/deliveries"))["deliveries"]
        return [item["channel_id"] for item in deliveries if item["state"] == "sent"] == [channel]

    await fail(ours, workflow_id)
    (failed,) = await told(ours, workflow_id, "instance_failed")
    await until(lambda: sent(failed))
    await succeed(ours, workflow_id)
    _, recovered = await told(ours, workflow_id, "instance_failed", "instance_recovered")
    await until(lambda: sent(recovered))
