"""How pages put things: amounts, durations, and what is wrong with a field."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api.dashboard.numbers import duration, money, percent
from api.html import problem
from domain.durations import as_text, parse_duration
from domain.errors import InvalidRequest


@pytest.mark.parametrize(
    ("message", "sentence"),
    [
        ("must be a number", "This must be a number."),
        ("is taken; choose another", "This is taken; choose another."),
        ("Input should be greater than 0", "This must be greater than 0."),
        ("String should match pattern '^a$'", "This must match pattern '^a$'."),
        ("Field required", "This is missing."),
        ("there is no pulse robot-7", "There is no pulse robot-7."),
        ("", "."),
    ],
)
def test_what_is_wrong_with_a_field(message: str, sentence: str) -> None:
    assert problem(message) == sentence


@pytest.mark.parametrize(
    ("amount", "words"),
    [
        (None, "–"),
        (0, "$0"),
        ("0.01", "$0.01"),
        ("1234567.891", "$1,234,567.89"),
        ("0.00123", "$0.0012"),
        ("0.0000004", "$0.0000004"),
        ("-3.5", "-$3.50"),
        (Decimal("0.00999"), "$0.01"),
    ],
)
def test_money(amount: Decimal | str | None, words: str) -> None:
    assert money(amount) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [(None, "–"), (0, "0 ms"), (0.84, "840 ms"), (2.44, "2.4 s"), (200, "3 min 20 s"), (90_000, "1 d 1 h")],
)
def test_durations(seconds: float | None, words: str) -> None:
    assert duration(seconds) == words


@pytest.mark.parametrize(
    ("share", "words"), [(None, "–"), (1, "100 %"), (0.9999, "99.9 %"), (0.5, "50 %"), (0, "0 %"), (0.123, "12.3 %")]
)
def test_only_what_is_whole_is_all(share: float | None, words: str) -> None:
    assert percent(share) == words


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("90", 90), ("5 min", 300), ("1h 30m", 5400), ("2 Days", 172_800), ("1.5 h", 5400), (" 0 ", 0), ("1w", 604_800)],
)
def test_a_duration_as_people_write_it(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "x", "1 2", "5 5m", "5m 5", "-1", "1e3", "٣ min", "nan", "1 fortnight", "9" * 65])
def test_what_is_no_duration(text: str) -> None:
    with pytest.raises(InvalidRequest, match="such as 90 s"):
        parse_duration(text)


@given(st.floats(min_value=1e-40, max_value=1e9) | st.integers(0, 10**9))
def test_a_duration_comes_back_from_its_field_as_it_was(seconds: float) -> None:
    assert parse_duration(as_text(seconds)) == seconds
