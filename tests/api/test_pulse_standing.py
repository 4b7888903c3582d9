"""How pulses stand, as their pings and rules change, and what became of them."""

from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update

from config.clock import utc_now
from domain.subjects import pulse_subject
from domain.transitions import Transition
from storage.base import Sessions, transaction
from storage.pulses import Pulse
from storage.transitions import add_transitions
from tests.api.calls import Calls, new_id
from tests.api.pulse_calls import create, patch, read, recorded
from tests.api.test_errors import fields, problem
from tests.support.stack import Stack
from tests.support.waiting import until


async def test_callers_read_their_own_pings(ours_elsewhere: Calls, ours: Calls) -> None:
    """Through a gateway whose windows last a second."""
    calls, pulse_id = ours_elsewhere, (await create(ours))["id"]
    await calls.get(f"/hbk/{pulse_id}/start", rid="a")
    started = await read(ours, pulse_id)
    assert (started["status"], [run["rid"] for run in started["running"]]) == ("up", ["a"])
    for status, failures in (("up", 0), ("down", 1), ("down", 2), ("up", 0)):
        await calls.get(f"/hbk/{pulse_id}" if status == "up" else f"/hbk/{pulse_id}/fail")
        shown = await read(ours, pulse_id)
        assert (shown["status"], shown["consecutive_failures"]) == (status, failures)
        assert (await calls.get("/api/pulses"))["pulses"][0] == shown
    due_at, last_at = (datetime.fromisoformat(shown[name]) for name in ("next_due_at", "last_ping_at"))
    assert due_at - last_at == timedelta(hours=1)
    await recorded(ours, pulse_id, "up", "down", "up")
    assert await read(ours, pulse_id) == shown


async def test_a_changed_schedule_takes_effect_at_once(ours: Calls) -> None:
    pulse_id = (await create(ours))["id"]
    await ours.get(f"/hbk/{pulse_id}")
    changed = await patch(ours, pulse_id, period_seconds=1, grace_seconds=0.5, reminder_seconds=60)
    due_at, last_at = (datetime.fromisoformat(changed[name]) for name in ("next_due_at", "last_ping_at"))
    assert due_at - last_at == timedelta(seconds=1)
    events = await recorded(ours, pulse_id, "up", "late", "down")
    assert timedelta(seconds=1.5) <= datetime.fromisoformat(events[0]["at"]) - last_at < timedelta(seconds=5)
    shown = await read(ours, pulse_id)
    assert (shown["status"], shown["next_due_at"], shown["consecutive_failures"]) == ("down", None, 1)
    assert shown["reason"] == events[0]["reason"]
    assert shown["reason"].startswith("no ping since")


async def test_pause_and_resume(ours: Calls) -> None:
    pulse_id = (await create(ours, slug=new_id("slug")))["id"]
    path = f"/api/pulses/{pulse_id}"
    paused = await ours.post(f"{path}/pause", {})
    assert (paused["status"], paused["status_since"]) == ("paused", paused["updated_at"])
    assert await ours.post(f"{path}/pause", {}) == paused
    assert (await ours.post(f"{path}/resume", {}))["status"] == "new"
    await ours.get(f"/hbk/{pulse_id}/fail")
    await recorded(ours, pulse_id, "down")
    assert (await ours.post(f"{path}/pause", {}))["status"] == "paused"
    await recorded(ours, pulse_id, "down", "paused")
    await ours.get(f"/hbk/{pulse_id}")
    shown = await read(ours, pulse_id)
    assert (shown["status"], shown["consecutive_failures"], shown["next_due_at"]) == ("paused", 0, None)
    assert shown["last_ping_at"] > shown["status_since"]
    resumed = await ours.post(f"{path}/resume", {})
    assert resumed["status"] == "up"
    assert datetime.fromisoformat(resumed["next_due_at"]) > utc_now() + timedelta(minutes=59)
    await recorded(ours, pulse_id, "down", "paused", "up")


async def test_one_that_was_paused_before_its_first_ping_stays_paused(ours: Calls) -> None:
    pulse_id = (await create(ours))["id"]
    await ours.post(f"/api/pulses/{pulse_id}/pause", {})
    await ours.get(f"/hbk/{pulse_id}/fail")
    assert (await read(ours, pulse_id))["status"] == "paused"

    async def is_recorded() -> bool:
        page = await ours.get("/api/pulses", status="up,down,new,late", limit=100)
        return pulse_id not in {pulse["id"] for pulse in page["pulses"]}

    await until(is_recorded)
    shown = await read(ours, pulse_id)
    assert (shown["status"], shown["last_ping_at"] is not None) == ("paused", True)


async def test_deleting_ends_the_workflow_and_frees_the_slug(ours: Calls, stack: Stack) -> None:
    slug = new_id("slug")
    pulse_id = (await create(ours, slug=slug))["id"]
    await ours.get(f"/hbk/{slug}")
    await recorded(ours, pulse_id, "up")
    assert (await ours.http.delete(f"/api/pulses/{pulse_id}")).status_code == 204
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/pause"), ("GET", "/pings"), ("GET", "/uptime")):
        problem(await ours.http.request(method, f"/api/pulses/{pulse_id}{path}"), 404, "not_found")
    assert await stack.temporal.get_workflow_handle(pulse_subject(pulse_id)).result() == "deleted"
    assert (await create(ours, slug=slug))["id"] != pulse_id
    assert pulse_id not in str(await ours.get("/api/pulses", limit=100))


async def test_a_pulse_that_was_never_pinged_has_no_workflow(ours: Calls, stack: Stack) -> None:
    pulse_id = (await create(ours))["id"]
    await patch(ours, pulse_id, period_seconds=5)
    found = [item.id async for item in stack.temporal.list_workflows(f"WorkflowId = '{pulse_subject(pulse_id)}'")]
    assert found == []


async def test_events_with_durations(ours: Calls) -> None:
    pulse_id = (await create(ours))["id"]
    for path in ("", "/fail", "", "/fail"):
        await ours.get(f"/hbk/{pulse_id}{path}")
    events = await recorded(ours, pulse_id, "up", "down", "up", "down")
    assert [event["from_status"] for event in events] == ["up", "down", "up", "new"]
    times = [datetime.fromisoformat(event["at"]) for event in events]
    gaps = [(later - earlier).total_seconds() for later, earlier in zip(times, times[1:], strict=False)]
    assert [event["duration_seconds"] for event in events] == [None, *gaps]
    assert [event["previous_seconds"] for event in events] == [*gaps, None]
    assert [event["reason"] for event in events] == ["reported a failure", None] * 2
    seen: list[dict[str, Any]] = []
    cursor = ""
    while cursor is not None:
        page = await ours.get(f"/api/pulses/{pulse_id}/events", limit=3, cursor=cursor)
        seen, cursor = seen + page["events"], page["next_cursor"]
    assert seen == events
    between = {"since": events[2]["at"], "until": events[0]["at"]}
    assert (await ours.get(f"/api/pulses/{pulse_id}/events", **between))["events"] == events[1:3]
    response = await ours.http.get(f"/api/pulses/{pulse_id}/events", params={"since": "2026-01-01T00:00:00"})
    assert fields(problem(response, 400, "invalid_request")) == ["since"]


async def test_uptime(ours: Calls, sessions: Sessions) -> None:
    pulse_id = (await create(ours))["id"]
    path = f"/api/pulses/{pulse_id}/uptime"
    nothing = await ours.get(path)
    assert (nothing["days"], nothing["share"], nothing["downtimes"]) == (30, None, [])
    now = utc_now()
    down_at, up_at = now - timedelta(days=4), now - timedelta(days=3)
    async with transaction(sessions) as session:
        add_transitions(
            session,
            pulse_subject(pulse_id),
            [
                Transition(None, "new", "up", now - timedelta(days=8)),
                Transition(None, "up", "down", down_at, "no ping"),
                Transition(None, "down", "up", up_at),
            ],
        )
    week = await ours.get(path, days=8)
    assert week["share"] == pytest.approx(7 / 8, abs=0.001)
    assert week["down_seconds"] == 86_400
    (downtime,) = week["downtimes"]
    assert (downtime["seconds"], downtime["reason"]) == (86_400, "no ping")
    assert datetime.fromisoformat(downtime["start"]) == down_at
    assert datetime.fromisoformat(downtime["end"]) == up_at
    half = await ours.get(path, days=1)
    assert (half["share"], half["downtimes"]) == (1, [])
    assert half["up_seconds"] == pytest.approx(86_400)
    for days in (0, 367, "x"):
        problem(await ours.http.get(path, params={"days": days}), 400, "invalid_request")


async def test_a_change_that_could_not_be_told_is_told_later(ours: Calls, sessions: Sessions) -> None:
    """As if the gateway had died between the commit and the telling."""
    pulse_id = (await create(ours))["id"]
    await ours.get(f"/hbk/{pulse_id}")
    await recorded(ours, pulse_id, "up")
    async with transaction(sessions) as session:
        long_ago = utc_now() - timedelta(minutes=1)
        await session.execute(
            update(Pulse).where(Pulse.id == pulse_id).values(paused_at=long_ago, revision=2, updated_at=long_ago)
        )
    assert (await read(ours, pulse_id))["status"] == "paused"
    await recorded(ours, pulse_id, "up", "paused")


async def test_the_trouble_of_a_pulse_ends_with_its_deletion(ours: Calls) -> None:
    """Whoever was told that it is down would else wait for its recovery."""
    pulse_id = (await create(ours))["id"]
    await ours.get(f"/hbk/{pulse_id}/fail")
    await recorded(ours, pulse_id, "down")
    response = await ours.http.delete(f"/api/pulses/{pulse_id}")
    assert response.status_code == 204
    alerts = (await ours.get("/api/alerts", subject=pulse_subject(pulse_id)))["alerts"]
    assert [alert["kind"] for alert in alerts] == ["pulse_deleted", "pulse_down"]
    assert len({alert["trouble"] for alert in alerts}) == 1


async def test_what_is_held_for_a_dependency_goes_by_what_the_pulse_depends_on_now(ours: Calls) -> None:
    parent = (await create(ours))["id"]
    child = (await create(ours, depends_on=[parent]))["id"]
    for pulse_id in (parent, child):
        await ours.get(f"/hbk/{pulse_id}/fail")
        await recorded(ours, pulse_id, "down")

    async def held() -> list[dict[str, Any]]:
        return list((await ours.get("/api/alerts", subject=pulse_subject(child), state="held"))["alerts"])

    (alert,) = await until(held)
    assert alert["depends_on"] == [parent]
    await patch(ours, child, depends_on=[])
    assert [alert["depends_on"] for alert in await held()] == [[]]
