"""When which stage was worked at: a lane for each, on one axis of time."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from markupsafe import Markup, escape

from api.dashboard.charts import scales
from api.dashboard.numbers import duration
from api.dashboard.stage_spans import Span
from domain.cleaning import cleaned
from domain.instances import StageStatus

COLOURS: Final = 8
LEAST: Final = 0.6
"""The width of the shortest bar, in percent: it is to be seen."""

WIDE: Final = 4.0
"""From which width on, in percent, a bar has room for its agent's letters on a wide screen."""

WIDE_ON_A_PHONE: Final = 16.0

LEAST_STEP: Final = Decimal("0.001")
"""In seconds: nothing shorter has a name."""

GRID: Final = "gantt-grid"

_FAILED: Final = (StageStatus.FAILED, StageStatus.TIMEOUT, StageStatus.MISSED)
_TONES: Final = {StageStatus.HEALTHY: "good", StageStatus.PENDING: "busy"}


@dataclass(frozen=True)
class Shade:
    """A time in which nothing could go on. `end` None: it goes on."""

    start: datetime
    end: datetime | None
    reason: str


@dataclass(frozen=True)
class Scale:
    """From `start` to `end`; both are on the picture."""

    start: datetime
    end: datetime

    @property
    def seconds(self) -> float:
        return (self.end - self.start).total_seconds()

    def x(self, at: datetime) -> float:
        """Percent from the left."""
        if self.seconds <= 0:
            return 0.0
        return min(100.0, max(0.0, 100 * (at - self.start).total_seconds() / self.seconds))

    def marks(self) -> list[tuple[float, str]]:
        """Where times are named, and how: as what has passed since the start."""
        if self.seconds <= 0:
            return [(0.0, "0")]
        step = max(scales.seconds(self.seconds).step, LEAST_STEP)
        count = int(Decimal(str(self.seconds)) / step)
        return [
            (min(100.0, 100 * float(step * number) / self.seconds), duration(float(step * number)) if number else "0")
            for number in range(count + 1)
        ]


@dataclass(frozen=True)
class Agent:
    """Who did something: letters and a colour, so that the lanes say it in two ways."""

    name: str
    letters: str
    colour: int


def agents_of(names: Iterable[str]) -> dict[str, Agent]:
    """A, B, … Z, AA, in the order given; colours come again after the eighth."""
    return {
        name: Agent(name, _letters(number), number % COLOURS + 1) for number, name in enumerate(dict.fromkeys(names))
    }


def _letters(number: int) -> str:
    letters = ""
    number += 1
    while number:
        number, rest = divmod(number - 1, 26)
        letters = chr(ord("A") + rest) + letters
    return letters


def axis(scale: Scale) -> Markup:
    """The names of the times, above the lanes."""
    marks = scale.marks()
    parts = []
    for number, (x, label) in enumerate(marks):
        # The name of a time close to the edge ends there.
        anchor = "start" if x < 3 else "end" if x > 94 else "middle"
        odd = ' class="odd"' if number % 2 else ""
        parts.append(f'<text{odd} x="{x:.2f}%" y="14" text-anchor="{anchor}">{escape(label)}</text>')
    return Markup(f'<svg class="axis" aria-hidden="true" focusable="false">{"".join(parts)}</svg>')


def grid(scale: Scale, shades: Sequence[Shade], moments: Sequence[datetime], here: datetime | None) -> Markup:
    """What is behind every lane: marks of time, pauses, changes of status, and the step that one looks at."""
    parts = [f'<line class="tick" x1="{x:.2f}%" x2="{x:.2f}%" y1="0" y2="100%"/>' for x, _ in scale.marks()]
    for shade in shades:
        left, right = scale.x(shade.start), scale.x(shade.end or scale.end)
        parts.append(
            f'<rect class="shade" x="{left:.2f}%" width="{max(right - left, LEAST):.2f}%" y="0" height="100%"/>'
        )
    parts += [_upright("change", scale.x(at)) for at in moments]
    if here is not None:
        parts.append(_upright("here", scale.x(here)))
    return Markup(f'<svg class="sprite" aria-hidden="true" focusable="false"><g id="{GRID}">{"".join(parts)}</g></svg>')


def _upright(name: str, x: float) -> str:
    return f'<line class="{name}" x1="{x:.2f}%" x2="{x:.2f}%" y1="0" y2="100%"/>'


def lane(scale: Scale, spans: Sequence[Span], agents: dict[str, Agent], moved: timedelta = timedelta(0)) -> str:
    """One lane, as HTML. `moved`: by how much what a fork inherited was moved to be on the picture."""
    bars = "".join(_bar(scale, span, agents, moved) for span in spans)
    return f'<svg class="lane" role="img" aria-label="{escape(words(scale, spans))}"><use href="#{GRID}"/>{bars}</svg>'


def bracket(scale: Scale, start: datetime, end: datetime) -> str:
    """The lane of a stage that was not pinged itself: from the first to the last of what is below it."""
    left = scale.x(start)
    width = max(scale.x(end) - left, LEAST)
    label = escape(f"What is below it: {_when(scale, start)} to {_when(scale, end)}")
    return (
        f'<svg class="lane" role="img" aria-label="{label}"><use href="#{GRID}"/>'
        f'<rect class="bracket" x="{left:.2f}%" width="{width:.2f}%" y="11" height="4" rx="2"/></svg>'
    )


def words(scale: Scale, spans: Sequence[Span]) -> str:
    """What a lane shows, for who cannot see it."""
    if not spans:
        return "Not begun"
    first, last = spans[0], spans[-1]
    going = ", and goes on" if last.is_open else ""
    times = f", {len(spans)} times" if len(spans) > 1 else ""
    return f"{_when(scale, first.start)} to {_when(scale, last.end)}{times}{going}"


def _when(scale: Scale, at: datetime) -> str:
    return duration(max(0.0, (at - scale.start).total_seconds()))


def _bar(scale: Scale, span: Span, agents: dict[str, Agent], moved: timedelta) -> str:
    left = scale.x(span.start)
    width = max(scale.x(span.end) - left, LEAST)
    left = min(left, 100 - LEAST)
    agent = agents.get(span.agent) if span.agent is not None else None
    classes = ["bar", _colour(span, agent, bool(agents))]
    classes += [name for name, has_it in (("open", span.is_open), ("old", span.inherited)) if has_it]
    body = (
        f'<rect class="{" ".join(classes)}" x="{left:.2f}%" width="{min(width, 100 - left):.2f}%" '
        f'y="5" height="16" rx="3"><title>{escape(_title(scale, span, moved))}</title></rect>'
    )
    if width < WIDE:
        return body
    tight = " tight" if width < WIDE_ON_A_PHONE else ""
    if agent is not None:
        body += f'<text class="who{tight}" x="{left:.2f}%" dx="6" y="17">{agent.letters}</text>'
    if span.status in _FAILED and (agent is None or width >= 2 * WIDE):
        right = min(left + width, 100.0)
        body += f'<text class="failed{tight}" x="{right:.2f}%" dx="-4" y="17" text-anchor="end">×</text>'
    return body


def _colour(span: Span, agent: Agent | None, has_agents: bool) -> str:
    if span.status in _FAILED:
        return "f-bad"
    if agent is not None:
        return f"f-c{agent.colour}"
    return "f-idle" if has_agents else f"f-{_TONES[span.status]}"


def _title(scale: Scale, span: Span, moved: timedelta) -> str:
    long = duration((span.end - span.start).total_seconds())
    at = (span.end - moved if span.inherited else span.end).strftime("%H:%M:%S")
    parts = [
        f"{span.status.value.capitalize()} · {long}" + (" so far" if span.is_open else ""),
        f"{_when(scale, span.start)} to {_when(scale, span.end)}",
        f"until {at} UTC" if not span.is_open else "",
        cleaned(span.agent) if span.agent else "",
        "inherited" if span.inherited else "",
        "" if span.is_measured else "begin taken from the step before",
    ]
    return " · ".join(part for part in parts if part)
