"""A state is a fold of pings that does not depend on the order they are delivered in."""

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.evaluation import evaluate
from domain.instances import InstanceState, Outage, confirm, due, fold, healed_at, merge
from domain.pings import PingFact, PingStatus
from domain.workflows import WorkflowDefinition
from tests.domain.builders import (
    FAILED,
    HEALTHY,
    PENDING,
    at,
    definitions,
    dynamic,
    histories,
    instance,
    ping,
    properties,
)


@properties
@given(st.data(), definitions, histories())
def test_the_order_of_delivery_does_not_matter(
    data: st.DataObject, definition: WorkflowDefinition, pings: list[PingFact]
) -> None:
    delivered = data.draw(st.permutations(pings))
    state, other = instance(definition, *pings), instance(definition, *delivered)
    assert state == other
    until = at(data.draw(st.integers(0, 120)))
    assert evaluate(confirm(state, until)) == evaluate(confirm(other, until))


@properties
@given(st.data(), definitions, histories())
def test_it_does_not_matter_how_deliveries_are_cut(
    data: st.DataObject, definition: WorkflowDefinition, pings: list[PingFact]
) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(pings)), max_size=4)))
    state = instance(definition)
    for start, end in zip([0, *cuts], [*cuts, len(pings)], strict=True):
        state = merge(state, pings[start:end])
    assert state == instance(definition, *pings)


@properties
@given(st.data(), definitions, histories())
def test_confirming_between_deliveries_leaves_no_trace(
    data: st.DataObject, definition: WorkflowDefinition, pings: list[PingFact]
) -> None:
    """The live workflow confirms deadlines as it goes, time travel all at once: they must end up the same."""
    live = instance(definition)
    for index, item in enumerate(data.draw(st.permutations(pings))):
        live = confirm(merge(live, [item]), at(index))
    until = at(100)
    assert confirm(live, until) == fold(instance(definition), pings, until=until)


@pytest.mark.parametrize(
    ("pings", "status", "error", "name", "agent"),
    [
        ([ping("1", 1, name="a"), ping("1", 2, FAILED, error="x")], FAILED, "x", "a", "ada"),
        ([ping("1", 2), ping("1", 1, FAILED, error="x")], HEALTHY, None, None, "ada"),
        ([ping("1", 1, id_=7, agent="eve"), ping("1", 1, FAILED, id_=8)], FAILED, None, None, "ada"),
        ([ping("1", 1, PENDING), ping("1", 2, agent=None, name="b")], HEALTHY, None, "b", "ada"),
    ],
)
def test_of_a_stage_the_latest_says_what_it_is(
    pings: list[PingFact], status: PingStatus, error: str | None, name: str | None, agent: str | None
) -> None:
    facts = instance(dynamic(), *pings).stages["1"]
    assert (facts.status, facts.error) == (status, error)
    assert (facts.name.value if facts.name else None, facts.agent.value if facts.agent else None) == (name, agent)


@pytest.mark.parametrize(
    ("pings", "healed"),
    [
        ([ping("1", 1)], None),
        ([ping("1", 1), ping("1", 2, FAILED)], None),
        ([ping("1", 1, FAILED), ping("1", 2)], 2),
        ([ping("1", 1, FAILED), ping("1", 2), ping("1", 3)], 2),
        ([ping("1", 1), ping("1", 2, FAILED), ping("1", 3)], 3),
    ],
)
def test_when_a_stage_healed(pings: list[PingFact], healed: float | None) -> None:
    assert healed_at(instance(dynamic(), *pings).stages["1"]) == (None if healed is None else at(healed))


@pytest.mark.parametrize(
    ("outages", "deadline"),
    [
        ([], 10),
        ([(2, 5)], 13),
        ([(-5, 4)], 14),
        ([(-5, 0)], 10),
        ([(10, 20)], 10),
        ([(9, 20)], 21),
        ([(2, 5), (12, 14), (15, 16), (16, 20)], 15),
        ([(2, 5), (12, 14), (14.5, 16), (17, 20)], 16.5),
    ],
)
def test_deadlines_move_by_the_outages_before_them(outages: list[tuple[float, float]], deadline: float) -> None:
    assert due(at(0), 10, [Outage(at(start), at(end)) for start, end in outages]) == at(deadline)


@properties
@given(st.lists(st.tuples(st.integers(-5, 40), st.integers(0, 10)), max_size=5), st.integers(0, 30))
def test_outages_leave_as_much_time_as_was_promised(spans: list[tuple[int, int]], seconds: int) -> None:
    outages: list[Outage] = []
    for start, length in sorted(spans):
        if not outages or at(start) > outages[-1].end:
            outages.append(Outage(at(start), at(start + length)))
    deadline = due(at(0), seconds, outages)
    lost = sum(
        (max(min(item.end, deadline) - max(item.start, at(0)), timedelta(0)) for item in outages), start=timedelta(0)
    )
    assert deadline - lost == at(seconds)


def test_confirmed_silence_is_never_taken_back() -> None:
    state = confirm(InstanceState("d1", dynamic(), at(0)), at(5))
    assert confirm(state, at(3)) is state
    assert confirm(state, at(6)).confirmed_until == at(6)
