"""Axes of pictures: marks at round values, few enough to be read, up to beyond what is shown."""

from datetime import date, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.dashboard.charts import scales

AMOUNTS = st.one_of(
    st.decimals(min_value=Decimal("1e-12"), max_value=Decimal("1e12"), allow_nan=False, allow_infinity=False),
    st.floats(min_value=1e-9, max_value=1e12, allow_nan=False, allow_infinity=False),
    st.integers(min_value=1, max_value=10**12),
)
DAYS = st.dates(min_value=date(2000, 1, 1), max_value=date(2090, 1, 1))


@given(AMOUNTS, st.integers(min_value=1, max_value=12))
def test_an_axis_reaches_beyond_all_values_with_round_steps(most: scales.Number, marks: int) -> None:
    axis = scales.linear(most, marks=marks)
    value = Decimal(str(most))
    assert axis.top - axis.step < value <= axis.top
    assert axis.marks[0] == 0
    assert axis.marks[-1] == axis.top
    assert 1 <= len(axis.marks) - 1 <= marks
    assert axis.step.normalize().as_tuple().digits in ((1,), (2,), (5,))


@given(st.integers(min_value=0, max_value=10**9))
def test_what_is_counted_has_no_halves(most: int) -> None:
    assert all(mark == int(mark) for mark in scales.linear(most, whole=True).marks)


@given(st.floats(min_value=0.001, max_value=1e9))
def test_durations_have_marks_as_clocks_have_them(most: float) -> None:
    axis = scales.seconds(most)
    assert float(axis.top) >= most
    assert len(axis.marks) <= scales.MAX_MARKS + 1
    assert axis.step <= 1 or 86_400 % axis.step == 0 or axis.step % 86_400 == 0


@pytest.mark.parametrize(("value", "share"), [(-1, 0), (0, 0), (5, 0.5), (10, 1), (11, 1)])
def test_a_share_stays_on_the_axis(value: int, share: float) -> None:
    assert scales.linear(10).share(value) == share


@pytest.mark.parametrize("most", [0, Decimal(0), -3])
def test_an_axis_of_nothing_has_one_step(most: scales.Number) -> None:
    assert scales.linear(most).marks == [0, 1]


@pytest.mark.parametrize(
    ("most", "labels"),
    [
        (Decimal("0.0009"), ["$0", "$0.0002", "$0.0004", "$0.0006", "$0.0008", "$0.0010"]),
        (Decimal("0.9"), ["$0", "$0.20", "$0.40", "$0.60", "$0.80", "$1.00"]),
        (Decimal("12.3"), ["$0", "$5", "$10", "$15"]),
        (Decimal(900), ["$0", "$200", "$400", "$600", "$800", "$1,000"]),
        (Decimal(12_000), ["$0", "$5k", "$10k", "$15k"]),
        (Decimal(7_400_000), ["$0", "$2M", "$4M", "$6M", "$8M"]),
    ],
)
def test_money_has_the_decimals_of_its_step(most: Decimal, labels: list[str]) -> None:
    axis = scales.linear(most)
    assert [scales.money_label(mark, axis.step) for mark in axis.marks] == labels


@given(AMOUNTS)
def test_no_two_labels_of_an_axis_are_the_same(most: scales.Number) -> None:
    axis = scales.linear(most)
    assert len({scales.money_label(mark, axis.step) for mark in axis.marks}) == len(axis.marks)
    assert len({scales.count_label(mark) for mark in axis.marks}) == len(axis.marks)


@pytest.mark.parametrize(
    ("value", "label"), [(0, "0"), (250, "250"), (1_500, "1.5k"), (20_000, "20k"), (3_000_000, "3M"), (2 * 10**9, "2B")]
)
def test_counts_are_short(value: int, label: str) -> None:
    assert scales.count_label(value) == label


@given(DAYS, st.integers(min_value=0, max_value=3_660), st.integers(min_value=4, max_value=12))
def test_few_days_are_named_and_all_of_them_are_shown(first: date, more: int, marks: int) -> None:
    last = first + timedelta(days=more)
    named = scales.day_marks(first, last, marks=marks)
    assert len(named) <= marks
    assert set(named) <= set(scales.days(first, last))
    assert named == sorted(set(named))
    assert len(scales.day_labels(named)) == len(named)


def test_a_week_names_each_day_and_a_quarter_its_months_or_mondays() -> None:
    week = scales.day_marks(date(2026, 3, 2), date(2026, 3, 8))
    assert scales.day_labels(week) == ["2 Mar", "3 Mar", "4 Mar", "5 Mar", "6 Mar", "7 Mar", "8 Mar"]
    month = scales.day_marks(date(2026, 3, 1), date(2026, 3, 30))
    assert scales.day_labels(month) == ["2 Mar", "9 Mar", "16 Mar", "23 Mar", "30 Mar"]
    year = scales.day_marks(date(2025, 8, 5), date(2026, 8, 4))
    assert scales.day_labels(year) == ["1 Sep 2025", "1 Nov", "1 Jan 2026", "1 Mar", "1 May", "1 Jul"]


def test_a_span_of_one_day_names_it() -> None:
    assert scales.day_marks(date(2026, 3, 2), date(2026, 3, 2)) == [date(2026, 3, 2)]
