"""Approvals in Postgres, and a worker that follows them by the clock of its Temporal server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, Self

from sqlalchemy import select
from temporalio import activity
from temporalio.client import Client, WorkflowHandle
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from activities.approvals import ApprovalActivities, ApprovalQuestion, FollowedApproval
from api.delivery import Temporal
from domain.approvals import Ballot
from domain.letters import LetterTopic
from storage import deciding
from storage.alerts import AlertRow
from storage.approval_audit import list_entries, tampering
from storage.approvals import Approval, get_approval, list_votes
from storage.base import Sessions, transaction
from storage.messages import Message
from storage.transitions import list_transitions
from temporal_workflows.approval import ApprovalEvent, ApprovalWorkflow
from tests.support.approvals import AGENT, approve, ask, by_link, gateway_lives
from tests.support.waiting import until
from tests.workflows.skipping import skip_to
from worker.main import sandbox

QUEUE = "approvals"


@dataclass
class ApprovalWorld(ApprovalActivities):
    """All approvals of an account. `client` is that of the server on which time passes."""

    environment: WorkflowEnvironment
    sessions: Sessions
    account_id: str
    queue: str = QUEUE
    is_down: bool = False
    """Postgres is, for the worker."""

    held: asyncio.Event | None = None
    """What the worker waits for when it has looked at an approval, before it says what it saw."""

    attempts: int = 0
    """To look at an approval, failed ones too."""

    looks: list[tuple[str, datetime]] = field(default_factory=list)
    """Which approval was looked at, and when."""

    def __post_init__(self) -> None:
        super().__init__(self.sessions, lambda: self._now)
        self._now = datetime.now(UTC)

    @property
    def client(self) -> Client:
        return self.environment.client

    @activity.defn
    async def follow_approval(self, question: ApprovalQuestion) -> FollowedApproval | None:
        self.attempts += 1
        if self.is_down:
            raise ConnectionError("Postgres is down")
        now = self._now = await self.environment.get_current_time()
        followed = await super().follow_approval(question)
        self.looks.append((question.approval_id, now))
        if self.held is not None:
            await self.held.wait()
        return followed

    @asynccontextmanager
    async def worker(self) -> AsyncIterator[Self]:
        async with Worker(
            self.client,
            task_queue=self.queue,
            workflows=[ApprovalWorkflow],
            activities=[self.follow_approval],
            workflow_runner=sandbox(),
        ):
            yield self

    async def open(self, **values: Any) -> "Case":
        """An approval that its workflow has looked at once."""
        case = Case(self, await self.keep(**values))
        await case.tell("requested")
        await until(lambda: case.looks)
        return case

    async def keep(self, **values: Any) -> Approval:
        """One that no workflow knows of yet."""
        now = await self.environment.get_current_time()
        await gateway_lives(self.sessions, now - timedelta(minutes=1), now + timedelta(days=800))
        return await ask(self.sessions, self.account_id, now=now, **values)

    async def tell(self, approval_id: str, what: str, by: str | None = None) -> None:
        await Temporal(self.client, self.queue).tell_of_approval(approval_id, ApprovalEvent(what, by))


@dataclass(frozen=True)
class Case:
    """One approval."""

    world: ApprovalWorld
    approval: Approval

    @property
    def id(self) -> str:
        return self.approval.id

    @property
    def handle(self) -> WorkflowHandle[ApprovalWorkflow, str]:
        return self.world.client.get_workflow_handle_for(ApprovalWorkflow.run, self.approval.subject)

    @property
    def looks(self) -> list[float]:
        """When it was looked at, in seconds after it was asked for."""
        return [self.second(at) for approval_id, at in self.world.looks if approval_id == self.id]

    def second(self, at: datetime) -> float:
        return (at - self.approval.created_at).total_seconds()

    async def until(self, second: float) -> None:
        """Skips to so many seconds after it was asked for."""
        target = self.approval.created_at + timedelta(seconds=second)
        await skip_to(self.world.environment, target)

    async def vote(self, name: str, ballot: Ballot | None = None, *, is_told: bool = True) -> None:
        """At the server's time; `is_told` if its workflow is."""
        ballot, now = ballot or approve(), await self.world.environment.get_current_time()
        async with transaction(self.world.sessions) as session:
            await deciding.vote(session, self.id, by_link(name), ballot, now)
        if is_told:
            await self.tell(ballot.decision.value, name)

    async def cancel(self) -> None:
        now = await self.world.environment.get_current_time()
        async with transaction(self.world.sessions) as session:
            await deciding.cancel(session, self.id, AGENT, None, now)
        await self.tell("cancelled", AGENT.name)

    async def tell(self, what: str, by: str | None = None) -> None:
        await self.world.tell(self.id, what, by)

    async def row(self) -> Approval:
        async with self.world.sessions() as session:
            row = await get_approval(session, self.id)
        assert row is not None
        return row

    async def ended(self) -> tuple[str, str | None, float]:
        """Status, who decided, and after how many seconds, once its workflow has ended; all who tell of it agree."""
        status = await self.handle.result()
        row = await self.row()
        assert row.decided_at is not None
        assert (row.status, row.followed_revision) == (status, row.revision)
        assert await self.transitions() == [("pending", 0), (status, self.second(row.decided_at))]
        alerts = select(AlertRow).where(AlertRow.subject == self.approval.subject, AlertRow.resolves)
        async with self.world.sessions() as session:
            (end,) = (await session.scalars(alerts)).all()
            assert (end.data["status"], end.at) == (status, row.decided_at)
            entries = await list_entries(session, self.id)
            votes = (await list_votes(session, [self.id]))[self.id]
            assert tampering(row, votes, entries) is None
        ends = [entry for entry in entries if entry.fields()["event"] in ("decided", "cancelled")]
        assert len(ends) == 1
        return status, row.decided_by, self.second(row.decided_at)

    async def transitions(self) -> list[tuple[str, float]]:
        async with self.world.sessions() as session:
            rows = await list_transitions(session, self.approval.subject)
        return [(row.after, self.second(row.at)) for row in rows]

    async def letters(self, topic: LetterTopic) -> list[tuple[float, str | None]]:
        """When, in whole seconds, and to whom."""
        query = select(Message).where(Message.approval_id == self.id, Message.topic == topic.value)
        async with self.world.sessions() as session:
            letters = (await session.scalars(query)).all()
        return sorted((int(self.second(letter.created_at)), letter.recipient or "") for letter in letters)
