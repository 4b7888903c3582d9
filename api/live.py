"""Telling open pages that something changed: one look at Postgres a second for all of them, and none without any."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

import structlog
from sqlalchemy.exc import SQLAlchemyError

from storage.base import Sessions, snapshot
from storage.changes import MOST, Change, list_changes, newest

LOOK_EVERY_SECONDS: Final = 1.0
LATE_LOOKS: Final = 5
"""Numbers are given before transactions commit: what is committed late is still seen for so many looks."""

EVERYTHING: Final = "account"
"""The topic of pages that any change of the account concerns."""

log = structlog.get_logger(__name__)


@dataclass(eq=False)
class Listener:
    """One open page."""

    account_id: str
    topic: str
    woken: asyncio.Event = field(default_factory=asyncio.Event)

    def concerns(self, change: Change) -> bool:
        if change.account_id != self.account_id:
            return False
        return self.topic == EVERYTHING or change.subject is None or change.subject.startswith(self.topic)


class LiveWatch:
    """Looks for changes while somebody listens, and wakes those whom they concern."""

    def __init__(self, sessions: Sessions) -> None:
        self._sessions = sessions
        self._listeners: set[Listener] = set()
        self._task: asyncio.Task[None] | None = None
        self._has_listeners = asyncio.Event()
        self.is_released = False

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="live pages")

    def release(self) -> None:
        """Nobody listens any more, now and later: a process that is told to stop waits for its requests."""
        self.is_released = True
        for listener in self._listeners:
            listener.woken.set()

    async def stop(self) -> None:
        self.release()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    @property
    def listening(self) -> int:
        return len(self._listeners)

    async def changes(self, account_id: str, topic: str, idle_seconds: float) -> AsyncIterator[bool]:
        """Yields True after changes, and False after a time without any. Ends when this process is to stop."""
        with self._listener(account_id, topic) as listener:
            while not self.is_released:
                try:
                    async with asyncio.timeout(idle_seconds):
                        await listener.woken.wait()
                except TimeoutError:
                    yield False
                    continue
                listener.woken.clear()
                if not self.is_released:
                    yield True

    @contextmanager
    def _listener(self, account_id: str, topic: str) -> Iterator[Listener]:
        listener = Listener(account_id, topic)
        # What happened between the making of the page and this moment is told to nobody else.
        listener.woken.set()
        self._listeners.add(listener)
        self._has_listeners.set()
        try:
            yield listener
        finally:
            self._listeners.discard(listener)
            if not self._listeners:
                self._has_listeners.clear()

    async def _run(self) -> None:
        while True:
            await self._has_listeners.wait()
            try:
                await self._look_on()
            except (SQLAlchemyError, OSError) as error:
                log.warning("pages are not live just now; looking again", error=type(error).__name__)
                await asyncio.sleep(LOOK_EVERY_SECONDS)

    async def _look_on(self) -> None:
        """Looks until nobody listens any more. Raises what the driver raises."""
        async with snapshot(self._sessions) as session:
            tips = await newest(session)
        floors: deque[Mapping[str, int]] = deque([tips], maxlen=LATE_LOOKS)
        seen: set[tuple[str, int]] = set()
        # Whoever has just come may have fetched the page before that.
        self._wake(None)
        while self._listeners:
            await asyncio.sleep(LOOK_EVERY_SECONDS)
            async with snapshot(self._sessions) as session:
                found = await list_changes(session, floors[0])
            fresh = [change for change in found if (change.source, change.id) not in seen]
            self._wake(fresh if len(found) < MOST else None)
            for change in fresh:
                tips = {**tips, change.source: max(tips[change.source], change.id)}
            floors.append(tips)
            seen = {(change.source, change.id) for change in found if change.id > floors[0][change.source]}

    def _wake(self, changes: list[Change] | None) -> None:
        """Those whom the changes concern; None concerns everybody."""
        for listener in self._listeners:
            if changes is None or any(listener.concerns(change) for change in changes):
                listener.woken.set()
