"""The verdict on a ping: whether an instance takes it, and why not."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from domain.breaker import Trip
from domain.budgets import Action, BudgetReport
from domain.errors import DomainError
from domain.evaluation import stand
from domain.instances import InstanceState, InstanceStatus, merge, paused, terminated
from domain.pings import PingFact
from domain.strict import AgentRequired, StageMissed, StageOutOfOrder, StageUnknown, find_violation


class InstanceClosed(DomainError):
    """The run is over and so is its grace period; open a new one."""

    code = "instance_closed"
    status = 409
    title = "Instance closed"


class InstancePaused(DomainError):
    """The circuit breaker has paused the run. Stop, and ask whoever may resume it. The ping is in the failed queue."""

    code = "instance_paused"
    status = 409
    title = "Instance paused"

    @classmethod
    def of(cls, workflow_id: str, instance_id: str, reason: str | None) -> "InstancePaused":
        message = (
            f"Instance {instance_id} of workflow {workflow_id} is paused: {reason or 'by its budget'}."
            f" It takes pings again after POST /api/instances/{instance_id}/resume."
        )
        return cls(message, workflow_status=InstanceStatus.PAUSED.value)


class InstanceTerminated(DomainError):
    """The circuit breaker has ended the run. Open a new one if work is to go on. The ping is in the failed queue."""

    code = "instance_terminated"
    status = 409
    title = "Instance terminated"

    @classmethod
    def of(cls, workflow_id: str, instance_id: str, reason: str | None) -> "InstanceTerminated":
        message = (
            f"Instance {instance_id} of workflow {workflow_id} was terminated: {reason or 'by its budget'}."
            " Open a new one to go on."
        )
        return cls(message, workflow_status=InstanceStatus.TERMINATED.value)


class DailyBudgetExceeded(DomainError):
    """The workflow has spent its daily limit: no run is opened before the next day, or before the limit is raised.
    The ping is in the failed queue."""

    code = "daily_budget_exceeded"
    status = 409
    title = "Daily budget exceeded"


class NoOpenInstance(DomainError):
    """Nothing is open that the ping could belong to; open a run with `stage=1` or `start=yes`."""

    code = "no_open_instance"
    status = 404
    title = "No open instance"


REJECTIONS: dict[str, type[DomainError]] = {
    error.code: error
    for error in (
        *(StageMissed, StageOutOfOrder, AgentRequired, StageUnknown, InstanceClosed, NoOpenInstance),
        *(InstancePaused, InstanceTerminated, DailyBudgetExceeded),
    )
}
STOPPED: dict[str, InstanceStatus | None] = {
    InstancePaused.code: InstanceStatus.PAUSED,
    InstanceTerminated.code: InstanceStatus.TERMINATED,
    DailyBudgetExceeded.code: None,
}
"""Rejections by the circuit breaker, which has told of itself already, and how their instance stands."""


@dataclass(frozen=True)
class Verdict:
    """The answer to one ping. `expected` is the stage that should have come instead; `code` one of REJECTIONS.
    `budget` is how the instance stands to its budget after an accepted ping, if it has one."""

    ping_id: int
    accepted: bool
    instance_status: InstanceStatus
    code: str | None = None
    message: str | None = None
    expected: str | None = None
    budget: BudgetReport | None = None

    def error(self) -> DomainError:
        """The rejection as an error to answer with."""
        rejection = REJECTIONS.get(self.code or "", DomainError)
        # Not the status of the verdict: one that was refused at the door has none in the journal.
        status = STOPPED.get(self.code or "")
        return rejection(self.message or "", expected_stage=self.expected, workflow_status=status and status.value)


def judge(state: InstanceState, ping: PingFact, closes_at: datetime | None) -> DomainError | None:
    """Why `ping` may not be taken into `state`, or None if it may. `closes_at` as the state evaluates to."""
    names = state.definition.id, state.instance_id
    if state.termination_reason is not None:
        return InstanceTerminated.of(*names, state.termination_reason)
    if state.pause is not None:
        return InstancePaused.of(*names, state.pause.reason)
    if closes_at is not None and ping.at > closes_at:
        return InstanceClosed(
            f"Instance {state.instance_id} closed at {closes_at.isoformat()}; open a new one to go on."
        )
    return find_violation(state, ping) if state.definition.is_strict else None


@dataclass(frozen=True)
class Counts:
    """An instance right after a ping: its status, its pings in all, and those of the ping's stage.

    The ping `is_late` if the instance was complete before."""

    status: InstanceStatus
    pings: int
    visits: int
    is_late: bool = False


@dataclass(frozen=True)
class Judgement:
    """Verdicts on pings in their order, and the state with the accepted ones taken in. `counts` are by ping, of those
    that the circuit breaker has to look at."""

    verdicts: tuple[Verdict, ...]
    state: InstanceState
    counts: dict[int, Counts]


def judge_all(state: InstanceState, pings: Iterable[PingFact], trip: Trip | None = None) -> Judgement:
    """Judges `pings` one after the other. The circuit breaker trips where `trip` says."""
    verdicts: list[Verdict] = []
    counts: dict[int, Counts] = {}
    standing = stand(state)
    for ping in pings:
        here = trip if trip is not None and trip.ping_id == ping.id else None
        rejection = judge(state, ping, standing.closes_at)
        if rejection is None:
            merged = merge(state, [ping])
            merged_standing = stand(merged)
            counts[ping.id] = _counts(merged, ping, merged_standing.status, standing.status)
            if here is None:
                state, standing = merged, merged_standing
            else:
                state = tripped(state if here.is_refused else merged, here, ping.at)
                standing = stand(state)
                rejection = judge(state, ping, standing.closes_at) if here.is_refused else None
        if rejection is None:
            verdicts.append(Verdict(ping.id, accepted=True, instance_status=standing.status))
        else:
            verdicts.append(_rejected(ping, standing.status, rejection))
    return Judgement(tuple(verdicts), state, counts)


def _counts(state: InstanceState, ping: PingFact, status: InstanceStatus, before: InstanceStatus) -> Counts:
    facts = state.stages.get(ping.path)
    # Past the number of stages that are kept, nobody counts their visits.
    visits = facts.visits if facts is not None else 1
    return Counts(status, state.ping_count, visits, before is InstanceStatus.COMPLETED)


def tripped(state: InstanceState, trip: Trip, at: datetime) -> InstanceState:
    if trip.action is Action.TERMINATE:
        return terminated(state, at, trip.reason)
    return paused(state, at, trip.reason, trip.cause)


def _rejected(ping: PingFact, status: InstanceStatus, rejection: DomainError) -> Verdict:
    expected = rejection.extra.get("expected_stage")
    return Verdict(
        ping.id,
        accepted=False,
        instance_status=status,
        code=rejection.code,
        message=rejection.message,
        expected=str(expected) if expected is not None else None,
    )
