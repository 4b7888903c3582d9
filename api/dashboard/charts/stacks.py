"""Stacked bars over days: heights in pixels, places across in percent, so that they fit every width."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal
from typing import Final

from markupsafe import Markup

from api.dashboard.charts import scales
from api.dashboard.numbers import money, plural
from domain.cleaning import cleaned

MAX_SERIES: Final = 8
LETTERS: Final = "ABCDEFGH"
OTHERS: Final = "+"

ABOVE: Final = 16
"""Pixels above the bars, for the marks of what is not known."""

HEIGHT: Final = 220
BELOW: Final = 24

MAX_DAYS: Final = 100
"""More are shown by weeks, and more than MAX_WEEK_DAYS by months."""

MAX_WEEK_DAYS: Final = 730
MOST_WITH_LETTERS: Final = 31
ROOM_FOR_LETTER: Final = 13
GAP: Final = 0.18
"""Of the place of a bar, what is left free beside it."""


@dataclass(frozen=True)
class Series:
    """One colour of the bars. `letter` says the same where colours are not told apart."""

    letter: str
    name: str
    tone: str


@dataclass(frozen=True)
class Bucket:
    """Some days that have one bar. `costs` are by series, as far as they are known."""

    first: date
    last: date
    costs: Sequence[Decimal]
    pings: int
    unpriced_pings: int

    @property
    def total(self) -> Decimal:
        return sum(self.costs, Decimal(0))

    @property
    def is_unknown(self) -> bool:
        """Whether there were pings, and of none it is known what it cost."""
        return 0 < self.pings == self.unpriced_pings

    @property
    def label(self) -> str:
        if self.first == self.last:
            return scales.day_label(self.first, with_year=True)
        if self.first.month == self.last.month and (self.last - self.first).days > 7:
            return f"{self.first:%b %Y}"
        return f"{scales.day_label(self.first)} to {scales.day_label(self.last, with_year=True)}"


@dataclass(frozen=True)
class Part:
    """What one series of one day adds up to."""

    day: date
    series: int
    cost_usd: Decimal | None
    pings: int
    unpriced_pings: int


def series_of(names: Iterable[str], *, has_others: bool) -> list[Series]:
    """Of the first of the names, and one for all others."""
    shown = [
        Series(letter, cleaned(name), f"f-c{number}")
        for number, (letter, name) in enumerate(zip(LETTERS, names, strict=False), start=1)
    ]
    return [*shown, Series(OTHERS, "All others", "f-idle")] if has_others else shown


def spans(first: date, last: date) -> list[tuple[date, date]]:
    """The days of each bar: one, or those of a week from Monday on, or of a month."""
    count = (last - first).days + 1
    if count <= MAX_DAYS:
        return [(day, day) for day in scales.days(first, last)]
    starts = [
        day
        for day in scales.days(first, last)
        if day == first or (day.weekday() == 0 if count <= MAX_WEEK_DAYS else day.day == 1)
    ]
    return list(zip(starts, [*(start - timedelta(days=1) for start in starts[1:]), last], strict=True))


def buckets(first: date, last: date, parts: Iterable[Part], series: int) -> list[Bucket]:
    """The bars from the first to the last day, those of nothing too."""
    all_spans = spans(first, last)
    places: Mapping[date, int] = {
        day: number for number, (start, end) in enumerate(all_spans) for day in scales.days(start, end)
    }
    costs = [[Decimal(0)] * series for _ in all_spans]
    pings, unpriced = [0] * len(all_spans), [0] * len(all_spans)
    for part in parts:
        place = places[part.day]
        costs[place][part.series] += part.cost_usd or 0
        pings[place] += part.pings
        unpriced[place] += part.unpriced_pings
    return [
        Bucket(start, end, costs[number], pings[number], unpriced[number])
        for number, (start, end) in enumerate(all_spans)
    ]


def draw(bars: Sequence[Bucket], series: Sequence[Series]) -> Markup:
    """The picture: an axis of fixed width beside bars that take the rest."""
    axis = scales.linear(max((bar.total for bar in bars), default=0))
    lines = [(ABOVE + HEIGHT * (1 - axis.share(mark)), scales.money_label(mark, axis.step)) for mark in axis.marks]
    height = ABOVE + HEIGHT + BELOW
    labels = Markup().join(
        Markup('<text x="52" y="{:.1f}" text-anchor="end">{}</text>').format(y + 4, words) for y, words in lines
    )
    rules = Markup().join(
        Markup('<line class="axis" x1="0" x2="100%" y1="{0:.1f}" y2="{0:.1f}"/>').format(y) for y, _ in lines
    )
    drawn = Markup().join(_bar(number, len(bars), bar, series, axis) for number, bar in enumerate(bars))
    return Markup(
        '<div class="stacked"><svg class="plot scale" height="{height}" aria-hidden="true" focusable="false">{labels}'
        '</svg><svg class="plot bars" height="{height}" role="img" aria-label="{gist}">{rules}{drawn}{days}</svg></div>'
    ).format(height=height, labels=labels, gist=gist(bars), rules=rules, drawn=drawn, days=_days(bars))


def _bar(number: int, count: int, bar: Bucket, series: Sequence[Series], axis: scales.Axis) -> Markup:
    place = 100 / count
    x, width = place * (number + GAP / 2), place * (1 - GAP)
    middle = x + width / 2
    pieces: list[Markup] = []
    foot = Decimal(0)
    for cost, one in zip(bar.costs, series, strict=True):
        if cost <= 0:
            continue
        y, below = (ABOVE + HEIGHT * (1 - axis.share(at)) for at in (foot + cost, foot))
        foot += cost
        title = f"{bar.label} · {one.letter} {one.name}: {money(cost)}" if len(series) > 1 else _words(bar)
        pieces.append(
            Markup(
                '<rect class="{}" x="{:.3f}%" y="{:.2f}" width="{:.3f}%" height="{:.2f}"><title>{}</title></rect>'
            ).format(one.tone, x, y, width, below - y, title)
        )
        if len(series) > 1 and count <= MOST_WITH_LETTERS and below - y >= ROOM_FOR_LETTER:
            pieces.append(
                Markup('<text class="letter" x="{:.3f}%" y="{:.1f}" text-anchor="middle">{}</text>').format(
                    middle, (y + below) / 2 + 4, one.letter
                )
            )
    if bar.unpriced_pings:
        top = ABOVE + HEIGHT * (1 - axis.share(foot)) - 8
        pieces.append(
            Markup('<circle class="not-known" cx="{:.3f}%" cy="{:.1f}" r="3.5"><title>{}</title></circle>').format(
                middle, top, _words(bar)
            )
        )
    return Markup().join(pieces)


def _words(bar: Bucket) -> str:
    cost = "cost not known" if bar.is_unknown else money(bar.total)
    unpriced = f"; {plural(bar.unpriced_pings, 'ping')} unpriced" if bar.unpriced_pings else ""
    return f"{bar.label}: {cost}{unpriced}"


def _days(bars: Sequence[Bucket]) -> Markup:
    """Which bars are named. Every second name is left out where there is little room."""
    if not bars:
        return Markup()
    marks = scales.day_marks(bars[0].first, bars[-1].last)
    named: list[Markup] = []
    for number, (day, words) in enumerate(zip(marks, scales.day_labels(marks), strict=True)):
        place = next(index for index, bar in enumerate(bars) if bar.first <= day <= bar.last)
        x = 100 * (place + 0.5) / len(bars)
        anchor = "start" if x < 4 and len(bars) > 1 else "end" if x > 96 and len(bars) > 1 else "middle"
        named.append(
            Markup('<text{} x="{:.3f}%" y="{}" text-anchor="{}">{}</text>').format(
                Markup(' class="every-second"') if number % 2 else "", x, ABOVE + HEIGHT + 18, anchor, words
            )
        )
    return Markup().join(named)


def gist(bars: Sequence[Bucket]) -> str:
    """The picture in a sentence."""
    if not any(bar.pings for bar in bars):
        return "Costs by day: nothing was reported."
    total = sum((bar.total for bar in bars), Decimal(0))
    most = max(bars, key=lambda bar: bar.total)
    unpriced = sum(bar.unpriced_pings for bar in bars)
    if unpriced == sum(bar.pings for bar in bars):
        return f"Costs by day: not known, {plural(unpriced, 'ping')} unpriced."
    more = f" {plural(unpriced, 'ping')} unpriced." if unpriced else ""
    return f"Costs by day: {money(total)} in all, most in {most.label} with {money(most.total)}.{more}"
