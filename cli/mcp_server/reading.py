"""Tools that look: trees, timelines, costs, comparisons and lists."""

from collections import Counter
from typing import Annotated, Any, Final, Literal

from mcp.server.mcpserver.exceptions import ToolError
from pydantic import Field

from cli.mcp_server import fields
from cli.mcp_server.answers import (
    Compared,
    CostGroup,
    CostOfPing,
    Costs,
    Difference,
    InstanceRow,
    Instances,
    Page,
    Stage,
    Step,
    Timeline,
    Tree,
    WorkflowRow,
    Workflows,
    cut,
    fitting,
    read,
)
from cli.mcp_server.gateway import Call, Gateway, gateway_of, segment

MAX_EVENTS: Final = 50
MAX_STAGE_LINES: Final = 50
MAX_BAD_STAGES: Final = 20
MAX_PAYLOAD_DIFFERENCES: Final = 10
MAX_VALUE_CHARACTERS: Final = 300
_BAD: Final = frozenset({"failed", "missed", "timeout"})

Start = Annotated[int, Field(ge=0, description="Where the page begins, from 0: `next_start` of the page before.")]
Limit = Annotated[int, Field(ge=1, le=100, description="How many at most.")]
Day = Annotated[str, Field(pattern=r"^([0-9]{4}-[0-9]{2}-[0-9]{2})?$", description="A day such as 2026-03-01.")]


async def get_tree(
    call: Call,
    workflow_id: fields.WorkflowId,
    instance_id: fields.OptionalInstanceId = "",
    start: Start = 0,
    limit: Annotated[int, Field(ge=1, le=500, description="How many stages at most.")] = 200,
) -> Tree:
    """How all stages of a run stand: the workflow's current run, or the one of instance_id."""
    tree = await gateway_of(call).get(f"/dhk/{segment(workflow_id)}/tree", instance_id=instance_id)
    page = list(tree.items())[start : start + limit]
    stages = fitting(
        read(Stage, stage, stage=path, name=stage.get("stage_name"), agent=stage.get("agent_code"))
        for path, stage in page
    )
    return Tree(
        workflow_id=workflow_id,
        total_stages=len(tree),
        by_status=_counted(tree),
        stages=stages,
        **_rest(start + len(stages), len(tree), "stages"),
    )


async def get_timeline(
    call: Call,
    instance_id: fields.InstanceId,
    start: Start = 0,
    limit: Limit = 20,
    payload_characters: Annotated[
        int, Field(ge=0, le=20_000, description="How much of each payload to show; 0 for none of them.")
    ] = 500,
) -> Timeline:
    """Every ping of a run as a step, with its payload, agent and cost, and what happened between the steps. Long runs
    come in pages."""
    path = f"/api/instances/{segment(instance_id)}/timeline"
    page: dict[str, Any] = {"from": start, "limit": limit}
    document = await gateway_of(call).get(path, **page)
    steps = fitting(_step(step, payload_characters) for step in document["timeline"])
    total, end = document["total_steps"], start + len(steps)
    events = [event for event in document["events"] if (event["after_step"] or 0) < end][:MAX_EVENTS]
    return read(
        Timeline,
        document,
        steps=steps,
        events=events,
        next_start=end if steps and end < total else None,
        **_rest(end, total, "steps"),
    )


async def get_costs(
    call: Call,
    instance_id: fields.OptionalInstanceId = "",
    workflow_id: fields.OptionalWorkflowId = "",
    group_by: Annotated[
        Literal["day", "workflow", "model", "agent", "stage"], Field(description="For the account: what is summed up.")
    ] = "day",
    from_day: Day = "",
    to_day: Day = "",
    days: Annotated[int, Field(ge=1, le=366, description="For a workflow: how many days, with today.")] = 7,
    start: Start = 0,
    limit: Limit = 50,
) -> Costs:
    """What a run costs, ping by ping (instance_id), what a workflow costs (workflow_id), or, with neither of them, what
    everything in the account costs from from_day to to_day: the last 30 days if left out."""
    gateway = gateway_of(call)
    if instance_id and workflow_id:
        raise ToolError("Give instance_id or workflow_id, not both. For the whole account, give neither.")
    if instance_id:
        return await _cost_of_instance(gateway, instance_id, start, limit)
    if workflow_id:
        return await _cost_of_workflow(gateway, workflow_id, days)
    # One more than is shown tells whether there is more.
    asked: dict[str, Any] = {"from": from_day, "to": to_day, "limit": min(start + limit + 1, 10_000)}
    report = await gateway.get("/api/costs", group_by=group_by, **asked)
    groups = fitting(read(CostGroup, group) for group in report["groups"][start : start + limit])
    end = start + len(groups)
    return Costs(
        of="account",
        id=None,
        total_cost_usd=report["total"]["cost_usd"],
        unpriced_pings=report["total"]["unpriced_pings"],
        period=f"{report['from']} to {report['to']} ({report['time_zone']})",
        groups=groups,
        next_start=end if end < len(report["groups"]) else None,
        **_rest(end, len(report["groups"]), "groups"),
    )


async def _cost_of_instance(gateway: Gateway, instance_id: str, start: int, limit: int) -> Costs:
    path = f"/api/instances/{segment(instance_id)}/cost"
    page: dict[str, Any] = {"from": start, "limit": limit}
    document = await gateway.get(path, **page)
    pings = fitting(read(CostOfPing, ping) for ping in document["breakdown"])
    is_all = len(pings) == len(document["breakdown"]) and document["next_from"] is None
    end = start + len(pings)
    return read(
        Costs,
        document,
        of="instance",
        id=instance_id,
        pings=pings,
        next_start=None if is_all else end,
        truncated=not is_all,
        hint=None if is_all else f"There are more pings: call again with start={end}.",
    )


async def _cost_of_workflow(gateway: Gateway, workflow_id: str, days: int) -> Costs:
    document = await gateway.get(f"/api/workflows/{segment(workflow_id)}/cost", days=days)
    dearest = document["most_expensive_instance"] or {}
    period = f"the last {document['period_days']} days, today the last of them"
    return read(
        Costs, document, of="workflow", id=workflow_id, period=period, most_expensive_instance_id=dearest.get("id")
    )


async def compare_instances(
    call: Call,
    instance_a: fields.InstanceId,
    instance_b: fields.InstanceId,
    ignore: Annotated[
        list[str] | None,
        Field(
            description="Members of payloads that do not count, as JSON pointers: ['*/id', '/meta/*', 'timestamps']. "
            "Ids and timestamps if left out; [] lets everything count."
        ),
    ] = None,
    start: Start = 0,
    limit: Limit = 20,
) -> Compared:
    """In what two runs differ, and from which step on: status, payload, agents, cost, time. Take a good run as a and a
    bad one as b to see what went wrong."""
    body = {"instance_a": instance_a, "instance_b": instance_b}
    answer = await gateway_of(call).post(
        "/api/instances/compare", body | ({"ignore": ignore} if ignore is not None else {})
    )
    comparison = answer["comparison"]
    pairs = comparison["steps"]
    different = [(position, pair) for position, pair in enumerate(pairs) if pair["kind"] != "same"]
    shown = fitting(_difference(position, pair) for position, pair in different[start : start + limit])
    end = start + len(shown)
    return Compared(
        session_id=answer["session_id"],
        instance_a=comparison["instance_a"],
        instance_b=comparison["instance_b"],
        divergence_step=comparison["divergence_step"],
        totals=comparison["differences"],
        total_steps=len(pairs),
        different_steps=len(different),
        differences=shown,
        next_start=end if end < len(different) else None,
        **_rest(end, len(different), "differences"),
    )


async def list_workflows(call: Call, limit: Limit = 20, cursor: fields.Cursor = "") -> Workflows:
    """The account's workflows, the newest first."""
    document = await gateway_of(call).get("/api/workflows", limit=limit, cursor=cursor)
    rows = [read(WorkflowRow, workflow, stages=_stage_lines(workflow)) for workflow in document["workflows"]]
    return Workflows(workflows=rows, **_pages(document))


async def list_instances(
    call: Call,
    workflow_id: fields.WorkflowId,
    status: Annotated[
        list[Literal["pending", "running", "paused", "completed", "failed", "terminated"]] | None,
        Field(description="Only these."),
    ] = None,
    limit: Limit = 10,
    cursor: fields.Cursor = "",
) -> Instances:
    """A workflow's running run and its most recent others, with what went wrong. get_tree and get_timeline have more
    of each."""
    path = f"/api/workflows/{segment(workflow_id)}/instances"
    document = await gateway_of(call).get(path, limit=limit, cursor=cursor, status=",".join(status or ()))
    running = document["running_instance"]
    return Instances(
        workflow_id=workflow_id,
        running_instance=_instance(running) if running is not None else None,
        recent_instances=[_instance(instance) for instance in document["recent_instances"]],
        **_pages(document),
    )


def _rest(end: int, total: int, what: str) -> dict[str, Any]:
    """Whether there is more than up to `end`, as Page says it."""
    if end >= total:
        return {}
    return Page(truncated=True, hint=f"There are more {what}: call again with start={end}.").model_dump()


def _pages(document: dict[str, Any]) -> dict[str, Any]:
    cursor = document["next_cursor"]
    more = Page(truncated=True, hint=f"There are more: call again with cursor={cursor}.") if cursor else Page()
    return {"next_cursor": cursor, **more.model_dump()}


def _counted(tree: dict[str, Any]) -> dict[str, int]:
    return dict(Counter(str(stage["status"]) for stage in tree.values()))


def _step(step: dict[str, Any], characters: int) -> Step:
    payload, is_cut = cut(step["payload"], characters) if step["payload"] is not None else (None, False)
    return read(Step, step, payload=payload if characters else None, payload_cut=is_cut)


def _difference(position: int, pair: dict[str, Any]) -> Difference:
    all_of_it = pair["payload_diff"]
    is_cut = pair["payload_diff_truncated"] or len(all_of_it) > MAX_PAYLOAD_DIFFERENCES
    shown = []
    for difference in all_of_it[:MAX_PAYLOAD_DIFFERENCES]:
        values = {side: cut(difference[side], MAX_VALUE_CHARACTERS) for side in ("a", "b") if side in difference}
        is_cut = is_cut or any(value_is_cut for _, value_is_cut in values.values())
        shown.append({**difference, **{side: value for side, (value, _) in values.items()}})
    return read(Difference, pair, position=position, payload_diff=shown, payload_diff_cut=is_cut)


def _stage_lines(workflow: dict[str, Any]) -> list[str]:
    stages = workflow["stages"][:MAX_STAGE_LINES]
    return [f"{stage['order']}: {stage['name']}" if stage["name"] else str(stage["order"]) for stage in stages]


def _instance(document: dict[str, Any]) -> InstanceRow:
    tree = document["stage_statuses"]
    bad = [f"{path}: {stage['status']}" for path, stage in tree.items() if stage["status"] in _BAD]
    return read(InstanceRow, document, by_status=_counted(tree), bad_stages=bad[:MAX_BAD_STAGES])
