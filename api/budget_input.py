"""Budgets as they are asked for."""

import json
import re
from collections.abc import Callable, Coroutine
from dataclasses import replace
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any, Final

from fastapi import Request, Response
from fastapi.routing import APIRoute
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, StrictBool, StrictInt

from api.approval_input import Email
from domain.budgets import Action, Budget
from domain.errors import InvalidRequest
from domain.pings import MAX_COST_DECIMALS, MAX_COST_USD

MAX_MULTIPLIER: Final = 1_000_000
MAX_COUNT: Final = 1_000_000_000
MAX_APPROVERS: Final = 50

_NUMBER: Final = re.compile(r"-?\d+(\.\d+)?([eE][+-]?\d+)?", re.ASCII)
_DOLLARS: Final = f"US dollars: more than 0, at most {MAX_COST_USD:,}, with at most {MAX_COST_DECIMALS} decimals."


def _plain(value: object) -> object:
    """Python reads more as a number than people write."""
    if isinstance(value, str) and not _NUMBER.fullmatch(value):
        raise ValueError("must be a number such as 12.50")
    return value


# Normalized, because lines are told apart by their amounts: 5.00 is no other limit than 5.
Limit = Annotated[
    Decimal,
    Field(gt=0, le=MAX_COST_USD, decimal_places=MAX_COST_DECIMALS),
    AfterValidator(Decimal.normalize),
    BeforeValidator(_plain),
]
Floor = Annotated[Decimal, Field(ge=0, le=MAX_COST_USD, decimal_places=MAX_COST_DECIMALS), BeforeValidator(_plain)]
Multiplier = Annotated[
    Decimal, Field(gt=1, le=MAX_MULTIPLIER, decimal_places=MAX_COST_DECIMALS), BeforeValidator(_plain)
]
Count = Annotated[StrictInt, Field(ge=1, le=MAX_COUNT)]


def _once(values: list[str]) -> list[str]:
    return list(dict.fromkeys(values))


Approvers = Annotated[list[Email], Field(max_length=MAX_APPROVERS), AfterValidator(_once)]


class BudgetInput(BaseModel):
    """What is to be different; what is left out stays as it is."""

    model_config = ConfigDict(extra="forbid")

    budget_enabled: StrictBool = Field(True, description="True unless the first request says otherwise.")
    budget_limit_usd: Limit | None = Field(None, description=f"For each instance. {_DOLLARS} Null is no limit.")
    budget_alert_threshold_usd: Limit | None = Field(
        None, description="For each instance, below its limit: told, and nothing else. Null is none."
    )
    budget_daily_limit_usd: Limit | None = Field(
        None, description="For all instances together, on a day of the account's time zone. Null is no limit."
    )
    budget_action: Action = Field(
        Action.ALERT, description="What happens at any line but the threshold. It is told in any case."
    )
    cost_anomaly_detection: StrictBool = Field(
        False, description="Whether an instance that costs unusually much crosses a line, too."
    )
    cost_anomaly_multiplier: Multiplier | None = Field(
        None, description="How many times what an instance typically costs is unusual; 3 if null."
    )
    cost_anomaly_floor_usd: Floor | None = Field(
        None, description="Up to here nothing is unusual, whatever is typical; 1 if null."
    )
    max_pings_per_instance: Count | None = Field(None, description="More cross a line. Null is no limit.")
    max_visits_per_stage: Count | None = Field(
        None, description="More pings of the same stage of an instance cross a line. Null is no limit."
    )
    resume_approvers: Approvers | None = Field(
        None, description="E-mail addresses of whoever is asked whether a paused instance may go on."
    )


_NAMES: Final = {
    "budget_enabled": "enabled",
    "budget_limit_usd": "limit_usd",
    "budget_alert_threshold_usd": "threshold_usd",
    "budget_daily_limit_usd": "daily_limit_usd",
    "budget_action": "action",
    "cost_anomaly_detection": "anomaly_detection",
    "cost_anomaly_multiplier": "anomaly_multiplier",
    "cost_anomaly_floor_usd": "anomaly_floor_usd",
    "max_pings_per_instance": "max_pings",
    "max_visits_per_stage": "max_visits",
    "resume_approvers": "approvers",
}
"""What the members of `domain.budgets.Budget` are called in requests and answers."""

_UNSET: Final = Budget()


def changed_budget(before: Budget | None, body: BudgetInput) -> Budget:
    """The budget that a request makes of the one before; without one, of a new one, which is enabled.

    Raises InvalidRequest naming the field for what does not fit together.
    """
    asked = {_NAMES[field]: value for field, value in body.model_dump(exclude_unset=True).items()}
    if asked.get("approvers") is not None:
        asked["approvers"] = tuple(asked["approvers"])
    cleared = {name: getattr(_UNSET, name) for name, value in asked.items() if value is None}
    budget = replace(before or _UNSET, **(asked | cleared))
    _check_order(budget, changes_threshold="threshold_usd" in asked)
    return budget


def _check_order(budget: Budget, *, changes_threshold: bool) -> None:
    threshold, limit = budget.threshold_usd, budget.limit_usd
    if threshold is None or limit is None or threshold < limit:
        return
    if changes_threshold:
        raise InvalidRequest.of_field("budget_alert_threshold_usd", f"must be below budget_limit_usd, {limit:f}")
    message = f"must be above budget_alert_threshold_usd, {threshold:f}; change or clear that, too"
    raise InvalidRequest.of_field("budget_limit_usd", message)


def budget_fields(budget: Budget) -> dict[str, Any]:
    """The members by the names of requests and answers."""
    return {field: getattr(budget, name) for field, name in _NAMES.items()}


class _ExactRequest(Request):
    async def json(self) -> Any:
        return json.loads(await self.body(), parse_float=_exact_number)


def _exact_number(text: str) -> Decimal:
    try:
        return Decimal(text)
    except InvalidOperation:
        return Decimal("NaN")


class ExactRoute(APIRoute):
    """Reads numbers with a point as decimals: as floats they would lose some of their digits."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def handle_exactly(request: Request) -> Response:
            return await handle(_ExactRequest(request.scope, request.receive))

        return handle_exactly
