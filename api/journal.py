"""Group commit: pings that come in while a commit is on its way share the next one."""

import asyncio
from collections import deque
from collections.abc import Callable
from datetime import datetime
from typing import Final

import psycopg
import structlog
from sqlalchemy import exc, text

from api import metrics
from domain.errors import Unavailable
from domain.pings import Outcome
from storage.base import Sessions
from storage.batch import NewPing
from storage.joining import Joined, JoiningConnection, as_row
from storage.journal import Appended, KeyInUseElsewhere, append
from storage.rows import Journaled

MAX_BATCH: Final = 256
MAX_WAITING: Final = 5_000
RETRY_SECONDS: Final = 2
KEY_CONFLICT_RETRIES: Final = 20
MAX_JOINED: Final = 10_000

log = structlog.get_logger(__name__)

Waiting = tuple[NewPing, "asyncio.Future[Appended]"]


class Journal:
    """One per gateway process. Flushes follow one another, so that ids grow in the order of acknowledgement.

    `kept` is called with what was committed, in that order, before the callers get their answers.
    """

    def __init__(
        self,
        sessions: Sessions,
        gateway_id: int,
        joining: JoiningConnection,
        kept: Callable[[Journaled, NewPing], None],
        clock: Callable[[], datetime],
    ) -> None:
        self._sessions = sessions
        self._joining = joining
        self._joined: dict[str, Joined] = {}
        self._gateway_id = gateway_id
        self._kept = kept
        self._clock = clock
        self._waiting: deque[Waiting] = deque()
        self._arrived = asyncio.Event()

    async def append(self, ping: NewPing) -> Appended:
        """Returns when the ping is committed, or was refused. Raises Unavailable if it could not be kept."""
        if len(self._waiting) >= MAX_WAITING:
            raise Unavailable("Too many pings are waiting to be journaled; try again.", retry_after=RETRY_SECONDS)
        future: asyncio.Future[Appended] = asyncio.get_running_loop().create_future()
        self._waiting.append((ping, future))
        self._arrived.set()
        return await future

    async def run(self) -> None:
        """Flushes until cancelled; what is being flushed then is finished first."""
        while True:
            await self._arrived.wait()
            batch = self._take()
            if not self._waiting:
                self._arrived.clear()
            flush = asyncio.ensure_future(self._flush(batch))
            try:
                await asyncio.shield(flush)
            except asyncio.CancelledError:
                await flush
                raise

    def _take(self) -> list[Waiting]:
        """The next batch: of two pings with the same idempotency key, the second waits for the next flush."""
        batch: list[Waiting] = []
        later: list[Waiting] = []
        keys: set[tuple[str, str]] = set()
        while self._waiting and len(batch) < MAX_BATCH:
            ping, future = self._waiting.popleft()
            key = (ping.account_id, ping.idempotency_key) if ping.idempotency_key else None
            if key in keys:
                later.append((ping, future))
                continue
            if key is not None:
                keys.add(key)
            batch.append((ping, future))
        self._waiting.extendleft(reversed(later))
        return batch

    async def _flush(self, batch: list[Waiting]) -> None:
        try:
            results = await self._keep([ping for ping, _ in batch])
        except (exc.DBAPIError, psycopg.Error) as error:
            if len(batch) > 1 and not isinstance(error.__cause__ or error, psycopg.OperationalError):
                # One ping that Postgres does not take must not cost the others their place.
                for item in batch:
                    await self._flush([item])
                return
            log.error("pings could not be journaled", pings=len(batch), error=type(error.__cause__ or error).__name__)
            self._fail(batch, Unavailable("The ping could not be kept; send it again.", retry_after=RETRY_SECONDS))
            return
        except Exception as error:
            log.exception("pings could not be journaled", pings=len(batch))
            self._fail(batch, error)
            return
        metrics.BATCH_SIZE.observe(len(batch))
        for (ping, future), result in zip(batch, results, strict=True):
            if isinstance(result, Journaled):
                self._kept(result, ping)
            if not future.done():
                future.set_result(result)

    @staticmethod
    def _fail(batch: list[Waiting], error: Exception) -> None:
        for _, future in batch:
            if not future.done():
                future.set_exception(error)

    async def _keep(self, pings: list[NewPing]) -> list[Appended]:
        rows = [as_row(ping, self._joined.get(ping.request.workflow_id)) for ping in pings]
        if None not in rows:
            kept = await self._joining.keep([row for row in rows if row is not None])
            if kept is not None:
                return list(kept)
        results = await self._append(pings)
        for ping, result in zip(pings, results, strict=True):
            if isinstance(result, Journaled):
                self._joining.note(result.ping_id)
                self._learn(ping, result)
        return results

    def _learn(self, ping: NewPing, result: Journaled) -> None:
        """Remembers the instance that a workflow's pings go to; the short way makes sure that it still is."""
        if result.outcome is not Outcome.ACCEPTED or result.instance_id is None or ping.request.instance_id is not None:
            return
        if len(self._joined) >= MAX_JOINED:
            self._joined.clear()
        self._joined[result.workflow_id] = Joined(ping.account_id, ping.request.kind, result.instance_id)

    async def _append(self, pings: list[NewPing]) -> list[Appended]:
        for _ in range(KEY_CONFLICT_RETRIES):
            try:
                async with self._sessions() as session:
                    results = await append(session, self._gateway_id, pings, self._clock())
                    try:
                        await session.commit()
                    except exc.DBAPIError:
                        if not await self._was_committed(results):
                            raise
                    return results
            except KeyInUseElsewhere:
                continue
        raise Unavailable("The Idempotency-Key is in use by a request on its way.", retry_after=RETRY_SECONDS)

    async def _was_committed(self, results: list[Appended]) -> bool:
        """What became of a commit whose answer got lost: a ping must not be refused and applied all the same.

        Waits for Postgres as long as it takes; the callers wait with it.
        """
        transaction_id = next((result.transaction_id for result in results if isinstance(result, Journaled)), None)
        if transaction_id is None:
            return False
        while True:
            try:
                async with self._sessions() as session:
                    status = await session.scalar(
                        text("SELECT pg_xact_status(CAST(:id AS xid8))"), {"id": transaction_id}
                    )
                if status != "in progress":
                    return bool(status == "committed")
            except (exc.DBAPIError, OSError):
                pass
            await asyncio.sleep(0.2)
