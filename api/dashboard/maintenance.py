"""Maintenance: times in which silence and failures of pulses do not count. The windows are the pulses' own."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any, Final
from zoneinfo import ZoneInfo

import orjson
from fastapi import APIRouter
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from api.dashboard.forms import Form, build
from api.dashboard.rendering import see
from api.dashboard.visitors import FormDep, Visitor, VisitorDep
from api.dashboard.zones import ZONES
from api.deps import SessionsDep, SnapshotDep
from api.pulse_fields import PulseChanges, WindowInput
from api.routes import pulses
from config.clock import utc_now
from domain.errors import Conflict, DomainError, InvalidRequest
from domain.maintenance import MaintenanceWindow, validate
from storage.base import Sessions, snapshot
from storage.maintenance import PlannedWindow, list_named, list_windows, window_as_json
from storage.pulses import definition_of

router = APIRouter(include_in_schema=False)

MAX_PULSES: Final = 500

DONE: Final = {
    "planned": "The window was planned. In it, silence and failures do not count.",
    "ended": "The window was ended. From now on, everything counts again.",
}
_GONE: Final = Conflict("That window is not there any more; somebody may have ended it already.")


@dataclass(frozen=True)
class Shown:
    """`state`: now, ahead, repeats or over; `ends_at` of the one that is going on, `next_at` of the next."""

    key: str
    planned: PlannedWindow
    state: str
    ends_at: datetime | None
    next_at: datetime | None


@router.get("/maintenance")
async def show(visitor: VisitorDep, session: SnapshotDep) -> Response:
    return await _page(visitor, session)


@router.post("/maintenance")
async def plan(visitor: VisitorDep, form: FormDep, sessions: SessionsDep) -> Response:
    try:
        window = _window_of(form, visitor.account.time_zone)
        async with snapshot(sessions) as session:
            named = await list_named(session, visitor.account.id, MAX_PULSES + 1)
        if form.ticked("all") and len(named) > MAX_PULSES:
            message = f"are more than {MAX_PULSES}: plan it for some of them at a time, or by PATCH /api/pulses/{{id}}"
            raise InvalidRequest.of_field("pulses", message)
        chosen = [id_ for id_, _ in named] if form.ticked("all") else form.all("pulses")
        if not chosen:
            raise InvalidRequest.of_field("pulses", "is needed: choose one pulse at least, or all of them")
        for pulse_id in dict.fromkeys(chosen):
            await _change(visitor, sessions, pulse_id, add=window)
    except DomainError as error:
        return await _refused(visitor, sessions, error, form)
    return see("/maintenance?done=planned")


@router.post("/maintenance/end")
async def end(visitor: VisitorDep, form: FormDep, sessions: SessionsDep) -> Response:
    now = utc_now()
    try:
        async with snapshot(sessions) as session:
            windows = await list_windows(session, visitor.account.id)
        planned = next((one for one in windows if key_of(one.window) == form.get("window")), None)
        if planned is None:
            raise _GONE
        for pulse_id, _ in planned.pulses:
            await _change(visitor, sessions, pulse_id, add=ended(planned.window, now), drop=planned.window)
    except DomainError as error:
        return await _refused(visitor, sessions, error, form)
    return see("/maintenance?done=ended")


def ended(window: MaintenanceWindow, now: datetime) -> MaintenanceWindow | None:
    """What is left of a window that is ended now. Its past stays, so that what happened then is not told later."""
    if window.starts_at is not None and window.starts_at < now and window.ends_at is not None:
        return replace(window, ends_at=min(window.ends_at, now))
    ends_at = window.end_around(now)
    if window.duration_seconds is None or ends_at is None:
        return None
    # Of one that repeats: the time that has gone of the present one.
    began = ends_at - timedelta(seconds=window.duration_seconds)
    return MaintenanceWindow(began, now) if began < now else None


def key_of(window: MaintenanceWindow) -> str:
    """By which a form names it."""
    return hashlib.sha256(orjson.dumps(window_as_json(window), option=orjson.OPT_SORT_KEYS)).hexdigest()[:24]


def shown_windows(windows: Iterable[PlannedWindow], now: datetime) -> list[Shown]:
    """What goes on, then what comes, then what repeats, then what is over, each by its time."""
    order = ("now", "ahead", "repeats", "over")
    found = [_shown(planned, now) for planned in windows]
    far = datetime.max.replace(tzinfo=UTC)
    return sorted(found, key=lambda one: (order.index(one.state), one.ends_at or one.next_at or far))


def _shown(planned: PlannedWindow, now: datetime) -> Shown:
    window = planned.window
    ends_at, next_at = window.end_around(now), window.next_start(now)
    if ends_at is not None:
        state = "now"
    elif window.cron is not None:
        state = "repeats"
    else:
        state = "ahead" if next_at is not None else "over"
    return Shown(key_of(window), planned, state, ends_at, next_at)


async def _change(
    visitor: Visitor,
    sessions: Sessions,
    pulse_id: str,
    *,
    add: MaintenanceWindow | None = None,
    drop: MaintenanceWindow | None = None,
) -> None:
    """By the way of the JSON API, so that the pulse's workflow is told, too."""
    async with snapshot(sessions) as session:
        pulse = await pulses.owned_pulse(session, visitor.principal, pulse_id)
        windows = [window for window in definition_of(pulse).maintenance if window != drop]
    if add is not None and add not in windows:
        windows.append(add)
    body = build(PulseChanges, {"maintenance": [window_as_json(window) for window in windows]})
    await pulses.change(pulse_id, body, sessions, visitor.principal, visitor.request)


def _window_of(form: Form, time_zone: str) -> MaintenanceWindow:
    """What the form plans. Raises InvalidRequest that names its fields."""
    if form.get("repeats") == "yes":
        if form.text("cron") is None:
            raise InvalidRequest.of_field("cron", "is needed: say when it begins each time")
        values: dict[str, Any] = {
            "cron": form.text("cron"),
            "timezone": form.text("timezone") or time_zone,
            "duration_seconds": form.seconds("duration_seconds"),
        }
    else:
        values = {name: _moment(form, name, time_zone) for name in ("starts_at", "ends_at")}
    window = MaintenanceWindow(**build(WindowInput, values).model_dump())
    validate(window)
    return window


def _moment(form: Form, name: str, time_zone: str) -> datetime:
    """A time as browsers send it, on the clock of the account's zone."""
    try:
        at = datetime.fromisoformat(form.get(name).strip())
    except ValueError:
        raise InvalidRequest.of_field(name, "must be a date and a time") from None
    try:
        return at.replace(tzinfo=at.tzinfo or ZoneInfo(time_zone)).astimezone(UTC)
    except OverflowError:
        raise InvalidRequest.of_field(name, "is too far away") from None


async def _refused(visitor: Visitor, sessions: Sessions, error: DomainError, form: Form) -> Response:
    async with snapshot(sessions) as session:
        return await _page(visitor, session, error=error, form=form)


async def _page(
    visitor: Visitor, session: AsyncSession, *, error: DomainError | None = None, form: Form | None = None
) -> Response:
    return visitor.page(
        "maintenance/maintenance.html",
        section="alerts",
        done=DONE,
        error=error,
        form=form,
        windows=shown_windows(await list_windows(session, visitor.account.id), utc_now()),
        pulses=await list_named(session, visitor.account.id, MAX_PULSES),
        time_zones=ZONES,
    )
