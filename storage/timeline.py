"""The steps of an instance as the journal has them, and what happened between them."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from sqlalchemy import ColumnElement, Select, Text, and_, cast, func, not_, or_, select
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import InstrumentedAttribute, load_only

from domain.instances import StageStatus, Stamp
from domain.pings import Outcome, PingStatus
from domain.subjects import instance_subject
from domain.timeline import SHOWN, STEP_STATUS, Step
from storage.alerts import AlertRow
from storage.approvals import Approval
from storage.instances import Instance
from storage.pings import Ping
from storage.transitions import TransitionRow

CLOCKS_APART: Final = timedelta(minutes=1)
"""An alert is written after what it tells of happened; by clocks of two machines, nearly."""

MAX_HAPPENINGS: Final = 5_000
"""Of one kind, between the steps of one page. All of 2,000 stages may be missed at once."""

_OF_APPROVALS: Final = (
    Approval.title,
    Approval.context,
    Approval.stage_path,
    Approval.status,
    Approval.created_at,
    Approval.decided_at,
    Approval.decided_by,
)

Entity = TypeVar("Entity")

# JSON as it was sent, whatever its numbers; what was sent as text becomes a JSON string.
_PAYLOAD: Final = func.coalesce(cast(Ping.payload, Text), cast(func.to_json(Ping.text), Text))

_COLUMNS: Final = (
    Ping.path,
    Ping.status,
    Ping.received_at.label("at"),
    Ping.name,
    Ping.agent,
    Ping.error,
    Ping.duration_ms,
    Ping.model_id,
    Ping.input_tokens,
    Ping.output_tokens,
    Ping.cost_usd,
    Ping.size_bytes,
    Ping.handoff_reason,
    _PAYLOAD.label("payload"),
    cast(Ping.usage, Text).label("usage"),
    cast(Ping.tool_calls, Text).label("tool_calls"),
    (Ping.outcome == Outcome.ACCEPTED).label("accepted"),
    Ping.reason_code,
    Ping.reason,
    Ping.expected_stage,
    Ping.inherited,
)
"""By the names of the fields of Step."""


@dataclass(frozen=True)
class StepPage:
    """Some of the `total` steps of an instance. `until` is when the step after them was; None if they are the last."""

    steps: list[Step]
    total: int
    until: datetime | None = None


@dataclass(frozen=True)
class Happenings:
    """What happened to an instance, each in its own order. Approvals are all that name the instance, whenever."""

    transitions: list[TransitionRow]
    alerts: list[AlertRow]
    approvals: list[Approval]


async def read_steps(session: AsyncSession, instance_id: str, *, start: int = 0, limit: int) -> StepPage:
    """The steps from the number `start` on, `limit` at most.

    All steps are counted and all costs before are added up, each time: of an instance of 10,000 steps that takes some
    20 ms, whatever its payloads.
    """
    order = (Ping.received_at, Ping.id)
    numbered = (
        select(
            Ping.id,
            (func.row_number().over(order_by=order) - 1).label("number"),
            func.sum(Ping.cost_usd)
            .filter(Ping.outcome == Outcome.ACCEPTED)
            .over(order_by=order, rows=(None, 0))
            .label("cumulative_cost_usd"),
            func.count().over().label("total"),
        )
        .where(*_steps_of(instance_id))
        .cte("numbered")
    )
    query = (
        select(numbered.c.total, numbered.c.number, numbered.c.cumulative_cost_usd, *_COLUMNS)
        .join(Ping, Ping.id == numbered.c.id)
        .where(numbered.c.number.between(start, start + limit))
        .order_by(numbered.c.number)
    )
    rows = (await session.execute(query)).all()
    if not rows:
        return StepPage([], await count_steps(session, instance_id))
    steps = [_step(**row._mapping) for row in rows]
    return StepPage(steps[:limit], rows[0].total, steps[limit].at if len(steps) > limit else None)


def _step(*, total: int, status: str, **fields: Any) -> Step:
    return Step(status=STEP_STATUS[PingStatus(status)], **fields)


async def count_steps(session: AsyncSession, instance_id: str) -> int:
    return await session.scalar(select(func.count()).select_from(Ping).where(*_steps_of(instance_id))) or 0


async def find_step(session: AsyncSession, instance_id: str, number: int) -> Stamp | None:
    """Which ping is that step; None if there are fewer."""
    query = select(Ping.received_at, Ping.id).where(*_steps_of(instance_id)).order_by(Ping.received_at, Ping.id)
    row = (await session.execute(query.offset(number).limit(1))).one_or_none()
    return Stamp(row[0], row[1]) if row is not None else None


def _steps_of(instance_id: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    return Ping.instance_id == instance_id, Ping.outcome.in_(SHOWN)


async def list_happenings(
    session: AsyncSession, instance: Instance, since: datetime | None, until: datetime | None
) -> Happenings:
    """What happened from `since` on and before `until`; None is any time.

    Without what the steps themselves say already: that a stage came, or was announced.
    """
    subject = instance_subject(instance.workflow_id, instance.id)
    is_said_by_a_step = and_(
        TransitionRow.path.is_not(None),
        or_(TransitionRow.before.is_(None), TransitionRow.before == StageStatus.PENDING),
        TransitionRow.after.in_((StageStatus.HEALTHY, StageStatus.PENDING)),
    )
    transitions = select(TransitionRow).where(TransitionRow.subject == subject, not_(is_said_by_a_step))
    alerts = select(AlertRow).where(
        AlertRow.account_id == instance.account_id,
        AlertRow.subject == subject,
        AlertRow.created_at > (since or instance.opened_at) - CLOCKS_APART,
    )
    approvals = (
        select(Approval)
        .where(Approval.account_id == instance.account_id, Approval.instance_id == instance.id)
        .options(load_only(*_OF_APPROVALS, raiseload=True))
    )
    return Happenings(
        await _list(session, _within(transitions, TransitionRow.at, since, until).order_by(TransitionRow.id)),
        await _list(session, _within(alerts, AlertRow.at, since, until).order_by(AlertRow.at, AlertRow.id)),
        await _list(session, approvals.order_by(Approval.created_at, Approval.id)),
    )


def _within(
    query: Select[Entity], at: InstrumentedAttribute[datetime], since: datetime | None, until: datetime | None
) -> Select[Entity]:
    if since is not None:
        query = query.where(at >= since)
    return query if until is None else query.where(at < until)


async def _list(session: AsyncSession, query: Select[Entity]) -> list[Entity]:
    return list((await session.scalars(query.limit(MAX_HAPPENINGS))).all())
