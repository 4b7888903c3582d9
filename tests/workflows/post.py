"""The way of a ping to its workflow, step by step: journaled in Postgres, delivered to Temporal, in any order."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from sqlalchemy import select, update
from temporalio.client import Client, WorkflowHandle
from temporalio.service import RPCError

from activities.instances import InstanceSnapshot
from api.delivery import Temporal
from api.views import fold_instance, recorded_view
from config.clock import utc_now
from domain import ids
from domain.evaluation import InstanceView
from domain.pings import PingFact, PingStatus, Report
from domain.routing import Request
from domain.subjects import instance_subject
from domain.verdicts import Verdict
from domain.workflows import WorkflowDefinition
from storage import instances, outbox
from storage.accounts import create_account
from storage.base import Sessions, transaction
from storage.gateways import Life, register_gateway
from storage.instances import Instance
from storage.journal import append
from storage.pings import Ping
from storage.rows import Journaled, NewPing
from storage.transitions import list_transitions
from storage.workflows import Workflow, columns_of
from temporal_workflows.instance import InstanceWorkflow
from tests.support.waiting import until

QUEUE = "workflows"
"""Not that of the shared stack, whose worker has another database."""


@dataclass(frozen=True)
class Post:
    """Two gateways of one account, by their ids; `client` is that of the Temporal server they deliver to."""

    sessions: Sessions
    client: Client
    account_id: str
    gateways: tuple[int, int]
    queue: str = QUEUE

    async def open(self, definition: WorkflowDefinition) -> "Run":
        """An instance of a new workflow, opened but not pinged."""
        instance_id = ids.new_instance_id(definition.kind)
        definition = replace(definition, id=f"flow-{instance_id}", slug=instance_id, account_id=self.account_id)
        now = utc_now()
        async with transaction(self.sessions) as session:
            session.add(Workflow(**columns_of(definition), created_at=now, updated_at=now))
            await session.flush()
            session.add(
                Instance(
                    id=instance_id,
                    workflow_id=definition.id,
                    account_id=self.account_id,
                    status="running",
                    opened_at=now,
                    first_stage_seen=False,
                    definition=columns_of(definition),
                    version=0,
                )
            )
        return Run(self, instance_id, definition)

    def on(self, client: Client) -> "Post":
        """The same gateways at another Temporal server."""
        return replace(self, client=client)


async def make_post(sessions: Sessions, client: Client) -> Post:
    async with transaction(sessions) as session:
        account = await create_account(session, "post", utc_now())
        first, second = [
            await register_gateway(session, host="test", process_id=number, now=utc_now()) for number in (1, 2)
        ]
        # They live long into the future, so that no test sees an outage.
        await session.flush()
        await session.execute(update(Life).values(seen_at=utc_now() + timedelta(days=1)))
    return Post(sessions, client, account.id, (first, second))


@dataclass(frozen=True)
class Run:
    """One instance."""

    post: Post
    id: str
    definition: WorkflowDefinition

    @property
    def subject(self) -> str:
        return instance_subject(self.definition.id, self.id)

    @property
    def handle(self) -> WorkflowHandle[InstanceWorkflow, str]:
        return self.post.client.get_workflow_handle_for(InstanceWorkflow.run, self.subject)

    async def journal(self, *facts: PingFact, gateway: int = 0) -> list[PingFact]:
        """Keeps pings as they came to a gateway, 0 or 1, and returns them as they are to be delivered."""
        new = [
            NewPing(
                self.post.account_id,
                Request(self.definition.id, self.definition.kind, fact, instance_id=self.id),
                Report(status=fact.status, error=fact.error),
            )
            for fact in facts
        ]
        async with transaction(self.post.sessions) as session:
            kept = await append(session, self.post.gateways[gateway], new, utc_now())
        return [fact for item in kept if isinstance(item, Journaled) for fact in item.facts]

    async def tell(self, facts: Iterable[PingFact]) -> None:
        """Delivers journaled pings of one gateway that need no verdict."""
        facts = list(facts)
        await Temporal(self.post.client, self.post.queue).signal(self.subject, facts)
        await self.forget(facts)

    async def forget(self, facts: Iterable[PingFact]) -> None:
        """What a gateway does when pings are delivered."""
        async with transaction(self.post.sessions) as session:
            await outbox.delete_delivered(session, [fact.id for fact in facts])

    async def ask(self, facts: Iterable[PingFact]) -> dict[int, Verdict]:
        """Delivers journaled pings of one gateway as often as it takes; returns the verdicts by ping.

        One that was given to a call that failed is in the journal only.
        """
        facts = list(facts)
        while True:
            try:
                verdicts = await Temporal(self.post.client, self.post.queue).ask(
                    self.subject, facts, [fact.id for fact in facts]
                )
            except RPCError:
                continue
            await self.forget(facts)
            return {verdict.ping_id: verdict for verdict in verdicts}

    async def ping(self, path: str, status: PingStatus = PingStatus.HEALTHY, **values: Any) -> None:
        """Journals a ping and delivers it."""
        await self.tell(await self.journal(fact(path, status, **values)))

    async def tree(self) -> InstanceView:
        view: InstanceView | None = await until(lambda: self.handle.query(InstanceWorkflow.tree))
        assert view is not None
        return view

    async def snapshot(self) -> InstanceSnapshot:
        snapshot: InstanceSnapshot | None = await until(lambda: self.handle.query(InstanceWorkflow.state))
        assert snapshot is not None
        return snapshot

    async def taken_in(self, count: int, timeout: float = 20) -> InstanceSnapshot:
        """The workflow's state once so many pings are in it."""

        async def has_all() -> InstanceSnapshot | None:
            snapshot = await self.snapshot()
            return snapshot if snapshot.state.ping_count >= count else None

        found: InstanceSnapshot = await until(has_all, timeout=timeout)
        assert found.state.ping_count == count
        return found

    async def folded(self) -> InstanceView:
        """What the journal tells."""
        async with self.post.sessions() as session:
            return await fold_instance(session, await self.row())

    async def recorded(self) -> InstanceView:
        """What the read model tells."""
        async with self.post.sessions() as session:
            row = await self.row()
            return recorded_view(row, (await instances.list_stages(session, [self.id]))[self.id])

    async def row(self) -> Instance:
        async with self.post.sessions() as session:
            row = await instances.get_instance(session, self.id)
            assert row is not None
            return row

    async def outcomes(self) -> dict[str, list[str]]:
        """By path, what became of its pings, in the order of the journal."""
        async with self.post.sessions() as session:
            rows = await session.scalars(select(Ping).where(Ping.instance_id == self.id).order_by(Ping.id))
            outcomes: dict[str, list[str]] = {}
            for row in rows:
                outcomes.setdefault(row.path, []).append(row.outcome)
            return outcomes

    async def transitions(self) -> list[tuple[str | None, str]]:
        """What was told of the instance and its stages, in order."""
        async with self.post.sessions() as session:
            return [(item.path, item.after) for item in await list_transitions(session, self.subject)]


def fact(path: str, status: PingStatus = PingStatus.HEALTHY, **values: Any) -> PingFact:
    """A ping as a gateway has just read it."""
    return PingFact(
        **{"id": 0, "gateway": 0, "path": path, "status": status, "at": utc_now(), "agent": "ada", **values}
    )
