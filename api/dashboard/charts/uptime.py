"""Bars of a pulse's uptime, one for each day."""

from collections.abc import Sequence
from typing import Final

from markupsafe import Markup, escape

from api.dashboard.charts.scales import day_label
from api.dashboard.numbers import percent
from domain.durations import in_words
from domain.uptime import DayUptime, share_of

HEIGHT: Final = 28
"""Pixels. They are as wide as there is room."""

_STEP: Final = 4
_BAR: Final = 3

WELL: Final = 0.95
"""A day that was up for less of the time looks bad; any other on which it was down at all, doubtful."""

_HEIGHTS: Final = {"good": HEIGHT, "warn": 20, "bad": 12, "none": 4}
"""So that colour is not alone: the worse a day, the lower its bar."""


def uptime_bars(days: Sequence[DayUptime], name: str = "") -> Markup:
    """The oldest day on the left. `name` is whose they are, where that does not stand beside them."""
    bars = "".join(_bar(index, day) for index, day in enumerate(days))
    label = escape(f"{name}: {gist(days)}" if name else gist(days))
    width = max(1, len(days) * _STEP - (_STEP - _BAR))
    return Markup(
        f'<svg class="uptime" role="img" aria-label="{label}" width="100%" height="{HEIGHT}" '
        f'viewBox="0 0 {width} {HEIGHT}" preserveAspectRatio="none">{bars}</svg>'
    )


def gist(days: Sequence[DayUptime]) -> str:
    """What the bars say, in words."""
    period = f"the last {len(days)} days" if len(days) != 1 else "today"
    share = share_of(days)
    if share is None:
        return f"Nothing is known of {period}."
    down = [day for day in days if day.down_seconds > 0]
    if not down:
        return f"Up all the time in {period}."
    lost, last = in_words(sum(day.down_seconds for day in down)), down[-1].day
    on = f"on {len(down)} days, for {lost} in all, the last time" if len(down) > 1 else f"for {lost}"
    return f"Up {percent(share, 2)} of the time in {period}. Down {on} on {day_label(last, with_year=True)}."


def tone_of(day: DayUptime) -> str:
    """A class of the style sheet, without its prefix `f-`."""
    share = day.share
    if share is None:
        return "none"
    if day.down_seconds <= 0:
        return "good"
    return "warn" if share >= WELL else "bad"


def day_words(day: DayUptime) -> str:
    """Such as "3 Mar 2026: 99.31 %, down for 10 min"."""
    label = day_label(day.day, with_year=True)
    if day.share is None:
        return f"{label}: not watched"
    if day.down_seconds <= 0:
        return f"{label}: 100 %"
    return f"{label}: {percent(day.share, 2)}, down for {in_words(day.down_seconds)}"


def _bar(index: int, day: DayUptime) -> str:
    tone = tone_of(day)
    height = _HEIGHTS[tone]
    # There are thousands of these on a page, so nothing is said that goes without saying.
    y = f' y="{HEIGHT - height}"' if height < HEIGHT else ""
    return (
        f'<rect class="f-{tone}" x="{index * _STEP}"{y} width="{_BAR}" height="{height}">'
        f"<title>{day_words(day)}</title></rect>"
    )
