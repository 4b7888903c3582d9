"""`/settings/status`: what is on the public status page. `/status/<slug>`: the page itself, for everybody."""

import re
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import Request
from starlette.responses import Response

from api.dashboard.charts.successes import success_bars, success_of
from api.dashboard.charts.uptime import uptime_bars
from api.dashboard.forms import Form, build
from api.dashboard.rendering import render, see
from api.dashboard.visitors import FormDep, Visitor, VisitorDep
from api.deps import LimiterDep, SessionsDep, SettingsDep, SnapshotDep, Text
from api.routes.status_pages import (
    PUBLIC_HEADERS,
    ComponentModel,
    StatusPageInput,
    StatusPageSettings,
    read_for_everybody,
    set_up,
    settings_of,
)
from api.status_views import MISSING, Line, Status, read_status
from domain.errors import DomainError
from domain.slugs import slug_of
from domain.status_pages import DAYS, MAX_COMPONENTS, MAX_PAGE_SLUG, ComponentKind
from domain.uptime import DayUptime, share_of
from storage.base import snapshot
from storage.status_pages import DayOfRuns, get_status_page, list_candidates

router = APIRouter(include_in_schema=False)

MAX_LISTED: Final = 70
"""Things that may be put on the page, beside those that are on it. A form has room for all their fields."""

KINDS: Final = {
    ComponentKind.PULSE: "Pulse",
    ComponentKind.PROCESS_HOOK: "Process hook",
    ComponentKind.WORKFLOW: "Workflow",
}
_DONE: Final = {"saved": "The status page was saved."}

NamePart = Annotated[Text, Query(max_length=200)]


@dataclass(frozen=True)
class Choice:
    """One thing in the form. `shown` is its name on the page, `position` where it stands there."""

    kind: str
    id: str
    own_name: str
    shown: str
    is_on: bool
    position: str

    @property
    def key(self) -> str:
        return f"{self.kind}/{self.id}"


@router.get("/settings/status")
async def show_settings(visitor: VisitorDep, session: SnapshotDep, settings: SettingsDep, q: NamePart = "") -> Response:
    """`q` is part of the name of things to put on it."""
    return await _settings(visitor, session, await _kept(session, visitor, settings.base_url), name_part=q.strip())


@router.post("/settings/status")
async def save(
    request: Request, visitor: VisitorDep, form: FormDep, sessions: SessionsDep, settings: SettingsDep
) -> Response:
    chosen = _chosen(form)
    try:
        body = build(
            StatusPageInput,
            {
                "slug": form.text("slug") or "",
                "title": form.text("title") or "",
                "note": form.text("note"),
                "public": form.ticked("public"),
                "components": [{"kind": one.kind, "id": one.id, "name": one.shown} for one in chosen],
            },
        )
        await set_up(body, request, sessions, visitor.principal, settings)
    except DomainError as error:
        async with snapshot(sessions) as session:
            kept = await _kept(session, visitor, settings.base_url)
            return await _settings(visitor, session, kept, form=form, error=error)
    return see("/settings/status?done=saved")


@router.get("/settings/status/preview")
async def preview(visitor: VisitorDep, session: SnapshotDep) -> Response:
    """As everybody would see it, for those who are logged in."""
    page = await get_status_page(session, visitor.account.id)
    if page is None:
        raise MISSING
    return _page(await read_status(session, page, visitor.account), preview=not page.is_public)


@router.get("/status/{slug}")
async def show(slug: Text, request: Request, sessions: SessionsDep, limiter: LimiterDep) -> Response:
    """No login, no cookies, no scripts."""
    status = await read_for_everybody(slug, request, sessions, limiter)
    return _page(status, headers={"Cache-Control": PUBLIC_HEADERS["Cache-Control"]}, slug=slug)


def _page(status: Status, *, headers: dict[str, str] | None = None, **values: Any) -> Response:
    return render(
        "status/public.html",
        headers=headers,
        page=status,
        days=DAYS,
        bars=_bars,
        share=_share,
        **{"preview": False, "slug": None, **values},
    )


def _bars(line: Line) -> str:
    if line.kind is ComponentKind.PULSE:
        return uptime_bars([day for day in line.days if isinstance(day, DayUptime)], line.name)
    return success_bars([day for day in line.days if isinstance(day, DayOfRuns)], line.name)


def _share(line: Line) -> float | None:
    if line.kind is ComponentKind.PULSE:
        return share_of(day for day in line.days if isinstance(day, DayUptime))
    return success_of([day for day in line.days if isinstance(day, DayOfRuns)])


_NUMBER: Final = re.compile(r"\d{1,6}", re.ASCII)


def _chosen(form: Form) -> list[Choice]:
    """What was ticked, by its number; what has none, or the same, in the order of the form."""
    chosen = []
    for key in form.all("component"):
        kind, _, id_ = key.partition("/")
        shown, position = form.get(f"shown {key}").strip(), form.get(f"position {key}").strip()
        chosen.append(Choice(kind, id_, "", shown or form.get(f"own {key}"), True, position))
    return sorted(chosen, key=lambda one: int(one.position) if _NUMBER.fullmatch(one.position) else MAX_COMPONENTS + 1)


async def _kept(session: AsyncSession, visitor: Visitor, base_url: str) -> StatusPageSettings:
    return await settings_of(session, visitor.account.id, base_url)


async def _settings(
    visitor: Visitor,
    session: AsyncSession,
    page: StatusPageSettings,
    *,
    name_part: str = "",
    form: Form | None = None,
    error: DomainError | None = None,
) -> Response:
    found, has_more = await list_candidates(session, visitor.account.id, name_part=name_part or None, limit=MAX_LISTED)
    own_names = {(one.kind.value, one.id): one.name for one in found}
    on = _chosen(form) if form else _on(page.components)
    on_keys = {one.key for one in on}
    choices = [
        *(
            Choice(one.kind, one.id, own_names.get((one.kind, one.id), one.shown), one.shown, True, str(number))
            for number, one in enumerate(on, start=1)
        ),
        *(
            choice
            for choice in (Choice(one.kind.value, one.id, one.name, "", False, "") for one in found)
            if choice.key not in on_keys
        ),
    ]
    return visitor.page(
        "settings/status.html",
        section="settings",
        done=_DONE,
        form=form,
        error=error,
        page=page,
        choices=choices,
        kinds={kind.value: words for kind, words in KINDS.items()},
        name_part=name_part,
        has_more=has_more,
        is_public=form.ticked("public") if form else page.public,
        slug=form.get("slug") if form else page.slug or slug_of(visitor.account.name, "status")[:MAX_PAGE_SLUG],
    )


def _on(components: list[ComponentModel]) -> list[Choice]:
    return [Choice(one.kind.value, one.id, "", one.name, True, "") for one in components]
