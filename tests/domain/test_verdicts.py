"""Judging with the circuit breaker: what it stops, where, and how long that lasts."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.breaker import Assessment, Books, Charge, Trip, assess
from domain.budgets import Action, Budget
from domain.evaluation import evaluate, stand
from domain.instances import InstanceState, InstanceStatus, Outage, Pause, Stamp, confirm, due, merge, paused
from domain.pings import PingFact
from domain.timeline import as_of
from domain.verdicts import (
    REJECTIONS,
    STOPPED,
    DailyBudgetExceeded,
    InstancePaused,
    InstanceTerminated,
    Judgement,
    Verdict,
    judge,
    judge_all,
)
from domain.workflows import WorkflowDefinition
from tests.domain.builders import FAILED, NOON, at, definitions, dynamic, histories, instance, ping, properties, strict

PAUSE = Trip(3, Action.PAUSE, "instance/d12345678/limit/5/pause", "Instance cost $6.00 exceeds budget limit $5.00")
TERMINATE = replace(PAUSE, action=Action.TERMINATE)
REFUSED = replace(PAUSE, is_refused=True)
DAY = NOON.date()

trips = st.sampled_from([PAUSE, TERMINATE, REFUSED, replace(TERMINATE, is_refused=True)])
seconds = st.integers(0, 60)


def numbered(*paths: str) -> list[PingFact]:
    return [ping(path, number, id_=number) for number, path in enumerate(paths, 1)]


def told(judgement: Judgement) -> list[tuple[bool, str, str | None]]:
    return [(verdict.accepted, verdict.instance_status.value, verdict.code) for verdict in judgement.verdicts]


@pytest.mark.parametrize(
    ("trip", "expected"),
    [
        (PAUSE, [(True, "paused", None), (False, "paused", "instance_paused")]),
        (TERMINATE, [(True, "terminated", None), (False, "terminated", "instance_terminated")]),
        (REFUSED, [(False, "paused", "instance_paused")] * 2),
        (replace(TERMINATE, is_refused=True), [(False, "terminated", "instance_terminated")] * 2),
        (None, [(True, "running", None)] * 2),
    ],
)
def test_what_is_answered_from_the_trip_on(trip: Trip | None, expected: list[tuple[bool, str, str | None]]) -> None:
    judgement = judge_all(instance(dynamic()), numbered("1", "2", "3", "4"), trip)
    assert told(judgement) == [(True, "running", None)] * 2 + expected
    assert judgement.state.ping_count == 2 + sum(accepted for accepted, _, _ in expected)


def test_the_refusals_tell_what_to_do() -> None:
    paused_, terminated_ = (
        judge_all(instance(dynamic()), numbered("1", "2", "3", "4"), trip).verdicts[-1].error()
        for trip in (PAUSE, TERMINATE)
    )
    assert (type(paused_), paused_.status, paused_.extra) == (InstancePaused, 409, {"workflow_status": "paused"})
    assert paused_.message == (
        "Instance d12345678 of workflow flow is paused: Instance cost $6.00 exceeds budget limit $5.00."
        " It takes pings again after POST /api/instances/d12345678/resume."
    )
    assert (type(terminated_), terminated_.status) == (InstanceTerminated, 409)
    assert terminated_.extra == {"workflow_status": "terminated"}
    assert terminated_.message == (
        "Instance d12345678 of workflow flow was terminated: Instance cost $6.00 exceeds budget limit $5.00."
        " Open a new one to go on."
    )


@pytest.mark.parametrize(
    ("error", "status"),
    [(InstancePaused, "paused"), (InstanceTerminated, "terminated"), (DailyBudgetExceeded, None)],
)
def test_a_refusal_is_repeated_as_it_was(error: type[InstancePaused], status: str | None) -> None:
    """The journal keeps no status of a ping that was refused before it came to a workflow."""
    assert STOPPED.keys() <= REJECTIONS.keys()
    verdict = Verdict(1, accepted=False, instance_status=InstanceStatus.PENDING, code=error.code, message="no")
    repeated = verdict.error()
    assert (type(repeated), repeated.extra.get("workflow_status")) == (error, status)


def test_a_rejected_ping_does_not_count_for_the_breaker() -> None:
    judgement = judge_all(instance(strict(dynamic())), numbered("1", "3", "2"))
    assert {ping_id: (count.pings, count.visits) for ping_id, count in judgement.counts.items()} == {
        1: (1, 1),
        3: (2, 1),
    }


def test_the_breaker_counts_visits_by_stage() -> None:
    judgement = judge_all(instance(dynamic()), numbered("1", "2", "1", "1"))
    counts = [(count.status, count.pings, count.visits) for count in judgement.counts.values()]
    assert counts == [("running", 1, 1), ("running", 2, 1), ("running", 3, 2), ("running", 4, 3)]


def test_a_ping_is_late_if_the_run_was_complete_before() -> None:
    pings = [ping("1", 1, id_=1), ping("2", 2, id_=2, final=True), ping("3", 3, id_=3), ping("4", 4, FAILED, id_=4)]
    judgement = judge_all(instance(dynamic(grace_period_seconds=60.0)), pings)
    assert [count.is_late for count in judgement.counts.values()] == [False, False, True, True]


def test_a_trip_at_a_ping_that_is_rejected_anyway_is_none() -> None:
    judgement = judge_all(instance(strict(dynamic())), numbered("1", "2", "9", "3"), PAUSE)
    assert [verdict.code for verdict in judgement.verdicts] == [None, None, "stage_missed", None]
    assert judgement.state.pause is None


@properties
@given(definitions, histories(), st.integers(0, 13), trips)
def test_exactly_what_comes_before_the_trip_is_accepted(
    definition: WorkflowDefinition, pings: list[PingFact], at_ping: int, trip: Trip
) -> None:
    trip = replace(trip, ping_id=at_ping)
    without = judge_all(instance(definition), pings)
    judgement = judge_all(instance(definition), pings, trip)
    accepted = [verdict.ping_id for verdict in without.verdicts if verdict.accepted]
    is_tripped = at_ping in accepted
    last = at_ping if is_tripped and not trip.is_refused else at_ping - 1
    expected = [id_ for id_ in accepted if id_ <= last] if is_tripped else accepted
    assert [verdict.ping_id for verdict in judgement.verdicts if verdict.accepted] == expected
    assert judgement.state.ping_count == len(expected)
    if is_tripped:
        code = (InstanceTerminated if trip.action is Action.TERMINATE else InstancePaused).code
        assert {verdict.code for verdict in judgement.verdicts if verdict.ping_id > last} <= {code}
        # What the breaker looks at is what it looked at before it had tripped.
        looked_at = {id_: count for id_, count in without.counts.items() if id_ <= at_ping}
        assert judgement.counts == looked_at
        assert evaluate(judgement.state).failure_reason == trip.reason


@properties
@given(st.data(), definitions, histories(), st.sampled_from([Action.PAUSE, Action.TERMINATE]), st.integers(0, 5))
def test_judging_again_comes_to_an_end_where_the_breaker_trips(
    data: st.DataObject, definition: WorkflowDefinition, pings: list[PingFact], action: Action, limit: int
) -> None:
    """As the workflow does it: it judges, Postgres says where the breaker trips, it judges again."""
    costs = {fact.id: Decimal(data.draw(st.integers(0, 3))) for fact in pings}
    budget = Budget(limit_usd=Decimal(limit), max_visits=2, action=action)
    by_id = {fact.id: fact for fact in pings}

    def assessed(judgement: Judgement) -> Assessment:
        charges = [
            Charge(id_, by_id[id_].path, NOON, DAY, count.status, count.pings, count.visits, costs[id_])
            for id_, count in judgement.counts.items()
        ]
        return assess(budget, Books("flow", "d12345678"), charges)

    trip = data.draw(st.one_of(st.none(), trips))
    for _ in range(3):
        judgement = judge_all(instance(definition), pings, trip)
        found = assessed(judgement)
        if found.trip == trip:
            break
        trip = found.trip
    assert found.trip == trip
    accepted = {verdict.ping_id for verdict in judgement.verdicts if verdict.accepted}
    assert accepted == set(found.reports)


# Pauses and time.


@st.composite
def states(draw: st.DrawFn) -> InstanceState:
    """With outages and pauses as they come: a pause begins once the one before it has ended, outages are apart."""
    outages, pauses = (draw(periods()) for _ in range(2))
    state = InstanceState("d12345678", draw(definitions), NOON, outages=tuple(Outage(*each) for each in outages))
    for start, end in pauses:
        state = replace(state, pauses=(*state.pauses, Pause(start, "too dear", "limit", end)))
    return merge(state, draw(histories()))


@st.composite
def periods(draw: st.DrawFn) -> list[tuple[datetime, datetime]]:
    moments = sorted(draw(st.lists(seconds, max_size=8, unique=True)))
    return [(at(start), at(end)) for start, end in zip(moments[::2], moments[1::2], strict=False)]


@properties
@given(states(), seconds)
def test_time_stands_still_while_nobody_could_ping(state: InstanceState, second: int) -> None:
    for one, other in zip(state.still, state.still[1:], strict=False):
        assert one.end < other.start
    moment = at(second + 0.5)
    is_still = any(time.start <= moment < time.end for time in state.still)
    lost = any(outage.start <= moment < outage.end for outage in state.outages)
    assert is_still == (lost or any(pause.end and pause.start <= moment < pause.end for pause in state.pauses))


@properties
@given(states(), seconds, st.integers(0, 40))
def test_a_deadline_counts_the_time_that_does_not_stand_still(state: InstanceState, second: int, wait: int) -> None:
    base, deadline = at(second), due(at(second), wait, state.still)
    assert deadline >= base + timedelta(seconds=wait)
    still = sum(
        (max(min(time.end, deadline) - max(time.start, base), timedelta()) for time in state.still), timedelta()
    )
    assert deadline - base - still == timedelta(seconds=wait)
    assert due(base, wait, [*state.still, Outage(deadline, deadline + timedelta(1))]) == deadline


def test_a_pause_that_ended_before_it_began_stands_for_nothing() -> None:
    """By the clocks of two gateways."""
    state = replace(instance(dynamic()), pauses=(Pause(at(9), "too dear", "limit", at(8.9)),))
    assert state.still == ()
    assert due(at(0), 20, state.still) == at(20)


def test_a_paused_run_waits_for_nothing_and_goes_on_where_it_was() -> None:
    rules = dynamic(idle_timeout_seconds=20.0, instance_timeout_seconds=50.0)
    state = instance(rules, ping("1", 0), ping("2", 5))
    held = confirm(paused(state, at(10), "too dear", "limit"), at(10_000))
    view = evaluate(held)
    assert (view.status, view.failure_reason) == (InstanceStatus.PAUSED, "too dear")
    assert (view.next_deadline, view.closes_at, view.completed_at, view.changed_at) == (None, None, None, at(10))
    resumed = replace(state, pauses=(replace(held.pauses[0], end=at(110)),), confirmed_until=at(110))
    standing = stand(resumed)
    assert standing.status is InstanceStatus.RUNNING
    assert standing.next_deadline is not None
    assert standing.next_deadline.at == at(125)


def test_a_run_that_had_failed_has_failed_again_after_the_pause() -> None:
    state = instance(dynamic(grace_period_seconds=30.0), ping("1", 0), ping("2", 5, FAILED))
    held = paused(state, at(5), "too dear", "limit")
    assert stand(held).closes_at is None
    resumed = stand(replace(state, pauses=(replace(held.pauses[0], end=at(105)),)))
    assert (resumed.status, resumed.closes_at) == (InstanceStatus.FAILED, at(135))


@pytest.mark.parametrize("action", [Action.PAUSE, Action.TERMINATE])
def test_what_is_judged_after_a_resume_is_as_before(action: Action) -> None:
    state = judge_all(instance(dynamic()), numbered("1", "2", "3"), replace(PAUSE, action=action)).state
    if action is Action.PAUSE:
        state = replace(state, pauses=(replace(state.pauses[0], end=at(9)),))
        assert judge(state, ping("4", 10), None) is None
        assert list(evaluate(state).stages) == ["1", "2", "3"]
    else:
        assert isinstance(judge(state, ping("4", 10), None), InstanceTerminated)


@properties
@given(st.data(), definitions, histories().filter(bool), st.sampled_from([Action.PAUSE, Action.TERMINATE]))
def test_at_each_step_it_is_paused_or_ended_as_it_was_then(
    data: st.DataObject, definition: WorkflowDefinition, facts: list[PingFact], action: Action
) -> None:
    in_order = sorted(facts, key=lambda fact: Stamp(fact.at, fact.id))
    tripped_at = data.draw(st.sampled_from(in_order)).at
    resumed_at = tripped_at + timedelta(seconds=data.draw(st.integers(1, 20)))
    opened = InstanceState("d12345678", definition, NOON)
    if action is Action.PAUSE:
        opened = replace(opened, pauses=(Pause(tripped_at, "too dear", "limit", resumed_at),))
    else:
        opened = replace(opened, terminated_at=tripped_at, termination_reason="too dear")
    for fact in in_order:
        view = as_of(opened, facts, Stamp(fact.at, fact.id))
        if action is Action.PAUSE:
            assert (view.status is InstanceStatus.PAUSED) == (tripped_at <= fact.at < resumed_at)
        else:
            assert (view.status is InstanceStatus.TERMINATED) == (tripped_at <= fact.at)
        is_stopped = view.status in (InstanceStatus.PAUSED, InstanceStatus.TERMINATED)
        assert not is_stopped or view.failure_reason == "too dear"


@properties
@given(definitions, histories())
def test_without_a_pause_nothing_is_different(definition: WorkflowDefinition, facts: Sequence[PingFact]) -> None:
    state = replace(instance(definition, *facts), outages=(Outage(at(3), at(4)),))
    assert state.still is state.outages
    assert state.pause is None
