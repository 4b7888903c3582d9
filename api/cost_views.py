"""What pings cost, as the API shows it."""

import csv
from collections.abc import Mapping
from dataclasses import asdict, fields
from datetime import date, datetime, tzinfo
from decimal import Decimal
from io import StringIO
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field

from api.timeline_views import Money, money
from api.views import in_utc
from domain.costs import average, total_of
from storage.cost_reads import GROUPED_BY, GroupBy, InstancePings, PingCost, Summary, Sums, WorkflowCost

FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r", "\n")
"""A cell that begins so, spreadsheets may run instead of showing it."""

REST: Final = "(rest)"

Unpriced = Annotated[
    int, Field(ge=0, description="Pings that reported a model or tokens, but nobody knows what they cost.")
]
Known = Annotated[Money | None, Field(description="As far as it is known; null if nothing of it is.")]
Tokens = Annotated[int, Field(ge=0, description="As far as they were reported.")]


class CostedInstance(BaseModel):
    id: str
    cost_usd: Money


class WorkflowCostView(BaseModel):
    model_config = ConfigDict(extra="forbid")

    total_cost_usd: Known
    today_cost_usd: Known
    average_cost_per_instance_usd: Money | None = Field(description="Of `instance_count`; to 12 decimals.")
    instance_count: int = Field(description="Instances with pings in the period whose cost is known.")
    most_expensive_instance: CostedInstance | None = Field(description="By its pings in the period.")
    period_days: int = Field(description="Days of the account's time zone, today the last of them.")
    unpriced_pings: Unpriced


class PingCostView(BaseModel):
    model_config = ConfigDict(extra="forbid")

    stage_path: str
    model_id: str | None
    agent_code: str | None
    input_tokens: int | None = Field(description="Those read from a cache, and written to it, included.")
    output_tokens: int | None = Field(description="Those of reasoning included.")
    cached_tokens: int | None
    cache_write_tokens: int | None
    reasoning_tokens: int | None
    cost_usd: Money | None
    cost_source: Literal["caller", "own", "table", "unpriced"] = Field(
        description="Whose word the cost is: the ping's, that of the account's own prices, or of the built-in table."
    )
    price_version: str | None = Field(description="Of which table, or the account's price itself.")
    executed_at: datetime


class InstanceCostView(BaseModel):
    model_config = ConfigDict(extra="forbid")

    instance_id: str
    total_cost_usd: Known
    unpriced_pings: Unpriced
    held_usd: Money = Field(description="Set aside by its reservations, and not spent yet.")
    breakdown: list[PingCostView] = Field(description="Its accepted pings that say anything of costs, in order.")
    next_from: int | None = Field(description="`from` of the next page.")


class SumsView(BaseModel):
    model_config = ConfigDict(extra="forbid")

    pings: int = Field(description="That say anything of costs.")
    unpriced_pings: Unpriced
    input_tokens: Tokens
    output_tokens: Tokens
    cached_tokens: Tokens
    cache_write_tokens: Tokens
    reasoning_tokens: Tokens
    cost_usd: Known


class GroupView(SumsView):
    day: date | None = Field(None, description="If grouped by day: days without pings are left out.")
    workflow_id: str | None = Field(
        None, description="If grouped by workflow or stage; null for pings of pulses and process hooks."
    )
    workflow_name: str | None = Field(None, description="If grouped by workflow.")
    model_id: str | None = Field(None, description="If grouped by model; null for pings that named none.")
    agent: str | None = Field(None, description="If grouped by agent; null for pings that named none.")
    stage_path: str | None = Field(None, description="If grouped by stage.")


class CostReport(BaseModel):
    model_config = ConfigDict(extra="forbid")

    group_by: GroupBy
    from_: date = Field(alias="from")
    to: date
    time_zone: str = Field(description="Of the account: its days are counted.")
    total: SumsView
    groups: list[GroupView] = Field(description="Days in order, all others the dearest first.")
    rest: SumsView | None = Field(description="All groups beyond `limit` together; null if there are none.")


def workflow_cost_document(cost: WorkflowCost, days: int) -> dict[str, Any]:
    """As WorkflowCostView describes it."""
    dearest = {"id": cost.dearest_id, "cost_usd": money(cost.dearest_cost_usd)} if cost.dearest_id else None
    return {
        "total_cost_usd": money(total_of([cost.cost_usd], unpriced=cost.unpriced_pings)),
        "today_cost_usd": money(total_of([cost.cost_today_usd], unpriced=cost.unpriced_today)),
        "average_cost_per_instance_usd": money(average(cost.cost_usd, cost.instances)),
        "instance_count": cost.instances,
        "most_expensive_instance": dearest,
        "period_days": days,
        "unpriced_pings": cost.unpriced_pings,
    }


def instance_cost_document(instance_id: str, cost: InstancePings, held_usd: Decimal, start: int) -> dict[str, Any]:
    """As InstanceCostView describes it."""
    end = start + len(cost.listed)
    return {
        "instance_id": instance_id,
        "total_cost_usd": money(total_of([cost.cost_usd], unpriced=cost.unpriced_pings)),
        "unpriced_pings": cost.unpriced_pings,
        "held_usd": money(held_usd),
        "breakdown": [_ping(ping) for ping in cost.listed],
        "next_from": end if cost.listed and end < cost.pings else None,
    }


def _ping(ping: PingCost) -> dict[str, Any]:
    return {**asdict(ping), "cost_usd": money(ping.cost_usd), "executed_at": in_utc(ping.executed_at)}


def report_document(summary: Summary, group_by: GroupBy, first: date, last: date, zone: tzinfo) -> dict[str, Any]:
    """As CostReport describes it."""
    total, rest = summary.total, summary.rest
    known = total_of([total.cost_usd], unpriced=total.unpriced_pings)
    return {
        "group_by": group_by,
        "from": first,
        "to": last,
        "time_zone": str(zone),
        "total": {**_sums(total), "cost_usd": money(known)},
        "groups": [{**group.common, **_sums(group.sums)} for group in summary.groups],
        "rest": _sums(rest) if rest is not None else None,
    }


def report_csv(summary: Summary, group_by: GroupBy) -> str:
    """A line for each group, under a line of names, and at the end one for the rest, if there is one. Costs that are
    not known are empty."""
    text = StringIO()
    writer = csv.writer(text)
    names = GROUPED_BY[group_by]
    writer.writerow([*names, *(field.name for field in fields(Sums))])
    for group in summary.groups:
        writer.writerow([*map(_cell, group.common.values()), *_counts(group.sums)])
    if (rest := summary.rest) is not None:
        writer.writerow([REST, *[""] * (len(names) - 1), *_counts(rest)])
    return text.getvalue()


def _cell(value: object) -> object:
    """What a caller has chosen, such as an agent's name, is text and nothing else."""
    return f"'{value}" if isinstance(value, str) and value.startswith(FORMULA_STARTS) else value


def _counts(sums: Sums) -> list[object]:
    return [f"{value:f}" if isinstance(value, Decimal) else value for value in vars(sums).values()]


def _sums(sums: Sums) -> Mapping[str, Any]:
    return {**asdict(sums), "cost_usd": money(sums.cost_usd)}
