"""Runs that are reported once they are over: what a report says, and which reports say the same."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, TypeVar

from domain.errors import FieldError, InvalidRequest
from domain.keys import redact
from domain.pings import MAX_DURATION_MS, MAX_TEXT, PingStatus
from domain.sloppy import is_absent, message_of, moment_of, number_of, object_of, says_nothing, text_of

RUN_PATH: Final = "run"
"""The stage that a report of a whole run is about: it has no others."""

MAX_INSTANCE_ID: Final = 64
MAX_WORKFLOW_NAME: Final = 200

_NAMES: Final = ("workflow_id", "workflow_slug", "workflow_name")

Value = TypeVar("Value")


@dataclass(frozen=True)
class RunReport:
    """What a report says. At least one of `workflow_id`, `workflow_slug` and `workflow_name` is given.

    `duration_ms` and `started_at` follow from each other and `ended_at`, as far as one of them is known.
    `instance_id` names an instance that waits for the run; `others` is what nobody asked for.
    """

    status: PingStatus
    ended_at: datetime
    workflow_id: str | None = None
    workflow_slug: str | None = None
    workflow_name: str | None = None
    started_at: datetime | None = None
    duration_ms: int | None = None
    external_execution_id: str | None = None
    source_platform: str | None = None
    source_workflow_id: str | None = None
    correlation_id: str | None = None
    metadata: Mapping[str, Any] | None = None
    error_message: str | None = None
    error_type: str | None = None
    instance_id: str | None = None
    others: Mapping[str, Any] = field(default_factory=dict)

    def document(self) -> dict[str, Any]:
        """What is kept and shown of it; nothing is said of what it does not say."""
        said = {
            "started_at": _iso(self.started_at),
            "ended_at": _iso(self.ended_at),
            "duration_ms": self.duration_ms,
            "external_execution_id": self.external_execution_id,
            "source_platform": self.source_platform,
            "source_workflow_id": self.source_workflow_id,
            "correlation_id": self.correlation_id,
            "error_message": self.error_message,
            "error_type": self.error_type,
            "metadata": dict(self.metadata) if self.metadata is not None else None,
        }
        return {**{name: value for name, value in said.items() if value is not None}, **self.others}


def read_report(members: Mapping[str, Any], *, failed: bool) -> RunReport:
    """Raises InvalidRequest that names each field which is missing, or cannot be what it is meant to be."""
    fields = _Fields(members)
    names: dict[str, Any] = {name: fields.text(name, MAX_WORKFLOW_NAME) for name in _NAMES}
    if not any(names.values()) and not any(error.field in _NAMES for error in fields.errors):
        fields.refuse("workflow_id", "is missing; send workflow_id, workflow_slug or workflow_name")
    ended_at = fields.read("ended_at", moment_of, required=True)
    started_at = fields.read("started_at", moment_of)
    duration_ms = fields.read("duration_ms", lambda value: round(number_of(value, 0, MAX_DURATION_MS)))
    if started_at is not None and ended_at is not None:
        lasted = ended_at - started_at
        if lasted < timedelta(0):
            fields.refuse("ended_at", "is before started_at")
        elif duration_ms is None and lasted > timedelta(milliseconds=MAX_DURATION_MS):
            fields.refuse("started_at", "is more than 366 days before ended_at")
        elif duration_ms is None:
            duration_ms = round(lasted / timedelta(milliseconds=1))
    elif ended_at is not None and duration_ms is not None:
        started_at = ended_at - timedelta(milliseconds=duration_ms)
    report: dict[str, Any] = {
        "external_execution_id": fields.text("external_execution_id"),
        "source_platform": fields.text("source_platform"),
        "source_workflow_id": fields.text("source_workflow_id"),
        "correlation_id": fields.text("correlation_id"),
        "metadata": fields.read("metadata", object_of),
        "error_message": fields.read("error_message", message_of, required=failed, is_absent=says_nothing),
        "error_type": fields.text("error_type"),
        "instance_id": fields.text("instance_id", MAX_INSTANCE_ID),
    }
    fields.check()
    assert ended_at is not None
    return RunReport(
        status=PingStatus.FAILED if failed else PingStatus.HEALTHY,
        ended_at=ended_at,
        started_at=started_at,
        duration_ms=duration_ms,
        others={name: value for name, value in members.items() if name not in fields.asked and name != "key"},
        **names,
        **report,
    )


class _Fields:
    """Reads one field after the other and remembers what is wrong with each."""

    def __init__(self, members: Mapping[str, Any]) -> None:
        self._members = members
        self.asked: set[str] = set()
        self.errors: list[FieldError] = []

    def read(
        self,
        name: str,
        understand: Callable[[object], Value],
        *,
        required: bool = False,
        is_absent: Callable[[object], bool] = is_absent,
    ) -> Value | None:
        """None if it is absent or wrong."""
        self.asked.add(name)
        value = self._members.get(name)
        if is_absent(value):
            if required:
                self.refuse(name, "is missing")
            return None
        try:
            return understand(value)
        except ValueError as error:
            self.refuse(name, str(error))
            return None

    def text(self, name: str, longest: int = MAX_TEXT) -> str | None:
        """What identifies or names something goes to places where a key must never be."""
        text = self.read(name, lambda value: text_of(value, longest))
        if text is not None and redact(text) != text:
            self.refuse(name, "contains an API key; send that as key=… only")
        return text

    def refuse(self, name: str, message: str) -> None:
        self.errors.append(FieldError(name, message))

    def check(self) -> None:
        if self.errors:
            message = "; ".join(f"{error.field}: {error.message}" for error in self.errors)
            raise InvalidRequest(message, fields=tuple(self.errors))


def _iso(at: datetime | None) -> str | None:
    return at.isoformat().replace("+00:00", "Z") if at is not None else None


@dataclass(frozen=True)
class LastReport:
    """What the latest report of a run has said."""

    status: PingStatus
    ended_at: datetime | None


def is_repetition(known: LastReport, status: PingStatus, ended_at: datetime | None) -> bool:
    """Whether a report says nothing new of a run.

    Callers send again what they are not sure of, and what they sent first may come last. A run that has succeeded
    has; only a failure that ended later is news. Of failures, each that ended at another time is an attempt of its own.
    """
    if known.status is PingStatus.HEALTHY and status is PingStatus.HEALTHY:
        return True
    if known.ended_at is None or ended_at is None:
        return False
    if known.status is PingStatus.HEALTHY:
        return ended_at <= known.ended_at
    return status is known.status and ended_at == known.ended_at
