"""The OpenAPI side of the stage pings, whose handlers read their parameters themselves."""

from typing import Any, Final

from domain.workflows import WorkflowKind

_TEXT: Final = {"type": "string", "maxLength": 256}
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


def ping_operation(kind: WorkflowKind, method: str) -> dict[str, Any]:
    """Parameters, body and answer of a stage ping, for `openapi_extra`."""
    stage = "stage" if kind is WorkflowKind.STATIC else "stagePath"
    parameters = [
        {
            "name": "workflow_id",
            "in": "path",
            "required": True,
            "schema": {"type": "string", "pattern": "^[A-Za-z0-9_.-]{1,128}$"},
        },
        _query(stage, {"type": "string"}, "The stage: `1`, `2.1`, or a name.", "1"),
        _query("agent", _TEXT, "Who reports. Required by strict workflows."),
        _query("instance_id", {"type": "string"}, "The instance, if not the workflow's current one."),
        _query("status", _TEXT, "How the stage went: `success`, `failed`, or an exit code."),
        _query("final", _FLAG, "`yes` completes the instance."),
        {"name": "Idempotency-Key", "in": "header", "schema": {"type": "string", "maxLength": 255}},
    ]
    if kind is WorkflowKind.DYNAMIC:
        parameters += [
            _query("start", _FLAG, "`yes` opens a new instance."),
            _query("stagename", _TEXT, "A label for the stage."),
        ]
    operation: dict[str, Any] = {
        "parameters": parameters,
        "responses": {
            "200": {
                "description": "The ping is kept.",
                "content": {"application/json": {"schema": {"type": "object"}, "example": _EXAMPLES[kind]}},
            }
        },
    }
    if method == "POST":
        operation["requestBody"] = {
            "description": "The payload, and any of the parameters; those in the query win.",
            "content": {"application/json": _PAYLOAD},
        }
    return operation


def _query(name: str, schema: dict[str, Any], description: str, example: str | None = None) -> dict[str, Any]:
    parameter = {"name": name, "in": "query", "schema": schema, "description": description}
    return parameter if example is None else {**parameter, "example": example}
