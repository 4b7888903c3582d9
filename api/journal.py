"""Group commit: pings that come in while a commit is on its way share the next one."""

import asyncio
from collections import deque
from collections.abc import Callable
from datetime import datetime
from math import inf
from time import monotonic
from typing import Final

import psycopg
import structlog
from sqlalchemy import exc

from api import metrics
from domain.errors import InvalidRequest, Unavailable
from storage.base import Sessions
from storage.joining import ConnectionLost, JoiningConnection, Shortcuts, kept_as
from storage.journal import Appended, KeyInUseElsewhere, append, find_kept, server_process
from storage.rows import Journaled, NewPing, Row

MAX_BATCH: Final = 256
MAX_WAITING: Final = 5_000
RETRY_SECONDS: Final = 2
CONFLICT_RETRIES: Final = 20
SETTLE_RETRY_SECONDS: Final = 0.2
REFUSING_SECONDS: Final = 5.0
"""A gateway that could not keep a ping is taken for one that cannot, until it keeps one, or for so long."""

_NOT_KEPT: Final = "The ping could not be kept; send it again."

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
        kept: Callable[[Journaled], None],
        clock: Callable[[], datetime],
    ) -> None:
        self._sessions = sessions
        self._joining = joining
        self._shortcuts = Shortcuts()
        self._gateway_id = gateway_id
        self._kept = kept
        self._clock = clock
        self._waiting: deque[Waiting] = deque()
        self._arrived = asyncio.Event()
        self._last_id = 0
        self._is_settling = False
        self._refused_at = -inf

    @property
    def is_refusing(self) -> bool:
        """Whether pings could not be kept a moment ago, and none could since."""
        return self._is_settling or monotonic() - self._refused_at < REFUSING_SECONDS

    async def append(self, ping: NewPing) -> Appended:
        """Returns when the ping is committed, or was refused. Raises Unavailable if it could not be kept."""
        if self._is_settling or len(self._waiting) >= MAX_WAITING:
            raise Unavailable(_NOT_KEPT, retry_after=RETRY_SECONDS)
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
            if not batch:
                continue
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
        except Unavailable as error:
            self._refused_at = monotonic()
            self._fail(batch, error)
            return
        except Exception as error:
            cause = error.__cause__ if isinstance(error, exc.DBAPIError) else error
            if len(batch) > 1 and not isinstance(cause, psycopg.OperationalError):
                # One ping that Postgres does not take must not cost the others their place.
                for item in batch:
                    await self._flush([item])
                return
            log.error("pings could not be journaled", pings=len(batch), error=type(cause).__name__)
            answer = _answer_to(cause)
            if isinstance(answer, Unavailable):
                self._refused_at = monotonic()
            self._fail(batch, answer)
            return
        self._refused_at = -inf
        metrics.BATCH_SIZE.observe(len(batch))
        for (_, future), result in zip(batch, results, strict=True):
            if isinstance(result, Journaled):
                self._kept(result)
                for other in result.also:
                    self._kept(other)
            if not future.done():
                future.set_result(result)

    @staticmethod
    def _fail(batch: list[Waiting], error: Exception) -> None:
        for _, future in batch:
            if not future.done():
                future.set_exception(error)

    async def _keep(self, pings: list[NewPing]) -> list[Appended]:
        rows = [self._shortcuts.row(ping) for ping in pings]
        joining = [row for row in rows if row is not None]
        results: list[Appended] | None = await self._join(joining) if len(joining) == len(pings) else None
        if results is None:
            results = await self._append(pings)
            for ping, result in zip(pings, results, strict=True):
                if isinstance(result, Journaled):
                    self._shortcuts.learn(ping, result)
        # What is kept with a ping comes after it.
        last = [(item, *item.also)[-1].ping_id for item in results if isinstance(item, Journaled)]
        self._last_id = max([self._last_id, *last])
        return results

    async def _join(self, rows: list[Row]) -> list[Appended] | None:
        try:
            kept = await self._joining.keep(rows)
        except ConnectionLost as lost:
            ids = await self._settle(lost.server_process)
            if not ids:
                raise Unavailable(_NOT_KEPT, retry_after=RETRY_SECONDS) from lost
            kept = kept_as(rows, self._gateway_id, ids)
        return list(kept) if kept is not None else None

    async def _append(self, pings: list[NewPing]) -> list[Appended]:
        for _ in range(CONFLICT_RETRIES):
            try:
                async with self._sessions() as session:
                    results = await append(session, self._gateway_id, pings, self._clock())
                    pid = await server_process(session)
                    try:
                        await session.commit()
                    except exc.DBAPIError:
                        if not await self._settle(pid):
                            raise
                    return results
            except (KeyInUseElsewhere, exc.IntegrityError):
                # Another gateway took the same key, id or slug a moment ago; the next look sees what it did.
                continue
        raise Unavailable(_NOT_KEPT, retry_after=RETRY_SECONDS)

    async def _settle(self, lost_process: int) -> list[int]:
        """The pings kept by a commit whose answer got lost: one must not be refused and applied all the same.

        Waits for Postgres as long as it takes, and the callers wait with it; meanwhile others are turned away.
        """
        log.warning("the connection to Postgres broke while pings were journaled; finding out what was kept")
        self._is_settling = True
        waiting = list(self._waiting)
        self._waiting.clear()
        self._fail(waiting, Unavailable(_NOT_KEPT, retry_after=RETRY_SECONDS))
        try:
            while True:
                try:
                    async with self._sessions() as session:
                        kept = await find_kept(session, lost_process, self._gateway_id, self._last_id)
                    if kept is not None:
                        return kept
                except (exc.DBAPIError, OSError):
                    pass
                await asyncio.sleep(SETTLE_RETRY_SECONDS)
        finally:
            self._is_settling = False


def _answer_to(cause: BaseException | None) -> Exception:
    if isinstance(cause, psycopg.DataError):
        return InvalidRequest("A value cannot be stored: invalid text, or a number out of range.")
    if isinstance(cause, psycopg.Error):
        return Unavailable(_NOT_KEPT, retry_after=RETRY_SECONDS)
    return cause if isinstance(cause, Exception) else RuntimeError("the journal failed without saying why")
