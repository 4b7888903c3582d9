"""Whatever callers send, the state of an instance and its tree fit into a Temporal payload."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.temporal import DATA_CONVERTER
from domain.evaluation import evaluate
from domain.instances import InstanceState, merge
from domain.pings import PingFact
from domain.room import AMPLE, fitted, shorten, text_room
from domain.workflows import MAX_STAGES, MAX_STATIC_STAGES, StageDefinition, WorkflowDefinition
from tests.domain.builders import FAILED, NOON, dynamic, instance, ping, properties, static

LIMIT = 2 * 1024 * 1024


def size(value: object) -> int:
    return len(DATA_CONVERTER.payload_converter.to_payload(value).data)


def worst_pings(character: str, count: int = MAX_STAGES) -> list[PingFact]:
    """Every text as long as it may be; each stage was healthy once, so that it has all its stamps."""
    long = (character if character.isalpha() else "x") * 128
    paths = [(f"s{number}x" + long).encode()[:126].decode(errors="ignore") for number in range(count)]
    first = [ping(path, id_=10**12 + i, name=character * 256, agent=character * 256) for i, path in enumerate(paths)]
    then = [ping(path, 1.000001, FAILED, id_=2 * 10**12 + i, error=character * 500) for i, path in enumerate(paths)]
    return first + then


@pytest.mark.parametrize("character", ["x", "é", "漢", "😀", '"', "\x01"])
@pytest.mark.parametrize("defined", [0, MAX_STATIC_STAGES])
def test_the_largest_state_and_its_tree_fit(character: str, defined: int) -> None:
    stages = tuple(StageDefinition(order, character * 256, 31_622_399.123456) for order in range(1, defined + 1))
    definition: WorkflowDefinition = replace(static() if defined else dynamic(), stages=stages)
    state = merge(instance(definition), worst_pings(character))
    assert len(state.stages) == MAX_STAGES
    assert size(fitted(state)) < LIMIT
    assert size(evaluate(state)) < LIMIT
    assert evaluate(fitted(state)) == evaluate(state)


def test_a_usual_instance_keeps_its_texts() -> None:
    state = merge(instance(dynamic()), worst_pings("😀", 100))
    assert fitted(state) is state
    assert text_room(state) == AMPLE


def test_further_stages_are_counted_but_not_kept() -> None:
    state = instance(dynamic(), *(ping(str(number)) for number in range(1, MAX_STAGES + 11)))
    assert len(state.stages) == MAX_STAGES
    assert state.ping_count == MAX_STAGES + 10
    assert merge(state, [ping("1", 5, FAILED)]).stages["1"].status is FAILED


@properties
@given(st.text(max_size=60), st.integers(8, 200), st.integers(8, 200))
def test_shortening_fits_and_repeating_it_changes_nothing(text: str, one: int, other: int) -> None:
    short = shorten(text, one)
    assert short is not None
    assert size(short) <= one
    assert short == text or text.startswith(short.removesuffix("…"))
    smaller = min(one, other)
    assert shorten(short, smaller) == shorten(text, smaller)


@properties
@given(st.integers(90, 400), st.integers(1, 50))
def test_room_only_shrinks_as_stages_come(count: int, more: int) -> None:
    def with_stages(number: int) -> InstanceState:
        return merge(InstanceState("d1", dynamic(), NOON), [ping(str(i)) for i in range(1, number + 1)])

    assert text_room(with_stages(count + more)) <= text_room(with_stages(count))
