"""Process hooks: long jobs with a start and a finish, and their runs."""

from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import BigInteger, ForeignKey, Index, and_, or_, select, tuple_
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from domain.errors import DomainError, Forbidden, NotFound
from domain.pings import Event
from domain.processes import (
    NoOpenRun,
    ProcessRequest,
    ProcessRunning,
    RoutedRun,
    RunAlreadyFinished,
    RunStatus,
    RunView,
    is_given_up,
    late_seconds,
    new_run_id,
    seconds_between,
)
from domain.subjects import run_subject
from storage.accounts import Account
from storage.base import Base


class ProcessHook(Base):
    """A hook as its user defined it; deleted ones stay for the sake of their history."""

    __tablename__ = "process_hooks"

    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey(Account.id))
    name: Mapped[str]
    slug: Mapped[str]
    tags: Mapped[list[str]] = mapped_column(JSONB)
    expected_seconds: Mapped[float]
    grace_seconds: Mapped[float]
    overlap: Mapped[bool]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]

    __table_args__ = (
        Index(
            "uq_process_hooks_account_id_slug", "account_id", "slug", unique=True, postgresql_where="deleted_at IS NULL"
        ),
        Index("ix_process_hooks_account_id_created_at", "account_id", "created_at", "id"),
    )


class ProcessRun(Base):
    """One run. The gateway writes when it was opened and when its end was reported, its workflow all the rest.

    `expected_seconds` and `grace_seconds` are the hook's when it was opened. `ended_at` is when a finish or a failure
    was received: a run that has one takes no more. `version` counts what its workflow has recorded.
    """

    __tablename__ = "process_runs"

    id: Mapped[str] = mapped_column(primary_key=True)
    hook_id: Mapped[str] = mapped_column(ForeignKey(ProcessHook.id))
    account_id: Mapped[str]
    expected_seconds: Mapped[float]
    grace_seconds: Mapped[float]
    started_at: Mapped[datetime]
    ended_at: Mapped[datetime | None]
    agent: Mapped[str | None]
    status: Mapped[str]
    finished_at: Mapped[datetime | None]
    overdue_at: Mapped[datetime | None]
    reason: Mapped[str | None]
    version: Mapped[int] = mapped_column(BigInteger)

    __table_args__ = (
        Index("ix_process_runs_hook_id_started_at", "hook_id", "started_at", "id"),
        Index("ix_process_runs_open", "hook_id", "started_at", "id", postgresql_where="ended_at IS NULL"),
        Index(
            "ix_process_runs_ended",
            "account_id",
            "finished_at",
            postgresql_include=["status"],
            postgresql_where="finished_at IS NOT NULL",
        ),
    )

    @property
    def subject(self) -> str:
        return run_subject(self.hook_id, self.id)

    def view(self) -> RunView:
        """The run as its workflow recorded it."""
        return RunView(
            RunStatus(self.status),
            self.started_at,
            self.finished_at,
            self.overdue_at,
            late_seconds(self.finished_at, self.overdue_at, self.grace_seconds),
            self.reason,
        )


async def get_hook(session: AsyncSession, hook_id: str) -> ProcessHook | None:
    """The hook, unless it was deleted."""
    hook = await session.get(ProcessHook, hook_id)
    return hook if hook is not None and hook.deleted_at is None else None


async def find_hook(session: AsyncSession, account_id: str, name: str) -> ProcessHook | None:
    """By its id, or by its slug in the account; what is the account's own goes first."""
    is_own = ProcessHook.account_id == account_id
    query = (
        select(ProcessHook)
        .where(or_(ProcessHook.id == name, and_(is_own, ProcessHook.slug == name)), ProcessHook.deleted_at.is_(None))
        .order_by(is_own.desc(), (ProcessHook.id == name).desc())
        .limit(1)
    )
    hook: ProcessHook | None = await session.scalar(query)
    return hook


async def list_hooks(
    session: AsyncSession, account_id: str, *, limit: int, before: tuple[datetime, str] | None = None
) -> list[ProcessHook]:
    """Newest first; `before` is the creation time and id of the last one of the page before."""
    query = select(ProcessHook).where(ProcessHook.account_id == account_id, ProcessHook.deleted_at.is_(None))
    if before is not None:
        query = query.where(tuple_(ProcessHook.created_at, ProcessHook.id) < before)
    query = query.order_by(ProcessHook.created_at.desc(), ProcessHook.id.desc()).limit(limit)
    return list((await session.scalars(query)).all())


async def route_process_pings(
    session: AsyncSession, pings: Sequence[ProcessRequest], now: datetime
) -> list[RoutedRun | DomainError]:
    """Opens and ends runs as `pings` say, in their order; what became of each.

    The hooks stay locked until the transaction ends, so that no two gateways open or end a run at once.
    """
    hooks = await _lock_hooks(session, pings)
    runs = await _load_runs(session, hooks, pings)
    results: list[RoutedRun | DomainError] = []
    for ping in pings:
        hook = hooks[ping.account_id, ping.hook]
        if isinstance(hook, DomainError):
            results.append(hook)
        elif ping.event is Event.START:
            results.append(_start(session, hook, runs, ping, now))
        else:
            results.append(_end(hook, runs, ping))
    await session.flush()
    return results


async def _lock_hooks(
    session: AsyncSession, pings: Sequence[ProcessRequest]
) -> Mapping[tuple[str, str], ProcessHook | DomainError]:
    """By account and what the caller named: the hook, or why there is none for this caller."""
    asked = {(ping.account_id, ping.hook) for ping in pings}
    names = {name for _, name in asked}
    rows = await session.scalars(
        select(ProcessHook)
        .where(
            or_(
                tuple_(ProcessHook.account_id, ProcessHook.id).in_(asked),
                and_(tuple_(ProcessHook.account_id, ProcessHook.slug).in_(asked), ProcessHook.deleted_at.is_(None)),
            )
        )
        .order_by(ProcessHook.id)
        .with_for_update()
        .execution_options(populate_existing=True)
    )
    by_id: dict[tuple[str, str], ProcessHook] = {}
    by_slug: dict[tuple[str, str], ProcessHook] = {}
    for row in rows:
        by_id[row.account_id, row.id] = row
        if row.deleted_at is None:
            by_slug[row.account_id, row.slug] = row
    others = set(await session.scalars(select(ProcessHook.id).where(ProcessHook.id.in_(names))))
    return {key: _usable(by_id.get(key) or by_slug.get(key), key[1], key[1] in others) for key in asked}


def _usable(hook: ProcessHook | None, name: str, is_others: bool) -> ProcessHook | DomainError:
    if hook is not None:
        return hook if hook.deleted_at is None else NotFound(f"Process hook {name} was deleted.")
    if is_others:
        return Forbidden(f"Process hook {name} belongs to another account.")
    return NotFound(f"There is no process hook {name}; create it with POST /api/process-hooks first.")


async def _load_runs(
    session: AsyncSession, hooks: Mapping[tuple[str, str], ProcessHook | DomainError], pings: Sequence[ProcessRequest]
) -> dict[str, ProcessRun]:
    """By id, the runs that `pings` name, and of each hook as many open ones as they can end, the newest."""
    hook_ids = {hook.id for hook in hooks.values() if isinstance(hook, ProcessHook)}
    named = {ping.run_id for ping in pings if ping.run_id is not None}
    fresh = select(ProcessRun).execution_options(populate_existing=True)
    runs: list[ProcessRun] = []
    if hook_ids and named:
        runs += await session.scalars(fresh.where(ProcessRun.id.in_(named), ProcessRun.hook_id.in_(hook_ids)))
    for hook_id in hook_ids:
        is_open = fresh.where(ProcessRun.hook_id == hook_id, ProcessRun.ended_at.is_(None))
        newest_first = is_open.order_by(ProcessRun.started_at.desc(), ProcessRun.id.desc())
        runs += await session.scalars(newest_first.limit(len(pings)))
    return {run.id: run for run in runs}


def _open_runs(hook: ProcessHook, runs: Mapping[str, ProcessRun]) -> list[ProcessRun]:
    """Newest last."""
    found = (run for run in runs.values() if run.hook_id == hook.id and run.ended_at is None)
    return sorted(found, key=lambda run: (run.started_at, run.id))


def _start(
    session: AsyncSession, hook: ProcessHook, runs: dict[str, ProcessRun], ping: ProcessRequest, now: datetime
) -> RoutedRun | DomainError:
    if not hook.overlap:
        for run in reversed(_open_runs(hook, runs)):
            if not is_given_up(run.started_at, run.expected_seconds, run.grace_seconds, now):
                return ProcessRunning(
                    f"Run {run.id} is running since {run.started_at.isoformat()}, and {hook.name} allows no overlap. "
                    f"End that run with /phk/{hook.id}/fail?run_id={run.id} if it is dead.",
                    run_id=run.id,
                )
    run = ProcessRun(
        id=new_run_id(),
        hook_id=hook.id,
        account_id=hook.account_id,
        expected_seconds=hook.expected_seconds,
        grace_seconds=hook.grace_seconds,
        started_at=ping.at,
        ended_at=None,
        agent=ping.agent,
        status=RunStatus.RUNNING.value,
        finished_at=None,
        overdue_at=None,
        reason=None,
        version=0,
    )
    session.add(run)
    runs[run.id] = run
    return RoutedRun(hook.id, run.id, run.subject, RunStatus.RUNNING)


def _end(hook: ProcessHook, runs: Mapping[str, ProcessRun], ping: ProcessRequest) -> RoutedRun | DomainError:
    if ping.run_id is not None:
        run = runs.get(ping.run_id)
        if run is None or run.hook_id != hook.id:
            return NotFound(f"There is no run {ping.run_id} of process hook {hook.id}.")
        if run.ended_at is not None:
            ended_at = run.ended_at.isoformat()
            return RunAlreadyFinished(f"Run {run.id} has ended already, at {ended_at}.", ended_at=ended_at)
    elif open_runs := _open_runs(hook, runs):
        run = open_runs[-1]
    else:
        return NoOpenRun(f"Nothing is running; call /phk/{hook.id}/start first.")
    run.ended_at = ping.at
    run.agent = run.agent or ping.agent
    return RoutedRun(
        hook.id,
        run.id,
        run.subject,
        RunStatus.FAILED if ping.event is Event.FAIL else RunStatus.FINISHED,
        seconds_between(run.started_at, ping.at),
    )
