"""Axes: where their marks are, and what is written there. Pure, for all pictures."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import ROUND_CEILING, Decimal
from typing import Final

Number = Decimal | float | int

MAX_MARKS: Final = 5

_STEPS: Final = (Decimal(1), Decimal(2), Decimal(5), Decimal(10))
_SECONDS: Final = (1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1_800, 3_600, 7_200, 10_800, 21_600, 43_200, 86_400)
_DAY_SECONDS: Final = 86_400
_STRIDES: Final = (1, 2, 7, 14)
_MONTHS: Final = (1, 2, 3, 6, 12, 24, 60)
_UNITS: Final = ((Decimal(10) ** 9, "B"), (Decimal(10) ** 6, "M"), (Decimal(10) ** 3, "k"))


@dataclass(frozen=True)
class Axis:
    """From 0 to `top`, with marks at every multiple of `step`; the last of them is `top`."""

    step: Decimal
    top: Decimal

    @property
    def marks(self) -> list[Decimal]:
        return [self.step * number for number in range(int(self.top / self.step) + 1)]

    def share(self, value: Number) -> float:
        """How far up the axis a value is: 0 at its foot, 1 at its top. What is beyond is at the end."""
        return min(1.0, max(0.0, float(_decimal(value) / self.top)))


def linear(most: Number, *, marks: int = MAX_MARKS, whole: bool = False) -> Axis:
    """For values from 0 to `most`, with `marks` steps at most. `whole`: of what is counted, there are no halves."""
    value = _decimal(most)
    if value <= 0:
        return Axis(Decimal(1), Decimal(1))
    least = value / marks
    power = Decimal(1).scaleb(least.adjusted())
    step = next(one * power for one in _STEPS if one * power >= least)
    return _axis(value, max(step, Decimal(1)) if whole else step)


def seconds(most: float, *, marks: int = MAX_MARKS) -> Axis:
    """For durations: marks at seconds, minutes, hours and days as clocks have them."""
    least = most / marks
    if least <= 1:
        return linear(most, marks=marks)
    if (step := next((step for step in _SECONDS if step >= least), None)) is not None:
        return _axis(_decimal(most), Decimal(step))
    days = linear(most / _DAY_SECONDS, marks=marks, whole=True)
    return Axis(days.step * _DAY_SECONDS, days.top * _DAY_SECONDS)


def _axis(most: Decimal, step: Decimal) -> Axis:
    return Axis(step, step * (most / step).to_integral_value(ROUND_CEILING))


def _decimal(value: Number) -> Decimal:
    return value if isinstance(value, Decimal) else Decimal(str(value))


def money_label(value: Number, step: Number) -> str:
    """US dollars on an axis with such steps, each label with as many decimals as the step takes."""
    amount, size = _decimal(value), _decimal(step)
    if amount == 0:
        return "$0"
    if size >= 1000:
        return f"${_short(amount)}"
    decimals = max(0, -_last_digit(size))
    return f"${amount:,.{2 if decimals == 1 else decimals}f}"


def count_label(value: Number) -> str:
    """250, 1.5k, 20k, 3M."""
    return _short(_decimal(value))


def _short(value: Decimal) -> str:
    size, unit = next(((size, unit) for size, unit in _UNITS if abs(value) >= size), (Decimal(1), ""))
    return f"{(value / size).normalize():f}{unit}"


def _last_digit(value: Decimal) -> int:
    """The power of ten of the last digit that counts."""
    exponent = value.normalize().as_tuple().exponent
    assert isinstance(exponent, int)
    return exponent


def days(first: date, last: date) -> list[date]:
    """Each day from the first to the last."""
    return [first + timedelta(days=number) for number in range((last - first).days + 1)]


def day_marks(first: date, last: date, *, marks: int = 8) -> list[date]:
    """Which days are named below a picture: some days, Mondays, or the first days of months, `marks` at most."""
    count = (last - first).days + 1
    for stride in _STRIDES:
        if count <= stride * marks:
            start = -first.weekday() % 7 if stride >= 7 else 0
            return days(first, last)[start::stride]
    months = _first_days_of_months(first, last)
    for every in _MONTHS:
        found = [day for day in months if (day.year * 12 + day.month - 1) % every == 0]
        if len(found) <= marks:
            return found
    return months[:: -(-len(months) // marks)]


def _first_days_of_months(first: date, last: date) -> list[date]:
    months = range(first.year * 12 + first.month - 1, last.year * 12 + last.month)
    return [day for day in (date(month // 12, month % 12 + 1, 1) for month in months) if first <= day <= last]


def day_labels(marks: Sequence[date]) -> list[str]:
    """The names of days below a picture: the year is said where it is a new one."""
    is_long = bool(marks) and marks[0].year != marks[-1].year
    labels = []
    for number, day in enumerate(marks):
        has_year = is_long and (number == 0 or marks[number - 1].year != day.year)
        labels.append(day_label(day, with_year=has_year))
    return labels


def day_label(day: date, *, with_year: bool = False) -> str:
    return f"{day.day} {day:%b}" + (f" {day.year}" if with_year else "")
