"""Many targets that become due in the same second, and one channel that is told of all."""

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import perf_counter

import httpx

from benchmarks.due import WRITTEN
from benchmarks.figures import Aim, Extent, Sheet
from benchmarks.pings import Tell
from benchmarks.receiver import DOWN, receiving
from benchmarks.stack import Stack
from benchmarks.targets import all_followed, create_target, create_webhook, open_targets, patience, pings_to
from benchmarks.waiting import BenchmarkError

NAME = "storm"
TRIED = 30
LEAST_SECONDS, RESERVE = 10.0, 2.0
"""How long this machine is given to create, ping and follow them, before they are due: so many times what it took for
those that it tries that with first."""

LEAST_GRACE_SECONDS, GRACE_A_TARGET = 5.0, 0.03
"""In which what there is to do when they become late is done, before they are down."""

CREATED_AT_A_TIME = 8
PATIENCE_SECONDS = 90.0
AIM_SECONDS = 15.0


@dataclass(frozen=True)
class StormFigures:
    """`written` and `received`: seconds, ascending, from being down to the alert in Postgres and at the receiver.

    `repeated` counts alerts that were received again.
    """

    targets: int
    written: list[float]
    received: list[float]
    messages: int
    repeated: int

    def sheets(self) -> list[Sheet]:
        figures = {
            "first alert written, s after being down": f"{self.written[0]:.1f}",
            "last alert written": f"{self.written[-1]:.1f}",
            "first told": f"{self.received[0]:.1f}",
            "last told": f"{self.received[-1]:.1f}",
            "messages": f"{self.messages}",
            "alerts not told": f"{self.untold}",
            "alerts told twice": f"{self.repeated}",
        }
        rows = [[name, value] for name, value in figures.items()]
        return [Sheet(f"{self.targets:,} targets due in the same second", ("", "found"), rows)]

    def aims(self) -> list[Aim]:
        last, wrong = self.received[-1], self.untold + self.repeated
        is_in_time = last < AIM_SECONDS and not self.untold
        what = f"{self.targets:,} due at once"
        return [
            Aim(f"{what}, all told", f"< {AIM_SECONDS:g} s", f"{last:.1f} s", is_in_time),
            Aim(f"{what}, not told or told twice", "0", f"{wrong}", wrong == 0),
        ]

    @property
    def untold(self) -> int:
        return self.targets - len(self.received)


async def measure(stack: Stack, extent: Extent, tell: Tell) -> StormFigures:
    count = extent.storm
    tell(f"Trying it with {TRIED} targets")
    begun = perf_counter()
    await open_targets(stack, "tried", TRIED)
    seconds = LEAST_SECONDS + RESERVE * count * (perf_counter() - begun) / TRIED
    due_at = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=int(seconds))
    grace = timedelta(seconds=LEAST_GRACE_SECONDS + GRACE_A_TARGET * count)
    async with receiving() as receiver, stack.client() as client:
        await create_webhook(client, NAME, receiver.url, default=True)
        tell(f"Creating {count} targets")
        slugs = await _create(client, count, due_at, grace)
        tell(f"Pinging {count} targets")
        await stack.ask_each(pings_to(slugs), connections=8, patience_seconds=patience(count))
        await all_followed(stack, NAME, count)
        await _check(stack, count, due_at)
        tell(f"Waiting for {count} targets to be down")
        left = (due_at + grace - datetime.now(UTC)).total_seconds()
        if not await receiver.has_heard_of(count, left + PATIENCE_SECONDS) and not receiver.delays:
            raise BenchmarkError(f"nobody was told of {count} targets that are down")
    written = [row[0] for row in await stack.rows(WRITTEN, DOWN)]
    return StormFigures(count, written, sorted(receiver.delays.values()), receiver.messages, receiver.repeated)


async def _create(client: httpx.AsyncClient, count: int, due_at: datetime, grace: timedelta) -> list[str]:
    """Targets that are due at one moment, whenever they were pinged before: by a cron of once a day."""
    slugs = [f"{NAME}-{number}" for number in range(count)]
    rules = {"cron": f"{due_at:%-S %-M %-H} * * *", "grace_seconds": grace.total_seconds()}
    slots = asyncio.Semaphore(CREATED_AT_A_TIME)

    async def create(slug: str) -> None:
        async with slots:
            await create_target(client, slug, **rules)

    await asyncio.gather(*(create(slug) for slug in slugs))
    return slugs


async def _check(stack: Stack, count: int, due_at: datetime) -> None:
    """Raises BenchmarkError if some of them are not due then, because the machine was too slow to follow them."""
    if datetime.now(UTC) > due_at:
        raise BenchmarkError(f"{count} targets were due before all of them were followed: the machine is too slow")
    ((fit,),) = await stack.rows("SELECT count(*) FROM pulse_standings WHERE due_at = %s", due_at)
    if fit != count:
        raise BenchmarkError(f"only {fit} of {count} targets are due at {due_at:%H:%M:%S}")
