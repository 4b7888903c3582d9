"""An instance step by step, as the API shows it."""

from collections.abc import Iterator
from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Literal

import orjson
from fastapi import Response
from pydantic import BaseModel, ConfigDict, Field

from api.views import in_utc, tree_document
from domain.alerts import Severity
from domain.approvals import ApprovalStatus
from domain.evaluation import InstanceView
from domain.instances import InstanceStatus, StageStatus
from domain.timeline import Step, StepStatus, step_before
from storage.approvals import Approval
from storage.instances import Instance
from storage.timeline import Happenings, StepPage

Money = Annotated[float, Field(ge=0, description="US dollars, all decimals as they are; null if that is not known.")]


class TimelineStep(BaseModel):
    model_config = ConfigDict(extra="forbid")

    step: int = Field(ge=0)
    stage_path: str
    name: str | None
    status: StepStatus
    executed_at: datetime
    response_time_ms: int | None = Field(description="By the caller's own account.")
    agent_code: str | None
    model_id: str | None
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: Money | None
    cumulative_cost_usd: Money | None = Field(
        description="Of the accepted steps up to this one, as far as their cost is known; null as long as none is."
    )
    context_size_bytes: int = Field(description="Of the ping's body.")
    handoff_reason: str | None
    error: str | None
    usage: dict[str, Any] | None
    tool_calls: list[Any] | None
    payload: Any = Field(description="As it was sent. Text, if it was not JSON.")
    accepted: bool = Field(description="False for a ping that was rejected and changed nothing.")
    inherited: bool = Field(
        description="True for a fork's copy of a step of the instance that was forked, at the time of the original."
    )
    reason_code: str | None = Field(None, description="Only if it was rejected: the code of the error.")
    reason: str | None = Field(None, description="Only if it was rejected.")
    expected_stage: str | None = Field(None, description="Only if it was rejected: what should have come instead.")


class Happening(BaseModel):
    """Something that happened between two steps."""

    model_config = ConfigDict(extra="forbid")

    after_step: int | None = Field(description="The last step before; null if it was before all. What a step brought "
                                               "about comes after it.")  # fmt: skip
    at: datetime


class TransitionHappening(Happening):
    """A change of status of the instance or, with a `stage_path`, of a stage, unless the step itself says as much."""

    type: Literal["transition"]
    stage_path: str | None
    from_status: str | None
    to_status: InstanceStatus | StageStatus
    reason: str | None


class AlertHappening(Happening):
    type: Literal["alert"]
    alert_id: str
    kind: str
    severity: Severity
    title: str
    reason: str | None


class ApprovalHappening(Happening):
    """An approval that names the instance: that it was asked for, as `requested`, or what came of it."""

    type: Literal["approval"]
    approval_id: str
    stage_path: str | None
    event: Literal["requested"] | ApprovalStatus
    name: str
    decided_by: str | None


class Timeline(BaseModel):
    model_config = ConfigDict(extra="forbid")

    instance_id: str
    workflow_id: str
    status: InstanceStatus
    total_steps: int
    timeline: list[TimelineStep]
    events: list[
        Annotated[TransitionHappening | AlertHappening | ApprovalHappening, Field(discriminator="type")]
    ] = Field(description="What happened between the steps of this page, in order.")  # fmt: skip
    next_from: int | None = Field(description="`from` of the next page.")


class TreeStage(BaseModel):
    status: StageStatus
    stage_name: str | None = None
    agent_code: str | None = None
    error: str | None = None


class TimelineMoment(BaseModel):
    """The instance as it stood right after a step."""

    model_config = ConfigDict(extra="forbid")

    instance_id: str
    workflow_id: str
    status: InstanceStatus
    total_steps: int
    at_step: int
    at: datetime = Field(description="When that step was received.")
    tree: dict[str, TreeStage]
    completed_at: datetime | None
    failure_reason: str | None


def timeline_document(
    instance: Instance, status: InstanceStatus, page: StepPage, start: int, happenings: Happenings
) -> dict[str, Any]:
    """As Timeline describes it."""
    is_last = page.until is None
    return {
        "instance_id": instance.id,
        "workflow_id": instance.workflow_id,
        "status": status,
        "total_steps": page.total,
        "timeline": [step_document(step) for step in page.steps],
        "events": _events(page, start, happenings),
        "next_from": None if is_last else start + len(page.steps),
    }


def moment_document(instance: Instance, view: InstanceView, total: int, number: int, at: datetime) -> dict[str, Any]:
    """As TimelineMoment describes it."""
    return {
        "instance_id": instance.id,
        "workflow_id": instance.workflow_id,
        "status": view.status,
        "total_steps": total,
        "at_step": number,
        "at": in_utc(at),
        "tree": tree_document(view),
        "completed_at": view.completed_at,
        "failure_reason": view.failure_reason,
    }


def step_document(step: Step) -> dict[str, Any]:
    """As TimelineStep describes it."""
    document: dict[str, Any] = {
        "step": step.number,
        "stage_path": step.path,
        "name": step.name,
        "status": step.status,
        "executed_at": in_utc(step.at),
        "response_time_ms": step.duration_ms,
        "agent_code": step.agent,
        "model_id": step.model_id,
        "input_tokens": step.input_tokens,
        "output_tokens": step.output_tokens,
        "cost_usd": money(step.cost_usd),
        "cumulative_cost_usd": money(step.cumulative_cost_usd),
        "context_size_bytes": step.size_bytes,
        "handoff_reason": step.handoff_reason,
        "error": step.error,
        "usage": fragment(step.usage),
        "tool_calls": fragment(step.tool_calls),
        "payload": fragment(step.payload),
        "accepted": step.accepted,
        "inherited": step.inherited,
    }
    if not step.accepted:
        document |= {"reason_code": step.reason_code, "reason": step.reason, "expected_stage": step.expected_stage}
    return document


def answer(document: dict[str, Any]) -> Response:
    """With fragments of JSON in it as they are."""
    return Response(orjson.dumps(document, option=orjson.OPT_UTC_Z), media_type="application/json")


def _events(page: StepPage, start: int, happenings: Happenings) -> list[dict[str, Any]]:
    times = [step.at for step in page.steps]
    if not times:
        return []
    first = times[0] if start else None

    def is_on_page(at: datetime) -> bool:
        return (first is None or first <= at) and (page.until is None or at < page.until)

    found = [(at, document) for at, document in _documents(happenings) if is_on_page(at)]
    # What happened at the same moment stays in its order: stages before their instance, the alert after both.
    found.sort(key=lambda happening: happening[0])
    return [{"after_step": step_before(at, times, start), "at": in_utc(at), **document} for at, document in found]


def _documents(happenings: Happenings) -> Iterator[tuple[datetime, dict[str, Any]]]:
    for transition in happenings.transitions:
        yield (
            transition.at,
            {
                "type": "transition",
                "stage_path": transition.path,
                "from_status": transition.before,
                "to_status": transition.after,
                "reason": transition.reason,
            },
        )
    for alert in happenings.alerts:
        yield (
            alert.at,
            {
                "type": "alert",
                "alert_id": alert.id,
                "kind": alert.kind,
                "severity": alert.severity,
                "title": alert.title,
                "reason": alert.reason,
            },
        )
    for approval in happenings.approvals:
        yield approval.created_at, _approval(approval, "requested", None)
        if approval.decided_at is not None:
            yield approval.decided_at, _approval(approval, approval.status, approval.decided_by)


def _approval(approval: Approval, event: str, decided_by: str | None) -> dict[str, Any]:
    return {
        "type": "approval",
        "approval_id": approval.id,
        "stage_path": approval.stage_path,
        "event": event,
        "name": approval.name,
        "decided_by": decided_by,
    }


def money(amount: Decimal | None) -> orjson.Fragment | None:
    """A JSON number with all decimals; as a float it would lose some."""
    if amount is None:
        return None
    text = f"{amount:f}"
    return orjson.Fragment(text.rstrip("0").rstrip(".") if "." in text else text)


def fragment(text: str | None) -> orjson.Fragment | None:
    return None if text is None else orjson.Fragment(text)
