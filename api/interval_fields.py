"""When reports of a run workflow are expected, as requests say it."""

from typing import Annotated, Final

from pydantic import BaseModel, Field

from domain.errors import InvalidRequest
from domain.pulses import DEFAULT_GRACE_SECONDS
from domain.schedules import MAX_PERIOD_SECONDS, MIN_PERIOD_SECONDS
from domain.workflows import MAX_TIMEOUT_SECONDS, WorkflowKind
from storage.expectations import Expected, Interval

INTERVAL_FIELDS: Final = ("expected_interval_seconds", "expected_interval_minutes", "expected_grace_seconds")

Grace = Annotated[float, Field(ge=0, le=MAX_TIMEOUT_SECONDS)]


class IntervalFields(BaseModel):
    expected_interval_seconds: Annotated[float, Field(ge=MIN_PERIOD_SECONDS, le=MAX_PERIOD_SECONDS)] | None = Field(
        None, description="Run workflows only: the longest time between two reports."
    )
    expected_interval_minutes: Annotated[float, Field(gt=0, le=MAX_PERIOD_SECONDS / 60)] | None = Field(
        None, description="The same in minutes."
    )
    expected_grace_seconds: Grace | None = Field(
        None, description=f"How much later a report may still come; {DEFAULT_GRACE_SECONDS:g} if left out."
    )


def changed_interval(body: IntervalFields, kind: WorkflowKind, before: Expected | None) -> Interval | None:
    """What is expected once the body's fields count. Raises InvalidRequest naming one of them."""
    minutes, seconds = body.expected_interval_minutes, body.expected_interval_seconds
    if minutes is not None:
        if seconds is not None and seconds != minutes * 60:
            raise InvalidRequest.of_field("expected_interval_minutes", "give either seconds or minutes, not both")
        seconds = minutes * 60
    if seconds is None and body.model_fields_set.isdisjoint(INTERVAL_FIELDS[:2]) and before is not None:
        seconds = before.seconds
    if seconds is None:
        if body.expected_grace_seconds is not None:
            raise InvalidRequest.of_field("expected_grace_seconds", "is only for an expected_interval_seconds")
        return None
    if kind is not WorkflowKind.RUN:
        message = f"is for run workflows; watch a {kind} one with its timeouts, or with a pulse"
        raise InvalidRequest.of_field("expected_interval_seconds", message)
    if seconds < MIN_PERIOD_SECONDS:
        raise InvalidRequest.of_field("expected_interval_minutes", f"must be {MIN_PERIOD_SECONDS:g} second or more")
    grace = body.expected_grace_seconds
    if grace is None:
        grace = before.grace_seconds if before is not None else DEFAULT_GRACE_SECONDS
    return Interval(seconds, grace)
