"""Pings of process hooks on their way into the journal: each opens a run or ends one."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import DomainError
from domain.pings import Event, Outcome
from domain.processes import ProcessRequest
from domain.routing import RunRequest
from storage.processes import route_process_pings
from storage.rows import NewPing, Row


async def route_run_pings(
    session: AsyncSession, gateway_id: int, pings: Sequence[NewPing], now: datetime
) -> list[Row | DomainError]:
    """What becomes of each of `pings`, in order."""
    routed = await route_process_pings(session, [_request(ping) for ping in pings], now)
    rows: list[Row | DomainError] = []
    for ping, run in zip(pings, routed, strict=True):
        if isinstance(run, DomainError):
            rows.append(run)
        else:
            fact = replace(ping.request.fact, run_id=run.run_id)
            rows.append(Row(ping, fact, Outcome.ACCEPTED, run.status, run.subject))
    return rows


def _request(ping: NewPing) -> ProcessRequest:
    request = ping.request
    assert isinstance(request, RunRequest)
    fact = request.fact
    return ProcessRequest(
        ping.account_id, request.hook, Event(fact.path), fact.at, request.run_id, agent=fact.agent, error=fact.error
    )
