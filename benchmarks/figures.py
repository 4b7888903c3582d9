"""What a run of the benchmark has found."""

from dataclasses import dataclass, field
from statistics import median

from benchmarks.load import Answers, percentile


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


@dataclass(frozen=True)
class Pings:
    """One number of connections: pings of one hot instance, pings of many, and the bare route between them."""

    connections: int
    bare: Rounds = field(default_factory=Rounds)
    hot: Rounds = field(default_factory=Rounds)
    many: Rounds = field(default_factory=Rounds)


@dataclass(frozen=True)
class Figures:
    """`instances` is how many the many are, `steady` are pings to them at a rate that leaves the machine room."""

    instances: int
    pings: list[Pings]
    steady: Rounds
    tree_idle: Answers
    tree_busy: Answers


@dataclass(frozen=True)
class Aim:
    what: str
    wanted: str
    found: str
    is_met: bool


def aims(figures: Figures) -> list[Aim]:
    """What DESIGN and the issue ask for, and whether it was reached."""
    found, many = [], f"{figures.instances:,} instances"
    for pings in figures.pings:
        for name, rounds in (("one instance", pings.hot), (many, pings.many)):
            ratio = rounds.per_second / pings.bare.per_second
            where = f"{name}, {pings.connections} conn."
            found.append(Aim(f"share of bare, {where}", "≥ 0.7", f"{ratio:.2f}", ratio >= 0.7))
    sixteen = next(pings for pings in figures.pings if pings.connections == 16)
    for name, rounds in (("one instance", sixteen.hot), (many, sixteen.many)):
        p99 = rounds.latency(99)
        found.append(Aim(f"p99 of a ping, {name}, 16 conn.", "< 25 ms", f"{p99:.1f} ms", p99 < 25))
    signals = max(pings.hot.signals_per_second for pings in figures.pings)
    found.append(Aim("signals a second to one instance", "≤ 1", f"{signals:.2f}", signals <= 1.0))
    lags = {f"one instance, {pings.connections} conn.": pings.hot.lag(99) for pings in figures.pings}
    lags |= {f"{many}, {pings.connections} conn.": pings.many.lag(99) for pings in figures.pings}
    lags[f"{many}, steady"] = figures.steady.lag(99)
    for where, lag in lags.items():
        found.append(Aim(f"p99 of the lag, {where}", "< 2 s", f"{lag:.2f} s", lag < 2))
    for name, answers in (("idle", figures.tree_idle), ("under light load", figures.tree_busy)):
        p50 = answers.percentile(50)
        found.append(Aim(f"p50 of a tree, {name}", "< 20 ms", f"{p50:.1f} ms", p50 < 20))
    return found
