"""Reading the file that an instance was exported to, with all suspicion: anybody may have written it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, NoReturn

import orjson
from pydantic import ValidationError

from api.errors import invalid_request
from api.export_file import ExportFile, PingPart, WorkflowPart
from api.ping_input import MAX_LEVELS, check_id, is_deeper, payload_text
from api.routes.workflows import stages_of
from api.views import in_utc
from domain.errors import InvalidRequest
from domain.evaluation import InstanceView
from domain.exports import FORMAT, VERSION, Exported, as_finished, in_order
from domain.instances import Outage
from domain.pings import MAX_PAYLOAD_BYTES, Outcome, PingFact
from domain.routing import External
from domain.slugs import slug_of
from domain.transitions import Transition
from domain.workflows import WorkflowDefinition

CLOCKS_APART: Final = timedelta(minutes=5)
"""Of two machines, at the most."""
ROWS_AT_ONCE: Final = 2_000

MAX_CONTAINERS: Final = 2_000_000
"""Objects and lists in all: each takes a hundred times its two characters in memory."""

MAX_JSON_BYTES: Final = 5 * MAX_PAYLOAD_BYTES
"""As it is kept: a number such as 1e15 is longer there than it was sent."""

_WRAP: Final = '{"":'


@dataclass(frozen=True)
class Import:
    """A file that was read. `rows` are the pings, as JSON lists of rows of the journal; `origin` is what stays known
    of where the instance comes from."""

    exported: Exported
    view: InstanceView
    transitions: tuple[Transition, ...]
    rows: tuple[str, ...]
    origin: dict[str, Any]


def read_file(body: bytes, now: datetime) -> Import:
    """Checks it all. Raises InvalidRequest that says what is wrong."""
    document = _parse(body)
    if not isinstance(document, dict) or document.get("format") != FORMAT:
        raise InvalidRequest.of_field("format", f'must be "{FORMAT}": send a file as GET …/export answers')
    if document.get("version") != VERSION:
        raise InvalidRequest.of_field("version", f"must be {VERSION}: a newer PingPulse has written this file")
    try:
        file = ExportFile.model_validate(document)
    except ValidationError as error:
        raise invalid_request(error.errors(include_url=False, include_input=False)) from None
    _check_times(file, now)
    exported = Exported(
        _definition(file.workflow),
        file.instance.status,
        file.instance.opened_at,
        file.instance.completed_at,
        file.exported_at,
        tuple(_fact(number, ping) for number, ping in enumerate(file.pings, 1) if ping.outcome is Outcome.ACCEPTED),
        tuple(Transition(part.path, part.before, part.after, part.at, part.reason) for part in file.transitions),
        tuple(Outage(part.start, part.end) for part in file.outages),
        External(
            file.instance.external_id, file.instance.correlation_id, file.instance.started_at, file.instance.ended_at
        ),
        file.instance.failure_reason,
    )
    view, transitions = as_finished(exported)
    origin = {
        "instance_id": file.instance.id,
        "workflow_id": file.workflow.id,
        "exported_at": in_utc(file.exported_at).isoformat(),
        "lineage": file.instance.lineage.model_dump(mode="json"),
    }
    return Import(exported, view, transitions, tuple(_rows(file.pings)), origin)


def _parse(body: bytes) -> Any:
    if body.count(b"{") + body.count(b"[") > MAX_CONTAINERS:
        raise InvalidRequest.of_field("body", f"has more than {MAX_CONTAINERS} objects and lists")
    try:
        document = json.loads(body, parse_constant=_refuse)
    except (ValueError, RecursionError) as error:
        raise InvalidRequest.of_field("body", f"is not JSON that can be read: {error}") from None
    return document


def _refuse(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON")


def _check_times(file: ExportFile, now: datetime) -> None:
    if file.exported_at > now + CLOCKS_APART:
        raise InvalidRequest.of_field("exported_at", "is in the future; check the clocks of both machines")
    latest = file.exported_at + CLOCKS_APART
    for field, at in (("opened_at", file.instance.opened_at), ("completed_at", file.instance.completed_at)):
        if at is not None and at > latest:
            raise InvalidRequest.of_field(f"instance.{field}", "is after exported_at")
    times = [ping.received_at for ping in file.pings]
    if not in_order(times) or (times and times[-1] > latest):
        raise InvalidRequest.of_field("pings", "must be in the order of received_at, none of them after exported_at")
    if any(part.at > latest for part in file.transitions):
        raise InvalidRequest.of_field("transitions", "must not be after exported_at")
    if not in_order(at for part in file.outages for at in (part.start, part.end)):
        raise InvalidRequest.of_field("outages", "must be in order, each with its start before its end")


def _definition(part: WorkflowPart) -> WorkflowDefinition:
    return WorkflowDefinition(
        id=check_id("workflow.id", part.id),
        account_id="",
        kind=part.kind,
        name=part.name,
        slug=part.slug or slug_of(part.name, part.id),
        tags=tuple(part.tags),
        validation_mode=part.validation_mode,
        stages=stages_of(part.kind, part.stages),
        stage_timeout_seconds=part.stage_timeout_seconds,
        instance_timeout_seconds=part.instance_timeout_seconds,
        idle_timeout_seconds=part.idle_timeout_seconds,
        grace_period_seconds=part.grace_period_seconds,
    )


def _fact(number: int, ping: PingPart) -> PingFact:
    """`number` stands in for the id that it has in the journal: ids settle which of two came first."""
    return PingFact(
        number,
        0,
        ping.path,
        ping.status,
        ping.received_at,
        agent=ping.agent,
        name=ping.name,
        error=ping.error,
        final=ping.final,
        duration_ms=ping.duration_ms,
    )


def _rows(pings: list[PingPart]) -> Iterator[str]:
    for start in range(0, len(pings), ROWS_AT_ONCE):
        page = enumerate(pings[start : start + ROWS_AT_ONCE], start)
        yield orjson.dumps([_row(number, ping) for number, ping in page]).decode()


def _row(number: int, ping: PingPart) -> dict[str, Any]:
    row = ping.__dict__ | {"cost_usd": None if ping.cost_usd is None else f"{ping.cost_usd:f}"}
    for name in ("usage", "tool_calls", "payload"):
        if row[name] is not None:
            row[name] = orjson.Fragment(_kept_text(f"pings.{number}.{name}", row[name]))
    return row


def _kept_text(field: str, value: Any) -> str:
    """JSON as a ping may bring it."""
    if is_deeper(value, MAX_LEVELS):
        raise InvalidRequest.of_field(field, f"is nested more than {MAX_LEVELS} levels deep")
    try:
        text = payload_text({"": value})[len(_WRAP) : -1]
    except InvalidRequest as error:
        raise InvalidRequest.of_field(field, error.message) from None
    if len(text.encode()) > MAX_JSON_BYTES:
        raise InvalidRequest.of_field(field, f"has more than {MAX_JSON_BYTES} bytes")
    return text
