"""OpenTelemetry's spans as pings: a trace is an instance, and its spans of generative AI are stages.

The names of attributes are those of OpenTelemetry's conventions for generative AI, the older ones too.
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from hashlib import sha256
from typing import Any, Final

from domain.ids import WORKFLOW_ID
from domain.keys import redact
from domain.otel_values import MAX_NAME as MAX_ATTRIBUTE
from domain.otel_values import clean, fitting, json_of, plain, shortened, size_of, text_of
from domain.paths import MAX_NAME, parse_path
from domain.pings import (
    MAX_COST_DECIMALS,
    MAX_COST_USD,
    MAX_DURATION_MS,
    MAX_PAYLOAD_BYTES,
    MAX_TEXT,
    PingStatus,
    Report,
    error_text,
)
from domain.reports import RUN_PATH
from domain.sloppy import EARLIEST, LATEST
from domain.usage import MAX_MODEL_TEXT, MAX_TOKENS, understand_usage

WORKFLOW_ATTRIBUTE: Final = "pingpulse.workflow"
UNNAMED_SERVICE: Final = "unknown_service"
MAX_WORKFLOW_ID: Final = 128

_GEN_AI: Final = "gen_ai."
_USAGE: Final = "gen_ai.usage."
_SUBJECTS: Final = {
    "chat": ("gen_ai.request.model", "gen_ai.response.model"),
    "text_completion": ("gen_ai.request.model", "gen_ai.response.model"),
    "generate_content": ("gen_ai.request.model", "gen_ai.response.model"),
    "embeddings": ("gen_ai.request.model", "gen_ai.response.model"),
    "execute_tool": ("gen_ai.tool.name",),
    "invoke_agent": ("gen_ai.agent.name",),
    "create_agent": ("gen_ai.agent.name",),
    "invoke_workflow": ("gen_ai.workflow.name",),
}
"""What an operation is done to, by its name: together they are what the conventions want the span to be called."""
_WHOLES: Final = frozenset({"invoke_agent", "create_agent", "invoke_workflow", "execute_tool", "plan"})
"""Operations whose spans repeat, as their sum, the tokens of the calls inside."""
_TOOL: Final = {
    "name": "gen_ai.tool.name",
    "id": "gen_ai.tool.call.id",
    "type": "gen_ai.tool.type",
    "arguments": "gen_ai.tool.call.arguments",
    "result": "gen_ai.tool.call.result",
}
_MAX_TOOL_TEXT: Final = 2_000
_ATTRIBUTES_ROOM: Final = MAX_PAYLOAD_BYTES - 10_000
"""For attributes; the rest is for what is said of the span itself."""
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_NOT_IN_A_PATH: Final = re.compile(r"[^\w .:/\-]+")
_NOT_IN_AN_ID: Final = re.compile(r"[^A-Za-z0-9_.\-]+")


@dataclass(frozen=True)
class Span:
    """A span as it was sent.

    Ids are hexadecimal, "" if they are missing; times are nanoseconds since 1970, 0 if unknown. `is_entry`: it has no
    parent, or one in another process. `is_client`: it is a call to something remote. `resource` are the attributes of
    the process that it comes from, `exception` those of its last exception.
    """

    trace_id: str
    span_id: str
    name: str
    attributes: Mapping[str, Any]
    resource: Mapping[str, Any]
    parent_id: str = ""
    is_entry: bool = False
    is_client: bool = False
    started_ns: int = 0
    ended_ns: int = 0
    has_failed: bool = False
    message: str = ""
    exception: Mapping[str, Any] = field(default_factory=dict)
    scope: str = ""


@dataclass(frozen=True)
class SpanPing:
    """A span as a ping of the stage `path`, of the instance `trace_id` of `workflow`.

    `key` is the same whenever the span is sent again. `is_final`: with it, the trace is done here.
    """

    workflow: str
    trace_id: str
    key: str
    path: str
    name: str | None
    agent: str | None
    report: Report
    is_final: bool
    started_at: datetime | None
    ended_at: datetime | None
    payload: str


def is_kept(span: Span) -> bool:
    """Whether a span is a ping: one of generative AI, or one with which a trace enters the process."""
    return span.is_entry or any(name.startswith(_GEN_AI) for name in span.attributes)


def ping_of(span: Span) -> SpanPing | None:
    """What a span says; None if nobody could tell which it is, because an id is missing."""
    if not span.trace_id or not span.span_id:
        return None
    attributes = {clean(str(name))[:MAX_ATTRIBUTE]: plain(value) for name, value in span.attributes.items()}
    name = clean(span.name).strip()
    path = _path(name, attributes)
    workflow = workflow_of(span.resource)
    return SpanPing(
        workflow=workflow,
        trace_id=span.trace_id,
        key=f"otel:{workflow}:{span.trace_id}:{span.span_id}",
        path=path,
        name=name[:MAX_TEXT] if name and name != path else None,
        agent=text_of(attributes, MAX_TEXT, "gen_ai.agent.name", "gen_ai.agent.id"),
        report=_report(span, attributes),
        is_final=span.is_entry,
        started_at=_moment(span.started_ns),
        ended_at=_moment(span.ended_ns),
        payload=_payload(span, attributes),
    )


def workflow_of(resource: Mapping[str, Any]) -> str:
    """The id that the workflow of such a process should have."""
    for name in (WORKFLOW_ATTRIBUTE, "service.name"):
        value = resource.get(name)
        if isinstance(value, str) and (id_ := workflow_id(value)):
            return id_
    return UNNAMED_SERVICE


def workflow_id(name: str) -> str:
    """A name as a workflow's id: itself if it can be one, "" if nothing is said."""
    name = redact(name.strip())
    if not name or (WORKFLOW_ID.fullmatch(name) and name.strip(".")):
        return name
    id_ = _NOT_IN_AN_ID.sub("-", name).strip("-.")
    if not id_ or len(id_) > MAX_WORKFLOW_ID:
        return _with_mark(id_ or "service", name)
    return id_


def workflow_id_within(account_id: str, id_: str) -> str:
    """The id in place of one that belongs to another account: always the same, and nobody else's."""
    return _with_mark(id_, account_id)


def _with_mark(id_: str, of: str) -> str:
    mark = sha256(of.encode("utf-8", "surrogatepass")).hexdigest()[:10]
    return f"{id_[: MAX_WORKFLOW_ID - 11]}-{mark}"


def span_of_time(pings: Iterable[SpanPing]) -> tuple[datetime | None, datetime | None]:
    """When the first of them began and the last one ended."""
    started, ended = [], []
    for ping in pings:
        started += [ping.started_at] if ping.started_at else []
        ended += [ping.ended_at] if ping.ended_at else []
    return min(started, default=None), max(ended, default=None)


def _path(name: str, attributes: Mapping[str, Any]) -> str:
    """A stage for people to read: of the conventions' operations what they are called, of others the span's name."""
    operation = text_of(attributes, MAX_TEXT, "gen_ai.operation.name")
    subject = text_of(attributes, MAX_TEXT, *_SUBJECTS.get(operation or "", ()))
    path = _fit_for_path(f"{operation} {subject}" if operation and subject else name or operation or "")
    if path == RUN_PATH or not re.search(r"[^0-9.]", path):
        # The one is said of whole runs, the others have an order.
        return parse_path(f"span {path}".strip())
    return parse_path(path)


def _fit_for_path(text: str) -> str:
    text = _NOT_IN_A_PATH.sub("_", " ".join(text.split())).lstrip(" .:/-")
    # What counts as a letter is not the same everywhere, so it is cut by bytes and may lose one.
    return text.encode()[: MAX_NAME - 5].decode(errors="ignore").strip()


def _report(span: Span, attributes: Mapping[str, Any]) -> Report:
    error = _error(span) if span.has_failed else None
    duration_ms = round((span.ended_ns - span.started_ns) / 1e6) if span.started_ns and span.ended_ns else -1
    report: dict[str, Any] = {
        "status": PingStatus.FAILED if span.has_failed else PingStatus.HEALTHY,
        "error": error_text(error),
        "duration_ms": duration_ms if 0 <= duration_ms <= MAX_DURATION_MS else None,
        "tool_calls": _tool_calls(attributes),
    }
    if _is_model_call(span, attributes):
        counted = {name: value for name, value in attributes.items() if name.startswith(_USAGE) and _is_count(value)}
        usage = understand_usage(counted)
        report |= {
            "model_id": text_of(attributes, MAX_MODEL_TEXT, "gen_ai.response.model", "gen_ai.request.model"),
            "usage": {name.removeprefix(_USAGE): value for name, value in counted.items()} or None,
            "input_tokens": usage.input_tokens,
            "output_tokens": usage.output_tokens,
            "cached_tokens": usage.cached_tokens,
            "cache_write_tokens": usage.cache_write_tokens,
            "reasoning_tokens": usage.reasoning_tokens,
            "cost_usd": _cost(attributes.get("gen_ai.usage.cost")),
        }
    return Report(**report)


def _is_model_call(span: Span, attributes: Mapping[str, Any]) -> bool:
    """Whether its tokens are its own. An agent in the same process has made calls that count for themselves; of one
    elsewhere nothing else is known."""
    operation = text_of(attributes, MAX_TEXT, "gen_ai.operation.name")
    if operation == "invoke_agent" and span.is_client:
        return True
    if operation in _WHOLES:
        return False
    names_model = any(attributes.get(f"gen_ai.{side}.model") for side in ("request", "response"))
    has_usage = any(name.startswith(_USAGE) for name in attributes)
    is_agent = "gen_ai.agent.name" in attributes and not operation
    return names_model or (has_usage and not is_agent)


def _is_count(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= MAX_TOKENS


def _cost(value: object) -> Decimal | None:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_COST_USD:
        return None
    # Through text, because a float's own Decimal carries its binary noise.
    return round(Decimal(str(value)), MAX_COST_DECIMALS)


def _error(span: Span) -> str | None:
    """What went wrong, by the status, the exception, or the conventions' attribute: the first that says anything."""
    if message := clean(span.message).strip():
        return message
    said = [str(plain(span.exception.get(f"exception.{part}")) or "").strip() for part in ("type", "message")]
    if any(said):
        return ": ".join(filter(None, said))
    return text_of(span.attributes, MAX_TEXT, "error.type")


def _tool_calls(attributes: Mapping[str, Any]) -> list[Any] | None:
    call = {field: value for field, name in _TOOL.items() if (value := attributes.get(name)) is not None}
    if "name" not in call:
        return None
    return [
        {field: shortened(value, _MAX_TOOL_TEXT) for field, value in call.items() if size_of(value) <= _ATTRIBUTES_ROOM}
    ]


def _payload(span: Span, attributes: Mapping[str, Any]) -> str:
    started_at, ended_at = _moment(span.started_ns), _moment(span.ended_ns)
    exception = {clean(name): shortened(plain(value), _MAX_TOOL_TEXT) for name, value in span.exception.items()}
    kept = fitting(attributes, _ATTRIBUTES_ROOM)
    document = {
        "trace_id": span.trace_id,
        "span_id": span.span_id,
        "parent_span_id": span.parent_id or None,
        "started_at": started_at.isoformat() if started_at else None,
        "ended_at": ended_at.isoformat() if ended_at else None,
        "service": text_of(span.resource, MAX_TEXT, "service.name"),
        "scope": clean(span.scope)[:MAX_TEXT] or None,
        "attributes": kept,
        "attributes_shortened": True if kept is not attributes else None,
        "exception": exception if exception and size_of(exception) <= _ATTRIBUTES_ROOM // 10 else None,
    }
    return json_of({name: value for name, value in document.items() if value is not None})


def _moment(nanoseconds: int) -> datetime | None:
    try:
        at = _EPOCH + timedelta(microseconds=nanoseconds // 1000)
    except OverflowError:
        return None
    return at if EARLIEST <= at < LATEST else None
