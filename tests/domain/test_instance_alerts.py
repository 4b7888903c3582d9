"""What is told of an instance, and that what belongs together is told as such."""

from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.alerts import KINDS, Alert
from domain.budget_alerts import RESUMED
from domain.evaluation import Change, InstanceView, change_between, evaluate
from domain.instance_alerts import alerts_of, fails_now, touches_failure, unclaimed_alert, violation_alert
from domain.instances import InstanceState, InstanceStatus, confirm, merge
from domain.pings import PingFact
from domain.verdicts import REJECTIONS
from domain.workflows import WorkflowDefinition
from tests.domain.builders import (
    FAILED,
    PENDING,
    at,
    definitions,
    dynamic,
    histories,
    instance,
    ping,
    properties,
    static,
)

SUBJECT = "instance/flow/d12345678"


class Teller:
    """Keeps what the read model keeps, and tells change by change."""

    def __init__(self, definition: WorkflowDefinition) -> None:
        self.definition = definition
        self.state = instance(definition)
        self.view: InstanceView | None = None
        self.version = 0
        self.failed_since: datetime | None = None

    def take(self, *pings: PingFact, until: float | None = None) -> list[Alert]:
        """What is told once these pings have come, or silence is confirmed up to so many seconds."""
        state = merge(self.state, pings)
        return self.become(state if until is None else confirm(state, at(until)))

    def become(self, state: InstanceState) -> list[Alert]:
        before, self.view = self.view, evaluate(state)
        self.state, self.version = state, self.version + 1
        change = change_between("d12345678", self.version, before, self.view)
        alerts = alerts_of(self.definition, change, self.failed_since)
        assert touches_failure(change) or not alerts
        self.failed_since = fails_now(change) or self.failed_since
        return list(alerts)


def told(alerts: list[Alert]) -> list[tuple[str, str]]:
    return [(alert.kind.name, alert.title) for alert in alerts]


ETL = replace(static(None, None, None), name="etl", tags=("nightly", "data"))


def test_a_failed_stage_fails_the_run() -> None:
    teller = Teller(ETL)
    assert not teller.take(ping("1"))
    alerts = teller.take(ping("2", 7, FAILED, error="out of memory", agent="bob"))
    assert told(alerts) == [
        ("stage_failed", "etl (d12345678) has trouble: Stage 2 (b) failed: out of memory"),
        ("instance_failed", "etl (d12345678) failed: Stage 2 failed: out of memory"),
    ]
    stage, run = alerts
    assert {(alert.account_id, alert.source, alert.subject, alert.name) for alert in alerts} == {
        ("account", "workflow/flow", SUBJECT, "etl")
    }
    assert {alert.trouble for alert in alerts} == {f"{SUBJECT}/{at(7).isoformat()}"}
    assert stage.dedupe_key != run.dedupe_key
    assert (stage.kind.severity, run.kind.severity, run.at, run.tags) == ("error", "critical", at(7), ETL.tags)
    assert stage.data == {
        "workflow_id": "flow",
        "instance_id": "d12345678",
        "stage": "2",
        "stage_name": "b",
        "agent": "bob",
        "reason": "Stage 2 (b) failed: out of memory",
    }
    assert (run.data["stage"], run.data["agent"], run.reason) == (None, "ada", "Stage 2 failed: out of memory")


@pytest.mark.parametrize(
    ("definition", "pings", "until", "expected"),
    [
        (
            ETL,
            [ping("1"), ping("3", 10)],
            70,
            [
                ("stage_missed", "etl (d12345678) has trouble: Stage 2 (b) was missed"),
                ("instance_failed", "etl (d12345678) failed: Stage 2 missed"),
            ],
        ),
        (
            static(None, 5.0, None),
            [ping("1")],
            5,
            [
                ("stage_timed_out", "flow (d12345678) has trouble: Stage 2 (b) did not come in time"),
                ("instance_failed", "flow (d12345678) failed: Stage 2 timeout"),
            ],
        ),
        (
            dynamic(instance_timeout_seconds=60),
            [ping("1")],
            60,
            [("instance_timed_out", "flow (d12345678) timed out: Instance timeout")],
        ),
        (
            dynamic(idle_timeout_seconds=30),
            [ping("1")],
            30,
            [("instance_timed_out", "flow (d12345678) timed out: Idle timeout: no ping for 30 seconds")],
        ),
    ],
)
def test_silence_is_told(
    definition: WorkflowDefinition, pings: list[PingFact], until: float, expected: list[tuple[str, str]]
) -> None:
    teller = Teller(definition)
    assert not teller.take(*pings)
    assert not teller.take(until=until - 1)
    assert told(teller.take(until=until)) == expected


@pytest.mark.parametrize(
    ("healing", "title"),
    [
        ([ping("2", 20)], "etl (d12345678) recovered and is running again"),
        ([ping("2", 20), ping("3", 21)], "etl (d12345678) recovered and completed"),
    ],
)
def test_a_recovery_belongs_to_its_failure(healing: list[PingFact], title: str) -> None:
    teller = Teller(ETL)
    teller.take(ping("1"))
    failed = teller.take(ping("2", 7, FAILED))
    (recovered,) = teller.take(*healing)
    assert (recovered.kind.name, recovered.title, recovered.kind.resolves) == ("instance_recovered", title, True)
    assert {alert.trouble for alert in failed} == {recovered.trouble}


def test_all_that_fails_meanwhile_is_of_the_same_trouble() -> None:
    teller = Teller(ETL)
    troubles = {alert.trouble for alert in teller.take(ping("1"), ping("2", 7, FAILED))}
    assert told(second := teller.take(ping("3", 9, FAILED))) == [
        ("stage_failed", "etl (d12345678) has trouble: Stage 3 (c) failed")
    ]
    # The first failure heals and the second is what is left: the run has failed all the time.
    assert not teller.take(ping("2", 12))
    recovered = teller.take(ping("3", 15))
    assert troubles == {alert.trouble for alert in [*second, *recovered]}
    assert len(troubles) == 1


def test_what_fails_and_heals_at_once_is_not_told() -> None:
    assert not Teller(ETL).take(ping("1"), ping("2", 5, FAILED), ping("2", 6))


def test_the_same_deadline_missed_again_is_told_again() -> None:
    teller = Teller(ETL)
    teller.take(ping("1"), ping("3", 10))
    missed = teller.take(until=70)
    recovered = teller.take(ping("2", 75))
    again = teller.take(ping("2", 80, PENDING))
    assert [alert.kind.name for alert in again] == ["stage_missed", "instance_failed"]
    assert len({alert.dedupe_key for alert in [*missed, *recovered, *again]}) == 5


def test_a_straggler_that_heals_is_not_told_before_what_it_heals() -> None:
    teller = Teller(ETL)
    teller.take(ping("1"), ping("3", 10))
    (_, failed) = teller.take(until=70)
    (recovered,) = teller.take(ping("2", 65))
    assert recovered.at == failed.at == at(70)


def test_an_ended_run_is_not_told() -> None:
    teller = Teller(ETL)
    teller.take(ping("1"))
    assert not teller.become(replace(teller.state, terminated_at=at(5)))


def test_without_a_known_failure_nothing_is_made_up() -> None:
    before, after = (evaluate(instance(ETL, ping("1"), *more)) for more in ([ping("2", 5, FAILED)], []))
    change = change_between("d12345678", 9, before, after)
    assert touches_failure(change)
    assert alerts_of(ETL, change, None) == ()


@properties
@given(definitions, histories(), st.lists(st.integers(0, 150), max_size=12))
def test_failures_and_recoveries_alternate_and_belong_together(
    definition: WorkflowDefinition, pings: list[PingFact], silences: list[int]
) -> None:
    teller = Teller(definition)
    alerts: list[Alert] = []
    for number, fact in enumerate(pings):
        alerts += teller.take(fact)
        if number < len(silences):
            alerts += teller.take(until=silences[number])
    assert len({alert.dedupe_key for alert in alerts}) == len(alerts)
    runs = [alert for alert in alerts if alert.data["stage"] is None]
    assert [alert.kind.resolves for alert in runs] == [bool(number % 2) for number in range(len(runs))]
    for failed, recovered in zip(runs[::2], runs[1::2], strict=False):
        assert failed.trouble == recovered.trouble
        assert failed.at <= recovered.at
    # Every stage's trouble is that of a run.
    assert {alert.trouble for alert in alerts} == {alert.trouble for alert in runs}
    assert teller.view is None or (teller.view.status == InstanceStatus.FAILED) == bool(len(runs) % 2)


@properties
@given(definitions, histories())
def test_what_cannot_be_told_is_seen_at_once(definition: WorkflowDefinition, pings: list[PingFact]) -> None:
    before: InstanceView | None = None
    state = instance(definition)
    for version, fact in enumerate(pings, 1):
        state = merge(state, [fact])
        after = evaluate(state)
        change: Change = change_between("d12345678", version, before, after)
        before = after
        if not touches_failure(change):
            assert alerts_of(definition, change, at(0)) == ()


@pytest.mark.parametrize("code", REJECTIONS)
def test_a_violation_is_told_once_an_instance(code: str) -> None:
    def violation(instance_id: str | None = "d1234567", path: str = "3", seconds: float = 0) -> Alert:
        return violation_alert("account", "flow", "etl", instance_id, path, code, "It is wrong.", at(seconds))

    alert = violation()
    assert (alert.kind.name, alert.title) == ("strict_violation", "etl (d1234567) refused a ping: It is wrong.")
    assert (alert.source, alert.subject, alert.trouble) == (
        "workflow/flow",
        "instance/flow/d1234567",
        alert.dedupe_key,
    )
    assert alert.data["code"] == code
    same, others = violation(seconds=9000), [violation("d7654321"), violation(path="4"), violation(None)]
    assert same.dedupe_key == alert.dedupe_key
    assert len({other.dedupe_key for other in [alert, *others]}) == 4


def test_without_an_instance_a_violation_is_told_once_an_hour() -> None:
    first, later, next_hour = (
        violation_alert("account", "flow", "", None, "2", "no_open_instance", "Nothing is open.", at(seconds))
        for seconds in (0, 3599, 3600)
    )
    assert (first.title, first.subject) == ("flow refused a ping: Nothing is open.", "workflow/flow")
    assert first.dedupe_key == later.dedupe_key != next_hour.dedupe_key


def test_a_ping_that_nobody_claims_is_told_of() -> None:
    alert = unclaimed_alert("account", "flow", "etl", "2", at(0), tags=("data",), agent="bob")
    assert (alert.kind.name, alert.tags, alert.data["agent"]) == ("ping_unclaimed", ("data",), "bob")
    assert alert.title.startswith("etl got a ping that belongs to no run: Stage 2 was pinged")
    refused = violation_alert("account", "flow", "etl", None, "2", "no_open_instance", "Nothing is open.", at(0))
    assert alert.dedupe_key != refused.dedupe_key


def test_only_the_good_ends_of_an_instance_resolve() -> None:
    ours = [kind for kind in KINDS.values() if kind.name.startswith(("stage_", "instance_", "strict_", "ping_"))]
    assert {kind.name for kind in ours if kind.resolves} == {"instance_recovered", RESUMED.name}
