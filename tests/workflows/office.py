"""What stands in for Postgres where it does not matter for process runs: the same activity, by name, in memory."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from temporalio import activity
from temporalio.client import Client, WorkflowHandle
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from activities.processes import RecordedRun, RunQuestion
from domain.alerts import Alert
from domain.instances import Outage
from domain.pings import Event, PingFact, PingStatus
from domain.process_alerts import RunIdentity, alerts_of
from domain.processes import ProcessRunState, RunView, awaited_until, evaluate, merge, transitions_between
from domain.subjects import run_subject
from domain.transitions import Transition
from temporal_workflows.inbox import Delivery
from temporal_workflows.process_run import ProcessRunInput, ProcessRunWorkflow
from tests.support.waiting import until
from tests.workflows.skipping import skip_to
from worker.main import sandbox

QUEUE = "process runs"
EXPECTED, GRACE = 1800.0, 300.0
DEADLINE = EXPECTED + GRACE


@dataclass
class Run:
    """One run of a hook; `journal` is what was acknowledged, delivered or not."""

    id: str
    client: Client
    started_at: datetime
    journal: list[PingFact] = field(default_factory=list)
    recorded: RunView | None = None
    transitions: list[Transition] = field(default_factory=list)
    alerts: list[Alert] = field(default_factory=list)
    looks: list[float] = field(default_factory=list)
    """When the workflow looked at it, in seconds after its start."""

    expected: float = EXPECTED
    grace: float = GRACE
    outages: tuple[Outage, ...] = ()
    is_certain: bool = True
    is_deleted: bool = False

    @property
    def handle(self) -> WorkflowHandle[ProcessRunWorkflow, str]:
        return self.client.get_workflow_handle_for(ProcessRunWorkflow.run, run_subject("phk_1", self.id))

    def keep(self, event: Event, second: float, **values: Any) -> PingFact:
        """Journals a ping of that second."""
        at = self.started_at + timedelta(seconds=second)
        fact = PingFact(len(self.journal) + 1, 1, event.value, PingStatus.HEALTHY, at, **values)
        self.journal.append(fact)
        return fact

    async def deliver(self, *pings: PingFact) -> None:
        """Returns once the workflow has looked at the run."""
        looks = len(self.looks)
        await self.client.start_workflow(
            ProcessRunWorkflow.run,
            ProcessRunInput("phk_1", self.id),
            id=run_subject("phk_1", self.id),
            task_queue=QUEUE,
            start_signal="pings_received",
            start_signal_args=[Delivery(pings)],
        )
        await until(lambda: len(self.looks) > looks)

    async def ping(self, event: Event, second: float, **values: Any) -> None:
        await self.deliver(self.keep(event, second, **values))

    async def show(self) -> RunView:
        state = await self.handle.query(ProcessRunWorkflow.state)
        assert state is not None
        return state.view

    def told(self) -> list[tuple[str, int]]:
        """The transitions, and how many seconds after the start each was."""
        return [(item.after, round((item.at - self.started_at).total_seconds())) for item in self.transitions]

    def kinds(self) -> list[str]:
        return [alert.kind.name for alert in self.alerts]


class Office:
    """All runs, in memory, and the activity that knows of them."""

    def __init__(self, environment: WorkflowEnvironment) -> None:
        self._environment = environment
        self._runs: dict[str, Run] = {}

    async def start(self, **rules: Any) -> Run:
        """A run that has its start ping."""
        now = await self._environment.get_current_time()
        run = Run(f"run_{len(self._runs)}", self._environment.client, now, **rules)
        self._runs[run.id] = run
        await run.ping(Event.START, 0)
        return run

    async def until(self, run: Run, second: float) -> None:
        """Skips to so many seconds after the run's start."""
        target = run.started_at + timedelta(seconds=second)
        await skip_to(self._environment, target)

    @activity.defn
    async def follow_run(self, question: RunQuestion) -> RecordedRun | None:
        run = self._runs[question.run_id]
        run.looks.append((await self._environment.get_current_time() - run.started_at).total_seconds())
        if run.is_deleted:
            return None
        recorded_until = run.recorded.overdue_at if run.recorded is not None else None
        state = ProcessRunState(
            run.started_at,
            run.expected,
            run.grace,
            outages=run.outages,
            confirmed_until=question.until if run.is_certain else recorded_until,
        )
        state = merge(state, run.journal)
        after = evaluate(state)
        transitions = transitions_between(run.recorded, after)
        run.recorded = after
        run.transitions += transitions
        run.alerts += alerts_of(RunIdentity("account", "phk_1", run.id, "Backup"), after, transitions)
        return RecordedRun(after, "account", "Backup", awaited_until(state), run.is_certain)


@asynccontextmanager
async def at_work(environment: WorkflowEnvironment) -> AsyncIterator[Office]:
    """An office, and a worker for its runs."""
    office = Office(environment)
    async with Worker(
        environment.client,
        task_queue=QUEUE,
        workflows=[ProcessRunWorkflow],
        activities=[office.follow_run],
        workflow_runner=sandbox(),
    ):
        yield office
