"""The form of a pulse: what is in its fields, and what they mean."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final
from zoneinfo import ZoneInfo

from api.dashboard.forms import Form
from api.pulse_views import PulseView, WindowView
from domain.durations import as_text
from domain.errors import InvalidRequest
from domain.pulses import DEFAULT_GRACE_SECONDS

_DURATIONS: Final = (
    *("grace_seconds", "start_grace_seconds", "min_duration_seconds", "max_duration_seconds"),
    "reminder_seconds",
)
_KEYWORDS: Final = ("success_keywords", "failure_keywords", "ignore_keywords")
_TEXTS: Final = ("name", "slug", "tags", "cron", "timezone", "period_seconds", "alert_after", "depends_on")
_WINDOW: Final = ("starts_at", "ends_at", "cron", "duration_seconds", "timezone")
_MAX_WINDOWS: Final = 21
"""One more than there may be, so that the rule itself says so."""


def first_values(timezone: str) -> dict[str, Any]:
    """Of a pulse that is yet to be defined."""
    return {
        **dict.fromkeys((*_TEXTS, *_DURATIONS, *_KEYWORDS), ""),
        "schedule": "period",
        "period_seconds": "1 h",
        "grace_seconds": as_text(DEFAULT_GRACE_SECONDS),
        "alert_after": "1",
        "timezone": timezone,
        "notify_late": False,
        "channels": [],
        "maintenance": [],
    }


def values_of(view: PulseView, parents: Sequence[str]) -> dict[str, Any]:
    """`parents` are the slugs of what it depends on."""
    return {
        "name": view.name,
        "slug": view.slug,
        "tags": ", ".join(view.tags),
        "schedule": "period" if view.cron is None else "cron",
        "period_seconds": as_text(view.period_seconds),
        "cron": view.cron or "",
        "timezone": view.timezone,
        "alert_after": str(view.alert_after),
        "notify_late": view.notify_late,
        "depends_on": ", ".join(parents),
        "channels": view.channels,
        "maintenance": [_window_values(window) for window in view.maintenance],
        **{name: as_text(getattr(view, name)) for name in _DURATIONS},
        **{name: "\n".join(getattr(view, name)) for name in _KEYWORDS},
    }


def values_sent(form: Form) -> dict[str, Any]:
    """What was typed, to be shown again."""
    return {
        **{name: form.get(name) for name in (*_TEXTS, *_DURATIONS, *_KEYWORDS)},
        "schedule": _schedule(form),
        "notify_late": form.ticked("notify_late"),
        "channels": form.all("channels"),
        "maintenance": _windows_sent(form),
    }


def read_values(form: Form, shown: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What the JSON API takes. If it was `shown` before, only what is different now: what a field cannot hold exactly
    stays as it is unless somebody changes it. Raises InvalidRequest."""
    sent = values_sent(form)
    values: dict[str, Any] = {
        "name": sent["name"].strip(),
        "slug": form.text("slug"),
        "tags": form.words("tags"),
        "timezone": form.text("timezone"),
        "alert_after": form.text("alert_after"),
        "notify_late": sent["notify_late"],
        "depends_on": form.words("depends_on"),
        "channels": sent["channels"],
        **{name: _lines(sent[name]) for name in _KEYWORDS},
        **_schedule_sent(form),
    }
    same = {name for name, value in sent.items() if value == shown[name]} if shown is not None else set()
    for name in _DURATIONS:
        if name not in same:
            values[name] = form.seconds(name)
    if "maintenance" not in same:
        values["maintenance"] = [_window(window, index) for index, window in enumerate(sent["maintenance"])]
    return {name: value for name, value in values.items() if name in ("cron", "period_seconds") or name not in same}


def _schedule(form: Form) -> str:
    return "cron" if form.get("schedule") == "cron" else "period"


def _schedule_sent(form: Form) -> dict[str, Any]:
    """The other kind of schedule counts no more."""
    if _schedule(form) == "cron":
        return {"cron": form.get("cron").strip(), "period_seconds": None}
    period = form.seconds("period_seconds")
    if period is None:
        raise InvalidRequest.of_field("period_seconds", "is missing; write a duration such as 5 min, 1 h or 1 day")
    return {"period_seconds": period, "cron": None}


def _lines(text: str) -> list[str]:
    return [line.strip() for line in text.split("\n") if line.strip()]


def _window_values(window: WindowView) -> dict[str, str]:
    zone = ZoneInfo(window.timezone)
    return {
        "starts_at": _local(window.starts_at, zone),
        "ends_at": _local(window.ends_at, zone),
        "cron": window.cron or "",
        "duration_seconds": as_text(window.duration_seconds),
        "timezone": window.timezone,
    }


def _local(at: datetime | None, zone: ZoneInfo) -> str:
    """As the field for a date and a time holds it."""
    if at is None:
        return ""
    wall = at.astimezone(zone).replace(tzinfo=None)
    return wall.isoformat(timespec="seconds" if wall.second else "minutes")


def _windows_sent(form: Form) -> list[dict[str, str]]:
    """Those in which anything but the time zone is given."""
    found = []
    for index in range(_MAX_WINDOWS):
        window = {name: form.get(f"maintenance.{index}.{name}").strip() for name in _WINDOW}
        if any(value for name, value in window.items() if name != "timezone"):
            found.append(window)
    return found


def _window(sent: Mapping[str, str], index: int) -> dict[str, Any]:
    """As the JSON API takes it."""
    place = f"maintenance.{index}"
    zone = _zone(sent["timezone"] or "UTC", f"{place}.timezone")
    window: dict[str, Any] = {
        name: _moment(sent[name], zone, f"{place}.{name}") for name in ("starts_at", "ends_at") if sent[name]
    }
    if sent["cron"]:
        window["cron"] = sent["cron"]
    if sent["duration_seconds"]:
        duration = Form([(f"{place}.duration_seconds", sent["duration_seconds"])])
        window["duration_seconds"] = duration.seconds(f"{place}.duration_seconds")
    return {**window, "timezone": zone.key}


def _zone(name: str, field: str) -> ZoneInfo:
    try:
        return ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise InvalidRequest.of_field(field, "is not known; use a name such as UTC or Europe/Berlin") from None


def _moment(text: str, zone: ZoneInfo, field: str) -> str:
    try:
        at = datetime.fromisoformat(text)
    except ValueError:
        raise InvalidRequest.of_field(field, "must be a date and a time, such as 2026-01-31T22:00") from None
    # What leaves the years that a datetime can hold is left to the rule that says which years there are.
    if at.tzinfo is None:
        at = at.replace(tzinfo=zone if 2 <= at.year <= 9998 else UTC)
    return at.isoformat()
