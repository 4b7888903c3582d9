"""The public status page as outsiders get it: built once in half a minute, for everybody."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from time import monotonic
from typing import Final, Literal

from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncSession

from api.pulse_views import current_states
from api.views import in_utc
from config.clock import utc_now
from domain.errors import NotFound
from domain.maintenance import end_of_window
from domain.status_pages import (
    DAYS,
    Component,
    ComponentKind,
    Health,
    health_of_instance,
    health_of_pulse,
    health_of_run,
    in_words,
    overall,
)
from domain.uptime import DayUptime, latest_days
from storage.accounts import Account, get_account
from storage.base import Sessions, snapshot
from storage.pulses import definition_of
from storage.status_pages import (
    DayOfRuns,
    StatusPage,
    days_of_runs,
    existing,
    find_public,
    latest_ends,
    latest_runs,
    load_pulses,
)
from storage.uptime import daily_uptime

FRESH_SECONDS: Final = 30

_HOOK: Final = ComponentKind.PROCESS_HOOK
_FLOW: Final = ComponentKind.WORKFLOW

MISSING: Final = NotFound("There is no status page at this address.")

Days = Sequence[DayUptime] | Sequence[DayOfRuns]


@dataclass(frozen=True)
class Line:
    """One component with how it stands and what its days were."""

    name: str
    kind: ComponentKind
    health: Health
    days: Days


@dataclass(frozen=True)
class Status:
    """All that the page tells."""

    title: str
    note: str | None
    zone_name: str
    at: datetime
    lines: Sequence[Line]

    @property
    def health(self) -> Health:
        return overall(line.health for line in self.lines)

    @property
    def words(self) -> str:
        return in_words([line.health for line in self.lines])


class DayView(BaseModel):
    day: date
    share: float | None = Field(
        description="From 0 to 1: of the time in which it was up or down or, of jobs, of the runs that ended. "
        "Null if there was none."
    )


class ComponentView(BaseModel):
    name: str
    status: Health
    measure: Literal["uptime", "successes"] = Field(description="What the days are shares of.")
    days: list[DayView] = Field(description=f"The last {DAYS} days, the oldest first.")


class StatusView(BaseModel):
    title: str
    note: str | None
    status: Health = Field(description="The worst of the components that count.")
    summary: str = Field(examples=["Everything works"])
    time_zone: str = Field(description="By whose days it counts.")
    updated_at: datetime
    components: list[ComponentView]


class StatusPages:
    """Public pages of this process, each for FRESH_SECONDS. They are built one at a time, so that however many look,
    one connection to the database is all that they take."""

    def __init__(self) -> None:
        self._built: dict[str, tuple[float, Status]] = {}
        self._building = asyncio.Lock()

    async def read(self, sessions: Sessions, slug: str) -> Status:
        """Raises NotFound if there is none that is public."""
        if (fresh := self._fresh(slug)) is not None:
            return fresh
        async with self._building:
            if (fresh := self._fresh(slug)) is not None:
                return fresh
            self._built.pop(slug, None)
            async with snapshot(sessions) as session:
                page = await find_public(session, slug)
                if page is None:
                    raise MISSING
                status = await read_status(session, page, await get_account(session, page.account_id))
            self._built[slug] = monotonic() + FRESH_SECONDS, status
            return status

    def forget(self, *slugs: str) -> None:
        """They were changed: here, that shows at once."""
        for slug in slugs:
            self._built.pop(slug, None)

    def _fresh(self, slug: str) -> Status | None:
        until, status = self._built.get(slug, (0.0, None))
        return status if until > monotonic() else None


@dataclass
class _Standing:
    """By component's id."""

    healths: dict[str, Health] = field(default_factory=dict)
    days: dict[str, Days] = field(default_factory=dict)


async def read_status(session: AsyncSession, page: StatusPage, account: Account) -> Status:
    """What was deleted meanwhile is left out."""
    now = utc_now()
    there = await existing(session, account.id, page.shown())
    shown = [component for component in page.shown() if component in there]
    by_kind = {kind: [one.id for one in shown if one.kind is kind] for kind in ComponentKind}
    standings = {
        ComponentKind.PULSE: await _pulses(session, account, by_kind[ComponentKind.PULSE], now),
        _HOOK: await _jobs(session, account, _HOOK, by_kind[_HOOK], now),
        _FLOW: await _jobs(session, account, _FLOW, by_kind[_FLOW], now),
    }
    lines = [_line(component, standings[component.kind]) for component in shown]
    return Status(page.title, page.note, account.time_zone, now, lines)


def _line(component: Component, standing: _Standing) -> Line:
    health = standing.healths.get(component.id, Health.UNKNOWN)
    return Line(component.name, component.kind, health, standing.days.get(component.id, ()))


async def _pulses(session: AsyncSession, account: Account, ids: list[str], now: datetime) -> _Standing:
    rows = await load_pulses(session, account.id, ids)
    states = await current_states(session, rows)
    standing = _Standing(days=dict(await daily_uptime(session, ids, now, account.time_zone, DAYS)) if ids else {})
    for row in rows:
        in_maintenance = end_of_window(definition_of(row).maintenance, now) is not None
        standing.healths[row.id] = health_of_pulse(states[row.id].status, in_maintenance=in_maintenance)
    return standing


async def _jobs(
    session: AsyncSession,
    account: Account,
    kind: ComponentKind,
    ids: list[str],
    now: datetime,
) -> _Standing:
    if not ids:
        return _Standing()
    if kind is ComponentKind.PROCESS_HOOK:
        healths = {id_: health_of_run(status) for id_, status in (await latest_runs(session, ids)).items()}
    else:
        healths = {id_: health_of_instance(status) for id_, status in (await latest_ends(session, ids)).items()}
    days, _ = latest_days(now, account.time_zone, DAYS)
    return _Standing(healths, dict(await days_of_runs(session, kind, ids, days, account.time_zone)))


def status_view(status: Status) -> StatusView:
    return StatusView(
        title=status.title,
        note=status.note,
        status=status.health,
        summary=status.words,
        time_zone=status.zone_name,
        updated_at=in_utc(status.at),
        components=[
            ComponentView(
                name=line.name,
                status=line.health,
                measure="uptime" if line.kind is ComponentKind.PULSE else "successes",
                days=[DayView(day=day.day, share=day.share) for day in line.days],
            )
            for line in status.lines
        ],
    )
