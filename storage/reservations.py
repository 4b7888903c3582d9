"""Money that an agent has set aside before it spends it."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from decimal import Decimal

from sqlalchemy import BigInteger, ColumnElement, Index, Numeric, func, or_, select, update
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from domain.budgets import ZERO, Budget
from domain.costs import day_of
from domain.errors import Conflict, NotFound
from domain.ids import random_id
from domain.instances import InstanceStatus
from domain.reservations import Room, refusal, room_in
from storage.base import Base
from storage.budgets import get_budget, read_days, read_spent
from storage.instances import Instance
from storage.pings import Ping
from storage.prices import account_zone


class Reservation(Base):
    """Held until it is settled, or expires. `settled_by` is the ping that told what became of it, if one did.

    `idempotency_key` is the caller's, so that a repeated request reserves once.
    """

    __tablename__ = "reservations"

    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str]
    workflow_id: Mapped[str]
    instance_id: Mapped[str]
    amount_usd: Mapped[Decimal] = mapped_column(Numeric)
    idempotency_key: Mapped[str | None]
    created_at: Mapped[datetime]
    expires_at: Mapped[datetime]
    settled_at: Mapped[datetime | None]
    settled_by: Mapped[int | None] = mapped_column(BigInteger)

    __table_args__ = (
        Index("ix_reservations_instance_id", "instance_id"),
        Index("ix_reservations_held", "workflow_id", "expires_at", postgresql_where="settled_at IS NULL"),
        Index(
            "uq_reservations_instance_id_idempotency_key",
            "instance_id",
            "idempotency_key",
            unique=True,
            postgresql_where="idempotency_key IS NOT NULL",
        ),
    )


@dataclass(frozen=True)
class Reserved:
    """A reservation, and what there is left besides all that is held. `is_expired`: nobody settled it in time."""

    reservation: Reservation
    room: Room
    is_expired: bool = False


async def reserve(
    session: AsyncSession, instance: Instance, amount_usd: Decimal, ttl: timedelta, key: str | None, now: datetime
) -> Reserved:
    """Sets money aside, or answers what it did for the same `key` before.

    Raises BudgetExhausted if it is more than is left, Conflict for a key that was used for another amount, and what the
    instance's pings would be refused with.
    """
    budget = await _lock_budget(session, instance)
    room = await _read_room(session, budget, instance, now)
    if key is not None and (found := await _find(session, instance.id, key)) is not None:
        return _again(found, amount_usd, room, now)
    status = InstanceStatus(instance.status)
    refused = refusal(instance.workflow_id, instance.id, status, instance.closes_at, instance.failure_reason, now)
    if refused is not None:
        raise refused
    room.check(amount_usd)
    made = insert(Reservation).values(
        id=random_id("rsv_", 12),
        account_id=instance.account_id,
        workflow_id=instance.workflow_id,
        instance_id=instance.id,
        amount_usd=amount_usd,
        idempotency_key=key,
        created_at=now,
        expires_at=now + ttl,
    )
    # Without a budget there is no lock, and another request may use the same key at the same moment.
    reservation = await session.scalar(made.on_conflict_do_nothing().returning(Reservation))
    if reservation is not None:
        return Reserved(reservation, room.without(amount_usd))
    assert key is not None
    found = await _find(session, instance.id, key)
    assert found is not None
    return _again(found, amount_usd, room, now)


async def settle(session: AsyncSession, instance: Instance, reservation_id: str, now: datetime) -> Reserved:
    """Gives back what is held; a second time changes nothing. Raises NotFound."""
    budget = await _lock_budget(session, instance)
    reservation = await session.get(Reservation, reservation_id, with_for_update=True)
    if reservation is None or reservation.instance_id != instance.id:
        raise NotFound(f"Instance {instance.id} has no reservation {reservation_id}.")
    if reservation.settled_at is None:
        reservation.settled_at = now
        await session.flush()
    room = await _read_room(session, budget, instance, now)
    return Reserved(reservation, room, is_expired=reservation.expires_at <= reservation.settled_at)


def _again(reservation: Reservation, amount_usd: Decimal, room: Room, now: datetime) -> Reserved:
    if reservation.amount_usd != amount_usd:
        raise Conflict("This idempotency key was used for another amount; send a new one.")
    return Reserved(reservation, room, is_expired=reservation.expires_at <= (reservation.settled_at or now))


async def _find(session: AsyncSession, instance_id: str, key: str) -> Reservation | None:
    query = select(Reservation).where(Reservation.instance_id == instance_id, Reservation.idempotency_key == key)
    found: Reservation | None = await session.scalar(query)
    return found


async def _lock_budget(session: AsyncSession, instance: Instance) -> Budget | None:
    """The budget that the instance spends of, if there is one: until the transaction ends, nobody else does."""
    row = await get_budget(session, instance.workflow_id, lock=True)
    # Read behind the lock: whoever had it before may have paused the instance.
    await session.refresh(instance)
    return row.budget() if row is not None and row.enabled else None


async def _read_room(session: AsyncSession, budget: Budget | None, instance: Instance, now: datetime) -> Room:
    if budget is None:
        return Room()
    today = day_of(now, await account_zone(session, instance.account_id))
    held = dict(await read_held(session, instance.workflow_id, now))
    return room_in(
        budget,
        instance.budget_limit_usd,
        spent_usd=await read_spent(session, instance.id),
        today_usd=(await read_days(session, instance.workflow_id, [today])).get(today, ZERO),
        held_usd=held.pop(instance.id, ZERO),
        held_by_others_usd=held.values(),
    )


async def read_held(session: AsyncSession, workflow_id: str, now: datetime) -> Mapping[str, Decimal]:
    """What is set aside of a workflow's budget, by instance."""
    query = select(Reservation.instance_id, func.sum(Reservation.amount_usd)).where(*_held(workflow_id, now))
    return {row[0]: row[1] for row in await session.execute(query.group_by(Reservation.instance_id))}


def _held(workflow_id: str, now: datetime) -> tuple[ColumnElement[bool], ...]:
    """An instance that is over for good holds nothing: no ping of it can spend or settle it any more."""
    can_spend = select(Instance.id).where(
        Instance.id == Reservation.instance_id,
        Instance.status != InstanceStatus.TERMINATED,
        or_(Instance.closes_at.is_(None), Instance.closes_at >= now),
    )
    return (
        Reservation.workflow_id == workflow_id,
        Reservation.settled_at.is_(None),
        Reservation.expires_at > now,
        can_spend.exists(),
    )


async def sum_held(
    session: AsyncSession, workflow_id: str, now: datetime, *, instance_id: str | None = None
) -> Decimal:
    """What is set aside of a workflow's budget by all its instances, or by one of them."""
    query = select(func.coalesce(func.sum(Reservation.amount_usd), 0)).where(*_held(workflow_id, now))
    if instance_id is not None:
        query = query.where(Reservation.instance_id == instance_id)
    return Decimal(await session.scalar(query) or 0)


async def settle_by_pings(session: AsyncSession, instance_id: str, ping_ids: Collection[int], now: datetime) -> None:
    """Settles the reservations that accepted pings of an instance name."""
    await session.execute(
        update(Reservation)
        .where(
            Reservation.id == Ping.reservation_id,
            Ping.id.in_(ping_ids),
            Reservation.instance_id == instance_id,
            Reservation.settled_at.is_(None),
        )
        .values(settled_at=now, settled_by=Ping.id)
    )
