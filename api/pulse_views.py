"""Pulses as the API shows them: as recorded, with what came since folded in."""

from collections.abc import Collection, Sequence
from dataclasses import asdict
from datetime import datetime, timedelta
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncSession

from api.views import in_utc
from config.clock import utc_now
from domain.pings import Event, PingStatus
from domain.pulse_rules import advance, expectation, redefine
from domain.pulses import PulseDefinition, PulseState, PulseStatus, first_state
from domain.subjects import pulse_source
from domain.transitions import Transition
from domain.uptime import uptime
from storage.channels import attached
from storage.pings import Ping
from storage.pulse_reads import (
    MAX_TRANSITIONS,
    Recorded,
    StatusChange,
    list_recorded,
    run_seconds,
    transitions_since,
)
from storage.pulses import Pulse, definition_of, existing_ids, state_of


class WindowView(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    starts_at: Annotated[datetime, AfterValidator(in_utc)] | None
    ends_at: Annotated[datetime, AfterValidator(in_utc)] | None
    cron: str | None
    timezone: str
    duration_seconds: float | None


class OpenRun(BaseModel):
    rid: str | None
    started_at: datetime


class PulseView(BaseModel):
    id: str
    name: str
    slug: str
    tags: list[str]
    period_seconds: float | None
    cron: str | None
    timezone: str
    grace_seconds: float
    start_grace_seconds: float | None
    min_duration_seconds: float | None
    max_duration_seconds: float | None
    alert_after: int
    reminder_seconds: float | None
    notify_late: bool
    success_keywords: list[str]
    failure_keywords: list[str]
    ignore_keywords: list[str]
    maintenance: list[WindowView]
    depends_on: list[str]
    channels: list[str]
    status: PulseStatus
    status_since: datetime
    reason: str | None = Field(description="Why it has this status, if there is something wrong.")
    last_ping_at: datetime | None
    next_due_at: datetime | None = Field(description="When the next ping is expected; null while none is.")
    consecutive_failures: int = Field(description="Misses and failures since the last success.")
    last_duration_seconds: float | None
    running: list[OpenRun] = Field(description="Runs that have started and not ended.")
    created_at: datetime
    updated_at: datetime
    ping_url: str = Field(description="Where to ping it, without the key; /start, /fail or /log may follow.")
    badge_url: str = Field(description="For everybody who knows this address.")
    badge_json_url: str


class PulseList(BaseModel):
    pulses: list[PulseView]
    next_cursor: str | None


class PulsePing(BaseModel):
    id: str
    event: Event
    received_at: datetime
    status: PingStatus
    agent: str | None
    error: str | None
    rid: str | None
    duration_seconds: float | None = Field(
        description="How long the run took that it ended: since the start or, without one, by the caller's account."
    )
    payload: Any = Field(description="The JSON that came with it.")
    text: str | None = Field(description="The body, if it was no JSON object.")
    size_bytes: int


class PulseEvent(BaseModel):
    id: str
    from_status: str | None
    to_status: str
    at: datetime
    reason: str | None
    duration_seconds: float | None = Field(description="How long it stayed like that; null if it still does.")
    previous_seconds: float | None = Field(description="How long it had been in `from_status`.")


class DowntimeView(BaseModel):
    start: datetime
    end: datetime | None = Field(description="Null if it still lasts.")
    seconds: float
    reason: str | None


class UptimeView(BaseModel):
    days: int
    since: Annotated[datetime, Field(description="Later than `days` ago if there are too many changes to look at all.")]
    until: datetime
    share: float | None = Field(description="Of the time in which it was up, late or down; null if there was none.")
    up_seconds: float
    down_seconds: float
    downtimes: list[DowntimeView]


async def current_states(session: AsyncSession, pulses: Collection[Pulse]) -> dict[str, PulseState]:
    """By id. Callers read their own writes: pings and rules that a workflow has not recorded yet are folded in."""
    recorded = await list_recorded(session, [pulse.id for pulse in pulses])
    return {
        pulse.id: _fold(definition_of(pulse), recorded.get(pulse.id, Recorded()), pulse.updated_at) for pulse in pulses
    }


def _fold(definition: PulseDefinition, recorded: Recorded, changed_at: datetime) -> PulseState:
    """Without the deadlines since the latest ping: only its workflow knows whether there was silence."""
    standing = recorded.standing
    state = state_of(standing) if standing is not None else first_state(definition)
    if standing is not None and standing.revision < definition.revision:
        before = [ping for ping in recorded.unrecorded if ping.at <= changed_at]
        state = redefine(definition, advance(definition, state, before).state, changed_at).state
        return advance(definition, state, [ping for ping in recorded.unrecorded if ping.at > changed_at]).state
    return advance(definition, state, recorded.unrecorded).state


async def pulse_views(session: AsyncSession, pulses: Sequence[Pulse], base_url: str) -> list[PulseView]:
    """In the order of `pulses`."""
    states = await current_states(session, pulses)
    channels = await attached(session, [pulse_source(pulse.id) for pulse in pulses])
    parents = await existing_ids(session, {id_ for pulse in pulses for id_ in pulse.depends_on})
    return [_view(pulse, states[pulse.id], channels[pulse_source(pulse.id)], parents, base_url) for pulse in pulses]


def _view(pulse: Pulse, state: PulseState, channels: list[str], parents: Collection[str], base_url: str) -> PulseView:
    definition = definition_of(pulse)
    expected = expectation(definition, state)
    badge_url = f"{base_url}/badge/{pulse.badge_token}"
    rules = asdict(definition)
    return PulseView(
        **{name: rules[name] for name in PulseView.model_fields.keys() & rules.keys() - {"depends_on", "maintenance"}},
        depends_on=[id_ for id_ in definition.depends_on if id_ in parents],
        maintenance=[WindowView.model_validate(window) for window in definition.maintenance],
        channels=channels,
        status=state.status,
        status_since=in_utc(state.since or pulse.created_at),
        reason=state.reason,
        last_ping_at=_in_utc(state.last_ping_at),
        next_due_at=_in_utc(expected.due_at) if expected is not None else None,
        consecutive_failures=state.failures,
        last_duration_seconds=_seconds(state.last_duration_ms),
        running=[
            OpenRun(rid=rid or None, started_at=in_utc(at))
            for rid, at in sorted(state.runs.items(), key=lambda run: (run[1], run[0]))
        ],
        created_at=in_utc(pulse.created_at),
        updated_at=in_utc(pulse.updated_at),
        ping_url=f"{base_url}/hbk/{pulse.id}",
        badge_url=f"{badge_url}.svg",
        badge_json_url=f"{badge_url}.json",
    )


async def ping_views(session: AsyncSession, pings: Sequence[Ping]) -> list[PulsePing]:
    """In the order of `pings`."""
    seconds = await run_seconds(session, [ping.id for ping in pings])
    return [
        PulsePing(
            id=str(ping.id),
            event=Event(ping.path),
            received_at=in_utc(ping.received_at),
            status=PingStatus(ping.status),
            agent=ping.agent,
            error=ping.error,
            rid=ping.run_id,
            duration_seconds=seconds.get(ping.id, _seconds(ping.duration_ms)),
            payload=ping.payload,
            text=ping.text,
            size_bytes=ping.size_bytes,
        )
        for ping in pings
    ]


def event_view(change: StatusChange) -> PulseEvent:
    row = change.row
    return PulseEvent(
        id=str(row.id),
        from_status=row.before,
        to_status=row.after,
        at=in_utc(row.at),
        reason=row.reason,
        duration_seconds=(change.after_at - row.at).total_seconds() if change.after_at is not None else None,
        previous_seconds=(row.at - change.before_at).total_seconds() if change.before_at is not None else None,
    )


async def uptime_view(session: AsyncSession, subject: str, days: int) -> UptimeView:
    until = utc_now()
    since = until - timedelta(days=days)
    rows = await transitions_since(session, subject, since)
    if len(rows) == MAX_TRANSITIONS:
        since = max(since, rows[0].at)
    status_at_since = next((row.after for row in reversed(rows) if row.at <= since), None)
    transitions = [Transition(None, row.before, row.after, row.at, row.reason) for row in rows]
    found = uptime(transitions, since, until, status_at_since)
    return UptimeView(
        days=days,
        since=in_utc(since),
        until=in_utc(until),
        share=found.share,
        up_seconds=found.up_seconds,
        down_seconds=found.down_seconds,
        downtimes=[
            DowntimeView(
                start=in_utc(item.start),
                end=_in_utc(item.end),
                seconds=((item.end or until) - item.start).total_seconds(),
                reason=item.reason,
            )
            for item in found.downtimes
        ],
    )


def _in_utc(at: datetime | None) -> datetime | None:
    return in_utc(at) if at is not None else None


def _seconds(milliseconds: int | None) -> float | None:
    return milliseconds / 1000 if milliseconds is not None else None
