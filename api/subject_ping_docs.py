"""The pings of pulses and process hooks on the OpenAPI page."""

from copy import deepcopy
from typing import Any, Final

from api.openapi import Responses, problems
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
from domain.processes import NoOpenRun, ProcessRunning, RunAlreadyFinished

METHODS: Final = ("get", "post")
TEXT: Final = {"type": "string", "maxLength": 256}

_COMMON: Final = (
    Unauthenticated(f"An API key is needed. {HOW_TO_SEND_A_KEY}."),
    Conflict("This Idempotency-Key was used for something else in the last 24 hours; send a new key."),
    PayloadTooLarge("The body has 100001 bytes; a ping's payload may have 100000. Send a link instead."),
    RateLimited("More than 6000 pings a minute. Try again in 17 s.", retry_after=17),
    Unavailable("The ping could not be kept; send it again.", retry_after=2),
)

_PULSE_ERRORS: Final = problems(
    *_COMMON,
    InvalidRequest.of_field("period", "must be a number from 1 to 31622400"),
    Forbidden("Pulse pls_ab12cd34ef belongs to another account."),
    NotFound("There is no pulse cron_backup. Create it with POST /api/pulses, or send create=1 with its first ping."),
)

_RUN_ERRORS: Final = problems(
    *_COMMON,
    InvalidRequest.of_field("run_id", "is given out by a start; send it with the finish"),
    Forbidden("Process hook phk_ab12cd34ef belongs to another account."),
    NotFound("There is no process hook nightly-etl."),
    ProcessRunning("A run is under way, and this hook's runs may not overlap; finish it first."),
    NoOpenRun("Nothing is running; call /phk/nightly-etl/start first."),
    RunAlreadyFinished("This run has ended already."),
)

_PULSE_EVENTS: Final = {
    "": "Says that the target is alive, or how its run went: a failed `status` counts as a failure.",
    "/start": "A run has begun. If no ping follows in time, it counts as a failure.",
    "/fail": "A run has failed.",
    "/log": "Keeps the payload and changes nothing.",
}
_RUN_EVENTS: Final = {
    "start": "Begins a run and gives its `run_id`.",
    "finish": "Ends a run: the one named by `run_id`, or the newest open one. A failed `status` makes it `failed`.",
    "fail": "Ends a run as failed.",
}
_IDEMPOTENCY: Final = {"name": "Idempotency-Key", "in": "header", "schema": {"type": "string", "maxLength": 255}}


def subject_ping_paths() -> dict[str, Any]:
    """As paths of an OpenAPI document."""
    paths: dict[str, Any] = {}
    for prefix in ("hbk", "hhk", "hb"):
        for suffix, what in _PULSE_EVENTS.items():
            path = "/ping" if prefix == "hb" and not suffix else suffix
            name = f"{prefix}_{path.strip('/') or 'pulse'}"
            paths[f"/{prefix}/{{target}}{path}"] = {
                method: _pulse_operation(name, what, method, may_create=not suffix) for method in METHODS
            }
    for event, what in _RUN_EVENTS.items():
        paths[f"/phk/{{process_hook_id}}/{event}"] = {method: _run_operation(event, what, method) for method in METHODS}
    return paths


def _pulse_operation(name: str, what: str, method: str, *, may_create: bool) -> dict[str, Any]:
    parameters = [
        _named("target", "Its id or its slug."),
        query("rid", TEXT, "The run, where runs overlap: each has a timer of its own."),
        query("status", TEXT, "How it went: `ok`, `failed`, or an exit code."),
        query("agent", TEXT, "Who reports."),
        _IDEMPOTENCY,
    ]
    if may_create:
        parameters += [
            query("create", {"type": "string"}, "`1` creates the target if there is none of that slug."),
            query("period", {"type": "number"}, "Its period in seconds, if it is created. A day without it."),
            query("grace", {"type": "number"}, "Its grace in seconds, if it is created. Five minutes without it."),
        ]
    example = {"status": "success", "target_id": "pls_ab12cd34ef", "event": "success"}
    return _operation(f"{name}_by_{method}", "Ping a pulse", what, parameters, _PULSE_ERRORS, example, method)


def _run_operation(event: str, what: str, method: str) -> dict[str, Any]:
    parameters = [_named("process_hook_id", "Its id or its slug."), query("agent", TEXT, "Who reports."), _IDEMPOTENCY]
    if event != "start":
        parameters.append(query("run_id", {"type": "string"}, "The run, if not the newest open one."))
        parameters.append(query("status", TEXT, "How it went: `success`, `failed`, or an exit code."))
    statuses = {"start": "running", "finish": "finished", "fail": "failed"}
    example = {
        "status": "success",
        "process_hook_id": "phk_ab12cd34ef",
        "run_id": "run_ab12cd34ef56",
        "run_status": statuses[event],
    }
    return _operation(
        f"phk_{event}_by_{method}", f"{event.capitalize()} a process", what, parameters, _RUN_ERRORS, example, method
    )


def _operation(
    id_: str,
    summary: str,
    description: str,
    parameters: list[dict[str, Any]],
    errors: Responses,
    example: dict[str, Any],
    method: str,
) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "tags": ["pings"],
        "operationId": id_,
        "summary": summary,
        "description": description,
        "parameters": parameters,
        "responses": {
            **{str(status): deepcopy(response) for status, response in errors.items()},
            "200": {
                "description": "The ping is kept.",
                "content": {"application/json": {"schema": {"type": "object"}, "example": example}},
            },
        },
    }
    if method == "post":
        operation["requestBody"] = {
            "description": "The payload, and any of the parameters; those in the query win.",
            "content": {"application/json": {"schema": {"type": "object", "additionalProperties": True}}},
        }
    return operation


def _named(name: str, description: str) -> dict[str, Any]:
    schema = {"type": "string", "pattern": "^[A-Za-z0-9_.-]{1,128}$"}
    return {"name": name, "in": "path", "required": True, "schema": schema, "description": description}


def query(name: str, schema: dict[str, Any], description: str, example: str | None = None) -> dict[str, Any]:
    parameter = {"name": name, "in": "query", "schema": schema, "description": description}
    return parameter if example is None else {**parameter, "example": example}
