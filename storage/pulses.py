"""Pulse targets: what must ping on a schedule, and how each stands."""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any, Final

from pydantic import TypeAdapter
from sqlalchemy import (
    ARRAY,
    BigInteger,
    ForeignKey,
    Index,
    Text,
    and_,
    cast,
    func,
    or_,
    select,
)
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from domain.ids import random_id
from domain.pulse_deadlines import expectation
from domain.pulses import PulseDefinition, PulseState, first_state
from storage.accounts import Account
from storage.base import Base

MAX_BEHIND: Final = 1_000


class Pulse(Base):
    """A target as its user defined it; deleted ones stay for the sake of their history, and their id stays taken.

    `revision` counts the changes: gateways keep what they know of a target by it, and its workflow reloads it when
    `PulseStanding.revision` lags behind.
    """

    __tablename__ = "pulses"

    id: Mapped[str] = mapped_column(primary_key=True)
    account_id: Mapped[str] = mapped_column(ForeignKey(Account.id))
    name: Mapped[str]
    slug: Mapped[str]
    tags: Mapped[list[str]] = mapped_column(JSONB)
    period_seconds: Mapped[float | None]
    cron: Mapped[str | None]
    timezone: Mapped[str]
    grace_seconds: Mapped[float]
    start_grace_seconds: Mapped[float | None]
    min_duration_seconds: Mapped[float | None]
    max_duration_seconds: Mapped[float | None]
    alert_after: Mapped[int]
    reminder_seconds: Mapped[float | None]
    notify_late: Mapped[bool]
    success_keywords: Mapped[list[str]] = mapped_column(JSONB)
    failure_keywords: Mapped[list[str]] = mapped_column(JSONB)
    ignore_keywords: Mapped[list[str]] = mapped_column(JSONB)
    maintenance: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    depends_on: Mapped[list[str]] = mapped_column(JSONB)
    paused_at: Mapped[datetime | None]
    awaited_since: Mapped[datetime | None]
    badge_token: Mapped[str] = mapped_column(unique=True)
    revision: Mapped[int]
    created_at: Mapped[datetime]
    updated_at: Mapped[datetime]
    deleted_at: Mapped[datetime | None]

    __table_args__ = (
        Index("uq_pulses_account_id_slug", "account_id", "slug", unique=True, postgresql_where="deleted_at IS NULL"),
        Index("ix_pulses_account_id_created_at", "account_id", "created_at", "id"),
    )


class PulseStanding(Base):
    """How a target stands, as its workflow last recorded it. Apart from the target, because every ping writes it.

    `state` is all that its workflow knows, `delivered` the last ping of each gateway that is part of it: a workflow
    that is lost begins with them. `version` counts what was recorded, so that a repeated activity writes nothing
    twice. `revision` is the target's that it is held to.
    """

    __tablename__ = "pulse_standings"

    pulse_id: Mapped[str] = mapped_column(ForeignKey(Pulse.id, ondelete="CASCADE"), primary_key=True)
    version: Mapped[int] = mapped_column(BigInteger)
    revision: Mapped[int]
    status: Mapped[str]
    since: Mapped[datetime | None]
    reason: Mapped[str | None]
    last_ping_at: Mapped[datetime | None]
    due_at: Mapped[datetime | None]
    failures: Mapped[int]
    state: Mapped[dict[str, Any]] = mapped_column(JSONB)
    delivered: Mapped[dict[str, int]] = mapped_column(JSONB)

    # A row that is written by every ping: room for its next version in the same page spares the index.
    __table_args__ = ({"postgresql_with": {"fillfactor": 50}},)


_STATE: Final = TypeAdapter(PulseState)
"""The same JSON as Temporal has it."""

_RULES: Final = TypeAdapter(PulseDefinition)

_FIELDS: Final = tuple(field.name for field in fields(PulseDefinition))


def definition_of(pulse: Pulse) -> PulseDefinition:
    return _RULES.validate_python({name: getattr(pulse, name) for name in _FIELDS})


def columns_of(definition: PulseDefinition) -> dict[str, Any]:
    """The definition as values of the table's columns."""
    columns: dict[str, Any] = _RULES.dump_python(definition, mode="json")
    return {**columns, "paused_at": definition.paused_at, "awaited_since": definition.awaited_since}


async def create_pulse(session: AsyncSession, definition: PulseDefinition, now: datetime) -> bool:
    """Keeps a new target; False if its slug, or its id, is taken. Chosen by us: its id if it is empty.

    One that is awaited gets a standing at once, held to no rules yet: so it counts as behind, and gateways tell its
    workflow to begin until that has recorded something.
    """
    values = {
        **columns_of(definition),
        "id": definition.id or random_id("pls_", 10),
        "badge_token": random_id("", 32),
        "revision": 1,
        "created_at": now,
        "updated_at": now,
    }
    created = await session.execute(insert(Pulse).values(values).on_conflict_do_nothing().returning(Pulse.id))
    pulse_id = created.scalar()
    if pulse_id is not None and definition.awaited_since is not None:
        state = first_state(definition)
        expected = expectation(definition, state)
        due_at = expected.due_at if expected is not None else None
        row = standing_row(pulse_id, version=0, revision=0, state=state, delivered={}, due_at=due_at)
        await session.execute(insert(PulseStanding).values(row))
    return pulse_id is not None


async def get_pulse(session: AsyncSession, pulse_id: str) -> Pulse | None:
    """The target, unless it was deleted."""
    pulse = await session.get(Pulse, pulse_id)
    return pulse if pulse is not None and pulse.deleted_at is None else None


async def get_standing(session: AsyncSession, pulse_id: str) -> PulseStanding | None:
    """None before its workflow has recorded anything, unless it is awaited."""
    return await session.get(PulseStanding, pulse_id)


def state_of(standing: PulseStanding | None) -> PulseState:
    return _STATE.validate_python(standing.state) if standing is not None else PulseState()


def delivered_of(standing: PulseStanding | None) -> dict[int, int]:
    """By gateway, the last ping that is part of the state."""
    return {int(gateway): last for gateway, last in standing.delivered.items()} if standing is not None else {}


def standing_row(
    pulse_id: str,
    *,
    version: int,
    revision: int,
    state: PulseState,
    delivered: Mapping[int, int],
    due_at: datetime | None,
) -> dict[str, Any]:
    """A standing as values of the table's columns."""
    return {
        "pulse_id": pulse_id,
        "version": version,
        "revision": revision,
        "status": state.status.value,
        "since": state.since,
        "reason": state.reason,
        "last_ping_at": state.last_ping_at,
        "due_at": due_at,
        "failures": state.failures,
        "state": _STATE.dump_python(state, mode="json"),
        "delivered": {str(gateway): last for gateway, last in delivered.items()},
    }


async def list_behind(session: AsyncSession, changed_before: datetime) -> list[str]:
    """The targets whose workflow still goes by older rules, though they were changed some time ago."""
    query = (
        select(Pulse.id)
        .join(PulseStanding, PulseStanding.pulse_id == Pulse.id)
        .where(PulseStanding.revision < Pulse.revision, Pulse.updated_at < changed_before, Pulse.deleted_at.is_(None))
        .limit(MAX_BEHIND)
    )
    return list(await session.scalars(query))


async def list_expected(session: AsyncSession) -> list[str]:
    """The targets that have been pinged or are awaited: those that a workflow follows."""
    query = select(Pulse.id).join(PulseStanding, PulseStanding.pulse_id == Pulse.id).where(Pulse.deleted_at.is_(None))
    return list(await session.scalars(query))


async def find_pulse(session: AsyncSession, account_id: str, name: str, *, lock: bool = False) -> Pulse | None:
    """By its id, or by its slug in the account; what is the account's own goes first. `lock` holds it until the
    transaction ends."""
    is_own = Pulse.account_id == account_id
    query = (
        select(Pulse)
        .where(or_(Pulse.id == name, and_(is_own, Pulse.slug == name)), Pulse.deleted_at.is_(None))
        .order_by(is_own.desc(), (Pulse.id == name).desc())
        .limit(1)
    )
    if lock:
        query = query.with_for_update(key_share=True).execution_options(populate_existing=True)
    pulse: Pulse | None = await session.scalar(query)
    return pulse


async def find_by_badge(session: AsyncSession, token: str) -> Pulse | None:
    pulse: Pulse | None = await session.scalar(
        select(Pulse).where(Pulse.badge_token == token, Pulse.deleted_at.is_(None))
    )
    return pulse


async def ids_by_name(session: AsyncSession, account_id: str, names: Collection[str]) -> dict[str, str]:
    """The ids of the account's pulses that are named by id or by slug."""
    query = select(Pulse.id, Pulse.slug).where(
        Pulse.account_id == account_id, or_(Pulse.id.in_(names), Pulse.slug.in_(names)), Pulse.deleted_at.is_(None)
    )
    rows = (await session.execute(query)).all()
    return {**{row.slug: row.id for row in rows}, **{row.id: row.id for row in rows}}


async def existing_ids(session: AsyncSession, pulse_ids: Collection[str]) -> set[str]:
    """Those that were not deleted."""
    if not pulse_ids:
        return set()
    return set(await session.scalars(select(Pulse.id).where(Pulse.id.in_(pulse_ids), Pulse.deleted_at.is_(None))))


async def lock_dependencies(session: AsyncSession, account_id: str) -> None:
    """Until the transaction ends nobody else changes what the account's pulses depend on: two changes at a time could
    close a circle that neither of them sees."""
    await session.execute(select(Account.id).where(Account.id == account_id).with_for_update(key_share=True))


async def depend_on(session: AsyncSession, pulse_ids: Iterable[str], target: str) -> bool:
    """Whether one of `pulse_ids` depends on `target`, or on one that does, and so on."""
    start = select(func.unnest(cast(list(pulse_ids), ARRAY(Text))).label("id"))
    above = start.cte("above", recursive=True)
    further = func.jsonb_array_elements_text(Pulse.depends_on)
    above = above.union(select(further).join(above, above.c.id == Pulse.id).where(Pulse.deleted_at.is_(None)))
    return (await session.scalar(select(above.c.id).where(above.c.id == target).limit(1))) is not None
