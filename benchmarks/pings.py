"""Pings as fast as they are answered, to one and to many, beside the bare route."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from time import perf_counter

from benchmarks.figures import Delivery, Rounds, Sheet
from benchmarks.load import Load
from benchmarks.stack import Stack

BARE = ["/bare"]
ANSWER_COLUMNS = ("", "conn.", "answers/s", "p50 ms", "p99 ms", "of bare", "not 200")
DELIVERY_COLUMNS = ("", "conn.", "signals/s", "pings each", "lag p50 s", "lag p99 s", "backlog", "drain s")

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Way:
    """How many connections ask at a time, and whether each is kept or opened anew for every request."""

    connections: int
    keep_alive: bool = True

    def __str__(self) -> str:
        return f"{self.connections}" if self.keep_alive else f"{self.connections} new"


@dataclass(frozen=True)
class Pings:
    """One way to ask: pings to a hot one, pings to many, and the bare route between them."""

    way: Way
    bare: Rounds = field(default_factory=Rounds)
    hot: Rounds = field(default_factory=Rounds)
    many: Rounds = field(default_factory=Rounds)


async def measure_ways(
    stack: Stack, ways: Sequence[Way], hot: list[str], many: list[str], rounds: int, seconds: float, tell: Tell
) -> list[Pings]:
    await stack.load(hot, connections=16, seconds=1)
    await stack.services.quiet()
    pings = []
    for way in ways:
        pings.append(found := Pings(way))
        for number in range(rounds):
            tell(f"{way} connections, round {number + 1} of {rounds}")
            await _round(stack, found, hot, many, seconds)
        await _bare(stack, found, seconds)
    return pings


async def measure_pings(
    stack: Stack, rounds: Rounds, paths: list[str], way: Way, seconds: float, *, rate: float | None = None
) -> None:
    """One measurement more for `rounds`: the answers, and the delivery behind them."""
    await stack.lags()
    before = await stack.metrics()
    answers = await stack.load(
        paths, connections=way.connections, seconds=seconds, rate=rate, keep_alive=way.keep_alive
    )
    ended = perf_counter()
    at_the_end = await stack.metrics()
    drain_seconds = await stack.drained()
    took = Load.warm_up_seconds + seconds + perf_counter() - ended
    after = await stack.metrics()
    signals = after["pingpulse_signals_total"] - before["pingpulse_signals_total"]
    delivered = after["pingpulse_pings_per_signal_sum"] - before["pingpulse_pings_per_signal_sum"]
    rounds.answers.append(answers)
    rounds.deliveries.append(
        Delivery(
            lags=await stack.lags(),
            signals_per_second=(signals - 1) / took,
            pings_per_signal=delivered / max(1, signals),
            backlog=int(at_the_end["pingpulse_outbox_pings"]),
            drain_seconds=drain_seconds,
        )
    )
    # What the worker has still to do would be taken for the bare route's own slowness.
    await stack.services.quiet()


async def _round(stack: Stack, found: Pings, hot: list[str], many: list[str], seconds: float) -> None:
    """Each kind of ping between two looks at the bare route, so that what the machine does besides strikes all."""
    for rounds, paths in ((found.hot, hot), (found.many, many)):
        await _bare(stack, found, seconds)
        await measure_pings(stack, rounds, paths, found.way, seconds)


async def _bare(stack: Stack, found: Pings, seconds: float) -> None:
    way = found.way
    answers = await stack.load(BARE, connections=way.connections, seconds=seconds, keep_alive=way.keep_alive)
    found.bare.answers.append(answers)


def ping_sheets(what: str, pings: Sequence[Pings], one: str, many: str) -> tuple[Sheet, Sheet]:
    """Answers and delivery; `one` and `many` are what rows are called."""
    answers, deliveries = [], []
    first = pings[0].hot.answers
    length = f"{len(first)} rounds of {first[0].seconds:.1f} s"
    for found in pings:
        bare = found.bare.per_second
        answers.append(["bare route", str(found.way), *answer_cells(found.bare, bare)])
        for name, rounds in ((one, found.hot), (many, found.many)):
            answers.append([name, str(found.way), *answer_cells(rounds, bare)])
            deliveries.append([name, str(found.way), *delivery_cells(rounds)])
    return (
        Sheet(f"Answers to pings of {what}, {length}", ANSWER_COLUMNS, answers),
        Sheet(f"Delivery of pings of {what} to Temporal", DELIVERY_COLUMNS, deliveries),
    )


def answer_cells(rounds: Rounds, bare: float | None) -> list[str]:
    share = f"{rounds.per_second / bare:.2f}" if bare else ""
    latencies = [f"{rounds.latency(percent):.1f}" for percent in (50, 99)]
    return [f"{rounds.per_second:,.0f}", *latencies, share, str(rounds.failed)]


def delivery_cells(rounds: Rounds) -> list[str]:
    signals = [f"{rounds.signals_per_second:,.2f}", f"{rounds.pings_per_signal:,.1f}"]
    lags = [f"{rounds.lag(percent):.2f}" for percent in (50, 99)]
    return [*signals, *lags, f"{rounds.backlog:,.0f}", f"{rounds.drain_seconds:.1f}"]
