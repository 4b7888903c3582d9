"""The circuit breaker: which lines a run crosses with a ping, and where that stops it.

The rules are pure. They are applied to the pings that an instance's workflow is about to accept, while the workflow's
budget is locked: a daily limit is shared by all instances, so only one of them may look at the sum at a time.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from decimal import Decimal, localcontext
from statistics import median
from typing import Final

from domain.budgets import (
    DIGITS,
    ZERO,
    Action,
    Budget,
    BudgetReport,
    BudgetState,
    Rule,
    added,
    dollars,
    limit_of,
)
from domain.instances import InstanceStatus

TYPICAL_OF: Final = 20
"""Finished instances whose median cost is what one typically costs."""

TYPICAL_NEEDS: Final = 5
"""With fewer, nobody knows what is typical."""


@dataclass(frozen=True)
class Charge:
    """A ping that is about to be accepted, and the instance right after it: its status, its pings in all, and those of
    the same stage. `cost_usd` is None if it says nothing of costs, or nobody knows its price: then it `is_unpriced`;
    `day` is when it counts. `is_late` if the instance was complete before.
    """

    ping_id: int
    path: str
    at: datetime
    day: date
    status: InstanceStatus
    pings: int
    visits: int
    cost_usd: Decimal | None = None
    is_unpriced: bool = False
    is_late: bool = False


@dataclass(frozen=True)
class DayStop:
    """The daily limit was crossed by some instance: until then, others are stopped by the same crossing."""

    key: str
    reason: str
    until: datetime


@dataclass(frozen=True)
class Books:
    """What was spent before, by the instance and on each day by the workflow, as far as that is known: of the
    instance's `unpriced_pings` nobody knows it.

    `told` are the keys of what was told before. `raised_limit_usd` is what a resume allowed this instance.
    `typical_usd` is what an instance typically costs, if that is known. `stop` is not there for an instance that was
    resumed from it.
    """

    workflow_id: str
    instance_id: str
    instance_usd: Decimal = ZERO
    days_usd: Mapping[date, Decimal] = field(default_factory=dict)
    told: frozenset[str] = frozenset()
    raised_limit_usd: Decimal | None = None
    typical_usd: Decimal | None = None
    stop: DayStop | None = None
    unpriced_pings: int = 0


@dataclass(frozen=True)
class Crossing:
    """A line that a ping crossed. `current_usd` is what the instance or the day has cost then; `threshold_usd` is None
    where pings are counted and not money.

    `key` names the line: it is told once by whoever crosses it first. `taken` is what was done about it.
    """

    rule: Rule
    key: str
    ping_id: int
    at: datetime
    day: date
    current_usd: Decimal
    threshold_usd: Decimal | None
    taken: Action
    message: str


@dataclass(frozen=True)
class Trip:
    """The breaker stops the instance at a ping: behind it or, if the line was crossed before, in front of it."""

    ping_id: int
    action: Action
    cause: str
    reason: str
    is_refused: bool = False


@dataclass(frozen=True)
class Assessment:
    """What the pings up to the `trip`, or all of them, mean to the budget. `reports` are by ping."""

    reports: Mapping[int, BudgetReport] = field(default_factory=dict)
    crossings: tuple[Crossing, ...] = ()
    trip: Trip | None = None


def assess(budget: Budget, books: Books, charges: Iterable[Charge]) -> Assessment:
    """Applies the rules to `charges` one after the other, until one of them trips the breaker."""
    spent, days, unpriced = books.instance_usd, dict(books.days_usd), books.unpriced_pings
    told = set(books.told)
    reports: dict[int, BudgetReport] = {}
    crossings: list[Crossing] = []
    for charge in charges:
        if (stop := books.stop) is not None and charge.at < stop.until and not charge.is_late:
            trip = Trip(charge.ping_id, budget.action, stop.key, stop.reason, is_refused=True)
            return Assessment(reports, tuple(crossings), trip)
        spent = added(spent, charge.cost_usd)
        today = days[charge.day] = added(days.get(charge.day, ZERO), charge.cost_usd)
        unpriced += charge.is_unpriced
        crossed = [line for line in _crossed(budget, books, charge, spent, today) if line.key not in told]
        told.update(line.key for line in crossed)
        crossings += crossed
        acting = [line for line in crossed if line.taken is not Action.ALERT]
        reports[charge.ping_id] = _report(budget, books, spent, today, unpriced, (*acting, *crossed))
        if acting:
            worst = acting[0]
            trip = Trip(charge.ping_id, worst.taken, worst.key, worst.message)
            return Assessment(reports, tuple(crossings), trip)
    return Assessment(reports, tuple(crossings))


def typical_cost(costs: Sequence[Decimal]) -> Decimal | None:
    """The median of the latest finished instances' costs; None of too few."""
    with localcontext(prec=DIGITS):
        return median(costs[:TYPICAL_OF]) if len(costs) >= TYPICAL_NEEDS else None


def _beyond(amount: Decimal, line: Decimal) -> str:
    """In dollars; with all decimals if it would look as if it were the line itself."""
    with localcontext(prec=DIGITS):
        return told if (told := dollars(amount)) != dollars(line) else f"${amount.normalize():,f}"


def _crossed(budget: Budget, books: Books, charge: Charge, spent: Decimal, today: Decimal) -> Iterable[Crossing]:
    """The lines that are behind the instance after the charge, told before or not."""
    # What has reached its end cannot be stopped any more.
    action = Action.ALERT if charge.status is InstanceStatus.COMPLETED else budget.action
    instance = f"instance/{books.instance_id}"

    def line(
        rule: Rule, key: str, message: str, current: Decimal, threshold: Decimal | None, taken: Action
    ) -> Crossing:
        # Another action is another line: whoever has learned from an alert may want a pause.
        name = f"{key}/{budget.action}" if rule is not Rule.THRESHOLD else key
        return Crossing(rule, name, charge.ping_id, charge.at, charge.day, current, threshold, taken, message)

    threshold = budget.threshold_usd
    if threshold is not None and spent > threshold:
        message = f"Instance cost {_beyond(spent, threshold)} exceeds alert threshold {dollars(threshold)}"
        yield line(Rule.THRESHOLD, f"{instance}/threshold/{threshold:f}", message, spent, threshold, Action.ALERT)
    limit = limit_of(budget, books.raised_limit_usd)
    if limit is not None and spent > limit:
        message = f"Instance cost {_beyond(spent, limit)} exceeds budget limit {dollars(limit)}"
        yield line(Rule.LIMIT, f"{instance}/limit/{limit:f}", message, spent, limit, action)
    daily = budget.daily_limit_usd
    if daily is not None and today > daily:
        message = f"Workflow cost {_beyond(today, daily)} on {charge.day} exceeds daily limit {dollars(daily)}"
        key = f"workflow/{books.workflow_id}/day/{charge.day}/{daily:f}"
        yield line(Rule.DAILY, key, message, today, daily, action)
    if budget.anomaly_detection and books.typical_usd is not None:
        with localcontext(prec=DIGITS):
            unusual = max(budget.anomaly_floor_usd, books.typical_usd * budget.anomaly_multiplier)
        if spent > unusual:
            message = (
                f"Instance cost {_beyond(spent, unusual)} is unusual: instances of this workflow typically cost"
                f" {dollars(books.typical_usd)}, and up to {dollars(unusual)} is let pass"
            )
            key = f"{instance}/anomaly/{budget.anomaly_multiplier:f}/{budget.anomaly_floor_usd:f}"
            yield line(Rule.ANOMALY, key, message, spent, unusual, action)
    if budget.max_pings is not None and charge.pings > budget.max_pings:
        message = f"Instance has sent {charge.pings} pings; {budget.max_pings} are allowed"
        yield line(Rule.PINGS, f"{instance}/pings/{budget.max_pings}", message, spent, None, action)
    if budget.max_visits is not None and charge.visits > budget.max_visits:
        message = f"Stage {charge.path} was pinged {charge.visits} times; {budget.max_visits} are allowed"
        yield line(Rule.VISITS, f"{instance}/visits/{charge.path}/{budget.max_visits}", message, spent, None, action)


def _report(
    budget: Budget, books: Books, spent: Decimal, today: Decimal, unpriced: int, crossed: Sequence[Crossing]
) -> BudgetReport:
    limit = limit_of(budget, books.raised_limit_usd)
    told = crossed[0] if crossed else None
    if (limit is not None and spent > limit) or (budget.daily_limit_usd is not None and today > budget.daily_limit_usd):
        state = BudgetState.EXCEEDED
    elif told is not None or (budget.threshold_usd is not None and spent > budget.threshold_usd):
        state = BudgetState.WARNING
    else:
        state = BudgetState.OK
    return BudgetReport(
        state,
        spent,
        today,
        limit,
        budget.daily_limit_usd,
        told.rule if told else None,
        told.taken if told else None,
        told.message if told else None,
        unpriced,
    )
