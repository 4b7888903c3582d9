"""Bars of jobs, one for each day: how many of the runs that ended on it ended well. Shaped as those of uptime."""

from collections.abc import Sequence
from typing import Final

from markupsafe import Markup

from api.dashboard.charts.scales import day_label
from api.dashboard.numbers import percent
from storage.status_pages import DayOfRuns

HEIGHT: Final = 28
WELL: Final = 0.95

_STEP: Final = 4
_BAR: Final = 3
_HEIGHTS: Final = {"good": HEIGHT, "warn": 20, "bad": 12, "none": 4}


def success_bars(days: Sequence[DayOfRuns], name: str = "") -> Markup:
    """The oldest day on the left. `name` is whose they are, where that does not stand beside them."""
    bars = Markup("").join(_bar(index, day) for index, day in enumerate(days))
    return Markup(
        '<svg class="uptime" role="img" aria-label="{label}" width="100%" height="{height}" '
        'viewBox="0 0 {width} {height}" preserveAspectRatio="none">{bars}</svg>'
    ).format(
        label=f"{name}: {gist(days)}" if name else gist(days),
        height=HEIGHT,
        width=max(1, len(days) * _STEP - (_STEP - _BAR)),
        bars=bars,
    )


def gist(days: Sequence[DayOfRuns]) -> str:
    """What the bars say, in words."""
    share = success_of(days)
    if share is None:
        return f"Nothing ran in the last {len(days)} days."
    return f"{percent(share, 2)} of the runs of the last {len(days)} days succeeded."


def success_of(days: Sequence[DayOfRuns]) -> float | None:
    """The share of all runs; None if there were none."""
    count = sum(day.all for day in days)
    return sum(day.good for day in days) / count if count else None


def tone_of(day: DayOfRuns) -> str:
    if day.share is None:
        return "none"
    return "good" if day.share == 1 else "warn" if day.share >= WELL else "bad"


def day_words(day: DayOfRuns) -> str:
    label = day_label(day.day, with_year=True)
    return f"{label}: nothing ran" if day.share is None else f"{label}: {percent(day.share, 2)} succeeded"


def _bar(index: int, day: DayOfRuns) -> Markup:
    tone = tone_of(day)
    height = _HEIGHTS[tone]
    return Markup('<rect class="f-{}" x="{}" y="{}" width="{}" height="{}"><title>{}</title></rect>').format(
        tone, index * _STEP, HEIGHT - height, _BAR, height, day_words(day)
    )
