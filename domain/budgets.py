"""Budgets: what a workflow may cost, and how a run stands to that."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from decimal import Decimal, localcontext
from enum import StrEnum
from typing import Any, Final

DEFAULT_MULTIPLIER: Final = Decimal(3)
DEFAULT_FLOOR_USD: Final = Decimal(1)
ZERO: Final = Decimal(0)

DIGITS: Final = 60
"""Enough for the sum of all pings there can be: nothing is rounded."""


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


def limit_of(budget: Budget, raised_limit_usd: Decimal | None) -> Decimal | None:
    """The limit of one instance. A resume raises it, and never lowers it."""
    if budget.limit_usd is None or raised_limit_usd is None:
        return budget.limit_usd
    return max(budget.limit_usd, raised_limit_usd)


def left_of(limit_usd: Decimal | None, *parts: Decimal) -> Decimal | None:
    """What of a limit is left; None without a limit."""
    with localcontext(prec=DIGITS):
        return None if limit_usd is None else max(limit_usd - sum(parts, ZERO), ZERO)


def added(total: Decimal, cost_usd: Decimal | None) -> Decimal:
    with localcontext(prec=DIGITS):
        return total + (cost_usd or ZERO)


def dollars(amount: Decimal) -> str:
    """For people: cents, or as many decimals as it takes to tell a smaller amount from nothing."""
    decimals = 2 if amount == 0 or amount >= Decimal("0.01") else -amount.adjusted() + 1
    with localcontext(prec=DIGITS):
        return f"${round(amount, decimals):,.{decimals}f}"


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
