"""An account with things of any age, as they are kept once their workflows are done with them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from decimal import Decimal
from typing import Any

from sqlalchemy import func, select, text

from config.clock import utc_now
from domain.ids import random_id
from domain.retention import Retention
from storage.alerts import AlertRow
from storage.base import Sessions, transaction
from storage.channels import Channel
from storage.comparisons import ComparisonRow
from storage.forgetting import forget_some
from storage.instances import Instance, Stage
from storage.messages import Attempt, Delivery, Message
from storage.old_things import preview
from storage.outbox import OutboxRow
from storage.pings import Ping
from storage.processes import ProcessHook, ProcessRun
from storage.pulses import Pulse, PulseStanding
from storage.retention import get_retention, keep_for
from storage.transitions import TransitionRow
from tests.storage.conftest import define

GATEWAY = 7


@dataclass
class World:
    """Ages are in days, seen from `now`."""

    sessions: Sessions
    account_id: str
    now: datetime = field(default_factory=utc_now)

    def ago(self, days: float) -> datetime:
        return self.now - timedelta(days=days)

    async def keep(self, days: int | None = 30, approvals_days: int | None = None) -> None:
        async with transaction(self.sessions) as session:
            await keep_for(session, self.account_id, Retention(days, approvals_days), self.now)

    async def forget(self, batch: int = 3, now: datetime | None = None) -> dict[str, int]:
        """Until nothing is left to delete; what was deleted, by kind. Other accounts may be in between."""
        for _ in range(1000):
            async with transaction(self.sessions) as session:
                await forget_some(session, now or self.now, batch)
            async with self.sessions() as session:
                row = await get_retention(session, self.account_id)
                assert row is not None
                if row.due_at is None or row.due_at > (now or self.now):
                    return row.deleted
        raise AssertionError("it never ends")

    async def preview(self, days: int | None = 30, approvals_days: int | None = None) -> Mapping[str, int]:
        async with self.sessions() as session:
            return await preview(session, self.account_id, days, approvals_days, self.now)

    async def workflow(self) -> str:
        return (await define(self.sessions, self.account_id)).workflow_id

    async def instance(
        self,
        workflow_id: str,
        days: float,
        status: str = "completed",
        *,
        pings: int = 2,
        opened: float | None = None,
        is_open: bool = False,
        **fields: Any,
    ) -> str:
        """One that ended so many days ago, with all that belongs to one; or that is open and was opened then."""
        id_, at = random_id("d", 8), self.ago(days)
        subject = f"instance/{workflow_id}/{id_}"
        async with transaction(self.sessions) as session:
            session.add(
                Instance(
                    id=id_,
                    workflow_id=workflow_id,
                    account_id=self.account_id,
                    status="running" if is_open else status,
                    opened_at=self.ago(opened if opened is not None else days + 1),
                    completed_at=None if is_open else at,
                    closes_at=None if is_open else at,
                    first_stage_seen=True,
                    definition={},
                    version=1,
                    **fields,
                )
            )
            await session.flush()
            session.add(Stage(instance_id=id_, path="1", status="healthy"))
            session.add(TransitionRow(subject=subject, after=status, at=at))
            session.add_all(
                self._ping(at, workflow_id=workflow_id, instance_id=id_, subject=subject) for _ in range(pings)
            )
        return id_

    def _ping(self, at: datetime, **fields: Any) -> Ping:
        usual: dict[str, Any] = {
            "gateway_id": GATEWAY,
            "path": "1",
            "status": "healthy",
            "start": False,
            "final": False,
            "size_bytes": 0,
            "outcome": "accepted",
            "cost_usd": Decimal("0.1"),
        }
        return Ping(account_id=self.account_id, received_at=at, **(usual | fields))

    async def rejected(self, workflow_id: str, days: float, instance_id: str | None = None) -> int:
        async with transaction(self.sessions) as session:
            ping = self._ping(
                self.ago(days), workflow_id=workflow_id, instance_id=instance_id, outcome="rejected", reason_code="x"
            )
            session.add(ping)
            await session.flush()
            return ping.id

    async def pulse(
        self, *days: float, known: bool = True, status: str = "up", since: float = 1000, **more: Any
    ) -> str:
        """With a ping of each age. `known`: they are part of its standing."""
        id_ = random_id("pls_", 10)
        async with transaction(self.sessions) as session:
            session.add(_pulse(id_, self.account_id, self.ago(1000), **more))
            await session.flush()
            pings = [self._ping(self.ago(age), subject=f"pulse/{id_}", path="success") for age in days]
            for ping in pings:
                session.add(ping)
                await session.flush()
            session.add(
                PulseStanding(
                    pulse_id=id_,
                    version=1,
                    revision=1,
                    status=status,
                    since=self.ago(since),
                    failures=0,
                    state={},
                    delivered={str(GATEWAY): max((ping.id for ping in pings), default=0)} if known else {},
                )
            )
            session.add(TransitionRow(subject=f"pulse/{id_}", after=status, at=self.ago(since)))
        return id_

    async def run(self, days: float, *, ended: bool = True, overdue: float | None = None) -> str:
        hook_id, id_ = random_id("phk_", 8), random_id("run_", 8)
        at, subject = self.ago(days), f"process/{hook_id}/{id_}"
        async with transaction(self.sessions) as session:
            session.add(_hook(hook_id, self.account_id, self.ago(1000)))
            await session.flush()
            session.add(
                ProcessRun(
                    id=id_,
                    hook_id=hook_id,
                    account_id=self.account_id,
                    expected_seconds=60,
                    grace_seconds=60,
                    started_at=at,
                    ended_at=at if ended else None,
                    status="finished" if ended else "overdue" if overdue is not None else "running",
                    finished_at=at if ended else None,
                    overdue_at=self.ago(overdue) if overdue is not None else None,
                    version=1,
                )
            )
            session.add(TransitionRow(subject=subject, after="running", at=at))
            session.add(self._ping(at, subject=subject, path="start"))
        return id_

    async def alert(
        self,
        subject: str,
        days: float,
        *,
        state: str = "told",
        source: str | None = None,
        message: str | None = "sent",
        waits: bool = False,
        trouble: str | None = None,
    ) -> str:
        """Told to a channel by a message in that state, unless it is None; or it `waits` for one."""
        id_, at = random_id("alr_", 12), self.ago(days)
        async with transaction(self.sessions) as session:
            session.add(
                AlertRow(
                    id=id_,
                    account_id=self.account_id,
                    source=source or subject,
                    subject=subject,
                    kind="x",
                    severity="error",
                    resolves=False,
                    name="x",
                    title="x",
                    trouble=trouble or id_,
                    dedupe_key=id_,
                    tags=[],
                    depends_on=[],
                    data={},
                    at=at,
                    created_at=at,
                    state=state,
                )
            )
            await session.flush()
            if waits or message is not None:
                channel = _channel(self.account_id, at)
                session.add(channel)
                await session.flush()
                message_id = None
                if not waits:
                    message_id = random_id("msg_", 12)
                    session.add(
                        Message(
                            id=message_id,
                            account_id=self.account_id,
                            channel_id=channel.id,
                            state=message,
                            created_at=at,
                            handed_over_at=at,
                        )
                    )
                    await session.flush()
                    session.add(Attempt(message_id=message_id, number=1, at=at, took_ms=1, outcome="sent"))
                session.add(Delivery(alert_id=id_, channel_id=channel.id, message_id=message_id, not_before=at))
        return id_

    async def compare(self, a: str, b: str) -> str:
        id_ = random_id("cmp_", 12)
        async with transaction(self.sessions) as session:
            session.add(
                ComparisonRow(
                    session_id=id_,
                    account_id=self.account_id,
                    created_at=self.now,
                    instance_a=a,
                    instance_b=b,
                    request={},
                    document="{}",
                )
            )
        return id_

    async def put_on_its_way(self, subject: str) -> None:
        """A ping of the subject is in the outbox."""
        async with transaction(self.sessions) as session:
            ping_id = await session.scalar(select(func.max(Ping.id)).where(Ping.subject == subject))
            assert ping_id is not None
            session.add(OutboxRow(ping_id=ping_id, gateway_id=GATEWAY, subject=subject, wants_verdict=False))

    async def count(self, table: str, **where: Any) -> int:
        conditions = " AND ".join(f"{name} = :{name}" for name in where) or "true"
        async with self.sessions() as session:
            return int(await session.scalar(text(f"SELECT count(*) FROM {table} WHERE {conditions}"), where) or 0)

    async def ids(self, table: str, column: str = "id") -> set[Any]:
        """Of the account."""
        query = text(f"SELECT {column} FROM {table} WHERE account_id = :account_id")
        async with self.sessions() as session:
            return set((await session.execute(query, {"account_id": self.account_id})).scalars())


def _pulse(id_: str, account_id: str, at: datetime, **more: Any) -> Pulse:
    lists: dict[str, Any] = dict.fromkeys(
        ("tags", "success_keywords", "failure_keywords", "ignore_keywords", "maintenance", "depends_on"), []
    )
    return Pulse(
        id=id_,
        account_id=account_id,
        name=id_,
        slug=id_.replace("_", "-").lower(),
        period_seconds=60,
        timezone="UTC",
        grace_seconds=60,
        alert_after=1,
        notify_late=False,
        badge_token=random_id("", 32),
        revision=1,
        created_at=at,
        updated_at=at,
        **lists,
        **more,
    )


def _hook(id_: str, account_id: str, at: datetime) -> ProcessHook:
    return ProcessHook(
        id=id_,
        account_id=account_id,
        name=id_,
        slug=id_.replace("_", "-").lower(),
        tags=[],
        expected_seconds=60,
        grace_seconds=60,
        overlap=True,
        created_at=at,
        updated_at=at,
    )


def _channel(account_id: str, at: datetime) -> Channel:
    return Channel(
        id=random_id("chn_", 12),
        account_id=account_id,
        kind="webhook",
        name="x",
        address=b"x",
        shown_address="x",
        is_default=False,
        severity="info",
        tags=[],
        messages_per_minute=10,
        created_at=at,
        updated_at=at,
    )
