"""The journal: every ping, kept for good. The inbox and the history at once."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final

from sqlalchemy import JSON, BigInteger, Identity, Index, Numeric, and_, delete, func, or_, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from domain.budgets import report_as_json, report_from_json
from domain.instances import InstanceStatus
from domain.pings import Outcome, PingFact, PingStatus
from domain.verdicts import Verdict
from storage.base import Base
from storage.outbox import OutboxRow, delete_delivered, take_token

MAX_UNRECORDED: Final = 10_000
"""Pings of a subject without stages that are read at once."""


class Ping(Base):
    """One journaled ping.

    No foreign keys: their row locks would make every ping of a hot instance write to the instance's row.
    `payload` is JSON, not JSONB, so that it comes back as it was sent; `text` holds a body that is not JSON.
    `path` is the stage it reports or, where its subject has no stages, the `domain.pings.Event`; `run_id` the run that
    it names. `answered_status` is the instance's status as the caller was told. `inherited`: it is a fork's copy of a
    ping of the instance that was forked; it was never sent, and its cost is that of the original.
    `cost_source`: by whose word it costs what it does, as `domain.prices.Source`; None if it says nothing of costs.
    `cost_day` is the day on which that is counted. `price_version` is of which table, or which own price.
    `budget` is how its instance stood to its budget then, as it was answered (`domain.budgets.BudgetReport`);
    `reservation_id` names the money that was set aside for it.
    """

    __tablename__ = "pings"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    gateway_id: Mapped[int] = mapped_column(BigInteger)
    account_id: Mapped[str]
    workflow_id: Mapped[str | None]
    instance_id: Mapped[str | None]
    subject: Mapped[str | None]
    run_id: Mapped[str | None]
    path: Mapped[str]
    name: Mapped[str | None]
    agent: Mapped[str | None]
    status: Mapped[str]
    start: Mapped[bool]
    final: Mapped[bool]
    received_at: Mapped[datetime]
    error: Mapped[str | None]
    duration_ms: Mapped[int | None] = mapped_column(BigInteger)
    handoff_reason: Mapped[str | None]
    model_id: Mapped[str | None]
    usage: Mapped[dict[str, Any] | None] = mapped_column(JSON)
    input_tokens: Mapped[int | None] = mapped_column(BigInteger)
    output_tokens: Mapped[int | None] = mapped_column(BigInteger)
    cost_usd: Mapped[Decimal | None] = mapped_column(Numeric)
    tool_calls: Mapped[list[Any] | None] = mapped_column(JSON)
    payload: Mapped[Any | None] = mapped_column(JSON(none_as_null=True))
    text: Mapped[str | None]
    size_bytes: Mapped[int]
    outcome: Mapped[str]
    reason_code: Mapped[str | None]
    reason: Mapped[str | None]
    expected_stage: Mapped[str | None]
    answered_status: Mapped[str | None]
    inherited: Mapped[bool] = mapped_column(default=False, server_default="false")
    cached_tokens: Mapped[int | None] = mapped_column(BigInteger)
    cache_write_tokens: Mapped[int | None] = mapped_column(BigInteger)
    reasoning_tokens: Mapped[int | None] = mapped_column(BigInteger)
    cost_source: Mapped[str | None]
    price_version: Mapped[str | None]
    cost_day: Mapped[date | None]
    budget: Mapped[dict[str, Any] | None] = mapped_column(JSON(none_as_null=True))
    reservation_id: Mapped[str | None]

    __table_args__ = (
        Index("ix_pings_instance_id", "instance_id", "received_at", "id"),
        Index("ix_pings_rejected", "workflow_id", "id", postgresql_where="outcome = 'rejected'"),
        Index("ix_pings_early", "workflow_id", "received_at", postgresql_where="outcome = 'early'"),
        # With the gateway, by which what is known of a subject is told from what is not.
        Index(
            "ix_pings_subject",
            "subject",
            "id",
            postgresql_include=["gateway_id"],
            postgresql_where="workflow_id IS NULL",
        ),
    )

    def fact(self) -> PingFact:
        return PingFact(
            id=self.id,
            gateway=self.gateway_id,
            path=self.path,
            status=PingStatus(self.status),
            at=self.received_at,
            agent=self.agent,
            name=self.name,
            error=self.error,
            final=self.final,
            run_id=self.run_id,
            duration_ms=self.duration_ms,
        )


class IdempotencyKey(Base):
    """Remembers for 24 hours which ping a key was used for. `target` is what it was sent to."""

    __tablename__ = "idempotency_keys"

    account_id: Mapped[str] = mapped_column(primary_key=True)
    key: Mapped[str] = mapped_column(primary_key=True)
    target: Mapped[str]
    ping_id: Mapped[int] = mapped_column(BigInteger)
    created_at: Mapped[datetime]

    __table_args__ = (Index("ix_idempotency_keys_created_at", "created_at"),)


_FACT_COLUMNS = (
    Ping.id,
    Ping.gateway_id,
    Ping.path,
    Ping.status,
    Ping.received_at,
    Ping.agent,
    Ping.name,
    Ping.error,
    Ping.final,
    Ping.run_id,
    Ping.duration_ms,
)


async def list_facts(session: AsyncSession, instance_id: str, *, delivered_only: bool = False) -> list[PingFact]:
    """What the accepted pings of an instance say, in the order of the journal."""
    query = select(*_FACT_COLUMNS).where(Ping.instance_id == instance_id, Ping.outcome == Outcome.ACCEPTED)
    if delivered_only:
        undelivered = select(OutboxRow.ping_id).where(OutboxRow.subject == Ping.subject, OutboxRow.is_judged.is_(False))
        query = query.where(Ping.id.not_in(undelivered))
    rows = (await session.execute(query.order_by(Ping.received_at, Ping.id))).all()
    return [_fact(row) for row in rows]


async def highest_by_gateway(session: AsyncSession, instance_id: str) -> dict[int, int]:
    """By gateway, the last ping of an instance that was journaled."""
    query = select(Ping.gateway_id, func.max(Ping.id)).where(Ping.instance_id == instance_id).group_by(Ping.gateway_id)
    rows = await session.execute(query)
    return {row[0]: row[1] for row in rows}


@dataclass(frozen=True)
class Decided:
    """`accepted` are the pings that this call has accepted. Nothing was written if any were `withdrawn`."""

    accepted: tuple[int, ...] = ()
    withdrawn: tuple[int, ...] = ()


async def decide(session: AsyncSession, verdicts: Sequence[Verdict]) -> Decided:
    """Makes verdicts final, all of them or none: not if a ping was withdrawn meanwhile.

    Whoever takes the token of a ping in the outbox decides on it. Repeating the call is harmless: a token that is
    gone for any other reason than a withdrawal is gone because this verdict was written before.
    """
    ping_ids = [verdict.ping_id for verdict in verdicts]
    tokens = await session.scalars(
        select(OutboxRow.ping_id)
        .where(OutboxRow.ping_id.in_(ping_ids), OutboxRow.wants_verdict)
        .order_by(OutboxRow.ping_id)
        .with_for_update()
    )
    missing = set(ping_ids) - set(tokens)
    if missing:
        withdrawn = await session.scalars(
            select(Ping.id).where(Ping.id.in_(missing), Ping.outcome == Outcome.WITHDRAWN)
        )
        if ids := tuple(withdrawn):
            return Decided(withdrawn=ids)
    accepted = [verdict.ping_id for verdict in verdicts if verdict.accepted]
    await session.execute(
        update(OutboxRow).where(OutboxRow.ping_id.in_(accepted)).values(wants_verdict=False, is_judged=True)
    )
    await delete_delivered(session, [verdict.ping_id for verdict in verdicts if not verdict.accepted])
    newly_accepted: list[int] = []
    for verdict in verdicts:
        written = await session.execute(
            update(Ping)
            .where(Ping.id == verdict.ping_id, Ping.outcome == Outcome.PENDING)
            .values(
                outcome=Outcome.ACCEPTED if verdict.accepted else Outcome.REJECTED,
                reason_code=verdict.code,
                reason=verdict.message,
                expected_stage=verdict.expected,
                answered_status=verdict.instance_status,
                budget=report_as_json(verdict.budget),
            )
            .returning(Ping.id)
        )
        if verdict.accepted:
            newly_accepted.extend(written.scalars())
    return Decided(accepted=tuple(newly_accepted))


async def withdraw(session: AsyncSession, ping_id: int) -> bool:
    """Takes back a ping that waits for its verdict; False if the verdict came first."""
    if not await take_token(session, ping_id):
        return False
    await session.execute(update(Ping).where(Ping.id == ping_id).values(outcome=Outcome.WITHDRAWN))
    await session.execute(delete(IdempotencyKey).where(IdempotencyKey.ping_id == ping_id))
    return True


async def get_ping(session: AsyncSession, ping_id: int) -> Ping | None:
    return await session.get(Ping, ping_id, populate_existing=True)


async def list_rejected(
    session: AsyncSession, workflow_id: str, *, limit: int, before: int | None = None
) -> list[Ping]:
    """The failed queue of a workflow, newest first; `before` is the last id of the page before."""
    query = select(Ping).where(Ping.workflow_id == workflow_id, Ping.outcome == Outcome.REJECTED)
    if before is not None:
        query = query.where(Ping.id < before)
    return list((await session.scalars(query.order_by(Ping.id.desc()).limit(limit))).all())


async def find_used_keys(
    session: AsyncSession, keys: Iterable[tuple[str, str | None]], since: datetime
) -> Mapping[tuple[str, str | None], IdempotencyKey]:
    """By account and key, those that were used since then."""
    query = select(IdempotencyKey).where(
        tuple_(IdempotencyKey.account_id, IdempotencyKey.key).in_(list(keys)), IdempotencyKey.created_at > since
    )
    return {(row.account_id, row.key): row for row in await session.scalars(query)}


def verdict_of(ping: Ping) -> Verdict | None:
    """The verdict as the journal keeps it; None while there is none, or for a ping that was withdrawn."""
    if ping.outcome not in (Outcome.ACCEPTED, Outcome.REJECTED):
        return None
    return Verdict(
        ping.id,
        accepted=ping.outcome == Outcome.ACCEPTED,
        instance_status=InstanceStatus(ping.answered_status or InstanceStatus.PENDING),
        code=ping.reason_code,
        message=ping.reason,
        expected=ping.expected_stage,
        budget=report_from_json(ping.budget),
    )


async def list_undelivered(
    session: AsyncSession, gateway_id: int, *, after: int, limit: int
) -> list[tuple[str, PingFact]]:
    """What a gateway left in the outbox behind the ping `after`, with its subject, in the order of delivery."""
    query = (
        select(OutboxRow.subject, *_FACT_COLUMNS)
        .join(Ping, Ping.id == OutboxRow.ping_id)
        .where(OutboxRow.gateway_id == gateway_id, OutboxRow.ping_id > after, OutboxRow.wants_verdict.is_(False))
        .order_by(OutboxRow.ping_id)
        .limit(limit)
    )
    return [(row[0], _fact(row[1:])) for row in await session.execute(query)]


async def withdraw_unanswered(session: AsyncSession, gateway_ids: Collection[int]) -> list[str]:
    """Takes back pings of dead gateways that wait for a verdict: their callers are gone and will send them again.

    Returns the instances that they were for: one that such a ping opened has never begun.
    """
    if not gateway_ids:
        return []
    withdrawn = await session.scalars(
        delete(OutboxRow)
        .where(OutboxRow.gateway_id.in_(gateway_ids), OutboxRow.wants_verdict)
        .returning(OutboxRow.ping_id)
    )
    ping_ids = list(withdrawn)
    if not ping_ids:
        return []
    await session.execute(delete(IdempotencyKey).where(IdempotencyKey.ping_id.in_(ping_ids)))
    instance_ids = await session.scalars(
        update(Ping).where(Ping.id.in_(ping_ids)).values(outcome=Outcome.WITHDRAWN).returning(Ping.instance_id)
    )
    return sorted({instance_id for instance_id in instance_ids if instance_id is not None})


def _fact(row: Sequence[Any]) -> PingFact:
    """A row of _FACT_COLUMNS."""
    id_, gateway, path, status, *rest = row
    return PingFact(id_, gateway, path, PingStatus(status), *rest)


async def newest_received_at(session: AsyncSession, instance_id: str) -> datetime | None:
    """When the latest accepted ping of an instance came."""
    query = select(Ping.received_at).where(Ping.instance_id == instance_id, Ping.outcome == Outcome.ACCEPTED)
    newest: datetime | None = await session.scalar(query.order_by(Ping.received_at.desc(), Ping.id.desc()).limit(1))
    return newest


async def depth_and_oldest(session: AsyncSession) -> tuple[int, datetime | None]:
    """How many pings wait in the outbox, and when the oldest of them came."""
    depth = await session.scalar(select(func.count()).select_from(OutboxRow)) or 0
    oldest = select(Ping.received_at).join(OutboxRow, OutboxRow.ping_id == Ping.id).order_by(Ping.id).limit(1)
    return depth, await session.scalar(oldest)


async def list_facts_after(session: AsyncSession, subject: str, after: Mapping[int, int]) -> list[PingFact]:
    """What the pings of a subject without stages say, by gateway those behind the ping `after`, in their order."""
    query = select(*_FACT_COLUMNS).where(Ping.subject == subject, Ping.workflow_id.is_(None))
    if after:
        # Numbers grow over all gateways: what is older than the latest ping of each is part of `after`, except what
        # a gateway that is not in it has kept meanwhile.
        known = [and_(Ping.gateway_id == gateway, Ping.id <= last) for gateway, last in after.items()]
        query = query.where(Ping.id > min(after.values()), ~or_(*known))
    rows = (await session.execute(query.order_by(Ping.id).limit(MAX_UNRECORDED))).all()
    return [_fact(row) for row in rows]


async def is_on_its_way(session: AsyncSession, subject: str, until: datetime, known: Mapping[int, int]) -> bool:
    """Whether a ping of the subject that was received by then has not come to its workflow, which has `known` ones."""
    query = (
        select(OutboxRow.gateway_id, OutboxRow.ping_id)
        .join(Ping, Ping.id == OutboxRow.ping_id)
        .where(OutboxRow.subject == subject, Ping.received_at <= until)
    )
    return any(ping_id > known.get(gateway, 0) for gateway, ping_id in await session.execute(query))
