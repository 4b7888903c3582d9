"""Where the circuit breaker trips and what is told, against a model that is as plain as the rules are."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from decimal import Decimal
from fractions import Fraction
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from domain.breaker import Assessment, Books, Charge, Crossing, DayStop, Trip, assess
from domain.budgets import Action, Budget, BudgetReport, Rule, report_as_json, report_from_json
from domain.instances import InstanceStatus
from tests.domain.builders import at, properties

DAY = date(2025, 3, 1)
RUNNING, FAILED, COMPLETED = InstanceStatus.RUNNING, InstanceStatus.FAILED, InstanceStatus.COMPLETED
STOP = DayStop("workflow/flow/day/2025-03-01/5/pause", "Workflow cost $6.00 …", at(60))

money = st.one_of(
    st.none(),
    st.sampled_from([Decimal(0), Decimal("0.1"), Decimal("0.2"), Decimal("1"), Decimal("0.000000000000000001")]),
    st.decimals(0, 2, places=2),
    st.decimals(0, 10**9, places=18),
)
lines = st.one_of(st.none(), st.decimals(0, 3, places=2), st.sampled_from([Decimal(0), Decimal(10**10)]))
days = st.sampled_from([DAY, DAY + timedelta(1)])
rules = st.builds(
    Budget,
    limit_usd=lines,
    threshold_usd=lines,
    daily_limit_usd=lines,
    action=st.sampled_from(Action),
    anomaly_detection=st.booleans(),
    anomaly_multiplier=st.sampled_from([Decimal("1.5"), Decimal(3)]),
    anomaly_floor_usd=st.sampled_from([Decimal(0), Decimal(1)]),
    max_pings=st.one_of(st.none(), st.integers(1, 12)),
    max_visits=st.one_of(st.none(), st.integers(1, 5)),
)
books = st.builds(
    Books,
    st.just("flow"),
    st.just("d12345678"),
    instance_usd=st.sampled_from([Decimal(0), Decimal("0.7")]),
    days_usd=st.dictionaries(days, st.sampled_from([Decimal("0.7"), Decimal(2)])),
    raised_limit_usd=lines,
    typical_usd=st.sampled_from([None, Decimal("0.4"), Decimal(1)]),
)


@st.composite
def charges(draw: st.DrawFn, most: int = 14) -> list[Charge]:
    """As pings of one instance follow one another."""
    visits: dict[str, int] = {}
    found = []
    for number in range(1, draw(st.integers(0, most)) + 1):
        path = draw(st.sampled_from(["1", "2"]))
        visits[path] = visits.get(path, 0) + 1
        status = draw(st.sampled_from([RUNNING, RUNNING, FAILED, COMPLETED]))
        cost, is_unpriced = draw(money), draw(st.booleans())
        known = (cost, is_unpriced and cost is None, draw(st.booleans()))
        found.append(Charge(number, path, at(number), draw(days), status, number, visits[path], *known))
    return found


@dataclass
class Model:
    """The lines as the issue tells them, with whole fractions for money. `told` are lines by what they are about."""

    rules: Budget
    books: Books
    spent: Fraction = Fraction(0)
    days: dict[date, Fraction] = field(default_factory=dict)
    told: set[tuple[object, ...]] = field(default_factory=set)
    unpriced: int = 0

    def __post_init__(self) -> None:
        self.spent = Fraction(self.books.instance_usd)
        self.days = {day: Fraction(cost) for day, cost in self.books.days_usd.items()}

    def take(self, charged: Charge) -> tuple[list[Rule], bool]:
        """The lines that it crosses for the first time, and whether the breaker trips."""
        cost = Fraction(charged.cost_usd or 0)
        self.spent += cost
        self.unpriced += 1 if charged.is_unpriced else 0
        self.days[charged.day] = self.days.get(charged.day, Fraction(0)) + cost
        first = []
        for rule, *about in self._behind(charged):
            if (rule, *about) not in self.told:
                self.told.add((rule, *about))
                first.append(rule)
        may_stop = self.rules.action is not Action.ALERT and charged.status is not COMPLETED
        return first, may_stop and any(rule is not Rule.THRESHOLD for rule in first)

    def _behind(self, charged: Charge) -> Iterable[tuple[Any, ...]]:
        rules = self.rules
        if rules.threshold_usd is not None and self.spent > rules.threshold_usd:
            yield (Rule.THRESHOLD,)
        if rules.limit_usd is not None:
            allowed = [rules.limit_usd, self.books.raised_limit_usd or Decimal(0)]
            if all(self.spent > limit for limit in allowed):
                yield (Rule.LIMIT,)
        if rules.daily_limit_usd is not None and self.days[charged.day] > rules.daily_limit_usd:
            yield (Rule.DAILY, charged.day)
        typical = self.books.typical_usd
        if rules.anomaly_detection and typical is not None:
            usual = Fraction(typical) * Fraction(rules.anomaly_multiplier)
            if self.spent > usual and self.spent > rules.anomaly_floor_usd:
                yield (Rule.ANOMALY,)
        if rules.max_pings is not None and charged.pings > rules.max_pings:
            yield (Rule.PINGS,)
        if rules.max_visits is not None and charged.visits > rules.max_visits:
            yield Rule.VISITS, charged.path


def carried_on(known: Books, found: Assessment, taken: Sequence[Charge]) -> Books:
    """The books once `taken` are recorded, as Postgres would add them up."""
    costs = [Fraction(item.cost_usd or 0) for item in taken]
    days = dict(known.days_usd)
    for item in taken:
        days[item.day] = exact(Fraction(days.get(item.day, 0)) + Fraction(item.cost_usd or 0))
    return replace(
        known,
        instance_usd=exact(Fraction(known.instance_usd) + sum(costs)),
        days_usd=days,
        unpriced_pings=known.unpriced_pings + sum(item.is_unpriced for item in taken),
        told=known.told | {crossing.key for crossing in found.crossings},
    )


def exact(fraction: Fraction) -> Decimal:
    scaled = fraction * 10**18
    assert scaled.denominator == 1
    return Decimal(f"{scaled.numerator}e-18")


def taken_of(found: Assessment, given_: Sequence[Charge]) -> list[Charge]:
    """Those that were recorded: up to the trip, or all."""
    ids = [item.ping_id for item in given_]
    return list(given_[: ids.index(found.trip.ping_id) + 1]) if found.trip is not None else list(given_)


@properties
@given(rules, books, charges())
def test_it_is_what_the_model_says(rules: Budget, known: Books, given_: list[Charge]) -> None:
    found, model = assess(rules, known, given_), Model(rules, known)
    told: list[tuple[int, Rule]] = []
    trips = None
    for item in given_:
        first, is_tripping = model.take(item)
        told += [(item.ping_id, rule) for rule in first]
        report = found.reports[item.ping_id]
        assert [Fraction(report.instance_cost_usd), Fraction(report.today_cost_usd)] == [
            model.spent,
            model.days[item.day],
        ]
        assert report.unpriced_pings == model.unpriced
        assert (report.message is None) == (not first)
        if is_tripping:
            trips = item.ping_id
            break
    assert [(crossing.ping_id, crossing.rule) for crossing in found.crossings] == told
    assert (found.trip.ping_id if found.trip is not None else None) == trips
    assert list(found.reports) == [item.ping_id for item in taken_of(found, given_)]
    assert len({crossing.key for crossing in found.crossings}) == len(told), "nothing is told twice"


@properties
@given(st.data(), rules, books, charges())
def test_a_batch_is_its_pings_one_after_the_other(
    data: st.DataObject, rules: Budget, known: Books, given_: list[Charge]
) -> None:
    """With books carried on, it makes no difference how pings are cut into batches, or that the breaker tripped: what
    was resumed is as if nothing had stopped it."""
    at_once = assess(rules, known, given_)
    cuts = sorted(data.draw(st.sets(st.integers(0, len(given_)))) | {0, len(given_)})
    reports: dict[int, BudgetReport] = {}
    crossings: list[Crossing] = []
    trips: list[Trip] = []
    books_now = known
    for start, end in zip(cuts, cuts[1:], strict=False):
        left = given_[start:end]
        while left:
            found = assess(rules, books_now, left)
            taken = taken_of(found, left)
            reports.update(found.reports)
            crossings += found.crossings
            trips += [found.trip] if found.trip is not None else []
            books_now = carried_on(books_now, found, taken)
            left = left[len(taken) :]
    first = taken_of(at_once, given_)
    assert {item.ping_id: reports[item.ping_id] for item in first} == at_once.reports
    assert tuple(crossings[: len(at_once.crossings)]) == at_once.crossings
    assert trips[:1] == [at_once.trip] if at_once.trip is not None else not trips
    assert len({crossing.key for crossing in crossings}) == len(crossings), "nothing is told twice"
    # As many trips as lines, and no more: a resumed run is not stopped again by what it was resumed from.
    assert {trip.cause for trip in trips} <= {crossing.key for crossing in crossings}
    assert len({trip.cause for trip in trips}) == len(trips)


@properties
@given(rules, books, charges(), st.integers(0, 16))
def test_a_days_stop_refuses_whatever_came_before_it_ends(
    rules: Budget, known: Books, given_: list[Charge], seconds: int
) -> None:
    rules = replace(rules, action=Action.PAUSE)
    stop = replace(STOP, until=at(seconds))
    found = assess(rules, replace(known, stop=stop), given_)
    stopped = [item for item in given_ if item.at < stop.until and not item.is_late]
    if stopped:
        late = [item for item in given_ if item.ping_id < stopped[0].ping_id]
        before = assess(rules, known, late)
        refusal = Trip(stopped[0].ping_id, Action.PAUSE, stop.key, stop.reason, is_refused=True)
        assert found == (before if before.trip is not None else replace(before, trip=refusal))
    else:
        assert found == assess(rules, known, given_)


@properties
@given(rules, books, charges())
def test_reports_come_back_from_the_journal_as_they_were(rules: Budget, known: Books, given_: list[Charge]) -> None:
    for report in assess(rules, known, given_).reports.values():
        document = report_as_json(report)
        assert document is not None
        assert json.loads(json.dumps(document)) == document
        assert not any(isinstance(value, float) for value in document.values())
        assert report_from_json(document) == report
    assert report_from_json(report_as_json(None)) is None
