"""What instances and workflows cost, and reports over everything."""

from datetime import date, timedelta
from typing import Annotated, Final, Literal

from fastapi import APIRouter, Query, Request, Response

from api.cost_views import (
    CostReport,
    InstanceCostView,
    WorkflowCostView,
    instance_cost_document,
    report_csv,
    report_document,
    workflow_cost_document,
)
from api.deps import PrincipalDep, SnapshotDep, Text
from api.openapi import JSON_API_ERRORS, Responses, problems
from api.routes.instances import owned_instance
from api.routes.workflows import owned_workflow
from api.timeline_views import answer
from config.clock import utc_now
from domain.costs import MAX_PERIOD_DAYS, day_of, last_days
from domain.errors import InvalidRequest, NotFound
from storage.cost_reads import GroupBy, read_instance_cost, read_workflow_cost, sum_costs
from storage.prices import account_zone
from storage.reservations import sum_held

router = APIRouter(prefix="/api", tags=["costs"])

DEFAULT_DAYS: Final = 30
FIRST_YEAR: Final = 2000
DEFAULT_GROUPS: Final = 1_000
MAX_GROUPS: Final = 10_000
MAX_PINGS: Final = 2**31 - 1

_NO_INSTANCE: Final = NotFound("There is no instance dabc45678.")
_NO_WORKFLOW: Final = NotFound("There is no workflow nightly_etl.")
_NO_DAY: Final = InvalidRequest.of_field("from", "must be a day such as 2026-03-01")

_CSV: Final = "text/csv"
_INSTANCE: Final[Responses] = {200: {"model": InstanceCostView}}
_WORKFLOW: Final[Responses] = {200: {"model": WorkflowCostView}}
_REPORT: Final[Responses] = {200: {"model": CostReport, "content": {_CSV: {"schema": {"type": "string"}}}}}

Day = Annotated[str | None, Query(max_length=10, json_schema_extra={"format": "date"})]


@router.get(
    "/instances/{instance_id}/cost",
    responses=_INSTANCE | problems(*JSON_API_ERRORS, _NO_INSTANCE),
)
async def read_cost_of_instance(
    instance_id: Text,
    session: SnapshotDep,
    principal: PrincipalDep,
    start: Annotated[int, Query(alias="from", ge=0, le=MAX_PINGS, description="The first ping; from 0.")] = 0,
    limit: Annotated[int, Query(ge=1, le=10_000, description="How many pings at most.")] = 1_000,
) -> Response:
    """What an instance costs, ping by ping. A fork costs nothing for what it has inherited."""
    instance = await owned_instance(session, principal, instance_id)
    cost = await read_instance_cost(session, instance.id, start=start, limit=limit)
    held_usd = await sum_held(session, instance.workflow_id, utc_now(), instance_id=instance.id)
    return answer(instance_cost_document(instance.id, cost, held_usd, start))


@router.get(
    "/workflows/{workflow_id}/cost",
    responses=_WORKFLOW | problems(*JSON_API_ERRORS, _NO_WORKFLOW),
)
async def read_cost_of_workflow(
    workflow_id: Text,
    session: SnapshotDep,
    principal: PrincipalDep,
    days: Annotated[int, Query(ge=1, le=MAX_PERIOD_DAYS, description="How many days, today the last of them.")] = 7,
) -> Response:
    """What a workflow costs: pings of the last days, in the account's time zone."""
    workflow = await owned_workflow(session, principal, workflow_id)
    today = day_of(utc_now(), await account_zone(session, principal.account_id))
    cost = await read_workflow_cost(session, workflow.id, *last_days(today, days))
    return answer(workflow_cost_document(cost, days))


@router.get("/costs", responses=_REPORT | problems(*JSON_API_ERRORS, _NO_DAY))
async def report_costs(
    request: Request,
    session: SnapshotDep,
    principal: PrincipalDep,
    group_by: GroupBy = "day",
    from_: Annotated[Day, Query(alias="from", description="The first day; 30 days in all if left out.")] = None,
    to: Annotated[Day, Query(description="The last day; today if left out.")] = None,
    limit: Annotated[
        int | None,
        Query(ge=1, le=MAX_GROUPS, description="How many groups at most: 1,000 if left out, days and CSV 10,000."),
    ] = None,
    format_: Annotated[
        Literal["json", "csv"] | None, Query(alias="format", description="CSV also with `Accept: text/csv`.")
    ] = None,
) -> Response:
    """What everything costs, by day, workflow, model, agent or stage. Days are those of the account's time zone."""
    zone = await account_zone(session, principal.account_id)
    first, last = period_of(from_, to, day_of(utc_now(), zone))
    is_csv = format_ == "csv" or (format_ is None and _CSV in request.headers.get("accept", ""))
    limit = limit or (MAX_GROUPS if is_csv or group_by == "day" else DEFAULT_GROUPS)
    summary = await sum_costs(session, principal.account_id, group_by, first, last, limit=limit)
    if is_csv:
        name = f"costs-by-{group_by}-{first}-{last}.csv"
        headers = {"Content-Disposition": f'attachment; filename="{name}"', "Vary": "Accept"}
        return Response(report_csv(summary, group_by), media_type=_CSV, headers=headers)
    return answer(report_document(summary, group_by, first, last, zone))


def period_of(from_: str | None, to: str | None, today: date) -> tuple[date, date]:
    """The first and the last day. Raises InvalidRequest."""
    last = _day("to", to) if to else today
    first = _day("from", from_) if from_ else last_days(last, DEFAULT_DAYS)[0]
    if not timedelta(0) <= last - first < timedelta(days=MAX_PERIOD_DAYS):
        raise InvalidRequest.of_field("from", f"must not be after `to`, nor {MAX_PERIOD_DAYS} days or more before it")
    return first, last


def _day(field: str, value: str) -> date:
    try:
        day = date.fromisoformat(value)
        if day.year < FIRST_YEAR or len(value) != len("2026-03-01"):
            raise ValueError
    except ValueError:
        raise InvalidRequest.of_field(field, "must be a day such as 2026-03-01") from None
    return day
