"""The verdict on a ping: whether an instance takes it, and why not."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime

from domain.errors import DomainError
from domain.evaluation import stand
from domain.instances import InstanceState, InstanceStatus, merge
from domain.pings import PingFact
from domain.strict import AgentRequired, StageMissed, StageOutOfOrder, StageUnknown, find_violation


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
    return find_violation(state, ping) if state.definition.is_strict else None


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
