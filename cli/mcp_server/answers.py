"""What the tools answer: the gateway's documents in short."""

import json
from collections.abc import Iterable
from typing import Any, Final, Literal, TypeVar

from pydantic import BaseModel, Field, ValidationError

from cli.mcp_server.gateway import NOT_UNDERSTOOD, Unreachable

MAX_PAGE_CHARACTERS: Final = 30_000
"""Of the list in an answer, as JSON: about 10,000 tokens."""

M = TypeVar("M", bound=BaseModel)


class Answer(BaseModel):
    hint: str | None = Field(None, description="What to do next.")


class Page(Answer):
    truncated: bool = Field(False, description="There is more than this; `hint` says how to get it.")


class Budget(BaseModel):
    state: str = Field(description="ok, warning or exceeded.")
    instance_cost_usd: float | None
    limit_usd: float | None = Field(description="For the run.")
    today_cost_usd: float | None = Field(description="Of all runs of the workflow.")
    daily_limit_usd: float | None
    unpriced_pings: int
    action_taken: str | None = Field(description="alert, pause or terminate, if this ping crossed a limit.")
    message: str | None


class StagePinged(Answer):
    workflow_id: str
    instance_id: str | None = Field(description="The run. Give it to all further pings of the same run.")
    stage: str
    workflow_status: str | None = Field(description="How the run stands now: running, completed, failed, …")
    budget: Budget | None = Field(None, description="If the workflow has one.")
    idempotency_key: str


class PulsePinged(Answer):
    target_id: str
    event: str = Field(description="How the ping was understood: success, start, fail or log.")
    idempotency_key: str


class Requested(Answer):
    approval_id: str
    status: str
    expires_at: str | None = Field(description="When `timeout_action` is done; null for never.")


class Approval(Answer):
    approval_id: str
    status: Literal["pending", "approved", "denied", "cancelled"]
    proceed: bool = Field(description="True only if it was approved. Whatever was asked for must not be done before.")
    decided_by: str | None = Field(None, description="An e-mail address, `api-key:<id>`, or `timeout`.")
    notes: str | None = Field(None, description="What whoever decided has to say. Go by it.")
    choice: str | None = Field(None, description="Which of the choices was taken.")
    response: dict[str, Any] | None = Field(None, description="The values to go on with, where they were editable.")
    reason: str | None = None
    seconds_remaining: int | None = Field(None, description="Until `timeout_action` is done, while it is pending.")
    expires_at: str | None
    timeout_action: str
    approvers: list[str]
    quorum: int
    approvals: int = Field(description="Votes to approve so far.")
    denials: int
    title: str | None
    context: str = Field(description="What was asked, in up to 500 characters.")
    url: str = Field(description="The page on which people decide.")


class Stage(BaseModel):
    stage: str
    status: str = Field(description="pending, healthy, failed, missed or timeout.")
    name: str | None = None
    agent: str | None = None
    error: str | None = None


class Tree(Page):
    workflow_id: str
    total_stages: int
    by_status: dict[str, int]
    stages: list[Stage]


class Step(BaseModel):
    step: int
    stage_path: str
    name: str | None
    status: str
    executed_at: str
    response_time_ms: int | None
    agent_code: str | None
    model_id: str | None
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None
    cumulative_cost_usd: float | None
    handoff_reason: str | None
    error: str | None
    payload: Any = Field(description="As it was sent; if `payload_cut`, the beginning of its JSON as text.")
    payload_cut: bool = False
    accepted: bool = Field(description="False for a ping that was refused and changed nothing.")
    inherited: bool = Field(description="Copied from the run that this one was forked from.")
    reason: str | None = None


class Timeline(Page):
    instance_id: str
    workflow_id: str
    status: str
    total_steps: int
    steps: list[Step]
    events: list[dict[str, Any]] = Field(
        description="Changes of status, alerts and approvals; `after_step` is the step that they follow."
    )
    next_start: int | None = Field(description="`start` of the next page.")


class CostOfPing(BaseModel):
    stage_path: str
    model_id: str | None
    agent_code: str | None
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None
    cost_source: str
    executed_at: str


class CostGroup(BaseModel):
    day: str | None = None
    workflow_id: str | None = None
    workflow_name: str | None = None
    model_id: str | None = None
    agent: str | None = None
    stage_path: str | None = None
    pings: int
    unpriced_pings: int
    input_tokens: int
    output_tokens: int
    cost_usd: float | None


class Costs(Page):
    """`total_cost_usd` and `unpriced_pings` are of all that was asked for, however much of it is listed."""

    of: Literal["instance", "workflow", "account"]
    id: str | None = Field(description="The instance's or the workflow's.")
    total_cost_usd: float | None = Field(description="US dollars, as far as they are known; null if none is.")
    unpriced_pings: int = Field(description="Pings whose cost nobody knows: the total lacks them.")
    period: str | None = Field(None, description="Which days were counted; null for the whole of an instance.")
    today_cost_usd: float | None = None
    average_cost_per_instance_usd: float | None = None
    most_expensive_instance_id: str | None = None
    pings: list[CostOfPing] | None = Field(None, description="Of an instance, in order.")
    groups: list[CostGroup] | None = Field(None, description="Of the account: days in order, others the dearest first.")
    next_start: int | None = None


class Difference(BaseModel):
    stage_path: str
    position: int = Field(description="Its place among all steps of both, from 0.")
    kind: str = Field(description="missing (only a has it), added (only b), status, payload, agent, cost or timing.")
    kinds: list[str]
    a: dict[str, Any] | None
    b: dict[str, Any] | None
    payload_diff: list[dict[str, Any]] = Field(description="JSON pointers with the values of a and b.")
    payload_diff_cut: bool = False


class Compared(Page):
    session_id: str
    instance_a: dict[str, Any] = Field(description="With what its steps add up to.")
    instance_b: dict[str, Any]
    divergence_step: int | None = Field(description="The first position at which they differ; null if none.")
    totals: dict[str, Any] = Field(description="What b has more than a; null where one does not say.")
    total_steps: int
    different_steps: int
    differences: list[Difference] = Field(description="Steps that are the same are left out.")
    next_start: int | None


class WorkflowRow(BaseModel):
    id: str
    kind: str
    name: str
    validation_mode: str
    stages: list[str] = Field(description="Of a static workflow: order and name. In up to 50 lines.")
    tags: list[str]


class Workflows(Page):
    workflows: list[WorkflowRow]
    next_cursor: str | None


class InstanceRow(BaseModel):
    id: str
    status: str
    started_at: str
    completed_at: str | None = None
    failure_reason: str | None = None
    agent_code: str | None = None
    by_status: dict[str, int] = Field(description="How many stages are healthy, failed, …")
    bad_stages: list[str] = Field(description="Those that failed, were missed or timed out; up to 20.")


class Instances(Page):
    workflow_id: str
    running_instance: InstanceRow | None
    recent_instances: list[InstanceRow]
    next_cursor: str | None


def read(model: type[M], document: dict[str, Any], **more: Any) -> M:
    """A document of the gateway as `model`. Raises Unreachable if it is something else altogether."""
    try:
        return model.model_validate({**document, **more})
    except (ValidationError, TypeError):
        raise Unreachable(NOT_UNDERSTOOD) from None


def fitting(items: Iterable[M]) -> list[M]:
    """As many as there is room for in an answer, and one at least."""
    taken: list[M] = []
    room = MAX_PAGE_CHARACTERS
    for item in items:
        room -= len(item.model_dump_json())
        if room < 0 and taken:
            break
        taken.append(item)
    return taken


def cut(value: Any, characters: int) -> tuple[Any, bool]:
    """A value whose JSON is too long as the beginning of that JSON."""
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return (value, False) if len(text) <= characters else (text[:characters] + "…", True)
