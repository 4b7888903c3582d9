"""What stands in for Postgres where it does not matter for pulses: the same activities, by name, in memory."""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from temporalio import activity
from temporalio.client import WorkflowHandle
from temporalio.service import RPCError
from temporalio.testing import WorkflowEnvironment

from activities.pulses import PulseQuestion, PulseRecorded, PulseRecording, PulseRules, PulseSnapshot
from api.delivery import Temporal
from domain.instances import Outage
from domain.pings import Event, PingFact, PingStatus
from domain.pulses import PulseDefinition, first_state
from domain.subjects import pulse_subject
from temporal_workflows.pulse import PulseWorkflow
from tests.workflows.skipping import lose, skip_to

QUEUE = "pulses"
STATUSES = {Event.START: PingStatus.PENDING, Event.FAIL: PingStatus.FAILED}


@dataclass
class Target:
    """One pulse; `environment` is the Temporal server and its time."""

    definition: PulseDefinition
    created_at: datetime
    environment: WorkflowEnvironment
    delivered: list[PingFact] = field(default_factory=list)
    on_their_way: list[PingFact] = field(default_factory=list)
    """Journaled, and not delivered yet."""

    recordings: list[PulseRecording] = field(default_factory=list)
    questions: list[datetime] = field(default_factory=list)
    """When the workflow claimed that it had been silent."""

    changed_at: datetime | None = None
    is_certain: bool = True
    outages: tuple[Outage, ...] = ()
    is_stale: bool = False
    is_deleted: bool = False

    @property
    def handle(self) -> WorkflowHandle[PulseWorkflow, str]:
        return self.environment.client.get_workflow_handle_for(PulseWorkflow.run, pulse_subject(self.definition.id))

    @property
    def temporal(self) -> Temporal:
        return Temporal(self.environment.client, QUEUE)

    async def ping(self, event: Event = Event.SUCCESS, **values: Any) -> None:
        """Delivers a ping and returns once it is recorded."""
        fact = await self.fact(event, **values)
        await self.deliver(fact)
        while not any(fact.id <= recording.delivered.get(fact.gateway, 0) for recording in self.recordings):
            await self.handle.query(PulseWorkflow.state)

    async def deliver(self, *facts: PingFact) -> None:
        self.delivered += facts
        await self.temporal.signal(pulse_subject(self.definition.id), facts)

    async def fact(self, event: Event = Event.SUCCESS, **values: Any) -> PingFact:
        status = STATUSES.get(event, PingStatus.HEALTHY)
        fields = {"gateway": 1, "at": await self.now(), **values}
        return PingFact(id=len(self.delivered) + 1, path=event.value, status=status, **fields)

    async def redefine(self, **rules: Any) -> None:
        """Changes the rules, as a user does, and returns once they are taken up."""
        self.definition = replace(self.definition, revision=self.definition.revision + 1, **rules)
        self.changed_at = await self.now()
        await self.temporal.tell_of_new_rules(self.definition.id)
        while self.recordings[-1].revision != self.definition.revision:
            await self.handle.query(PulseWorkflow.state)

    async def set_up(self) -> None:
        """Has the workflow of an awaited pulse begin, and returns once it has recorded that."""
        await self.temporal.tell_of_new_rules(self.definition.id)
        while not self.recordings:
            await self.handle.query(PulseWorkflow.state)

    async def asked_again(self) -> None:
        """Returns once the workflow has claimed silence for another time."""
        asked = len(self.questions)
        while len(self.questions) == asked:
            await self.handle.query(PulseWorkflow.state)

    async def lose(self) -> None:
        """Temporal forgets its workflow."""
        await lose(self.handle)

    async def until(self, seconds: float) -> None:
        """Skips to so many seconds after the creation."""
        await skip_to(self.environment, self.created_at + timedelta(seconds=seconds))

    async def status(self) -> str:
        run = await self.handle.query(PulseWorkflow.state)
        assert run is not None
        return run.state.status.value

    async def now(self) -> datetime:
        return await self.environment.get_current_time()

    @property
    def history(self) -> list[tuple[str, int]]:
        """The transitions, and how many seconds after the creation each was."""
        return [
            (change.after, round((change.at - self.created_at).total_seconds()))
            for recording in self.recordings
            for change in recording.transitions
        ]

    @property
    def alerts(self) -> list[tuple[str, int]]:
        return [
            (alert.kind.name, round((alert.at - self.created_at).total_seconds()))
            for recording in self.recordings
            for alert in recording.alerts
        ]


class PulseWorld:
    """All targets, and the activities that know of them."""

    def __init__(self, environment: WorkflowEnvironment) -> None:
        self._environment = environment
        self._targets: dict[str, Target] = {}
        self._ended = 0

    async def create(self, **rules: Any) -> Target:
        pulse_id = f"pls_{self._ended + len(self._targets):08}"
        definition = PulseDefinition(pulse_id, "account", name="backup", slug="backup", **rules)
        target = Target(definition, await self._environment.get_current_time(), self._environment)
        self._targets[pulse_id] = target
        return target

    async def create_awaited(self, **rules: Any) -> Target:
        """As a run workflow with an expected interval has it."""
        target = await self.create(**rules, awaited_since=await self._environment.get_current_time())
        await target.set_up()
        return target

    async def end_all(self) -> None:
        for target in self._targets.values():
            with suppress(RPCError):
                await target.lose()
        self._ended += len(self._targets)
        self._targets.clear()

    @property
    def activities(self) -> Sequence[Any]:
        return [self.load_pulse, self.read_pulse_rules, self.record_pulse]

    @activity.defn
    async def load_pulse(self, question: PulseQuestion) -> PulseSnapshot | None:
        target = self._targets.get(question.pulse_id)
        if target is None or target.is_deleted:
            return None
        if not target.recordings:
            definition = target.definition
            revision = definition.revision if definition.awaited_since is None else 0
            return PulseSnapshot(
                definition, first_state(definition), revision=revision, unrecorded=tuple(target.delivered)
            )
        last = target.recordings[-1]
        unrecorded = [fact for fact in target.delivered if fact.id > last.delivered.get(fact.gateway, 0)]
        return PulseSnapshot(
            target.definition, last.state, last.delivered, last.version, last.revision, tuple(unrecorded)
        )

    @activity.defn
    async def read_pulse_rules(self, question: PulseQuestion) -> PulseRules | None:
        target = self._targets[question.pulse_id]
        if target.is_deleted:
            return None
        changed_at = target.changed_at or target.created_at
        target.questions.append(await self._environment.get_current_time())
        missing = any(
            fact.id > question.known.get(fact.gateway, 0) for fact in target.on_their_way if fact.at <= changed_at
        )
        return PulseRules(target.definition, changed_at, missing)

    @activity.defn
    async def record_pulse(self, recording: PulseRecording) -> PulseRecorded:
        target = self._targets[recording.pulse_id]
        if target.is_deleted:
            return PulseRecorded(is_gone=True)
        if recording.silence is not None:
            target.questions.append(await self._environment.get_current_time())
            if not target.is_certain:
                return PulseRecorded(is_uncertain=True)
            if target.outages != recording.silence.outages:
                return PulseRecorded(outages=target.outages)
        if target.is_stale:
            target.is_stale = False
            return PulseRecorded(is_stale=True)
        assert recording.version == len(target.recordings) + 1
        target.recordings.append(recording)
        is_behind = recording.revision != target.definition.revision
        return PulseRecorded(is_written=True, has_new_rules=is_behind)
