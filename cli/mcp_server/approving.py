"""Tools that ask people."""

from typing import Any, Final

import anyio
from mcp.server.mcpserver.exceptions import ToolError

from cli.mcp_server import fields
from cli.mcp_server.answers import Approval, Requested, read
from cli.mcp_server.gateway import Call, Gateway, Unreachable, gateway_of, new_idempotency_key, segment

SLICE_SECONDS: Final = 10.0
"""How long one request waits. After each, the client is told how far it is, which lets it wait on."""

LATE_SECONDS: Final = 5.0
"""How long an answer may take besides what it waits for."""

DEFAULT_WAIT_SECONDS: Final = 50.0
SHOWN_CHARACTERS: Final = 500


async def request_approval(
    call: Call,
    context: fields.Context,
    title: fields.Title = "",
    payload: fields.Shown = None,
    approvers: fields.Approvers = None,
    quorum: fields.Quorum = 1,
    choices: fields.Choices = None,
    editable: fields.Editable = None,
    timeout_seconds: fields.DecisionSeconds = 86_400,
    timeout_action: fields.OnTimeout = "deny",
    confirm: fields.Confirm = "link",
    workflow_id: fields.OptionalWorkflowId = "",
    instance_id: fields.OptionalInstanceId = "",
    stage_path: fields.StagePath = "",
    idempotency_key: fields.IdempotencyKey = "",
) -> Requested:
    """Asks people for approval by mail, and returns at once with an approval_id; wait_for_approval has the decision.

    Ask before anything that cannot be undone, costs much, or speaks to others in somebody's name. Do nothing of what
    you ask for before it is approved."""
    asked = {
        "context": context,
        "title": title,
        "payload": payload,
        "approvers": approvers,
        "quorum": quorum,
        "choices": choices,
        "editable": editable,
        "timeout_action": timeout_action,
        "confirm": confirm,
        "workflow_id": workflow_id,
        "instance_id": instance_id,
        "stage_path": stage_path,
    }
    body = {name: value for name, value in asked.items() if value not in (None, "")}
    # Null means for ever here.
    body["timeout_seconds"] = timeout_seconds
    answer = await _ask(gateway_of(call), body, idempotency_key or new_idempotency_key())
    return read(Requested, answer, hint="People are asked. Call wait_for_approval with this approval_id.")


async def wait_for_approval(
    call: Call, approval_id: fields.ApprovalId, max_wait_seconds: fields.MaxWait = DEFAULT_WAIT_SECONDS
) -> Approval:
    """Waits until people have decided, and tells how. Go on only if `proceed` is true, and by `notes`, `choice` and
    `response`.

    If it is still pending after max_wait_seconds, call this again, or do something else first: people are still
    asked. With max_wait_seconds=0 it only looks."""
    return await _wait(call, gateway_of(call), approval_id, max_wait_seconds)


async def ask_for_approval(
    call: Call,
    context: fields.Context,
    title: fields.Title = "",
    payload: fields.Shown = None,
    approvers: fields.Approvers = None,
    quorum: fields.Quorum = 1,
    choices: fields.Choices = None,
    editable: fields.Editable = None,
    timeout_seconds: fields.DecisionSeconds = 86_400,
    timeout_action: fields.OnTimeout = "deny",
    confirm: fields.Confirm = "link",
    workflow_id: fields.OptionalWorkflowId = "",
    instance_id: fields.OptionalInstanceId = "",
    stage_path: fields.StagePath = "",
    idempotency_key: fields.IdempotencyKey = "",
    max_wait_seconds: fields.MaxWait = DEFAULT_WAIT_SECONDS,
) -> Approval:
    """Asks people for approval by mail and waits for their decision: request_approval and wait_for_approval in one.

    Go on only if `proceed` is true. If it is still pending after max_wait_seconds, do not ask again: call
    wait_for_approval with the approval_id of the answer."""
    asked = await request_approval(
        call,
        context,
        title,
        payload,
        approvers,
        quorum,
        choices,
        editable,
        timeout_seconds,
        timeout_action,
        confirm,
        workflow_id,
        instance_id,
        stage_path,
        idempotency_key,
    )
    try:
        return await _wait(call, gateway_of(call), asked.approval_id, max_wait_seconds)
    except ToolError as error:
        raise ToolError(
            f"{error} People are asked all the same: call wait_for_approval with approval_id={asked.approval_id}."
        ) from None


async def _ask(gateway: Gateway, body: dict[str, Any], key: str) -> Any:
    try:
        return await gateway.post("/api/approvals", body, key)
    except Unreachable as error:
        raise Unreachable(
            f"{error} Whether people are asked is not known: repeat the call with idempotency_key={key}, and nobody is "
            "asked twice."
        ) from None


async def _wait(call: Call, gateway: Gateway, approval_id: str, seconds: float) -> Approval:
    """Looks once; then waits in slices. A gateway that does not answer in between is given the rest of the time."""
    path = f"/api/approvals/{segment(approval_id)}"
    begun = anyio.current_time()
    document = await gateway.get(path)
    failure: Unreachable | None = None
    while document["result"] is None and (left := begun + seconds - anyio.current_time()) > 0:
        await call.report_progress(seconds - left, seconds, _progress(approval_id, document))
        looked = anyio.current_time()
        try:
            wait = min(left, SLICE_SECONDS)
            with anyio.fail_after(left + LATE_SECONDS):
                document = await gateway.get(path, read_seconds=wait + LATE_SECONDS, wait=f"{wait:.3f}")
            failure = None
        except Unreachable as error:
            failure = error
        except TimeoutError:
            failure = gateway.late()
        if document["result"] is None and anyio.current_time() - looked < min(left, 1):
            await anyio.sleep(min(left, 1))
    if failure is not None:
        raise failure
    return _approval(document)


def _progress(approval_id: str, document: dict[str, Any]) -> str:
    votes = f"{document['approvals']} of {document['quorum']} approvals"
    return f"Waiting for people to decide on {approval_id}: {votes} so far"


def _approval(document: dict[str, Any]) -> Approval:
    status, context = document["status"], str(document["context"])
    hint = {
        "pending": "Nobody has decided yet. Do not go on with it; call wait_for_approval again.",
        "approved": "Go on, by `notes`, `choice` and `response` if there are any.",
        "denied": "Do not do it. `notes` and `reason` may say why.",
        "cancelled": "Do not do it: the question was taken back.",
    }.get(status)
    if document.get("decided_by") == "timeout":
        hint = f"Nobody decided in time. {hint}"
    return read(Approval, document, proceed=status == "approved", hint=hint, context=context[:SHOWN_CHARACTERS])
