"""Gateway processes: who journaled what, who is alive, and when nobody was."""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import BigInteger, Identity, Index, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from domain.instances import Outage
from storage.base import Base
from storage.outbox import OutboxRow

BEAT_SECONDS: Final = 1.0
"""How often a gateway says that it is alive."""

DEAD_AFTER_SECONDS: Final = 10.0
"""After this much silence other gateways deliver what a gateway left behind. Harmless if it lives after all:
both deliver the same pings in the same order, and the workflow drops what it has seen."""


class Gateway(Base):
    """One life of one gateway process."""

    __tablename__ = "gateways"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    host: Mapped[str]
    process_id: Mapped[int]
    started_at: Mapped[datetime]
    seen_at: Mapped[datetime]
    stopped_at: Mapped[datetime | None]
    adopted_by: Mapped[int | None] = mapped_column(BigInteger)

    __table_args__ = (Index("ix_gateways_seen_at", "seen_at"),)


async def register_gateway(session: AsyncSession, *, host: str, process_id: int, now: datetime) -> int:
    gateway = Gateway(host=host, process_id=process_id, started_at=now, seen_at=now)
    session.add(gateway)
    await session.flush()
    return gateway.id


async def beat(session: AsyncSession, gateway_id: int, now: datetime) -> None:
    await session.execute(update(Gateway).where(Gateway.id == gateway_id).values(seen_at=now))


async def retire_gateway(session: AsyncSession, gateway_id: int, now: datetime) -> None:
    """Says that a gateway stopped in good order, so that others need not wait to adopt what it left."""
    await session.execute(update(Gateway).where(Gateway.id == gateway_id).values(seen_at=now, stopped_at=now))


async def adopt_dead_gateways(session: AsyncSession, gateway_id: int, now: datetime) -> list[int]:
    """Makes `gateway_id` responsible for gateways that died or stopped and left pings in the outbox.

    Returns all it is responsible for, also from earlier calls: a gateway that was only slow may leave more.
    """
    dead_before = now - timedelta(seconds=DEAD_AFTER_SECONDS)
    is_dead = or_(Gateway.stopped_at.is_not(None), Gateway.seen_at < dead_before)
    others = select(Gateway.id).where(
        Gateway.stopped_at.is_(None), Gateway.seen_at >= dead_before, Gateway.id != gateway_id
    )
    is_free = or_(Gateway.adopted_by.is_(None), Gateway.adopted_by.not_in(others))
    left_pings = select(OutboxRow.ping_id).where(OutboxRow.gateway_id == Gateway.id).exists()
    dead = select(Gateway.id).where(is_dead, is_free, left_pings, Gateway.id != gateway_id)
    ids = list((await session.scalars(dead.with_for_update(skip_locked=True))).all())
    if ids:
        await session.execute(update(Gateway).where(Gateway.id.in_(ids)).values(adopted_by=gateway_id))
    return ids


async def list_outages(session: AsyncSession, since: datetime, until: datetime) -> tuple[Outage, ...]:
    """The times between `since` and `until` in which no gateway lived, in order.

    A beat may be late by a few seconds on a busy machine: shorter gaps are no outage.
    """
    query = (
        select(Gateway.started_at, Gateway.seen_at)
        .where(Gateway.seen_at >= since, Gateway.started_at <= until)
        .order_by(Gateway.started_at)
    )
    outages: list[Outage] = []
    alive_until = since
    tolerance = timedelta(seconds=3 * BEAT_SECONDS)
    for started_at, seen_at in (await session.execute(query)).all():
        if started_at > alive_until + tolerance:
            outages.append(Outage(alive_until, started_at))
        alive_until = max(alive_until, seen_at)
    if until > alive_until + tolerance:
        outages.append(Outage(alive_until, until))
    return tuple(outages)
