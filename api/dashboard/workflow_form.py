"""What the form of a workflow shows and sends, as texts, and what the JSON API takes of them. Pure."""

from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from api.dashboard.forms import Form
from api.html import plainly
from api.routes.workflows import WorkflowView
from domain.durations import as_text, parse_duration
from domain.errors import DomainError, FieldError, InvalidRequest
from domain.workflows import (
    DEFAULT_GRACE_PERIOD_SECONDS,
    DEFAULT_IDLE_TIMEOUT_SECONDS,
    ValidationMode,
    WorkflowKind,
)

SEPARATOR: Final = "|"
"""Between the name of a stage and its timeout. A comma or a colon is in many a name."""

TIMEOUTS: Final = ("stage_timeout_seconds", "instance_timeout_seconds", "idle_timeout_seconds", "grace_period_seconds")
INTERVALS: Final = ("expected_interval_seconds", "expected_grace_seconds")
TEXTS: Final = ("name", "slug", "validation_mode", "stages", *TIMEOUTS, *INTERVALS, "tags")

_LISTS: Final = {"stages": "stage", "tags": "tag", "channels": "channel", "resume_approvers": "line"}
_PATTERNS: Final = {
    "id": "must be 1 to 128 letters, digits, _ - and . only",
    "slug": "must be of a-z, 0-9, _ - and ., and begin and end with a letter or digit",
}

NEW: Final[Mapping[str, str]] = {
    **dict.fromkeys(TEXTS, ""),
    "validation_mode": ValidationMode.FLEXIBLE.value,
    "idle_timeout_seconds": as_text(DEFAULT_IDLE_TIMEOUT_SECONDS),
    "grace_period_seconds": as_text(DEFAULT_GRACE_PERIOD_SECONDS),
}


def shown(view: WorkflowView) -> dict[str, str]:
    """The texts of the fields for a workflow as it is."""
    return {
        "name": view.name,
        "slug": view.slug,
        "validation_mode": view.validation_mode.value,
        "stages": stage_lines((stage.name, stage.timeout_seconds) for stage in view.stages),
        **{name: as_text(getattr(view, name)) for name in (*TIMEOUTS, *INTERVALS)},
        "tags": ", ".join(view.tags),
    }


def stage_lines(stages: Iterable[tuple[str | None, float | None]]) -> str:
    """A line for each stage, which `read_stages` reads."""
    return "\n".join(_stage_line(name, seconds) for name, seconds in stages)


def _stage_line(name: str | None, seconds: float | None) -> str:
    text = " ".join((name or "").split())
    if seconds is None:
        return f"{text} {SEPARATOR}".strip() if not text or SEPARATOR in text else text
    return f"{text} {SEPARATOR} {as_text(seconds)}".strip()


def read_stages(text: str) -> list[dict[str, Any]]:
    """The stages of "one a line: name | timeout"; blank lines are none. Raises InvalidRequest naming `stages`."""
    stages: list[dict[str, Any]] = []
    for line in filter(None, (line.strip() for line in text.split("\n"))):
        order = len(stages) + 1
        name, separator, timeout = line.rpartition(SEPARATOR)
        if not separator:
            name, timeout = line, ""
        try:
            seconds = parse_duration(timeout) if timeout.strip() else None
        except InvalidRequest as error:
            raise InvalidRequest.of_field("stages", f"has a timeout at stage {order} that {_words(error)}") from None
        stages.append({"order": order, "name": name.strip() or None, "timeout_seconds": seconds})
    return stages


def new_values(form: Form) -> dict[str, Any]:
    """What a new workflow is made of. Raises InvalidRequest naming every field that cannot be read."""
    # An interval that is asked of another kind is refused with an explanation; one that is not asked is not sent.
    is_run = form.get("kind") == WorkflowKind.RUN
    wanted = [name for name in TEXTS if name in form and (is_run or name not in INTERVALS or form.text(name))]
    values = _read(form, wanted)
    return values | {"kind": form.get("kind"), "id": form.text("id"), "channels": form.all("channels")}


def changed_values(form: Form, before: Mapping[str, str], channels: Collection[str]) -> dict[str, Any]:
    """What of a workflow was changed in the form, which showed `before`. What was not is left as it is, even if texts
    cannot say all of it. Raises as `new_values`."""
    changed = [name for name in TEXTS if name in form and form.get(name) != before[name]]
    values = _read(form, changed)
    if "slug" in changed and values["slug"] is None:
        raise InvalidRequest.of_field("slug", "is missing")
    if set(form.all("channels")) != set(channels):
        values["channels"] = form.all("channels")
    return values


def _read(form: Form, names: Collection[str]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    problems: list[FieldError] = []
    for name in names:
        try:
            values[name] = _value(form, name)
        except InvalidRequest as error:
            problems.extend(FieldError(name, field.message) for field in error.fields)
    if problems:
        raise _refusal(problems)
    return values


def _value(form: Form, name: str) -> Any:
    if name == "grace_period_seconds" and form.text(name) is None:
        raise InvalidRequest.of_field(name, "is missing; 0 is none")
    if name in (*TIMEOUTS, *INTERVALS):
        return form.seconds(name)
    if name == "stages":
        return read_stages(form.get(name))
    if name == "tags":
        return form.words(name)
    return form.get(name).strip() if name == "name" else form.text(name)


def at_its_field(error: DomainError) -> DomainError:
    """The same in words for people; what is wrong with a part of a list is told at the field of the list."""
    if not error.fields:
        return error
    fields: dict[str, str] = {}
    for item in error.fields:
        name, _, part = item.field.partition(".")
        message = _plain(name, item.message)
        if part and name in _LISTS:
            number, _, member = part.partition(".")
            place = f"number {int(number) + 1}" if number.isdecimal() else number
            message = f"has a {_LISTS[name]}, {place}, whose {member.partition('_')[0] or 'text'} {message}"
        fields.setdefault(name if name in _LISTS else item.field, message)
    return _refusal([FieldError(name, message) for name, message in fields.items()])


def _plain(name: str, message: str) -> str:
    if "match pattern" in message and name in _PATTERNS:
        return _PATTERNS[name]
    return plainly(message)


def _refusal(problems: Collection[FieldError]) -> InvalidRequest:
    return InvalidRequest("; ".join(f"{one.field}: {one.message}" for one in problems), fields=tuple(problems))


def _words(error: InvalidRequest) -> str:
    return error.fields[0].message if error.fields else error.message
