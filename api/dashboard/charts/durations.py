"""Runs as pictures: how long each took, and how it ended."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from math import floor, log10
from statistics import median
from typing import Final
from zoneinfo import ZoneInfo

from markupsafe import Markup, escape

from api.dashboard.charts import scales
from api.dashboard.numbers import duration, plural
from domain.processes import RunStatus

LOG_FROM: Final = 50.0
"""If long runs take so many times as long as short ones, the scale is logarithmic."""

_SHORT, _LONG = 0.05, 0.95
"""Of all runs: a few that are out of the ordinary decide nothing."""

_TOP: Final = 22
_HEIGHT: Final = 240
_FOOT: Final = 24
_LEAST_SECONDS: Final = 0.01
_TIMES: Final = 5
_EDGE: Final = 2.0
"""Per cent of the width that stay free on either side."""

STRIP_HEIGHT: Final = 28
_STRIP_STEP: Final = 6
_STRIP_BAR: Final = 5
_LEAST_BAR: Final = 4


@dataclass(frozen=True)
class RunPoint:
    """`seconds` is how long the run took or, if it is not over, how long it has been going on."""

    run_id: str
    status: RunStatus
    started_at: datetime
    seconds: float
    is_late: bool = False

    @property
    def look(self) -> tuple[str, str, str]:
        """Its tone, its shape, and a word for both."""
        if self.status is RunStatus.FAILED:
            return "bad", "cross", "failed"
        if self.status is RunStatus.OVERDUE:
            return "bad", "square", "overdue"
        if self.status is RunStatus.RUNNING:
            return "busy", "ring", "running"
        return ("warn", "triangle", "finished late") if self.is_late else ("good", "dot", "finished")

    @property
    def words(self) -> str:
        return f"{duration(self.seconds)}, {self.look[2]}"


_SHAPES: Final = {
    "dot": '<circle r="4"/>',
    "triangle": '<path d="M0-5 5 4H-5Z"/>',
    "square": '<path d="M-4-4H4V4H-4Z"/>',
    "cross": '<path d="M-3-5 0-2 3-5 5-3 2 0 5 3 3 5 0 2-3 5-5 3-2 0-5-3Z"/>',
    "ring": '<path fill-rule="evenodd" d="M-5 0A5 5 0 1 0 5 0 5 5 0 1 0-5 0ZM-2 0A2 2 0 1 1 2 0 2 2 0 1 1-2 0Z"/>',
}
"""Around the middle; each can be told from the others without its colour."""

LOOKS: Final = (
    ("good", "dot", "Finished"),
    ("warn", "triangle", "Finished late"),
    ("bad", "cross", "Failed"),
    ("bad", "square", "Overdue"),
    ("busy", "ring", "Running"),
)


@dataclass(frozen=True)
class _Scale:
    """From seconds to pixels, the longest at the top."""

    least: float
    most: float
    is_log: bool

    def y(self, seconds: float) -> float:
        if self.is_log:
            share = log10(max(seconds, self.least) / self.least) / log10(self.most / self.least)
        else:
            share = seconds / self.most
        return round(_HEIGHT - share * (_HEIGHT - _TOP), 1)


def durations_plot(points: Sequence[RunPoint], expected_seconds: float, grace_seconds: float, timezone: str) -> Markup:
    """Each run at its start and its duration, with lines for what is expected. Across, places are per cent of the
    width: so it fits a phone and its letters stay as large as they are."""
    limit = expected_seconds + grace_seconds
    scale, marks = _scale([point.seconds for point in points] + [expected_seconds, limit])
    parts = [_mark(mark, scale.y(mark)) for mark in marks]
    first, last = _span(points)
    parts += _time_marks(first, last, timezone)
    parts += [_point(point, _x(point.started_at, first, last), scale.y(point.seconds)) for point in points]
    lines = [(limit, "Overdue after"), (expected_seconds, "Expected")] if grace_seconds else [(limit, "Expected")]
    parts += [_line(seconds, words, scale.y(seconds), index) for index, (seconds, words) in enumerate(lines)]
    return Markup(
        f'<svg class="durations" role="img" width="100%" height="{_HEIGHT + _FOOT}" '
        f'aria-label="{escape(gist(points, expected_seconds))}">{"".join(parts)}</svg>'
    )


def gist(points: Sequence[RunPoint], expected_seconds: float) -> str:
    """What the plot says, in words."""
    if not points:
        return "No runs yet."
    counts = [(words.lower(), sum(point.look[2] == words.lower() for point in points)) for _, _, words in LOOKS]
    told = ", ".join(f"{count} {words}" for words, count in counts if count)
    took = typical_seconds(points)
    usual = f" The median is {duration(took)}, {duration(expected_seconds)} are expected." if took is not None else ""
    return f"How long the last {plural(len(points), 'run')} took: {told}.{usual}"


def typical_seconds(points: Sequence[RunPoint]) -> float | None:
    """The median of those that finished; None if none did."""
    finished = [point.seconds for point in points if point.status is RunStatus.FINISHED]
    return median(finished) if finished else None


def run_strip(points: Sequence[RunPoint], name: str, places: int) -> Markup:
    """A bar for each run, the latest on the right, as high as it took long; those that went wrong are broken."""
    longest = max((point.seconds for point in points), default=0) or 1
    empty = places - len(points)
    bars = "".join(_strip_bar(point, index + empty, point.seconds / longest) for index, point in enumerate(points))
    said = (
        f"{plural(len(points), 'run')} of {name}; the last one: {points[-1].words}"
        if points
        else f"No runs of {name} yet"
    )
    width = places * _STRIP_STEP
    return Markup(
        f'<svg class="strip" role="img" aria-label="{escape(said)}" width="{width}" height="{STRIP_HEIGHT}" '
        f'viewBox="0 0 {width} {STRIP_HEIGHT}">{bars}</svg>'
    )


def symbol(tone: str, shape: str) -> Markup:
    """For the key of the plot."""
    return Markup(
        f'<svg class="f-{tone}" viewBox="-6 -6 12 12" width="12" height="12" aria-hidden="true">{_SHAPES[shape]}</svg>'
    )


def _strip_bar(point: RunPoint, index: int, share: float) -> str:
    tone = point.look[0]
    height = max(_LEAST_BAR, round(share * STRIP_HEIGHT))
    x, y = index * _STRIP_STEP, STRIP_HEIGHT - height
    rects = f'<rect x="{x}" y="{y}" width="{_STRIP_BAR}" height="{height}"/>'
    if tone == "bad":
        gap = max(1, height // 4)
        low = (height - gap) // 2
        rects = (
            f'<rect x="{x}" y="{y}" width="{_STRIP_BAR}" height="{height - gap - low}"/>'
            f'<rect x="{x}" y="{STRIP_HEIGHT - low}" width="{_STRIP_BAR}" height="{low}"/>'
        )
    elif tone != "good":
        rects = f'<rect x="{x + 1}" y="{y}" width="{_STRIP_BAR - 2}" height="{height}"/>'
    return f'<g class="f-{tone}"><title>{point.words}</title>{rects}</g>'


def _scale(seconds: Sequence[float]) -> tuple[_Scale, list[float]]:
    """And the durations that are marked on it."""
    ordered = sorted(max(value, _LEAST_SECONDS) for value in seconds)
    least, most = ordered[0], ordered[-1]
    if _at(ordered, _LONG) / _at(ordered, _SHORT) < LOG_FROM:
        axis = scales.seconds(most * 1.05, marks=4)
        return _Scale(0, float(axis.top), False), [float(mark) for mark in axis.marks]
    low, high = floor(log10(least)), floor(log10(most * 1.05)) + 1
    foot, top = 10.0**low, min(10.0**high, most * 1.5)
    steps = [mark for mark in _LOG_MARKS if foot <= mark <= top]
    thinned = steps[:: -(-len(steps) // 5)] if steps else [foot]
    return _Scale(foot, top, True), thinned


def _at(ordered: Sequence[float], share: float) -> float:
    return ordered[round(share * (len(ordered) - 1))]


_LOG_MARKS: Final = (
    *(0.01, 0.1, 1.0, 10.0, 60.0, 600.0, 3_600.0, 6 * 3_600.0),
    *(86_400.0, 7 * 86_400.0, 30 * 86_400.0, 365 * 86_400.0),
)
"""Durations that people have names for, each several times the one before."""


def _span(points: Sequence[RunPoint]) -> tuple[datetime | None, datetime | None]:
    starts = [point.started_at for point in points]
    return min(starts, default=None), max(starts, default=None)


def _x(at: datetime, first: datetime | None, last: datetime | None) -> float:
    """Per cent of the width."""
    if first is None or last is None or first == last:
        return 50.0
    return round(_EDGE + (100 - 2 * _EDGE) * ((at - first) / (last - first)), 2)


def _mark(seconds: float, y: float) -> str:
    return (
        f'<line class="axis" x1="0" x2="100%" y1="{y}" y2="{y}"/>'
        f'<text x="0" y="{y - 4}">{duration(seconds) if seconds else "0"}</text>'
    )


def _line(seconds: float, words: str, y: float, index: int) -> str:
    """The words of the upper line stand above it, those of the lower one below."""
    return (
        f'<line class="limit" x1="0" x2="100%" y1="{y}" y2="{y}"/>'
        f'<text class="limit" x="100%" y="{y - 4 if index == 0 else y + 13}" text-anchor="end">'
        f"{words} {duration(seconds)}</text>"
    )


def _time_marks(first: datetime | None, last: datetime | None, timezone: str) -> list[str]:
    if first is None or last is None:
        return []
    zone, texts = ZoneInfo(timezone), list[str]()
    count = _TIMES if first != last else 1
    times = [(first + (last - first) * (index / max(1, count - 1))).astimezone(zone) for index in range(count)]
    for index, label in enumerate(_time_labels(times, (last - first) / max(1, count - 1))):
        if not label:
            continue
        anchor = "middle" if 0 < index < count - 1 or count == 1 else "start" if index == 0 else "end"
        x = 100 * index / (count - 1) if count > 1 else 50
        # In between there is no room for them on a phone.
        css = ' class="between"' if index % 2 else ""
        texts.append(f'<text{css} x="{x:g}%" y="{_HEIGHT + _FOOT - 6}" text-anchor="{anchor}">{label}</text>')
    return texts


def _time_labels(times: Sequence[datetime], step: timedelta) -> list[str]:
    """As exact as it takes to tell them apart. With a clock, the day is said where it is another than before; what
    would be said a second time is empty."""
    labels, seen, before = list[str](), set[str](), None
    for at in times:
        day = f"{at.day} {at:%b}" + (f" {at.year}" if times[0].year != times[-1].year else "")
        clock = _clock(at, step) if len(times) > 1 else f"{at:%H:%M}"
        whole = day if step >= timedelta(days=1) else f"{day}, {clock}"
        short = whole if day != before else clock
        labels.append("" if whole in seen else short)
        seen.add(whole)
        before = day
    return labels


def _clock(at: datetime, step: timedelta) -> str:
    if step >= timedelta(minutes=1):
        return f"{at:%H:%M}"
    return f"{at:%H:%M:%S}" if step >= timedelta(seconds=1) else f"{at:%H:%M:%S}.{at.microsecond // 1000:03}"


def _point(point: RunPoint, x: float, y: float) -> str:
    tone, shape, _ = point.look
    at = f"{point.started_at.day} {point.started_at:%b %Y, %H:%M} UTC"
    return (
        f'<svg class="f-{tone}" x="{x}%" y="{y}" overflow="visible">'
        f"<title>{at}: {point.words}</title>{_SHAPES[shape]}</svg>"
    )
