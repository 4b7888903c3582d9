"""Two JSON values differ in what counts, and in nothing else."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.errors import InvalidRequest
from domain.json_diff import MAX_PATTERN, MAX_PATTERNS, Difference, Ignore, Op, differences
from tests.domain.builders import properties

NOTHING = Ignore(())
MORNING, EVENING = "2025-03-01T08:00:00Z", "2025-03-01 20:00:00.5+01:00"

scalars = st.sampled_from([None, True, False, 0, 1, 1.5, "", "a", "b", MORNING, EVENING])
values = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(["a", "b", "id", "x/y~z"]), inner, max_size=4)
    ),
    max_leaves=12,
)


def found(a: Any, b: Any, ignore: Ignore = NOTHING) -> list[tuple[str, str, Any, Any]]:
    return [(item.path, item.op.value, item.a, item.b) for item in differences(a, b, ignore)]


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        ({"a": 1}, {"a": 1.0}, []),
        ({"a": 1}, {"a": True}, [("/a", "replace", 1, True)]),
        ([0], [False], [("/0", "replace", 0, False)]),
        ({"a": None}, {}, [("/a", "remove", None, None)]),
        ({}, {"a": {"b": 1}}, [("/a", "add", None, {"b": 1})]),
        ({"a": {"b": 1, "c": 2}}, {"a": {"c": 3, "b": 1}}, [("/a/c", "replace", 2, 3)]),
        ({"a": []}, {"a": {}}, [("/a", "replace", [], {})]),
        ("a", "b", [("", "replace", "a", "b")]),
        ({"x/y~z": 1}, {"x/y~z": 2}, [("/x~1y~0z", "replace", 1, 2)]),
        ([1, 2, 3], [1, 9, 3], [("/1", "replace", 2, 9)]),
        ([1, 2, 3], [1, 2, 9, 3], [("/2", "add", None, 9)]),
        ([1, 2, 3], [2, 3], [("/0", "remove", 1, None)]),
        ([1, 1], [1], [("/1", "remove", 1, None)]),
        ([1, 2, 3, 4], [1, 7, 4], [("/1", "replace", 2, 7), ("/2", "remove", 3, None)]),
        ([{"id": 1, "k": 5}, {"id": 2}], [{"id": 9}, {"id": 1, "k": 5}, {"id": 2}], [("/0", "add", None, {"id": 9})]),
    ],
)
def test_what_differs(a: Any, b: Any, expected: list[tuple[str, str, Any, Any]]) -> None:
    assert found(a, b) == expected


@pytest.mark.parametrize(
    ("patterns", "a", "b", "left"),
    [
        (["*/id"], {"id": 1, "in": {"id": 1, "x": [{"id": 1}]}}, {"id": 2, "in": {"id": 2, "x": [{"id": 2}]}}, []),
        (["/id"], {"id": 1, "in": {"id": 1}}, {"id": 2, "in": {"id": 2}}, ["/in/id"]),
        (["/in"], {"in": {"x": 1}}, {"in": {"x": 2, "y": 3}}, []),
        (["*/*_id"], {"user_id": 1, "id": 1, "ids": 1}, {"user_id": 2, "id": 2, "ids": 2}, ["/id", "/ids"]),
        (["/runs/*/at"], {"runs": [{"at": 1, "n": 1}]}, {"runs": [{"at": 2, "n": 2}]}, ["/runs/0/n"]),
        (["/runs/*"], {"runs": [1]}, {"runs": [2, 3]}, []),
        (["/runs/0"], {"runs": [1, 1]}, {"runs": [2, 2]}, ["/runs/1"]),
        (["*/a*b*c"], {"axbxc": 1, "abc": 1, "acb": 1}, {"axbxc": 2, "abc": 2, "acb": 2}, ["/acb"]),
        (["*/aa*aa"], {"aaa": 1, "aaaa": 1}, {"aaa": 2, "aaaa": 2}, ["/aaa"]),
        (["*/meta/*"], {"x": {"meta": {"y": 1}}, "y": 1}, {"x": {"meta": {"y": 2}}, "y": 2}, ["/y"]),
        (["/x~1y"], {"x/y": 1}, {"x/y": 2}, []),
        (["timestamps"], {"a": MORNING, "b": MORNING}, {"a": EVENING, "b": "soon"}, ["/b"]),
        (["timestamps"], {"a": "2025-03-01"}, {"a": "2025-03-02"}, ["/a"]),
        ([], {"a": MORNING}, {"a": EVENING}, ["/a"]),
    ],
)
def test_what_does_not_count(patterns: list[str], a: Any, b: Any, left: list[str]) -> None:
    assert [path for path, *_ in found(a, b, Ignore(patterns))] == left


def test_ids_and_times_do_not_count_unless_told_otherwise() -> None:
    a = {"id": 1, "run_id": 1, "requestId": 1, "created_at": 1, "updatedAt": 1, "timestamp": 1, "when": MORNING}
    b = {name: EVENING if name == "when" else 2 for name in a}
    assert found(a, b, Ignore()) == []
    assert len(found(a, b)) == len(a)


def test_what_does_not_count_does_not_shift_a_list_either() -> None:
    a = [{"id": 1, "at": MORNING, "say": "one"}, {"id": 2, "at": MORNING, "say": "two"}]
    b = [{"id": 7, "at": EVENING, "say": "zero"}, *({**item, "id": 8, "at": EVENING} for item in a)]
    assert found(a, b, Ignore()) == [("/0", "add", None, b[0])]


@pytest.mark.parametrize("pattern", ["", "id", "/", "*", "*/", "x/id", "/" + "a" * MAX_PATTERN])
def test_patterns_that_are_none(pattern: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Ignore([pattern])
    assert caught.value.fields[0].field == "ignore"


def test_too_many_patterns() -> None:
    with pytest.raises(InvalidRequest):
        Ignore([f"/{number}" for number in range(MAX_PATTERNS + 1)])


@properties
@given(values, st.sampled_from([NOTHING, Ignore()]))
def test_a_value_does_not_differ_from_itself(value: Any, ignore: Ignore) -> None:
    assert found(value, json.loads(json.dumps(value)), ignore) == []


@properties
@given(values, values, st.sampled_from([NOTHING, Ignore()]))
def test_the_other_way_round_it_is_mirrored(a: Any, b: Any, ignore: Ignore) -> None:
    mirrored = {Op.ADD: Op.REMOVE, Op.REMOVE: Op.ADD, Op.REPLACE: Op.REPLACE}
    there = [Difference(item.path, mirrored[item.op], item.b, item.a) for item in differences(a, b, ignore)]
    assert repr(list(differences(b, a, ignore))) == repr(there)


@properties
@given(values, values)
def test_values_with_no_difference_are_equal(a: Any, b: Any) -> None:
    def strict(value: Any) -> str:
        return json.dumps(value, sort_keys=True)

    assert (found(a, b) == []) == (strict(a) == strict(b))


def test_deep_lists_of_different_lengths_take_no_time() -> None:
    """Each level is looked at a few times at most, not twice as often as the one around it."""

    def nested(levels: int, end: int) -> Any:
        value: Any = end
        for _ in range(levels):
            value = [value, *([0] * (end == 1))]
        return value

    assert len(found(nested(60, 1), nested(60, 2))) == 61
