"""Questions as calls: trees, runs, timelines, costs. Nothing here sends anything."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

from pingpulse._parsing import parse, parse_mapping
from pingpulse._pings import Kind
from pingpulse._wire import Call, Request, segment
from pingpulse.models import (
    History,
    Instance,
    InstanceCost,
    StageState,
    Timeline,
    WorkflowCost,
    WorkflowInfo,
    WorkflowPage,
)


def tree(workflow_id: str, kind: Kind, instance_id: str | None) -> Call[dict[str, StageState]]:
    address = f"/{'shk' if kind == 'static' else 'dhk'}/{segment(workflow_id)}/tree"
    return Call(_get(address, instance_id=instance_id), partial(parse_mapping, StageState))


def workflows(limit: int | None, cursor: str | None) -> Call[WorkflowPage]:
    return Call(_get("/api/workflows", limit=limit, cursor=cursor), partial(parse, WorkflowPage))


def workflow_info(workflow_id: str) -> Call[WorkflowInfo]:
    return Call(_get(f"/api/workflows/{segment(workflow_id)}"), partial(parse, WorkflowInfo))


def instances(workflow_id: str, status: Sequence[str], limit: int | None, cursor: str | None) -> Call[History]:
    wanted = ",".join([status] if isinstance(status, str) else status) or None
    address = f"/api/workflows/{segment(workflow_id)}/instances"
    return Call(_get(address, status=wanted, limit=limit, cursor=cursor), partial(parse, History))


def instance(instance_id: str) -> Call[Instance]:
    return Call(_get(f"/api/instances/{segment(instance_id)}"), partial(parse, Instance))


def timeline(instance_id: str, from_step: int, limit: int | None) -> Call[Timeline]:
    address = f"/api/instances/{segment(instance_id)}/timeline"
    return Call(_get(address, **{"from": from_step}, limit=limit), partial(parse, Timeline))


def instance_cost(instance_id: str, from_ping: int, limit: int | None) -> Call[InstanceCost]:
    address = f"/api/instances/{segment(instance_id)}/cost"
    return Call(_get(address, **{"from": from_ping}, limit=limit), partial(parse, InstanceCost))


def workflow_cost(workflow_id: str, days: int | None) -> Call[WorkflowCost]:
    return Call(_get(f"/api/workflows/{segment(workflow_id)}/cost", days=days), partial(parse, WorkflowCost))


def _get(address: str, **query: object) -> Request:
    return Request("GET", address, {name: str(value) for name, value in query.items() if value is not None})
