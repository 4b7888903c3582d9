"""What a user defines as a pulse, and what is known of it."""

from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Final

from domain import maintenance as windows
from domain.errors import FieldError, InvalidRequest
from domain.instances import Outage
from domain.maintenance import MaintenanceWindow
from domain.pings import Event
from domain.schedules import MAX_PERIOD_SECONDS, MIN_PERIOD_SECONDS, Cron, Every, Schedule, check_cron
from domain.slugs import MAX_SLUG
from domain.subjects import pulse_subject

DEFAULT_PERIOD_SECONDS: Final = 86_400.0
DEFAULT_GRACE_SECONDS: Final = 300.0
DEFAULT_TIMEZONE: Final = "UTC"
MAX_SECONDS: Final = MAX_PERIOD_SECONDS
"""Of a grace, a duration, a gap between reminders."""

MIN_REMINDER_SECONDS: Final = 60.0
MAX_ALERT_AFTER: Final = 100
MAX_NAME: Final = 200
MAX_ITEMS: Final = 20
"""Tags, keywords of each kind, maintenance windows, dependencies."""

MAX_KEYWORD: Final = 200
MAX_OPEN_RUNS: Final = 100


class PulseStatus(StrEnum):
    NEW = "new"
    """Never pinged: nothing is expected yet, unless its first ping is awaited."""
    UP = "up"
    LATE = "late"
    """Past due, in its grace."""
    DOWN = "down"
    PAUSED = "paused"
    UNKNOWN = "unknown"
    """It would be down, had we not been unable to take its pings."""


@dataclass(frozen=True)
class PulseDefinition:
    """The rules a pulse is held to.

    It has a period or a cron expression. A ping may be `grace_seconds` late, or `start_grace_seconds` if that is set;
    a run may take `max_duration_seconds`, or `grace_seconds`, until it ends. `alert_after` misses or failures in a
    row take it down. `reminder_seconds` is the gap between reminders while it is down. Its first ping is due by the
    schedule from `awaited_since` on; without that, nothing is expected before it.
    """

    id: str
    account_id: str
    name: str = ""
    slug: str = ""
    tags: tuple[str, ...] = ()
    period_seconds: float | None = None
    cron: str | None = None
    timezone: str = DEFAULT_TIMEZONE
    grace_seconds: float = DEFAULT_GRACE_SECONDS
    start_grace_seconds: float | None = None
    min_duration_seconds: float | None = None
    max_duration_seconds: float | None = None
    alert_after: int = 1
    reminder_seconds: float | None = None
    notify_late: bool = False
    success_keywords: tuple[str, ...] = ()
    failure_keywords: tuple[str, ...] = ()
    ignore_keywords: tuple[str, ...] = ()
    maintenance: tuple[MaintenanceWindow, ...] = ()
    depends_on: tuple[str, ...] = ()
    paused_at: datetime | None = None
    revision: int = 1
    awaited_since: datetime | None = None

    @property
    def schedule(self) -> Schedule:
        if self.cron is not None:
            return Cron(self.cron, self.timezone)
        return Every(self.period_seconds or DEFAULT_PERIOD_SECONDS)

    @property
    def subject(self) -> str:
        return pulse_subject(self.id)

    @property
    def shown_name(self) -> str:
        return self.name or self.slug or self.id


@dataclass(frozen=True)
class PulseState:
    """What is known of a pulse: a fold of its pings and of the deadlines that passed.

    Everything up to `clock` is folded. The schedule counts from `base`, or from `missed`, the latest due moment that
    passed without a ping. `failures` counts misses and failures since the last success. `runs` are those that have
    started and not ended, by their rid ("" without one). While it is down, it is so since `since`, and `trouble` is
    what its alerts share. `outages` are those that may still move a deadline.
    """

    status: PulseStatus = PulseStatus.NEW
    since: datetime | None = None
    reason: str | None = None
    clock: datetime | None = None
    base: datetime | None = None
    missed: datetime | None = None
    failures: int = 0
    runs: dict[str, datetime] = field(default_factory=dict)
    last_ping_at: datetime | None = None
    last_success_at: datetime | None = None
    last_duration_ms: int | None = None
    trouble: str | None = None
    reminded_at: datetime | None = None
    outages: tuple[Outage, ...] = ()


def first_state(definition: PulseDefinition) -> PulseState:
    """Of a pulse that was never pinged."""
    if definition.paused_at is not None:
        return PulseState(PulseStatus.PAUSED, since=definition.paused_at)
    return PulseState(base=definition.awaited_since)


def interpret(definition: PulseDefinition, body: str | None) -> Event:
    """What a plain ping with this body says, by the definition's keywords."""
    text = (body or "").casefold()

    def has_any(keywords: tuple[str, ...]) -> bool:
        return any(keyword.casefold() in text for keyword in keywords)

    if not text:
        return Event.SUCCESS
    if has_any(definition.failure_keywords):
        return Event.FAIL
    if has_any(definition.success_keywords):
        return Event.SUCCESS
    return Event.LOG if definition.success_keywords or has_any(definition.ignore_keywords) else Event.SUCCESS


def validate(definition: PulseDefinition) -> None:
    """Raises InvalidRequest that names every field that is wrong."""
    errors = [*_schedule_errors(definition), *_number_errors(definition), *_text_errors(definition)]
    for index, window in enumerate(definition.maintenance):
        try:
            windows.validate(window)
        except InvalidRequest as error:
            errors += [FieldError(f"maintenance.{index}.{item.field}", item.message) for item in error.fields]
    if definition.id in definition.depends_on:
        errors.append(FieldError("depends_on", "a pulse cannot depend on itself"))
    if errors:
        message = "; ".join(f"{error.field}: {error.message}" for error in errors)
        raise InvalidRequest(message, fields=tuple(errors))


def _schedule_errors(definition: PulseDefinition) -> list[FieldError]:
    if definition.cron is not None and definition.period_seconds is not None:
        return [FieldError("cron", "give either period_seconds or cron, not both")]
    if definition.cron is None and definition.period_seconds is None:
        return [FieldError("period_seconds", "give period_seconds or cron")]
    try:
        check_cron("* * * * *" if definition.cron is None else definition.cron, definition.timezone)
    except InvalidRequest as error:
        return list(error.fields)
    return []


def _number_errors(definition: PulseDefinition) -> list[FieldError]:
    bounds: list[tuple[str, float | None, float, float]] = [
        ("period_seconds", definition.period_seconds, MIN_PERIOD_SECONDS, MAX_PERIOD_SECONDS),
        ("grace_seconds", definition.grace_seconds, 0, MAX_SECONDS),
        ("start_grace_seconds", definition.start_grace_seconds, 0, MAX_SECONDS),
        ("min_duration_seconds", definition.min_duration_seconds, 0, MAX_SECONDS),
        ("max_duration_seconds", definition.max_duration_seconds, 0, MAX_SECONDS),
        ("alert_after", definition.alert_after, 1, MAX_ALERT_AFTER),
        ("reminder_seconds", definition.reminder_seconds, MIN_REMINDER_SECONDS, MAX_SECONDS),
    ]
    errors = [
        FieldError(name, f"must be between {least:g} and {most:g}")
        for name, value, least, most in bounds
        if value is not None and not least <= value <= most
    ]
    shortest, longest = definition.min_duration_seconds, definition.max_duration_seconds
    if shortest is not None and longest is not None and shortest > longest:
        errors.append(FieldError("min_duration_seconds", "must not be more than max_duration_seconds"))
    return errors


def _text_errors(definition: PulseDefinition) -> list[FieldError]:
    errors = []
    for name, text, longest in (("name", definition.name, MAX_NAME), ("slug", definition.slug, MAX_SLUG)):
        if not 1 <= len(text) <= longest:
            errors.append(FieldError(name, f"must have 1 to {longest} characters"))
    lists: list[tuple[str, tuple[object, ...]]] = [
        ("tags", definition.tags),
        ("success_keywords", definition.success_keywords),
        ("failure_keywords", definition.failure_keywords),
        ("ignore_keywords", definition.ignore_keywords),
        ("maintenance", definition.maintenance),
        ("depends_on", definition.depends_on),
    ]
    for name, items in lists:
        if len(items) > MAX_ITEMS:
            errors.append(FieldError(name, f"must have at most {MAX_ITEMS} items"))
        if any(isinstance(item, str) and not 1 <= len(item) <= MAX_KEYWORD for item in items):
            errors.append(FieldError(name, f"each must have 1 to {MAX_KEYWORD} characters"))
    return errors
