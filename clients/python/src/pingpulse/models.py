"""What PingPulse answers. Times are aware datetimes, costs exact decimals in US dollars.

Members that this version does not know are in `raw`, with everything else as it came.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from decimal import Decimal
from typing import Any


@dataclass(frozen=True)
class Answer:
    """Base of the answers; `raw` is the JSON that it was read from."""

    raw: Mapping[str, Any] = field(repr=False, compare=False)


@dataclass(frozen=True)
class StageAnswer(Answer):
    """A stage's ping was kept. `instance_id` is None if it came before its run was opened."""

    workflow_id: str
    instance_id: str | None
    workflow_status: str | None = None
    stage_path: str | None = None
    stage_order: int | None = None


@dataclass(frozen=True)
class PulseAnswer(Answer):
    """A pulse's ping was kept; `event` is what it was understood as: start, success, fail or log."""

    target_id: str
    event: str | None = None


@dataclass(frozen=True)
class ProcessAnswer(Answer):
    """A process hook's ping was kept."""

    process_hook_id: str
    run_id: str
    run_status: str | None = None


@dataclass(frozen=True)
class StageState(Answer):
    """`status` is pending, healthy, failed, missed or timeout."""

    status: str
    stage_name: str | None = None
    agent_code: str | None = None
    error: str | None = None


@dataclass(frozen=True)
class Transition(Answer):
    """A change of status, of a stage or, without a `stage_path`, of the whole run."""

    to_status: str
    at: datetime
    from_status: str | None = None
    stage_path: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Instance(Answer):
    """One run of a workflow. `transitions` and what follows are there if it was asked for by its id."""

    id: str
    status: str
    started_at: datetime
    stage_statuses: Mapping[str, StageState]
    agent_code: str | None = None
    completed_at: datetime | None = None
    failure_reason: str | None = None
    transitions: tuple[Transition, ...] = ()
    workflow_id: str | None = None
    origin: str | None = None
    parent_id: str | None = None


@dataclass(frozen=True)
class History(Answer):
    """A workflow's current run, if it goes on, and the most recent others."""

    running_instance: Instance | None
    recent_instances: tuple[Instance, ...]
    next_cursor: str | None = None


@dataclass(frozen=True)
class WorkflowStage(Answer):
    order: int
    name: str | None = None
    timeout_seconds: float | None = None


@dataclass(frozen=True)
class WorkflowInfo(Answer):
    """A workflow's definition. `kind` is static or dynamic, among others; `validation_mode` flexible or strict."""

    id: str
    kind: str
    name: str
    slug: str | None = None
    validation_mode: str | None = None
    stages: tuple[WorkflowStage, ...] = ()
    stage_timeout_seconds: float | None = None
    instance_timeout_seconds: float | None = None
    idle_timeout_seconds: float | None = None
    grace_period_seconds: float | None = None
    tags: tuple[str, ...] = ()
    created_at: datetime | None = None
    updated_at: datetime | None = None
    ping_url: str | None = None


@dataclass(frozen=True)
class WorkflowPage(Answer):
    workflows: tuple[WorkflowInfo, ...]
    next_cursor: str | None = None


@dataclass(frozen=True)
class Step(Answer):
    """One ping of a run. `accepted` is false of one that was refused; then `reason` says why."""

    step: int
    stage_path: str
    status: str
    executed_at: datetime
    name: str | None = None
    response_time_ms: int | None = None
    agent_code: str | None = None
    model_id: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: Decimal | None = None
    cumulative_cost_usd: Decimal | None = None
    handoff_reason: str | None = None
    error: str | None = None
    payload: Any = None
    accepted: bool = True
    inherited: bool = False
    reason_code: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class TimelineEvent(Answer):
    """What happened between two steps: `type` is transition, alert or approval; the rest is in `raw`."""

    type: str
    at: datetime
    after_step: int | None = None
    stage_path: str | None = None


@dataclass(frozen=True)
class Timeline(Answer):
    """`next_from` is the `from_step` of the next page."""

    instance_id: str
    workflow_id: str
    status: str
    total_steps: int
    timeline: tuple[Step, ...]
    events: tuple[TimelineEvent, ...] = ()
    next_from: int | None = None


@dataclass(frozen=True)
class PingCost(Answer):
    """`cost_source` is caller, own, table, or unpriced: then `cost_usd` is None."""

    stage_path: str
    executed_at: datetime
    cost_usd: Decimal | None = None
    cost_source: str | None = None
    model_id: str | None = None
    agent_code: str | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None


@dataclass(frozen=True)
class InstanceCost(Answer):
    """A sum is of what is known, and None if nothing of it is. `unpriced_pings` are not in it."""

    instance_id: str
    total_cost_usd: Decimal | None
    breakdown: tuple[PingCost, ...]
    unpriced_pings: int = 0
    next_from: int | None = None


@dataclass(frozen=True)
class DearestInstance(Answer):
    id: str
    cost_usd: Decimal | None


@dataclass(frozen=True)
class WorkflowCost(Answer):
    """Of the last `period_days`, today the last of them."""

    total_cost_usd: Decimal | None
    today_cost_usd: Decimal | None
    instance_count: int
    period_days: int
    average_cost_per_instance_usd: Decimal | None = None
    most_expensive_instance: DearestInstance | None = None
    unpriced_pings: int = 0


@dataclass(frozen=True)
class ApprovalRequest(Answer):
    """An approval was asked for. `expires_at` is None if it waits for ever."""

    approval_id: str
    status: str
    expires_at: datetime | None = None
    callback_secret: str | None = None


@dataclass(frozen=True)
class Vote(Answer):
    voter: str
    decision: str
    at: datetime
    choice: str | None = None
    response: Any = None
    notes: str | None = None


@dataclass(frozen=True)
class Approval(Answer):
    """How an approval stands. It is true, as in `if approval:`, if it was approved, and only then.

    `result` is None while it is open, 1 for "go on", 0 for "do not". `decided_by` is who decided, or `timeout`.
    """

    approval_id: str
    status: str
    result: int | None
    context: str = ""
    title: str | None = None
    seconds_remaining: int | None = None
    expires_at: datetime | None = None
    decided_at: datetime | None = None
    decided_by: str | None = None
    notes: str | None = None
    reason: str | None = None
    choice: str | None = None
    response: Any = None
    payload: Any = None
    requested_by: str | None = None
    timeout_action: str | None = None
    approvers: tuple[str, ...] = ()
    quorum: int = 1
    votes: tuple[Vote, ...] = ()
    url: str | None = None

    @property
    def is_decided(self) -> bool:
        return self.result is not None

    @property
    def approved(self) -> bool:
        return self.result == 1

    def __bool__(self) -> bool:
        return self.approved
