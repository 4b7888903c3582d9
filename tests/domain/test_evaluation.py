"""What an instance's pings and silences mean, rule by rule."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.evaluation import InstanceView, change_between, evaluate, stand, transitions
from domain.instances import InstanceState, InstanceStatus, Outage, StageStatus, confirm, fold
from domain.pings import PingFact
from domain.reports import RUN_PATH
from domain.workflows import WorkflowDefinition, WorkflowKind
from tests.domain.builders import (
    FAILED,
    PENDING,
    at,
    definitions,
    dynamic,
    histories,
    instance,
    ping,
    properties,
    static,
)


def view(
    definition: WorkflowDefinition, *pings: PingFact, until: float = 0, outages: tuple[Outage, ...] = ()
) -> InstanceView:
    """With silence confirmed up to `until` seconds."""
    return evaluate(fold(instance(definition), pings, until=at(until), outages=outages))


def summary(shown: InstanceView) -> tuple[str, str | None]:
    return shown.status.value, shown.failure_reason


def stages(shown: InstanceView) -> dict[str, str]:
    return {path: stage.status.value for path, stage in shown.stages.items()}


ABC = static(None, None, None)
"""Three stages, a minute of grace, no timeouts."""


@pytest.mark.parametrize(
    ("pings", "status"),
    [
        ([], "pending"),
        ([ping("1")], "running"),
        ([ping("1"), ping("2", 1), ping("3", 2)], "completed"),
        ([ping("1"), ping("2.1", 1), ping("3", 2)], "completed"),
        ([ping("3"), ping("1", 1), ping("2", 2)], "completed"),
        ([ping("1"), ping("2", 1, PENDING), ping("3", 2)], "running"),
        ([ping("1"), ping("2", 1), ping("3", 2), ping("extra", 3)], "completed"),
        ([ping("1"), ping("2", 1), ping("3", 2), ping("extra", 3, FAILED)], "failed"),
    ],
)
def test_a_static_instance_completes_with_its_last_missing_stage(pings: list[PingFact], status: str) -> None:
    assert view(ABC, *pings).status == status


@pytest.mark.parametrize(
    ("pings", "status"),
    [
        ([ping("1"), ping("2", 1)], "running"),
        ([ping("1", final=True)], "completed"),
        ([ping("1"), ping("dag_complete", 5, final=True)], "completed"),
        ([ping("1"), ping("done", 5, FAILED, final=True)], "failed"),
        ([ping("1", 1, PENDING), ping("2", 2, final=True)], "running"),
    ],
)
def test_a_dynamic_instance_completes_with_its_final_ping(pings: list[PingFact], status: str) -> None:
    assert view(dynamic(), *pings).status == status


def test_stages_show_what_is_known_in_tree_order() -> None:
    shown = view(ABC, ping("2.1", 4, name="Train"), ping("done", 5), ping("1", 1, agent=None))
    assert stages(shown) == {"1": "healthy", "2": "pending", "2.1": "healthy", "3": "pending", "done": "healthy"}
    assert [stage.name for stage in shown.stages.values()] == ["a", "b", "Train", "c", None]
    assert shown.stages["2.1"].at == at(4)
    assert shown.stages["3"].at is None
    assert (shown.agent, shown.last_ping_at) == ("ada", at(5))


@pytest.mark.parametrize(
    ("error", "reason"), [("out of memory", "Stage 2 failed: out of memory"), (None, "Stage 2 failed")]
)
def test_a_failed_stage_fails_the_instance_with_its_error(error: str | None, reason: str) -> None:
    shown = view(ABC, ping("1"), ping("2", 7, FAILED, error=error))
    assert summary(shown) == ("failed", reason)
    assert (shown.completed_at, shown.closes_at) == (at(7), at(67))
    assert shown.stages["2"].error == error


def test_the_first_of_several_failures_is_the_reason() -> None:
    shown = view(dynamic(), ping("2", 9, FAILED), ping("3", 5, FAILED, error="boom"))
    assert summary(shown) == ("failed", "Stage 3 failed: boom")


def test_a_good_ping_heals_its_stage() -> None:
    failed = [ping("1"), ping("2", 10, FAILED, error="boom")]
    assert summary(view(ABC, *failed, ping("2", 65))) == ("running", None)
    healed = view(ABC, *failed, ping("3", 20), ping("2", 65))
    assert summary(healed) == ("completed", None)
    assert (healed.completed_at, healed.closes_at) == (at(65), at(125))


def test_a_failure_that_heals_after_the_end_puts_the_end_off() -> None:
    shown = view(dynamic(), ping("1"), ping("2", 5, final=True), ping("1", 30, FAILED), ping("1", 50))
    assert (shown.status, shown.completed_at, shown.closes_at) == ("completed", at(50), at(110))


def test_the_missing_stages_have_the_grace_period_after_the_last_one() -> None:
    pings = [ping("1"), ping("3", 10)]
    waiting = view(ABC, *pings, until=69)
    assert waiting.status == "running"
    assert waiting.next_deadline is not None
    assert (waiting.next_deadline.at, waiting.next_deadline.path) == (at(70), "2")
    missed = view(ABC, *pings, until=70)
    assert summary(missed) == ("failed", "Stage 2 missed")
    assert stages(missed) == {"1": "healthy", "2": "missed", "3": "healthy"}
    assert (missed.completed_at, missed.closes_at, missed.stages["2"].at) == (at(70), at(130), at(70))
    assert view(ABC, *pings, ping("2", 100), until=100).status == "completed"


def test_all_that_is_missing_is_shown_and_the_first_is_the_reason() -> None:
    shown = view(ABC, ping("3", 10), until=70)
    assert summary(shown) == ("failed", "Stage 1 missed")
    assert stages(shown) == {"1": "missed", "2": "missed", "3": "healthy"}


def test_an_announced_stage_must_still_come() -> None:
    pings = [ping("1", 0, PENDING), ping("2", 10, final=True)]
    assert summary(view(dynamic(), *pings, until=70)) == ("failed", "Stage 1 missed")
    assert view(dynamic(), *pings, ping("1", 50), until=70).status == "completed"


@pytest.mark.parametrize(
    ("definition", "pings", "deadline", "reason"),
    [
        # A static stage's own timeout, or the default, from the stage before it.
        (static(None, None, 30.0), [ping("1", 0), ping("2", 5)], 35, "Stage 3 timeout"),
        (static(None, 30.0, None, stage_timeout_seconds=9.0), [ping("1", 5)], 35, "Stage 2 timeout"),
        (static(None, None, None, stage_timeout_seconds=9.0), [ping("1", 5)], 14, "Stage 2 timeout"),
        (static(None, None, stage_timeout_seconds=9.0), [ping("1", 5), ping("1.1", 8)], 14, "Stage 2 timeout"),
        # An early bird opened it: stage 1 is awaited since then.
        (static(7.0, 9.0, None), [ping("2", 0)], 7, "Stage 1 timeout"),
        # An announced stage, from its announcement.
        (static(None, 9.0), [ping("1", 0), ping("2", 5, PENDING)], 14, "Stage 2 timeout"),
        (dynamic(stage_timeout_seconds=9.0), [ping("load", 5, PENDING)], 14, "Stage load timeout"),
        # A dynamic instance, from its last ping of any stage.
        (dynamic(stage_timeout_seconds=9.0), [ping("1", 0), ping("2.3", 5)], 14, "Stage 3 timeout"),
        (dynamic(stage_timeout_seconds=9.0), [ping("load", 5)], 14, "Stage 1 timeout"),
        (dynamic(instance_timeout_seconds=20.0), [ping("1", 19)], 20, "Instance timeout"),
        (dynamic(idle_timeout_seconds=9.0), [ping("1", 19)], 28, "Idle timeout: no ping for 9 seconds"),
    ],
)
def test_what_does_not_come_in_time_fails_the_instance(
    definition: WorkflowDefinition, pings: list[PingFact], deadline: float, reason: str
) -> None:
    before = view(definition, *pings, until=deadline - 0.001)
    assert before.status == "running"
    assert before.next_deadline is not None
    assert (before.next_deadline.at, before.next_deadline.reason) == (at(deadline), reason)
    after = view(definition, *pings, until=deadline)
    assert summary(after) == ("failed", reason)
    assert (after.completed_at, after.closes_at) == (at(deadline), at(deadline + 60))
    if path := before.next_deadline.path:
        assert after.stages[path].status is StageStatus.TIMEOUT


def test_nothing_is_due_without_timeouts() -> None:
    assert view(dynamic(), ping("1")).next_deadline is None
    assert view(ABC, ping("1"), until=10**6).status == "running"


def test_a_stage_is_not_awaited_before_the_one_before_it() -> None:
    definition = static(None, None, 5.0)
    assert view(definition, ping("1"), until=1000).status == "running"


def test_what_comes_late_heals_a_timeout() -> None:
    definition = static(None, 10.0, None)
    assert view(definition, ping("1"), until=10).status == "failed"
    healed = view(definition, ping("1"), ping("2", 40), until=40)
    assert summary(healed) == ("running", None)
    assert stages(healed) == {"1": "healthy", "2": "healthy", "3": "pending"}


def test_an_instance_nobody_pings_is_not_open_for_good() -> None:
    never_pinged = view(dynamic(idle_timeout_seconds=50.0, stage_timeout_seconds=5.0), until=49)
    assert (never_pinged.status, never_pinged.stages) == ("pending", {})
    assert view(dynamic(idle_timeout_seconds=50.0), until=50).status == "failed"


def test_an_outage_moves_deadlines_and_the_end_of_the_grace_period() -> None:
    definition, outages = static(None, 10.0, None), (Outage(at(5), at(25)), Outage(at(40), at(45)))
    assert view(definition, ping("1"), until=29.9, outages=outages).status == "running"
    failed = view(definition, ping("1"), until=30, outages=outages)
    assert (failed.completed_at, failed.closes_at) == (at(30), at(95))


RUN = WorkflowDefinition("flow", "account", WorkflowKind.RUN)


@pytest.mark.parametrize(
    ("definition", "reason"),
    [
        (RUN, "boom"),
        (dynamic(), "Stage run failed: boom"),
        (static(None, None), "Stage run failed: boom"),
    ],
)
def test_a_report_of_the_whole_run_ends_it_whatever_its_stages(definition: WorkflowDefinition, reason: str) -> None:
    good = ping(RUN_PATH, 5, id_=2, final=True)
    bad = ping(RUN_PATH, 3, FAILED, id_=1, error="boom", final=True)
    for until in (5, 10_000):
        assert summary(view(definition, good, until=until)) == ("completed", None)
        assert summary(view(definition, bad, until=until)) == ("failed", reason)
        assert summary(view(definition, bad, good, until=until)) == ("completed", None)
    assert view(definition, bad, good).completed_at == at(5)


def test_a_run_that_failed_without_a_word() -> None:
    assert summary(view(RUN, ping(RUN_PATH, 0, FAILED, final=True))) == ("failed", "Failed")


def test_a_stage_of_that_name_alone_ends_no_static_instance() -> None:
    assert view(static(None, None), ping("1", 0), ping(RUN_PATH, 1, id_=2)).status is InstanceStatus.RUNNING


def test_a_terminated_instance_stays_so_and_has_no_grace() -> None:
    state = replace(instance(ABC, ping("1"), ping("2", 1, FAILED)), terminated_at=at(9))
    shown = evaluate(state)
    assert (shown.status, shown.completed_at, shown.closes_at) == ("terminated", at(9), at(9))
    assert evaluate(replace(state, stages={})).status == "terminated"


@properties
@given(definitions, histories(), st.integers(0, 120))
def test_an_instance_alone_stands_as_the_whole_of_it_shows(
    definition: WorkflowDefinition, pings: list[PingFact], until: int
) -> None:
    state = confirm(instance(definition, *pings), at(until))
    standing, shown = stand(state), evaluate(state)
    assert (standing.status, standing.reason, standing.closes_at, standing.next_deadline) == (
        shown.status,
        shown.failure_reason,
        shown.closes_at,
        shown.next_deadline,
    )


@properties
@given(definitions, histories(), st.integers(0, 120))
def test_a_view_is_consistent(definition: WorkflowDefinition, pings: list[PingFact], until: int) -> None:
    shown = evaluate(confirm(instance(definition, *pings), at(until)))
    is_finished = shown.status in ("completed", "failed")
    assert is_finished == (shown.completed_at is not None) == (shown.closes_at is not None)
    assert (shown.status == "failed") == (shown.failure_reason is not None)
    assert (shown.status == "pending") == (not pings and not is_finished)
    assert any(stage.status == "failed" for stage in shown.stages.values()) <= (shown.status == "failed")
    if shown.next_deadline is not None and not is_finished:
        assert shown.next_deadline.at > at(until)


@st.composite
def lives(draw: st.DrawFn) -> list[InstanceState]:
    """What became of an instance, ping by ping and silence by silence."""
    state = instance(draw(definitions))
    states = [state]
    for item in draw(histories()):
        state = instance(state.definition, item) if state.ping_count == 0 else fold(state, [item], until=item.at)
        states.append(state)
    return [*states, confirm(state, at(draw(st.integers(0, 200))))]


@properties
@given(lives())
def test_transitions_applied_to_the_old_statuses_give_the_new(states: list[InstanceState]) -> None:
    before, instance_status = None, None
    statuses: dict[str, str] = {}
    for state in states:
        after = evaluate(state)
        changes = transitions(before, after)
        for change in changes:
            if change.path is None:
                assert change.before == instance_status
                instance_status = InstanceStatus(change.after)
            else:
                assert change.before == statuses.get(change.path)
                statuses[change.path] = change.after
            assert change.before != change.after
        assert instance_status == after.status
        assert {path: stage.status for path, stage in after.stages.items()} == {
            **dict.fromkeys(after.stages, StageStatus.PENDING),
            **statuses,
        }
        before = after
        statuses = stages(after)


@properties
@given(lives())
def test_changes_applied_one_after_the_other_give_the_last_view(states: list[InstanceState]) -> None:
    """So the read model, to which they are written, shows what the workflow shows."""
    before: InstanceView | None = None
    shown: dict[str, object] = {}
    for version, state in enumerate(states, 1):
        after = evaluate(state)
        change = change_between("d12345678", version, before, after)
        shown |= change.stages
        before = after
    assert before is not None
    assert shown == before.stages
    assert change.status == before.status
