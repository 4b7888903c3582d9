"""Writing the file that an instance is exported to, as `api.export_file.ExportFile` describes it."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any

import orjson

from api.export_file import WorkflowPart
from api.views import in_utc
from domain.evaluation import InstanceView
from domain.exports import FORMAT, VERSION
from domain.instances import Outage
from storage.exports import external_id_of, lineage_of
from storage.instances import Instance
from storage.transitions import TransitionRow


def head_document(instance: Instance, view: InstanceView, exported_at: datetime) -> dict[str, Any]:
    """The beginning of an ExportFile, up to its lists."""
    definition = instance.definition
    return {
        "format": FORMAT,
        "version": VERSION,
        "exported_at": in_utc(exported_at),
        "workflow": {name: definition[name] for name in WorkflowPart.model_fields if name in definition},
        "instance": {
            "id": instance.id,
            "status": view.status,
            "opened_at": in_utc(instance.opened_at),
            "completed_at": in_utc(view.completed_at) if view.completed_at is not None else None,
            "failure_reason": view.failure_reason,
            "agent": view.agent,
            "external_id": external_id_of(instance),
            "correlation_id": instance.correlation_id,
            "started_at": in_utc(instance.started_at) if instance.started_at is not None else None,
            "ended_at": in_utc(instance.ended_at) if instance.ended_at is not None else None,
            "lineage": lineage_of(instance),
        },
    }


def transition_document(row: TransitionRow) -> dict[str, Any]:
    return {"path": row.path, "before": row.before, "after": row.after, "at": in_utc(row.at), "reason": row.reason}


def outage_document(outage: Outage) -> dict[str, Any]:
    return {"start": in_utc(outage.start), "end": in_utc(outage.end)}


def ping_json(row: Mapping[str, Any]) -> bytes:
    """What is not known of a ping is left out."""
    known = {name: value for name, value in row.items() if value is not None}
    return orjson.dumps(
        known | {"received_at": in_utc(row["received_at"])}, default=_money_text, option=orjson.OPT_UTC_Z
    )


def file_json(head: Mapping[str, Any], pings: Sequence[bytes]) -> bytes:
    return orjson.dumps({**head, "pings": [orjson.Fragment(ping) for ping in pings]}, option=orjson.OPT_UTC_Z)


def _money_text(value: object) -> str:
    if isinstance(value, Decimal):
        return f"{value:f}"
    raise TypeError(f"{type(value).__name__} is not for the file")
