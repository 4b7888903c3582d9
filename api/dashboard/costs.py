"""What everything costs: by day, model, workflow, agent and stage, as a plot with its numbers."""

from dataclasses import dataclass
from datetime import date
from decimal import Decimal
from typing import Annotated, Final, get_args
from urllib.parse import quote, urlencode

from fastapi import APIRouter, Query
from markupsafe import Markup
from starlette.responses import Response

from api.dashboard.charts import stacks
from api.dashboard.charts.bars import meter, share_of
from api.dashboard.charts.stacks import Bucket, Part, Series
from api.dashboard.links import with_query
from api.dashboard.visitors import VisitorDep
from api.deps import SnapshotDep, Text
from api.routes.costs import MAX_GROUPS, period_of
from config.clock import utc_now
from domain.costs import average, day_of, last_days, total_of
from domain.errors import DomainError
from storage.budget_lists import count_stops
from storage.cost_lists import DaySum, list_unpriced, read_instance_costs, sum_days
from storage.cost_reads import Group, GroupBy, Summary, Sums, sum_costs
from storage.prices import account_zone

router = APIRouter(include_in_schema=False)

ROWS: Final = 50
DEAREST: Final = 10
UNPRICED: Final = 20
PERIODS: Final = (7, 30, 90)
USUAL_DAYS: Final = 30

TABS: Final = (("/costs", "Costs"), ("/costs/budgets", "Budgets and breakers"), ("/costs/alerts", "Cost alerts"))

_COSTS: Final = "/costs"
_GROUPS: Final[tuple[GroupBy, ...]] = get_args(GroupBy)
_ORDER: Final[tuple[GroupBy, ...]] = ("day", "model", "workflow", "agent", "stage")
_NONE: Final = {
    "model": "No model named",
    "workflow": "Pulses and process hooks",
    "agent": "No agent named",
    "stage": "Pulses and process hooks",
}


@dataclass(frozen=True)
class Row:
    """One line of the table: a group, or the days of a bar. `series` is its place among the colours."""

    name: str
    sums: Sums
    share: float | None
    series: Series | None = None
    link: str | None = None

    @property
    def bar(self) -> Markup:
        return meter(self.share, self.series.tone if self.series is not None else "f-c1")


@dataclass(frozen=True)
class Figures:
    """What matters of a period. `per_instance` is of instances whose cost is known."""

    total_usd: Decimal | None
    per_day_usd: Decimal | None
    per_instance_usd: Decimal | None
    instances: int
    cached_share: float | None
    unpriced_share: float | None


@router.get(_COSTS)
async def show_costs(
    visitor: VisitorDep,
    session: SnapshotDep,
    group_by: Annotated[Text, Query(max_length=20)] = "day",
    days: Annotated[Text, Query(max_length=10)] = "",
    from_: Annotated[Text, Query(alias="from", max_length=30)] = "",
    to: Annotated[Text, Query(max_length=30)] = "",
) -> Response:
    account_id = visitor.account.id
    zone = await account_zone(session, account_id)
    today = day_of(utc_now(), zone)
    group: GroupBy = next((name for name in _GROUPS if name == group_by), "day")
    error = None
    length = int(days) if days in map(str, PERIODS) else None
    first, last = last_days(today, length or USUAL_DAYS)
    if length is None and (from_ or to):
        try:
            first, last = period_of(from_, to, today)
        except DomainError as caught:
            error = caught
    summary = await sum_costs(session, account_id, group, first, last, limit=MAX_GROUPS if group == "day" else ROWS)
    top = summary.groups[: stacks.MAX_SERIES] if group != "day" else []
    sums = await sum_days(session, account_id, group, first, last, top)
    series = _series(group, summary, top, sums)
    bars = stacks.buckets(first, last, _parts(sums, len(top)), len(series))
    instances = await read_instance_costs(session, account_id, first, last, limit=DEAREST)
    return visitor.page(
        "costs/report.html",
        section="costs",
        error=error,
        tabs=[(address, words, address == _COSTS) for address, words in TABS],
        group=group,
        groups=[(name, with_query(_COSTS, group_by=name, **_period(length, first, last))) for name in _ORDER],
        periods=[(one, with_query(_COSTS, group_by=group, days=one)) for one in PERIODS],
        days=length or (USUAL_DAYS if not (from_ or to) else None),
        first=first,
        last=last,
        zone=str(zone),
        csv=f"/api/costs?{urlencode({'group_by': group, 'from': str(first), 'to': str(last), 'format': 'csv'})}",
        total=summary.total,
        figures=_figures(summary.total, instances.cost_usd, instances.instances, first, min(last, today)),
        picture=stacks.draw(bars, series),
        series=series,
        bars=[bar for bar in bars if bar.pings],
        has_unpriced=any(bar.unpriced_pings for bar in bars),
        rows=_day_rows(bars, summary) if group == "day" else _rows(group, summary, series),
        rest=summary.rest,
        dearest=instances.dearest,
        unpriced=await list_unpriced(session, account_id, first, last, limit=UNPRICED),
        stops=await count_stops(session, account_id, utc_now()),
    )


def _period(length: int | None, first: date, last: date) -> dict[str, str]:
    return {"days": str(length)} if length is not None else {"from": str(first), "to": str(last)}


def _figures(total: Sums, of_instances: Decimal | None, instances: int, first: date, last: date) -> Figures:
    known = total_of([total.cost_usd], unpriced=total.unpriced_pings)
    return Figures(
        known,
        average(known, max(1, (last - first).days + 1)),
        average(of_instances, instances),
        instances,
        share_of(total.cached_tokens, total.input_tokens),
        share_of(total.unpriced_pings, total.pings),
    )


def _series(group: GroupBy, summary: Summary, top: list[Group], sums: list[DaySum]) -> list[Series]:
    if group == "day":
        return stacks.series_of(["All"], has_others=False)
    has_others = len(summary.groups) > len(top) or any(one.group is None for one in sums)
    return stacks.series_of([_name(group, one) for one in top], has_others=has_others)


def _parts(sums: list[DaySum], top: int) -> list[Part]:
    return [
        Part(one.day, top if one.group is None else one.group, one.cost_usd, one.pings, one.unpriced_pings)
        for one in sums
    ]


def _rows(group: GroupBy, summary: Summary, series: list[Series]) -> list[Row]:
    named = [one for one in series if one.letter != stacks.OTHERS]
    others = series[-1] if len(named) < len(series) else None
    return [
        Row(
            _name(group, one),
            one.sums,
            share_of(one.sums.cost_usd, summary.total.cost_usd),
            named[number] if number < len(named) else others,
            _link(one),
        )
        for number, one in enumerate(summary.groups)
    ]


def _day_rows(bars: list[Bucket], summary: Summary) -> list[Row]:
    """The latest first; each sum is of the days of one bar."""
    by_day = {group.common["day"]: group.sums for group in summary.groups}
    rows = []
    for bar in bars:
        sums = [one for day, one in by_day.items() if bar.first <= day <= bar.last]
        if sums:
            added = _added(sums)
            rows.append(Row(bar.label, added, share_of(added.cost_usd, summary.total.cost_usd)))
    return rows[::-1]


def _added(sums: list[Sums]) -> Sums:
    counts = {name: sum(getattr(one, name) for one in sums) for name in vars(sums[0]) if name != "cost_usd"}
    known = [one.cost_usd for one in sums if one.cost_usd is not None]
    return Sums(**counts, cost_usd=sum(known, Decimal(0)) if known else None)


def _name(group: GroupBy, one: Group) -> str:
    common = one.common
    if group == "workflow":
        return str(common["workflow_name"] or common["workflow_id"] or _NONE[group])
    if group == "stage":
        return f"{common['workflow_id']} / {common['stage_path']}" if common["workflow_id"] else _NONE[group]
    name = common["model_id" if group == "model" else "agent"]
    return str(name) if name is not None else _NONE[group]


def _link(one: Group) -> str | None:
    workflow_id = one.common.get("workflow_id")
    return f"/workflows/{quote(workflow_id, safe='')}" if workflow_id is not None else None
