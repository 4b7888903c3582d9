"""What became of a pulse: its pings, its changes of status, how much of the time it was up."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import AfterValidator, BaseModel

from api.deps import PrincipalDep, SnapshotDep, Text
from api.openapi import JSON_API_ERRORS, problems
from api.pages import Cursor, Limit, decode_number, encode_cursor
from api.pulse_views import PulseEvent, PulsePing, UptimeView, event_view, ping_views, uptime_view
from api.routes.pulses import owned_pulse
from domain.errors import NotFound
from domain.pings import Event
from domain.subjects import pulse_subject
from storage.pulse_reads import list_changes, list_pulse_pings

router = APIRouter(prefix="/api/pulses/{pulse_id}", tags=["pulses"])

MAX_DAYS = 366

_MISSING = problems(*JSON_API_ERRORS, NotFound("There is no pulse nightly-backup."))


def _with_zone(moment: datetime) -> datetime:
    if moment.tzinfo is None:
        raise ValueError('needs its offset from UTC, as in "2026-01-31T22:00:00Z"')
    return moment


Moment = Annotated[datetime, AfterValidator(_with_zone)]


class PulsePings(BaseModel):
    pings: list[PulsePing]
    next_cursor: str | None


class PulseEvents(BaseModel):
    events: list[PulseEvent]
    next_cursor: str | None


@router.get("/pings", responses=_MISSING)
async def read_pings(
    pulse_id: Text,
    session: SnapshotDep,
    principal: PrincipalDep,
    limit: Limit = 50,
    cursor: Cursor = None,
    event: Annotated[Event | None, Query(description="Only these.")] = None,
) -> PulsePings:
    """The pings of a pulse, the newest first."""
    pulse = await owned_pulse(session, principal, pulse_id)
    rows = await list_pulse_pings(
        session, pulse_subject(pulse.id), limit=limit + 1, before=decode_number(cursor), event=event
    )
    page = rows[:limit]
    return PulsePings(
        pings=await ping_views(session, page),
        next_cursor=encode_cursor(page[-1].received_at, str(page[-1].id)) if len(rows) > limit else None,
    )


@router.get("/events", responses=_MISSING)
async def read_events(
    pulse_id: Text,
    session: SnapshotDep,
    principal: PrincipalDep,
    limit: Limit = 50,
    cursor: Cursor = None,
    since: Annotated[Moment | None, Query(description="None before.")] = None,
    until: Annotated[Moment | None, Query(description="All before.")] = None,
) -> PulseEvents:
    """Every change of status, the newest first, and how long it stayed like that."""
    pulse = await owned_pulse(session, principal, pulse_id)
    changes = await list_changes(
        session, pulse_subject(pulse.id), limit=limit + 1, before=decode_number(cursor), since=since, until=until
    )
    page = changes[:limit]
    return PulseEvents(
        events=[event_view(change) for change in page],
        next_cursor=encode_cursor(page[-1].row.at, str(page[-1].row.id)) if len(changes) > limit else None,
    )


@router.get("/uptime", responses=_MISSING)
async def read_uptime(
    pulse_id: Text,
    session: SnapshotDep,
    principal: PrincipalDep,
    days: Annotated[int, Query(ge=1, le=MAX_DAYS, description="Up to now.")] = 30,
) -> UptimeView:
    """How much of the time it was up, and when it was down."""
    pulse = await owned_pulse(session, principal, pulse_id)
    return await uptime_view(session, pulse_subject(pulse.id), days)
