"""Budgets, and how a run stands to its own, as the API shows them."""

from typing import Any

from api.timeline_views import money
from domain.budgets import BudgetReport


def report_document(report: BudgetReport) -> dict[str, Any]:
    """The `budget` in the answer to a ping: what was spent with it, and what was done if that was too much."""
    return {
        "state": report.state,
        "instance_cost_usd": money(report.instance_cost_usd),
        "limit_usd": money(report.limit_usd),
        "today_cost_usd": money(report.today_cost_usd),
        "daily_limit_usd": money(report.daily_limit_usd),
        "alert_type": report.alert_type,
        "action_taken": report.action_taken,
        "message": report.message,
    }
