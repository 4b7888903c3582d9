"""An instance step by step: each ping that it got, and how it stood after any of them."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from decimal import Decimal
from enum import StrEnum
from typing import Final

from domain.evaluation import InstanceView, evaluate
from domain.instances import InstanceState, Outage, Pause, Stamp, fold
from domain.pings import Outcome, PingFact, PingStatus

SHOWN: Final = (Outcome.ACCEPTED, Outcome.REJECTED)
"""Which pings are steps. One that waits for its verdict is none yet, and one that was withdrawn never happened: its
caller was told to send it again."""


class StepStatus(StrEnum):
    SUCCESS = "success"
    FAILED = "failed"
    PENDING = "pending"


STEP_STATUS: Final = {
    PingStatus.HEALTHY: StepStatus.SUCCESS,
    PingStatus.FAILED: StepStatus.FAILED,
    PingStatus.PENDING: StepStatus.PENDING,
}


@dataclass(frozen=True)
class Step:
    """One ping of an instance. `number` counts from 0 in the order in which they were received.

    A ping that was rejected is a step that is not `accepted`, for `reason`: it changed nothing, and what it cost is not
    part of `cumulative_cost_usd`, because its caller may send it again. That is None until a cost is known.
    An `inherited` one is a fork's copy of a step of the instance that was forked.
    `payload`, `usage` and `tool_calls` are JSON as it was sent; a body that was not JSON is a JSON string.
    """

    number: int
    path: str
    status: StepStatus
    at: datetime
    name: str | None = None
    agent: str | None = None
    error: str | None = None
    duration_ms: int | None = None
    model_id: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: Decimal | None = None
    cumulative_cost_usd: Decimal | None = None
    size_bytes: int = 0
    handoff_reason: str | None = None
    payload: str | None = None
    usage: str | None = None
    tool_calls: str | None = None
    accepted: bool = True
    reason_code: str | None = None
    reason: str | None = None
    expected_stage: str | None = None
    inherited: bool = False


def as_of(
    opened: InstanceState, pings: Iterable[PingFact], last: Stamp, outages: tuple[Outage, ...] = ()
) -> InstanceView:
    """The instance as it stood right after the ping `last`, which may have been rejected.

    `opened` is the instance before its first ping, `pings` are all that it accepted. What ended it later, a deadline or
    its termination, has not happened yet.
    """
    ended_at = opened.terminated_at
    is_ended = ended_at is not None and ended_at <= last.at
    state = replace(
        opened,
        terminated_at=ended_at if is_ended else None,
        termination_reason=opened.termination_reason if is_ended else None,
        pauses=tuple(_pause_at(pause, last.at) for pause in opened.pauses if pause.start <= last.at),
    )
    by_then = (ping for ping in pings if Stamp(ping.at, ping.id) <= last)
    return evaluate(fold(state, by_then, until=last.at, outages=outages))


def _pause_at(pause: Pause, at: datetime) -> Pause:
    """As it was known then."""
    return pause if pause.end is not None and pause.end <= at else replace(pause, end=None)


def step_before(at: datetime, times: Sequence[datetime], first: int = 0) -> int | None:
    """The step after which something happened; None if that was before all. `times` are those of the steps from the
    step `first` on, in order. What happened at the very moment of a step came of it."""
    index = bisect_right(times, at) - 1
    return first + index if index >= 0 else None
