"""What stands in for Postgres where it does not matter: the same activities, by name, with all of it in memory."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from temporalio import activity
from temporalio.client import WorkflowHandle
from temporalio.testing import WorkflowEnvironment

from activities.instances import InstanceQuestion, InstanceSnapshot, Recorded, Recording, Silence, SilenceQuestion
from api.delivery import Temporal
from domain.breaker import Trip
from domain.budgets import Action
from domain.evaluation import InstanceView
from domain.instances import InstanceState, Outage, Pause, merge
from domain.pings import PingFact, PingStatus
from domain.subjects import instance_subject
from domain.verdicts import Verdict
from domain.workflows import WorkflowDefinition
from temporal_workflows.instance import InstanceWorkflow
from tests.workflows.skipping import skip_to

QUEUE = "world"


@dataclass
class Run:
    """One instance; `environment` is the Temporal server and its time."""

    id: str
    definition: WorkflowDefinition
    opened_at: datetime
    environment: WorkflowEnvironment
    delivered: list[PingFact] = field(default_factory=list)
    rejected: list[PingFact] = field(default_factory=list)
    recordings: list[Recording] = field(default_factory=list)
    questions: list[datetime] = field(default_factory=list)
    """When the workflow asked whether it had been silent."""

    is_certain: bool = True
    outages: tuple[Outage, ...] = ()
    ended_at: datetime | None = None

    is_stale: bool = False
    """Whether somebody seems to have recorded the next version already."""

    trip: Trip | None = None
    """Where the circuit breaker trips, by Postgres."""

    pauses: tuple[Pause, ...] = ()
    resumes: int = 0
    """How often it was changed from outside: each time, Postgres has one version more than its workflow."""

    @property
    def subject(self) -> str:
        return instance_subject(self.definition.id, self.id)

    @property
    def handle(self) -> WorkflowHandle[InstanceWorkflow, str]:
        return self.environment.client.get_workflow_handle_for(InstanceWorkflow.run, self.subject)

    async def ping(self, path: str, status: PingStatus = PingStatus.HEALTHY, **values: Any) -> None:
        """Delivers a ping and returns once it is recorded."""
        fact = await self._fact(path, status=status, **values)
        recorded = len(self.recordings)
        await self.deliver([fact])
        while len(self.recordings) == recorded:
            await self.handle.query(InstanceWorkflow.tree)
        self.delivered.append(fact)

    async def ask(self, path: str, **values: Any) -> Verdict:
        """Delivers a ping and returns the verdict on it."""
        fact = await self._fact(path, **values)
        (verdict,) = await Temporal(self.environment.client, QUEUE).ask(self.subject, [fact], [fact.id])
        self.delivered.append(fact)
        if not verdict.accepted:
            self.rejected.append(fact)
        return verdict

    async def resume(self) -> None:
        """Ends the pause, and tells."""
        *before, last = self.pauses
        self.pauses = (*before, replace(last, end=await self._now()))
        self.resumes += 1
        await Temporal(self.environment.client, QUEUE).tell_of_change(self.subject)

    async def deliver(self, pings: Sequence[PingFact]) -> None:
        await Temporal(self.environment.client, QUEUE).signal(self.subject, pings)

    async def until(self, seconds: float) -> None:
        """Skips to so many seconds after the opening."""
        await skip_to(self.environment, self.opened_at + timedelta(seconds=seconds))

    async def result(self) -> str:
        """The end, however long it takes."""
        await skip_to(self.environment, await self._now() + timedelta(days=400))
        return await self.handle.result()

    async def show(self) -> tuple[str, str | None]:
        """Status and reason of a failure as the workflow answers."""
        view: InstanceView | None = await self.handle.query(InstanceWorkflow.tree)
        assert view is not None
        return view.status.value, view.failure_reason

    def told(self, path: str | None = None) -> list[tuple[str, int]]:
        """The transitions of a stage, or of the instance, and how many seconds after the opening each was."""
        return [
            (change.after, round((change.at - self.opened_at).total_seconds()))
            for recording in self.recordings
            for change in recording.change.transitions
            if change.path == path
        ]

    async def _fact(self, path: str, **values: Any) -> PingFact:
        fields = {"status": PingStatus.HEALTHY, "at": await self._now(), "agent": "ada", **values}
        return PingFact(len(self.delivered) + 1, 1, path, **fields)

    async def _now(self) -> datetime:
        return await self.environment.get_current_time()


class World:
    """All runs, and the activities that know of them."""

    def __init__(self, environment: WorkflowEnvironment) -> None:
        self._environment = environment
        self._runs: dict[str, Run] = {}

    async def open(self, definition: WorkflowDefinition) -> Run:
        run_id = f"d{len(self._runs):08}"
        run = Run(run_id, definition, await self._environment.get_current_time(), self._environment)
        self._runs[run_id] = run
        return run

    @property
    def activities(self) -> Sequence[Any]:
        return [self.load_instance, self.record, self.confirm_silence]

    @activity.defn
    async def load_instance(self, question: InstanceQuestion) -> InstanceSnapshot | None:
        run = self._runs.get(question.instance_id)
        if run is None:
            return None
        opened = InstanceState(run.id, run.definition, run.opened_at, outages=run.outages, pauses=run.pauses)
        state = merge(opened, (fact for fact in run.delivered if fact not in run.rejected))
        if run.recordings:
            state = replace(state, confirmed_until=run.recordings[-1].change.completed_at)
        return InstanceSnapshot(state, {1: len(run.delivered)}, len(run.recordings) + run.resumes)

    @activity.defn
    async def record(self, recording: Recording) -> Recorded:
        run = self._runs[recording.change.instance_id]
        assert recording.change.version == len(run.recordings) + run.resumes + 1
        if run.is_stale:
            run.is_stale = False
            return Recorded(is_stale=True)
        trip = run.trip if run.trip is not None and run.trip.ping_id in recording.counts else None
        if recording.trip != trip:
            return Recorded(must_judge_again=True, trip=trip)
        if trip is not None and trip.action is Action.PAUSE:
            run.pauses += (Pause(recording.change.transitions[-1].at, trip.reason, trip.cause),)
        run.recordings.append(recording)
        return Recorded()

    @activity.defn
    async def confirm_silence(self, question: SilenceQuestion) -> Silence:
        run = self._runs[question.instance_id]
        run.questions.append(await self._environment.get_current_time())
        return Silence(run.is_certain, run.outages, run.ended_at)
