"""What a request may say of a workflow."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from api.deps import Text
from api.fields import ChannelIds, Slug, Tags
from api.interval_fields import Grace, IntervalFields
from domain.workflows import (
    DEFAULT_GRACE_PERIOD_SECONDS,
    DEFAULT_IDLE_TIMEOUT_SECONDS,
    MAX_STATIC_STAGES,
    MAX_TIMEOUT_SECONDS,
    ValidationMode,
    WorkflowKind,
)

Seconds = Annotated[float, Field(gt=0, le=MAX_TIMEOUT_SECONDS)]
Name = Annotated[Text, Field(min_length=1, max_length=200)]


class StageInput(BaseModel):
    model_config = ConfigDict(extra="forbid")

    order: int = Field(ge=1, le=MAX_STATIC_STAGES)
    name: Name | None = None
    timeout_seconds: Seconds | None = Field(None, description="From the ping of the stage before it.")


class WorkflowInput(IntervalFields):
    """What may be changed of a workflow."""

    model_config = ConfigDict(extra="forbid")

    name: Name | None = None
    slug: Slug | None = None
    validation_mode: ValidationMode = ValidationMode.FLEXIBLE
    stages: list[StageInput] = Field([], max_length=MAX_STATIC_STAGES, description="Static workflows only, 1 to n.")
    stage_timeout_seconds: Seconds | None = None
    instance_timeout_seconds: Seconds | None = None
    idle_timeout_seconds: Seconds | None = DEFAULT_IDLE_TIMEOUT_SECONDS
    grace_period_seconds: Grace = DEFAULT_GRACE_PERIOD_SECONDS
    tags: Tags = []
    channels: ChannelIds = []


class NewWorkflow(WorkflowInput):
    kind: WorkflowKind
    id: str | None = Field(None, pattern=r"^[A-Za-z0-9_.\-]{1,128}$", description="Chosen by us if left out.")
    name: Name
