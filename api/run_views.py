"""Runs of process hooks as the API shows them."""

from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncSession

from api.views import in_utc
from config.clock import utc_now
from domain.processes import RunStatus, RunView, evaluate
from storage.pings import Ping
from storage.process_runs import fold_run, list_run_pings
from storage.processes import ProcessRun
from storage.transitions import list_transitions


class RunDocument(BaseModel):
    run_id: str
    status: RunStatus
    started_at: datetime
    finished_at: datetime | None
    overdue_at: datetime | None
    duration_seconds: float | None
    late_seconds: float | None = Field(description="Of a run that was overdue: how much longer than expected it took.")
    agent: str | None
    metadata: dict[str, Any] = Field(description="What its pings sent along, the later ones over the earlier ones.")
    error: str | None


class RunTransition(BaseModel):
    from_status: str | None
    to_status: str
    at: datetime
    reason: str | None


class RunPing(BaseModel):
    id: str
    event: str
    received_at: datetime
    agent: str | None
    error: str | None
    duration_ms: int | None = Field(description="By the caller's own account.")
    payload: Any


class RunDetails(RunDocument):
    expected_seconds: float
    grace_seconds: float
    transitions: list[RunTransition]
    pings: list[RunPing]


async def run_documents(session: AsyncSession, runs: Sequence[ProcessRun]) -> list[RunDocument]:
    """In the order of `runs`."""
    pings = await list_run_pings(session, [run.subject for run in runs])
    return [RunDocument(**await _fields(session, run, pings[run.subject])) for run in runs]


async def run_details(session: AsyncSession, run: ProcessRun) -> RunDetails:
    pings = (await list_run_pings(session, [run.subject]))[run.subject]
    return RunDetails(
        **await _fields(session, run, pings),
        expected_seconds=run.expected_seconds,
        grace_seconds=run.grace_seconds,
        transitions=[
            RunTransition(from_status=item.before, to_status=item.after, at=in_utc(item.at), reason=item.reason)
            for item in await list_transitions(session, run.subject)
        ],
        pings=[
            RunPing(
                id=str(ping.id),
                event=ping.path,
                received_at=in_utc(ping.received_at),
                agent=ping.agent,
                error=ping.error,
                duration_ms=ping.duration_ms,
                payload=ping.payload if ping.payload is not None else ping.text,
            )
            for ping in pings
        ],
    )


async def _fields(session: AsyncSession, run: ProcessRun, pings: Iterable[Ping]) -> dict[str, Any]:
    """What every document of a run has."""
    view = await _current_view(session, run, pings)
    return {
        "run_id": run.id,
        "status": view.status,
        "started_at": in_utc(view.started_at),
        "finished_at": in_utc(view.finished_at) if view.finished_at is not None else None,
        "overdue_at": in_utc(view.overdue_at) if view.overdue_at is not None else None,
        "duration_seconds": view.duration_seconds,
        "late_seconds": view.late_seconds,
        "agent": run.agent,
        "metadata": _metadata(pings),
        "error": view.reason,
    }


async def _current_view(session: AsyncSession, run: ProcessRun, pings: Iterable[Ping]) -> RunView:
    """Callers read their own writes: an end that its workflow has not recorded yet is read from the journal."""
    if run.ended_at is None or run.finished_at is not None:
        return run.view()
    now = utc_now()
    state, _ = await fold_run(session, run, [ping.fact() for ping in pings], until=now, now=now)
    return evaluate(state)


def _metadata(pings: Iterable[Ping]) -> dict[str, Any]:
    """What callers put under `metadata` counts like what they sent beside it."""
    members: dict[str, Any] = {}
    for ping in pings:
        for name, value in ping.payload.items() if isinstance(ping.payload, dict) else ():
            members |= value if name == "metadata" and isinstance(value, dict) else {name: value}
    return members
