"""When an instance worked at which of its stages, as far as its pings say, and who did."""

from bisect import bisect_right
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Final

from domain import paths
from domain.evaluation import InstanceView, StageView
from domain.instances import InstanceStatus, StageStatus
from domain.pings import PingStatus
from domain.reports import RUN_PATH
from storage.instances import Instance
from storage.steps import Mark

MAX_SPANS: Final = 40
"""Of one stage; what is beyond is drawn together with its neighbours."""


@dataclass(frozen=True)
class Span:
    """One go at a stage. `step` is the one that ended it or, while it `is_open`, the one that announced it; None of one
    that nobody ended. `is_measured`: by the stage's own account or announcement; else it is taken to have begun at the
    step before."""

    start: datetime
    end: datetime
    status: StageStatus
    step: int | None = None
    agent: str | None = None
    is_open: bool = False
    is_measured: bool = False
    inherited: bool = False


@dataclass(frozen=True)
class Handoff:
    """That one agent went on where another had been."""

    giver: str
    taker: str
    step: int
    path: str
    at: datetime
    reason: str | None


@dataclass
class Sum:
    """What a stage and all below it add up to. `cost_usd` is None while nothing is known to cost anything."""

    first: datetime
    last: datetime
    cost_usd: Decimal | None = None


class Course:
    """What the steps `marks` of an instance add up to, at the time `end`. `view` is how it stood then."""

    def __init__(self, row: Instance, view: InstanceView, marks: Sequence[Mark], end: datetime) -> None:
        self.row, self.view, self.marks, self.end = row, view, marks, end
        self.by_path: dict[str, list[int]] = {}
        self._times: list[datetime] = []
        self._before: list[datetime | None] = []
        # A fork's copies are as old as the original's pings: they are shown right before the fork.
        inherited = [mark.at for mark in marks if mark.inherited]
        self.moved = max(row.opened_at - inherited[-1], timedelta(0)) if inherited else timedelta(0)
        latest: datetime | None = None
        for number, mark in enumerate(marks):
            at = mark.at + self.moved if mark.inherited else mark.at
            self._times.append(at)
            self._before.append(latest)
            if mark.accepted:
                self.by_path.setdefault(mark.path, []).append(number)
                latest = at
        self._accepted_times = [at for at, mark in zip(self._times, marks, strict=True) if mark.accepted]
        self.start = self._starts()

    def _starts(self) -> datetime:
        times = [self.row.started_at or self.row.opened_at]
        first = next((number for number, mark in enumerate(self.marks) if mark.accepted), None)
        if first is not None and not self._is_report:
            took = timedelta(milliseconds=self.marks[first].duration_ms or 0)
            times.append(self._times[first] - took)
        return min(min(times), self.end)

    @property
    def _is_report(self) -> bool:
        """Whether it was reported whole, and nothing else is known of it."""
        return self.row.ended_at is not None and self.by_path.keys() <= {RUN_PATH}

    @property
    def finish(self) -> datetime:
        """Where the picture ends."""
        if self._is_report and self.row.ended_at is not None:
            return max(self.start, self.row.ended_at)
        if self.view.status is InstanceStatus.PAUSED or any(map(_goes_on, self.view.stages.values())):
            return max(self.start, self.end)
        # While nothing goes on that is known of, empty time would only make the rest small.
        happened = [stage.at for stage in self.view.stages.values() if stage.at is not None and stage.at <= self.end]
        ended = [self.view.completed_at] if self.view.completed_at is not None else []
        return max([self.start, *self._times[-1:], *happened, *ended])

    def spans(self, path: str) -> list[Span]:
        """The times at which the stage was worked at, in order."""
        view = self.view.stages.get(path)
        if self._is_report and self.row.started_at is not None and self.row.ended_at is not None:
            number = self.by_path.get(path, [None])[-1]
            status = view.status if view is not None else StageStatus.PENDING
            return [Span(self.row.started_at, self.row.ended_at, status, number, is_measured=True)]
        return _together(list(self._spans(path, view)))

    def _spans(self, path: str, view: StageView | None) -> Iterator[Span]:
        announced: int | None = None
        for number in self.by_path.get(path, ()):
            mark, at = self.marks[number], self._times[number]
            if mark.status == PingStatus.PENDING:
                announced = number if announced is None else announced
                continue
            is_announced = announced is not None and mark.duration_ms is None
            start = self._times[announced] if announced is not None and is_announced else self._began(number)
            status = StageStatus.FAILED if mark.status == PingStatus.FAILED else StageStatus.HEALTHY
            is_measured = mark.duration_ms is not None or announced is not None
            yield Span(start, at, status, number, mark.agent, is_measured=is_measured, inherited=mark.inherited)
            announced = None
        if view is None or view.status not in (StageStatus.PENDING, StageStatus.TIMEOUT, StageStatus.MISSED):
            return
        if view.status is StageStatus.PENDING:
            if announced is not None:
                mark = self.marks[announced]
                start = self._times[announced]
                yield Span(start, max(start, self.end), view.status, announced, mark.agent, True, True, mark.inherited)
        elif view.at is not None:
            start = self._times[announced] if announced is not None else self._latest_before(view.at)
            yield Span(min(start, view.at), view.at, view.status, is_measured=announced is not None)

    def _began(self, number: int) -> datetime:
        """When what a step tells of began, by that step alone."""
        mark, at = self.marks[number], self._times[number]
        if mark.status == PingStatus.PENDING:
            return at
        if mark.duration_ms is None:
            return min(self._before[number] or self.start, at)
        return min(max(at - timedelta(milliseconds=mark.duration_ms), self.start), at)

    def _latest_before(self, at: datetime) -> datetime:
        place = bisect_right(self._accepted_times, at)
        return self._accepted_times[place - 1] if place else self.start

    def costs(self) -> dict[str, Decimal]:
        """By stage, what is known of what it cost. What was inherited was paid for by the original."""
        costs: dict[str, Decimal] = {}
        for mark in self.marks:
            if mark.cost_usd is not None and mark.accepted and not mark.inherited:
                costs[mark.path] = costs.get(mark.path, Decimal(0)) + mark.cost_usd
        return costs

    def sums(self, costs: Mapping[str, Decimal]) -> dict[str, Sum]:
        """By the path of every stage below which there are others, with all of those."""
        sums: dict[str, Sum] = {}
        for path, numbers in self.by_path.items():
            levels = paths.numbers(path)
            if levels is None or len(levels) == 1:
                continue
            first, last = self._began(numbers[0]), self._times[numbers[-1]]
            cost = costs.get(path)
            for depth in range(1, len(levels)):
                found = sums.setdefault(paths.text(levels[:depth]), Sum(first, last))
                found.first, found.last = min(found.first, first), max(found.last, last)
                if cost is not None:
                    found.cost_usd = (found.cost_usd or Decimal(0)) + cost
        return sums

    def handoffs(self) -> list[Handoff]:
        """Where the work went from one agent to another, in order. Why is said by who gave it, at any of the steps
        since they took it; or else by who took it, at once. No reason is told twice."""
        found: list[Handoff] = []
        giver: str | None = None
        reason: str | None = None
        for number, mark in enumerate(self.marks):
            if not mark.accepted or mark.agent is None:
                continue
            own = mark.handoff_reason
            if giver is not None and giver != mark.agent:
                found.append(Handoff(giver, mark.agent, number, mark.path, mark.at, reason or own))
                reason, own = None, own if reason else None
            giver, reason = mark.agent, own or reason
        return found

    def agents(self) -> Counter[str]:
        """How many steps each has reported; in the order in which they came."""
        return Counter(mark.agent for mark in self.marks if mark.accepted and mark.agent is not None)


def _together(spans: list[Span]) -> list[Span]:
    """No more than MAX_SPANS: neighbours are drawn as one, as badly as the worse of them went."""
    while len(spans) > MAX_SPANS:
        pairs = [spans[place : place + 2] for place in range(0, len(spans), 2)]
        spans = [
            replace(pair[-1], start=pair[0].start, status=max((one.status for one in pair), key=_badness))
            for pair in pairs
        ]
    return spans


def _goes_on(stage: StageView) -> bool:
    """Whether it was announced and has not come."""
    return stage.status is StageStatus.PENDING and stage.at is not None


def _badness(status: StageStatus) -> int:
    return 0 if status in (StageStatus.HEALTHY, StageStatus.PENDING) else 1
