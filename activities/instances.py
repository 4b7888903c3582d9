"""What an InstanceWorkflow may ask of Postgres. Each method is one idempotent transaction."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from temporalio import activity

from domain.evaluation import Change
from domain.instances import InstanceState, InstanceStatus, Outage, merge
from domain.strict import Verdict
from domain.subjects import instance_subject
from storage import gateways, instances, outbox, pings
from storage.base import Sessions, snapshot, transaction


@dataclass(frozen=True)
class InstanceSnapshot:
    """An instance as Postgres knows it: the fold of what has been delivered to Temporal before.

    `delivered` holds, by gateway, the last ping that is part of it; `version` the last change recorded.
    """

    state: InstanceState
    delivered: dict[int, int] = field(default_factory=dict)
    version: int = 0


@dataclass(frozen=True)
class Recording:
    """What a workflow has decided and what has changed by it."""

    change: Change | None
    verdicts: tuple[Verdict, ...] = ()


@dataclass(frozen=True)
class SilenceQuestion:
    """Has `subject` really been silent? Outages are looked for since `since`."""

    subject: str
    instance_id: str
    since: datetime


@dataclass(frozen=True)
class Silence:
    """`is_certain` is False while pings of the subject are on their way."""

    is_certain: bool
    outages: tuple[Outage, ...] = ()
    terminated_at: datetime | None = None


class InstanceActivities:
    """Takes its session factory and its clock, so that tests can give it others."""

    def __init__(self, sessions: Sessions, clock: Callable[[], datetime]) -> None:
        self._sessions = sessions
        self._clock = clock

    @activity.defn
    async def load_instance(self, instance_id: str) -> InstanceSnapshot | None:
        """Where an instance's workflow begins; None if there is no such instance (any more).

        This is what makes Temporal expendable: a workflow that is gone is started by the next ping as it was.
        """
        # Of one moment: a ping that leaves the outbox between two queries would be taken for delivered, and lost.
        async with snapshot(self._sessions) as session:
            row = await instances.get_instance(session, instance_id)
            if row is None:
                return None
            facts = await pings.list_facts(session, instance_id, delivered_only=True)
            undelivered = await outbox.lowest_undelivered(session, instance_subject(row.workflow_id, instance_id))
            highest = await pings.highest_by_gateway(session, instance_id)
        state = InstanceState(instance_id, row.rules(), row.opened_at)
        if row.status == InstanceStatus.TERMINATED:
            state = InstanceState(instance_id, row.rules(), row.opened_at, terminated_at=row.completed_at)
        delivered = {
            gateway: undelivered[gateway] - 1 if gateway in undelivered else ping_id
            for gateway, ping_id in highest.items()
        }
        return InstanceSnapshot(merge(state, facts), delivered, row.version)

    @activity.defn
    async def record(self, recording: Recording) -> list[int]:
        """Writes verdicts, read model and transitions, all or nothing.

        Returns the pings that were withdrawn before their verdict; if there are any, nothing was written.
        """
        async with transaction(self._sessions) as session:
            if recording.verdicts and (withdrawn := await pings.decide(session, recording.verdicts)):
                return withdrawn
            if recording.change is not None:
                await instances.record_change(session, recording.change)
            return []

    @activity.defn
    async def confirm_silence(self, question: SilenceQuestion) -> Silence:
        """Whether nothing came, or nothing could come, or something came and is still on its way."""
        async with transaction(self._sessions) as session:
            if await outbox.has_undelivered(session, question.subject):
                return Silence(is_certain=False)
            row = await instances.get_instance(session, question.instance_id)
            was_ended = row is not None and row.status == InstanceStatus.TERMINATED
            return Silence(
                is_certain=True,
                outages=await gateways.list_outages(session, question.since, self._clock()),
                terminated_at=row.completed_at if row is not None and was_ended else None,
            )
