"""The rules of a pulse against a model of them that looks at the clock every second and keeps no deadlines."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st
from pydantic import TypeAdapter

from domain.alerts import Alert
from domain.instances import Outage
from domain.maintenance import MaintenanceWindow
from domain.pings import Event, PingFact
from domain.pulse_rules import advance
from domain.pulses import PulseDefinition, PulseState, first_state
from domain.transitions import Transition
from tests.domain.builders import at, properties
from tests.domain.pulse_builders import pulse, said, story

END = 120
STATES = TypeAdapter(PulseState)


@dataclass(frozen=True)
class Case:
    """Rules, spans of seconds that are closed for maintenance or by an outage, and pings in order of time."""

    period: int
    grace: int
    start_grace: int | None
    longest: int | None
    alert_after: int
    reminder: int | None
    maintenance: tuple[tuple[int, int], ...]
    outages: tuple[tuple[int, int], ...]
    pings: tuple[tuple[int, Event, str | None], ...]
    is_awaited: bool

    @property
    def definition(self) -> PulseDefinition:
        return pulse(
            period_seconds=float(self.period),
            grace_seconds=float(self.grace),
            start_grace_seconds=self.start_grace,
            max_duration_seconds=self.longest,
            alert_after=self.alert_after,
            reminder_seconds=self.reminder,
            notify_late=True,
            awaited_since=at(0) if self.is_awaited else None,
            maintenance=tuple(MaintenanceWindow(at(start), at(end)) for start, end in self.maintenance),
        )

    @property
    def state(self) -> PulseState:
        outages = tuple(Outage(at(start), at(end)) for start, end in self.outages)
        return replace(first_state(self.definition), outages=outages)

    @property
    def facts(self) -> list[PingFact]:
        return [said(event, second, rid, id=index) for index, (second, event, rid) in enumerate(self.pings)]


@st.composite
def spans(draw: st.DrawFn) -> tuple[tuple[int, int], ...]:
    starts = draw(st.lists(st.integers(0, END), max_size=2))
    return tuple((start, start + draw(st.integers(1, 25))) for start in starts)


@st.composite
def cases(draw: st.DrawFn) -> Case:
    seconds = sorted(draw(st.lists(st.integers(0, END), max_size=12)))
    events = st.sampled_from([Event.SUCCESS, Event.SUCCESS, Event.START, Event.FAIL, Event.LOG])
    return Case(
        period=draw(st.integers(1, 30)),
        grace=draw(st.integers(0, 20)),
        start_grace=draw(st.none() | st.integers(0, 20)),
        longest=draw(st.none() | st.integers(0, 20)),
        alert_after=draw(st.integers(1, 3)),
        reminder=draw(st.none() | st.integers(1, 30)),
        maintenance=draw(spans()),
        outages=draw(spans()),
        pings=tuple((second, draw(events), draw(st.sampled_from([None, "a", "b"]))) for second in seconds),
        is_awaited=draw(st.booleans()),
    )


@dataclass
class Model:
    """What is told is a list of (second, status or kind of alert)."""

    case: Case
    status: str = "new"
    counts_from: int = 0
    failures: int = 0
    reminded: int = 0
    runs: dict[str | None, int] = field(default_factory=dict)
    became: list[tuple[float, str]] = field(default_factory=list)
    told: list[tuple[float, str]] = field(default_factory=list)

    def run(self) -> None:
        for second in range(END + 1):
            for _, event, rid in (ping for ping in self.case.pings if ping[0] == second):
                self.hear(second, event, rid)
            self.look(second)

    def hear(self, now: int, event: Event, rid: str | None) -> None:
        if event is Event.LOG:
            return
        self.counts_from = now
        self.runs.pop(rid, None)
        if event is Event.START:
            self.runs[rid] = now
        if event is Event.SUCCESS:
            self.failures = 0
        if event is Event.SUCCESS or (event is Event.START and self.status != "down"):
            self.become(now, "up")
        elif event is Event.FAIL and not closed(now, self.case.maintenance):
            self.fail(now, "up")

    def look(self, now: int) -> None:
        case = self.case
        everything = case.maintenance + case.outages
        grace = case.grace if case.start_grace is None else case.start_grace
        while self.status in ("up", "late", "unknown") or (self.status == "new" and case.is_awaited):
            due = self.counts_from + case.period
            if self.status in ("new", "up") and lasted(due, 0, now, everything):
                self.become(now, "late")
            is_missed = lasted(due, grace, now, everything)
            if self.status != "unknown" and not is_missed and lasted(due, grace, now, case.maintenance):
                self.become(now, "unknown")
            if not is_missed:
                break
            self.counts_from = next(second for second in range(due, now + 1) if not closed(second, everything))
            self.fail(now, "late")
        limit = case.grace if case.longest is None else case.longest
        for rid, started in list(self.runs.items()):
            if lasted(started, limit, now, case.outages):
                del self.runs[rid]
                if not closed(now, case.maintenance):
                    self.fail(now, self.status)
        if self.status == "down" and case.reminder and lasted(self.reminded + case.reminder, 0, now, everything):
            self.reminded = now
            self.told.append((now, "pulse_reminder"))

    def fail(self, now: int, tolerated: str) -> None:
        self.failures += 1
        if self.status != "down":
            self.become(now, "down" if self.failures >= self.case.alert_after else tolerated)

    def become(self, now: int, status: str) -> None:
        if status == self.status:
            return
        self.became.append((now, status))
        if status == "down":
            self.reminded = now
        if status in ("down", "late") and (status == "down" or self.status in ("new", "up")):
            self.told.append((now, f"pulse_{status}"))
        if self.status == "down":
            self.told.append((now, "pulse_recovered"))
        self.status = status


def closed(second: int, closures: Sequence[tuple[int, int]]) -> bool:
    return any(start <= second < end for start, end in closures)


def lasted(since: int, seconds: int, now: int, closures: Sequence[tuple[int, int]]) -> bool:
    """Whether it is open now and has been so for as many seconds from `since` on."""
    is_time = now >= since and not closed(now, closures)
    return is_time and sum(not closed(second, closures) for second in range(since, now)) >= seconds


@properties
@given(cases())
def test_the_history_of_a_pulse_is_that_of_the_model(case: Case) -> None:
    model = Model(case)
    model.run()
    state, transitions, alerts = case.state, list[Transition](), list[Alert]()
    for second in range(END + 1):
        pings = [ping for ping in case.facts if ping.at == at(second)]
        step = advance(case.definition, state, pings, at(second))
        state = step.state
        transitions += step.transitions
        alerts += step.alerts
    assert story(transitions) == model.became
    assert [((alert.at - at(0)).total_seconds(), alert.kind.name) for alert in alerts] == model.told
    assert (state.status, state.failures) == (model.status, model.failures)


@properties
@given(st.data(), cases())
def test_it_does_not_matter_how_pings_are_delivered_and_how_often_somebody_looks(
    data: st.DataObject, case: Case
) -> None:
    """The state goes through JSON between any two deliveries."""
    case = replace(case, reminder=None)
    at_once = advance(case.definition, case.state, case.facts, at(END))
    state, transitions, alerts, pings = case.state, list[Transition](), list[Alert](), case.facts
    while pings or state.clock != at(END):
        count = data.draw(st.integers(1, len(pings))) if pings else 0
        batch, pings = pings[:count], pings[count:]
        until = data.draw(st.none() | quiet_moments(batch[-1].at, pings[0].at)) if pings else at(END)
        step = advance(case.definition, state, batch, until)
        state = STATES.validate_json(STATES.dump_json(step.state))
        transitions += step.transitions
        alerts += step.alerts
    assert transitions == list(at_once.transitions)
    assert alerts == list(at_once.alerts)
    assert state == at_once.state


def quiet_moments(since: datetime, until: datetime) -> st.SearchStrategy[datetime | None]:
    """From one ping until just before the next one."""
    seconds = (until - since).total_seconds()
    if not seconds:
        return st.none()
    return st.floats(0, seconds - 0.001).map(lambda quiet: since + timedelta(seconds=quiet))
