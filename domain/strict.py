"""The order that strict workflows insist on, and the verdict on a ping."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from domain import paths
from domain.errors import DomainError
from domain.evaluation import stand
from domain.instances import InstanceState, InstanceStatus, merge
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


class InstanceClosed(DomainError):
    """The run is over and so is its grace period; open a new one."""

    code = "instance_closed"
    status = 409
    title = "Instance closed"


class NoOpenInstance(DomainError):
    """Nothing is open that the ping could belong to; open a run with `stage=1` or `start=yes`."""

    code = "no_open_instance"
    status = 404
    title = "No open instance"


REJECTIONS: dict[str, type[DomainError]] = {
    error.code: error
    for error in (StageMissed, StageOutOfOrder, AgentRequired, StageUnknown, InstanceClosed, NoOpenInstance)
}


@dataclass(frozen=True)
class Verdict:
    """The answer to one ping. `expected` is the stage that should have come instead; `code` one of REJECTIONS."""

    ping_id: int
    accepted: bool
    instance_status: InstanceStatus
    code: str | None = None
    message: str | None = None
    expected: str | None = None

    def error(self) -> DomainError:
        """The rejection as an error to answer with."""
        rejection = REJECTIONS.get(self.code or "", DomainError)
        return rejection(self.message or "", expected_stage=self.expected)


def judge(state: InstanceState, ping: PingFact, closes_at: datetime | None) -> DomainError | None:
    """Why `ping` may not be taken into `state`, or None if it may. `closes_at` as the state evaluates to."""
    if closes_at is not None and ping.at > closes_at:
        return InstanceClosed(
            f"Instance {state.instance_id} closed at {closes_at.isoformat()}; open a new one to go on."
        )
    if not state.definition.is_strict:
        return None
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


def judge_all(state: InstanceState, pings: Iterable[PingFact]) -> tuple[list[Verdict], InstanceState]:
    """Judges `pings` one after the other; returns the verdicts and the state with the accepted ones taken in."""
    verdicts: list[Verdict] = []
    standing = stand(state)
    for ping in pings:
        rejection = judge(state, ping, standing.closes_at)
        if rejection is None:
            state = merge(state, [ping])
            standing = stand(state)
            verdicts.append(Verdict(ping.id, accepted=True, instance_status=standing.status))
        else:
            verdicts.append(_rejected(ping, standing.status, rejection))
    return verdicts, state


def _rejected(ping: PingFact, status: InstanceStatus, rejection: DomainError) -> Verdict:
    expected = rejection.extra.get("expected_stage")
    return Verdict(
        ping.id,
        accepted=False,
        instance_status=status,
        code=rejection.code,
        message=rejection.message,
        expected=str(expected) if expected is not None else None,
    )


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
