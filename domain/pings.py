"""What callers report, and how their many words for the same thing are understood."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from typing import Any, Final

from domain.errors import InvalidRequest
from domain.usage import mentions_gen_ai, understand_model, understand_usage

MAX_PAYLOAD_BYTES: Final = 100_000
MAX_TEXT: Final = 256
MAX_ERROR_TEXT: Final = 500
MAX_COST_USD: Final = Decimal(10**9)
MAX_COST_DECIMALS: Final = 18
MAX_DURATION_MS: Final = 366 * 86_400 * 1000


class PingStatus(StrEnum):
    """What a ping says of its stage; `pending` announces one that is still being worked on."""

    HEALTHY = "healthy"
    FAILED = "failed"
    PENDING = "pending"


class Event(StrEnum):
    """What a ping says of a subject that has no stages: a pulse, a process run."""

    START = "start"
    SUCCESS = "success"
    FAIL = "fail"
    LOG = "log"
    """Kept, and nothing else."""


class Outcome(StrEnum):
    """What became of a ping. Facts are immutable; this alone is written later, once."""

    ACCEPTED = "accepted"
    REJECTED = "rejected"
    PENDING = "pending"
    """Waits for its verdict."""
    EARLY = "early"
    """Waits for an instance to open."""
    WITHDRAWN = "withdrawn"
    """Answered with an error because no verdict could be had; never applied."""


@dataclass(frozen=True)
class PingFact:
    """What the rules need to know of a ping. Travels in Temporal signals; the payload stays in Postgres.

    `gateway` is the gateway that journaled it: within one gateway and subject, ids only grow.
    `at` is when the gateway received it. `path` is the stage that it reports or, where its subject has no stages, the
    Event. `run_id` is the run of a pulse that it names, `duration_ms` how long that took by the caller's own account.
    """

    id: int
    gateway: int
    path: str
    status: PingStatus
    at: datetime
    agent: str | None = None
    name: str | None = None
    error: str | None = None
    final: bool = False
    run_id: str | None = None
    duration_ms: int | None = None


@dataclass(frozen=True)
class Report:
    """The members of a payload that are understood and kept in columns of their own."""

    status: PingStatus = PingStatus.HEALTHY
    error: str | None = None
    duration_ms: int | None = None
    handoff_reason: str | None = None
    model_id: str | None = None
    usage: dict[str, Any] | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: Decimal | None = None
    tool_calls: list[Any] | None = None
    cached_tokens: int | None = None
    cache_write_tokens: int | None = None
    reasoning_tokens: int | None = None
    reservation_id: str | None = None
    """The money that was set aside for what it reports."""

    @property
    def tells_costs(self) -> bool:
        """Whether it says anything that a cost follows from, or should."""
        return self is not _NOTHING_SAID and (
            self.model_id is not None
            or self.cost_usd is not None
            or bool(self.usage)
            or self.input_tokens is not None
            or self.output_tokens is not None
            or self.cached_tokens is not None
            or self.cache_write_tokens is not None
            or self.reasoning_tokens is not None
        )


_FAILED: Final = frozenset(
    {"failed", "fail", "failure", "error", "errored", "exception", "critical", "fatal", "down", "broken", "crashed"}
    | {"ko", "nok", "no", "not_ok", "unhealthy", "panic", "bad", "exited"}
    | {"timeout", "timed_out", "cancelled", "canceled", "aborted", "killed", "false"}
    | {"upstream_failed", "dag_failed"}
)
_PENDING: Final = frozenset(
    {"pending", "started", "starting", "start", "running", "in_progress", "queued", "waiting"}
    | {"scheduled", "deferred", "restarting", "up_for_retry", "up_for_reschedule"}
)


def understand_status(value: object) -> PingStatus:
    """A caller's word or exit code. Zero is healthy, any other number failed; unknown words are healthy.

    A caller pings because a stage happened: only a word that says otherwise makes it fail.
    """
    if isinstance(value, bool):
        return PingStatus.HEALTHY if value else PingStatus.FAILED
    if isinstance(value, int | float):
        return PingStatus.HEALTHY if value == 0 else PingStatus.FAILED
    if not isinstance(value, str):
        return PingStatus.HEALTHY
    word = value.strip().lower().replace("-", "_").replace(" ", "_")
    word = word.removeprefix("exit_").removeprefix("code_")
    if word.lstrip("-+_").isdecimal():
        return PingStatus.HEALTHY if not word.strip("-+_0") else PingStatus.FAILED
    if word in _FAILED:
        return PingStatus.FAILED
    return PingStatus.PENDING if word in _PENDING else PingStatus.HEALTHY


_NOTHING_SAID: Final = Report()
_UNDERSTOOD: Final = frozenset(
    {"status", "exit_code", "error", "duration", "duration_ms", "handoff_reason"}
    | {"model_id", "model", "usage", "usageMetadata", "usage_metadata", "cost_usd", "tool_calls", "reservation_id"}
)


def understand(payload: Mapping[str, Any]) -> Report:
    """Reads the understood members of a payload; raises InvalidRequest naming one whose value cannot be meant."""
    if _UNDERSTOOD.isdisjoint(payload) and not mentions_gen_ai(payload):
        return _NOTHING_SAID
    status = payload.get("status", payload.get("exit_code"))
    usage = understand_usage(payload)
    tool_calls = payload.get("tool_calls")
    if tool_calls is not None and not isinstance(tool_calls, list):
        raise InvalidRequest.of_field("tool_calls", "must be a list of objects")
    return Report(
        status=understand_status(status),
        error=error_text(payload.get("error")),
        duration_ms=_duration_ms(payload),
        handoff_reason=_short_text(payload, "handoff_reason"),
        model_id=understand_model(payload),
        usage=payload.get("usage"),
        input_tokens=usage.input_tokens,
        output_tokens=usage.output_tokens,
        cost_usd=_cost(payload.get("cost_usd")),
        tool_calls=tool_calls,
        cached_tokens=usage.cached_tokens,
        cache_write_tokens=usage.cache_write_tokens,
        reasoning_tokens=usage.reasoning_tokens,
        reservation_id=_short_text(payload, "reservation_id"),
    )


def error_text(error: object) -> str | None:
    """What went wrong, shortened; None if nothing is said."""
    if error is None or error == "":
        return None
    text = error if isinstance(error, str) else json.dumps(error, ensure_ascii=False)
    return text if len(text) <= MAX_ERROR_TEXT else text[: MAX_ERROR_TEXT - 1] + "…"


def _short_text(payload: Mapping[str, Any], field: str) -> str | None:
    value = payload.get(field)
    if not isinstance(value, str) or not value:
        return None
    if len(value) > MAX_TEXT:
        raise InvalidRequest.of_field(field, f"is longer than {MAX_TEXT} characters")
    return value


def _duration_ms(payload: Mapping[str, Any]) -> int | None:
    """`duration_ms`, or `duration` in seconds; text such as "12 minutes" is left to the payload."""
    for field, factor in (("duration_ms", 1), ("duration", 1000)):
        value = payload.get(field)
        if isinstance(value, bool) or not isinstance(value, int | float):
            continue
        milliseconds = value * factor
        if not 0 <= milliseconds <= MAX_DURATION_MS:
            raise InvalidRequest.of_field(field, "must be between 0 and 366 days")
        return round(milliseconds)
    return None


def _cost(value: object) -> Decimal | None:
    if value is None:
        return None
    try:
        # Through text, because a float's own Decimal carries its binary noise.
        cost = Decimal(str(value)) if not isinstance(value, bool) else Decimal("NaN")
    except InvalidOperation:
        cost = Decimal("NaN")
    if not cost.is_finite() or not 0 <= cost <= MAX_COST_USD or _decimals(cost) > MAX_COST_DECIMALS:
        raise InvalidRequest.of_field("cost_usd", "must be US dollars, 0 or more, with at most 18 decimals")
    return cost


def _decimals(number: Decimal) -> int:
    exponent = number.as_tuple().exponent
    return -exponent if isinstance(exponent, int) else 0
