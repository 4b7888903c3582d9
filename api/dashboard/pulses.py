"""The pages of pulses: all of them, and each."""

from base64 import urlsafe_b64decode, urlsafe_b64encode
from binascii import Error
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Annotated, Final

import orjson
from fastapi import APIRouter, Query
from markupsafe import Markup
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from api.dashboard.charts.uptime import uptime_bars
from api.dashboard.links import temporal_url, with_query
from api.dashboard.moments import Moment, moments_of
from api.dashboard.rendering import see
from api.dashboard.visitors import FormDep, VisitorDep
from api.deps import SessionsDep, SettingsDep, SnapshotDep, Text
from api.fields import statuses_of
from api.pages import Cursor
from api.pulse_views import PulseView, pulse_views
from api.routes import pulse_history, pulses
from api.routes.pulses import owned_pulse
from config.clock import utc_now
from domain.cron_words import clock_change_words, schedule_words
from domain.errors import InvalidRequest
from domain.pulses import MAX_NAME, PulseStatus
from domain.schedules import Cron, Every, Schedule
from domain.subjects import pulse_subject
from domain.uptime import DayUptime, share_of
from storage.channels import list_channels
from storage.pulse_lists import Place, count_by_status, list_by_urgency, list_related, list_tags
from storage.uptime import daily_uptime

router = APIRouter(include_in_schema=False)

DAYS: Final = 90
PAGE: Final = 25
HISTORY: Final = 20
MOST_CHANNELS: Final = 500

DONE: Final = {
    "created": "The pulse was created. It is watched from its first ping on.",
    "changed": "The changes were saved.",
    "paused": "The pulse is paused: nothing is expected of it until it is resumed.",
    "resumed": "The pulse was resumed: the next ping is expected by its schedule.",
}
_DONE_IN_LIST: Final = {"deleted": "The pulse was deleted. It takes no more pings."}

NEXT_TIMES: Final = 5


@dataclass(frozen=True)
class Line:
    """One pulse in the list."""

    pulse: PulseView
    schedule: str
    bars: Markup
    share: float | None


@router.get("/pulses")
async def show_all(
    visitor: VisitorDep,
    session: SnapshotDep,
    settings: SettingsDep,
    cursor: Annotated[str | None, Query(max_length=2000)] = None,
    status: Annotated[str, Query(max_length=100)] = "",
    tag: Annotated[Text, Query(max_length=100)] = "",
    q: Annotated[Text, Query(max_length=MAX_NAME)] = "",
) -> Response:
    account, wanted = visitor.account, statuses_of(PulseStatus, [status])
    rows = await list_by_urgency(
        session,
        account.id,
        limit=PAGE + 1,
        after=_place_of(cursor),
        statuses=wanted,
        tag=tag or None,
        name_part=q.strip() or None,
    )
    page = rows[:PAGE]
    views = await pulse_views(session, [pulse for pulse, _ in page], settings.base_url)
    shown = [view for view in views if not wanted or view.status in wanted]
    filters = {"q": q, "tag": tag, "status": status}
    return visitor.page(
        "pulses/list.html",
        section="pulses",
        live=pulse_subject(""),
        done=_DONE_IN_LIST,
        lines=await _lines(session, shown, account.time_zone),
        counts=await count_by_status(session, account.id),
        tags=await list_tags(session, account.id),
        filters=filters,
        is_filtered=any(filters.values()),
        next=with_query("/pulses", **filters, cursor=_cursor_of(page[-1][1])) if len(rows) > PAGE else None,
        first=with_query("/pulses", **filters) if cursor else None,
        days=DAYS,
    )


@router.get("/pulses/{pulse_id}")
async def show(
    pulse_id: Text,
    visitor: VisitorDep,
    session: SnapshotDep,
    settings: SettingsDep,
    pings: Cursor = None,
    events: Cursor = None,
) -> Response:
    pulse = await owned_pulse(session, visitor.principal, pulse_id)
    view = (await pulse_views(session, [pulse], settings.base_url))[0]
    found = await pulse_history.read_pings(pulse.id, session, visitor.principal, HISTORY, pings)
    changes = await pulse_history.read_events(pulse.id, session, visitor.principal, HISTORY, events)
    days = (await daily_uptime(session, [pulse.id], utc_now(), visitor.account.time_zone, DAYS))[pulse.id]
    above, below = await list_related(session, pulse)
    channels = await list_channels(session, visitor.account.id, limit=MOST_CHANNELS, before=None)
    path, schedule = f"/pulses/{view.id}", schedule_of(view)
    return visitor.page(
        "pulses/show.html",
        section="pulses",
        live=pulse_subject(view.id),
        done=DONE,
        pulse=view,
        schedule=schedule_words(schedule),
        clock_changes=clock_change_words(schedule, utc_now()),
        times=_next_times(view, schedule),
        bars=uptime_bars(days),
        uptimes=[(count, share_of(days[-count:]), _seconds_down(days[-count:])) for count in (7, 30, DAYS)],
        pings=found.pings,
        pings_next=with_query(path, pings=found.next_cursor, events=events) if found.next_cursor else None,
        pings_first=with_query(path, events=events) if pings else None,
        events=changes.events,
        events_next=with_query(path, pings=pings, events=changes.next_cursor) if changes.next_cursor else None,
        events_first=with_query(path, pings=pings) if events else None,
        # An address that changes with the status, or browsers would go on to show the picture they have.
        badge_path=with_query(
            view.badge_url.removeprefix(settings.base_url),
            status=view.status.value,
            since=view.status_since.isoformat(timespec="milliseconds"),
        ),
        above=above,
        below=below,
        channels=[channel for channel in channels if channel.id in view.channels],
        temporal_url=temporal_url(settings, pulse_subject(view.id)),
    )


@router.post("/pulses/{pulse_id}/pause")
async def pause(pulse_id: Text, visitor: VisitorDep, form: FormDep, sessions: SessionsDep) -> Response:
    view = await pulses.pause(pulse_id, sessions, visitor.principal, visitor.request)
    return see(f"/pulses/{view.id}?done=paused")


@router.post("/pulses/{pulse_id}/resume")
async def resume(pulse_id: Text, visitor: VisitorDep, form: FormDep, sessions: SessionsDep) -> Response:
    view = await pulses.resume(pulse_id, sessions, visitor.principal, visitor.request)
    return see(f"/pulses/{view.id}?done=resumed")


@router.post("/pulses/{pulse_id}/delete")
async def delete(pulse_id: Text, visitor: VisitorDep, form: FormDep, sessions: SessionsDep) -> Response:
    await pulses.delete(pulse_id, sessions, visitor.principal, visitor.request)
    return see("/pulses?done=deleted")


def schedule_of(view: PulseView) -> Schedule:
    return Cron(view.cron, view.timezone) if view.cron is not None else Every(view.period_seconds or 0)


async def _lines(session: AsyncSession, views: Sequence[PulseView], timezone: str) -> list[Line]:
    days = await daily_uptime(session, [view.id for view in views], utc_now(), timezone, DAYS)
    return [
        Line(view, schedule_words(schedule_of(view)), uptime_bars(days[view.id]), share_of(days[view.id]))
        for view in views
    ]


def _next_times(view: PulseView, schedule: Schedule) -> list[Moment]:
    """Of a period they count from the ping that comes next, so there are none without one."""
    if view.status is PulseStatus.PAUSED:
        return []
    if isinstance(schedule, Cron):
        return moments_of(schedule, utc_now(), NEXT_TIMES)
    if view.next_due_at is None or view.next_due_at < utc_now():
        return []
    due = Moment(view.next_due_at, view.timezone)
    return [due, *moments_of(schedule, view.next_due_at, NEXT_TIMES - 1, view.timezone)]


def _seconds_down(days: Sequence[DayUptime]) -> float:
    return sum(day.down_seconds for day in days)


def _cursor_of(place: Place) -> str:
    return urlsafe_b64encode(orjson.dumps(asdict(place))).decode()


def _place_of(cursor: str | None) -> Place | None:
    """Raises InvalidRequest for what is no cursor of the list."""
    if not cursor:
        return None
    try:
        place = Place(**orjson.loads(urlsafe_b64decode(cursor)))
        if not (isinstance(place.urgency, int) and isinstance(place.name, str) and isinstance(place.id, str)):
            raise ValueError
        if not 0 <= place.urgency < 100 or "\x00" in place.name + place.id:
            raise ValueError
    except (ValueError, TypeError, Error):
        raise InvalidRequest.of_field("cursor", "is not of this list") from None
    return place
