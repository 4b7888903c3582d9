"""OpenLineage's run events: which run each is about, of which other run it is a part, and what it says of it."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final

from domain.errors import FieldError, InvalidRequest
from domain.ids import WORKFLOW_ID
from domain.keys import redact
from domain.paths import MAX_NAME, parse_path
from domain.pings import MAX_DURATION_MS, MAX_TEXT, PingStatus, error_text
from domain.sloppy import is_absent, message_of, moment_of, says_nothing, text_of

MAX_JOB_NAME: Final = 4_000
MAX_WORKFLOW_ID: Final = 128
HASH_CHARACTERS: Final = 8

_NOT_IN_IDS: Final = re.compile(r"[^A-Za-z0-9_.\-]+")
_NOT_IN_PATHS: Final = re.compile(r"[^\w .:/\-]+")
_INTEGRATIONS: Final = ("airflow", "spark", "dbt", "flink", "dagster", "trino", "hive")
_PARENT_FACETS: Final = ("parent", "parentRun")
"""The second is what it was called before 1.0; old emitters send both."""


class EventType(StrEnum):
    START = "START"
    RUNNING = "RUNNING"
    COMPLETE = "COMPLETE"
    ABORT = "ABORT"
    FAIL = "FAIL"
    OTHER = "OTHER"

    @property
    def is_end(self) -> bool:
        return self in _ENDS


_ENDS: Final = frozenset({EventType.COMPLETE, EventType.ABORT, EventType.FAIL})


@dataclass(frozen=True)
class JobRun:
    """A run, and the job that it is a run of."""

    run_id: str
    namespace: str
    job: str


@dataclass(frozen=True)
class RunEvent:
    """What an event says.

    `whole` is the run that `run` is a part of in the end: the root that it names, else its parent, else itself.
    `index` is which of the many that Airflow has mapped one task to; `took` how long by the emitter's own account.
    """

    type: EventType
    at: datetime
    run: JobRun
    whole: JobRun
    agent: str
    error: str | None = None
    index: int | None = None
    took: timedelta | None = None


@dataclass(frozen=True)
class End:
    """That a run has ended, as an event has told before; `at` by the emitter's clock. `assumed`: it was another run's
    event that this follows from."""

    run_id: str
    at: datetime
    status: PingStatus
    error: str | None = None
    assumed: bool = False


@dataclass(frozen=True)
class Known:
    """What is known when an event comes: when its run started, and the ends of all runs of its stage."""

    started_at: datetime | None = None
    ends: tuple[End, ...] = ()


@dataclass(frozen=True)
class Said:
    """What an event says in the light of what is known."""

    status: PingStatus
    error: str | None = None
    duration_ms: int | None = None


def read_event(document: object) -> RunEvent | None:
    """None for an event without a run: one of a job or a dataset. Raises InvalidRequest that names what is wrong."""
    if not isinstance(document, dict):
        raise InvalidRequest.of_field("body", "must be an OpenLineage event, a JSON object, or a list of them")
    if document.get("run") is None and any(isinstance(document.get(name), dict) for name in ("job", "dataset")):
        return None
    reader = _Reader(document)
    type_ = _type_of(reader)
    at = reader.moment("eventTime")
    run = reader.job_run("", required=True)
    whole = _whole(reader)
    reader.check()
    assert run is not None
    assert at is not None
    facets = _object(_object(document, "run"), "facets")
    instance = _object(_object(facets, "airflow"), "taskInstance")
    return RunEvent(
        type=type_,
        at=at,
        run=run,
        whole=whole if whole is not None and whole.run_id != run.run_id else run,
        agent=_agent(document),
        error=_error(type_, facets),
        index=_index(instance.get("map_index"), _object(facets, "airflow_mappedTask").get("mapIndex")),
        took=_took(instance.get("duration")),
    )


class _Reader:
    """Reads one field after the other and remembers what is wrong with each."""

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document
        self._errors: list[FieldError] = []

    def get(self, field: str) -> Any:
        """The value of a path of names; None if it is not there."""
        value: Any = self._document
        for name in field.split("."):
            value = value.get(name) if isinstance(value, dict) else None
        return value

    def refuse(self, field: str, message: str) -> None:
        self._errors.append(FieldError(field, message))

    def text(self, field: str, longest: int) -> str:
        """Empty if it is missing or wrong."""
        value = self.get(field)
        try:
            text = text_of(value, longest) if value is not None else ""
        except ValueError as error:
            self.refuse(field, str(error))
            return ""
        if not text:
            self.refuse(field, "is missing")
        if redact(text) != text:
            self.refuse(field, "contains an API key")
        return text

    def moment(self, field: str) -> datetime | None:
        value = self.get(field)
        if is_absent(value):
            self.refuse(field, "is missing")
            return None
        try:
            return moment_of(value)
        except ValueError as error:
            self.refuse(field, str(error))
            return None

    def job_run(self, prefix: str, *, required: bool) -> JobRun | None:
        if not required and not isinstance(self.get(f"{prefix}run"), dict):
            return None
        run_id = self.text(f"{prefix}run.runId", MAX_TEXT)
        namespace = self.text(f"{prefix}job.namespace", MAX_JOB_NAME)
        job = self.text(f"{prefix}job.name", MAX_JOB_NAME)
        return JobRun(run_id, namespace, job)

    def check(self) -> None:
        if self._errors:
            message = "; ".join(f"{error.field}: {error.message}" for error in self._errors)
            raise InvalidRequest(message, fields=tuple(self._errors))


def _type_of(reader: _Reader) -> EventType:
    """Words that are not known yet are taken for OTHER, and so is none."""
    value = reader.get("eventType")
    if is_absent(value):
        return EventType.OTHER
    if not isinstance(value, str):
        reader.refuse("eventType", f"must be one of {', '.join(EventType)}")
        return EventType.OTHER
    word = value.strip().upper()
    return EventType(word) if word in EventType.__members__ else EventType.OTHER


def _whole(reader: _Reader) -> JobRun | None:
    for name in _PARENT_FACETS:
        facet = f"run.facets.{name}"
        if isinstance(reader.get(facet), dict):
            return reader.job_run(f"{facet}.root.", required=False) or reader.job_run(f"{facet}.", required=True)
    return None


def _object(value: Mapping[str, Any], name: str) -> Mapping[str, Any]:
    found = value.get(name)
    return found if isinstance(found, dict) else {}


def _error(type_: EventType, facets: Mapping[str, Any]) -> str | None:
    if type_ not in (EventType.FAIL, EventType.ABORT):
        return None
    message = _object(facets, "errorMessage").get("message")
    if says_nothing(message):
        return "Aborted" if type_ is EventType.ABORT else None
    return error_text(redact(storable_text(message_of(message))))


def _agent(document: Mapping[str, Any]) -> str:
    """The tool: what the job's type says, or else where the event comes from."""
    job_type = _object(_object(_object(document, "job"), "facets"), "jobType").get("integration")
    if isinstance(job_type, str) and (name := _NOT_IN_PATHS.sub("_", job_type.strip())[:MAX_TEXT]):
        return redact(name.lower())
    producer = str(document.get("producer")).lower()
    return next((name for name in _INTEGRATIONS if name in producer), "openlineage")


def _index(*values: object) -> int | None:
    return next((value for value in values if type(value) is int and 0 <= value < 10**9), None)


def _took(seconds: object) -> timedelta | None:
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= MAX_DURATION_MS / 1000:
        return None
    return timedelta(seconds=seconds)


def storable_text(text: str) -> str:
    """Without what Postgres cannot keep: U+FFFD stands where that was."""
    return text.encode("utf-8", "replace").decode().replace("\x00", "\ufffd")


# Where it belongs


def workflow_id_of(run: JobRun) -> str:
    """`<namespace>.<job>`, with `_` for what an id cannot have. What would make two jobs one, letters that are lost or
    more than fit, is told apart by a hash."""
    name = f"{run.namespace}.{run.job}"
    id_ = _NOT_IN_IDS.sub("_", redact(name))
    if id_.strip("._") and len(id_) <= MAX_WORKFLOW_ID and not _loses_letters(name, _NOT_IN_IDS):
        return id_
    return f"{id_[: MAX_WORKFLOW_ID - HASH_CHARACTERS - 1]}-{_hash(name)}"


def second_workflow_id(workflow_id: str, account_id: str) -> str:
    """What an account calls the workflow if another account has that id already."""
    suffix = _hash(f"{account_id}/{workflow_id}")
    id_ = f"{workflow_id[: MAX_WORKFLOW_ID - HASH_CHARACTERS - 1]}-{suffix}"
    assert WORKFLOW_ID.fullmatch(id_)
    return id_


def stage_path(run: JobRun, whole: JobRun, index: int | None = None) -> str:
    """The stage that a run is in the instance of `whole`: the name of its job without the other's, `etl.load` in `etl`
    is `load`. The whole itself is a stage of its own name."""
    name = run.job
    if run.run_id != whole.run_id:
        name = name.removeprefix(f"{whole.job}.") or name
        # A part may be called like the whole.
        name = f"{whole.job}.{name}" if name == whole.job else name
    if index is not None:
        name = f"{name}:{index}"
    return _valid_path(name)


def _valid_path(name: str) -> str:
    path = _NOT_IN_PATHS.sub("_", redact(name)).strip()
    if not path or not (path[0].isalnum() or path[0] == "_"):
        path = f"_{path}"
    if len(path.encode()) > MAX_NAME:
        room = MAX_NAME - HASH_CHARACTERS - 1
        path = f"{path.encode()[:room].decode(errors='ignore').rstrip()}-{_hash(name)}"
    try:
        return parse_path(path)
    except InvalidRequest:
        # Digits and dots that are no path of numbers, such as a date.
        return parse_path(f"_{path}"[:MAX_NAME])


def _loses_letters(name: str, lost: re.Pattern[str]) -> bool:
    return any(character.isalnum() for part in lost.findall(name) for character in part)


def _hash(text: str) -> str:
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:HASH_CHARACTERS]


def event_key(event: RunEvent, workflow_id: str, path: str) -> str:
    """What an event that is sent again has in common with itself."""
    parts = (workflow_id, path, event.run.run_id, event.type.value, event.at.isoformat())
    return f"openlineage:{sha256('/'.join(parts).encode()).hexdigest()}"


# What it means


def understand_event(event: RunEvent, known: Known) -> Said:
    """How the stage stands once the event is taken in.

    Events come in any order. One that was overtaken by the end of its own run, or by a later end of another run of the
    same stage, such as the next try of a task, changes nothing: it says what the latest end has said. An end that was
    only assumed gives way to one that is told.
    """
    ends = _ends_before(event, known.ends)
    latest = max(ends, key=lambda end: end.at, default=None)
    if latest is not None and (latest.at > event.at or (not event.type.is_end and _has_ended(event, ends))):
        return Said(latest.status, latest.error, _duration_ms(event, known))
    if not event.type.is_end:
        return Said(PingStatus.PENDING)
    status = PingStatus.HEALTHY if event.type is EventType.COMPLETE else PingStatus.FAILED
    return Said(status, event.error, _duration_ms(event, known))


def _ends_before(event: RunEvent, ends: Collection[End]) -> list[End]:
    told = {end.run_id for end in ends if not end.assumed}
    return [end for end in ends if not end.assumed or (end.run_id not in told and not event.type.is_end)]


def _has_ended(event: RunEvent, ends: Collection[End]) -> bool:
    return any(end.run_id == event.run.run_id for end in ends)


def _duration_ms(event: RunEvent, known: Known) -> int | None:
    if not event.type.is_end:
        return None
    lasted = event.at - known.started_at if known.started_at is not None else event.took
    milliseconds = round(lasted / timedelta(milliseconds=1)) if lasted is not None else -1
    return milliseconds if 0 <= milliseconds <= MAX_DURATION_MS else None
