"""What an instance's workflow does as time passes, on a server that skips it."""

from dataclasses import replace
from datetime import timedelta

import pytest

from domain.instances import Outage
from domain.pings import PingStatus
from domain.workflows import WorkflowDefinition
from temporal_workflows.instance import InstanceWorkflow
from tests.domain.builders import dynamic, static
from tests.workflows.world import World

FAILED = PingStatus.FAILED


@pytest.mark.parametrize(
    ("definition", "deadline", "reason", "path"),
    [
        (static(None, 20.0, None), 20, "Stage 2 timeout", "2"),
        (static(None, None, stage_timeout_seconds=30.0), 30, "Stage 2 timeout", "2"),
        (dynamic(stage_timeout_seconds=40.0), 40, "Stage 2 timeout", "2"),
        (dynamic(idle_timeout_seconds=86_400.0), 86_400, "Idle timeout: no ping for 86400 seconds", None),
        (dynamic(instance_timeout_seconds=31_622_400.0), 31_622_400, "Instance timeout", None),
    ],
)
async def test_a_deadline_fails_the_instance_and_its_grace_closes_it(
    world: World, definition: WorkflowDefinition, deadline: int, reason: str, path: str | None
) -> None:
    run = await world.open(definition)
    await run.ping("1")
    await run.until(deadline - 1)
    assert await run.show() == ("running", None)
    await run.until(deadline + 1)
    assert await run.show() == ("failed", reason)
    assert run.told() == [("running", 0), ("failed", deadline)]
    if path is not None:
        assert run.told(path)[-1] == ("timeout", deadline)
    assert await run.result() == "failed"
    assert run.recordings[-1].change.failure_reason == reason


async def test_pings_put_deadlines_off(world: World) -> None:
    run = await world.open(dynamic(stage_timeout_seconds=20.0))
    for second in (0, 15, 30, 45):
        await run.until(second)
        await run.ping("1")
    assert await run.result() == "failed"
    assert run.told() == [("running", 0), ("failed", 65)]


async def test_a_missing_stage_is_missed_after_the_grace_period(world: World) -> None:
    run = await world.open(static(None, None, None))
    await run.ping("1")
    await run.ping("3")
    assert await run.result() == "failed"
    assert run.told() == [("running", 0), ("failed", 60)]
    assert run.told("2") == [("missed", 60)]
    assert run.recordings[-1].change.failure_reason == "Stage 2 missed"


async def test_a_good_ping_heals_a_failure_within_the_grace_period(world: World) -> None:
    run = await world.open(static(None, None, None, grace_period_seconds=100.0))
    await run.ping("1")
    await run.until(10)
    await run.ping("2", FAILED, error="boom")
    assert await run.show() == ("failed", "Stage 2 failed: boom")
    await run.until(90)
    await run.ping("2")
    assert await run.show() == ("running", None)
    await run.until(300)
    await run.ping("3")
    assert await run.result() == "completed"
    assert run.told() == [("running", 0), ("failed", 10), ("running", 90), ("completed", 300)]
    assert run.told("2") == [("failed", 10), ("healthy", 90)]


async def test_a_straggler_heals_a_timeout_while_its_grace_lasts(world: World) -> None:
    run = await world.open(static(None, 20.0))
    await run.ping("1")
    await run.until(50)
    assert await run.show() == ("failed", "Stage 2 timeout")
    await run.ping("2")
    assert await run.result() == "completed"
    assert run.told("2") == [("timeout", 20), ("healthy", 50)]


async def test_an_instance_closes_when_its_grace_is_over_and_not_before(world: World) -> None:
    run = await world.open(dynamic(grace_period_seconds=500.0))
    await run.ping("1", final=True)
    await run.until(499)
    assert await run.show() == ("completed", None)
    await run.ping("late")
    assert await run.result() == "completed"
    ended_at = (await run.handle.describe()).close_time
    assert ended_at is not None
    assert 500 <= (ended_at - run.opened_at).total_seconds() < 502


async def test_silence_that_is_not_certain_is_no_alarm(world: World) -> None:
    run = await world.open(dynamic(idle_timeout_seconds=10.0))
    run.is_certain = False
    await run.ping("1")
    await run.until(300)
    assert await run.show() == ("running", None)
    waits = [(after - before).total_seconds() for before, after in zip(run.questions, run.questions[1:], strict=False)]
    assert [round(wait) for wait in waits[:8]] == [1, 2, 4, 8, 16, 32, 60, 60]
    run.is_certain = True
    assert await run.result() == "failed"
    assert run.told() == [("running", 0), ("failed", 10)]


async def test_a_ping_that_was_on_its_way_saves_the_instance(world: World) -> None:
    run = await world.open(dynamic(idle_timeout_seconds=10.0))
    run.is_certain = False
    await run.ping("1")
    await run.until(12)
    run.is_certain = True
    await run.ping("2", final=True)
    assert await run.result() == "completed"
    assert run.told() == [("running", 0), ("completed", 12)]


async def test_an_outage_of_ours_moves_the_deadline(world: World) -> None:
    run = await world.open(dynamic(idle_timeout_seconds=100.0))
    await run.ping("1")
    run.outages = (Outage(run.opened_at + timedelta(seconds=50), run.opened_at + timedelta(seconds=80)),)
    await run.until(120)
    assert await run.show() == ("running", None)
    assert await run.result() == "failed"
    assert run.told() == [("running", 0), ("failed", 130)]


@pytest.mark.parametrize("is_told", [True, False])
async def test_an_instance_that_was_ended_from_outside(world: World, is_told: bool) -> None:
    """It is told; if that fails, it finds out when it asks whether silence is silence."""
    run = await world.open(dynamic(idle_timeout_seconds=1000.0))
    await run.ping("1")
    await run.until(10)
    run.ended_at = run.opened_at + timedelta(seconds=10)
    if is_told:
        await run.handle.signal(InstanceWorkflow.instance_terminated)
    assert await run.result() == "terminated"
    assert run.told() == [("running", 0), ("terminated", 10)]


async def test_without_any_deadline_the_end_from_outside_is_still_found(world: World) -> None:
    run = await world.open(dynamic())
    await run.ping("1")
    run.is_certain = False
    await run.handle.signal(InstanceWorkflow.instance_terminated)
    await run.until(5)
    run.is_certain, run.ended_at = True, run.opened_at + timedelta(seconds=1)
    assert await run.result() == "terminated"


async def test_a_straggler_after_the_end_finds_the_instance_as_it_was(world: World) -> None:
    """Nothing is told twice, although the workflow that knew it all is gone."""
    run = await world.open(static(None, 20.0, None))
    await run.ping("1")
    assert await run.result() == "failed"
    await run.ping("done")
    assert await run.result() == "failed"
    assert run.told() == [("running", 0), ("failed", 20)]
    assert run.told("2") == [("timeout", 20)]
    assert [change.after for change in run.recordings[-1].change.transitions] == ["healthy"]


async def test_a_workflow_without_an_instance_ends(world: World) -> None:
    run = replace(await world.open(dynamic()), id="d-unknown")
    await run.deliver([])
    assert await run.result() == "withdrawn"
