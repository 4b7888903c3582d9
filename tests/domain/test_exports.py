"""An instance that is imported stands as it stood, and is over."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from domain.exports import NOT_FINISHED, Exported, as_finished, in_order
from domain.instances import InstanceStatus, Outage, StageStatus
from domain.pings import PingFact, PingStatus
from domain.transitions import Transition
from domain.workflows import StageDefinition, WorkflowDefinition, WorkflowKind

NOON = datetime(2026, 11, 22, 12, tzinfo=UTC)
STAGES = (StageDefinition(1), StageDefinition(2))
RUNNING = Transition(None, None, "running", NOON)


def after(seconds: float) -> datetime:
    return NOON + timedelta(seconds=seconds)


def fact(path: str, seconds: float = 0, **others: object) -> PingFact:
    return replace(PingFact(int(path), 0, path, PingStatus.HEALTHY, after(seconds)), **others)  # type: ignore[arg-type]


def exported(status: str, *facts: PingFact, completed: float | None = None, **others: object) -> Exported:
    """An hour after it was opened."""
    definition = WorkflowDefinition("w", "", WorkflowKind.STATIC, stages=STAGES, stage_timeout_seconds=60)
    completed_at = None if completed is None else after(completed)
    made = Exported(definition, InstanceStatus(status), NOON, completed_at, after(3600), facts, (RUNNING,))
    return replace(made, **others)  # type: ignore[arg-type]


def test_a_completed_one_stays_completed() -> None:
    view, transitions = as_finished(exported("completed", fact("1"), fact("2", 10), completed=10))
    assert (view.status, view.completed_at, view.failure_reason) == (InstanceStatus.COMPLETED, after(10), None)
    assert transitions == (RUNNING,)


def test_deadlines_count_up_to_the_end_and_no_further() -> None:
    stages = (*STAGES, StageDefinition(3))
    timed_out = exported("failed", fact("1"), completed=60)
    timed_out = replace(timed_out, definition=replace(timed_out.definition, stages=stages, instance_timeout_seconds=90))
    view, _ = as_finished(timed_out)
    assert (view.status, view.failure_reason, view.completed_at) == (
        InstanceStatus.FAILED,
        "Stage 2 timeout",
        after(60),
    )
    assert [stage.status for stage in view.stages.values()] == [
        StageStatus.HEALTHY,
        StageStatus.TIMEOUT,
        StageStatus.PENDING,
    ]


def test_a_terminated_one_stays_terminated() -> None:
    view, transitions = as_finished(exported("terminated", fact("1"), completed=5))
    assert (view.status, view.completed_at) == (InstanceStatus.TERMINATED, after(5))
    assert transitions == (RUNNING,)


@pytest.mark.parametrize("status", ["pending", "running", "paused"])
def test_one_that_was_not_finished_ends_with_its_export(status: str) -> None:
    relaxed = exported(status, fact("1"), exported_at=after(30))
    view, transitions = as_finished(relaxed)
    assert (view.status, view.completed_at, view.closes_at) == (InstanceStatus.TERMINATED, after(30), after(30))
    assert view.stages["1"].status is StageStatus.HEALTHY
    assert transitions == (RUNNING, Transition(None, status, "terminated", after(30), NOT_FINISHED))


def test_what_its_workflow_had_not_come_to_record_counts() -> None:
    view, transitions = as_finished(exported("running", fact("1")))
    assert (view.status, view.failure_reason) == (InstanceStatus.FAILED, "Stage 2 timeout")
    assert transitions == (RUNNING, Transition(None, "running", "failed", after(60), "Stage 2 timeout"))


def test_outages_move_its_deadlines() -> None:
    outage = Outage(after(10), after(3590))
    view, _ = as_finished(exported("running", fact("1"), outages=(outage,)))
    assert view.status is InstanceStatus.TERMINATED


def test_order() -> None:
    assert in_order(())
    assert in_order((after(0), after(0), after(1)))
    assert not in_order((after(1), after(0)))
