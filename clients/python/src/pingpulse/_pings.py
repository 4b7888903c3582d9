"""Pings as calls: what a caller says, as a request. Nothing here sends anything."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from decimal import Decimal
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, TypedDict
from uuid import uuid4

from pingpulse._parsing import parse
from pingpulse._wire import MAX_BODY_BYTES, Call, Request, encode, segment
from pingpulse.errors import PayloadError
from pingpulse.models import ProcessAnswer, PulseAnswer, StageAnswer

if TYPE_CHECKING:
    from typing_extensions import Unpack

Kind = Literal["static", "dynamic"]
Payload = Mapping[str, Any]

MAX_ERROR_TEXT = 500
MAX_DURATION_SECONDS = 366 * 86_400

_STAGE_BLANKS = {"stage": "", "stagePath": "", "stagename": "", "start": "no", "final": "no", "instance_id": ""}
_PULSE_BLANKS = {"create": "no", "period": "", "grace": "", "rid": ""}
_RUN_BLANKS = {"run_id": ""}
_MEMBERS = frozenset(
    {"status", "error", "duration_seconds", "model_id", "usage", "cost_usd", "tool_calls", "handoff_reason"}
)
_COMMON_BLANKS = {"agent": "", "idempotency_key": ""}

log = logging.getLogger("pingpulse")


class Details(TypedDict, total=False):
    """What every ping may say.

    `status` is a word or an exit code, `error` what went wrong, `duration_seconds` how long it took. `payload` is kept
    with the ping: a mapping of up to 100 kB. `idempotency_key` is made up for each ping unless it is given.
    """

    agent: str | None
    status: str | int | None
    error: str | None
    duration_seconds: float | None
    payload: Payload | None
    idempotency_key: str | None


class CostDetails(Details, total=False):
    """What it cost: `cost_usd`, or a `model_id` and its `usage` in the words of the model's maker."""

    model_id: str | None
    usage: Mapping[str, Any] | None
    cost_usd: Decimal | float | str | None
    tool_calls: list[Any] | None
    handoff_reason: str | None


class StageDetails(CostDetails, total=False):
    """`name` is a label for people. `start` opens a run of a dynamic workflow and `final` completes it; without
    `instance_id`, the ping belongs to the workflow's current run."""

    name: str | None
    start: bool
    final: bool
    instance_id: str | None


class PulseDetails(CostDetails, total=False):
    """`run_id`, any text of up to 64 characters, tells runs apart that overlap. `create` makes the pulse if there is
    none, with `period_seconds` and `grace_seconds`."""

    run_id: str | None
    create: bool
    period_seconds: float | None
    grace_seconds: float | None


class ProcessDetails(Details, total=False):
    """`run_id` is what the start has answered; without it, the newest open run is meant."""

    run_id: str | None


def stage_ping(
    workflow_id: str, path: str | int, kind: Kind = "dynamic", lenient: bool = False, **details: Unpack[StageDetails]
) -> Call[StageAnswer]:
    """`lenient` leaves out a payload that cannot be sent, instead of raising PayloadError."""
    if kind not in ("static", "dynamic"):
        raise ValueError(f"a workflow is static or dynamic, not {kind!r}")
    said: dict[str, Any] = dict(details)
    query = {"stage" if kind == "static" else "stagePath": str(path)}
    _put(query, "stagename", said.pop("name", None))
    _put(query, "instance_id", said.pop("instance_id", None))
    for flag in ("start", "final"):
        if said.pop(flag, False):
            query[flag] = "yes"
    address = f"/{'shk' if kind == 'static' else 'dhk'}/{segment(workflow_id)}"
    return Call(_request(address, query, _STAGE_BLANKS, said, lenient), partial(parse, StageAnswer))


def pulse_ping(
    target: str,
    event: Literal["ping", "start", "fail", "log"] = "ping",
    lenient: bool = False,
    **details: Unpack[PulseDetails],
) -> Call[PulseAnswer]:
    said: dict[str, Any] = dict(details)
    query: dict[str, str] = {}
    _put(query, "rid", said.pop("run_id", None))
    period, grace = said.pop("period_seconds", None), said.pop("grace_seconds", None)
    if said.pop("create", False):
        query["create"] = "yes"
        _put(query, "period", period)
        _put(query, "grace", grace)
    address = f"/hb/{segment(target)}/{event}"
    return Call(_request(address, query, _PULSE_BLANKS, said, lenient), partial(parse, PulseAnswer))


def process_ping(
    hook: str,
    event: Literal["start", "finish", "fail"],
    lenient: bool = False,
    **details: Unpack[ProcessDetails],
) -> Call[ProcessAnswer]:
    said: dict[str, Any] = dict(details)
    query: dict[str, str] = {}
    _put(query, "run_id", said.pop("run_id", None))
    address = f"/phk/{segment(hook)}/{event}"
    return Call(_request(address, query, _RUN_BLANKS, said, lenient, "metadata"), partial(parse, ProcessAnswer))


def with_message(details: PulseDetails, message: str | None) -> PulseDetails:
    """The message becomes a member of the payload."""
    if message is None:
        return details
    return {**details, "payload": {**(details.get("payload") or {}), "message": message}}


def _request(
    address: str,
    query: dict[str, str],
    blanks: Mapping[str, str],
    said: dict[str, Any],
    lenient: bool,
    inner: str | None = None,
) -> Request:
    """`inner` is the member that the payload becomes; without it, the payload's members are the body's own."""
    key = said.pop("idempotency_key", None) or uuid4().hex
    _put(query, "agent", said.pop("agent", None))
    payload = said.pop("payload", None)
    outcome = _outcome(payload)
    if inner is not None and payload is not None:
        payload = {inner: payload}
    members = _members(said, lenient)
    lesser: tuple[bytes | None, ...] = ()
    try:
        body = _body(payload, members)
    except PayloadError as error:
        if not lenient:
            raise
        # How it went is what matters.
        log.warning("A ping to %s goes without its payload. %s", address, error)
        payload, body = None, _body(None, {**outcome, **_essential(members)})
    else:
        if lenient:
            lesser = _lesser_bodies(body, {**outcome, **members}, {**outcome, **_essential(members)})
    # A parameter in the query comes before one in the body, which then stays in the payload.
    for name, blank in {**_COMMON_BLANKS, **blanks}.items():
        if name in (payload or {}):
            query.setdefault(name, blank)
    return Request("POST", address, query, body, key, lesser_bodies=lesser)


def _outcome(payload: object) -> dict[str, Any]:
    """What a payload says of how it went, which counts even where the rest of it cannot be sent."""
    if not isinstance(payload, Mapping):
        return {}
    said = {name: payload.get(name) for name in ("status", "exit_code", "error")}
    return {
        name: clean(value) if isinstance(value, str) else value
        for name, value in said.items()
        if isinstance(value, str | int)
    }


def _essential(members: Mapping[str, Any]) -> dict[str, Any]:
    return {name: members[name] for name in ("status", "error", "duration_ms") if name in members}


def _lesser_bodies(body: bytes | None, *documents: Mapping[str, Any]) -> tuple[bytes | None, ...]:
    """The documents as bodies, each of which says less than the one before."""
    bodies = [body, *(_body(None, document) for document in documents)]
    return tuple(lesser for before, lesser in zip(bodies, bodies[1:], strict=False) if lesser != before)


def _members(said: Mapping[str, Any], lenient: bool) -> dict[str, Any]:
    """The members of the body that PingPulse understands. Raises TypeError for what nothing knows."""
    if unknown := ", ".join(sorted(said.keys() - _MEMBERS)):
        if not lenient:
            raise TypeError(f"a ping has no {unknown}")
        log.warning("A ping has no %s: that is left out", unknown)
    members = {name: value for name, value in said.items() if name in _MEMBERS and value is not None}
    if (seconds := members.pop("duration_seconds", None)) is not None:
        members["duration_ms"] = round(min(max(seconds, 0.0), MAX_DURATION_SECONDS) * 1000)
    if "error" in members:
        members["error"] = clean(members["error"])
    return members


def _body(payload: Payload | None, members: Mapping[str, Any]) -> bytes | None:
    if payload is not None and not isinstance(payload, Mapping):
        raise PayloadError(f"A payload is a mapping, not {type(payload).__name__}.")
    if payload is not None and "key" in payload:
        raise PayloadError("A payload cannot have a member 'key': PingPulse would take it for the API key.")
    document = {**(payload or {}), **members}
    body = encode(document) if document else None
    if body is not None and len(body) > MAX_BODY_BYTES:
        raise PayloadError(f"It has {len(body)} bytes as JSON, and {MAX_BODY_BYTES} is the most.")
    return body


def _put(query: dict[str, str], name: str, value: object) -> None:
    if value is not None:
        query[name] = str(value).encode("utf-8", "replace").decode()


def clean(text: object) -> str:
    """A text that can be kept: no NUL, nothing that is not Unicode, and not too long."""
    try:
        said = str(text)
    except Exception as error:
        said = f"{type(text).__name__}, whose text cannot be had ({type(error).__name__})"
    said = said.replace("\x00", "").encode("utf-8", "replace").decode()
    return said if len(said) <= MAX_ERROR_TEXT else f"{said[: MAX_ERROR_TEXT - 1]}…"


def describe(error: BaseException) -> str:
    """An exception in a line: its name and what it says."""
    text = clean(error)
    return clean(f"{type(error).__name__}: {text}" if text else type(error).__name__)
