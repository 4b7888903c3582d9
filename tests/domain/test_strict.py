"""The order that strict workflows insist on."""

import pytest
from hypothesis import given

from domain.errors import DomainError
from domain.evaluation import evaluate
from domain.instances import InstanceStatus, StageStatus, merge
from domain.pings import PingFact, PingStatus
from domain.strict import expected_stage
from domain.verdicts import REJECTIONS, Verdict, judge, judge_all
from domain.workflows import WorkflowDefinition
from tests.domain.builders import FAILED, PENDING, at, dynamic, histories, instance, ping, properties, static, strict

DYNAMIC = strict(dynamic())
STATIC = strict(static(None, None, None))


def verdict(definition: WorkflowDefinition, before: str, path: str) -> tuple[str, object] | None:
    """The code and the stage that was expected; `!` marks a failed ping before, `?` an announced one."""
    marks = {"!": FAILED, "?": PENDING}
    pings = [
        ping(word.rstrip("!?"), second, marks.get(word[-1], PingStatus.HEALTHY))
        for second, word in enumerate(before.split())
    ]
    rejection = judge(instance(definition, *pings), ping(path, 60), None)
    return None if rejection is None else (rejection.code, rejection.extra.get("expected_stage"))


@pytest.mark.parametrize(
    ("before", "path"),
    [
        ("", "1"),
        ("", "1.1"),
        ("", "1.1.1"),
        ("1", "2"),
        ("1.1", "2"),
        ("1.1.1", "1.2"),
        ("1", "1.1"),
        ("1.1", "1"),
        ("1", "2.1"),
        ("1 2.1", "2.2"),
        ("1 2.1 2.2", "2"),
        ("1 2.1.1", "2.2"),
        ("1 2 3.1 3.2 3.3", "3.4.1"),
        ("1!", "2"),
        ("1 2!", "2"),
        ("1 2! 3", "2"),
        ("1?", "1"),
        ("1 2?", "2"),
        ("", "done"),
        ("1 2 done", "3"),
        ("1 done", "done"),
    ],
)
def test_what_comes_in_order_is_taken(before: str, path: str) -> None:
    assert verdict(DYNAMIC, before, path) is None


@pytest.mark.parametrize(
    ("before", "path", "code", "expected"),
    [
        ("", "2", "stage_missed", "1"),
        ("", "1.2", "stage_missed", "1.1"),
        ("", "2.1", "stage_missed", "1"),
        ("1", "3", "stage_missed", "2"),
        ("1", "2.2", "stage_missed", "2.1"),
        ("1 2?", "3", "stage_missed", "2"),
        ("1 2.1", "2.3", "stage_missed", "2.2"),
        ("1 2", "3.4.2", "stage_missed", "3.4.1"),
        ("done", "2", "stage_missed", "1"),
        ("1 2", "1", "stage_out_of_order", "3"),
        ("1", "1", "stage_out_of_order", "2"),
        ("1 2", "1.1", "stage_out_of_order", "3"),
        ("1 2.1 2.2", "2.1", "stage_out_of_order", "3"),
    ],
)
def test_what_does_not_is_rejected_with_the_stage_that_was_expected(
    before: str, path: str, code: str, expected: str
) -> None:
    assert verdict(DYNAMIC, before, path) == (code, expected)


@pytest.mark.parametrize(
    ("before", "path", "answer"),
    [
        ("1 2", "3", None),
        ("1 2 3", "4", ("stage_unknown", "3")),
        ("1 2 3", "4.1", ("stage_unknown", "3")),
        ("1 2 3", "3.1", None),
        ("1 2 3", "2", ("stage_out_of_order", "3")),
    ],
)
def test_a_static_workflow_knows_its_stages(before: str, path: str, answer: tuple[str, str] | None) -> None:
    assert verdict(STATIC, before, path) == answer


@pytest.mark.parametrize("path", ["1", "2", "done"])
def test_an_agent_is_required(path: str) -> None:
    rejection = judge(instance(DYNAMIC), ping(path, agent=None), None)
    assert rejection is not None
    assert (rejection.code, rejection.extra) == ("agent_required", {"expected_stage": "1"})
    assert judge(instance(dynamic()), ping(path, agent=None), None) is None


def test_a_closed_instance_takes_nothing() -> None:
    for definition in (DYNAMIC, dynamic()):
        late = judge(instance(definition), ping("1", 10.5), at(10))
        assert late is not None
        assert late.code == "instance_closed"
        assert judge(instance(definition), ping("1", 10), at(10)) is None


def test_a_batch_is_judged_ping_by_ping() -> None:
    pings = [ping("1", 1), ping("3", 2), ping("2", 3), ping("2", 4), ping("3", 5, final=True), ping("4", 100)]
    judgement = judge_all(instance(DYNAMIC), pings)
    verdicts, state = judgement.verdicts, judgement.state
    assert [item.code for item in verdicts] == [
        None,
        "stage_missed",
        None,
        "stage_out_of_order",
        None,
        "instance_closed",
    ]
    assert [item.instance_status for item in verdicts] == [*["running"] * 4, *["completed"] * 2]
    assert {path: stage.status for path, stage in evaluate(state).stages.items()} == dict.fromkeys(
        "123", StageStatus.HEALTHY
    )


def test_a_verdict_becomes_the_error_it_was_made_of() -> None:
    error = judge_all(instance(DYNAMIC), [ping("2", 1)]).verdicts[0].error()
    assert type(error) is REJECTIONS["stage_missed"]
    assert error.extra == {"expected_stage": "1"}
    assert Verdict(1, False, InstanceStatus.RUNNING, "of a later version", "no").error().status == 400


def naive(taken: list[tuple[str, PingStatus]], path: str) -> str | None:
    """The rules of strict order in other words: by the list of all pings taken, with no state in between."""
    if not path[0].isdigit():
        return None
    latest = dict(taken)
    if latest.get(path) in (PingStatus.FAILED, PingStatus.PENDING):
        return None
    seen = [tuple(map(int, other.split("."))) for other, status in latest.items() if status is not PingStatus.PENDING]
    levels = tuple(map(int, path.split(".")))
    if path in latest or any(other > levels and other[: len(levels)] != levels for other in seen):
        return "stage_out_of_order"
    before = list(levels)
    while before and before[-1] == 1:
        before.pop()
    if not before:
        return None
    before[-1] -= 1
    return None if any(list(other[: len(before)]) == before for other in seen) else "stage_missed"


@properties
@given(histories())
def test_strict_order_is_that_of_the_naive_model(pings: list[PingFact]) -> None:
    state, taken = instance(DYNAMIC), list[tuple[str, PingStatus]]()
    for item in sorted(pings, key=lambda each: (each.at, each.id)):
        rejection: DomainError | None = judge(state, item, None)
        numbered = [(path, status) for path, status in taken if path[0].isdigit()]
        assert (rejection.code if rejection else None) == (
            naive(numbered, item.path) if item.agent else "agent_required"
        )
        if rejection is None:
            state = merge(state, [item])
            taken.append((item.path, item.status))


@properties
@given(histories())
def test_top_level_stages_are_taken_without_a_gap(pings: list[PingFact]) -> None:
    state = judge_all(instance(DYNAMIC), sorted(pings, key=lambda each: (each.at, each.id))).state
    seen = {
        int(path.split(".")[0])
        for path, facts in state.stages.items()
        if path[0].isdigit() and facts.status is not PingStatus.PENDING
    }
    assert seen == set(range(1, int(expected_stage(state))))
