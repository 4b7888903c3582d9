"""Two instances side by side, as the API shows them."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Annotated, Any, Literal

import orjson
from pydantic import BaseModel, ConfigDict, Field

from api.timeline_views import Money, money
from api.views import in_utc
from domain.comparison import Aggregates, Comparison, Differences, Kind, Pair
from domain.json_diff import Difference, Op
from domain.timeline import Step, StepStatus

Counts = Annotated[dict[str, int], Field(description="How often each came.")]
MoneyDifference = Annotated[float, Field(description="US dollars, all decimals as they are.")]


class ComparedAggregates(BaseModel):
    """What the steps of an instance add up to, without those that were rejected; null for what no step says."""

    model_config = ConfigDict(extra="forbid")

    total_steps: int
    statuses: Counts = Field(description="By `success`, `failed`, `pending`, and `rejected`.")
    total_tokens: int | None
    input_tokens: int | None
    output_tokens: int | None
    total_cost_usd: Money | None
    unpriced_steps: int = Field(description="Steps that used a model and have no cost: the total lacks them.")
    total_duration_ms: int | None = Field(description="By the callers' own account.")
    elapsed_ms: int = Field(description="Between the first and the last step.")
    agents: Counts
    models: Counts
    tool_calls: Counts


class ComparedInstance(BaseModel):
    model_config = ConfigDict(extra="forbid")

    id: str
    workflow_id: str
    aggregates: ComparedAggregates


class ComparedDifferences(BaseModel):
    """What `instance_b` has more than `instance_a`; null where one of them does not say."""

    model_config = ConfigDict(extra="forbid")

    cost_diff_usd: MoneyDifference | None
    token_diff: int | None
    input_token_diff: int | None
    output_token_diff: int | None
    time_diff_ms: int = Field(description="By the callers' own account where both have it, else as `elapsed_diff_ms`.")
    elapsed_diff_ms: int
    steps_diff: int
    tool_calls_diff: int


class ComparedStep(BaseModel):
    """A step in short; the timeline has it in full."""

    model_config = ConfigDict(extra="forbid")

    step: int
    status: StepStatus
    accepted: bool
    executed_at: datetime
    response_time_ms: int | None
    agent_code: str | None
    model_id: str | None
    input_tokens: int | None
    output_tokens: int | None
    cost_usd: Money | None


class PayloadDifference(BaseModel):
    model_config = ConfigDict(extra="forbid")

    path: str = Field(description="A JSON pointer into the payload.")
    op: Literal["add", "remove", "replace"]
    a: Any = Field(None, description="Left out of what was added.")
    b: Any = Field(None, description="Left out of what was removed.")


class ComparedPair(BaseModel):
    """Two steps that belong together, or one without its like."""

    model_config = ConfigDict(extra="forbid")

    stage_path: str
    kind: Kind = Field(description="The main thing in which they differ; `missing` from b, or `added` in b.")
    kinds: list[Kind] = Field(description="All of them.")
    a: ComparedStep | None
    b: ComparedStep | None
    payload_diff: list[PayloadDifference]
    payload_diff_truncated: bool = Field(description="If that is not all, or not in full.")


class ComparisonBody(BaseModel):
    model_config = ConfigDict(extra="forbid")

    instance_a: ComparedInstance
    instance_b: ComparedInstance
    divergence_step: int | None = Field(
        description="The first of `steps` that differs; null if none does. Up to there it is the step of both."
    )
    differences: ComparedDifferences
    steps: list[ComparedPair] = Field(description="Aligned by stage paths, in the order of both instances.")
    ignore: list[str] = Field(description="What did not count.")


class ComparisonSession(BaseModel):
    model_config = ConfigDict(extra="forbid")

    session_id: str
    comparison: ComparisonBody


@dataclass(frozen=True)
class Run:
    """One of the two that are compared."""

    instance_id: str
    workflow_id: str


def comparison_json(a: Run, b: Run, comparison: Comparison, ignore: Sequence[str]) -> bytes:
    """As ComparisonBody describes it."""
    document = {
        "instance_a": _instance(a, comparison.a),
        "instance_b": _instance(b, comparison.b),
        "divergence_step": comparison.divergence_step,
        "differences": _differences(comparison.differences),
        "steps": [_pair(pair) for pair in comparison.pairs],
        "ignore": list(ignore),
    }
    return orjson.dumps(document, option=orjson.OPT_UTC_Z)


def session_json(session_id: str, comparison: str) -> bytes:
    """As ComparisonSession describes it."""
    return orjson.dumps({"session_id": session_id, "comparison": orjson.Fragment(comparison)})


def _instance(run: Run, sums: Aggregates) -> dict[str, Any]:
    return {
        "id": run.instance_id,
        "workflow_id": run.workflow_id,
        "aggregates": {
            "total_steps": sums.steps,
            "statuses": _counts(sums.statuses),
            "total_tokens": sums.tokens,
            "input_tokens": sums.input_tokens,
            "output_tokens": sums.output_tokens,
            "total_cost_usd": money(sums.cost_usd),
            "unpriced_steps": sums.unpriced,
            "total_duration_ms": sums.duration_ms,
            "elapsed_ms": sums.elapsed_ms,
            "agents": _counts(sums.agents),
            "models": _counts(sums.models),
            "tool_calls": _counts(sums.tool_calls),
        },
    }


def _counts(counts: Mapping[str, int]) -> orjson.Fragment:
    """Names of tools may be no valid Unicode, which orjson refuses."""
    return orjson.Fragment(json.dumps(counts, sort_keys=True))


def _differences(differences: Differences) -> dict[str, Any]:
    return {
        "cost_diff_usd": money(differences.cost_diff_usd),
        "token_diff": differences.token_diff,
        "input_token_diff": differences.input_token_diff,
        "output_token_diff": differences.output_token_diff,
        "time_diff_ms": differences.time_diff_ms,
        "elapsed_diff_ms": differences.elapsed_diff_ms,
        "steps_diff": differences.steps_diff,
        "tool_calls_diff": differences.tool_calls_diff,
    }


def _pair(pair: Pair) -> dict[str, Any]:
    return {
        "stage_path": pair.path,
        "kind": pair.kind,
        "kinds": pair.kinds,
        "a": _step(pair.a),
        "b": _step(pair.b),
        "payload_diff": [_difference(difference) for difference in pair.payload],
        "payload_diff_truncated": pair.is_cut,
    }


def _step(step: Step | None) -> dict[str, Any] | None:
    if step is None:
        return None
    return {
        "step": step.number,
        "status": step.status,
        "accepted": step.accepted,
        "executed_at": in_utc(step.at),
        "response_time_ms": step.duration_ms,
        "agent_code": step.agent,
        "model_id": step.model_id,
        "input_tokens": step.input_tokens,
        "output_tokens": step.output_tokens,
        "cost_usd": money(step.cost_usd),
    }


def _difference(difference: Difference) -> orjson.Fragment:
    """Not by orjson itself: it refuses whole numbers of more than 64 bits, which callers may well send."""
    document = {"path": difference.path, "op": difference.op}
    if difference.op is not Op.ADD:
        document["a"] = difference.a
    if difference.op is not Op.REMOVE:
        document["b"] = difference.b
    return orjson.Fragment(json.dumps(document))
