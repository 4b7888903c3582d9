"""Waiting for an approval: Postgres tells every gateway which one has changed, and whoever waits for it looks again."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from time import monotonic
from typing import Any, Final, TypeVar

import psycopg
import structlog
from psycopg import sql
from starlette.requests import ClientDisconnect, Request

from storage.approvals import CHANGES
from storage.base import UTC

APPLICATION_NAME: Final = "pingpulse approvals"
LOOK_AGAIN_SECONDS: Final = 5.0
PROBE_SECONDS: Final = 30.0
PROBE_TIMEOUT_SECONDS: Final = 5.0
MIN_BACKOFF_SECONDS: Final = 0.1
MAX_BACKOFF_SECONDS: Final = 5.0

Found = TypeVar("Found")

log = structlog.get_logger(__name__)


class ApprovalWatch:
    """Keeps a connection that listens, and wakes those who wait.

    A message can be lost, with the connection that it was for; so nobody waits longer than `LOOK_AGAIN_SECONDS`
    without a look.
    """

    def __init__(self, database_url: str) -> None:
        self._database_url = database_url.replace("+psycopg", "", 1)
        self._waiters: dict[str, set[asyncio.Event]] = {}
        self._task: asyncio.Task[None] | None = None
        self.is_released = False

    def start(self) -> None:
        self._task = asyncio.create_task(self._listen(), name="approvals")

    def release(self) -> None:
        """Nobody waits any more, now and later: a process that is told to stop waits for its requests."""
        self.is_released = True
        self._wake_all()

    async def stop(self) -> None:
        self.release()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def wait(
        self,
        approval_id: str,
        look: Callable[[], Awaitable[Found]],
        is_over: Callable[[Found], bool],
        seconds: float,
        request: Request,
    ) -> Found:
        """What `look` finds once it is over, the time is, or this process is to stop. It holds nothing meanwhile.

        Raises what `look` raises, and ClientDisconnect when the caller has hung up.
        """
        ends_at = monotonic() + seconds
        with self._waiter(approval_id) as waiter:
            leaving = asyncio.create_task(_leaves(request))
            leaving.add_done_callback(lambda _: waiter.set())
            try:
                while True:
                    # In this order: what happens during the look, or after, is seen by the next one.
                    waiter.clear()
                    found = await look()
                    left = ends_at - monotonic()
                    if is_over(found) or left <= 0 or self.is_released:
                        return found
                    if leaving.done():
                        raise ClientDisconnect
                    with suppress(TimeoutError):
                        async with asyncio.timeout(min(left, LOOK_AGAIN_SECONDS)):
                            await waiter.wait()
            finally:
                leaving.cancel()

    @property
    def waiting(self) -> int:
        """How many requests wait."""
        return sum(map(len, self._waiters.values()))

    @contextmanager
    def _waiter(self, approval_id: str) -> Iterator[asyncio.Event]:
        """An event that is set whenever the approval may have changed."""
        waiter = asyncio.Event()
        self._waiters.setdefault(approval_id, set()).add(waiter)
        try:
            yield waiter
        finally:
            waiters = self._waiters[approval_id]
            waiters.discard(waiter)
            if not waiters:
                del self._waiters[approval_id]

    async def _listen(self) -> None:
        backoff = MIN_BACKOFF_SECONDS
        while True:
            try:
                async with self._connected() as connection:
                    backoff = MIN_BACKOFF_SECONDS
                    # What was told while nobody listened is lost.
                    self._wake_all()
                    await self._pass_on(connection)
            except (psycopg.Error, OSError, TimeoutError) as error:
                log.warning("changes of approvals are not heard of at once; connecting again", error=str(error))
            self._wake_all()
            await asyncio.sleep(backoff)
            backoff = min(2 * backoff, MAX_BACKOFF_SECONDS)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator["psycopg.AsyncConnection[tuple[Any, ...]]"]:
        connection = await psycopg.AsyncConnection.connect(
            self._database_url, autocommit=True, connect_timeout=5, application_name=APPLICATION_NAME, options=UTC
        )
        async with connection:
            await connection.execute(sql.SQL("LISTEN {}").format(sql.Identifier(CHANGES)))
            yield connection

    async def _pass_on(self, connection: "psycopg.AsyncConnection[tuple[Any, ...]]") -> None:
        """Raises what the driver raises when the connection is lost."""
        while True:
            async for notification in connection.notifies(timeout=PROBE_SECONDS):
                for waiter in self._waiters.get(notification.payload, ()):
                    waiter.set()
            # A connection whose other end is gone may look as if nothing happened.
            async with asyncio.timeout(PROBE_TIMEOUT_SECONDS):
                await connection.execute("SELECT 1")

    def _wake_all(self) -> None:
        for waiters in self._waiters.values():
            for waiter in waiters:
                waiter.set()


async def _leaves(request: Request) -> None:
    """Returns when the caller hangs up."""
    while (await request.receive())["type"] != "http.disconnect":
        pass
