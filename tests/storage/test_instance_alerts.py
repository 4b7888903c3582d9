"""What an instance has to tell is written with its status, once, and nothing is told twice."""

from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import select, text

from activities.instances import InstanceActivities, InstanceQuestion, Recorded, Recording
from config.clock import utc_now
from domain.evaluation import InstanceView, change_between, evaluate
from domain.instances import InstanceState, InstanceStatus, merge
from domain.pings import PingFact, PingStatus
from domain.verdicts import Verdict
from storage.alerts import AlertRow
from storage.base import Sessions, transaction
from storage.instances import get_instance, terminate_instances
from storage.outbox import delete_delivered
from storage.pings import withdraw
from tests.storage.conftest import STRICT, Caller, define

FAILED = PingStatus.FAILED


@dataclass
class Run:
    """An instance and what its workflow would do; `wakes` counts the calls that hurry the telling."""

    caller: Caller
    id: str
    state: InstanceState
    view: InstanceView | None = None
    version: int = 0
    wakes: list[None] = field(default_factory=list)

    @property
    def activities(self) -> InstanceActivities:
        return InstanceActivities(self.caller.sessions, utc_now, lambda: self.wakes.append(None))

    async def keep(self, path: str, status: PingStatus = PingStatus.HEALTHY, **values: Any) -> PingFact:
        """A ping that was journaled and delivered."""
        ping = self.caller.ping(path, instance_id=self.id, status=status, agent="ada", **values)
        (fact,) = (await self.caller.keep(ping))[0].facts
        async with transaction(self.caller.sessions) as session:
            await delete_delivered(session, [fact.id])
        return fact

    async def ask(self, path: str) -> int:
        """A ping that waits for its verdict."""
        (kept,) = await self.caller.keep(self.caller.ping(path, instance_id=self.id, agent="ada"))
        return kept.ping_id

    def next(self, *facts: PingFact, verdicts: tuple[Verdict, ...] = ()) -> Recording:
        state = merge(self.state, facts)
        after = evaluate(state)
        return Recording(change_between(self.id, self.version + 1, self.view, after), verdicts)

    async def record(self, *facts: PingFact, verdicts: tuple[Verdict, ...] = ()) -> Recorded:
        recording = self.next(*facts, verdicts=verdicts)
        recorded = await self.activities.record(recording)
        if recorded == Recorded():
            self.state, self.version = merge(self.state, facts), self.version + 1
            self.view = evaluate(self.state)
        return recorded

    async def alerts(self) -> list[AlertRow]:
        async with self.caller.sessions() as session:
            query = select(AlertRow).where(AlertRow.account_id == self.caller.account_id)
            return list((await session.scalars(query.order_by(AlertRow.created_at, AlertRow.kind))).all())

    async def kinds(self) -> list[str]:
        return [alert.kind for alert in await self.alerts()]


async def open_run(sessions: Sessions, account: str, kind: str = "static", **fields: Any) -> Run:
    caller = await define(sessions, account, kind, **fields)
    (kept,) = await caller.keep(caller.ping("1", start=kind == "dynamic", agent="ada"))
    assert kept.instance_id is not None
    async with transaction(sessions) as session:
        row = await get_instance(session, kept.instance_id)
        assert row is not None
        await delete_delivered(session, [kept.ping_id])
        run = Run(caller, row.id, InstanceState(row.id, row.rules(), row.opened_at))
    await run.record(*kept.facts)
    return run


async def test_alerts_are_written_with_the_status(sessions: Sessions, account: str) -> None:
    run = await open_run(sessions, account, name="etl", tags=("nightly",))
    assert (await run.kinds(), run.wakes) == ([], [])
    await run.record(await run.keep("2", FAILED, error="out of memory"))
    stage, failed = sorted(await run.alerts(), key=lambda alert: alert.kind, reverse=True)
    assert (stage.kind, failed.kind) == ("stage_failed", "instance_failed")
    assert (failed.state, failed.severity, failed.tags, failed.name) == ("new", "critical", ["nightly"], "etl")
    assert failed.title == f"etl ({run.id}) failed: Stage 2 failed: out of memory"
    assert failed.trouble == stage.trouble
    assert len(run.wakes) == 1
    async with sessions() as session:
        writers = [
            await session.scalar(text(f"SELECT max(xmin::text::bigint) FROM {rows}"), {"id": run.id})
            for rows in (
                "alerts WHERE subject LIKE '%/' || :id",
                "transitions WHERE subject LIKE '%/' || :id",
                "stages WHERE instance_id = :id",
                "instances WHERE id = :id",
            )
        ]
    assert len(set(writers)) == 1, "not one transaction"


async def test_a_repeated_record_tells_nothing(sessions: Sessions, account: str) -> None:
    run = await open_run(sessions, account)
    recording = run.next(await run.keep("2", FAILED))
    for expected in (Recorded(), Recorded(is_stale=True), Recorded(is_stale=True)):
        assert await run.activities.record(recording) == expected
    assert [(alert.kind, alert.repeats) for alert in await run.alerts()] == [
        ("instance_failed", 0),
        ("stage_failed", 0),
    ]
    assert len(run.wakes) == 1


async def test_a_recovery_finds_its_trouble(sessions: Sessions, account: str) -> None:
    run = await open_run(sessions, account)
    await run.record(await run.keep("2", FAILED))
    await run.record(await run.keep("3", FAILED))
    # Now the second failure is the reason, and `completed_at` is not what was told.
    await run.record(await run.keep("2"))
    await run.record(await run.keep("3"))
    alerts = await run.alerts()
    assert [alert.kind for alert in alerts] == [
        "instance_failed",
        "stage_failed",
        "stage_failed",
        "instance_recovered",
    ]
    assert len({alert.trouble for alert in alerts}) == 1
    assert alerts[-1].resolves
    assert len(run.wakes) == 3
    # The next failure is another trouble.
    await run.record(await run.keep("2", FAILED))
    assert len({alert.trouble for alert in await run.alerts()}) == 2


async def test_what_the_read_model_lacks_is_told_when_it_catches_up(sessions: Sessions, account: str) -> None:
    run = await open_run(sessions, account)
    await run.keep("2", FAILED)
    for _ in range(2):
        snapshot = await run.activities.load_instance(InstanceQuestion(run.id))
        assert snapshot is not None
        assert snapshot.version == 2
    assert [(alert.kind, alert.repeats) for alert in await run.alerts()] == [
        ("instance_failed", 0),
        ("stage_failed", 0),
    ]
    assert len(run.wakes) == 1


async def test_an_ended_run_tells_nothing(sessions: Sessions, account: str) -> None:
    run = await open_run(sessions, account)
    failed = await run.keep("2", FAILED)
    async with transaction(sessions) as session:
        assert await terminate_instances(session, run.caller.workflow_id, utc_now()) == [run.id]
    assert await run.record(failed) == Recorded()
    assert (await run.kinds(), run.wakes) == ([], [])


def rejected(ping_id: int, code: str = "stage_missed") -> Verdict:
    return Verdict(ping_id, False, InstanceStatus.RUNNING, code, "Stage 3 came before stage 2.", "2")


async def test_a_rejected_ping_is_a_violation_that_is_told_once(sessions: Sessions, account: str) -> None:
    run = await open_run(sessions, account, tags=("nightly",), **STRICT)
    assert (await run.kinds(), run.wakes) == ([], [])
    ids = [await run.ask("3") for _ in range(3)]
    await run.record(verdicts=tuple(map(rejected, ids)))
    (alert,) = await run.alerts()
    assert (alert.kind, alert.severity, alert.repeats, alert.tags) == ("strict_violation", "warning", 2, ["nightly"])
    assert alert.title.endswith(f"({run.id}) refused a ping: Stage 3 came before stage 2.")
    assert (alert.data["code"], alert.data["stage"], alert.data["agent"]) == ("stage_missed", "3", "ada")
    await run.record(verdicts=(rejected(await run.ask("3")),))
    await run.record(verdicts=(rejected(await run.ask("3"), "stage_unknown"),))
    assert sorted((alert.data["code"], alert.repeats) for alert in await run.alerts()) == [
        ("stage_missed", 3),
        ("stage_unknown", 0),
    ]


async def test_verdicts_that_were_not_written_are_not_told(sessions: Sessions, account: str) -> None:
    run = await open_run(sessions, account, **STRICT)
    ids = [await run.ask("3") for _ in range(2)]
    async with transaction(sessions) as session:
        assert await withdraw(session, ids[0])
    assert await run.record(verdicts=tuple(map(rejected, ids))) == Recorded(withdrawn=(ids[0],))
    assert await run.kinds() == []
    recording = run.next(verdicts=(rejected(ids[1]),))
    assert [await run.activities.record(recording) for _ in range(2)] == [Recorded(), Recorded(is_stale=True)]
    assert [alert.repeats for alert in await run.alerts()] == [0]
    assert len(run.wakes) == 1


async def test_accepted_pings_are_no_violation(sessions: Sessions, account: str) -> None:
    run = await open_run(sessions, account, **STRICT)
    await run.record(verdicts=(Verdict(await run.ask("2"), True, InstanceStatus.RUNNING),))
    assert (await run.kinds(), run.wakes) == ([], [])
