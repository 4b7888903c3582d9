"""Budgets: what a workflow may cost, and the circuit breaker that stops a run which crosses a line.

The rules are pure. They are applied to the pings that an instance's workflow is about to accept, while the workflow's
budget is locked: a daily limit is shared by all instances, so only one of them may look at the sum at a time.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from datetime import date, datetime
from decimal import Decimal, localcontext
from enum import StrEnum
from statistics import median
from typing import Any, Final

from domain.instances import InstanceStatus

TYPICAL_OF: Final = 20
"""Finished instances whose median cost is what one typically costs."""

TYPICAL_NEEDS: Final = 5
"""With fewer, nobody knows what is typical."""

DEFAULT_MULTIPLIER: Final = Decimal(3)
DEFAULT_FLOOR_USD: Final = Decimal(1)
ZERO: Final = Decimal(0)

_DIGITS: Final = 60


class Action(StrEnum):
    """What the breaker does when a line is crossed; whatever it does, it tells."""

    ALERT = "alert"
    PAUSE = "pause"
    TERMINATE = "terminate"


class Rule(StrEnum):
    """The lines. All but the first have the budget's action."""

    THRESHOLD = "budget_alert_threshold"
    LIMIT = "budget_exceeded"
    DAILY = "daily_budget_exceeded"
    ANOMALY = "cost_anomaly"
    PINGS = "runaway_pings"
    VISITS = "runaway_stage"


class BudgetState(StrEnum):
    OK = "ok"
    WARNING = "warning"
    EXCEEDED = "exceeded"


@dataclass(frozen=True)
class Budget:
    """A workflow's budget, in US dollars; None is no limit. `threshold_usd` and `limit_usd` are for each instance,
    `daily_limit_usd` for a day of the account's time zone. `approvers` are asked whether a paused run may go on."""

    enabled: bool = True
    limit_usd: Decimal | None = None
    threshold_usd: Decimal | None = None
    daily_limit_usd: Decimal | None = None
    action: Action = Action.ALERT
    anomaly_detection: bool = False
    anomaly_multiplier: Decimal = DEFAULT_MULTIPLIER
    anomaly_floor_usd: Decimal = DEFAULT_FLOOR_USD
    max_pings: int | None = None
    max_visits: int | None = None
    approvers: tuple[str, ...] = ()


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
    """A line that a ping crossed. Of money `current_usd` crossed `threshold_usd`, or else `count` a number of pings.

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
class BudgetReport:
    """How an instance stands to its budget right after a ping. `message` is what the ping crossed, if anything.

    Costs are as far as they are known: what `unpriced_pings` of the instance have cost comes on top of them.
    """

    state: BudgetState
    instance_cost_usd: Decimal
    today_cost_usd: Decimal
    limit_usd: Decimal | None = None
    daily_limit_usd: Decimal | None = None
    alert_type: Rule | None = None
    action_taken: Action | None = None
    message: str | None = None
    unpriced_pings: int = 0


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
    with localcontext(prec=_DIGITS):
        return median(costs[:TYPICAL_OF]) if len(costs) >= TYPICAL_NEEDS else None


def limit_of(budget: Budget, raised_limit_usd: Decimal | None) -> Decimal | None:
    """The limit of one instance. A resume raises it, and never lowers it."""
    if budget.limit_usd is None or raised_limit_usd is None:
        return budget.limit_usd
    return max(budget.limit_usd, raised_limit_usd)


def left_of(limit_usd: Decimal | None, *parts: Decimal) -> Decimal | None:
    """What of a limit is left; None without a limit."""
    with localcontext(prec=_DIGITS):
        return None if limit_usd is None else max(limit_usd - sum(parts, ZERO), ZERO)


def added(total: Decimal, cost_usd: Decimal | None) -> Decimal:
    with localcontext(prec=_DIGITS):
        return total + (cost_usd or ZERO)


def dollars(amount: Decimal) -> str:
    """For people: cents, or as many decimals as it takes to tell a smaller amount from nothing."""
    decimals = 2 if amount == 0 or amount >= Decimal("0.01") else -amount.adjusted() + 1
    with localcontext(prec=_DIGITS):
        return f"${round(amount, decimals):,.{decimals}f}"


def _beyond(amount: Decimal, line: Decimal) -> str:
    """In dollars; with all decimals if it would look as if it were the line itself."""
    with localcontext(prec=_DIGITS):
        return told if (told := dollars(amount)) != dollars(line) else f"${amount.normalize():,f}"


def report_as_json(report: BudgetReport | None) -> dict[str, str | int | None] | None:
    """Money as text, so that no decimals are lost."""
    if report is None:
        return None
    values = ((item.name, getattr(report, item.name)) for item in fields(report))
    return {name: f"{value:f}" if isinstance(value, Decimal) else value for name, value in values}


def report_from_json(document: Mapping[str, Any] | None) -> BudgetReport | None:
    if document is None:
        return None
    money = {name: Decimal(value) for name, value in document.items() if name.endswith("_usd") and value is not None}
    rule, action = document["alert_type"], document["action_taken"]
    return BudgetReport(
        BudgetState(document["state"] or BudgetState.OK),
        money["instance_cost_usd"],
        money["today_cost_usd"],
        money.get("limit_usd"),
        money.get("daily_limit_usd"),
        Rule(rule) if rule else None,
        Action(action) if action else None,
        document["message"],
        document["unpriced_pings"],
    )


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
        with localcontext(prec=_DIGITS):
            unusual = max(budget.anomaly_floor_usd, books.typical_usd * budget.anomaly_multiplier)
        if spent > unusual:
            message = (
                f"Instance cost {_beyond(spent, unusual)} is unusual: instances of this workflow typically cost"
                f" {dollars(books.typical_usd)}, and up to {dollars(unusual)} is let pass"
            )
            yield line(Rule.ANOMALY, f"{instance}/anomaly", message, spent, unusual, action)
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
