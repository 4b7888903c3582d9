"""Process hooks that are pinged as a journal has it, without one."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import update

from config.clock import utc_now
from domain.errors import DomainError
from domain.pings import Event, Outcome
from domain.processes import ProcessRequest, RoutedRun, new_hook_id
from storage.base import Sessions, transaction
from storage.pings import Ping
from storage.process_runs import get_run
from storage.processes import ProcessHook, ProcessRun, route_process_pings

Routed = RoutedRun | DomainError


@dataclass
class Hook:
    """A hook; pings of it come a second apart from each other, and are kept as a journal keeps them."""

    sessions: Sessions
    account_id: str
    id: str
    slug: str
    began_at: datetime = field(default_factory=utc_now)
    pings: int = 0

    def ping(
        self, event: Event, run_id: str | None = None, *, after: float | None = None, **values: Any
    ) -> ProcessRequest:
        self.pings += 1
        moment = self.began_at + timedelta(seconds=after if after is not None else self.pings)
        return ProcessRequest(
            **{"account_id": self.account_id, "hook": self.id, **values}, event=event, at=moment, run_id=run_id
        )

    async def route(self, *pings: ProcessRequest, now: datetime | None = None) -> list[Routed]:
        async with transaction(self.sessions) as session:
            results = await route_process_pings(session, pings, now or utc_now())
            session.add_all(
                journaled(ping, result)
                for ping, result in zip(pings, results, strict=True)
                if isinstance(result, RoutedRun)
            )
        return results

    async def start(self, **values: Any) -> str:
        return opened(await self.route(self.ping(Event.START, **values)))

    async def run(self, run_id: str) -> ProcessRun:
        async with self.sessions() as session:
            row = await get_run(session, self.id, run_id)
            assert row is not None
            return row

    async def change(self, **values: Any) -> None:
        async with transaction(self.sessions) as session:
            await session.execute(update(ProcessHook).where(ProcessHook.id == self.id).values(**values))


def journaled(ping: ProcessRequest, run: RoutedRun) -> Ping:
    return Ping(
        gateway_id=1,
        account_id=ping.account_id,
        subject=run.subject,
        run_id=run.run_id,
        path=ping.event.value,
        status="healthy",
        start=False,
        final=False,
        received_at=ping.at,
        error=ping.error,
        size_bytes=0,
        outcome=Outcome.ACCEPTED.value,
    )


def opened(results: list[Routed]) -> str:
    (result,) = results
    assert isinstance(result, RoutedRun), result
    return result.run_id


async def define(sessions: Sessions, account_id: str, **fields: Any) -> Hook:
    hook_id, now = new_hook_id(), utc_now()
    values = {"name": "Backup", "slug": f"backup-{hook_id}", "tags": ["prod"], "overlap": True, **fields}
    times = {"expected_seconds": 30.0, "grace_seconds": 5.0, **values}
    async with transaction(sessions) as session:
        session.add(ProcessHook(id=hook_id, account_id=account_id, created_at=now, updated_at=now, **times))
    return Hook(sessions, account_id, hook_id, str(values["slug"]))
