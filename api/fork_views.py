"""Forks and reruns as the API takes and shows them, and the tree that comes of them."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from api.deps import Text
from api.ping_input import MAX_LEVELS, is_deeper, payload_text
from api.timeline_views import fragment
from api.views import in_utc
from domain.errors import InvalidRequest
from domain.evaluation import InstanceView
from domain.forks import Origin, field_of
from domain.instances import InstanceStatus
from domain.keys import redact
from domain.paths import parse_path
from storage.forks import Forked, Modifications
from storage.instances import Instance
from storage.reruns import InputPage

PayloadModifications = Annotated[
    dict[Text, dict[str, Any]],
    Field(
        max_length=2_100,
        description="By stage, what is different in the payloads of its pings, as a JSON Merge Patch (RFC 7396): "
        "objects are merged, null deletes a member, everything else is replaced.",
        examples=[{"1": {"retry": True}, "2": {"prompt": None}}],
    ),
]


class NewFork(BaseModel):
    model_config = ConfigDict(extra="forbid")

    fork_from_stage: Text = Field(description="The last stage that the fork inherits.", examples=["2"])
    payload_modifications: PayloadModifications = {}


class ForkCreated(BaseModel):
    model_config = ConfigDict(extra="forbid")

    forked_instance_id: str = Field(description="Pings with this `instance_id` go on from the fork.")
    session_id: str = Field(description="A UUID, kept with the fork.")
    fork_from_stage: str
    stages_copied: int = Field(description="How many stages it inherited, whatever the number of their pings.")


class NewRerun(BaseModel):
    model_config = ConfigDict(extra="forbid")

    payload_modifications: PayloadModifications = {}


class RerunCreated(BaseModel):
    model_config = ConfigDict(extra="forbid")

    new_instance_id: str = Field(description="Pings with this `instance_id` are those of the new run.")
    session_id: str = Field(description="A UUID, kept with the rerun.")
    message: str = "Instance created and ready for re-execution"


class RerunInputView(BaseModel):
    model_config = ConfigDict(extra="forbid")

    stage_name: str | None
    agent_code: str | None
    payload: Any = Field(description="Of the stage's last accepted ping, as it was modified. Text, if it was no JSON.")
    is_modified: bool


class RerunInputs(BaseModel):
    model_config = ConfigDict(extra="forbid")

    instance_id: str
    parent_id: str
    session_id: str
    total_stages: int
    inputs: dict[str, RerunInputView] = Field(description="By stage, in the order in which the stages came first.")
    next_from: int | None = Field(description="`from` of the next page.")


class Relative(BaseModel):
    model_config = ConfigDict(extra="forbid")

    instance_id: str
    parent_id: str | None = Field(description="Null of the root.")
    fork_depth: int
    origin: Origin | None = Field(description="Null of one that was opened by a ping.")
    fork_from_stage: str | None
    session_id: str | None
    status: InstanceStatus
    created_at: datetime


class Lineage(BaseModel):
    model_config = ConfigDict(extra="forbid")

    root_id: str
    instances: list[Relative] = Field(description="The root and all that was made of it, oldest first.")
    next_cursor: str | None


def modifications_of(given: Mapping[str, dict[str, Any]]) -> Modifications:
    """By the canonical paths of the stages, without API keys. Raises InvalidRequest naming the field."""
    modifications: dict[str, dict[str, Any]] = {}
    for name, modification in given.items():
        path = parse_path(name, field_of(name))
        if path in modifications:
            raise InvalidRequest.of_field(field_of(name), "is there twice")
        if is_deeper(modification, MAX_LEVELS):
            raise InvalidRequest.of_field(field_of(path), f"is nested more than {MAX_LEVELS} levels deep")
        modifications[path] = json.loads(redact(payload_text(modification)))
    return modifications


def fork_document(forked: Forked) -> ForkCreated:
    fork = forked.instance
    assert fork.session_id is not None
    assert fork.fork_from_stage is not None
    return ForkCreated(
        forked_instance_id=fork.id,
        session_id=fork.session_id,
        fork_from_stage=fork.fork_from_stage,
        stages_copied=forked.stages_copied,
    )


def inputs_document(rerun: Instance, page: InputPage, start: int) -> dict[str, Any]:
    """As RerunInputs describes it."""
    end = start + len(page.inputs)
    return {
        "instance_id": rerun.id,
        "parent_id": rerun.parent_id,
        "session_id": rerun.session_id,
        "total_stages": page.total,
        "inputs": {
            item.path: {
                "stage_name": item.name,
                "agent_code": item.agent,
                "payload": fragment(item.payload),
                "is_modified": item.is_modified,
            }
            for item in page.inputs
        },
        "next_from": end if page.inputs and end < page.total else None,
    }


def relative(row: Instance, view: InstanceView) -> Relative:
    return Relative(
        instance_id=row.id,
        parent_id=row.parent_id,
        fork_depth=row.fork_depth,
        origin=Origin(row.origin) if row.origin is not None else None,
        fork_from_stage=row.fork_from_stage,
        session_id=row.session_id,
        status=view.status,
        created_at=in_utc(row.opened_at),
    )
