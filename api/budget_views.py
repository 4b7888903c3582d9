"""Budgets, and how a run stands to its own, as the API shows them."""

from datetime import datetime
from decimal import Decimal
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from api.budget_input import budget_fields
from api.cost_views import Known, Unpriced
from api.timeline_views import Money, money
from api.views import in_utc
from domain.budgets import Action, Budget, BudgetReport, Rule
from domain.costs import total_of
from storage.budgets import BudgetRow
from storage.cost_alerts import CostAlert
from storage.cost_reads import WorkflowCost


class BudgetView(BaseModel):
    """The whole budget as it is now, and how today stands to it."""

    model_config = ConfigDict(extra="forbid")

    workflow_id: str
    budget_enabled: bool
    budget_limit_usd: Money | None
    budget_alert_threshold_usd: Money | None
    budget_daily_limit_usd: Money | None
    budget_action: Action
    cost_anomaly_detection: bool
    cost_anomaly_multiplier: float
    cost_anomaly_floor_usd: Money
    max_pings_per_instance: int | None
    max_visits_per_stage: int | None
    resume_approvers: list[str]
    today_cost_usd: Known
    unpriced_pings_today: Unpriced
    stopped_until: datetime | None = Field(
        description="The daily limit was crossed: no run is opened before then. Null if that is not so."
    )
    stop_reason: str | None
    updated_at: datetime | None = Field(description="Null before the first request that sets it.")


class CostAlertView(BaseModel):
    model_config = ConfigDict(extra="forbid")

    id: int
    alert_type: Rule
    instance_id: str = Field(description="Whose ping crossed the line.")
    current_cost_usd: Money = Field(description="Of the day, if it is the daily limit, else of the instance.")
    threshold_usd: Money | None = Field(description="Null if it is a number of pings that was crossed.")
    action_taken: Action = Field(description="`alert` if it was told and nothing else, or nothing was left to stop.")
    message: str
    created_at: datetime


class CostAlertList(BaseModel):
    model_config = ConfigDict(extra="forbid")

    alerts: list[CostAlertView]
    next_cursor: str | None


def budget_document(workflow_id: str, row: BudgetRow | None, today: WorkflowCost, now: datetime) -> dict[str, Any]:
    """As BudgetView describes it; `today` is what the workflow has cost today."""
    budget = row.budget() if row is not None else Budget(enabled=False)
    stop = row.stop() if row is not None else None
    is_stopped = stop is not None and budget.enabled and now < stop.until
    shown = {
        field: money(value) if isinstance(value, Decimal) else value for field, value in budget_fields(budget).items()
    }
    return {
        "workflow_id": workflow_id,
        **shown,
        "today_cost_usd": money(total_of([today.cost_today_usd], unpriced=today.unpriced_today)),
        "unpriced_pings_today": today.unpriced_today,
        "stopped_until": in_utc(stop.until) if stop is not None and is_stopped else None,
        "stop_reason": stop.reason if stop is not None and is_stopped else None,
        "updated_at": in_utc(row.updated_at) if row is not None else None,
    }


def cost_alert_document(row: CostAlert) -> dict[str, Any]:
    """As CostAlertView describes it."""
    return {
        "id": row.id,
        "alert_type": row.alert_type,
        "instance_id": row.instance_id,
        "current_cost_usd": money(row.current_cost_usd),
        "threshold_usd": money(row.threshold_usd),
        "action_taken": row.action_taken,
        "message": row.message,
        "created_at": in_utc(row.created_at),
    }


def report_document(report: BudgetReport) -> dict[str, Any]:
    """The `budget` in the answer to a ping: what was spent with it, and what was done if that was too much."""
    return {
        "state": report.state,
        "instance_cost_usd": money(report.instance_cost_usd),
        "limit_usd": money(report.limit_usd),
        "today_cost_usd": money(report.today_cost_usd),
        "daily_limit_usd": money(report.daily_limit_usd),
        "unpriced_pings": report.unpriced_pings,
        "alert_type": report.alert_type,
        "action_taken": report.action_taken,
        "message": report.message,
    }
