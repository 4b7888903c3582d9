"""Resuming a run that the circuit breaker has paused."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from decimal import Decimal

from domain.budgets import dollars
from domain.errors import Conflict, InvalidRequest
from domain.instances import InstanceStatus, Pause


class NotPaused(Conflict):
    """Only a paused run is resumed; `workflow_status` says how it stands. One that was terminated takes a new run."""

    code = "not_paused"
    title = "Instance not paused"

    @classmethod
    def of(cls, instance_id: str, status: InstanceStatus) -> "NotPaused":
        if status is InstanceStatus.TERMINATED:
            message = f"Instance {instance_id} was terminated and cannot be resumed. Open a new one to go on."
        else:
            message = f"Instance {instance_id} is {status}, not paused; there is nothing to resume."
        return cls(message, workflow_status=status.value)


def ended(pauses: Sequence[Pause], now: datetime) -> tuple[Pause, ...]:
    """The pauses once the last of them is over. It ends no earlier than it began: clocks differ."""
    *before, last = pauses
    return (*before, replace(last, end=max(now, last.start)))


def check_raise(limit_usd: Decimal, spent_usd: Decimal, present_usd: Decimal | None) -> None:
    """Raises InvalidRequest for a limit that would not let the run go on any further than it may now."""
    if present_usd is not None and limit_usd <= present_usd:
        message = f"must be more than the present limit, {dollars(present_usd)}"
        raise InvalidRequest.of_field("budget_limit_usd", message)
    if limit_usd <= spent_usd:
        message = f"must be more than what the run has cost already, {dollars(spent_usd)}"
        raise InvalidRequest.of_field("budget_limit_usd", message)


def reason_of(pause: Pause, by: str, approval_id: str | None) -> str:
    """Of the transition."""
    approval = f" (approval {approval_id})" if approval_id is not None else ""
    return f"Resumed by {by}{approval}. It was paused: {pause.reason}"
