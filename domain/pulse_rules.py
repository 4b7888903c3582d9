"""How the state of a pulse follows from its pings and from the deadlines that pass between them.

Each event, ping or deadline, takes the state to the next at an exact moment. So it does not matter in which batches
the pings are delivered, or how often somebody looks in between.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from domain import maintenance, pulse_alerts
from domain.alerts import Alert
from domain.durations import in_words
from domain.pings import Event, PingFact
from domain.pulse_alerts import moment_text
from domain.pulse_deadlines import Deadline, DeadlineKind, run_limit
from domain.pulse_deadlines import expectation as expectation
from domain.pulse_deadlines import next_deadline as next_deadline
from domain.pulse_deadlines import outages_matter_since as outages_matter_since
from domain.pulses import MAX_OPEN_RUNS, PulseDefinition, PulseState, PulseStatus
from domain.transitions import Transition


@dataclass(frozen=True)
class Advanced:
    """The state after some events, and what is to be recorded and told of them.

    `silent_until` is when the last of the deadlines was that were called: it is right if no ping came before that is
    not part of it. None if none was called.
    """

    state: PulseState
    transitions: tuple[Transition, ...] = ()
    alerts: tuple[Alert, ...] = ()
    silent_until: datetime | None = None


def advance(
    definition: PulseDefinition, state: PulseState, pings: Sequence[PingFact], until: datetime | None = None
) -> Advanced:
    """Folds pings, the deadlines before each, and in the end those up to `until`, that is to silence until then.

    A ping that comes late, when deadlines after it have been called already, counts as coming now. One that comes at
    the very moment of a deadline is in time. However it is cut into calls, what comes of it is the same; but of
    several reminders that are due in one go, the latest alone is told.
    """
    folding = _Folding(definition, state)
    for ping in sorted(pings, key=lambda ping: (ping.at, ping.id)):
        folding.call_deadlines(ping.at - datetime.resolution)
        folding.take(ping)
    if until is not None:
        folding.call_deadlines(until)
        folding.move_clock(until)
    return folding.result()


def redefine(definition: PulseDefinition, state: PulseState, now: datetime) -> Advanced:
    """A changed definition takes effect. A deadline that it moves into the past is called by the next `advance`."""
    folding = _Folding(definition, state)
    folding.redefine(now)
    return folding.result()


class _Folding:
    """A state on its way, and what is to be recorded and told of it so far."""

    def __init__(self, definition: PulseDefinition, state: PulseState) -> None:
        self._definition = definition
        self._state = state
        self._transitions: list[Transition] = []
        self._alerts: list[Alert] = []
        self._silent_until: datetime | None = None

    def result(self) -> Advanced:
        since = outages_matter_since(self._state)
        outages = tuple(outage for outage in self._state.outages if since is None or outage.end > since)
        state = replace(self._state, outages=outages)
        return Advanced(state, tuple(self._transitions), tuple(self._alerts), self._silent_until)

    def call_deadlines(self, until: datetime) -> None:
        """Each at its own time. One that was moved into the past is called now."""
        while (deadline := next_deadline(self._definition, self._state)) and deadline.at <= until:
            self._silent_until = deadline.at
            self._call(deadline, self.move_clock(deadline.at), until)

    def move_clock(self, moment: datetime) -> datetime:
        """The clock, which does not go backwards."""
        clock = max(moment, self._state.clock or moment)
        self._change(clock=clock)
        return clock

    def take(self, ping: PingFact) -> None:
        at = self.move_clock(ping.at)
        event = Event(ping.path)
        if event is Event.LOG:
            return
        self._change(last_ping_at=at)
        if self._state.status is PulseStatus.PAUSED:
            return
        self._change(base=at, missed=None)
        if event is Event.START:
            self._open_run(ping.run_id or "", at)
            # A job that begins and fails each time would be told as down and up again for ever.
            if self._state.status is not PulseStatus.DOWN:
                self._come_up(at)
            return
        fault = self._fault_of(ping, event, at)
        self._close_run(ping, at)
        if fault is not None and not self._is_in_maintenance(at):
            self._fail(at, fault, PulseStatus.UP, run_id=ping.run_id)
        elif event is Event.SUCCESS:
            self._change(failures=0, last_success_at=at)
            self._come_up(at)

    def redefine(self, now: datetime) -> None:
        at = self.move_clock(now)
        before = self._state
        if self._definition.paused_at is not None:
            if before.status is PulseStatus.DOWN:
                self._alerts.append(pulse_alerts.paused_alert(self._definition, before, at))
            self._become(PulseStatus.PAUSED, at)
            self._change(runs={}, failures=0, trouble=None, reminded_at=None)
        elif before.status is PulseStatus.PAUSED:
            self._become(self._before_trouble, at)
            self._change(base=at, missed=None)
        elif before.status is PulseStatus.LATE and before.missed is None:
            expected = expectation(self._definition, before)
            if expected is not None and expected.due_at > at:
                self._become(self._before_trouble, at, "is expected later now")

    @property
    def _before_trouble(self) -> PulseStatus:
        """What it is while nothing is wrong: up only after a ping."""
        return PulseStatus.NEW if self._state.last_ping_at is None else PulseStatus.UP

    def _call(self, deadline: Deadline, at: datetime, until: datetime) -> None:
        match deadline.kind:
            case DeadlineKind.DUE:
                self._become_late(at)
            case DeadlineKind.UNSURE:
                self._become(PulseStatus.UNKNOWN, at, "pings could not be taken when one was expected")
            case DeadlineKind.MISSED:
                self._miss(at)
            case DeadlineKind.RUN:
                self._give_up_run(deadline.run or "", at)
            case DeadlineKind.REMINDER:
                self._remind(at, until)

    def _remind(self, at: datetime, until: datetime) -> None:
        """After a long absence of ours, a reminder that is followed by the next one already is left out."""
        gap = timedelta(seconds=self._definition.reminder_seconds or 0)
        followed_by = (until - at) // gap
        if followed_by > 0:
            self._change(reminded_at=at + (followed_by - 1) * gap)
            return
        self._change(reminded_at=at)
        self._alerts.append(pulse_alerts.reminder_alert(self._definition, self._state, at))

    def _become_late(self, at: datetime) -> None:
        due_at, reason = self._silence(at)
        self._become(PulseStatus.LATE, at, reason)
        if self._definition.notify_late:
            self._alerts.append(pulse_alerts.late_alert(self._definition, self._state, at, due_at))

    def _miss(self, at: datetime) -> None:
        due_at, reason = self._silence(at)
        self._change(missed=due_at)
        if not self._is_in_maintenance(at):
            self._fail(at, reason, PulseStatus.LATE, due_at=due_at.isoformat())

    def _silence(self, at: datetime) -> tuple[datetime, str]:
        """When a ping was due, and what to say of it."""
        expected = expectation(self._definition, self._state)
        due_at = expected.due_at if expected is not None else at
        last_at, set_up_at = self._state.last_ping_at, self._definition.awaited_since
        if last_at is None and set_up_at is not None:
            since = f"it was set up at {moment_text(set_up_at, at)}"
        else:
            since = moment_text(last_at or self._state.base or at, at)
        return due_at, f"no ping since {since}, expected at {moment_text(due_at, at)}"

    def _give_up_run(self, rid: str, at: datetime) -> None:
        runs = dict(self._state.runs)
        started_at = runs.pop(rid)
        self._change(runs=runs)
        if not self._is_in_maintenance(at):
            limit = in_words(run_limit(self._definition))
            run = f"run {rid} started" if rid else "a run started"
            reason = f"{run} at {moment_text(started_at, at)} and did not finish within {limit}"
            facts = {"run_id": rid or None, "started_at": started_at.isoformat()}
            self._fail(at, reason, self._state.status, **facts)

    def _open_run(self, rid: str, at: datetime) -> None:
        runs = {**self._state.runs, rid: at}
        if len(runs) > MAX_OPEN_RUNS:
            del runs[min(runs, key=lambda run: (runs[run], run))]
        self._change(runs=runs)

    def _duration_ms(self, ping: PingFact, at: datetime) -> int | None:
        """How long the run took that the ping ends: by its start, or else by the caller's own account."""
        started_at = self._state.runs.get(ping.run_id or "")
        return ping.duration_ms if started_at is None else round((at - started_at).total_seconds() * 1000)

    def _close_run(self, ping: PingFact, at: datetime) -> None:
        duration_ms = self._duration_ms(ping, at)
        runs = {rid: started_at for rid, started_at in self._state.runs.items() if rid != (ping.run_id or "")}
        self._change(runs=runs, last_duration_ms=self._state.last_duration_ms if duration_ms is None else duration_ms)

    def _fault_of(self, ping: PingFact, event: Event, at: datetime) -> str | None:
        """What is wrong with the run that the ping ends, if anything is.

        A run that is open has not been too long: its deadline sees to that, which an outage of ours moves.
        """
        if event is Event.FAIL:
            return ping.error or "reported a failure"
        duration_ms = self._duration_ms(ping, at)
        if duration_ms is None:
            return None
        seconds = duration_ms / 1000
        shortest, longest = self._definition.min_duration_seconds, self._definition.max_duration_seconds
        if shortest is not None and seconds < shortest:
            return f"ran {in_words(seconds)}, shorter than {in_words(shortest)}"
        if longest is not None and seconds > longest and (ping.run_id or "") not in self._state.runs:
            return f"ran {in_words(seconds)}, longer than {in_words(longest)}"
        return None

    def _fail(self, at: datetime, reason: str, tolerated: PulseStatus, **facts: Any) -> None:
        """Counts a miss or a failure. `tolerated` is what becomes of the pulse if that does not take it down."""
        self._change(failures=self._state.failures + 1)
        if self._state.status is PulseStatus.DOWN:
            return
        if self._state.failures < self._definition.alert_after:
            self._become(tolerated, at, reason)
            return
        self._become(PulseStatus.DOWN, at, reason)
        self._change(trouble=pulse_alerts.trouble_of(self._definition, at))
        self._alerts.append(pulse_alerts.down_alert(self._definition, self._state, at, facts))

    def _come_up(self, at: datetime) -> None:
        if self._state.status is PulseStatus.DOWN:
            self._alerts.append(pulse_alerts.recovered_alert(self._definition, self._state, at))
        self._become(PulseStatus.UP, at)
        self._change(trouble=None, reminded_at=None)

    def _become(self, status: PulseStatus, at: datetime, reason: str | None = None) -> None:
        before = self._state.status
        if status is not before:
            self._transitions.append(Transition(None, before.value, status.value, at, reason))
            self._change(status=status, since=at)
        self._change(reason=reason)

    def _is_in_maintenance(self, at: datetime) -> bool:
        return maintenance.end_of_window(self._definition.maintenance, at) is not None

    def _change(self, **values: Any) -> None:
        self._state = replace(self._state, **values)
