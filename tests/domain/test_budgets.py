"""The lines of a budget: when each is crossed, what is told, and what is done."""

from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from typing import Any

import pytest

from domain.breaker import TYPICAL_OF, Assessment, Books, Charge, DayStop, Trip, assess, typical_cost
from domain.budget_alerts import RESUMED, crossing_alert, resumed_alert
from domain.budgets import Action, Budget, BudgetState, Rule, dollars, left_of, limit_of
from domain.instances import InstanceStatus
from tests.domain.builders import at, dynamic

DAY = date(2025, 3, 1)
BOOKS = Books("flow", "d12345678")
RUNNING, FAILED, COMPLETED = InstanceStatus.RUNNING, InstanceStatus.FAILED, InstanceStatus.COMPLETED
STOP = DayStop("workflow/flow/day/2025-03-01/5/pause", "Workflow cost $6.00 …", at(60))


def usd(text: str | None) -> Decimal | None:
    return None if text is None else Decimal(text)


def charge(cost: str | None = None, *, id_: int = 1, seconds: float = 0, **values: Any) -> Charge:
    fields = {"path": "1", "day": DAY, "status": RUNNING, "pings": id_, "visits": 1, **values}
    return Charge(ping_id=id_, at=at(seconds), cost_usd=usd(cost), **fields)


def budget(**rules: Any) -> Budget:
    fields: dict[str, Any] = {"action": Action.PAUSE}
    fields |= {name: usd(value) if name.endswith("_usd") else value for name, value in rules.items()}
    return Budget(**fields)


LINES = [
    (
        {"threshold_usd": "2"},
        {},
        charge("2.01"),
        Rule.THRESHOLD,
        "instance/d12345678/threshold/2",
        "Instance cost $2.01 exceeds alert threshold $2.00",
    ),
    (
        {"limit_usd": "2.50"},
        {"instance_usd": Decimal("2.50")},
        charge("0.001"),
        Rule.LIMIT,
        "instance/d12345678/limit/2.50/pause",
        "Instance cost $2.501 exceeds budget limit $2.50",
    ),
    (
        {"daily_limit_usd": "1000"},
        {"days_usd": {DAY: Decimal("999")}},
        charge("2"),
        Rule.DAILY,
        "workflow/flow/day/2025-03-01/1000/pause",
        "Workflow cost $1,001.00 on 2025-03-01 exceeds daily limit $1,000.00",
    ),
    (
        {"anomaly_detection": True},
        {"typical_usd": Decimal("0.50")},
        charge("1.51"),
        Rule.ANOMALY,
        "instance/d12345678/anomaly/3/1/pause",
        "Instance cost $1.51 is unusual: instances of this workflow typically cost $0.50, and up to $1.50 is let pass",
    ),
    (
        {"max_pings": 9},
        {},
        charge(pings=10),
        Rule.PINGS,
        "instance/d12345678/pings/9/pause",
        "Instance has sent 10 pings; 9 are allowed",
    ),
    (
        {"max_visits": 3},
        {},
        charge(path="2.1", visits=4),
        Rule.VISITS,
        "instance/d12345678/visits/2.1/3/pause",
        "Stage 2.1 was pinged 4 times; 3 are allowed",
    ),
]


@pytest.mark.parametrize(("rules", "known", "charged", "rule", "key", "message"), LINES)
def test_each_line_is_crossed_and_told(
    rules: dict[str, Any], known: dict[str, Any], charged: Charge, rule: Rule, key: str, message: str
) -> None:
    found = assess(budget(**rules), replace(BOOKS, **known), [charged])
    (crossing,) = found.crossings
    assert (crossing.rule, crossing.key, crossing.message) == (rule, key, message)
    assert (crossing.ping_id, crossing.at, crossing.day) == (charged.ping_id, charged.at, charged.day)
    report = found.reports[charged.ping_id]
    assert (report.alert_type, report.message, report.action_taken) == (rule, message, crossing.taken)
    if rule is Rule.THRESHOLD:
        assert (crossing.taken, found.trip, report.state) == (Action.ALERT, None, BudgetState.WARNING)
    else:
        assert crossing.taken is Action.PAUSE
        assert found.trip == Trip(charged.ping_id, Action.PAUSE, key, message)
    # Whoever has heard it does not hear it again, and goes on.
    again = assess(budget(**rules), replace(BOOKS, **known, told=frozenset({key})), [charged])
    assert (again.crossings, again.trip, again.reports[charged.ping_id].message) == ((), None, None)


@pytest.mark.parametrize(("rules", "known", "charged", "rule", "key", "message"), LINES)
@pytest.mark.parametrize("action", Action)
def test_what_is_done_at_each_line(
    action: Action, rules: dict[str, Any], known: dict[str, Any], charged: Charge, rule: Rule, key: str, message: str
) -> None:
    found = assess(budget(**rules, action=action), replace(BOOKS, **known), [charged])
    taken = Action.ALERT if rule is Rule.THRESHOLD else action
    assert [crossing.taken for crossing in found.crossings] == [taken]
    assert (found.trip and found.trip.action) == (None if taken is Action.ALERT else taken)
    # An alert does not keep a later pause from being one: another action is another line.
    assert found.crossings[0].key == (key if rule is Rule.THRESHOLD else f"{key.removesuffix('/pause')}/{action}")


@pytest.mark.parametrize(
    ("rules", "known", "charged"),
    [
        ({"threshold_usd": "2", "limit_usd": "2"}, {}, charge("2")),
        ({"daily_limit_usd": "3"}, {"days_usd": {DAY: Decimal(1)}}, charge("2")),
        ({"daily_limit_usd": "3"}, {"days_usd": {DAY - timedelta(1): Decimal(99)}}, charge("2")),
        ({"anomaly_detection": True}, {"typical_usd": None}, charge("99")),
        ({"anomaly_detection": False}, {"typical_usd": Decimal(1)}, charge("99")),
        ({"anomaly_detection": True}, {"typical_usd": Decimal(1)}, charge("3")),
        # The floor: three times next to nothing is still next to nothing.
        ({"anomaly_detection": True}, {"typical_usd": Decimal("0.01")}, charge("1")),
        ({"anomaly_detection": True, "anomaly_floor_usd": "5"}, {"typical_usd": Decimal(1)}, charge("4")),
        ({"anomaly_detection": True, "anomaly_multiplier": Decimal("1.5")}, {"typical_usd": Decimal(4)}, charge("6")),
        ({"max_pings": 10, "max_visits": 10}, {}, charge(pings=10, visits=10)),
        ({}, {"instance_usd": Decimal(10**9)}, charge("1000000000", pings=10**6, visits=10**6)),
    ],
)
def test_up_to_a_line_nothing_is_told(rules: dict[str, Any], known: dict[str, Any], charged: Charge) -> None:
    found = assess(budget(**rules), replace(BOOKS, **known), [charged])
    assert (found.crossings, found.trip, found.reports[1].state) == ((), None, BudgetState.OK)


def test_no_line_is_crossed_by_a_cost_that_nobody_knows_but_by_its_ping() -> None:
    found = assess(budget(limit_usd="0", max_pings=1), BOOKS, [charge(None, id_=1), charge(None, id_=2)])
    assert [crossing.rule for crossing in found.crossings] == [Rule.PINGS]


def test_a_run_that_is_complete_is_told_of_but_not_stopped() -> None:
    charges = [charge("2", id_=1, status=COMPLETED), charge("2", id_=2, status=COMPLETED)]
    found = assess(budget(limit_usd="1", action=Action.TERMINATE), BOOKS, charges)
    assert (found.trip, list(found.reports)) == (None, [1, 2])
    assert [(crossing.ping_id, crossing.taken) for crossing in found.crossings] == [(1, Action.ALERT)]
    assert [report.state for report in found.reports.values()] == [BudgetState.EXCEEDED] * 2


@pytest.mark.parametrize("status", [RUNNING, FAILED])
def test_one_that_has_failed_may_heal_and_is_stopped(status: InstanceStatus) -> None:
    assert assess(budget(limit_usd="1"), BOOKS, [charge("2", status=status)]).trip is not None


def test_of_several_lines_all_are_told_and_the_first_that_acts_is_the_cause() -> None:
    rules = budget(threshold_usd="1", limit_usd="2", daily_limit_usd="3", max_pings=1)
    found = assess(rules, BOOKS, [charge("9", pings=2)])
    assert [crossing.rule for crossing in found.crossings] == [Rule.THRESHOLD, Rule.LIMIT, Rule.DAILY, Rule.PINGS]
    assert found.trip is not None
    assert found.trip.cause == found.crossings[1].key
    assert found.reports[1].alert_type is Rule.LIMIT


@pytest.mark.parametrize("action", [Action.PAUSE, Action.TERMINATE])
def test_a_days_stop_refuses_the_first_ping_and_records_none(action: Action) -> None:
    rules, books = budget(daily_limit_usd="5", action=action), replace(BOOKS, stop=STOP)
    found = assess(rules, books, [charge("1", id_=7), charge("1", id_=8)])
    assert found == Assessment(trip=Trip(7, action, STOP.key, STOP.reason, is_refused=True))


def test_a_days_stop_ends_with_the_day() -> None:
    found = assess(budget(daily_limit_usd="5"), replace(BOOKS, stop=STOP), [charge("1", seconds=60)])
    assert (found.trip, list(found.reports)) == (None, [1])


def test_a_days_stop_leaves_what_was_complete_before_alone() -> None:
    """A straggler of a run that has reached its end does not un-end it; one that would end it now is too late."""
    books = replace(BOOKS, stop=STOP)
    late = charge("1", status=COMPLETED, is_late=True)
    assert assess(budget(daily_limit_usd="5"), books, [late]).trip is None
    found = assess(budget(daily_limit_usd="5"), books, [charge("1", status=COMPLETED)])
    assert found.trip is not None
    assert found.trip.is_refused


@pytest.mark.parametrize(
    ("limit", "raised", "expected"),
    [("5", None, "5"), ("5", "8", "8"), ("5", "3", "5"), (None, "8", None), (None, None, None)],
)
def test_a_resume_raises_the_limit_and_never_lowers_it(
    limit: str | None, raised: str | None, expected: str | None
) -> None:
    assert limit_of(budget(limit_usd=limit), usd(raised)) == usd(expected)


def test_a_raised_limit_is_another_line() -> None:
    books = replace(BOOKS, instance_usd=Decimal(6), told=frozenset({"instance/d12345678/limit/5/pause"}))
    rules = budget(limit_usd="5")
    assert assess(rules, books, [charge("5")]).trip is None
    found = assess(rules, replace(books, raised_limit_usd=Decimal(10)), [charge("4", id_=1), charge("1", id_=2)])
    assert found.trip is not None
    assert (found.trip.ping_id, found.trip.cause) == (2, "instance/d12345678/limit/10/pause")
    assert found.reports[1].limit_usd == 10


@pytest.mark.parametrize(
    ("costs", "expected"),
    [
        ([], None),
        (["1"] * 4, None),
        (["5", "1", "3", "2", "4"], "3"),
        (["1", "2", "3", "4", "5", "6"], "3.5"),
        # Only the latest count.
        (["1"] * TYPICAL_OF + ["9"] * 40, "1"),
        # All decimals of the middle are kept.
        (["1000000000.000000000000000001", "1000000000.000000000000000002"] * 3, "1000000000.0000000000000000015"),
    ],
)
def test_what_an_instance_typically_costs(costs: list[str], expected: str | None) -> None:
    assert typical_cost([Decimal(cost) for cost in costs]) == usd(expected)


@pytest.mark.parametrize(
    ("limit", "parts", "left"),
    [(None, ["1"], None), ("5", [], "5"), ("5", ["1", "1.5"], "2.5"), ("5", ["4", "4"], "0")],
)
def test_what_is_left_of_a_limit(limit: str | None, parts: list[str], left: str | None) -> None:
    assert left_of(usd(limit), *map(Decimal, parts)) == usd(left)


@pytest.mark.parametrize(
    ("amount", "text"),
    [
        ("0", "$0.00"),
        ("5", "$5.00"),
        ("1234567.891", "$1,234,567.89"),
        ("0.0123", "$0.01"),
        ("0.0012", "$0.0012"),
        ("0.000000000000000001", "$0.0000000000000000010"),
        ("999999999999999999999999999999.99", "$999,999,999,999,999,999,999,999,999,999.99"),
    ],
)
def test_amounts_are_told_in_cents_or_as_small_as_they_are(amount: str, text: str) -> None:
    assert dollars(Decimal(amount)) == text


def test_what_was_crossed_by_little_is_not_told_as_equal() -> None:
    (crossing,) = assess(budget(limit_usd="5"), BOOKS, [charge("5.00001")]).crossings
    assert crossing.message == "Instance cost $5.00001 exceeds budget limit $5.00"


def test_alerts_say_what_was_done_and_are_the_same_trouble() -> None:
    done = {Action.ALERT: "", Action.PAUSE: "; the run is paused", Action.TERMINATE: "; the run was terminated"}
    for action, words in done.items():
        (crossing,) = assess(budget(limit_usd="1", action=action), BOOKS, [charge("2")]).crossings
        alert = crossing_alert(dynamic(), BOOKS.instance_id, crossing)
        assert alert.title == f"flow (d12345678): Instance cost $2.00 exceeds budget limit $1.00{words}"
        assert alert.data["action_taken"] == action
        resumed = resumed_alert(dynamic(), BOOKS.instance_id, crossing.key, "ada@example.com", at(9))
        assert (resumed.trouble, resumed.kind) == (alert.trouble, RESUMED)
        assert resumed.dedupe_key != alert.dedupe_key
