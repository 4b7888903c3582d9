"""Workflows at a glance: their last runs, and what these add up to."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final, Literal

from sqlalchemy import exists, func, select, text, tuple_
from sqlalchemy.dialects.postgresql import distinct_on
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased

from domain.alerts import Severity
from domain.instances import FINISHED, InstanceStatus
from domain.pings import Outcome
from domain.workflows import WorkflowKind
from storage.alerts import AlertRow
from storage.costs import InstanceCost
from storage.instances import Instance
from storage.pings import Ping
from storage.workflows import Workflow

STRIP_RUNS: Final = 30
JUDGED_RUNS: Final = 100
"""By the newest of them, as far as they are over, the success rate and the median duration go."""

COUNTED_REJECTIONS: Final = 100
NEVER_RUN: Final = "never"

LastRun = InstanceStatus | Literal["never"]


@dataclass(frozen=True)
class Run:
    """`seconds` is None while it is open, and where nobody has said when it began."""

    instance_id: str
    status: InstanceStatus
    started_at: datetime
    seconds: float | None


@dataclass(frozen=True)
class Overview:
    """`runs` are the newest, the oldest of them first; `finished` and `completed` count JUDGED_RUNS. The median is of
    those that were completed. `open_runs` are not over; `cost_usd` is what is known of the days asked for."""

    runs: tuple[Run, ...]
    finished: int
    completed: int
    median_seconds: float | None
    open_runs: int
    cost_usd: Decimal | None

    @property
    def success(self) -> float | None:
        """The share of the finished ones that were completed; None without any."""
        return self.completed / self.finished if self.finished else None

    @property
    def last_run(self) -> Run | None:
        return self.runs[-1] if self.runs else None


# What a caller says of its own run goes before what we saw of it. A run that was reported with its end alone has no
# duration that anybody knows.
_STARTED_AT: Final = "coalesce(started_at, ended_at, opened_at)"
_SECONDS: Final = """extract(epoch FROM CASE
    WHEN ended_at >= started_at THEN ended_at - started_at
    WHEN ended_at IS NULL AND completed_at >= coalesce(started_at, opened_at)
        THEN completed_at - coalesce(started_at, opened_at)
    WHEN started_at IS NOT NULL OR ended_at IS NULL THEN interval '0'
END)::float8"""
_IS_FINISHED: Final = "status IN ('{}')".format("', '".join(sorted(FINISHED)))

_OVERVIEWS: Final = text(f"""
SELECT wanted.id, judged.*, still.open_runs, spent.cost_usd
FROM unnest(CAST(:workflow_ids AS text[])) AS wanted (id)
CROSS JOIN LATERAL (
    SELECT
        count(*) FILTER (WHERE {_IS_FINISHED}) AS finished,
        count(*) FILTER (WHERE status = 'completed') AS completed,
        percentile_cont(0.5) WITHIN GROUP (ORDER BY seconds) FILTER (WHERE status = 'completed') AS median_seconds,
        json_agg(json_build_array(id, status, started_at, seconds) ORDER BY number DESC)
            FILTER (WHERE number <= :strip) AS runs
    FROM (
        SELECT
            id, status, {_STARTED_AT} AS started_at,
            CASE WHEN {_IS_FINISHED} THEN {_SECONDS} END AS seconds,
            row_number() OVER (ORDER BY opened_at DESC, id DESC) AS number
        FROM instances WHERE workflow_id = wanted.id ORDER BY opened_at DESC, id DESC LIMIT :judged
    ) AS newest
) AS judged
CROSS JOIN LATERAL (
    SELECT count(*) AS open_runs FROM instances WHERE workflow_id = wanted.id AND closes_at IS NULL
) AS still
CROSS JOIN LATERAL (
    SELECT sum(cost_usd) AS cost_usd FROM workflow_costs
    WHERE workflow_id = wanted.id AND day BETWEEN :first AND :last
) AS spent
""")


async def read_overviews(
    session: AsyncSession, workflow_ids: Collection[str], first: date, last: date
) -> dict[str, Overview]:
    """By workflow; costs are of the days from `first` to `last`."""
    values = {"workflow_ids": list(workflow_ids), "first": first, "last": last}
    rows = await session.execute(_OVERVIEWS, {**values, "strip": STRIP_RUNS, "judged": JUDGED_RUNS})
    return {row["id"]: _overview(row) for row in rows.mappings()}


def _overview(row: Mapping[Any, Any]) -> Overview:
    return Overview(
        tuple(
            Run(id_, InstanceStatus(status), datetime.fromisoformat(started_at), seconds)
            for id_, status, started_at, seconds in row["runs"] or ()
        ),
        row["finished"],
        row["completed"],
        row["median_seconds"],
        row["open_runs"],
        row["cost_usd"],
    )


async def find_listed(
    session: AsyncSession,
    account_id: str,
    *,
    limit: int,
    before: tuple[datetime, str] | None = None,
    name: str | None = None,
    kind: WorkflowKind | None = None,
    tag: str | None = None,
    last_run: LastRun | None = None,
) -> list[Workflow]:
    """The account's workflows, the newest first; `before` as in `list_workflows`. `name` is a part of the name, the id
    or the slug; `last_run` how the newest instance stands."""
    query = select(Workflow).where(Workflow.account_id == account_id, Workflow.deleted_at.is_(None))
    if name is not None:
        columns = (Workflow.name, Workflow.id, Workflow.slug)
        query = query.where(func.concat_ws(" ", *columns).icontains(name, autoescape=True))
    if kind is not None:
        query = query.where(Workflow.kind == kind)
    if tag is not None:
        query = query.where(Workflow.tags.contains([tag]))
    if last_run is not None:
        newest = (
            select(Instance.status)
            .where(Instance.workflow_id == Workflow.id)
            .order_by(Instance.opened_at.desc(), Instance.id.desc())
            .limit(1)
            .scalar_subquery()
        )
        query = query.where(newest.is_(None) if last_run == NEVER_RUN else newest == last_run)
    if before is not None:
        query = query.where(tuple_(Workflow.created_at, Workflow.id) < before)
    query = query.order_by(Workflow.created_at.desc(), Workflow.id.desc()).limit(limit)
    return list(await session.scalars(query))


async def list_tags(session: AsyncSession, account_id: str, limit: int = 200) -> list[str]:
    """Those that the account's workflows have, in the order of the alphabet."""
    tags = (
        select(func.jsonb_array_elements_text(Workflow.tags).label("tag"))
        .where(Workflow.account_id == account_id, Workflow.deleted_at.is_(None))
        .distinct()
        .subquery()
    )
    return list(await session.scalars(select(tags.c.tag).order_by(func.lower(tags.c.tag), tags.c.tag).limit(limit)))


@dataclass(frozen=True)
class ListedRun:
    """An instance in a list. `cost_usd` is what is known of it, `unpriced_pings` come on top."""

    instance: Instance
    started_at: datetime
    seconds: float | None
    cost_usd: Decimal | None
    unpriced_pings: int


async def list_runs(
    session: AsyncSession,
    workflow_id: str,
    *,
    limit: int,
    before: tuple[datetime, str] | None = None,
    statuses: Collection[InstanceStatus] = (),
    opened_from: datetime | None = None,
    opened_until: datetime | None = None,
) -> list[ListedRun]:
    """The instances of a workflow as recorded, newest first, opened at `opened_from` or later and before
    `opened_until`; `before` is the opening time and id of the last one of the page before."""
    query = select(Instance).where(Instance.workflow_id == workflow_id)
    if statuses:
        query = query.where(Instance.status.in_([status.value for status in statuses]))
    if opened_from is not None:
        query = query.where(Instance.opened_at >= opened_from)
    if opened_until is not None:
        query = query.where(Instance.opened_at < opened_until)
    if before is not None:
        query = query.where(tuple_(Instance.opened_at, Instance.id) < before)
    query = query.order_by(Instance.opened_at.desc(), Instance.id.desc()).limit(limit)
    rows = list(await session.scalars(query))
    costs = await _costs_of(session, [row.id for row in rows])
    return [
        ListedRun(
            row,
            row.started_at or row.ended_at or row.opened_at,
            duration_of(row),
            *costs.get(row.id, (None, 0)),
        )
        for row in rows
    ]


def duration_of(row: Instance) -> float | None:
    """How long it took, as in the overview; None while it is open."""
    if row.ended_at is not None:
        seconds = (row.ended_at - row.started_at).total_seconds() if row.started_at is not None else None
    elif row.completed_at is not None:
        seconds = (row.completed_at - (row.started_at or row.opened_at)).total_seconds()
    else:
        seconds = None
    is_known = seconds is not None and InstanceStatus(row.status) in FINISHED
    return max(0.0, seconds) if is_known and seconds is not None else None


async def _costs_of(session: AsyncSession, instance_ids: Sequence[str]) -> dict[str, tuple[Decimal | None, int]]:
    if not instance_ids:
        return {}
    query = (
        select(InstanceCost.instance_id, func.sum(InstanceCost.cost_usd), func.sum(InstanceCost.unpriced_pings))
        .where(InstanceCost.instance_id.in_(instance_ids))
        .group_by(InstanceCost.instance_id)
    )
    return {row[0]: (row[1], int(row[2])) for row in await session.execute(query)}


@dataclass(frozen=True)
class OpenCosts:
    """What the open instances of a workflow have cost so far: all of them, and the dearest."""

    instances: int
    cost_usd: Decimal | None
    dearest: list[tuple[Instance, Decimal]]


async def read_open_costs(session: AsyncSession, workflow_id: str, limit: int) -> OpenCosts:
    cost = func.sum(InstanceCost.cost_usd)
    by_instance = (
        select(InstanceCost.instance_id, cost.label("cost"))
        .join(Instance, Instance.id == InstanceCost.instance_id)
        .where(Instance.workflow_id == workflow_id, Instance.closes_at.is_(None))
        .group_by(InstanceCost.instance_id)
        .having(cost.is_not(None))
        .cte("by_instance")
    )
    total = (await session.execute(select(func.count(), func.sum(by_instance.c.cost)).select_from(by_instance))).one()
    dearest = (
        select(Instance, by_instance.c.cost)
        .join(by_instance, by_instance.c.instance_id == Instance.id)
        .order_by(by_instance.c.cost.desc(), Instance.id)
        .limit(limit)
    )
    rows = (await session.execute(dearest)).all() if total[0] else []
    return OpenCosts(total[0], total[1], [(row[0], row[1]) for row in rows])


async def count_rejected(session: AsyncSession, workflow_id: str) -> int:
    """How long the failed queue is; COUNTED_REJECTIONS if that or more."""
    rejected = select(Ping.id).where(Ping.workflow_id == workflow_id, Ping.outcome == Outcome.REJECTED)
    some = rejected.limit(COUNTED_REJECTIONS).subquery()
    return await session.scalar(select(func.count()).select_from(some)) or 0


async def list_open_troubles(
    session: AsyncSession, account_id: str, sources: Collection[str], since: datetime, limit: int
) -> list[AlertRow]:
    """The newest alert of each trouble since then that has not come to a good end; the newest first."""
    good_end = aliased(AlertRow)
    has_ended = exists().where(
        good_end.account_id == account_id, good_end.trouble == AlertRow.trouble, good_end.resolves
    )
    newest = (
        select(AlertRow)
        .where(
            AlertRow.account_id == account_id,
            AlertRow.created_at >= since,
            AlertRow.source.in_(sources),
            AlertRow.resolves.is_(False),
            AlertRow.severity != Severity.INFO.value,
            ~has_ended,
        )
        .ext(distinct_on(AlertRow.trouble))
        .order_by(AlertRow.trouble, AlertRow.created_at.desc(), AlertRow.id.desc())
        .subquery()
    )
    row = aliased(AlertRow, newest)
    return list(await session.scalars(select(row).order_by(row.created_at.desc(), row.id.desc()).limit(limit)))
