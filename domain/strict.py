"""The order that strict workflows insist on."""

from domain import paths
from domain.errors import DomainError
from domain.instances import InstanceState
from domain.pings import PingFact, PingStatus


class StageMissed(DomainError):
    """Strict: a stage before this one was not seen. Send `expected_stage` first; the ping is in the failed queue."""

    code = "stage_missed"
    status = 400
    title = "Stage missed"


class StageOutOfOrder(DomainError):
    """Strict: the stage, or a later one, was seen already. The ping is in the failed queue."""

    code = "stage_out_of_order"
    status = 409
    title = "Stage executed out of order"


class AgentRequired(DomainError):
    """Strict: each ping names who reports, as `agent`."""

    code = "agent_required"
    status = 400
    title = "Agent required"


class StageUnknown(DomainError):
    """Strict: the static workflow has no such stage."""

    code = "stage_unknown"
    status = 400
    title = "Unknown stage"


def find_violation(state: InstanceState, ping: PingFact) -> DomainError | None:
    """Which rule of a strict workflow `ping` breaks, if any."""
    expected = expected_stage(state)
    if not ping.agent:
        return AgentRequired(
            f"This workflow is strict: name the agent that reports stage {ping.path}, as agent=…",
            expected_stage=expected,
        )
    path = paths.numbers(ping.path)
    if path is None:
        return None
    if not state.definition.defines(path):
        count = len(state.definition.stages)
        return StageUnknown(
            f"Stage {ping.path} is not defined; this workflow has the stages 1 to {count}.", expected_stage=expected
        )
    return _out_of_order(state, ping.path, path, expected)


def _out_of_order(state: InstanceState, text: str, path: paths.Numbers, expected: str) -> DomainError | None:
    known = state.stages.get(text)
    if known is not None and known.status is not PingStatus.HEALTHY:
        return None
    seen = _seen(state)
    if known is not None or any(paths.is_after(other, path) for other in seen):
        return StageOutOfOrder(
            f"Stage {text} is already behind; stage {expected} is expected next.", expected_stage=expected
        )
    before = paths.predecessor(path)
    if before is not None and not any(paths.is_at_or_below(other, before) for other in seen):
        missed = paths.text(before)
        return StageMissed(f"Stage {text} came before stage {missed}, which was not seen yet.", expected_stage=missed)
    return None


def expected_stage(state: InstanceState) -> str:
    """The next stage in order: the first that was not seen."""
    seen = {path[0] for path in _seen(state)}
    following = 1
    while following in seen:
        following += 1
    return str(min(following, len(state.definition.stages)) if state.definition.is_static else following)


def _seen(state: InstanceState) -> list[paths.Numbers]:
    return [
        levels
        for path, facts in state.stages.items()
        if facts.status is not PingStatus.PENDING and (levels := paths.numbers(path)) is not None
    ]
