"""Two runs are compared step by step; what was inserted in one of them shifts nothing else."""

import json
from collections import Counter
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.alignment import MAX_ITEMS
from domain.comparison import MAX_DIFFERENCES, MAX_TEXT, MAX_VALUE, Kind, Pair, aggregate, compare
from domain.errors import InvalidRequest
from domain.json_diff import Difference, Op
from domain.timeline import Step, StepStatus
from tests.domain.builders import at, properties

MIRRORED = {Kind.ADDED: Kind.MISSING, Kind.MISSING: Kind.ADDED}
MIRRORED_OPS = {Op.ADD: Op.REMOVE, Op.REMOVE: Op.ADD, Op.REPLACE: Op.REPLACE}


def step(number: int = 0, path: str = "1", payload: Any = None, **values: Any) -> Step:
    fields = {"status": StepStatus.SUCCESS, "at": at(number), "agent": "ada", **values}
    return Step(number, path, payload=None if payload is None else json.dumps(payload), **fields)


def run(*stages: str) -> list[Step]:
    return [step(number, path, {"done": path}) for number, path in enumerate(stages)]


steps = st.builds(
    step,
    path=st.sampled_from(["1", "2", "2.1", "3", "done"]),
    payload=st.sampled_from([None, {}, {"x": 1}, {"x": 2, "y": [1, 2]}, {"y": [2]}, "text", {"id": 1}, {"id": 2}]),
    status=st.sampled_from(StepStatus),
    agent=st.sampled_from([None, "ada", "bob"]),
    error=st.sampled_from([None, "no disk"]),
    duration_ms=st.sampled_from([None, 0, 100, 900, 60_000]),
    model_id=st.sampled_from([None, "small", "large"]),
    input_tokens=st.sampled_from([None, 0, 1500]),
    output_tokens=st.sampled_from([None, 500]),
    cost_usd=st.sampled_from([None, Decimal("0.1"), Decimal("0.000000000000000003"), Decimal(10**9)]),
    tool_calls=st.sampled_from([None, '[{"name": "search"}, {"function": {"name": "read"}}, 7]']),
    accepted=st.sampled_from([True, True, False]),
)
runs = st.lists(steps, max_size=10).map(
    lambda items: [replace(item, number=number, at=at(number * 7)) for number, item in enumerate(items)]
)


@properties
@given(runs)
def test_a_run_does_not_differ_from_itself(a: list[Step]) -> None:
    comparison = compare(a, list(a))
    assert all(pair.kinds == (Kind.SAME,) and not pair.payload for pair in comparison.pairs)
    assert comparison.divergence_step is None
    assert comparison.a == comparison.b
    assert not any(vars(comparison.differences).values())


@properties
@given(runs, runs)
def test_the_other_way_round_all_differences_turn_round(a: list[Step], b: list[Step]) -> None:
    there, back = compare(a, b), compare(b, a)
    assert (back.a, back.b, back.divergence_step) == (there.b, there.a, there.divergence_step)
    for name, value in vars(there.differences).items():
        other = getattr(back.differences, name)
        assert other == (value.copy_negate() if isinstance(value, Decimal) else value and -value)
    assert Counter(map(repr, back.pairs)) == Counter(repr(mirrored(pair)) for pair in there.pairs)


def mirrored(pair: Pair) -> Pair:
    return Pair(
        path=pair.path,
        kinds=tuple(MIRRORED.get(kind, kind) for kind in pair.kinds),
        a=pair.b,
        b=pair.a,
        payload=tuple(Difference(item.path, MIRRORED_OPS[item.op], item.b, item.a) for item in pair.payload),
        is_cut=pair.is_cut,
    )


@properties
@given(runs, runs)
def test_each_step_is_in_one_pair_and_in_order(a: list[Step], b: list[Step]) -> None:
    pairs = compare(a, b).pairs
    assert [pair.a for pair in pairs if pair.a] == a
    assert [pair.b for pair in pairs if pair.b] == b
    for pair in pairs:
        assert {item.path for item in (pair.a, pair.b) if item} == {pair.path}
        assert (pair.a is None, pair.b is None) == (pair.kind is Kind.ADDED, pair.kind is Kind.MISSING)


@properties
@given(st.data(), runs)
def test_an_inserted_step_shifts_nothing_else(data: st.DataObject, a: list[Step]) -> None:
    place = data.draw(st.integers(0, len(a)))
    new = step(path="inserted")
    comparison = compare(a, [*a[:place], new, *a[place:]])
    assert [pair.kind for pair in comparison.pairs] == [
        *[Kind.SAME] * place,
        Kind.ADDED,
        *[Kind.SAME] * (len(a) - place),
    ]
    assert comparison.divergence_step == place


@pytest.mark.parametrize(
    ("a", "b", "kinds"),
    [
        ({}, {"at": at(99)}, "same"),
        ({"status": StepStatus.FAILED}, {}, "status"),
        ({"accepted": False}, {}, "status"),
        ({"payload": {"x": 1}}, {"payload": {"x": 2}}, "payload"),
        ({"payload": {"id": 1, "x": 1}}, {"payload": {"x": 1, "id": 2}}, "same"),
        ({"payload": "a text"}, {"payload": {"x": 1}}, "payload"),
        ({"payload": {}}, {}, "same"),
        ({"payload": {"duration_ms": 9, "cost_usd": 1, "usage": {}, "status": "ok"}}, {}, "same"),
        ({"error": "no disk", "payload": {"error": "no disk"}}, {"error": "no disk"}, "same"),
        ({"error": "no disk"}, {"error": "no net"}, "payload"),
        ({"agent": "ada"}, {"agent": "bob"}, "agent"),
        ({"cost_usd": Decimal("0.1")}, {"cost_usd": Decimal("0.10")}, "same"),
        ({"cost_usd": Decimal("0.1")}, {}, "cost"),
        ({"cost_usd": Decimal("0")}, {}, "cost"),
        ({"input_tokens": 1}, {"input_tokens": 2}, "cost"),
        ({"duration_ms": 1000}, {"duration_ms": 1500}, "same"),
        ({"duration_ms": 1000}, {"duration_ms": 1501}, "timing"),
        ({"duration_ms": 10}, {"duration_ms": 510}, "same"),
        ({"duration_ms": 0}, {"duration_ms": 501}, "timing"),
        ({"duration_ms": 10_000}, {"duration_ms": 11_000}, "same"),
        ({"duration_ms": 10_000}, {}, "same"),
        (
            {"status": StepStatus.FAILED, "payload": {"x": 1}, "agent": None, "input_tokens": 5, "duration_ms": 0},
            {"duration_ms": 9000},
            "status payload agent cost timing",
        ),
    ],
)
def test_in_what_two_steps_differ(a: dict[str, Any], b: dict[str, Any], kinds: str) -> None:
    (pair,) = compare([step(**a)], [step(**b)]).pairs
    assert " ".join(pair.kinds) == kinds
    assert pair.kind == kinds.split()[0]


def test_missing_and_added_steps() -> None:
    comparison = compare(run("1", "2", "3", "3", "5"), run("1", "2", "2.1", "3", "4", "5"))
    assert [(pair.path, pair.kind) for pair in comparison.pairs] == [
        ("1", Kind.SAME),
        ("2", Kind.SAME),
        ("2.1", Kind.ADDED),
        ("3", Kind.SAME),
        ("3", Kind.MISSING),
        ("4", Kind.ADDED),
        ("5", Kind.SAME),
    ]
    assert comparison.divergence_step == 2
    assert comparison.differences.steps_diff == 1


def test_what_a_run_adds_up_to() -> None:
    calls = [{"name": "search"}, {"type": "function", "function": {"name": "search"}}, {"tool": "read"}, "what"]
    steps = [
        step(0, input_tokens=1500, output_tokens=500, cost_usd=Decimal("0.045"), duration_ms=150, model_id="large"),
        step(3, status=StepStatus.FAILED, agent="bob", tool_calls=json.dumps(calls), duration_ms=50),
        step(4, accepted=False, input_tokens=9, output_tokens=9, cost_usd=Decimal(9), duration_ms=9, model_id="wrong"),
        step(5, input_tokens=10, model_id="small", agent=None),
    ]
    found = aggregate(steps)
    assert found.statuses == {"success": 2, "failed": 1, "rejected": 1}
    assert (found.steps, found.input_tokens, found.output_tokens, found.tokens) == (3, 1510, 500, 2010)
    assert (found.cost_usd, found.unpriced, found.duration_ms, found.elapsed_ms) == (Decimal("0.045"), 1, 200, 5000)
    assert (found.agents, found.models) == ({"ada": 1, "bob": 1}, {"large": 1, "small": 1})
    assert found.tool_calls == {"search": 2, "read": 1, "unknown": 1}


def test_what_no_step_says_is_unknown_and_not_nothing() -> None:
    empty, silent = aggregate([]), aggregate([step()])
    for found in (empty, silent):
        assert (found.cost_usd, found.tokens, found.duration_ms, found.elapsed_ms) == (None, None, None, 0)
    differences = compare([step(0), step(2)], [step(0, cost_usd=Decimal(1), input_tokens=5), step(3)]).differences
    assert (differences.cost_diff_usd, differences.token_diff) == (None, None)
    assert (differences.time_diff_ms, differences.elapsed_diff_ms) == (1000, 1000)
    differences = compare([step(0, duration_ms=7)], [step(0, duration_ms=5)]).differences
    assert (differences.time_diff_ms, differences.elapsed_diff_ms) == (-2, 0)


def test_money_is_exact() -> None:
    tiny, huge = Decimal("0.000000000000000001"), Decimal(10**9)
    a, b = [step(cost_usd=tiny)], [step(number, cost_usd=huge) for number in range(50)]
    assert compare(a, b).differences.cost_diff_usd == Decimal("49999999999.999999999999999999")
    assert aggregate([*a, *b]).cost_usd == Decimal("50000000000.000000000000000001")


def test_what_does_not_count_is_up_to_the_caller() -> None:
    a, b = [step(payload={"id": 1, "x": 1})], [step(payload={"id": 2, "x": 2})]
    assert [item.path for item in compare(a, b).pairs[0].payload] == ["/x"]
    assert [item.path for item in compare(a, b, []).pairs[0].payload] == ["/id", "/x"]
    assert compare(a, b, ["*/id", "/x"]).divergence_step is None


def test_a_long_list_of_differences_is_cut() -> None:
    many = MAX_DIFFERENCES + 1
    (pair,) = compare([step(payload=[0] * many)], [step(payload=[1] * many)]).pairs
    assert (len(pair.payload), pair.is_cut) == (MAX_DIFFERENCES, True)
    (pair,) = compare([step(payload=[0] * MAX_DIFFERENCES)], [step(payload=[1] * MAX_DIFFERENCES)]).pairs
    assert (len(pair.payload), pair.is_cut) == (MAX_DIFFERENCES, False)


def test_long_values_are_shortened() -> None:
    (pair,) = compare([step(payload={"x": "é" * MAX_VALUE})], [step(payload={"x": 1})]).pairs
    assert pair.payload == (Difference("/x", Op.REPLACE, '"' + "é" * (MAX_VALUE - 1) + "…", 1),)
    assert pair.is_cut


def test_what_there_is_no_room_for_is_told_without_its_details() -> None:
    payloads = [{str(member): f"{number}".rjust(1900) for member in range(40)} for number in range(100)]
    a = [step(number, payload=payload) for number, payload in enumerate(payloads)]
    b = [step(number, payload=payload) for number, payload in enumerate([*payloads[1:], *payloads[:1]])]
    pairs = compare(a, b).pairs
    assert {pair.kinds for pair in pairs} == {(Kind.PAYLOAD,)}
    assert len(json.dumps([[vars(item) for item in pair.payload] for pair in pairs])) < MAX_TEXT * 1.1
    assert (pairs[0].is_cut, pairs[-1].is_cut, pairs[-1].payload) == (False, True, ())


def test_runs_that_are_too_long_are_refused() -> None:
    with pytest.raises(InvalidRequest, match=str(MAX_ITEMS)):
        compare([step()] * (MAX_ITEMS + 1), [])
