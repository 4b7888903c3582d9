"""Stage paths: what is one, which comes first, and in which order they are shown."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import paths
from domain.errors import InvalidRequest
from tests.domain.builders import properties

numbered = st.lists(st.integers(1, 4), min_size=1, max_size=4).map(tuple)


@pytest.mark.parametrize(
    ("sent", "path"),
    [
        ("1", "1"),
        (" 2.1 ", "2.1"),
        ("3.4.2", "3.4.2"),
        ("1000000", "1000000"),
        ("1." * 31 + "1", "1." * 31 + "1"),
        ("dag_complete", "dag_complete"),
        ("Load data: eu-west/1", "Load data: eu-west/1"),
        ("7zip", "7zip"),
        ("größe", "größe"),
    ],
)
def test_paths_are_read(sent: str, path: str) -> None:
    assert paths.parse_path(sent) == path


@pytest.mark.parametrize(
    "sent",
    ["", "  ", "0", "01", "1..2", ".1", "1.", ".", "1.0", "1000001", "1." * 200 + "1", "9" * 300]
    + ["-1", "a" * 129, "ж" * 65, "a\x00b", "a\nb", "<b>", "\ud800", "!", "a;b"],
)
def test_other_texts_are_refused_with_the_field_named(sent: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        paths.parse_path(sent, "stage")
    assert [field.field for field in refused.value.fields] == ["stage"]


@pytest.mark.parametrize(
    ("path", "before"),
    [
        ((1,), None),
        ((2,), (1,)),
        ((1, 1), None),
        ((1, 1, 1), None),
        ((2, 1), (1,)),
        ((2, 2), (2, 1)),
        ((3, 1, 1), (2,)),
        ((3, 4, 1), (3, 3)),
        ((3, 4, 2), (3, 4, 1)),
    ],
)
def test_the_predecessor_is_the_previous_sibling_or_the_parents(path: paths.Numbers, before: paths.Numbers) -> None:
    assert paths.predecessor(path) == before


@pytest.mark.parametrize(
    ("path", "other", "after"),
    [
        ((2,), (1,), True),
        ((1,), (2,), False),
        ((1,), (1,), False),
        ((2, 1), (2,), False),
        ((2,), (2, 1), False),
        ((2, 1), (1, 9), True),
        ((1, 9), (2, 1), False),
        ((3, 4, 2), (3, 4, 1), True),
        ((10,), (9,), True),
    ],
)
def test_a_path_is_after_those_on_earlier_branches(path: paths.Numbers, other: paths.Numbers, after: bool) -> None:
    assert paths.is_after(path, other) is after


def test_paths_are_shown_in_tree_order_and_names_last() -> None:
    shown = ["done", "10", "2.10", "2", "1.1", "archive", "2.9", "1"]
    assert sorted(shown, key=paths.sort_key) == ["1", "1.1", "2", "2.9", "2.10", "10", "archive", "done"]


@properties
@given(numbered)
def test_text_and_numbers_are_inverse(path: paths.Numbers) -> None:
    assert paths.numbers(paths.text(path)) == path
    assert paths.parse_path(paths.text(path)) == paths.text(path)


@properties
@given(numbered)
def test_a_path_is_after_its_predecessor(path: paths.Numbers) -> None:
    before = paths.predecessor(path)
    assert (before is None) == all(level == 1 for level in path)
    assert before is None or paths.is_after(path, before)


@properties
@given(numbered, numbered)
def test_of_two_paths_one_is_after_the_other_or_above_it(one: paths.Numbers, other: paths.Numbers) -> None:
    is_related = paths.is_at_or_below(one, other) or paths.is_at_or_below(other, one)
    assert [paths.is_after(one, other), paths.is_after(other, one), is_related].count(True) == 1


@properties
@given(numbered, numbered, numbered)
def test_being_after_is_transitive(one: paths.Numbers, two: paths.Numbers, three: paths.Numbers) -> None:
    if paths.is_after(one, two) and paths.is_after(two, three):
        assert paths.is_after(one, three)
