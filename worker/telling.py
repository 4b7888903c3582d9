"""The loop that tells people: routes alerts, forms messages and hands them over to Temporal."""

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import datetime, timedelta
from typing import Final

import structlog
from temporalio.client import Client
from temporalio.common import SearchAttributePair, TypedSearchAttributes, WorkflowIDReusePolicy
from temporalio.exceptions import WorkflowAlreadyStartedError

from storage.base import Sessions, transaction
from storage.forming import FormedMessage, form_messages
from storage.messages import list_not_handed_over, mark_handed_over
from storage.telling import route_alerts
from temporal_workflows.message import MessageInput, MessageWorkflow
from temporal_workflows.search_attributes import KIND, OWNER, STATUS

log = structlog.get_logger(__name__)

LOOK_SECONDS: Final = 1.0
"""How often it looks without being woken: for what other processes wrote, and for what a crash left behind."""

ROUND_SECONDS: Final = 0.2
"""From one round to the next, at least: in a storm every alert wakes it, and rounds would take the time that the
others need to be raised. The first one does not wait."""

BUSY_SECONDS: Final = 0.05
LONGEST_BACKOFF_SECONDS: Final = 10.0
MAX_STARTS: Final = 16
"""At the same time."""

MAX_HANDED_OVER: Final = 500
"""In one round, so that new alerts do not wait long behind what was left behind."""

START_TIMEOUT: Final = timedelta(seconds=5)


class Telling:
    """Any number of them may run at once, on one machine or several: every step is decided by Postgres."""

    def __init__(self, sessions: Sessions, client: Client, task_queue: str, clock: Callable[[], datetime]) -> None:
        self._sessions = sessions
        self._client = client
        self._task_queue = task_queue
        self._clock = clock
        self._woken = asyncio.Event()
        self._looks_at = 0.0
        self._look_seconds = LOOK_SECONDS
        """Grows while Temporal does not answer."""

    def wake(self) -> None:
        """Alerts were committed. Not to be called from another thread."""
        self._woken.set()

    async def run(self) -> None:
        """Tells until cancelled. Errors are logged, and what they left undone is done later."""
        failures, loop = 0, asyncio.get_running_loop()
        while True:
            begun = loop.time()
            # Cleared first: who wakes us from here on has another round.
            self._woken.clear()
            try:
                pause = await self._round()
                failures = 0
            except Exception as error:
                failures += 1
                pause = min(0.1 * 2 ** min(failures, 20), LONGEST_BACKOFF_SECONDS)
                log.warning("alerts cannot be told now", error=_words(error), retry_in_seconds=pause)
                # Waking does not shorten it: whoever wakes us does not know that something is wrong.
                await asyncio.sleep(pause)
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(pause):
                    await self._woken.wait()
            await asyncio.sleep(max(0.0, begun + ROUND_SECONDS - loop.time()))

    async def _round(self) -> float:
        """Returns for how many seconds there is nothing to do, unless it is woken."""
        now = self._clock()
        # In one transaction, because each costs a wait for the disk, and people wait too.
        async with transaction(self._sessions) as session:
            routed = await route_alerts(session, now)
            formed = await form_messages(session, now)
        if formed.messages:
            await self._hand_over(formed.messages)
        if routed.count or formed.messages:
            return 0
        if asyncio.get_running_loop().time() >= self._looks_at:
            await self._look()
        if routed.is_busy:
            return BUSY_SECONDS
        if formed.next_at is None:
            return LOOK_SECONDS
        return min(LOOK_SECONDS, max(0.0, (formed.next_at - self._clock()).total_seconds()))

    async def _look(self) -> None:
        """Hands over what others wrote, or what a crash or an error has left."""
        async with transaction(self._sessions) as session:
            left = await list_not_handed_over(session, limit=MAX_HANDED_OVER)
        all_started = await self._hand_over([FormedMessage(*message) for message in left])
        self._look_seconds = LOOK_SECONDS if all_started else min(self._look_seconds * 2, LONGEST_BACKOFF_SECONDS)
        self._looks_at = asyncio.get_running_loop().time() + self._look_seconds

    async def _hand_over(self, messages: Sequence[FormedMessage]) -> bool:
        """Starts a workflow for each; False if any could not be started, which is tried again at the next look."""
        slots = asyncio.Semaphore(MAX_STARTS)

        async def start(message: FormedMessage) -> None:
            async with slots:
                await self._start(message)

        results = await asyncio.gather(*(start(message) for message in messages), return_exceptions=True)
        if started := [message.id for message, error in zip(messages, results, strict=True) if error is None]:
            async with transaction(self._sessions) as session:
                await mark_handed_over(session, started, self._clock())
        errors = [error for error in results if error is not None]
        if errors:
            log.warning("messages cannot be handed over now", count=len(errors), error=_words(errors[-1]))
        return not errors

    async def _start(self, message: FormedMessage) -> None:
        # Started before, by us or another worker, is as good, be it finished or not.
        with suppress(WorkflowAlreadyStartedError):
            await self._client.start_workflow(
                MessageWorkflow.run,
                MessageInput(message.id, message.account_id),
                id=f"message/{message.id}",
                task_queue=self._task_queue,
                # Not after one that has sent it; after one that somebody has terminated.
                id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE_FAILED_ONLY,
                search_attributes=TypedSearchAttributes(
                    [
                        SearchAttributePair(KIND, "message"),
                        SearchAttributePair(OWNER, message.account_id),
                        SearchAttributePair(STATUS, "pending"),
                    ]
                ),
                static_summary=f"message {message.id}",
                rpc_timeout=START_TIMEOUT,
            )


def _words(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"[:300]
