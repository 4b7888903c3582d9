"""Runs of process hooks: what their pings tell of them, what is recorded of that, and their history."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import func, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from domain.pings import Outcome, PingFact
from domain.process_alerts import RunIdentity, alerts_of
from domain.processes import (
    KEPT_OPEN_SECONDS,
    ProcessRunState,
    RunStatus,
    evaluate,
    merge,
    transitions_between,
)
from storage.alerts import raise_alerts
from storage.gateways import list_outages
from storage.pings import Ping
from storage.processes import ProcessHook, ProcessRun, get_hook
from storage.transitions import add_transitions


@dataclass(frozen=True)
class RunStatistics:
    """Of the latest runs that are over: how many failed, how many were overdue, and how long those took that finished.

    Durations are in seconds, and None if none finished.
    """

    count: int
    failed: int
    overdue: int
    p50: float | None
    p90: float | None
    p95: float | None
    p99: float | None
    min: float | None
    max: float | None
    mean: float | None


STATISTICS_OVER: Final = 1_000


async def get_run(session: AsyncSession, hook_id: str, run_id: str) -> ProcessRun | None:
    run = await session.get(ProcessRun, run_id)
    return run if run is not None and run.hook_id == hook_id else None


async def list_runs(
    session: AsyncSession,
    hook_id: str,
    *,
    limit: int,
    statuses: Collection[RunStatus] = (),
    before: tuple[datetime, str] | None = None,
) -> list[ProcessRun]:
    """Newest first; `before` is the start and id of the last one of the page before.

    Of `statuses`, as recorded; with them come those whose end is not recorded yet: what that is, their pings tell.
    """
    query = select(ProcessRun).where(ProcessRun.hook_id == hook_id)
    if statuses:
        is_recorded = ProcessRun.status.in_([status.value for status in statuses])
        query = query.where(or_(is_recorded, ProcessRun.ended_at.is_not(None) & ProcessRun.finished_at.is_(None)))
    if before is not None:
        query = query.where(tuple_(ProcessRun.started_at, ProcessRun.id) < before)
    query = query.order_by(ProcessRun.started_at.desc(), ProcessRun.id.desc()).limit(limit)
    return list((await session.scalars(query)).all())


async def list_awaited(session: AsyncSession, now: datetime) -> list[tuple[str, str]]:
    """The hook and the id of every run that its workflow still has to follow."""
    given_up = now - timedelta(seconds=KEPT_OPEN_SECONDS)
    query = (
        select(ProcessRun.hook_id, ProcessRun.id)
        .join(ProcessHook, ProcessHook.id == ProcessRun.hook_id)
        .where(
            ProcessRun.finished_at.is_(None),
            or_(
                ProcessRun.ended_at.is_not(None),
                ProcessRun.overdue_at.is_(None),
                ProcessRun.overdue_at > given_up,
            ),
            ProcessHook.deleted_at.is_(None),
        )
    )
    return [(row[0], row[1]) for row in await session.execute(query)]


async def list_run_pings(session: AsyncSession, subjects: Iterable[str]) -> dict[str, list[Ping]]:
    """The pings of each of the runs, in the order they were received."""
    pings: dict[str, list[Ping]] = {subject: [] for subject in subjects}
    query = select(Ping).where(
        Ping.subject.in_(pings), Ping.workflow_id.is_(None), Ping.outcome == Outcome.ACCEPTED.value
    )
    for ping in await session.scalars(query.order_by(Ping.received_at, Ping.id)):
        assert ping.subject is not None
        pings[ping.subject].append(ping)
    return pings


async def fold_run(
    session: AsyncSession, run: ProcessRun, facts: Iterable[PingFact], *, until: datetime, now: datetime
) -> tuple[ProcessRunState, bool]:
    """What the journal tells of a run, and whether its silence up to `until` is certain.

    It is not while no gateway lives that could take its end: then no deadline counts that has not counted before.
    """
    outages = await list_outages(session, run.started_at, now)
    is_certain = not (outages and outages[-1].end >= now)
    state = ProcessRunState(
        run.started_at,
        run.expected_seconds,
        run.grace_seconds,
        outages=outages,
        confirmed_until=until if is_certain else run.overdue_at,
    )
    return merge(state, facts), is_certain


async def lock_run(session: AsyncSession, hook_id: str, run_id: str) -> tuple[ProcessHook, ProcessRun] | None:
    """A run and its hook, unless that was deleted. The run stays locked until the transaction ends."""
    run = await session.scalar(
        select(ProcessRun).where(ProcessRun.id == run_id, ProcessRun.hook_id == hook_id).with_for_update()
    )
    hook = await get_hook(session, hook_id)
    return (hook, run) if run is not None and hook is not None else None


async def record_run(
    session: AsyncSession, hook: ProcessHook, run: ProcessRun, state: ProcessRunState, now: datetime
) -> int:
    """Writes what `state` makes different: status, transitions and alerts. Returns how many alerts there are to tell.

    What is recorded already is not recorded again, so repeating the call is harmless; `run` must be locked.
    """
    before, after = run.view() if run.version else None, evaluate(state)
    if before == after:
        return 0
    run.status = after.status.value
    run.finished_at, run.overdue_at, run.reason = after.finished_at, after.overdue_at, after.reason
    run.version += 1
    transitions = transitions_between(before, after)
    add_transitions(session, run.subject, transitions)
    identity = RunIdentity(hook.account_id, hook.id, run.id, hook.name, tuple(hook.tags))
    return await raise_alerts(session, alerts_of(identity, after, transitions), now)


async def run_statistics(session: AsyncSession, hook_id: str) -> RunStatistics:
    latest = (
        select(
            ProcessRun.status,
            ProcessRun.overdue_at,
            func.extract("epoch", ProcessRun.finished_at - ProcessRun.started_at).label("seconds"),
        )
        .where(ProcessRun.hook_id == hook_id, ProcessRun.finished_at.is_not(None))
        .order_by(ProcessRun.started_at.desc(), ProcessRun.id.desc())
        .limit(STATISTICS_OVER)
        .subquery()
    )
    is_finished = latest.c.status == RunStatus.FINISHED.value
    seconds = latest.c.seconds
    percentiles = [
        func.percentile_cont(share).within_group(seconds).filter(is_finished) for share in (0.5, 0.9, 0.95, 0.99)
    ]
    row = await session.execute(
        select(
            func.count(),
            func.count().filter(latest.c.status == RunStatus.FAILED.value),
            func.count(latest.c.overdue_at),
            *percentiles,
            *(summary(seconds).filter(is_finished) for summary in (func.min, func.max, func.avg)),
        )
    )
    count, failed, overdue, *durations = row.one()
    return RunStatistics(count, failed, overdue, *(float(value) if value is not None else None for value in durations))
