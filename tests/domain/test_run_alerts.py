"""What of reported runs is told: the trouble is the workflow's."""

from datetime import datetime
from itertools import permutations

from hypothesis import given
from hypothesis import strategies as st

from domain.alerts import Alert
from domain.evaluation import Change
from domain.instances import InstanceStatus
from domain.run_alerts import RunStanding, has_ended, standing_after
from domain.transitions import Transition
from domain.workflows import WorkflowDefinition, WorkflowKind
from tests.domain.builders import at

FLOW = WorkflowDefinition("flow", "account", WorkflowKind.RUN, name="Leads", tags=("crm",))
FAILED, COMPLETED, RUNNING = InstanceStatus.FAILED, InstanceStatus.COMPLETED, InstanceStatus.RUNNING


def change(run: str, moment: datetime, after: InstanceStatus, before: InstanceStatus | None = None) -> Change:
    reason = "boom" if after is FAILED else None
    steps = (Transition("run", None, "failed", moment, reason), Transition(None, before, after, moment, reason))
    return Change(run, 1, after, {}, steps)


def told(*changes: Change) -> tuple[RunStanding, list[Alert]]:
    standing = RunStanding()
    alerts: list[Alert] = []
    for item in changes:
        standing, more = standing_after(FLOW, item, standing)
        alerts.extend(more)
    return standing, alerts


def test_a_success_of_a_healthy_workflow_is_no_news() -> None:
    standing, alerts = told(change("r1", at(0), COMPLETED), change("r2", at(1), COMPLETED))
    assert alerts == []
    assert standing == RunStanding(None, None, at(1))


def test_a_failure_is_told_and_the_next_success_is_its_good_end() -> None:
    standing, alerts = told(change("r1", at(0), FAILED), change("r2", at(5), FAILED), change("r3", at(9), COMPLETED))
    assert [alert.kind.name for alert in alerts] == ["instance_failed", "instance_failed", "instance_recovered"]
    assert [alert.title for alert in alerts] == [
        "Leads (r1) failed: boom",
        "Leads (r2) failed: boom",
        "Leads recovered: run r3 succeeded",
    ]
    assert {alert.trouble for alert in alerts} == {f"workflow/flow/{at(0).isoformat()}"}
    assert {alert.source for alert in alerts} == {"workflow/flow"}
    assert {alert.tags for alert in alerts} == {("crm",)}
    assert standing == RunStanding(None, at(5), at(9))


def test_the_next_failure_is_another_trouble() -> None:
    _, alerts = told(change("r1", at(0), FAILED), change("r2", at(1), COMPLETED), change("r3", at(2), FAILED))
    assert alerts[0].trouble == alerts[1].trouble != alerts[2].trouble


def test_a_success_from_before_the_failure_is_no_good_end() -> None:
    standing, alerts = told(change("r2", at(5), FAILED), change("r1", at(0), COMPLETED))
    assert len(alerts) == 1
    assert standing.failing_since == at(5)


def test_a_failure_that_is_heard_of_behind_a_later_success_is_told_with_its_good_end() -> None:
    standing, alerts = told(change("r2", at(5), COMPLETED), change("r1", at(0), FAILED))
    assert [(alert.kind.name, alert.at) for alert in alerts] == [
        ("instance_failed", at(0)),
        ("instance_recovered", at(5)),
    ]
    assert len({alert.trouble for alert in alerts}) == 1
    assert len({alert.dedupe_key for alert in alerts}) == 2
    assert standing.failing_since is None


def test_a_change_that_ends_nothing_is_no_news() -> None:
    going_on = change("r1", at(0), RUNNING)
    assert not has_ended(going_on)
    assert told(going_on) == (RunStanding(), [])


@given(st.lists(st.booleans(), min_size=1, max_size=4))
def test_in_whatever_order_runs_are_recorded_the_last_of_them_decides(failures: list[bool]) -> None:
    changes = [
        change(f"r{number}", at(number), FAILED if failed else COMPLETED) for number, failed in enumerate(failures)
    ]
    for order in permutations(changes):
        standing, alerts = told(*order)
        assert (standing.failing_since is not None) is failures[-1]
        kinds = [alert.kind.name for alert in alerts]
        assert kinds.count("instance_failed") == sum(failures)
        # Every trouble that is over has exactly one good end, and it was told before.
        open_troubles: list[str] = []
        for alert in alerts:
            if alert.kind.resolves:
                open_troubles = [trouble for trouble in open_troubles if trouble != alert.trouble]
            else:
                open_troubles.append(alert.trouble)
        assert bool(open_troubles) is failures[-1]
