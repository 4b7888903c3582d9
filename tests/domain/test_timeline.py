"""As it stood after a step is the fold of the journal up to that step."""

from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.evaluation import evaluate
from domain.instances import InstanceState, InstanceStatus, Outage, StageStatus, Stamp, confirm, fold, merge
from domain.pings import PingFact
from domain.timeline import as_of, step_before
from domain.workflows import WorkflowDefinition
from tests.domain.builders import FAILED, NOON, at, definitions, dynamic, histories, ping, properties, static

OUTAGES = (Outage(at(12), at(17)), Outage(at(30), at(31)))

outages = st.sampled_from([(), OUTAGES])


def opened(definition: WorkflowDefinition) -> InstanceState:
    return InstanceState("d12345678", definition, NOON)


def in_order(pings: list[PingFact]) -> list[PingFact]:
    return sorted(pings, key=stamp_of)


def stamp_of(fact: PingFact) -> Stamp:
    return Stamp(fact.at, fact.id)


@properties
@given(definitions, histories().filter(bool), outages)
def test_after_the_last_step_it_is_the_fold_of_the_whole_journal(
    definition: WorkflowDefinition, pings: list[PingFact], lost: tuple[Outage, ...]
) -> None:
    last = stamp_of(in_order(pings)[-1])
    whole = fold(opened(definition), pings, until=last.at, outages=lost)
    assert as_of(opened(definition), pings, last, lost) == evaluate(whole)


@properties
@given(st.data(), definitions, histories().filter(bool), outages)
def test_each_step_takes_in_one_ping_more(
    data: st.DataObject, definition: WorkflowDefinition, pings: list[PingFact], lost: tuple[Outage, ...]
) -> None:
    state = replace(opened(definition), outages=lost)
    delivered = data.draw(st.permutations(pings))
    for step in in_order(pings):
        state = confirm(merge(state, [step]), step.at)
        assert as_of(opened(definition), delivered, stamp_of(step), lost) == evaluate(state)


@properties
@given(st.data(), definitions, histories().filter(bool))
def test_a_rejected_step_brings_nothing_but_its_time(
    data: st.DataObject, definition: WorkflowDefinition, pings: list[PingFact]
) -> None:
    rejected = data.draw(st.sampled_from(pings))
    accepted = [fact for fact in pings if fact is not rejected]
    before = [fact for fact in accepted if stamp_of(fact) < stamp_of(rejected)]
    expected = evaluate(fold(opened(definition), before, until=rejected.at))
    assert as_of(opened(definition), accepted, stamp_of(rejected)) == expected


def test_what_came_later_has_not_happened_yet() -> None:
    pings = [ping("1", 0), ping("2", 5, FAILED, error="no disk"), ping("2", 9), ping("3", 50)]
    definition = static(None, None, None, stage_timeout_seconds=20.0)
    views = [as_of(opened(definition), pings, stamp_of(item)) for item in pings]
    assert [view.status for view in views] == [
        InstanceStatus.RUNNING,
        InstanceStatus.FAILED,
        InstanceStatus.RUNNING,
        InstanceStatus.COMPLETED,
    ]
    assert [view.stages["2"].status for view in views] == [
        StageStatus.PENDING,
        StageStatus.FAILED,
        StageStatus.HEALTHY,
        StageStatus.HEALTHY,
    ]
    assert [view.failure_reason for view in views] == [None, "Stage 2 failed: no disk", None, None]


def test_a_deadline_that_passed_before_a_step_has() -> None:
    pings = [ping("1", 0), ping("1.1", 40)]
    views = [as_of(opened(static(None, 20.0)), pings, stamp_of(item)) for item in pings]
    assert [view.stages["2"].status for view in views] == [StageStatus.PENDING, StageStatus.TIMEOUT]
    assert views[1].failure_reason == "Stage 2 timeout"


def test_it_is_terminated_only_once_it_was() -> None:
    pings = [ping("1", 0), ping("2", 10)]
    state = replace(opened(dynamic()), terminated_at=at(10))
    assert [as_of(state, pings, stamp_of(item)).status for item in pings] == ["running", "terminated"]


@pytest.mark.parametrize(
    ("moment", "first", "step"),
    [
        (at(-1), 0, None),
        (at(0), 0, 0),
        (at(1), 0, 0),
        (at(5), 0, 3),
        (at(6), 0, 3),
        (at(99), 0, 4),
        (at(5), 100, 103),
    ],
)
def test_after_which_step_something_happened(moment: datetime, first: int, step: int | None) -> None:
    assert step_before(moment, [at(0), at(3), at(5), at(5), at(9)], first) == step
