"""What a user defines: a workflow, its stages and how strictly it is watched."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from domain.paths import Numbers


class WorkflowKind(StrEnum):
    STATIC = "static"
    DYNAMIC = "dynamic"
    RUN = "run"
    """Its runs are reported whole, once they are over."""


class ValidationMode(StrEnum):
    STRICT = "strict"
    FLEXIBLE = "flexible"


DEFAULT_IDLE_TIMEOUT_SECONDS: Final = 86_400.0
DEFAULT_GRACE_PERIOD_SECONDS: Final = 60.0
MAX_TIMEOUT_SECONDS: Final = 366 * 86_400.0
MAX_STATIC_STAGES: Final = 2_000
MAX_STAGES: Final = 2_100
"""Distinct stages of one instance: all that can be defined, and some names besides. `domain.room` shows that its
state then fits into the 2 MiB of a Temporal payload, whatever the texts."""


@dataclass(frozen=True)
class StageDefinition:
    """A stage known ahead; `timeout_seconds` runs from the ping of the stage before it."""

    order: int
    name: str | None = None
    timeout_seconds: float | None = None


@dataclass(frozen=True)
class WorkflowDefinition:
    """The rules one instance is held to. An instance keeps the definition it was opened with.

    `stage_timeout_seconds` is the default of stages that name none; for a dynamic workflow it is the longest
    silence between two pings. `idle_timeout_seconds` ends an instance that nobody pings any more.
    `grace_period_seconds` is how long stragglers may still come and failures may still heal.
    """

    id: str
    account_id: str
    kind: WorkflowKind
    name: str = ""
    slug: str = ""
    tags: tuple[str, ...] = ()
    validation_mode: ValidationMode = ValidationMode.FLEXIBLE
    stages: tuple[StageDefinition, ...] = ()
    stage_timeout_seconds: float | None = None
    instance_timeout_seconds: float | None = None
    idle_timeout_seconds: float | None = DEFAULT_IDLE_TIMEOUT_SECONDS
    grace_period_seconds: float = DEFAULT_GRACE_PERIOD_SECONDS

    @property
    def is_strict(self) -> bool:
        return self.validation_mode is ValidationMode.STRICT

    @property
    def is_static(self) -> bool:
        return self.kind is WorkflowKind.STATIC

    def order_of_name(self, name: str) -> int | None:
        """The order of the stage that the definition gives that name, if it does."""
        return next((stage.order for stage in self.stages if stage.name == name), None)

    def defines(self, path: Numbers) -> bool:
        """Whether a numbered path lies at or below a stage that the definition knows."""
        return not self.is_static or path[0] <= len(self.stages)
