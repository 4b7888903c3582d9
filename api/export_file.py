"""The file that one installation exports an instance to and another imports it from."""

from decimal import Decimal
from typing import Annotated, Any, Final, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from api.deps import Text
from api.fields import Tags
from api.interval_fields import Grace
from api.workflow_fields import Seconds, StageInput
from domain.errors import InvalidRequest
from domain.instances import InstanceStatus, StageStatus
from domain.paths import parse_path
from domain.pings import MAX_COST_USD, MAX_DURATION_MS, MAX_PAYLOAD_BYTES, MAX_TEXT, Outcome, PingStatus
from domain.slugs import MAX_SLUG
from domain.workflows import MAX_STATIC_STAGES, ValidationMode, WorkflowKind

MAX_PINGS: Final = 100_000
MAX_TRANSITIONS: Final = 100_000
MAX_OUTAGES: Final = 10_000

MAX_NUMBER: Final = 2**63 - 1
MAX_DECIMALS: Final = 60
"""Of money: a price by the token has more of them than callers may send."""


def _path(text: str) -> str:
    try:
        return parse_path(text)
    except InvalidRequest as error:
        raise ValueError(error.fields[0].message) from None


Path = Annotated[Text, AfterValidator(_path)]
ShortText = Annotated[Text, Field(max_length=MAX_TEXT)]
LongText = Annotated[Text, Field(max_length=2_000)]
Flag = Annotated[bool, Field(strict=True)]
Count = Annotated[int, Field(strict=True, ge=0, le=MAX_NUMBER)]
Cost = Annotated[Decimal, Field(ge=0, le=MAX_COST_USD, decimal_places=MAX_DECIMALS)]


class FilePart(BaseModel):
    model_config = ConfigDict(extra="forbid")


class WorkflowPart(FilePart):
    """The definition that the instance was opened with."""

    id: Text
    kind: WorkflowKind
    name: Annotated[Text, Field(max_length=200)] = ""
    slug: Annotated[Text, Field(max_length=MAX_SLUG)] = ""
    tags: Tags = []
    validation_mode: ValidationMode
    stages: list[StageInput] = Field([], max_length=MAX_STATIC_STAGES)
    stage_timeout_seconds: Seconds | None = None
    instance_timeout_seconds: Seconds | None = None
    idle_timeout_seconds: Seconds | None = None
    grace_period_seconds: Grace


class LineagePart(FilePart):
    """What the instance was made of, where it comes from."""

    origin: ShortText | None = None
    parent_id: ShortText | None = None
    root_id: ShortText | None = None
    fork_depth: Annotated[int, Field(strict=True, ge=0, le=10_000)] = 0
    fork_from_stage: ShortText | None = None


class InstancePart(FilePart):
    """`started_at` and `ended_at` are its own times, by its caller's clock."""

    id: ShortText
    status: InstanceStatus
    opened_at: AwareDatetime
    completed_at: AwareDatetime | None = None
    failure_reason: Text | None = None
    agent: Text | None = None
    external_id: ShortText | None = None
    correlation_id: ShortText | None = None
    started_at: AwareDatetime | None = None
    ended_at: AwareDatetime | None = None
    lineage: LineagePart


class PingPart(FilePart):
    """One ping by the columns of the journal; money as text, so that no reader loses decimals of it."""

    path: Path
    name: ShortText | None = None
    agent: ShortText | None = None
    status: PingStatus
    start: Flag = False
    final: Flag = False
    received_at: AwareDatetime
    error: LongText | None = None
    duration_ms: Annotated[int, Field(strict=True, ge=0, le=MAX_DURATION_MS)] | None = None
    handoff_reason: ShortText | None = None
    model_id: ShortText | None = None
    usage: dict[str, Any] | None = None
    input_tokens: Count | None = None
    output_tokens: Count | None = None
    cached_tokens: Count | None = None
    cache_write_tokens: Count | None = None
    reasoning_tokens: Count | None = None
    cost_usd: Cost | None = None
    cost_source: ShortText | None = None
    price_version: ShortText | None = None
    tool_calls: list[Any] | None = None
    payload: dict[str, Any] | None = None
    text: Annotated[Text, Field(max_length=MAX_PAYLOAD_BYTES)] | None = None
    size_bytes: Annotated[int, Field(strict=True, ge=0, le=2**31 - 1)] = 0
    outcome: Literal[Outcome.ACCEPTED, Outcome.REJECTED]
    reason_code: ShortText | None = None
    reason: LongText | None = None
    expected_stage: ShortText | None = None
    answered_status: InstanceStatus | None = None
    inherited: Flag = False


class TransitionPart(FilePart):
    """A change of status of the instance, or of a stage."""

    path: Path | None = None
    before: InstanceStatus | StageStatus | None = None
    after: InstanceStatus | StageStatus
    at: AwareDatetime
    reason: Text | None = None


class OutagePart(FilePart):
    """A time in which no gateway could take pings."""

    start: AwareDatetime
    end: AwareDatetime


class ExportFile(FilePart):
    """An instance with its journal."""

    format: Literal["pingpulse.instance"]
    version: Literal[1]
    exported_at: AwareDatetime
    workflow: WorkflowPart
    instance: InstancePart
    pings: list[PingPart] = Field(max_length=MAX_PINGS)
    transitions: list[TransitionPart] = Field(max_length=MAX_TRANSITIONS)
    outages: list[OutagePart] = Field(max_length=MAX_OUTAGES)
