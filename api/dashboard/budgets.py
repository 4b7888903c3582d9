"""Budgets and what they have stopped, and the lines that were crossed."""

from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from math import floor
from typing import Annotated, Final

from fastapi import APIRouter, Query, Request
from markupsafe import Markup
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from api.dashboard.charts.bars import meter, share_of, tone_of
from api.dashboard.costs import TABS
from api.dashboard.forms import Form, build
from api.dashboard.links import with_query
from api.dashboard.rendering import see
from api.dashboard.visitors import FormDep, Visitor, VisitorDep
from api.deps import SessionsDep, SnapshotDep, Text
from api.pages import Cursor, decode_cursor, decode_numbered_cursor, encode_cursor
from api.routes import resuming
from api.routes.instances import owned_instance
from config.clock import utc_now
from domain.budgets import Action, Rule
from domain.costs import day_of, total_of
from domain.errors import DomainError
from storage.base import snapshot
from storage.budget_lists import BudgetStand, PausedInstance, list_account_cost_alerts, list_budgets, list_paused
from storage.prices import account_zone

router = APIRouter(include_in_schema=False)

PAGE: Final = 50
PAUSED: Final = 25
MAX_PLACE: Final = 1_000_000

_BUDGETS: Final = "/costs/budgets"
_ALERTS: Final = "/costs/alerts"

DONE: Final = {"resumed": "The run goes on: it takes pings again."}

ACTIONS: Final = {
    Action.ALERT: "Tells, and stops nothing",
    Action.PAUSE: "Pauses the run",
    Action.TERMINATE: "Ends the run",
}

RULES: Final = {
    Rule.THRESHOLD: "Warning",
    Rule.LIMIT: "Limit of a run",
    Rule.DAILY: "Limit of the day",
    Rule.ANOMALY: "Unusually dear",
    Rule.PINGS: "Too many pings",
    Rule.VISITS: "A stage too often",
}

TAKEN: Final = {
    Action.ALERT: ("warning", "Told"),
    Action.PAUSE: ("paused", "Paused"),
    Action.TERMINATE: ("terminated", "Ended"),
}


@dataclass(frozen=True)
class BudgetLine:
    """How one budget stands today."""

    stand: BudgetStand
    is_stopped: bool

    @property
    def today_usd(self) -> Decimal | None:
        known = [self.stand.today_usd] if self.stand.today_usd is not None else []
        return total_of(known, unpriced=self.stand.unpriced_pings)

    @property
    def share(self) -> float | None:
        return share_of(self.today_usd, self.stand.row.daily_limit_usd)

    @property
    def bar(self) -> Markup:
        return meter(self.share, tone_of(self.share))

    @property
    def words(self) -> str:
        """How much of the day's limit is used."""
        return f"{floor(self.share * 100):,} % used" if self.share is not None else "not known"

    @property
    def action(self) -> str:
        return ACTIONS[self.stand.row.budget().action]


@dataclass(frozen=True)
class _Refusal:
    """A form to resume an instance that was not taken."""

    instance_id: str
    form: Form
    error: DomainError


@router.get(_BUDGETS)
async def show_budgets(
    visitor: VisitorDep,
    session: SnapshotDep,
    cursor: Cursor = None,
    start: Annotated[int, Query(alias="from", ge=0, le=MAX_PLACE)] = 0,
) -> Response:
    return await _budgets(visitor, session, cursor, start)


@router.post(_BUDGETS + "/resume/{instance_id}")
async def resume(
    instance_id: Text, request: Request, visitor: VisitorDep, form: FormDep, sessions: SessionsDep
) -> Response:
    async with sessions() as session:
        await owned_instance(session, visitor.principal, instance_id)
    try:
        limit = (form.text("budget_limit_usd") or "").removeprefix("$").strip() or None
        body = build(resuming.Resumption, {"budget_limit_usd": limit})
        await resuming.resume(instance_id, request, sessions, visitor.principal, body)
    except DomainError as error:
        async with snapshot(sessions) as session:
            return await _budgets(visitor, session, None, 0, _Refusal(instance_id, form, error))
    return see(f"{_BUDGETS}?done=resumed")


async def _budgets(
    visitor: Visitor, session: AsyncSession, cursor: str | None, start: int, refusal: _Refusal | None = None
) -> Response:
    now, account_id = utc_now(), visitor.account.id
    zone = await account_zone(session, account_id)
    stands = await list_budgets(session, account_id, day_of(now, zone), now, limit=PAGE + 1, offset=start)
    paused = await list_paused(session, account_id, limit=PAUSED + 1, before=decode_cursor(cursor))
    return visitor.page(
        "costs/budgets.html",
        section="costs",
        live="account",
        done=DONE,
        error=refusal.error if refusal is not None else None,
        form=refusal.form if refusal is not None else None,
        refused_id=refusal.instance_id if refusal is not None else None,
        tabs=[(address, words, address == _BUDGETS) for address, words in TABS],
        zone=str(zone),
        lines=[BudgetLine(one, _is_stopped(one, now)) for one in stands[:PAGE]],
        paused=paused[:PAUSED],
        reason_of=_reason,
        next_paused=_paused_address(paused, start),
        first_paused=with_query(_BUDGETS, **_start(start)) if cursor else None,
        next=with_query(_BUDGETS, cursor=cursor, **_start(start + PAGE)) if len(stands) > PAGE else None,
        first=with_query(_BUDGETS, cursor=cursor) if start else None,
    )


def _is_stopped(stand: BudgetStand, now: datetime) -> bool:
    stop = stand.row.stop()
    return stop is not None and stand.row.enabled and now < stop.until


def _reason(one: PausedInstance) -> str:
    """Why it is paused, and since when is in its own page."""
    pauses = one.instance.pauses_made()
    return pauses[-1].reason if pauses else ""


def _start(start: int) -> dict[str, int]:
    return {"from": start} if start else {}


def _paused_address(paused: list[PausedInstance], start: int) -> str | None:
    if len(paused) <= PAUSED:
        return None
    last = paused[PAUSED - 1].instance
    return with_query(_BUDGETS, cursor=encode_cursor(last.opened_at, last.id), **_start(start))


@router.get(_ALERTS)
async def show_cost_alerts(visitor: VisitorDep, session: SnapshotDep, cursor: Cursor = None) -> Response:
    before = decode_numbered_cursor(cursor)
    rows = await list_account_cost_alerts(
        session,
        visitor.account.id,
        limit=PAGE + 1,
        before=before,
    )
    page = rows[:PAGE]
    last = page[-1][0] if len(rows) > PAGE else None
    return visitor.page(
        "costs/alerts.html",
        section="costs",
        live=None if cursor else "account",
        tabs=[(address, words, address == _ALERTS) for address, words in TABS],
        alerts=page,
        rules=RULES,
        taken=TAKEN,
        next=with_query(_ALERTS, cursor=encode_cursor(last.created_at, str(last.id))) if last is not None else None,
        first=_ALERTS if cursor else None,
    )
