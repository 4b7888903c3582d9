"""What parts of the benchmark have in common: what they find, and how they show it."""

from dataclasses import dataclass, field
from statistics import median
from typing import Protocol

from benchmarks.load import Answers, percentile


@dataclass(frozen=True)
class Sheet:
    """A table; the first column says what a row is about."""

    title: str
    columns: tuple[str, ...]
    rows: list[list[str]]


@dataclass(frozen=True)
class Aim:
    what: str
    wanted: str
    found: str
    is_met: bool


class Findings(Protocol):
    """What a part of the benchmark has found."""

    def sheets(self) -> list[Sheet]: ...

    def aims(self) -> list[Aim]:
        """What DESIGN and the issues ask for, and whether it was reached."""


@dataclass(frozen=True)
class Extent:
    """How much is measured: `rounds` of so many `seconds` in the first `ways` to ask, and how many pulses or instances.

    There are `pulse_rounds` of pulses, because each takes longer, whatever the seconds.

    `many` are those that are pinged in turn, `due` those whose delay is measured one by one, `storm` those that are due
    at once, `open` those that are only open; `sparse` of them are pinged.

    `approvals` are pending, polled and waited for, `waiting_seconds` at a time; `decisions` of others are made, and
    `expiring` come to their deadline at once. `costed` are pings whose costs are reported. `steps` are those of the run
    whose timeline is paged, `compared` those of each of two that are compared. `shown` are instances behind the pages
    of the dashboard, `stages` those of one of them.
    """

    rounds: int
    pulse_rounds: int
    seconds: float
    ways: int
    many: int
    due: int
    storm: int
    open: int
    sparse: int
    approvals: int
    waiting_seconds: float
    decisions: int
    expiring: int
    costed: int
    steps: int
    compared: int
    shown: int
    stages: int


@dataclass(frozen=True)
class Delivery:
    """What became of the pings of one measurement behind their answers.

    `lags` in seconds, ascending: that of the oldest ping of each signal.
    `signals_per_second` and `pings_per_signal` count from the first ping until all were delivered; the rate leaves
    out the first signal, because it goes at once. `backlog` is what was undelivered when the load ended,
    `drain_seconds` how long that took.
    """

    lags: list[float]
    signals_per_second: float
    pings_per_signal: float
    backlog: int
    drain_seconds: float


@dataclass
class Rounds:
    """All measurements of one kind of request at one number of connections."""

    answers: list[Answers] = field(default_factory=list)
    deliveries: list[Delivery] = field(default_factory=list)

    @property
    def per_second(self) -> float:
        return median(answers.per_second for answers in self.answers)

    def latency(self, percent: float) -> float:
        """In milliseconds, the median of the rounds."""
        return median(answers.percentile(percent) for answers in self.answers)

    @property
    def failed(self) -> int:
        return sum(answers.failed for answers in self.answers)

    def lag(self, percent: float) -> float:
        """In seconds, the median of the rounds."""
        return median(percentile(delivery.lags, percent) for delivery in self.deliveries)

    @property
    def signals_per_second(self) -> float:
        return median(delivery.signals_per_second for delivery in self.deliveries)

    @property
    def pings_per_signal(self) -> float:
        return median(delivery.pings_per_signal for delivery in self.deliveries)

    @property
    def backlog(self) -> float:
        return median(delivery.backlog for delivery in self.deliveries)

    @property
    def drain_seconds(self) -> float:
        return median(delivery.drain_seconds for delivery in self.deliveries)
