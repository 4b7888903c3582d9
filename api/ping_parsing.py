"""What the callers of each kind of ping say, validated."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from api.ping_input import Body, Content, Parameters, check_id
from domain.errors import InvalidRequest
from domain.pings import Event, PingStatus
from domain.pulses import DEFAULT_GRACE_SECONDS, DEFAULT_PERIOD_SECONDS, MAX_SECONDS
from domain.routing import NewPulse
from domain.schedules import MAX_PERIOD_SECONDS, MIN_PERIOD_SECONDS
from domain.slugs import check_slug

MAX_INSTANCE_ID: Final = 64
MAX_RUN_ID: Final = 64


@dataclass(frozen=True)
class StagePing:
    path: str
    name: str | None
    start: bool
    final: bool
    instance_id: str | None
    content: Content


@dataclass(frozen=True)
class PulsePing:
    """`is_plain`: the caller says no more than that it is alive. `create`: with which schedule the target may come
    into being."""

    event: Event
    run_id: str | None
    is_plain: bool
    create: NewPulse | None
    content: Content


@dataclass(frozen=True)
class RunPing:
    event: Event
    run_id: str | None
    content: Content


def parse_stage_ping(
    query: Mapping[str, str], body: Body, idempotency_header: str | None, *, stage_parameter: str
) -> StagePing:
    """Validates; raises InvalidRequest naming the field. `stage_parameter` is the endpoint's own name of the stage."""
    parameters = Parameters(query, body.members)
    return StagePing(
        path=parameters.path(stage_parameter, "stage" if stage_parameter == "stagePath" else "stagePath"),
        name=parameters.text("stagename"),
        start=parameters.flag("start"),
        final=parameters.flag("final"),
        instance_id=parameters.text("instance_id", MAX_INSTANCE_ID),
        content=parameters.content(body, idempotency_header),
    )


def parse_pulse_ping(
    query: Mapping[str, str], body: Body, idempotency_header: str | None, *, target: str, event: Event
) -> PulsePing:
    """Validates; raises InvalidRequest naming the field."""
    parameters = Parameters(query, body.members)
    create = None
    if parameters.flag("create"):
        check_slug("target", target)
        if any(parameters.get(name)[1] is not None for name in ("cron", "timezone")):
            raise InvalidRequest.of_field("cron", "cannot be given by a ping; define the pulse with POST /api/pulses")
        create = NewPulse(
            parameters.number("period", MIN_PERIOD_SECONDS, MAX_PERIOD_SECONDS) or DEFAULT_PERIOD_SECONDS,
            _or(parameters.number("grace", 0, MAX_SECONDS), DEFAULT_GRACE_SECONDS),
        )
    run_id = parameters.text("rid", MAX_RUN_ID)
    content = parameters.content(body, idempotency_header)
    is_plain = event is Event.SUCCESS and not content.says_status
    if event is Event.SUCCESS and content.report.status is PingStatus.FAILED:
        event = Event.FAIL
    return PulsePing(event, run_id, is_plain, create, content)


def parse_run_ping(query: Mapping[str, str], body: Body, idempotency_header: str | None, *, event: Event) -> RunPing:
    """Validates; raises InvalidRequest naming the field."""
    parameters = Parameters(query, body.members)
    run_id = parameters.text("run_id", MAX_RUN_ID)
    if run_id is not None:
        if event is Event.START:
            raise InvalidRequest.of_field("run_id", "is given out by a start; send it with the finish")
        check_id("run_id", run_id)
    content = parameters.content(body, idempotency_header, inner="metadata")
    if event is Event.SUCCESS and content.report.status is PingStatus.FAILED:
        event = Event.FAIL
    return RunPing(event, run_id, content)


def _or(number: float | None, default: float) -> float:
    return default if number is None else number
