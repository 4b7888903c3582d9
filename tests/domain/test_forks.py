"""What a fork inherits, and what becomes of it: the fold of what it inherited, with time that counts from the fork."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from domain.errors import InvalidRequest
from domain.evaluation import evaluate
from domain.forks import inherited_by_fork, modified_fact
from domain.instances import InstanceState, InstanceStatus, confirm, merge
from domain.merge_patch import merge_patch
from domain.pings import PingFact, PingStatus
from domain.verdicts import judge
from domain.workflows import WorkflowDefinition
from tests.domain.builders import FAILED, at, definitions, dynamic, histories, ping, properties, static, strict

FORKED_AT = 100_000.0
"""Long after every deadline of the original."""


def fork(definition: WorkflowDefinition, *inherited: PingFact, seconds: float = FORKED_AT) -> InstanceState:
    return merge(InstanceState("dfork", definition, at(seconds)), inherited)


def refused(definition: WorkflowDefinition, pings: Sequence[PingFact], stage: str, *modified: str) -> tuple[str, str]:
    with pytest.raises(InvalidRequest) as error:
        inherited_by_fork(definition, pings, stage, modified)
    (field,) = error.value.fields
    return field.field, field.message


def test_a_fork_inherits_everything_up_to_the_last_ping_of_the_stage() -> None:
    pings = [ping("1", 1), ping("2", 2), ping("1", 3), ping("note", 4), ping("2", 5), ping("3", 6)]
    assert inherited_by_fork(dynamic(), pings, "2", ["1", "note"]) == pings[:5]
    assert inherited_by_fork(dynamic(), pings, "1", []) == pings[:3]
    assert inherited_by_fork(dynamic(), pings, "3", []) == pings


def test_what_cannot_be_forked_is_named() -> None:
    rules = static(None, None, None)
    pings = [ping("1", 1), ping("2", 2)]
    assert refused(rules, pings, "3") == ("fork_from_stage", "stage 3 was not executed by this instance")
    assert refused(rules, pings, "7") == ("fork_from_stage", "stage 7 is unknown: the workflow has the stages 1 to 3")
    assert refused(rules, pings, "b") == ("fork_from_stage", "b is the name of stage 2; send 2")
    assert refused(rules, pings, "done") == ("fork_from_stage", "stage done was not executed by this instance")
    assert refused(dynamic(), [], "1") == ("fork_from_stage", "stage 1 was not executed by this instance")
    assert refused(rules, pings, "1", "1", "2") == (
        "payload_modifications.2",
        "stage 2 came after the last ping of stage 1, so the fork does not inherit it",
    )
    assert refused(rules, pings, "2", "3") == (
        "payload_modifications.3",
        "stage 3 was not executed by this instance",
    )


@pytest.mark.parametrize(
    ("modification", "status", "error"),
    [
        ({"prompt": "new"}, FAILED, "boom"),
        ({"status": "success"}, PingStatus.HEALTHY, "boom"),
        ({"status": "success", "error": None}, PingStatus.HEALTHY, None),
        ({"status": None}, PingStatus.HEALTHY, "boom"),
        ({"exit_code": 0, "status": None}, PingStatus.HEALTHY, "boom"),
        ({"error": {"code": 7}}, FAILED, '{"code": 7}'),
    ],
)
def test_how_a_stage_went_is_modified_with_its_payload(
    modification: dict[str, Any], status: PingStatus, error: str | None
) -> None:
    payload = {"status": "failed", "error": "boom"}
    fact = modified_fact(ping("2", 2, FAILED, error="boom"), modification, merge_patch(payload, modification))
    assert (fact.status, fact.error) == (status, error)


@pytest.mark.parametrize(
    ("definition", "inherited", "due", "reason"),
    [
        (static(None, 20.0, None), ["1"], 20, "Stage 2 timeout"),
        (static(30.0, None, None), ["note"], 30, "Stage 1 timeout"),
        (dynamic(stage_timeout_seconds=40.0), ["1"], 40, "Stage 2 timeout"),
        (dynamic(idle_timeout_seconds=50.0), ["1"], 50, "Idle timeout: no ping for 50 seconds"),
        (dynamic(instance_timeout_seconds=60.0), ["1"], 60, "Instance timeout"),
        (static(None, None, None, grace_period_seconds=70.0), ["1", "3"], 70, "Stage 2 missed"),
    ],
)
def test_deadlines_count_from_the_fork(
    definition: WorkflowDefinition, inherited: list[str], due: float, reason: str
) -> None:
    state = fork(definition, *(ping(path, second) for second, path in enumerate(inherited)))
    running = evaluate(confirm(state, at(FORKED_AT + due - 1)))
    assert (running.status, running.changed_at) == (InstanceStatus.RUNNING, at(FORKED_AT))
    assert running.next_deadline is not None
    assert running.next_deadline.at == at(FORKED_AT + due)
    failed = evaluate(confirm(state, at(FORKED_AT + due)))
    assert (failed.status, failed.failure_reason) == (InstanceStatus.FAILED, reason)


def test_an_announced_stage_is_awaited_from_the_fork_on() -> None:
    state = fork(dynamic(stage_timeout_seconds=40.0), ping("1"), ping("2", 1, PingStatus.PENDING))
    deadline = evaluate(state).next_deadline
    assert deadline is not None
    assert (deadline.path, deadline.at) == ("2", at(FORKED_AT + 40))


@pytest.mark.parametrize(
    ("inherited", "status"),
    [([ping("1"), ping("2", 1, FAILED)], "failed"), ([ping("1"), ping("2", 1, final=True)], "completed")],
)
def test_what_was_over_may_still_go_on_for_a_grace_period_from_the_fork(inherited: list[PingFact], status: str) -> None:
    view = evaluate(fork(dynamic(grace_period_seconds=60.0), *inherited))
    assert (view.status.value, view.completed_at, view.closes_at) == (status, at(FORKED_AT), at(FORKED_AT + 60))
    healed = evaluate(fork(dynamic(), *inherited, ping("2", FORKED_AT + 30)))
    assert healed.status is (InstanceStatus.RUNNING if status == "failed" else InstanceStatus.COMPLETED)


def test_a_strict_fork_goes_on_where_it_was_forked() -> None:
    state = fork(strict(dynamic()), ping("1"), ping("2", 1))
    closes_at = evaluate(state).closes_at
    refusals = {path: judge(state, ping(path, FORKED_AT + 1), closes_at) for path in ("2", "3", "4")}
    assert {path: error and error.code for path, error in refusals.items()} == {
        "2": "stage_out_of_order",
        "3": None,
        "4": "stage_missed",
    }


said = {"status": st.sampled_from(["failed", "ok", "pending", None]), "error": st.sampled_from(["x", None])}
modifications = st.dictionaries(
    st.sampled_from(["1", "2", "3", "1.1", "done"]), st.fixed_dictionaries({}, optional=said)
)


@properties
@given(definitions, histories(), st.data(), modifications, st.booleans())
def test_a_fork_is_the_fold_of_what_it_inherited_as_it_was_modified(
    definition: WorkflowDefinition,
    pings: list[PingFact],
    data: st.DataObject,
    changes: Mapping[str, dict[str, Any]],
    forks_a_fork: bool,
) -> None:
    assume(pings)
    pings.sort(key=lambda fact: (fact.at, fact.id))
    stage = data.draw(st.sampled_from(sorted({fact.path for fact in pings})))
    inherited = inherited_by_fork(definition, pings, stage, [])
    changes = {path: change for path, change in changes.items() if any(fact.path == path for fact in inherited)}

    def modified(fact: PingFact) -> PingFact:
        change = changes.get(fact.path)
        return fact if change is None else modified_fact(fact, change, merge_patch({}, change))

    prefix = [modified(fact) for fact in inherited]
    original = evaluate(merge(InstanceState("d1", definition, at(0)), prefix))
    copies = [replace(fact, id=1000 + number, gateway=0) for number, fact in enumerate(prefix)]
    first = evaluate(fork(definition, *copies))
    assert (first.status, first.stages) == (original.status, original.stages)
    assert (first.failure_reason, first.agent, first.last_ping_at) == (
        original.failure_reason,
        original.agent,
        original.last_ping_at,
    )
    assert first.next_deadline is None or first.next_deadline.at >= at(FORKED_AT)
    if forks_a_fork:
        again = inherited_by_fork(definition, copies, stage, [])
        again = [replace(fact, id=2000 + number) for number, fact in enumerate(again)]
        assert evaluate(fork(definition, *again)) == first
