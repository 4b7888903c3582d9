"""Gateway processes: who journaled what, who is alive, and when nobody was."""

from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import BigInteger, ForeignKey, Identity, Index, func, or_, select, update
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from domain.instances import Outage
from storage.base import Base
from storage.outbox import OutboxRow

BEAT_SECONDS: Final = 1.0
"""How often a gateway says that it is alive."""

TOLERANCE: Final = timedelta(seconds=3 * BEAT_SECONDS)
"""A beat may be late by this much on a busy machine: shorter gaps are no outage."""

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


class Life(Base):
    """A time without a gap in which a gateway could take pings. One that slept, or lost Postgres, begins another."""

    __tablename__ = "lives"

    id: Mapped[int] = mapped_column(BigInteger, Identity(always=True), primary_key=True)
    gateway_id: Mapped[int] = mapped_column(ForeignKey(Gateway.id))
    began_at: Mapped[datetime]
    seen_at: Mapped[datetime]

    __table_args__ = (Index("ix_lives_gateway_id", "gateway_id", "id"), Index("ix_lives_seen_at", "seen_at"))


async def register_gateway(session: AsyncSession, *, host: str, process_id: int, now: datetime) -> int:
    gateway = Gateway(host=host, process_id=process_id, started_at=now, seen_at=now)
    session.add(gateway)
    await session.flush()
    session.add(Life(gateway_id=gateway.id, began_at=now, seen_at=now))
    return gateway.id


async def beat(session: AsyncSession, gateway_id: int, now: datetime) -> None:
    """Says that a gateway lives. After a gap it begins a new life, so that the gap is not forgotten."""
    await session.execute(update(Gateway).where(Gateway.id == gateway_id).values(seen_at=now))
    latest = select(func.max(Life.id)).where(Life.gateway_id == gateway_id).scalar_subquery()
    went_on = await session.execute(
        update(Life).where(Life.id == latest, Life.seen_at >= now - TOLERANCE).values(seen_at=now).returning(Life.id)
    )
    if went_on.first() is None:
        session.add(Life(gateway_id=gateway_id, began_at=now, seen_at=now))


async def retire_gateway(session: AsyncSession, gateway_id: int, now: datetime) -> None:
    """Says that a gateway stopped in good order, so that others need not wait to adopt what it left."""
    await beat(session, gateway_id, now)
    await session.execute(update(Gateway).where(Gateway.id == gateway_id).values(stopped_at=now))


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
    """The times between `since` and `until` in which no gateway lived, in order."""
    query = (
        select(Life.began_at, Life.seen_at).where(Life.seen_at >= since, Life.began_at <= until).order_by(Life.began_at)
    )
    outages: list[Outage] = []
    alive_until = since
    for began_at, seen_at in (await session.execute(query)).all():
        if began_at > alive_until + TOLERANCE:
            outages.append(Outage(alive_until, began_at))
        alive_until = max(alive_until, seen_at)
    if until > alive_until + TOLERANCE:
        outages.append(Outage(alive_until, until))
    return tuple(outages)
