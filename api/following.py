"""Telling the workflows of approvals that something happened. Nobody waits for it: what counts is committed."""

import asyncio
from collections.abc import Iterable
from datetime import datetime, timedelta
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
        self._told: dict[str, tuple[datetime, timedelta]] = {}
        """By approval, when its workflow is told again if it still takes no notice, and how long to wait then."""

    def tell(self, approval_id: str, event: ApprovalEvent) -> None:
        """Has the workflow take notice of what was committed; if that fails, `tell_again` does it."""
        if len(self._tasks) < MAX_WAITING:
            task = asyncio.create_task(self._tell(approval_id, event))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def tell_again(self, unfollowed: Iterable[str], now: datetime) -> None:
        """Those whose workflow has not taken notice for a while, again and again, after longer and longer times: while
        no worker lives, each signal would only make its history longer."""
        before, self._told = self._told, {}
        for approval_id in unfollowed:
            due, gap = before.get(approval_id, (now, FIRST_GAP))
            if due <= now:
                self.tell(approval_id, ApprovalEvent("noticed"))
                due, gap = now + gap, min(gap * 2, LONGEST_GAP)
            self._told[approval_id] = due, gap

    async def finish(self, seconds: float) -> None:
        """Takes so long at most; what was not told by then is left to other gateways."""
        if self._tasks:
            _, left = await asyncio.wait(self._tasks, timeout=seconds)
            for task in left:
                task.cancel()
            await asyncio.gather(*left, return_exceptions=True)

    async def _tell(self, approval_id: str, event: ApprovalEvent) -> None:
        async with self._turns:
            try:
                await self._temporal.tell_of_approval(approval_id, event)
            except Exception as error:
                log.info("a workflow was not told of its approval yet", approval=approval_id, error=str(error))
