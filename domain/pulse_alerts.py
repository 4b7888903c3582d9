"""What of a pulse is worth telling."""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from domain.alerts import Alert, AlertKind, Severity, alert_kind
from domain.durations import in_words
from domain.pulses import PulseDefinition, PulseState
from domain.subjects import pulse_source

PULSE_DOWN: Final = alert_kind("pulse_down", Severity.CRITICAL, "is down", "pulses are down")
PULSE_LATE: Final = alert_kind("pulse_late", Severity.INFO, "is late", "pulses are late")
PULSE_REMINDER: Final = alert_kind("pulse_reminder", Severity.ERROR, "is still down", "pulses are still down")
PULSE_RECOVERED: Final = alert_kind(
    "pulse_recovered", Severity.INFO, "is up again", "pulses are up again", resolves=True
)
PULSE_PAUSED: Final = alert_kind(
    "pulse_paused", Severity.INFO, "was paused while down", "pulses were paused while down", resolves=True
)
"""The other end of a trouble: whoever was told that it is down would else wait for its recovery."""

PULSE_DELETED: Final = alert_kind(
    "pulse_deleted", Severity.INFO, "was deleted while down", "pulses were deleted while down", resolves=True
)


def trouble_of(definition: PulseDefinition, down_at: datetime) -> str:
    return f"{definition.subject}/{down_at.isoformat()}"


def down_alert(definition: PulseDefinition, state: PulseState, at: datetime, facts: Mapping[str, Any]) -> Alert:
    """`state` is the one after it went down, `facts` are what is known of the miss or the failure."""
    return _alert(definition, state, PULSE_DOWN, at, f"is down: {state.reason}", state.trouble, **facts)


def late_alert(definition: PulseDefinition, state: PulseState, at: datetime, due_at: datetime) -> Alert:
    return _alert(definition, state, PULSE_LATE, at, f"is late: {state.reason}", None, due_at=due_at.isoformat())


def reminder_alert(definition: PulseDefinition, state: PulseState, at: datetime) -> Alert:
    seconds = _seconds_since(state, at)
    title = f"is still down, for {in_words(seconds)} now: {state.reason}"
    return _alert(definition, state, PULSE_REMINDER, at, title, state.trouble, downtime_seconds=seconds)


def recovered_alert(definition: PulseDefinition, state: PulseState, at: datetime) -> Alert:
    """`state` is the one before, in which it is down."""
    seconds = _seconds_since(state, at)
    title = f"is up again after {in_words(seconds)}"
    return _alert(definition, state, PULSE_RECOVERED, at, title, state.trouble, status="up", downtime_seconds=seconds)


def paused_alert(definition: PulseDefinition, state: PulseState, at: datetime) -> Alert:
    """`state` is the one before, in which it is down."""
    seconds = _seconds_since(state, at)
    title = f"was paused after it was down for {in_words(seconds)}"
    return _alert(definition, state, PULSE_PAUSED, at, title, state.trouble, status="paused", downtime_seconds=seconds)


def deleted_alert(definition: PulseDefinition, state: PulseState, at: datetime) -> Alert:
    """`state` is the last one, in which it is down."""
    seconds = _seconds_since(state, at)
    title = f"was deleted after it was down for {in_words(seconds)}"
    return _alert(definition, state, PULSE_DELETED, at, title, state.trouble, downtime_seconds=seconds)


def moment_text(moment: datetime, seen_from: datetime) -> str:
    """The time in UTC: with its day unless that is the same, with seconds if it has some and is within an hour."""
    moment, seen_from = moment.astimezone(UTC), seen_from.astimezone(UTC)
    day = "" if moment.date() == seen_from.date() else "%Y-%m-%d "
    seconds = ":%S" if moment.second and abs(seen_from - moment) < timedelta(hours=1) else ""
    return moment.strftime(f"{day}%H:%M{seconds} UTC")


def _alert(
    definition: PulseDefinition,
    state: PulseState,
    kind: AlertKind,
    at: datetime,
    what: str,
    trouble: str | None,
    **facts: Any,
) -> Alert:
    return Alert(
        kind=kind,
        account_id=definition.account_id,
        source=pulse_source(definition.id),
        subject=definition.subject,
        name=definition.shown_name,
        title=f"{definition.shown_name} {what}",
        trouble=trouble or trouble_of(definition, at),
        dedupe_key=f"{definition.subject}/{kind.name}/{at.isoformat()}",
        at=at,
        reason=state.reason,
        tags=definition.tags,
        depends_on=definition.depends_on,
        data={
            "pulse_id": definition.id,
            "status": state.status.value,
            "failures": state.failures,
            "last_ping_at": state.last_ping_at.isoformat() if state.last_ping_at else None,
            **facts,
        },
    )


def _seconds_since(state: PulseState, at: datetime) -> float:
    return (at - (state.since or at)).total_seconds()
