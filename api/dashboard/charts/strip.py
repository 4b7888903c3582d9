"""The last runs of a workflow as bars, the newest on the right: high ones took long, and each leads to its run."""

from collections import Counter
from collections.abc import Sequence
from typing import Final
from urllib.parse import quote

from markupsafe import Markup

from api.dashboard.numbers import duration, plural
from api.dashboard.states import state_of
from domain.instances import FINISHED, InstanceStatus
from storage.workflow_overview import Run

BAR: Final = 6
PITCH: Final = 8
HEIGHT: Final = 30
MARKS: Final = 8
"""Room below the bars: what did not end well, or not at all, has a mark there, so that nobody needs its colour."""

LEAST: Final = 0.14
OF_THE_MEDIAN: Final = 0.5
"""How high a bar is whose run took as long as the median; twice that, and all beyond, is as high as there is room."""

_CROSS: Final = "M0.5 0.5l5 5M5.5 0.5l-5 5"
_MARKS: Final = {
    InstanceStatus.FAILED: _CROSS,
    InstanceStatus.TERMINATED: "M0.5 3h5",
    InstanceStatus.PAUSED: "M1.5 0.5v5M4.5 0.5v5",
    InstanceStatus.RUNNING: "M1.5 0.5l4 2.5l-4 2.5z",
    InstanceStatus.PENDING: "M2.5 3h1",
}
_BAR: Final = Markup(
    '<a href="{href}"{more}><title>{title}</title>'
    '<rect class="strip-room" x="{left}" y="0" width="{pitch}" height="{room}"/>'
    '<rect class="{look}" x="{x}" y="{y:.1f}" width="{width}" height="{height:.1f}" rx="1.5"/>{mark}</a>'
)
_MARK: Final = Markup('<path class="strip-mark {tone}" transform="translate({x} {y})" d="{path}"/>')

_KEY: Final = Markup(
    '<span class="strip-key"><svg class="strip-mark {tone}" viewBox="-1 -1 8 8" aria-hidden="true"><path d="{path}"/>'
    "</svg>{words}</span>"
)
LEGEND: Final = Markup(" ").join(
    _KEY.format(tone=state_of(status).tone, path=path, words=state_of(status).label.lower())
    for status, path in _MARKS.items()
)
"""What the marks mean."""


def height_of(seconds: float | None, median: float | None) -> float:
    """From LEAST to 1. What is not known is as high as the median."""
    if seconds is None or not median:
        return OF_THE_MEDIAN
    return min(1.0, max(LEAST, OF_THE_MEDIAN * seconds / median))


def words_of(run: Run) -> str:
    """What is said of one bar."""
    took = f" after {duration(run.seconds)}" if run.seconds is not None else ""
    at = run.started_at
    return f"{state_of(run.status).label}{took}, begun {at.day} {at:%b %Y, %H:%M} UTC, {run.instance_id}"


def gist_of(runs: Sequence[Run]) -> str:
    """What is said instead of the picture."""
    if not runs:
        return "No runs yet"
    counts = Counter(run.status for run in runs)
    parts = [f"{counts[status]} {state_of(status).label.lower()}" for status in InstanceStatus if counts[status]]
    return f"The last {plural(len(runs), 'run')}, the newest last: {', '.join(reversed(parts))}"


def strip(runs: Sequence[Run], median: float | None, room_for: int, *, in_tab_order: bool = False) -> Markup:
    """`runs` from the oldest to the newest; the picture is as wide as `room_for` bars. In a list of many pictures the
    bars are not `in_tab_order`, because whoever uses a keyboard would be caught among them."""
    if median is None:
        median = max((run.seconds for run in runs if run.seconds is not None), default=None)
    empty = room_for - len(runs)
    bars = Markup("").join(_bar(run, median, empty + number, in_tab_order) for number, run in enumerate(runs))
    blank = Markup("").join(
        Markup('<rect class="f-none" x="{}" y="{}" width="{}" height="2" rx="1"/>').format(
            number * PITCH, HEIGHT - 2, BAR
        )
        for number in range(empty)
    )
    width, height = room_for * PITCH - (PITCH - BAR), HEIGHT + MARKS
    return Markup(
        '<svg class="strip" viewBox="0 0 {w} {h}" width="{w}" height="{h}" {role} aria-label="{gist}">'
    ).format(w=width, h=height, gist=gist_of(runs), role=Markup('role="group"' if runs else 'role="img"')) + (
        blank + bars + Markup("</svg>")
    )


def _bar(run: Run, median: float | None, place: int, in_tab_order: bool) -> Markup:
    x, height = place * PITCH, height_of(run.seconds, median) * HEIGHT
    tone = state_of(run.status).tone
    is_over = run.status in FINISHED
    # One that is not over is an outline: half of its line would lie outside.
    inset = 0.0 if is_over else 0.75
    path = _MARKS.get(run.status)
    return _BAR.format(
        href=f"/instances/{quote(run.instance_id, safe='')}",
        title=words_of(run),
        more="" if in_tab_order else Markup(' tabindex="-1"'),
        left=x - (PITCH - BAR) / 2,
        pitch=PITCH,
        room=HEIGHT + MARKS,
        look=f"f-{tone}" if is_over else f"strip-open {tone}",
        x=x + inset,
        y=HEIGHT - height + inset,
        width=BAR - 2 * inset,
        height=height - 2 * inset,
        mark=_MARK.format(tone=tone, x=x, y=HEIGHT + 2, path=path) if path else "",
    )
