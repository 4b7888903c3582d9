"""What a gateway does on the side: it says that it lives, and takes care of what others left behind."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable
from datetime import timedelta
from time import monotonic
from typing import Final

import structlog

from api.courier import Courier
from api.delivery import Temporal
from api.following import Follower
from config.clock import utc_now
from domain.pings import PingFact
from domain.subjects import instance_subject
from storage import approval_access, approvals, forgetting, gateways, instances, journal, pings, pulses, stage_pings
from storage.base import Sessions, transaction

ADOPT_EVERY_SECONDS: Final = 2.0
REFILL_EVERY_SECONDS: Final = 0.5
TIDY_EVERY_SECONDS: Final = 5.0
FOLLOW_EVERY_SECONDS: Final = 2.0
FORGET_EVERY_SECONDS: Final = 20.0
CHUNK: Final = 1_000

log = structlog.get_logger(__name__)


class Housekeeping:
    """Refills the courier from the outbox: with own pings that did not fit in, and with those of dead gateways.

    The pings of one gateway always enter the courier in the order of their ids. So once one of ours did not fit,
    all later ones stay in the outbox too, until everything up to them was read from there.
    """

    def __init__(
        self,
        sessions: Sessions,
        courier: Courier,
        temporal: Temporal,
        follower: Follower,
        gateway_id: int,
        is_refusing: Callable[[], bool],
    ) -> None:
        self._sessions = sessions
        self._is_refusing = is_refusing
        self._temporal = temporal
        self._follower = follower
        self._courier = courier
        self._gateway_id = gateway_id
        self._entered: dict[int, int] = {}
        """By gateway, the last ping that entered the courier."""
        self._left_out_up_to = 0

    def start(self) -> list[asyncio.Task[None]]:
        jobs = {
            "beat": (gateways.BEAT_SECONDS, self._beat),
            "refill": (REFILL_EVERY_SECONDS, self._refill_own),
            "adopt": (ADOPT_EVERY_SECONDS, self._adopt),
            "tidy": (TIDY_EVERY_SECONDS, self._tidy),
            "rules": (TIDY_EVERY_SECONDS, self._tell_of_new_rules),
            "approvals": (FOLLOW_EVERY_SECONDS, self._tell_of_approvals),
            "changes": (TIDY_EVERY_SECONDS, self._tell_of_changes),
            "retention": (FORGET_EVERY_SECONDS, self._forget),
        }
        return [asyncio.create_task(_repeat(name, every, job), name=name) for name, (every, job) in jobs.items()]

    def offer(self, subject: str, facts: Iterable[PingFact], window_seconds: float | None = None) -> None:
        """Hands an own ping to the courier, or leaves it in the outbox while there is no room.

        The early pings that it adopted come before it and enter always: they are older than what refilling looks at.
        """
        *adopted, fact = facts
        self._courier.offer(subject, adopted)
        if self._is_behind or not self._courier.has_room:
            self._left_out_up_to = fact.id
            return
        self._courier.offer(subject, [fact], window_seconds)
        self._entered[self._gateway_id] = fact.id

    @property
    def _is_behind(self) -> bool:
        return self._left_out_up_to > self._entered.get(self._gateway_id, 0)

    async def _beat(self) -> None:
        """Not while pings are refused: nobody is to be called silent whose pings we did not take."""
        if self._is_refusing():
            return
        async with transaction(self._sessions) as session:
            await gateways.beat(session, self._gateway_id, utc_now())

    async def _refill_own(self) -> None:
        while self._is_behind and self._courier.has_room:
            left_out_up_to = self._left_out_up_to
            if not await self._refill(self._gateway_id) and self._left_out_up_to == left_out_up_to:
                self._left_out_up_to = 0

    async def _adopt(self) -> None:
        async with transaction(self._sessions) as session:
            adopted = await gateways.adopt_dead_gateways(session, self._gateway_id, utc_now())
            # Their callers got no answer, and nobody waits for a verdict any more.
            for instance_id in await pings.withdraw_unanswered(session, adopted):
                await instances.forget_if_never_begun(session, instance_id)
        for gateway_id in adopted:
            log.info("delivering what a stopped gateway left", gateway=gateway_id)
            while self._courier.has_room and await self._refill(gateway_id):
                pass

    async def _refill(self, gateway_id: int) -> int:
        async with self._sessions() as session:
            facts = await pings.list_undelivered(
                session, gateway_id, after=self._entered.get(gateway_id, 0), limit=CHUNK
            )
        for subject, fact in facts:
            self._courier.offer(subject, [fact])
            self._entered[gateway_id] = fact.id
        return len(facts)

    async def _tidy(self) -> None:
        async with transaction(self._sessions) as session:
            expired = await stage_pings.expire_early(session, utc_now())
            await journal.forget_old_keys(session, utc_now() - timedelta(hours=journal.IDEMPOTENCY_HOURS))
            await approval_access.forget_expired(session, utc_now())
        for workflow_id in {ping.workflow_id for ping in expired}:
            log.warning("early pings found no instance and are in the failed queue", workflow=workflow_id)

    async def _tell_of_new_rules(self) -> None:
        """For pulses whose workflow could not be told when their rules were changed."""
        async with self._sessions() as session:
            behind = await pulses.list_behind(session, utc_now() - timedelta(seconds=TIDY_EVERY_SECONDS))
        for pulse_id in behind:
            await self._temporal.tell_of_new_rules(pulse_id)

    async def _tell_of_approvals(self) -> None:
        """For approvals whose workflow could not be told of a request, a vote or its end, and those that a budget has
        opened in a worker, where nobody could."""
        async with self._sessions() as session:
            unfollowed = await approvals.list_unfollowed(session, utc_now() - timedelta(seconds=TIDY_EVERY_SECONDS))
        self._follower.tell_again(unfollowed, utc_now())

    async def _tell_of_changes(self) -> None:
        """For instances whose workflow could not be told that they were resumed."""
        async with self._sessions() as session:
            unheard = await instances.list_unheard(session, CHUNK)
        self._follower.tell_of_changes_again((instance_subject(*ids) for ids in unheard), utc_now())

    async def _forget(self) -> None:
        """What accounts do not keep any longer, in batches, with as much time between them as they take."""
        while not self._is_refusing():
            began = monotonic()
            async with transaction(self._sessions) as session:
                if await forgetting.forget_some(session, utc_now()) is None:
                    return
            await asyncio.sleep(monotonic() - began)


async def _repeat(name: str, every_seconds: float, job: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await job()
        except Exception as error:
            log.warning("a periodic job failed; it is tried again", job=name, error=str(error))
        await asyncio.sleep(every_seconds)
