"""Reservations: money of a budget that an agent sets aside before it spends it."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Final

from domain.budgets import Budget, dollars, left_of, limit_of
from domain.errors import Conflict, DomainError
from domain.instances import InstanceStatus
from domain.routing import Candidate
from domain.verdicts import InstanceClosed

DEFAULT_TTL_SECONDS: Final = 900
MAX_TTL_SECONDS: Final = 86_400


class BudgetExhausted(Conflict):
    """The budget has not as much left, with what others have set aside. Nothing was set aside; `remaining_usd` and
    `remaining_today_usd` say what could be. Spend less, wait, or ask whoever sets the budget."""

    code = "budget_exhausted"
    title = "Budget exhausted"


@dataclass(frozen=True)
class Room:
    """What an instance may still set aside, of its own limit and of its workflow's daily one. None is without limit."""

    left_usd: Decimal | None = None
    left_today_usd: Decimal | None = None

    def without(self, amount_usd: Decimal) -> "Room":
        return Room(left_of(self.left_usd, amount_usd), left_of(self.left_today_usd, amount_usd))

    def check(self, amount_usd: Decimal) -> None:
        """Raises BudgetExhausted if `amount_usd` is more than is left."""
        said = [
            f"{dollars(left)} of {whose}"
            for left, whose in ((self.left_usd, "the run's limit"), (self.left_today_usd, "the daily limit"))
            if left is not None and amount_usd > left
        ]
        if said:
            raise BudgetExhausted(
                f"{dollars(amount_usd)} cannot be set aside: there is only {' and '.join(said)} left.",
                remaining_usd=self.left_usd,
                remaining_today_usd=self.left_today_usd,
            )


def room_in(
    budget: Budget,
    raised_limit_usd: Decimal | None,
    *,
    spent_usd: Decimal,
    today_usd: Decimal,
    held_usd: Decimal,
    held_by_others_usd: Collection[Decimal],
) -> Room:
    """What is left of a budget. What the instance has spent and holds counts for its own limit; what all instances have
    spent today, and hold, for that of the day."""
    return Room(
        left_of(limit_of(budget, raised_limit_usd), spent_usd, held_usd),
        left_of(budget.daily_limit_usd, today_usd, held_usd, *held_by_others_usd),
    )


def refusal(
    workflow_id: str,
    instance_id: str,
    status: InstanceStatus,
    closes_at: datetime | None,
    reason: str | None,
    now: datetime,
) -> DomainError | None:
    """Why an instance may set nothing aside, whatever is left: its pings would be refused, too."""
    instance = Candidate(instance_id, status, closes_at, reason=reason)
    if (stopped := instance.stopped(workflow_id)) is not None:
        return stopped
    if closes_at is not None and instance.is_closed(now):
        return InstanceClosed(f"Instance {instance_id} closed at {closes_at.isoformat()}; open a new one to go on.")
    return None
