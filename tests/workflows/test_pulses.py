"""What a pulse's workflow does as time passes, on a server that skips it."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta

import pytest
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from domain.instances import Outage
from domain.pings import Event
from temporal_workflows.pulse import PulseWorkflow
from tests.workflows.pulse_world import QUEUE, PulseWorld
from worker.main import sandbox


@pytest.fixture(scope="module")
async def pulses(skipping: WorkflowEnvironment) -> AsyncIterator[PulseWorld]:
    world = PulseWorld(skipping)
    async with Worker(
        skipping.client,
        task_queue=QUEUE,
        workflows=[PulseWorkflow],
        activities=world.activities,
        workflow_runner=sandbox(),
    ):
        yield world
        # Nobody works for them any more: their tasks would time out again and again in all the time that is skipped.
        await world.end_all()


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
    await target.handle.terminate()
    await target.until(100)
    target.delivered.append(await target.fact())  # Temporal had it, and has forgotten it
    await target.until(110)
    await target.ping()
    assert target.history == [("up", 0), ("late", 60), ("down", 90), ("up", 100)]
    assert target.recordings[-1].delivered == {1: 3}
