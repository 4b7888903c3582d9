"""What is recorded of process runs, and read from that."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import timedelta

import pytest
from sqlalchemy import select, update

from activities.processes import ProcessActivities, RunQuestion
from cli.postgres import EmbeddedPostgres
from config.clock import utc_now
from domain.pings import Event
from domain.processes import KEPT_OPEN_SECONDS, RunStatus, RunView
from storage.accounts import create_account
from storage.alerts import AlertRow
from storage.base import Sessions, create_engine, create_sessions, transaction
from storage.gateways import Life, register_gateway
from storage.process_runs import RunStatistics, list_awaited, list_runs, run_statistics
from storage.transitions import list_transitions
from tests.conftest import copy_database
from tests.storage.hooks import Hook, define


@pytest.fixture(scope="module")
async def recorded(postgres: EmbeddedPostgres) -> AsyncIterator[Sessions]:
    """A database in which one gateway lives from long ago until long after."""
    engine = create_engine(await copy_database(postgres, "process_runs"), application_name="tests")
    sessions = create_sessions(engine)
    async with transaction(sessions) as session:
        await register_gateway(session, host="test", process_id=1, now=utc_now())
        await session.flush()
        year = timedelta(days=365)
        await session.execute(update(Life).values(began_at=utc_now() - year, seen_at=utc_now() + year))
    yield sessions
    await engine.dispose()


@dataclass
class Office:
    """Looks at runs as their workflows do, at times of our choice."""

    hook: Hook
    tellings: int = 0

    async def look(self, run_id: str, second: float) -> RunView | None:
        """The run, its deadline checked up to `second` after the hook began."""
        moment = self.hook.began_at + timedelta(seconds=second)
        desk = ProcessActivities(self.hook.sessions, lambda: moment, self._tell)
        found = await desk.follow_run(RunQuestion(self.hook.id, run_id, moment))
        return found.view if found is not None else None

    def _tell(self) -> None:
        self.tellings += 1

    async def transitions(self, run_id: str) -> list[str]:
        async with self.hook.sessions() as session:
            return [row.after for row in await list_transitions(session, f"process/{self.hook.id}/{run_id}")]

    async def alerts(self, run_id: str) -> list[AlertRow]:
        query = select(AlertRow).where(AlertRow.subject == f"process/{self.hook.id}/{run_id}")
        async with self.hook.sessions() as session:
            return list(await session.scalars(query.order_by(AlertRow.at)))


@pytest.fixture
async def office(recorded: Sessions) -> Office:
    async with transaction(recorded) as session:
        account = (await create_account(session, "tests", utc_now())).id
    return Office(await define(recorded, account))


async def test_a_run_from_its_start_to_its_late_finish(office: Office) -> None:
    hook = office.hook
    run_id = await hook.start(after=0.0)
    for second in (0, 34, 35, 36):
        await office.look(run_id, second)
    row = await hook.run(run_id)
    assert (row.status, row.overdue_at, row.finished_at) == ("overdue", hook.began_at + timedelta(seconds=35), None)
    assert (row.version, office.tellings) == (2, 1)
    await hook.route(hook.ping(Event.SUCCESS, after=42.0))
    view = await office.look(run_id, 42)
    row = await hook.run(run_id)
    assert row.view() == view
    assert (row.status, row.finished_at, row.version) == ("finished", hook.began_at + timedelta(seconds=42), 3)
    assert await office.transitions(run_id) == ["running", "overdue", "finished"]
    overdue, recovered = await office.alerts(run_id)
    assert (overdue.kind, overdue.severity, overdue.tags, overdue.state) == (
        "process_overdue",
        "error",
        ["prod"],
        "new",
    )
    assert (recovered.kind, recovered.severity, recovered.resolves) == ("process_recovered", "info", True)
    assert recovered.trouble == overdue.trouble
    assert recovered.title == "Backup finished 12 s late, after 42 s"
    assert office.tellings == 2


async def test_what_was_recorded_is_not_recorded_again(office: Office) -> None:
    run_id = await office.hook.start(after=0.0)
    await office.hook.route(office.hook.ping(Event.FAIL, run_id, after=10.0, error="disk full"))
    for _ in range(2):
        await asyncio.gather(*(office.look(run_id, 50) for _ in range(5)))
    row = await office.hook.run(run_id)
    assert (row.status, row.reason, row.version) == ("failed", "disk full", 1)
    assert await office.transitions(run_id) == ["running", "failed"]
    (alert,) = await office.alerts(run_id)
    assert (alert.kind, alert.reason, alert.repeats, office.tellings) == ("process_failed", "disk full", 0, 1)


async def test_silence_is_not_certain_while_no_gateway_lives(office: Office) -> None:
    hook = office.hook
    run_id = await hook.start(after=0.0)
    async with transaction(hook.sessions) as session:
        seen_at = await session.scalar(select(Life.seen_at))
        await session.execute(update(Life).values(seen_at=hook.began_at + timedelta(seconds=20)))
    try:
        view = await office.look(run_id, 100)
    finally:
        async with transaction(hook.sessions) as session:
            await session.execute(update(Life).values(seen_at=seen_at))
    assert view is not None
    assert view.status is RunStatus.RUNNING
    view = await office.look(run_id, 100)
    assert view is not None
    assert view.status is RunStatus.OVERDUE


async def test_nobody_is_told_of_a_deleted_hook(office: Office) -> None:
    run_id = await office.hook.start(after=0.0)
    await office.hook.change(deleted_at=utc_now())
    assert await office.look(run_id, 100) is None
    assert await office.look("run_unknown", 100) is None
    assert (await office.hook.run(run_id)).status == "running"
    assert await office.alerts(run_id) == []


async def test_which_runs_their_workflows_still_follow(office: Office) -> None:
    hook = office.hook
    given_up, overdue, running, ended = [await hook.start(after=float(number)) for number in range(4)]
    await hook.route(hook.ping(Event.SUCCESS, ended, after=10.0))
    for run_id in (given_up, overdue):
        await office.look(run_id, 40)
    now = hook.began_at + timedelta(seconds=35.5 + KEPT_OPEN_SECONDS)

    async def awaited() -> set[str]:
        async with hook.sessions() as session:
            return {run_id for hook_id, run_id in await list_awaited(session, now) if hook_id == hook.id}

    assert await awaited() == {overdue, running, ended}
    await office.look(ended, 20)
    assert await awaited() == {overdue, running}
    await hook.change(deleted_at=utc_now())
    assert await awaited() == set()


async def test_statistics_and_pages(office: Office) -> None:
    hook = office.hook
    async with hook.sessions() as session:
        assert await run_statistics(session, hook.id) == RunStatistics(0, 0, 0, *[None] * 7)
    ids = []
    for number, took in enumerate((10, 20, 30, 40, 5)):
        ids.append(await hook.start(after=float(number)))
        event = Event.FAIL if took == 5 else Event.SUCCESS
        await hook.route(hook.ping(event, after=float(number + took)))
        await office.look(ids[-1], number + took)
    ids.append(await hook.start(after=9.0))
    async with hook.sessions() as session:
        figures = await run_statistics(session, hook.id)
        assert (figures.count, figures.failed, figures.overdue) == (5, 1, 1)
        assert (figures.min, figures.p50, figures.mean, figures.max) == (10, 25, 25, 40)
        assert (figures.p90, figures.p95, figures.p99) == pytest.approx((37, 38.5, 39.7))
        page = await list_runs(session, hook.id, limit=2)
        assert [run.id for run in page] == [ids[5], ids[4]]
        rest = await list_runs(session, hook.id, limit=9, before=(page[-1].started_at, page[-1].id))
        assert [run.id for run in rest] == ids[3::-1]
        failed = await list_runs(session, hook.id, limit=9, statuses=[RunStatus.FAILED])
        assert [run.id for run in failed] == [ids[4]]
