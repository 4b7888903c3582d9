"""Public status pages: what is on each, and how that stands."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Final

from sqlalchemy import ForeignKey, case, func, literal, or_, select, text, union_all
from sqlalchemy.dialects.postgresql import JSONB, insert
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import Mapped, mapped_column

from domain.errors import Conflict
from domain.forks import Origin
from domain.instances import FINISHED
from domain.processes import RunStatus
from domain.status_pages import Component, ComponentKind
from storage.accounts import Account
from storage.base import Base
from storage.instances import Instance
from storage.processes import ProcessHook, ProcessRun
from storage.pulses import Pulse
from storage.workflows import Workflow

MOST_RUNS: Final = 10_000
"""Of one workflow or hook, that are looked at for its days: of busier ones, fewer days are known."""

_TABLES: Final[dict[ComponentKind, type[Pulse] | type[ProcessHook] | type[Workflow]]] = {
    ComponentKind.PULSE: Pulse,
    ComponentKind.PROCESS_HOOK: ProcessHook,
    ComponentKind.WORKFLOW: Workflow,
}


class StatusPage(Base):
    """The page of an account. `components` are `domain.status_pages.Component`, in the order of the page."""

    __tablename__ = "status_pages"

    account_id: Mapped[str] = mapped_column(ForeignKey(Account.id, ondelete="CASCADE"), primary_key=True)
    slug: Mapped[str] = mapped_column(unique=True)
    title: Mapped[str]
    note: Mapped[str | None]
    is_public: Mapped[bool]
    components: Mapped[list[dict[str, Any]]] = mapped_column(JSONB)
    updated_at: Mapped[datetime]

    def shown(self) -> list[Component]:
        return [Component(ComponentKind(item["kind"]), item["id"], item["name"]) for item in self.components]


@dataclass(frozen=True)
class DayOfRuns:
    """How many runs ended on a day, and how many of them well."""

    day: date
    good: int = 0
    all: int = 0

    @property
    def share(self) -> float | None:
        return self.good / self.all if self.all else None


async def get_status_page(session: AsyncSession, account_id: str) -> StatusPage | None:
    return await session.get(StatusPage, account_id, populate_existing=True)


async def find_public(session: AsyncSession, slug: str) -> StatusPage | None:
    page: StatusPage | None = await session.scalar(
        select(StatusPage).where(StatusPage.slug == slug, StatusPage.is_public)
    )
    return page


async def keep_status_page(
    session: AsyncSession,
    account_id: str,
    *,
    slug: str,
    title: str,
    note: str | None,
    is_public: bool,
    components: Sequence[Component],
    now: datetime,
) -> None:
    """Raises Conflict if another account has the slug."""
    values = {
        "slug": slug,
        "title": title,
        "note": note,
        "is_public": is_public,
        "components": [asdict(component) for component in components],
        "updated_at": now,
    }
    statement = insert(StatusPage).values(account_id=account_id, **values)
    try:
        async with session.begin_nested():
            await session.execute(statement.on_conflict_do_update(index_elements=["account_id"], set_=values))
    except IntegrityError:
        raise Conflict(f"The address /status/{slug} is taken. Choose another slug.") from None


async def existing(session: AsyncSession, account_id: str, components: Collection[Component]) -> set[Component]:
    """Those that are the account's, and not deleted."""
    found: set[Component] = set()
    for kind, table in _TABLES.items():
        wanted = {component.id: component for component in components if component.kind is kind}
        if wanted:
            query = select(table.id).where(
                table.id.in_(wanted), table.account_id == account_id, table.deleted_at.is_(None)
            )
            found.update(wanted[id_] for id_ in await session.scalars(query))
    return found


async def list_candidates(
    session: AsyncSession, account_id: str, *, name_part: str | None, limit: int
) -> tuple[list[Component], bool]:
    """What could be on the page, by kind and name; and whether there is more than that."""
    queries = []
    for number, (kind, table) in enumerate(_TABLES.items()):
        query = select(
            literal(number).label("number"), literal(kind.value).label("kind"), table.id, table.name, table.slug
        ).where(table.account_id == account_id, table.deleted_at.is_(None))
        if name_part:
            query = query.where(or_(*(c.icontains(name_part, autoescape=True) for c in (table.name, table.slug))))
        queries.append(query)
    every = union_all(*queries).subquery()
    shown_name = case((every.c.name != "", every.c.name), else_=every.c.slug)
    ordered = (
        select(every.c.kind, every.c.id, shown_name)
        .order_by(every.c.number, func.lower(shown_name), every.c.id)
        .limit(limit + 1)
    )
    rows = [Component(ComponentKind(row[0]), row[1], row[2]) for row in await session.execute(ordered)]
    return rows[:limit], len(rows) > limit


async def load_pulses(session: AsyncSession, account_id: str, pulse_ids: Collection[str]) -> list[Pulse]:
    query = select(Pulse).where(Pulse.id.in_(pulse_ids), Pulse.account_id == account_id, Pulse.deleted_at.is_(None))
    return list((await session.scalars(query)).all())


async def latest_runs(session: AsyncSession, hook_ids: Collection[str]) -> dict[str, str]:
    """By hook, the status of the latest run that is over or overdue; of the latest at all if none is."""
    is_running = ProcessRun.status == RunStatus.RUNNING.value
    latest = (
        select(ProcessRun.status)
        .where(ProcessRun.hook_id == ProcessHook.id)
        .order_by(ProcessRun.started_at.desc(), ProcessRun.id.desc())
        .limit(1)
    )
    told = latest.where(~is_running).scalar_subquery()
    query = select(ProcessHook.id, func.coalesce(told, latest.scalar_subquery())).where(ProcessHook.id.in_(hook_ids))
    return {row[0]: row[1] for row in await session.execute(query) if row[1] is not None}


async def latest_ends(session: AsyncSession, workflow_ids: Collection[str]) -> dict[str, str]:
    """By workflow, the status of the instance that finished last. Forks and reruns are for looking into things."""
    latest = (
        select(Instance.status)
        .where(
            Instance.workflow_id == Workflow.id,
            Instance.closes_at.is_not(None),
            Instance.status.in_([status.value for status in FINISHED]),
            or_(Instance.origin.is_(None), Instance.origin == Origin.EXTERNAL),
        )
        .order_by(Instance.closes_at.desc())
        .limit(1)
        .scalar_subquery()
    )
    query = select(Workflow.id, latest).where(Workflow.id.in_(workflow_ids))
    return {row[0]: row[1] for row in await session.execute(query) if row[1] is not None}


_INSTANCES: Final = """
SELECT completed_at AS at, status = 'completed' AS is_good FROM instances
WHERE workflow_id = wanted.id AND closes_at >= :since AND status IN ('completed', 'failed')
  AND (origin IS NULL OR origin = 'external')
ORDER BY closes_at DESC LIMIT :most
"""
_RUNS: Final = """
SELECT finished_at AS at, status = 'finished' AS is_good FROM process_runs
WHERE hook_id = wanted.id AND started_at >= :since AND finished_at IS NOT NULL
ORDER BY started_at DESC LIMIT :most
"""


async def days_of_runs(
    session: AsyncSession, kind: ComponentKind, ids: Collection[str], days: Sequence[date], timezone: str
) -> dict[str, list[DayOfRuns]]:
    """By workflow or process hook, how the runs ended on each of the days, which are in order and without gaps."""
    if not ids:
        return {}
    runs = _RUNS if kind is ComponentKind.PROCESS_HOOK else _INSTANCES
    rows = await session.execute(
        text(
            "SELECT wanted.id, CAST(run.at AT TIME ZONE :zone AS date), count(*) FILTER (WHERE is_good), count(*) "
            f"FROM unnest(CAST(:ids AS text[])) AS wanted (id) CROSS JOIN LATERAL ({runs}) run GROUP BY 1, 2"
        ),
        {
            "ids": list(ids),
            "zone": timezone,
            # A day earlier than any zone would have it; other days than those asked for are left out below.
            "since": datetime(days[0].year, days[0].month, days[0].day, tzinfo=UTC) - timedelta(days=1),
            "most": MOST_RUNS,
        },
    )
    counted = {(id_, day): DayOfRuns(day, good, count) for id_, day, good, count in rows}
    return {id_: [counted.get((id_, day), DayOfRuns(day)) for day in days] for id_ in ids}
