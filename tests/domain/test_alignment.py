"""What two sequences have in common is as long as it can be, and does not depend on which of them comes first."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.alignment import MAX_ITEMS, align
from tests.domain.builders import properties

items = st.lists(st.sampled_from("abcd"), max_size=9)


def longest(a: list[str], b: list[str]) -> int:
    """The length of a longest common subsequence, by trying everything."""
    if not a or not b:
        return 0
    if a[0] == b[0]:
        return 1 + longest(a[1:], b[1:])
    return max(longest(a[1:], b), longest(a, b[1:]))


@properties
@given(items, items)
def test_it_is_a_longest_one(a: list[str], b: list[str]) -> None:
    pairs = align(a, b)
    assert len(pairs) == longest(a, b)
    assert all(a[i] == b[j] for i, j in pairs)
    for (i, j), (next_i, next_j) in zip(pairs, pairs[1:], strict=False):
        assert i < next_i
        assert j < next_j


@properties
@given(items, items)
def test_it_is_the_same_the_other_way_round(a: list[str], b: list[str]) -> None:
    assert align(b, a) == [(j, i) for i, j in align(a, b)]


@properties
@given(st.data(), st.lists(st.sampled_from("abcd"), min_size=1, max_size=40))
def test_what_was_inserted_shifts_nothing_else(data: st.DataObject, a: list[str]) -> None:
    place = data.draw(st.integers(0, len(a)))
    b = [*a[:place], "new", *a[place:]]
    assert align(a, b) == [(index, index + (index >= place)) for index in range(len(a))]


@pytest.mark.parametrize(
    ("a", "b", "pairs"),
    [
        ("", "", []),
        ("abc", "", []),
        ("abc", "xyz", []),
        ("abc", "abc", [(0, 0), (1, 1), (2, 2)]),
        ("aab", "ab", [(0, 0), (2, 1)]),
        ("abcd", "bcde", [(1, 0), (2, 1), (3, 2)]),
        # Who looks for the longest run finds klm, and nothing besides.
        ("klmp1q2r3s", "p4q5r6sklm", [(3, 0), (5, 2), (7, 4), (9, 6)]),
    ],
)
def test_examples(a: str, b: str, pairs: list[tuple[int, int]]) -> None:
    assert align(a, b) == pairs


def test_too_many_are_refused() -> None:
    with pytest.raises(ValueError, match="10000"):
        align(["1"] * (MAX_ITEMS + 1), [])
