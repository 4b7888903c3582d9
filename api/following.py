"""Telling workflows that others have changed what they follow. Nobody waits for it: what counts is committed."""

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Iterator
from datetime import datetime, timedelta
from functools import partial
from typing import Final

import structlog

from api.delivery import Temporal
from temporal_workflows.approval import ApprovalEvent

AT_ONCE: Final = 16
MAX_WAITING: Final = 1_000
"""More than that are left to housekeeping, which finds them in Postgres."""

FIRST_GAP: Final = timedelta(seconds=5)
LONGEST_GAP: Final = timedelta(minutes=5)

log = structlog.get_logger(__name__)


class Follower:
    """One per gateway."""

    def __init__(self, temporal: Temporal) -> None:
        self._temporal = temporal
        self._turns = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._approvals, self._instances = _Patience(), _Patience()

    def tell(self, approval_id: str, event: ApprovalEvent) -> None:
        """Has the workflow take notice of what was committed; if that fails, `tell_again` does it."""
        self._begin(approval_id, partial(self._temporal.tell_of_approval, approval_id, event))

    def tell_of_change(self, subject: str) -> None:
        """Has the workflow of an instance load it again; if that fails, `tell_of_changes_again` does it."""
        self._begin(subject, partial(self._temporal.tell_of_change, subject))

    def tell_again(self, unfollowed: Iterable[str], now: datetime) -> None:
        """Of the approvals whose workflow has not taken notice for a while."""
        for approval_id in self._approvals.due(unfollowed, now):
            self.tell(approval_id, ApprovalEvent("noticed"))

    def tell_of_changes_again(self, unheard: Iterable[str], now: datetime) -> None:
        """Of the instances whose workflow has not loaded them since they were changed, by subject."""
        for subject in self._instances.due(unheard, now):
            self.tell_of_change(subject)

    async def finish(self, seconds: float) -> None:
        """Takes so long at most; what was not told by then is left to other gateways."""
        if self._tasks:
            _, left = await asyncio.wait(self._tasks, timeout=seconds)
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    def _begin(self, about: str, tell: Callable[[], Awaitable[None]]) -> None:
        if len(self._tasks) < MAX_WAITING:
            task = asyncio.create_task(self._tell(about, tell))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _tell(self, about: str, tell: Callable[[], Awaitable[None]]) -> None:
        async with self._turns:
            try:
                await tell()
            except Exception as error:
                log.info("a workflow was not told of a change yet", about=about, error=str(error))


class _Patience:
    """Those that are behind are told again and again, after longer and longer times: while no worker lives, each signal
    would only make a history longer."""

    def __init__(self) -> None:
        self._told: dict[str, tuple[datetime, timedelta]] = {}
        """When it is told again if it is still behind, and how long to wait then."""

    def due(self, behind: Iterable[str], now: datetime) -> Iterator[str]:
        before, self._told = self._told, {}
        for name in behind:
            due, gap = before.get(name, (now, FIRST_GAP))
            if due <= now:
                yield name
                due, gap = now + gap, min(gap * 2, LONGEST_GAP)
            self._told[name] = due, gap
