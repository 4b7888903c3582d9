"""The page of a workflow's budget: what it may cost, what it has cost, and which lines were crossed."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import timedelta
from decimal import Decimal
from typing import Any, Final

from fastapi import APIRouter
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from api.budget_input import BudgetInput, budget_fields
from api.dashboard.forms import Form, as_of, build, check_as_of
from api.dashboard.links import with_query
from api.dashboard.rendering import see
from api.dashboard.visitors import FormDep, Visitor, VisitorDep
from api.dashboard.workflow_form import at_its_field
from api.deps import SessionsDep, SnapshotDep, Text
from api.pages import Cursor, decode_numbered_cursor, encode_cursor
from api.routes import budgets, workflows
from config.clock import utc_now
from domain.budgets import Action, Budget, Rule, limit_of
from domain.costs import day_of, end_of
from domain.errors import Conflict, DomainError
from storage.base import snapshot
from storage.budgets import BudgetRow, get_budget
from storage.cost_alerts import list_cost_alerts
from storage.cost_reads import read_workflow_cost
from storage.prices import account_zone
from storage.reservations import sum_held
from storage.workflow_overview import read_open_costs

router = APIRouter(include_in_schema=False)

PAGE: Final = 25
SHOWN_RUNS: Final = 8
CROSSING_DAYS: Final = 90

AMOUNTS: Final = (
    *("budget_limit_usd", "budget_alert_threshold_usd", "budget_daily_limit_usd"),
    *("cost_anomaly_multiplier", "cost_anomaly_floor_usd"),
)
COUNTS: Final = ("max_pings_per_instance", "max_visits_per_stage")
TICKS: Final = ("budget_enabled", "cost_anomaly_detection")

RULES: Final[Mapping[str, str]] = {
    Rule.THRESHOLD: "Near the limit of a run",
    Rule.LIMIT: "Limit of a run",
    Rule.DAILY: "Limit of a day",
    Rule.ANOMALY: "Costs unusually much",
    Rule.PINGS: "Too many pings",
    Rule.VISITS: "Too often at one stage",
}
ACTIONS: Final[Mapping[str, str]] = {
    Action.ALERT: "told",
    Action.PAUSE: "told, run paused",
    Action.TERMINATE: "told, run ended",
}

_DONE: Final = {
    "changed": "The budget was saved. It holds from the next ping on, of open runs too.",
    "removed": "The budget was removed. Nothing limits this workflow any more.",
}
_UNSET: Final = Budget(enabled=False)


@dataclass(frozen=True)
class Gauge:
    """How much of a limit is spent; `share` is None without a limit."""

    spent_usd: Decimal | None
    limit_usd: Decimal | None

    @property
    def share(self) -> float | None:
        return float((self.spent_usd or 0) / self.limit_usd) if self.limit_usd else None

    @property
    def tone(self) -> str:
        share = self.share or 0.0
        return "bad" if share > 1 else "warn" if share >= 0.8 else "good"


@router.get("/workflows/{workflow_id}/budget")
async def show_budget(workflow_id: Text, visitor: VisitorDep, session: SnapshotDep, cursor: Cursor = None) -> Response:
    return await _page(session, visitor, workflow_id, cursor)


@router.post("/workflows/{workflow_id}/budget")
async def change(workflow_id: Text, visitor: VisitorDep, form: FormDep, sessions: SessionsDep) -> Response:
    async with snapshot(sessions) as session:
        view = await workflows.read_workflow(workflow_id, session, visitor.principal, visitor.request)
        present = as_of(texts_of(await get_budget(session, view.id)))
    try:
        check_as_of(form, present)
        body = build(BudgetInput, values_of(form))
        await budgets.change_budget(workflow_id, body, sessions, visitor.principal, visitor.request)
    except DomainError as error:
        if not error.fields and not isinstance(error, Conflict):
            raise
        async with snapshot(sessions) as session:
            return await _page(session, visitor, workflow_id, None, error, form)
    return see(f"/workflows/{workflow_id}/budget?done=changed")


@router.post("/workflows/{workflow_id}/budget/remove")
async def remove(workflow_id: Text, visitor: VisitorDep, form: FormDep, sessions: SessionsDep) -> Response:
    """As if there had never been one; what it has told stays."""
    cleared = dict.fromkeys((*AMOUNTS, *COUNTS, "resume_approvers"))
    values = {**cleared, **dict.fromkeys(TICKS, False), "budget_action": Action.ALERT}
    await budgets.change_budget(workflow_id, build(BudgetInput, values), sessions, visitor.principal, visitor.request)
    return see(f"/workflows/{workflow_id}/budget?done=removed")


_WHOLE: Final = re.compile(r"\d{1,18}", re.ASCII)


def values_of(form: Form) -> dict[str, Any]:
    """All of a budget, as the JSON API takes it: amounts stay texts, so that no digit is lost."""
    values: dict[str, Any] = {name: form.ticked(name) for name in TICKS}
    values |= {name: (form.text(name) or "").removeprefix("$").strip() or None for name in AMOUNTS}
    for name in COUNTS:
        text = form.text(name)
        values[name] = int(text) if text is not None and _WHOLE.fullmatch(text) else text
    return values | {
        "budget_action": form.get("budget_action") or Action.ALERT,
        "resume_approvers": form.words("resume_approvers") or None,
    }


def texts_of(row: BudgetRow | None) -> dict[str, Any]:
    """What the fields show: the budget exactly as it is. Where none is, one that is enabled by being saved."""
    budget = row.budget() if row is not None else _UNSET
    has_one = budget != _UNSET
    fields = budget_fields(budget)
    texts: dict[str, Any] = {name: _text(fields[name]) for name in (*AMOUNTS, *COUNTS)}
    texts |= {"budget_enabled": budget.enabled or not has_one, "cost_anomaly_detection": budget.anomaly_detection}
    return texts | {"budget_action": budget.action.value, "resume_approvers": "\n".join(budget.approvers)}


def _text(value: Decimal | int | None) -> str:
    return "" if value is None else f"{value:f}" if isinstance(value, Decimal) else str(value)


async def _page(
    session: AsyncSession,
    visitor: Visitor,
    workflow_id: str,
    cursor: str | None,
    error: DomainError | None = None,
    form: Form | None = None,
) -> Response:
    view = await workflows.read_workflow(workflow_id, session, visitor.principal, visitor.request)
    now = utc_now()
    zone = await account_zone(session, visitor.account.id)
    today = day_of(now, zone)
    row = await get_budget(session, view.id)
    budget = row.budget() if row is not None else _UNSET
    cost = await read_workflow_cost(session, view.id, today, today)
    opened = await read_open_costs(session, view.id, SHOWN_RUNS)
    since = end_of(today - timedelta(days=CROSSING_DAYS), zone)
    rows = await list_cost_alerts(session, view.id, since, limit=PAGE + 1, before=decode_numbered_cursor(cursor))
    page = rows[:PAGE]
    address = f"/workflows/{view.id}/budget"
    more = encode_cursor(page[-1].created_at, str(page[-1].id)) if len(rows) > PAGE else None
    stop = row.stop() if row is not None else None
    texts = texts_of(row)
    filled_from = as_of(texts)
    if form:
        texts = {name: form.ticked(name) if name in TICKS else form.get(name) for name in texts}
    return visitor.page(
        "workflows/budget.html",
        section="workflows",
        live=f"instance/{view.id}/",
        done=_DONE,
        error=at_its_field(error) if error is not None else None,
        form=form,
        workflow=view,
        budget=budget,
        has_budget=budget != _UNSET,
        day=Gauge(cost.cost_today_usd, budget.daily_limit_usd if budget.enabled else None),
        unpriced_today=cost.unpriced_today,
        held_usd=await sum_held(session, view.id, now),
        opened=opened,
        gauges=[
            (one, Gauge(spent, limit_of(budget, one.budget_limit_usd) if budget.enabled else None))
            for one, spent in opened.dearest
        ],
        stop=stop if stop is not None and budget.enabled and now < stop.until else None,
        texts=texts,
        as_of=filled_from,
        crossings=page,
        crossing_days=CROSSING_DAYS,
        rules=RULES,
        actions=ACTIONS,
        zone=visitor.account.time_zone,
        next=with_query(address, cursor=more) if more else None,
        first=address if cursor else None,
    )
