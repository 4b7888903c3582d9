"""What a pulse's workflow does as time passes, on a server that skips it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from temporalio.api.enums.v1 import EventType
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from domain.instances import Outage
from domain.maintenance import MaintenanceWindow
from domain.pings import Event
from domain.subjects import pulse_subject
from temporal_workflows.pulse import PulseWorkflow
from temporal_workflows.search_attributes import OWNER, STATUS
from tests.workflows.pulse_world import QUEUE, PulseWorld
from worker.main import sandbox


@pytest.fixture(scope="module")
async def world_of_pulses(skipping: WorkflowEnvironment) -> AsyncIterator[PulseWorld]:
    world = PulseWorld(skipping)
    async with Worker(
        skipping.client,
        task_queue=QUEUE,
        workflows=[PulseWorkflow],
        activities=world.activities,
        workflow_runner=sandbox(),
    ):
        yield world


@pytest.fixture
async def pulses(world_of_pulses: PulseWorld) -> AsyncIterator[PulseWorld]:
    """Ended in the end: what waits for something yet would keep the server busy when others skip a year."""
    yield world_of_pulses
    await world_of_pulses.end_all()


async def test_silence_makes_it_late_and_then_down_and_a_ping_brings_it_up(pulses: PulseWorld) -> None:
    target = await pulses.create(period_seconds=60, grace_seconds=30)
    await target.ping()
    await target.until(59)
    assert await target.status() == "up"
    await target.until(61)
    assert await target.status() == "late"
    await target.until(91)
    assert await target.status() == "down"
    await target.until(500)
    await target.ping()
    assert await target.status() == "up"
    assert target.history == [("up", 0), ("late", 60), ("down", 90), ("up", 500)]
    assert target.alerts == [("pulse_down", 90), ("pulse_recovered", 500)]


async def test_pings_in_time_keep_it_up(pulses: PulseWorld) -> None:
    target = await pulses.create(period_seconds=3600, grace_seconds=60)
    for hour in range(30):
        await target.until(hour * 3590)
        await target.ping()
    assert target.history == [("up", 0)]
    assert not target.questions


async def test_a_run_that_hangs_is_noticed_while_others_succeed(pulses: PulseWorld) -> None:
    target = await pulses.create(period_seconds=3600, grace_seconds=100)
    await target.ping(Event.START, run_id="hung")
    await target.until(20)
    await target.ping(Event.START, run_id="good")
    await target.until(50)
    await target.ping(run_id="good")
    await target.until(101)
    assert await target.status() == "down"
    assert target.history == [("up", 0), ("down", 100)]


async def test_a_start_without_a_finish_goes_down_after_the_grace(pulses: PulseWorld) -> None:
    target = await pulses.create(period_seconds=86_400, grace_seconds=600)
    await target.ping(Event.START)
    await target.until(601)
    assert target.history == [("up", 0), ("down", 600)]


async def test_a_failure_is_down_at_once_and_reminders_follow(pulses: PulseWorld) -> None:
    target = await pulses.create(period_seconds=86_400, reminder_seconds=3600)
    await target.ping(Event.FAIL)
    await target.until(2 * 3600 + 10)
    await target.ping()
    assert target.alerts == [
        ("pulse_down", 0),
        ("pulse_reminder", 3600),
        ("pulse_reminder", 7200),
        ("pulse_recovered", 7210),
    ]


async def test_a_changed_schedule_takes_effect_on_the_running_timer(pulses: PulseWorld) -> None:
    target = await pulses.create(period_seconds=86_400, grace_seconds=0)
    await target.ping()
    await target.until(10)
    await target.redefine(period_seconds=60)
    await target.until(61)
    assert await target.status() == "down"
    assert target.history[-1] == ("down", 60)


async def test_new_rules_are_found_at_the_next_recording_even_if_nobody_tells(pulses: PulseWorld) -> None:
    target = await pulses.create(period_seconds=100, grace_seconds=0)
    await target.ping()
    target.definition = replace(target.definition, revision=2, period_seconds=1000)
    await target.until(10)
    await target.ping()
    await target.until(900)
    assert await target.status() == "up"
    await target.until(1011)
    assert target.history == [("up", 0), ("late", 1010), ("down", 1010)]


async def test_a_pause_holds_everything_and_a_resume_begins_anew(pulses: PulseWorld) -> None:
    target = await pulses.create(period_seconds=60, grace_seconds=0)
    await target.ping()
    await target.until(10)
    await target.redefine(paused_at=await target.now())
    await target.until(1000)
    assert await target.status() == "paused"
    await target.redefine(paused_at=None)
    assert await target.status() == "up"
    await target.until(1061)
    assert target.history == [("up", 0), ("paused", 10), ("up", 1000), ("late", 1060), ("down", 1060)]


async def test_a_deleted_pulse_ends_without_a_word(pulses: PulseWorld) -> None:
    target = await pulses.create(period_seconds=60)
    await target.ping()
    target.is_deleted = True
    await target.temporal.tell_of_new_rules(target.definition.id)
    assert await target.handle.result() == "deleted"
    assert target.history == [("up", 0)]


async def test_a_pulse_that_was_deleted_unheard_ends_at_its_next_deadline(pulses: PulseWorld) -> None:
    target = await pulses.create(period_seconds=60)
    await target.ping()
    target.is_deleted = True
    await target.until(62)
    assert await target.handle.result() == "deleted"


async def test_silence_that_is_not_certain_is_no_alarm(pulses: PulseWorld) -> None:
    target = await pulses.create(period_seconds=60, grace_seconds=0)
    await target.ping()
    target.is_certain = False
    await target.until(300)
    assert await target.status() == "up"
    waits = [
        round((after - before).total_seconds())
        for before, after in zip(target.questions, target.questions[1:], strict=False)
    ]
    assert waits[:7] == [1, 2, 4, 8, 16, 32, 60]
    target.is_certain = True
    await target.until(400)
    assert target.history == [("up", 0), ("late", 60), ("down", 60)]


async def test_a_ping_that_comes_behind_a_deadline_waits_for_those_on_their_way(pulses: PulseWorld) -> None:
    """Another gateway has journaled one in time, and is about to deliver it."""
    target = await pulses.create(period_seconds=60, grace_seconds=60)
    await target.ping()
    target.is_certain = False
    await target.until(200)
    in_time = await target.fact(at=target.created_at + timedelta(seconds=50), gateway=2)
    late = replace(await target.fact(), id=in_time.id + 1)
    await target.deliver(late)
    await target.asked_again()
    await target.deliver(in_time)
    target.is_certain = True
    await target.until(210)
    assert await target.status() == "up"
    assert target.history == [("up", 0), ("late", 110), ("down", 170), ("up", 200)]


async def test_an_outage_of_ours_makes_it_unknown_and_moves_the_deadline(pulses: PulseWorld) -> None:
    target = await pulses.create(period_seconds=100, grace_seconds=50)
    await target.ping()
    target.outages = (Outage(target.created_at + timedelta(seconds=120), target.created_at + timedelta(seconds=150)),)
    await target.until(155)
    assert await target.status() == "unknown"
    await target.until(190)
    assert await target.status() == "down"
    assert target.history == [("up", 0), ("late", 100), ("unknown", 150), ("down", 180)]


async def test_a_lost_task_is_not_recorded_twice(pulses: PulseWorld) -> None:
    target = await pulses.create(period_seconds=60, grace_seconds=30)
    await target.ping()
    target.is_stale = True
    await target.ping()
    await target.until(95)
    assert target.history == [("up", 0), ("late", 60), ("down", 90)]


async def test_a_workflow_that_was_lost_begins_where_it_was(pulses: PulseWorld) -> None:
    target = await pulses.create(period_seconds=60, grace_seconds=30)
    await target.ping()
    await target.until(95)
    await target.lose()
    await target.until(100)
    target.delivered.append(await target.fact())  # Temporal had it, and has forgotten it
    await target.until(110)
    await target.ping()
    assert target.history == [("up", 0), ("late", 60), ("down", 90), ("up", 100)]
    assert target.recordings[-1].delivered == {1: 3}


async def test_a_ping_that_is_late_brings_it_up_before_anybody_is_told(pulses: PulseWorld) -> None:
    target = await pulses.create(period_seconds=60, grace_seconds=30)
    await target.ping()
    await target.until(70)
    await target.ping()
    await target.until(100)
    assert target.history == [("up", 0), ("late", 60), ("up", 70)]
    assert not target.alerts


async def test_whoever_wants_to_know_is_told_of_lateness(pulses: PulseWorld) -> None:
    target = await pulses.create(period_seconds=60, grace_seconds=30, notify_late=True)
    await target.ping()
    await target.until(61)
    assert target.alerts == [("pulse_late", 60)]


async def test_a_failure_takes_it_down_and_a_start_does_not_bring_it_up(pulses: PulseWorld) -> None:
    target = await pulses.create(period_seconds=3600)
    await target.ping()
    await target.until(10)
    await target.ping(Event.FAIL)
    await target.until(20)
    await target.ping(Event.START)
    await target.until(30)
    await target.ping(Event.LOG)
    assert await target.status() == "down"
    await target.until(40)
    await target.ping()
    assert target.history == [("up", 0), ("down", 10), ("up", 40)]


async def test_several_misses_in_a_row_take_it_down(pulses: PulseWorld) -> None:
    target = await pulses.create(period_seconds=100, grace_seconds=10, alert_after=3)
    await target.ping()
    await target.until(311)
    assert target.history == [("up", 0), ("late", 100), ("down", 310)]


async def test_a_start_has_a_grace_of_its_own_and_a_run_a_longest_duration(pulses: PulseWorld) -> None:
    rules = {"grace_seconds": 600, "start_grace_seconds": 5, "max_duration_seconds": 50}
    target = await pulses.create(period_seconds=100, **rules)
    await target.ping()
    await target.until(103)
    await target.ping(Event.START)
    await target.until(154)
    assert target.history == [("up", 0), ("late", 100), ("up", 103), ("down", 153)]


async def test_a_run_that_was_too_short_is_a_failure(pulses: PulseWorld) -> None:
    target = await pulses.create(period_seconds=3600, min_duration_seconds=30)
    await target.ping(Event.START)
    await target.until(10)
    await target.ping()
    assert target.history == [("up", 0), ("down", 10)]


async def test_maintenance_is_no_time_for_alarms(pulses: PulseWorld) -> None:
    target = await pulses.create(period_seconds=100, grace_seconds=10)
    begins = target.created_at + timedelta(seconds=50)
    window = MaintenanceWindow(begins, begins + timedelta(seconds=500))
    target.definition = replace(target.definition, maintenance=(window,))
    await target.ping()
    await target.until(200)
    await target.ping(Event.FAIL)
    assert await target.status() == "up"
    await target.until(561)
    assert target.history == [("up", 0), ("late", 550), ("down", 560)]


async def test_an_outage_of_ours_is_over_with_the_next_ping(pulses: PulseWorld) -> None:
    target = await pulses.create(period_seconds=100, grace_seconds=10)
    await target.ping()
    target.outages = (Outage(target.created_at + timedelta(seconds=90), target.created_at + timedelta(seconds=150)),)
    await target.until(155)
    assert await target.status() == "unknown"
    await target.ping()
    assert target.history[-2:] == [("unknown", 110), ("up", 155)]
    assert not target.alerts


async def test_a_pulse_that_was_never_pinged_is_new_again_after_a_pause(pulses: PulseWorld) -> None:
    target = await pulses.create(period_seconds=60)
    await target.ping(Event.LOG)
    assert await target.status() == "new"
    await target.redefine(paused_at=await target.now())
    await target.redefine(paused_at=None)
    await target.until(10_000)
    assert await target.status() == "new"
    assert [status for status, _ in target.history] == ["paused", "new"]


@pytest.mark.parametrize("second", [70, 95])
async def test_a_pause_ends_lateness_and_trouble(pulses: PulseWorld, second: int) -> None:
    target = await pulses.create(period_seconds=60, grace_seconds=30)
    await target.ping()
    await target.until(second)
    await target.redefine(paused_at=await target.now())
    assert await target.status() == "paused"
    kinds = [kind for kind, _ in target.alerts]
    assert kinds == (["pulse_down", "pulse_paused"] if second > 90 else [])


async def test_a_year_of_cron_pings_through_both_changes_of_the_clocks(pulses: PulseWorld) -> None:
    """Half past two on Sundays, when the clocks change: in March there is none, in October there are two."""
    zone = ZoneInfo("Europe/Berlin")
    target = await pulses.create(cron="30 2 * * 0", timezone=zone.key, grace_seconds=600)
    today = target.created_at.astimezone(zone).date()
    sundays = [day for day in (today + timedelta(days=later) for later in range(1, 366)) if day.isoweekday() == 7]
    expected = [due_on(day, zone) for day in sundays]
    assert {due.hour for due in expected} == {0, 1}, "summer and winter"
    forgotten = [expected[index] for index in (3, 20, 21, 40)]
    await target.ping()
    for due in expected:
        if due not in forgotten:
            await target.until((due - target.created_at).total_seconds() + 30)
            await target.ping()
    # Of two in a row there is one trouble.
    missed = [due for due in forgotten if due != expected[21]]
    told = [at for kind, at in target.alerts if kind == "pulse_down"]
    assert told == [round((due - target.created_at).total_seconds()) + 600 for due in missed]


def due_on(day: date, zone: ZoneInfo) -> datetime:
    """Half past two, of two the first; where there is none, the end of the gap."""
    due = datetime.combine(day, time(2, 30), zone).astimezone(UTC)
    return due if due.astimezone(zone).time() == time(2, 30) else due.replace(minute=0)


async def test_rules_that_changed_while_its_workflow_was_lost_take_effect_when_it_is_back(pulses: PulseWorld) -> None:
    target = await pulses.create(period_seconds=60, grace_seconds=0)
    await target.ping()
    await target.lose()
    await target.redefine(paused_at=target.created_at)
    await target.until(1000)
    assert await target.status() == "paused"
    assert not target.alerts


async def test_lists_in_the_temporal_ui_know_of_the_status_after_a_while(pulses: PulseWorld) -> None:
    target = await pulses.create(period_seconds=3600)
    await target.ping(Event.FAIL)
    assert (await target.handle.describe()).typed_search_attributes.get(STATUS) is None
    await target.until(61)
    shown = (await target.handle.describe()).typed_search_attributes
    assert (shown.get(STATUS), shown.get(OWNER)) == ("down", "account")
    await target.ping()
    await target.until(70)
    await target.ping(Event.FAIL)
    await target.until(200)
    upserts = [
        event async for event in target.handle.fetch_history_events() if "UPSERT" in EventType.Name(event.event_type)
    ]
    assert len(upserts) == 1


async def test_a_change_of_rules_does_not_overtake_the_pings_before_it(pulses: PulseWorld) -> None:
    """A recovery, and then a pause before it was delivered; a failure while it was paused, and then a resume."""
    target = await pulses.create(period_seconds=600)
    await target.ping(Event.FAIL)
    await target.until(10)
    recovery = await target.fact()
    target.on_their_way = [recovery]
    await target.until(20)
    paused = asyncio.create_task(target.redefine(paused_at=await target.now()))
    await target.asked_again()
    assert await target.status() == "down"
    await target.deliver(recovery)
    await paused
    await target.until(30)
    failure = await target.fact(Event.FAIL)
    await target.until(40)
    target.on_their_way = [failure]
    resumed = asyncio.create_task(target.redefine(paused_at=None))
    await target.asked_again()
    await target.deliver(failure, await target.fact(at=target.created_at + timedelta(seconds=45)))
    await resumed
    assert target.history == [("down", 0), ("up", 10), ("paused", 20), ("up", 40)]
    assert target.alerts == [("pulse_down", 0), ("pulse_recovered", 10)]


async def test_a_pulse_that_is_awaited_and_never_pings_goes_down_and_its_first_ping_brings_it_up(
    pulses: PulseWorld,
) -> None:
    target = await pulses.create_awaited(period_seconds=60, grace_seconds=30)
    assert await target.status() == "new"
    await target.until(59)
    assert await target.status() == "new"
    await target.until(91)
    assert await target.status() == "down"
    await target.until(500)
    await target.ping()
    assert target.history == [("late", 60), ("down", 90), ("up", 500)]
    assert target.alerts == [("pulse_down", 90), ("pulse_recovered", 500)]


async def test_a_pulse_that_is_awaited_is_new_and_awaited_again_after_a_pause(pulses: PulseWorld) -> None:
    target = await pulses.create_awaited(period_seconds=60, grace_seconds=0)
    await target.until(10)
    await target.redefine(paused_at=await target.now())
    await target.until(1000)
    assert await target.status() == "paused"
    await target.redefine(paused_at=None)
    await target.until(1061)
    assert target.history == [("paused", 10), ("new", 1000), ("late", 1060), ("down", 1060)]


async def test_a_pulse_that_is_awaited_is_still_so_after_its_workflow_was_lost(pulses: PulseWorld) -> None:
    target = await pulses.create_awaited(period_seconds=60, grace_seconds=0)
    await target.lose()
    await target.until(100)
    await target.temporal.signal(pulse_subject(target.definition.id), [])
    await target.until(103)
    assert await target.status() == "down"
    assert target.alerts == [("pulse_down", 60)]
