"""The pings on the OpenAPI page: they are no FastAPI routes, so they are described here."""

from copy import deepcopy
from typing import Any, Final

from api.openapi import problems
from api.subject_ping_docs import METHODS, TEXT, query, subject_ping_paths
from domain.errors import (
    Conflict,
    Forbidden,
    InvalidRequest,
    NotFound,
    PayloadTooLarge,
    RateLimited,
    Unauthenticated,
    Unavailable,
)
from domain.keys import HOW_TO_SEND_A_KEY
from domain.strict import AgentRequired, StageMissed, StageOutOfOrder, StageUnknown
from domain.verdicts import DailyBudgetExceeded, InstanceClosed, InstancePaused, InstanceTerminated, NoOpenInstance
from domain.workflows import WorkflowKind

PING_ERRORS: Final = problems(
    InvalidRequest.of_field("stagePath", "is missing; send the stage, such as ?stagePath=1"),
    StageMissed("Stage 3 came before stage 2, which was not seen yet.", expected_stage="2"),
    StageUnknown("Stage 7 is not defined; this workflow has the stages 1 to 3.", expected_stage="3"),
    AgentRequired(
        "This workflow is strict: name the agent that reports stage 2, as agent=…",
        expected_stage="2",
    ),
    Unauthenticated(f"An API key is needed. {HOW_TO_SEND_A_KEY}."),
    Forbidden("Workflow ml_pipeline belongs to another account."),
    NotFound("There is no workflow ml_pipeline yet; send the first ping with start=yes to create it."),
    NoOpenInstance("Workflow ml_pipeline has no open instance; send start=yes to open one.", expected_stage="1"),
    StageOutOfOrder("Stage 1 is already behind; stage 3 is expected next.", expected_stage="3"),
    InstanceClosed("Instance dabc45678 closed at 2025-01-15T09:06:30+00:00; open a new one to go on."),
    InstancePaused.of("ml_pipeline", "dabc45678", "Instance cost $105.50 exceeds budget limit $100.00"),
    InstanceTerminated.of("ml_pipeline", "dabc45678", "Stage 2 was pinged 51 times; 50 are allowed"),
    DailyBudgetExceeded(
        "Workflow cost $501.25 on 2025-01-15 exceeds daily limit $500.00. No run is opened before the next day, or "
        "before the limit is raised."
    ),
    Conflict("This Idempotency-Key was used for something else in the last 24 hours; send a new key."),
    PayloadTooLarge("The body has 100001 bytes; a ping's payload may have 100000. Send a link instead."),
    RateLimited("More than 6000 pings a minute. Try again in 17 s.", retry_after=17),
    Unavailable("The ping could not be kept; send it again.", retry_after=2),
)
"""What a stage ping may answer. Those with a stage that was expected are kept in the failed queue, and those of the
circuit breaker."""

_FLAG: Final = {"type": "string", "enum": ["yes", "no", "true", "false", "1", "0"]}

_EXAMPLES: Final = {
    WorkflowKind.STATIC: {
        "status": "success",
        "workflow_id": "swf123",
        "instance_id": "sabc45678",
        "stage_order": 1,
        "workflow_status": "running",
    },
    WorkflowKind.DYNAMIC: {
        "status": "success",
        "workflow_id": "ml_pipeline",
        "instance_id": "dabc45678",
        "stage_order": 2,
        "stage_path": "2.1",
        "workflow_status": "running",
    },
}

_PAYLOAD: Final = {
    "schema": {"type": "object", "additionalProperties": True},
    "example": {
        "status": "success",
        "model_id": "claude-3-opus",
        "usage": {"input_tokens": 1500, "output_tokens": 500},
        "cost_usd": 0.045,
    },
}


def ping_paths() -> dict[str, Any]:
    """The pings as paths of an OpenAPI document."""
    stages = {
        f"/{prefix}/{{workflow_id}}": {method: _operation(kind, method) for method in METHODS}
        for prefix, kind in (("shk", WorkflowKind.STATIC), ("dhk", WorkflowKind.DYNAMIC))
    }
    return {**stages, **subject_ping_paths()}


def _operation(kind: WorkflowKind, method: str) -> dict[str, Any]:
    stage = "stage" if kind is WorkflowKind.STATIC else "stagePath"
    parameters = [
        {
            "name": "workflow_id",
            "in": "path",
            "required": True,
            "schema": {"type": "string", "pattern": "^[A-Za-z0-9_.-]{1,128}$"},
        },
        query(stage, {"type": "string"}, "The stage: `1`, `2.1`, or a name.", "1"),
        query("agent", TEXT, "Who reports. Required by strict workflows."),
        query("instance_id", {"type": "string"}, "The instance, if not the workflow's current one."),
        query("status", TEXT, "How the stage went: `success`, `failed`, or an exit code."),
        {"name": "Idempotency-Key", "in": "header", "schema": {"type": "string", "maxLength": 255}},
    ]
    if kind is WorkflowKind.DYNAMIC:
        parameters += [
            query("final", _FLAG, "`yes` completes the instance."),
            query("start", _FLAG, "`yes` opens a new instance."),
            query("stagename", TEXT, "A label for the stage."),
        ]
    what = {
        WorkflowKind.STATIC: "Reports a stage of a static workflow.",
        WorkflowKind.DYNAMIC: "Reports a stage of a dynamic workflow; `start=yes` opens an instance, and the workflow "
        "if need be.",
    }
    operation: dict[str, Any] = {
        "tags": ["pings"],
        "operationId": f"ping_{kind}_by_{method}",
        "summary": f"Ping a stage of a {kind} workflow",
        "description": what[kind],
        "parameters": parameters,
        "responses": {
            **{str(status): deepcopy(response) for status, response in PING_ERRORS.items()},
            "200": {
                "description": "The ping is kept. If its workflow has a budget, `budget` says how the instance stands "
                "to it; `workflow_status` is `paused` or `terminated` if this ping was too much.",
                "content": {"application/json": {"schema": {"type": "object"}, "example": _EXAMPLES[kind]}},
            },
        },
    }
    if method == "post":
        operation["requestBody"] = {
            "description": "The payload, and any of the parameters; those in the query win.",
            "content": {"application/json": _PAYLOAD},
        }
    return operation
