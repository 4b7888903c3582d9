"""Forks: another course of an instance from one of its stages on. And reruns: the same work done once more."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from enum import StrEnum
from typing import Any, Final

from domain import paths
from domain.errors import InvalidRequest
from domain.pings import PingFact, error_text, understand_status
from domain.workflows import WorkflowDefinition

MAX_DEPTH: Final = 100
"""Of forks of forks."""


class Origin(StrEnum):
    """How an instance came into being, if not by a ping that was looking for the current one."""

    FORK = "fork"
    RERUN = "rerun"
    IMPORT = "import"
    EXTERNAL = "external"
    """By a ping that names it by the caller's own id, or reports all of it: it takes no pings that do not."""


def inherited_by_fork(
    definition: WorkflowDefinition, pings: Sequence[PingFact], stage: str, modified: Collection[str]
) -> list[PingFact]:
    """What a fork begins with: of the accepted `pings`, in the order of the fold, those up to and with the last one
    of `stage`.

    Raises InvalidRequest for a stage that was not executed, and for one in `modified` that is not inherited.
    """
    executed = [index for index, ping in enumerate(pings) if ping.path == stage]
    if not executed:
        raise InvalidRequest.of_field("fork_from_stage", _why_not_executed(definition, stage))
    inherited = list(pings[: executed[-1] + 1])
    ours, all_stages = {ping.path for ping in inherited}, {ping.path for ping in pings}
    for path in modified:
        if path in all_stages - ours:
            message = f"stage {path} came after the last ping of stage {stage}, so the fork does not inherit it"
            raise InvalidRequest.of_field(field_of(path), message)
    check_modified(definition, ours, modified)
    return inherited


def check_modified(definition: WorkflowDefinition, executed: Collection[str], modified: Collection[str]) -> None:
    """Raises InvalidRequest for a stage in `modified` that was not executed."""
    for path in modified:
        if path not in executed:
            raise InvalidRequest.of_field(field_of(path), _why_not_executed(definition, path))


def field_of(path: str) -> str:
    """How errors name the modifications of a stage."""
    return f"payload_modifications.{path}"


def _why_not_executed(definition: WorkflowDefinition, stage: str) -> str:
    order, levels = definition.order_of_name(stage), paths.numbers(stage)
    if order is not None:
        return f"{stage} is the name of stage {order}; send {order}"
    if levels is not None and not definition.defines(levels):
        return f"stage {stage} is unknown: the workflow has the stages 1 to {len(definition.stages)}"
    return f"stage {stage} was not executed by this instance"


def modified_fact(ping: PingFact, modification: Mapping[str, Any], payload: Mapping[str, Any]) -> PingFact:
    """What a ping says once its payload was modified to `payload`: how its stage went, as far as that was modified."""
    if "status" in modification or "exit_code" in modification:
        ping = replace(ping, status=understand_status(payload.get("status", payload.get("exit_code"))))
    if "error" in modification:
        ping = replace(ping, error=error_text(payload.get("error")))
    return ping
