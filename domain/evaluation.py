"""What an instance's state means: statuses, the reason of a failure, the next deadline, and what changed."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from datetime import datetime

from domain import paths
from domain.instances import (
    InstanceState,
    InstanceStatus,
    StageStatus,
    due,
    healed_at,
    healthy_paths,
)
from domain.pings import PingStatus
from domain.reports import RUN_PATH
from domain.room import shorten, text_room
from domain.transitions import Transition
from domain.workflows import WorkflowKind

_STAGE_STATUS = {
    PingStatus.HEALTHY: StageStatus.HEALTHY,
    PingStatus.FAILED: StageStatus.FAILED,
    PingStatus.PENDING: StageStatus.PENDING,
}


@dataclass(frozen=True)
class StageView:
    """A stage as it is shown. `at` is when it got its status, None for one that was never pinged."""

    status: StageStatus
    name: str | None = None
    agent: str | None = None
    error: str | None = None
    at: datetime | None = None


@dataclass(frozen=True)
class Deadline:
    """`path` is the stage that is due, None for the whole instance."""

    at: datetime
    reason: str
    path: str | None = None
    status: StageStatus = StageStatus.TIMEOUT


@dataclass(frozen=True)
class Standing:
    """How an instance as a whole stands; `passed` are the deadlines that made it fail."""

    status: InstanceStatus
    reason: str | None = None
    finished_at: datetime | None = None
    closes_at: datetime | None = None
    next_deadline: Deadline | None = None
    passed: tuple[Deadline, ...] = ()


@dataclass(frozen=True)
class InstanceView:
    """An instance as it is shown; stages in tree order.

    `closes_at` is set once it is finished: until then stragglers are taken in and failures may heal.
    `next_deadline` is what the workflow waits for, None if nothing is due ever.
    """

    status: InstanceStatus
    stages: dict[str, StageView]
    changed_at: datetime
    failure_reason: str | None = None
    completed_at: datetime | None = None
    closes_at: datetime | None = None
    agent: str | None = None
    last_ping_at: datetime | None = None
    next_deadline: Deadline | None = None


@dataclass(frozen=True)
class Change:
    """What a workflow has to tell the read model: the instance as it is now, and the stages that changed."""

    instance_id: str
    version: int
    status: InstanceStatus
    stages: dict[str, StageView]
    transitions: tuple[Transition, ...]
    completed_at: datetime | None = None
    closes_at: datetime | None = None
    failure_reason: str | None = None
    agent: str | None = None
    last_ping_at: datetime | None = None


def evaluate(state: InstanceState) -> InstanceView:
    """Derives the view. Deadlines count only up to `state.confirmed_until`."""
    standing = stand(state)
    stages = _stages_as_pinged(state)
    for deadline in standing.passed:
        if deadline.path is not None:
            shown = stages.get(deadline.path, StageView(deadline.status))
            stages[deadline.path] = replace(shown, status=deadline.status, error=None, at=deadline.at)
    return InstanceView(
        status=standing.status,
        stages={path: stages[path] for path in sorted(stages, key=paths.sort_key)},
        changed_at=standing.finished_at or _changed_at(state),
        failure_reason=standing.reason,
        completed_at=standing.finished_at,
        closes_at=standing.closes_at,
        agent=state.opener.value if state.opener else None,
        last_ping_at=state.last_ping_at,
        next_deadline=standing.next_deadline,
    )


def stand(state: InstanceState) -> Standing:
    """The part of the view that is not about single stages, for a fraction of the work."""
    covered = healthy_paths(state)
    missing = _missing(state, covered)
    reached_at = _reached_last_at(state, covered)
    if state.terminated_at is not None:
        # Nothing can heal it, so it has no grace.
        closing = Deadline(state.terminated_at, "closes")
        return Standing(
            InstanceStatus.TERMINATED,
            state.termination_reason,
            state.terminated_at,
            state.terminated_at,
            next_deadline=closing,
        )
    if state.pause is not None:
        # Whatever else it is, that waits until it is resumed: nothing is due, and nothing closes.
        return Standing(InstanceStatus.PAUSED, state.pause.reason)
    if failure := _first_failure(state):
        path, failed_at = failure
        error = shorten(state.stages[path].error, text_room(state))
        reason = f"Stage {path} failed: {error}" if error else f"Stage {path} failed"
        if state.definition.kind is WorkflowKind.RUN:
            reason = error or "Failed"
        return _finished(state, InstanceStatus.FAILED, _counted(state, failed_at), reason)
    if reached_at is not None and not missing:
        # What failed and healed after the end was reached has put it off.
        healed = filter(None, map(healed_at, state.stages.values()))
        return _finished(state, InstanceStatus.COMPLETED, max([reached_at, *healed]))
    has_begun = state.ping_count > 0
    deadlines = sorted(
        (item for item in _deadlines(state, covered, missing, reached_at) if has_begun or item.path is None),
        key=lambda deadline: deadline.at,
    )
    until = state.confirmed_until
    passed = tuple(deadline for deadline in deadlines if until is not None and deadline.at <= until)
    if passed:
        return _finished(state, InstanceStatus.FAILED, passed[0].at, passed[0].reason, passed)
    status = InstanceStatus.RUNNING if has_begun else InstanceStatus.PENDING
    return Standing(status, next_deadline=deadlines[0] if deadlines else None)


def _finished(
    state: InstanceState,
    status: InstanceStatus,
    at: datetime,
    reason: str | None = None,
    passed: tuple[Deadline, ...] = (),
) -> Standing:
    closes_at = due(at, state.definition.grace_period_seconds, state.still)
    return Standing(status, reason, at, closes_at, Deadline(closes_at, "closes"), passed)


def change_between(instance_id: str, version: int, before: InstanceView | None, after: InstanceView) -> Change:
    """What has to be told when `before` has become `after`."""
    old_stages = before.stages if before is not None else {}
    return Change(
        instance_id=instance_id,
        version=version,
        status=after.status,
        stages={path: stage for path, stage in after.stages.items() if old_stages.get(path) != stage},
        transitions=transitions(before, after),
        completed_at=after.completed_at,
        closes_at=after.closes_at,
        failure_reason=after.failure_reason,
        agent=after.agent,
        last_ping_at=after.last_ping_at,
    )


def transitions(before: InstanceView | None, after: InstanceView) -> tuple[Transition, ...]:
    """What changed from one view to the next: stages first, the instance last."""
    old_stages = before.stages if before is not None else {}
    changes = [
        Transition(path, old.status if old else None, new.status, new.at or after.changed_at, new.error)
        for path, new in after.stages.items()
        if (old := old_stages.get(path)) is None or old.status != new.status
        if not (old is None and new.status is StageStatus.PENDING)
    ]
    if before is None or before.status != after.status:
        changes.append(
            Transition(None, before.status if before else None, after.status, after.changed_at, after.failure_reason)
        )
    return tuple(changes)


def _stages_as_pinged(state: InstanceState) -> dict[str, StageView]:
    room = text_room(state)
    names = {str(stage.order): shorten(stage.name, room) for stage in state.definition.stages}
    views = {path: StageView(StageStatus.PENDING, name=name) for path, name in names.items()}
    for path, facts in state.stages.items():
        views[path] = StageView(
            status=_STAGE_STATUS[facts.status],
            name=shorten(facts.name.value, room) if facts.name else names.get(path),
            agent=shorten(facts.agent.value, room) if facts.agent else None,
            error=shorten(facts.error, room),
            at=facts.last.at,
        )
    return views


def _counted(state: InstanceState, at: datetime | None) -> datetime:
    """That moment, but none before time began to count.

    A ping may be older: one that came before the start that adopted it, or one that a fork has inherited.
    """
    begun_at = state.begun_at or state.opened_at
    return max(at or begun_at, begun_at)


def _changed_at(state: InstanceState) -> datetime:
    """When an instance that goes on got to where it is."""
    last = _counted(state, state.last_ping_at)
    return last if state.pause is None else max(last, state.pause.start)


def _first_failure(state: InstanceState) -> tuple[str, datetime] | None:
    failed = [(facts.last, path) for path, facts in state.stages.items() if facts.status is PingStatus.FAILED]
    if not failed:
        return None
    stamp, path = min(failed)
    return path, stamp.at


def _reached_last_at(state: InstanceState, covered: dict[paths.Numbers, datetime]) -> datetime | None:
    """When the end was reached: the final ping of a dynamic instance, the last stage of a static one.

    Once nothing is missing any more, the time of the latest of the stages that had to come.
    """
    definition = state.definition
    if not definition.is_static or _is_reported(state):
        return _counted(state, state.final.at) if state.final else None
    orders = [(stage.order,) for stage in definition.stages]
    if not orders or orders[-1] not in covered:
        return None
    if all(order in covered for order in orders):
        return _counted(state, max(covered[order] for order in orders))
    return _counted(state, covered[orders[-1]])


def _missing(state: InstanceState, covered: dict[paths.Numbers, datetime]) -> list[str]:
    """Stages that must still come: the defined ones of a static workflow, and those announced as pending."""
    defined = () if _is_reported(state) else state.definition.stages
    missing = [str(stage.order) for stage in defined if (stage.order,) not in covered]
    announced = [path for path, facts in state.stages.items() if facts.status is PingStatus.PENDING]
    return sorted({*missing, *announced}, key=paths.sort_key)


def _is_reported(state: InstanceState) -> bool:
    """Whether a report of the whole run has said that it is done, stages or not."""
    facts = state.stages.get(RUN_PATH)
    return facts is not None and facts.status is PingStatus.HEALTHY and state.final is not None


def _deadlines(
    state: InstanceState,
    covered: dict[paths.Numbers, datetime],
    missing: list[str],
    reached_at: datetime | None,
) -> Iterator[Deadline]:
    definition, outages = state.definition, state.still
    if state.begun_at is None:
        return
    last_ping_at = _counted(state, state.last_ping_at)
    if reached_at is not None:
        at = due(reached_at, definition.grace_period_seconds, outages)
        for path in missing:
            yield Deadline(at, f"Stage {path} missed", path, StageStatus.MISSED)

    own_timeouts = {str(stage.order): stage.timeout_seconds for stage in definition.stages}
    for path in missing:
        timeout = own_timeouts.get(path) or definition.stage_timeout_seconds
        since = _awaited_since(state, covered, path)
        if timeout is not None and since is not None:
            yield Deadline(due(since, timeout, outages), f"Stage {path} timeout", path)
    if not definition.is_static and not missing and definition.stage_timeout_seconds is not None:
        path = _next_top_level(state)
        yield Deadline(due(last_ping_at, definition.stage_timeout_seconds, outages), f"Stage {path} timeout", path)

    if definition.instance_timeout_seconds is not None:
        yield Deadline(due(_counted(state, None), definition.instance_timeout_seconds, outages), "Instance timeout")
    if definition.idle_timeout_seconds is not None:
        at = due(last_ping_at, definition.idle_timeout_seconds, outages)
        yield Deadline(at, f"Idle timeout: no ping for {definition.idle_timeout_seconds:g} seconds")


def _awaited_since(state: InstanceState, covered: dict[paths.Numbers, datetime], path: str) -> datetime | None:
    """Since when a missing stage is the next to come; None while the one before it is missing too."""
    facts = state.stages.get(path)
    if facts is not None:
        return _counted(state, facts.last.at)
    order = int(path)
    if order > 1 and (order - 1,) not in covered:
        return None
    return _counted(state, covered.get((order - 1,)))


def _next_top_level(state: InstanceState) -> str:
    """The stage a dynamic instance is expected to report next: the one after the highest it has reported."""
    tops = [levels[0] for path in state.stages if (levels := paths.numbers(path)) is not None]
    return str(max(tops, default=0) + 1)
