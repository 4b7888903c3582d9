"""Tools that report: stages and pulses."""

from typing import Annotated, Any, Final, Literal

from mcp.server.mcpserver.exceptions import ToolError
from pydantic import Field

from cli.mcp_server import fields
from cli.mcp_server.answers import PulsePinged, StagePinged, read
from cli.mcp_server.gateway import STOP, Call, Gateway, Refused, Unreachable, gateway_of, new_idempotency_key, segment

MAX_KNOWN: Final = 10_000

_PARAMETERS: Final = frozenset(
    {
        *("key", "stage", "stagePath", "stagename", "start", "final", "agent", "instance_id", "idempotency_key"),
        *("status", "exit_code", "error", "model_id", "usage", "cost_usd", "duration", "duration_ms", "tool_calls"),
        *("handoff_reason", "rid", "create", "period", "grace", "cron", "timezone"),
    }
)
"""Members of a body that the gateway takes for more than payload."""


async def ping_stage(
    call: Call,
    workflow_id: fields.WorkflowId,
    stage: Annotated[
        str | int,
        Field(description="Which stage: a number such as 2, a path as text such as '2.1' for branches, or a name."),
    ],
    status: Annotated[
        str,
        Field(description="How it went: `success` if left out; `failed` with `error`; `running` to announce it."),
    ] = "",
    start: Annotated[
        bool, Field(description="Opens a new run of a dynamic workflow: with the first ping only.")
    ] = False,
    final: Annotated[bool, Field(description="Completes the run of a dynamic workflow: with the last ping.")] = False,
    stage_name: Annotated[str, Field(max_length=200, description="A label of the stage, for people.")] = "",
    agent: fields.Agent = "",
    instance_id: fields.OptionalInstanceId = "",
    payload: fields.Payload = None,
    error: fields.ErrorText = "",
    model_id: Annotated[str, Field(description="The model that did the work, such as claude-sonnet-4-5.")] = "",
    usage: Annotated[
        dict[str, Any] | None,
        Field(
            description="Its tokens: {'input_tokens': 1500, 'output_tokens': 500}. Priced if `cost_usd` is left out."
        ),
    ] = None,
    cost_usd: Annotated[float | None, Field(ge=0, allow_inf_nan=False, description="What the work cost.")] = None,
    duration_ms: fields.Duration = None,
    tool_calls: Annotated[
        list[dict[str, Any]] | None,
        Field(description="[{'tool_name': 'web_search', 'latency_ms': 250, 'success': true}]"),
    ] = None,
    handoff_reason: Annotated[str, Field(description="Why the work goes on to somebody else.")] = "",
    idempotency_key: fields.IdempotencyKey = "",
) -> StagePinged:
    """Reports that a stage of a workflow's run has happened, failed, or begun, and what it cost.

    The first ping of a dynamic workflow has start=true, the last one final=true; a static workflow's run begins with
    stage 1. Give the instance_id of the first answer to all further pings of the run. Report failures too. If this is
    answered with an error about a limit or a pause, stop and ask."""
    body = _body(
        payload,
        stagePath=str(stage),
        status=status,
        start="yes" if start else "",
        final="yes" if final else "",
        stagename=stage_name,
        agent=agent,
        instance_id=instance_id,
        error=error,
        model_id=model_id,
        usage=usage,
        cost_usd=cost_usd,
        duration_ms=duration_ms,
        tool_calls=tool_calls,
        handoff_reason=handoff_reason,
    )
    key = idempotency_key or new_idempotency_key()
    answer = await _kept(_ping_stage(gateway_of(call), workflow_id, body, key), key)
    pinged = read(StagePinged, answer, stage=str(stage), idempotency_key=key)
    pinged.hint = _hint(pinged)
    return pinged


async def ping_pulse(
    call: Call,
    target: Annotated[
        str,
        Field(pattern=r"^[A-Za-z0-9_.\-]*[A-Za-z0-9_\-][A-Za-z0-9_.\-]*$", max_length=128, description="Id or slug."),
    ],
    event: Annotated[
        Literal["ping", "start", "fail", "log"],
        Field(description="ping: alive, or done. start: a run begins. fail: it failed. log: kept, and nothing else."),
    ] = "ping",
    run_id: Annotated[str, Field(max_length=64, description="Tells runs that overlap apart: any text of yours.")] = "",
    error: fields.ErrorText = "",
    duration_ms: fields.Duration = None,
    agent: fields.Agent = "",
    payload: fields.Payload = None,
    create: Annotated[bool, Field(description="Makes the pulse, with the slug `target`, if there is none.")] = False,
    period_seconds: Annotated[float | None, Field(gt=0, description="With create: how often it is to ping.")] = None,
    grace_seconds: Annotated[float | None, Field(ge=0, description="With create: how late it may be.")] = None,
    idempotency_key: fields.IdempotencyKey = "",
) -> PulsePinged:
    """Tells that something that must report on a schedule is alive, such as a job that you do each night.

    People are told when the pings of a pulse stop, or when it reports that it failed."""
    body = _body(
        payload,
        rid=run_id,
        error=error,
        duration_ms=duration_ms,
        agent=agent,
        create="yes" if create else "",
        period=period_seconds if create else None,
        grace=grace_seconds if create else None,
    )
    key = idempotency_key or new_idempotency_key()
    path = f"/hbk/{segment(target)}" if event == "ping" else f"/hbk/{segment(target)}/{event}"
    answer = await _kept(gateway_of(call).post(path, body, key), key)
    return read(PulsePinged, answer, idempotency_key=key)


async def _ping_stage(gateway: Gateway, workflow_id: str, body: dict[str, Any], key: str) -> Any:
    """By the endpoint of the workflow's kind. Which one that is, keys of the scope `ping` may not ask, but the gateway
    says so when the other one is pinged, and keeps nothing."""
    known = gateway.connection.static
    first, second = ("shk", "dhk") if workflow_id in known else ("dhk", "shk")
    try:
        return await gateway.post(f"/{first}/{segment(workflow_id)}", body, key)
    except Refused as refused:
        if f"ping it at /{second}/" not in str(refused.problem.get("detail")):
            raise
    answer = await gateway.post(f"/{second}/{segment(workflow_id)}", body, key)
    if second == "shk" and len(known) < MAX_KNOWN:
        known.add(workflow_id)
    return answer


def _hint(pinged: StagePinged) -> str | None:
    """What the agent should know that it might overlook: the ping that crosses a limit is kept like any other."""
    if pinged.budget is not None and pinged.budget.action_taken is not None:
        stop = STOP if pinged.budget.action_taken != "alert" else "Tell the person you work for, and spend less."
        return f"{pinged.budget.message}. {stop}"
    if pinged.instance_id is None:
        return "No run was open: the ping is kept for the next one that is opened with start=true."
    return None


async def _kept(ping: Any, key: str) -> Any:
    try:
        return await ping
    except Unreachable as error:
        raise Unreachable(f"{error} To report this later, repeat the call with idempotency_key={key}.") from None


def _body(payload: dict[str, Any] | None, **parameters: Any) -> dict[str, Any]:
    """Raises ToolError for members of the payload that would be taken for parameters."""
    payload = payload or {}
    if taken := sorted(payload.keys() & _PARAMETERS):
        raise ToolError(
            f"payload must not have {', '.join(taken)}: such members have a meaning of their own. Use this tool's "
            "parameters for what they mean, or other names."
        )
    return payload | {name: value for name, value in parameters.items() if value not in (None, "")}
