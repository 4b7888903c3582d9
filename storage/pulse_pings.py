"""Pings of pulses on their way into the journal: each finds its target, or brings it into being."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Final

from sqlalchemy import and_, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from domain.errors import DomainError, Forbidden, NotFound
from domain.pings import Event, Outcome, PingStatus, error_text
from domain.pulses import PulseDefinition, interpret
from domain.routing import PulseRequest
from domain.subjects import pulse_subject
from storage.pulses import Pulse, create_pulse, definition_of
from storage.rows import NewPing, Row, Target

WINDOW_SHARE: Final = 10
MAX_WINDOW_SECONDS: Final = 10.0
"""Pings of a healthy pulse travel together for a tenth of its period, and for no longer than this."""

STATUSES: Final = {Event.START: PingStatus.PENDING, Event.FAIL: PingStatus.FAILED}
"""What a ping of an event says of its subject; the others say that it is healthy."""


async def route_pulse_pings(
    session: AsyncSession, gateway_id: int, pings: Sequence[NewPing], now: datetime
) -> list[Row | DomainError]:
    """What becomes of each of `pings`, in order. Creates the targets that may be created."""
    targets = await _find(session, pings)
    created = {
        (ping.account_id, request.target): request.create
        for ping in pings
        if (request := pulse_request(ping)).create is not None and (ping.account_id, request.target) not in targets
    }
    for (account_id, slug), new in created.items():
        assert new is not None
        await create_pulse(
            session,
            PulseDefinition(
                id="",
                account_id=account_id,
                name=slug,
                slug=slug,
                period_seconds=new.period_seconds,
                grace_seconds=new.grace_seconds,
            ),
            now,
        )
    if created:
        targets = await _find(session, pings)
    return [_route(ping, targets) for ping in pings]


async def _find(session: AsyncSession, pings: Sequence[NewPing]) -> Mapping[tuple[str, str], Target | DomainError]:
    """By account and what the caller named, those that there are; the error for one that is not the caller's."""
    asked = {(ping.account_id, pulse_request(ping).target) for ping in pings}
    rows = await session.scalars(
        select(Pulse).where(
            or_(
                Pulse.id.in_({name for _, name in asked}),
                and_(tuple_(Pulse.account_id, Pulse.slug).in_(asked), Pulse.deleted_at.is_(None)),
            )
        )
    )
    by_id: dict[tuple[str, str], Pulse] = {}
    strangers: dict[str, Pulse] = {}
    by_slug: dict[tuple[str, str], Pulse] = {}
    for pulse in rows:
        by_id[pulse.account_id, pulse.id] = strangers[pulse.id] = pulse
        if pulse.deleted_at is None:
            by_slug[pulse.account_id, pulse.slug] = pulse
    # Their own first: a slug may look like the id of another account's pulse.
    found = {
        (account, name): row
        for account, name in asked
        if (row := by_id.get((account, name)) or by_slug.get((account, name)) or strangers.get(name)) is not None
    }
    return {(account, name): _usable(row, account) for (account, name), row in found.items()}


def _usable(row: Pulse, account_id: str) -> Target | DomainError:
    if row.account_id != account_id:
        return Forbidden(f"Pulse {row.id} belongs to another account.")
    if row.deleted_at is not None:
        return NotFound(f"Pulse {row.id} was deleted.")
    return Target(row.id, definition_of(row))


def _route(ping: NewPing, targets: Mapping[tuple[str, str], Target | DomainError]) -> Row | DomainError:
    name = pulse_request(ping).target
    target = targets.get((ping.account_id, name))
    if target is None:
        return NotFound(
            f"There is no pulse {name}. Create it with POST /api/pulses, or send create=1 with its first ping."
        )
    return pulse_row(ping, target) if isinstance(target, Target) else target


def pulse_row(ping: NewPing, target: Target) -> Row:
    """A ping of `target` as a row. Its keywords decide what a plain ping means."""
    request, fact = pulse_request(ping), ping.request.fact
    definition = target.definition
    if request.is_plain and (event := interpret(definition, request.body)) is not Event.SUCCESS:
        error = error_text(request.body) if event is Event.FAIL else None
        fact = replace(fact, path=event.value, status=STATUSES.get(event, PingStatus.HEALTHY), error=error)
    window = None
    if fact.path == Event.SUCCESS and definition.period_seconds is not None:
        window = min(definition.period_seconds / WINDOW_SHARE, MAX_WINDOW_SECONDS)
    return Row(
        ping,
        fact,
        Outcome.ACCEPTED,
        fact.path,
        pulse_subject(target.id),
        window_seconds=window,
        target=target,
    )


def pulse_request(ping: NewPing) -> PulseRequest:
    assert isinstance(ping.request, PulseRequest)
    return ping.request
