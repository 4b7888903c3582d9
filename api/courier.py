"""The courier: takes journaled pings to their Temporal workflows, in order, at least once.

A lane holds the undelivered pings of one subject. Its first ping goes at once; those that follow within the
window go together. Lanes are a cache of the outbox in Postgres: what does not fit is read from there later.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import islice
from math import inf
from typing import Final

import structlog

from api import metrics
from api.delivery import Temporal
from config.clock import utc_now
from domain.pings import PingFact
from domain.verdicts import Verdict

MAX_PINGS_A_SIGNAL: Final = 10_000
MAX_SIGNAL_TEXT: Final = 1_000_000
"""Characters of agents, names and errors in one signal. Compressed, it stays far below the 2 MiB of Temporal."""
FIRST_RETRY_SECONDS: Final = 0.1
LAST_RETRY_SECONDS: Final = 5.0

log = structlog.get_logger(__name__)

Delivered = Callable[[Iterable[int]], None]


@dataclass
class Lane:
    """The way to one subject for the pings of one gateway; `delivered_up_to` and `offered_up_to` are ping ids."""

    subject: str
    waiting: deque[PingFact] = field(default_factory=deque)
    wants_verdict: set[int] = field(default_factory=set)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    offered_up_to: int = 0
    delivered_up_to: int = 0
    in_a_hurry: bool = False
    window_seconds: float | None = None
    """How long its pings may wait, if not as long as all others: as the newest of them said."""
    delivered_window_seconds: float | None = None
    """The same, as the last one said that was delivered."""
    progress: asyncio.Event = field(default_factory=asyncio.Event)


class Courier:
    """One per gateway process.

    `delivered` is told the pings that need no outbox row any more. `window_seconds` is the shortest time between
    two signals to one subject; `concurrency` the calls to Temporal at a time; `memory` the pings held at most.
    """

    def __init__(
        self,
        temporal: Temporal,
        delivered: Delivered,
        *,
        window_seconds: float,
        verdict_timeout_seconds: float,
        concurrency: int,
        memory: int,
    ) -> None:
        self._temporal = temporal
        self._delivered = delivered
        self._window = window_seconds
        self._verdict_timeout = verdict_timeout_seconds
        self._turns = asyncio.Semaphore(concurrency)
        # Callers wait for verdicts: they do not queue behind signals, for which nobody waits.
        self._verdict_turns = asyncio.Semaphore(concurrency)
        self._memory = memory
        self._lanes: dict[tuple[int, str], Lane] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._answers: dict[int, asyncio.Future[Verdict | None]] = {}
        self._held = 0
        self._is_draining = False
        self._progress = asyncio.Event()

    @property
    def held(self) -> int:
        """Pings in memory."""
        return self._held

    @property
    def has_room(self) -> bool:
        return self._held < self._memory

    def offer(self, subject: str, pings: Iterable[PingFact], window_seconds: float | None = None) -> None:
        """Takes pings that were journaled, in the order of their ids, and delivers them in time."""
        for ping in pings:
            lane = self._lane(ping.gateway, subject)
            lane.window_seconds = window_seconds
            lane.waiting.append(ping)
            lane.offered_up_to = ping.id
            self._held += 1
            lane.changed.set()

    def ask(self, subject: str, ping: PingFact) -> "asyncio.Future[Verdict | None]":
        """Delivers a ping at once and promises its verdict; None if that was given but its text got lost."""
        answer: asyncio.Future[Verdict | None] = asyncio.get_running_loop().create_future()
        self._answers[ping.id] = answer
        self._lane(ping.gateway, subject).wants_verdict.add(ping.id)
        self.offer(subject, [ping])
        return answer

    def drop(self, subject: str, ping: PingFact) -> None:
        """Forgets a ping that was withdrawn or rejected."""
        self._answers.pop(ping.id, None)
        lane = self._lanes.get((ping.gateway, subject))
        if lane is not None and ping in lane.waiting:
            lane.waiting.remove(ping)
            self._held -= 1
            lane.wants_verdict.discard(ping.id)

    def stop_asking(self, subject: str, ping: PingFact) -> None:
        """Goes on delivering a ping whose verdict is known to be good: it is told, not judged again."""
        self._answers.pop(ping.id, None)
        if (lane := self._lanes.get((ping.gateway, subject))) is not None:
            lane.wants_verdict.discard(ping.id)

    async def flush(self, subject: str, gateway_id: int, timeout_seconds: float) -> bool:
        """Delivers what is held of a subject without waiting for its window; False if it takes too long."""
        lane = self._lanes.get((gateway_id, subject))
        if lane is None or lane.delivered_up_to >= lane.offered_up_to:
            return True
        target = lane.offered_up_to
        lane.in_a_hurry = True
        lane.changed.set()
        try:
            async with asyncio.timeout(timeout_seconds):
                while lane.delivered_up_to < target:
                    lane.progress.clear()
                    await lane.progress.wait()
        except TimeoutError:
            return False
        return True

    async def drain(self, timeout_seconds: float) -> None:
        """Delivers everything, or as much as goes in the time, and stops. What is left stays in the outbox."""
        self._is_draining = True
        for lane in self._lanes.values():
            lane.changed.set()
        try:
            async with asyncio.timeout(timeout_seconds):
                while self._held:
                    self._progress.clear()
                    await self._progress.wait()
        except TimeoutError:
            log.warning("stopping with undelivered pings; another gateway delivers them", pings=self._held)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _lane(self, gateway_id: int, subject: str) -> Lane:
        lane = self._lanes.get((gateway_id, subject))
        if lane is None:
            lane = self._lanes[gateway_id, subject] = Lane(subject)
            task = asyncio.create_task(self._run(gateway_id, lane), name=subject)
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)
        return lane

    async def _run(self, gateway_id: int, lane: Lane) -> None:
        """Delivers until a whole window has passed without a ping."""
        loop = asyncio.get_running_loop()
        last_turn = -inf
        while True:
            if not lane.waiting:
                lane.changed.clear()
                try:
                    rest = last_turn + self._longest_window(lane.window_seconds) - loop.time()
                    async with asyncio.timeout(max(rest, 0.001)):
                        await lane.changed.wait()
                except TimeoutError:
                    if lane.waiting:
                        continue
                    del self._lanes[gateway_id, lane.subject]
                    return
            await self._wait_for_turn(lane, last_turn)
            async with self._verdict_turns if lane.wants_verdict else self._turns:
                last_turn = loop.time()
                await self._deliver(lane)

    def _window_of(self, lane: Lane) -> float:
        """Of two windows the shorter: what comes soon after a failure is news, and waits no longer than any other."""
        return self._longest_window(min(lane.window_seconds or 0, lane.delivered_window_seconds or 0))

    def _longest_window(self, seconds: float | None) -> float:
        """Never less than that of all others: a pulse of a period of seconds is a hot subject too."""
        return max(self._window, seconds or 0)

    async def _wait_for_turn(self, lane: Lane, last_turn: float) -> None:
        """Until the window has passed, unless somebody waits for the lane."""
        loop = asyncio.get_running_loop()
        while (
            not (self._is_draining or lane.in_a_hurry or lane.wants_verdict)
            and (rest := last_turn + self._window_of(lane) - loop.time()) > 0
        ):
            lane.changed.clear()
            try:
                async with asyncio.timeout(rest):
                    await lane.changed.wait()
            except TimeoutError:
                continue

    async def _deliver(self, lane: Lane) -> None:
        """Delivers one batch, again and again until Temporal has it: skipping it would break the lane's order."""
        retry_after = FIRST_RETRY_SECONDS
        while lane.waiting:
            batch = _next_batch(lane.waiting)
            asked = [ping.id for ping in batch if ping.id in lane.wants_verdict]
            try:
                await self._tell(lane, batch, asked)
            except Exception as error:
                metrics.DELIVERY_FAILURES.inc()
                log.warning("Temporal did not take pings; trying again", subject=lane.subject, error=str(error))
                await asyncio.sleep(retry_after)
                retry_after = min(retry_after * 2, LAST_RETRY_SECONDS)
                continue
            break

    async def _tell(self, lane: Lane, batch: list[PingFact], asked: list[int]) -> None:
        last = batch[-1].id
        window_seconds = lane.window_seconds
        if asked:
            async with asyncio.timeout(self._verdict_timeout):
                verdicts = {item.ping_id: item for item in await self._temporal.ask(lane.subject, batch, asked)}
            for ping_id in asked:
                if (answer := self._answers.pop(ping_id, None)) is not None and not answer.done():
                    answer.set_result(verdicts.get(ping_id))
        else:
            await self._temporal.signal(lane.subject, batch)
        metrics.SIGNALS.labels("update" if asked else "signal").inc()
        metrics.PINGS_PER_SIGNAL.observe(len(batch))
        metrics.DELIVERY_LAG.observe((utc_now() - batch[0].at).total_seconds())
        # A withdrawn ping may have left the lane meanwhile: take out what was sent by its ids.
        while lane.waiting and lane.waiting[0].id <= last:
            lane.waiting.popleft()
            self._held -= 1
        lane.wants_verdict.difference_update(asked)
        lane.delivered_up_to = max(lane.delivered_up_to, last)
        lane.delivered_window_seconds = window_seconds
        if not lane.waiting:
            lane.in_a_hurry = False
        self._delivered([ping.id for ping in batch])
        lane.progress.set()
        self._progress.set()


def _next_batch(waiting: Iterable[PingFact]) -> list[PingFact]:
    """As many of the first pings as one signal may carry, at least one."""
    batch: list[PingFact] = []
    size = 0
    for ping in islice(waiting, MAX_PINGS_A_SIGNAL):
        size += len(ping.agent or "") + len(ping.name or "") + len(ping.error or "")
        if batch and size > MAX_SIGNAL_TEXT:
            break
        batch.append(ping)
    return batch
