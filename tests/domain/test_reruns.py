"""A rerun waits for its first ping: until then nothing is due, and from then on time counts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.evaluation import evaluate
from domain.instance_alerts import rerun_alert
from domain.instances import InstanceState, InstanceStatus, confirm, merge
from domain.pings import PingFact
from domain.workflows import WorkflowDefinition
from tests.domain.builders import NOON, at, definitions, dynamic, histories, ping, properties, shuffled, static

MADE_AT = -100_000.0
"""Long before its first ping."""


def rerun(definition: WorkflowDefinition, *pings: PingFact) -> InstanceState:
    return merge(InstanceState("drerun", definition, at(MADE_AT), begins_with_ping=True), pings)


RULES = [
    (static(10.0, 20.0), "1", 20, "Stage 2 timeout"),
    (static(10.0, 20.0), "note", 10, "Stage 1 timeout"),
    (dynamic(stage_timeout_seconds=40.0), "1", 40, "Stage 2 timeout"),
    (dynamic(idle_timeout_seconds=50.0), "1", 50, "Idle timeout: no ping for 50 seconds"),
    (dynamic(instance_timeout_seconds=60.0), "1", 60, "Instance timeout"),
]


@pytest.mark.parametrize(("definition", "first", "due", "reason"), RULES)
def test_nothing_is_due_before_the_first_ping(
    definition: WorkflowDefinition, first: str, due: float, reason: str
) -> None:
    waiting = evaluate(confirm(rerun(definition), at(0)))
    assert (waiting.status, waiting.next_deadline, waiting.changed_at) == (
        InstanceStatus.PENDING,
        None,
        at(MADE_AT),
    )
    assert evaluate(confirm(rerun(definition, ping(first)), at(due - 1))).status is InstanceStatus.RUNNING
    failed = evaluate(confirm(rerun(definition, ping(first)), at(due)))
    assert (failed.status, failed.failure_reason) == (InstanceStatus.FAILED, reason)


@properties
@given(definitions, histories(), st.data())
def test_a_rerun_is_as_an_instance_that_its_first_ping_opened(
    definition: WorkflowDefinition, pings: list[PingFact], data: st.DataObject
) -> None:
    until = confirm(rerun(definition, *data.draw(shuffled(pings))), at(200))
    opened_at = min((fact.at for fact in pings), default=NOON)
    opened = confirm(merge(InstanceState("drerun", definition, opened_at), pings), at(200))
    if pings:
        assert evaluate(until) == evaluate(opened)
    else:
        assert evaluate(until).status is InstanceStatus.PENDING


def test_whoever_does_the_work_is_told() -> None:
    flow = dynamic(name="Ingest", tags=("data",))
    alert = rerun_alert(flow, "dnew", "dold", "a-uuid", at(0), "https://pp.example/api/instances/dnew/inputs", ["2"])
    assert (alert.kind.name, alert.kind.severity.value, alert.source) == (
        "instance_rerun_requested",
        "info",
        "workflow/flow",
    )
    assert (alert.title, alert.tags) == ("Ingest is to be run again: dold, as dnew", ("data",))
    assert alert.data == {
        "workflow_id": "flow",
        "instance_id": "dnew",
        "parent_id": "dold",
        "session_id": "a-uuid",
        "inputs_url": "https://pp.example/api/instances/dnew/inputs",
        "modified_stages": ["2"],
    }
