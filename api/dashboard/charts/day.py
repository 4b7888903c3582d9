"""The last day by hours: what ended well and what failed, on top of each other, and below them how many pings came."""

from collections.abc import Sequence
from typing import Final

from markupsafe import Markup

from api.dashboard.numbers import plural
from storage.overview import Hour

WIDTH: Final = 30
GAP: Final = 4
RUNS_HEIGHT: Final = 72
PINGS_HEIGHT: Final = 26
BETWEEN: Final = 8
HEIGHT: Final = RUNS_HEIGHT + BETWEEN + PINGS_HEIGHT
LEAST: Final = 2.0
"""What is there at all can be seen."""

_RECT: Final = Markup('<rect class="{}" x="{}" y="{:.1f}" width="{}" height="{:.1f}"/>')


def gist(hours: Sequence[Hour]) -> str:
    """The picture in words."""
    good, failed = sum(hour.good for hour in hours), sum(hour.failed for hour in hours)
    pings = sum(hour.pings or 0 for hour in hours)
    more = "" if all(hour.pings is not None for hour in hours) else " counted"
    return f"In the last 24 hours {plural(good, 'run')} ended well, {failed:,} failed; {plural(pings, 'ping')}{more}."


def day_plot(hours: Sequence[Hour]) -> Markup:
    """Stretches to the width it gets, so nothing is written in it."""
    most = max((hour.good + hour.failed for hour in hours), default=0)
    most_pings = max((hour.pings or 0 for hour in hours), default=0)
    bars = Markup("").join(_bar(number, hour, most, most_pings) for number, hour in enumerate(hours))
    return Markup(
        '<svg class="plot day" viewBox="0 0 {} {}" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>'
    ).format(len(hours) * (WIDTH + GAP) - GAP, HEIGHT, gist(hours), bars)


def _bar(number: int, hour: Hour, most: int, most_pings: int) -> Markup:
    left = number * (WIDTH + GAP)
    good, failed = _height(hour.good, most, RUNS_HEIGHT), _height(hour.failed, most, RUNS_HEIGHT)
    # Both at their least must not stick out of the top.
    good = min(good, RUNS_HEIGHT - failed)
    shapes = [_RECT.format("f-none", left, RUNS_HEIGHT - 1, WIDTH, 1)]
    if hour.good:
        shapes.append(_RECT.format("f-good", left, RUNS_HEIGHT - good, WIDTH, good))
    if hour.failed:
        shapes.append(_RECT.format("f-bad", left, RUNS_HEIGHT - good - failed, WIDTH, failed))
    if hour.pings:
        high = _height(hour.pings, most_pings, PINGS_HEIGHT)
        shapes.append(_RECT.format("f-c8", left, HEIGHT - high, WIDTH, high))
    pings = plural(hour.pings, "ping") if hour.pings is not None else "pings not counted"
    title = f"{hour.start:%H:%M} UTC: {hour.good:,} good, {hour.failed:,} failed, {pings}"
    return Markup('<g><title>{}</title><rect class="hit" x="{}" y="0" width="{}" height="{}"/>{}</g>').format(
        title, left, WIDTH, HEIGHT, Markup("").join(shapes)
    )


def _height(number: int, most: int, room: int) -> float:
    return max(LEAST, number / most * room) if number else 0.0
