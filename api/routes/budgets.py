"""What workflows may cost, and what was told of it."""

from datetime import timedelta
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request, Response
from sqlalchemy.ext.asyncio import AsyncSession

from api.budget_input import BudgetInput, ExactRoute, changed_budget
from api.budget_views import BudgetView, CostAlertList, budget_document, cost_alert_document
from api.deps import PrincipalDep, SessionsDep, SnapshotDep, Text
from api.openapi import JSON_API_ERRORS, Responses, problems
from api.pages import Cursor, Limit, decode_numbered_cursor, encode_cursor
from api.routes.workflows import owned_workflow
from api.security.auditing import note
from api.timeline_views import answer
from config.clock import utc_now
from domain.costs import MAX_PERIOD_DAYS, day_of, end_of, last_days
from domain.errors import InvalidRequest, NotFound
from storage.base import transaction
from storage.budgets import BudgetRow, get_budget, lock_budget, set_budget
from storage.cost_alerts import list_cost_alerts
from storage.cost_reads import read_workflow_cost
from storage.prices import account_zone
from storage.reservations import sum_held
from storage.workflows import Workflow

router = APIRouter(prefix="/api/workflows/{workflow_id}", tags=["costs"], route_class=ExactRoute)


_NO_WORKFLOW: Final = NotFound("There is no workflow nightly_etl.")
_WRONG_ORDER: Final = InvalidRequest.of_field("budget_alert_threshold_usd", "must be below budget_limit_usd, 100")

_BUDGET: Final[Responses] = {200: {"model": BudgetView}}
_ALERTS: Final[Responses] = {200: {"model": CostAlertList}}


@router.get("/budget", responses=_BUDGET | problems(*JSON_API_ERRORS, _NO_WORKFLOW))
async def read_budget(workflow_id: Text, session: SnapshotDep, principal: PrincipalDep) -> Response:
    """What a workflow may cost, and what it has cost today. One that has no budget is shown one that is not enabled."""
    workflow = await owned_workflow(session, principal, workflow_id)
    return await _answer(session, workflow, await get_budget(session, workflow.id))


@router.put("/budget", responses=_BUDGET | problems(*JSON_API_ERRORS, _WRONG_ORDER, _NO_WORKFLOW))
@router.post("/budget", responses=_BUDGET | problems(*JSON_API_ERRORS, _WRONG_ORDER, _NO_WORKFLOW))
async def change_budget(
    workflow_id: Text, body: BudgetInput, sessions: SessionsDep, principal: PrincipalDep, request: Request
) -> Response:
    """Changes what the body names; null clears. The first request enables the budget, unless it says otherwise. It
    holds from the next ping on, of open instances too."""
    async with transaction(sessions) as session:
        workflow = await owned_workflow(session, principal, workflow_id)
        budget = changed_budget(await lock_budget(session, workflow.id, utc_now()), body)
        row = await set_budget(session, workflow, budget, utc_now())
        sent = body.model_dump(exclude_unset=True, mode="json")
        note(session, request, principal, "budget.changed", f"workflow/{workflow.id}", name=workflow.name, sent=sent)
        return await _answer(session, workflow, row)


@router.get("/cost-alerts", responses=_ALERTS | problems(*JSON_API_ERRORS, _NO_WORKFLOW))
async def read_cost_alerts(
    workflow_id: Text,
    session: SnapshotDep,
    principal: PrincipalDep,
    days: Annotated[int, Query(ge=1, le=MAX_PERIOD_DAYS, description="How many days, today the last of them.")] = 7,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """The lines that a workflow's instances have crossed, the newest first. Each is told once."""
    workflow = await owned_workflow(session, principal, workflow_id)
    zone = await account_zone(session, principal.account_id)
    first, _ = last_days(day_of(utc_now(), zone), days)
    before = decode_numbered_cursor(cursor)
    rows = await list_cost_alerts(
        session,
        workflow.id,
        end_of(first - timedelta(days=1), zone),
        limit=limit + 1,
        before=before,
    )
    page = rows[:limit]
    cursor = encode_cursor(page[-1].created_at, str(page[-1].id)) if len(rows) > limit else None
    return answer({"alerts": [cost_alert_document(row) for row in page], "next_cursor": cursor})


async def _answer(session: AsyncSession, workflow: Workflow, row: BudgetRow | None) -> Response:
    now = utc_now()
    today = day_of(now, await account_zone(session, workflow.account_id))
    cost = await read_workflow_cost(session, workflow.id, today, today)
    return answer(budget_document(workflow.id, row, cost, await sum_held(session, workflow.id, now), now))
