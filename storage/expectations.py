"""Workflows whose reports are expected in intervals: each owns a pulse, and every report is a ping of it.

So silence is noticed, told, put off by maintenance and shown as that of any pulse.
"""

from collections.abc import Collection
from dataclasses import dataclass, replace
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import random_id
from domain.pulse_alerts import deleted_alert
from domain.pulses import DEFAULT_GRACE_SECONDS, MAX_NAME, PulseDefinition, PulseStatus, validate
from domain.subjects import pulse_source
from storage.alerts import raise_alerts
from storage.channels import attach
from storage.pulses import Pulse, columns_of, create_pulse, definition_of, find_pulse, get_standing, state_of
from storage.slugs import slug_is_taken
from storage.workflows import Workflow


@dataclass(frozen=True)
class Interval:
    """At most so long between two reports."""

    seconds: float
    grace_seconds: float = DEFAULT_GRACE_SECONDS


@dataclass(frozen=True)
class Expected:
    """What is expected of a workflow, and by which pulse. `seconds` is None if that goes by a cron."""

    pulse_id: str
    seconds: float | None
    grace_seconds: float


async def expect(session: AsyncSession, workflow: Workflow, interval: Interval | None, now: datetime) -> str | None:
    """From now on a report is expected, and another after each; or none is any more. A workflow that is already there
    keeps its pulse, so that nothing is forgotten of it.

    Returns the pulse that was changed by that, made or deleted: its Temporal workflow is to be told. Raises
    InvalidRequest for an interval that no pulse can have.
    """
    pulse = await expected_by(session, workflow, lock=True)
    if interval is None:
        if pulse is not None:
            await delete_pulse(session, pulse, now)
        workflow.pulse_id = None
        return pulse.id if pulse is not None else None
    if pulse is not None:
        rules = definition_of(pulse)
        rules = replace(rules, period_seconds=interval.seconds, cron=None, grace_seconds=interval.grace_seconds)
        _hold_to(pulse, rules, now)
        return pulse.id
    pulse_id = random_id("pls_", 10)
    slug = workflow.slug
    if await slug_is_taken(session, Pulse, workflow.account_id, slug):
        slug = random_id(f"{slug[:100]}-", 6)
    rules = PulseDefinition(
        id=pulse_id,
        account_id=workflow.account_id,
        name=(workflow.name or workflow.slug)[:MAX_NAME],
        slug=slug,
        tags=tuple(workflow.tags),
        period_seconds=interval.seconds,
        grace_seconds=interval.grace_seconds,
        awaited_since=now,
    )
    validate(rules)
    if not await create_pulse(session, rules, now):
        await create_pulse(session, replace(rules, slug=random_id(f"{slug[:100]}-", 6)), now)
    workflow.pulse_id = pulse_id
    return pulse_id


async def follow(session: AsyncSession, workflow: Workflow, channels: list[str] | None, now: datetime) -> str | None:
    """Names the workflow's pulse as the workflow, and has its silence told where its failures are, if `channels` are
    given. Returns the pulse if its Temporal workflow is to be told of that."""
    pulse = await expected_by(session, workflow, lock=True)
    if pulse is None:
        return None
    rules = definition_of(pulse)
    renamed = replace(rules, name=(workflow.name or workflow.slug)[:MAX_NAME], tags=tuple(workflow.tags))
    if renamed != rules:
        _hold_to(pulse, renamed, now)
    if channels is not None:
        await attach(session, pulse.account_id, pulse_source(pulse.id), channels)
    return pulse.id if renamed != rules else None


async def expected_of(session: AsyncSession, workflow_ids: Collection[str]) -> dict[str, Expected]:
    """By workflow, of those whose reports are expected."""
    query = (
        select(Workflow.id, Pulse.id, Pulse.period_seconds, Pulse.grace_seconds)
        .join(Pulse, Pulse.id == Workflow.pulse_id)
        .where(Workflow.id.in_(workflow_ids), Pulse.deleted_at.is_(None))
    )
    rows = await session.execute(query)
    return {row[0]: Expected(row[1], row[2], row[3]) for row in rows}


async def expected_by(session: AsyncSession, workflow: Workflow, *, lock: bool = False) -> Pulse | None:
    """The pulse that the workflow's reports are pings of, unless it was deleted."""
    if workflow.pulse_id is None:
        return None
    return await find_pulse(session, workflow.account_id, workflow.pulse_id, lock=lock)


async def delete_pulse(session: AsyncSession, pulse: Pulse, now: datetime) -> None:
    """Whoever was told that it is down is told of the end of that. The caller holds its row."""
    pulse.deleted_at = pulse.updated_at = now
    pulse.revision += 1
    standing = await get_standing(session, pulse.id)
    if standing is not None and standing.status == PulseStatus.DOWN:
        await raise_alerts(session, [deleted_alert(definition_of(pulse), state_of(standing), now)], now)
    await attach(session, pulse.account_id, pulse_source(pulse.id), [])


def _hold_to(pulse: Pulse, rules: PulseDefinition, now: datetime) -> None:
    validate(rules)
    for name, value in columns_of(rules).items():
        setattr(pulse, name, value)
    pulse.revision += 1
    pulse.updated_at = now
