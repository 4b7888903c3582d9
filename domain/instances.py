"""The state of one execution of a workflow: a fold of its pings.

Two layers keep it independent of the order of delivery. `InstanceState` is what the pings add up to; merging
pings is commutative and associative, because each register keeps the earliest or the latest by (time, id).
`evaluate` derives everything that is shown from it. The live Temporal workflow, time travel and the fallback
of the tree all use these two functions and nothing else.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from enum import StrEnum

from domain import paths
from domain.pings import PingFact, PingStatus
from domain.workflows import MAX_STAGES, WorkflowDefinition


class InstanceStatus(StrEnum):
    PENDING = "pending"
    RUNNING = "running"
    PAUSED = "paused"
    COMPLETED = "completed"
    FAILED = "failed"
    TERMINATED = "terminated"


class StageStatus(StrEnum):
    PENDING = "pending"
    HEALTHY = "healthy"
    FAILED = "failed"
    MISSED = "missed"
    TIMEOUT = "timeout"


FINISHED = frozenset({InstanceStatus.COMPLETED, InstanceStatus.FAILED, InstanceStatus.TERMINATED})


@dataclass(frozen=True, order=True)
class Stamp:
    """When a ping was received; the id settles ties."""

    at: datetime
    id: int


@dataclass(frozen=True)
class Stamped:
    """A value and the ping that brought it."""

    stamp: Stamp
    value: str


@dataclass(frozen=True)
class StageFacts:
    """What the pings of one stage add up to."""

    status: PingStatus
    last: Stamp
    healthy: Stamp | None = None
    """The earliest healthy ping."""
    failed: Stamp | None = None
    """The latest failed ping."""
    error: str | None = None
    name: Stamped | None = None
    agent: Stamped | None = None
    visits: int = 1


@dataclass(frozen=True)
class Outage:
    """A time in which no gateway could take pings; deadlines move by it."""

    start: datetime
    end: datetime


@dataclass(frozen=True)
class Pause:
    """A time in which the circuit breaker let no pings in; deadlines move by it. It goes on while it has no `end`.

    `cause` names the line that was crossed (`domain.breaker.Crossing.key`).
    """

    start: datetime
    reason: str
    cause: str
    end: datetime | None = None


@dataclass(frozen=True)
class InstanceState:
    """What is known of an instance.

    `confirmed_until` is the moment up to which silence is known to be silence: deadlines after it have not
    been checked against the journal yet, so `evaluate` does not act on them.
    `begins_with_ping`: it was made without one, so its time counts from its first ping and not from its opening.
    """

    instance_id: str
    definition: WorkflowDefinition
    opened_at: datetime
    stages: Mapping[str, StageFacts] = field(default_factory=dict)
    ping_count: int = 0
    opener: Stamped | None = None
    """The agent of the earliest ping that named one."""
    last_ping_at: datetime | None = None
    final: Stamp | None = None
    outages: tuple[Outage, ...] = ()
    confirmed_until: datetime | None = None
    terminated_at: datetime | None = None
    begins_with_ping: bool = False
    first_ping_at: datetime | None = None
    pauses: tuple[Pause, ...] = ()
    """In their order; only the last may go on still."""
    termination_reason: str | None = None
    """Why the circuit breaker ended it; None if something else did."""

    @property
    def pause(self) -> Pause | None:
        """The pause that it is in."""
        return self.pauses[-1] if self.pauses and self.pauses[-1].end is None else None

    @property
    def still(self) -> tuple[Outage, ...]:
        """The times that do not count for deadlines, in order and apart from one another."""
        if not self.pauses:
            return self.outages
        # By the clocks of two gateways, one may have ended before it began.
        paused = (Outage(pause.start, pause.end) for pause in self.pauses if pause.end and pause.end > pause.start)
        return joined((*self.outages, *paused))

    @property
    def begun_at(self) -> datetime | None:
        """From when on its time counts; None while it does not."""
        return self.first_ping_at if self.begins_with_ping else self.opened_at


def merge(state: InstanceState, pings: Iterable[PingFact]) -> InstanceState:
    """The state with `pings` taken in. The order of pings does not matter; a ping must be merged only once.

    Past MAX_STAGES, a further stage is counted but not shown: the state must stay small enough to travel.
    """
    stages = dict(state.stages)
    count, opener, last_at, final = state.ping_count, state.opener, state.last_ping_at, state.final
    first_at = state.first_ping_at
    for ping in pings:
        stamp = Stamp(ping.at, ping.id)
        if ping.path in stages or len(stages) < MAX_STAGES:
            stages[ping.path] = _merge_stage(stages.get(ping.path), ping, stamp)
        count += 1
        first_at = ping.at if first_at is None else min(first_at, ping.at)
        last_at = ping.at if last_at is None else max(last_at, ping.at)
        if ping.agent is not None and (opener is None or stamp < opener.stamp):
            opener = Stamped(stamp, ping.agent)
        if ping.final and ping.status is PingStatus.HEALTHY:
            final = stamp if final is None else min(final, stamp)
    return replace(
        state,
        stages=stages,
        ping_count=count,
        opener=opener,
        last_ping_at=last_at,
        final=final,
        first_ping_at=first_at,
    )


def _merge_stage(facts: StageFacts | None, ping: PingFact, stamp: Stamp) -> StageFacts:
    healthy = stamp if ping.status is PingStatus.HEALTHY else None
    failed = stamp if ping.status is PingStatus.FAILED else None
    name = Stamped(stamp, ping.name) if ping.name is not None else None
    agent = Stamped(stamp, ping.agent) if ping.agent is not None else None
    if facts is None:
        return StageFacts(ping.status, stamp, healthy, failed, ping.error, name, agent)
    is_latest = stamp > facts.last
    return StageFacts(
        status=ping.status if is_latest else facts.status,
        last=max(facts.last, stamp),
        healthy=min(filter(None, (facts.healthy, healthy)), default=None),
        failed=max(filter(None, (facts.failed, failed)), default=None),
        error=ping.error if is_latest else facts.error,
        name=_latest(facts.name, name),
        agent=_latest(facts.agent, agent),
        visits=facts.visits + 1,
    )


def _latest(one: Stamped | None, other: Stamped | None) -> Stamped | None:
    if one is None or other is None:
        return one or other
    return max(one, other, key=lambda stamped: stamped.stamp)


def paused(state: InstanceState, at: datetime, reason: str, cause: str) -> InstanceState:
    return replace(state, pauses=(*state.pauses, Pause(at, reason, cause)))


def terminated(state: InstanceState, at: datetime, reason: str) -> InstanceState:
    """Ended by the circuit breaker."""
    return replace(state, terminated_at=at, termination_reason=reason)


def confirm(state: InstanceState, until: datetime) -> InstanceState:
    """The state in which every deadline up to `until` counts."""
    if state.confirmed_until is not None and state.confirmed_until >= until:
        return state
    return replace(state, confirmed_until=until)


def joined(outages: Iterable[Outage]) -> tuple[Outage, ...]:
    """The same times, in order and apart from one another."""
    times: list[Outage] = []
    for time in sorted(outages, key=lambda outage: outage.start):
        if times and time.start <= times[-1].end:
            times[-1] = Outage(times[-1].start, max(times[-1].end, time.end))
        else:
            times.append(time)
    return tuple(times)


def due(base: datetime, seconds: float, outages: Iterable[Outage]) -> datetime:
    """`seconds` after `base`, moved by every outage (in order of start) that falls between."""
    deadline = base + timedelta(seconds=seconds)
    for outage in outages:
        if outage.end > base and outage.start < deadline:
            deadline += outage.end - max(outage.start, base)
    return deadline


def healthy_paths(state: InstanceState) -> dict[paths.Numbers, datetime]:
    """Each numbered path that is covered, with the time since when.

    A path is covered when it, or something below it, is healthy.
    """
    covered: dict[paths.Numbers, datetime] = {}
    for path, facts in state.stages.items():
        levels = paths.numbers(path)
        if levels is None or facts.status is not PingStatus.HEALTHY or facts.healthy is None:
            continue
        since = healed_at(facts) or facts.healthy.at
        for depth in range(1, len(levels) + 1):
            prefix = levels[:depth]
            if prefix not in covered or since < covered[prefix]:
                covered[prefix] = since
    return covered


def healed_at(facts: StageFacts) -> datetime | None:
    """Since when a stage that had failed is healthy again; None if it never failed, or still does.

    After a relapse this is its latest ping: which of several healthy ones was the first is not kept.
    """
    if facts.status is not PingStatus.HEALTHY or facts.failed is None or facts.healthy is None:
        return None
    return (facts.healthy if facts.healthy > facts.failed else facts.last).at


def fold(
    state: InstanceState, pings: Iterable[PingFact], *, until: datetime, outages: tuple[Outage, ...] = ()
) -> InstanceState:
    """The state after all of `pings`, with every deadline up to `until` counted."""
    return confirm(replace(merge(state, pings), outages=outages), until)
