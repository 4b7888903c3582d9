"""What an InstanceWorkflow may ask of Postgres. Each method is one idempotent transaction."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from sqlalchemy.ext.asyncio import AsyncSession
from temporalio import activity

from domain.breaker import Assessment, Trip
from domain.budgets import BudgetReport
from domain.evaluation import Change, InstanceView, StageView, change_between, evaluate
from domain.instances import InstanceState, InstanceStatus, Outage, StageStatus, merge
from domain.pings import PingFact
from domain.room import fitted
from domain.subjects import instance_subject
from domain.verdicts import STOPPED, Counts, Verdict
from storage import breaker, costs, instances, outbox, pings
from storage.base import Sessions, snapshot, transaction
from storage.instance_alerts import raise_change, raise_violations
from storage.instances import Instance
from storage.outages import list_outages_of


@dataclass(frozen=True)
class InstanceSnapshot:
    """An instance as Postgres knows it: the fold of what has been delivered to Temporal before.

    `delivered` holds, by gateway, the last ping that is part of it; `version` the last change recorded.
    """

    state: InstanceState
    delivered: dict[int, int] = field(default_factory=dict)
    version: int = 0


@dataclass(frozen=True)
class InstanceQuestion:
    """Which instance to load. `known` holds, by gateway, the last ping that has come to the workflow."""

    instance_id: str
    known: dict[int, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Recording:
    """What a workflow has decided and what has changed by it; `change.version` is one more than the last.

    `counts` are of the accepted pings and of the one at which the circuit breaker tripped, if it did: `trip`.
    """

    change: Change
    verdicts: tuple[Verdict, ...] = ()
    counts: dict[int, Counts] = field(default_factory=dict)
    trip: Trip | None = None


@dataclass(frozen=True)
class Recorded:
    """Nothing was written if any ping was withdrawn, if it `is_stale`, or if it `must_judge_again`.

    Stale: somebody has recorded that version before. That is a workflow task that was lost with its worker after it had
    recorded, or a change from outside: what Postgres says now is more than the workflow knows.
    To be judged again: by the budget, the circuit breaker trips elsewhere than was thought, at `trip` or nowhere.
    `reports` are by accepted ping, if there is a budget.
    """

    withdrawn: tuple[int, ...] = ()
    is_stale: bool = False
    must_judge_again: bool = False
    trip: Trip | None = None
    reports: dict[int, BudgetReport] = field(default_factory=dict)


@dataclass(frozen=True)
class SilenceQuestion:
    """Has `subject` really been silent? Outages are looked for since `since`."""

    subject: str
    instance_id: str
    since: datetime


@dataclass(frozen=True)
class Silence:
    """`is_certain` is False while pings of the subject are on their way, or no gateway lives that could take any."""

    is_certain: bool
    outages: tuple[Outage, ...] = ()
    terminated_at: datetime | None = None


class InstanceActivities:
    """Takes its session factory and its clock, so that tests can give it others.

    `told` is called when alerts were committed. It hurries their telling; they are told without it too.
    """

    def __init__(
        self, sessions: Sessions, clock: Callable[[], datetime], told: Callable[[], None] = lambda: None
    ) -> None:
        self._sessions = sessions
        self._clock = clock
        self._told = told

    @activity.defn
    async def load_instance(self, question: InstanceQuestion) -> InstanceSnapshot | None:
        """Where an instance's workflow begins; None if there is no such instance (any more).

        This is what makes Temporal expendable: a workflow that is gone is started by the next ping as it was.
        Brings the read model up to what is returned, if it was recorded at all.
        """
        # Of one moment: a ping that leaves the outbox between two queries would be taken for delivered, and lost.
        async with snapshot(self._sessions) as session:
            row = await instances.get_instance(session, question.instance_id)
            if row is None:
                return None
            facts, delivered = await _delivered(session, row, question.known)
            state = replace(
                row.before_pings(),
                outages=await list_outages_of(session, row.id, row.opened_at, self._clock()),
                # The deadline that it failed by has been checked.
                confirmed_until=row.completed_at,
            )
            state = fitted(merge(state, facts))
            version, alerts = row.version, 0
            if row.is_unheard:
                await instances.mark_heard(session, row)
            change = await _lacking(session, row, evaluate(state)) if version else None
            if change is not None and await instances.record_change(session, change):
                version += 1
                alerts = await raise_change(session, change, self._clock())
            await session.commit()
        if alerts:
            self._told()
        return InstanceSnapshot(state, delivered, version)

    @activity.defn
    async def record(self, recording: Recording) -> Recorded:
        """Writes verdicts, read model, transitions, alerts and what the budget says, all or nothing."""
        try:
            async with transaction(self._sessions) as session:
                recorded, alerts = await _record(session, recording, self._clock())
        except _NothingWritten as nothing:
            return nothing.why
        if alerts:
            self._told()
        return recorded

    @activity.defn
    async def confirm_silence(self, question: SilenceQuestion) -> Silence:
        """Whether nothing came, or nothing could come, or something came and is still on its way."""
        async with transaction(self._sessions) as session:
            if await outbox.has_undelivered(session, question.subject):
                return Silence(is_certain=False)
            row = await instances.get_instance(session, question.instance_id)
            was_ended = row is not None and row.status == InstanceStatus.TERMINATED
            now = self._clock()
            outages = await list_outages_of(session, question.instance_id, question.since, now)
            return Silence(
                is_certain=was_ended or not (outages and outages[-1].end >= now),
                outages=outages,
                terminated_at=row.completed_at if row is not None and was_ended else None,
            )


class _NothingWritten(Exception):
    """Rolls the transaction back."""

    def __init__(self, why: Recorded) -> None:
        super().__init__(why)
        self.why = why


async def _record(session: AsyncSession, recording: Recording, now: datetime) -> tuple[Recorded, int]:
    """Returns the number of alerts to tell, too. Raises _NothingWritten."""
    change, verdicts, alerts = recording.change, recording.verdicts, 0
    # The budget first: all who spend of it wait for one another here, before they hold anything else.
    ledger = await breaker.open_ledger(session, change.instance_id) if verdicts else None
    assessment = Assessment()
    if ledger is not None:
        if ledger.instance.version >= change.version:
            raise _NothingWritten(Recorded(is_stale=True))
        assessment = await breaker.assess_pings(session, ledger, recording.counts, now)
        verdicts = breaker.with_reports(verdicts, assessment)
    if assessment.trip != recording.trip:
        raise _NothingWritten(Recorded(must_judge_again=True, trip=assessment.trip))
    # Verdicts before the instance: a gateway that withdraws a ping locks the outbox and the instance in this order too.
    decided = await pings.decide(session, verdicts) if verdicts else pings.Decided()
    if decided.withdrawn:
        raise _NothingWritten(Recorded(withdrawn=decided.withdrawn))
    if await instances.record_change(session, change):
        alerts += await raise_change(session, change, now)
    elif await _is_stale(session, change):
        raise _NothingWritten(Recorded(is_stale=True))
    if ledger is not None:
        alerts += await breaker.keep_assessment(session, ledger, assessment, decided.accepted, now)
    rejected = [verdict.ping_id for verdict in verdicts if not verdict.accepted and verdict.code not in STOPPED]
    alerts += await raise_violations(session, change.instance_id, rejected, now)
    # Last, as everywhere: see `costs.count_costs`.
    await costs.count_costs(session, decided.accepted)
    return Recorded(reports=dict(assessment.reports)), alerts


async def _is_stale(session: AsyncSession, change: Change) -> bool:
    """Why a change was not written: False if its instance was ended, which nothing changes any more."""
    row = await instances.get_instance(session, change.instance_id)
    return row is None or row.version >= change.version


async def _delivered(
    session: AsyncSession, row: Instance, known: Mapping[int, int]
) -> tuple[list[PingFact], dict[int, int]]:
    """The pings that Temporal has been told of, and the last one of each gateway.

    What has come to the workflow and needs no verdict any more belongs to them, even if its gateway has not come
    to say so in the outbox: a task that was lost may have recorded it.
    """
    subject = instance_subject(row.workflow_id, row.id)
    undelivered = await outbox.lowest_undelivered(session, subject)
    undecided = await outbox.lowest_undecided(session, subject)
    known = {gateway: min(last, undecided.get(gateway, last + 1) - 1) for gateway, last in known.items()}
    facts = await pings.list_facts(session, row.id, delivered_only=True)
    if any(lowest <= known.get(gateway, 0) for gateway, lowest in undelivered.items()):
        told = {fact.id for fact in facts}
        others = [fact for fact in await pings.list_facts(session, row.id) if fact.id not in told]
        facts += [fact for fact in others if fact.id <= known.get(fact.gateway, 0)]
    highest = await pings.highest_by_gateway(session, row.id)
    delivered = {
        gateway: max(undelivered[gateway] - 1 if gateway in undelivered else ping_id, known.get(gateway, 0))
        for gateway, ping_id in highest.items()
    }
    return facts, delivered


async def _lacking(session: AsyncSession, row: Instance, now: InstanceView) -> Change | None:
    """What the read model lacks of the view, as one more version."""
    recorded = InstanceView(
        status=InstanceStatus(row.status),
        stages={
            stage.path: StageView(StageStatus(stage.status), stage.name, stage.agent, stage.error, stage.changed_at)
            for stage in (await instances.list_stages(session, [row.id]))[row.id]
        },
        changed_at=now.changed_at,
        failure_reason=row.failure_reason,
        completed_at=row.completed_at,
        closes_at=row.closes_at,
        agent=row.agent,
        last_ping_at=row.last_ping_at,
        next_deadline=now.next_deadline,
    )
    if recorded == now:
        return None
    return change_between(row.id, row.version + 1, recorded, now)
