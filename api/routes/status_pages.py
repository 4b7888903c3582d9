"""Status pages: what an account shows to everybody, and what everybody gets."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncSession

from api.deps import LimiterDep, PrincipalDep, SessionDep, SessionsDep, SettingsDep, Text
from api.openapi import JSON_API_ERRORS, PUBLIC, problems
from api.security import Limiter
from api.security.auditing import note
from api.status_views import FRESH_SECONDS, MISSING, Status, StatusPages, StatusView, status_view
from api.views import in_utc
from config.clock import utc_now
from domain.errors import Conflict, InvalidRequest, NotFound, RateLimited, Unavailable
from domain.status_pages import (
    MAX_COMPONENTS,
    MAX_NOTE,
    MAX_PAGE_SLUG,
    MAX_SHOWN_NAME,
    MAX_TITLE,
    PAGE_SLUG_PATTERN,
    Component,
    ComponentKind,
    check_components,
    is_page_slug,
)
from storage.accounts import get_account
from storage.base import Sessions, transaction
from storage.status_pages import existing, get_status_page, keep_status_page

router = APIRouter(tags=["status pages"])

PUBLIC_HEADERS: Final = {"Cache-Control": f"public, max-age={FRESH_SECONDS}", "Access-Control-Allow-Origin": "*"}

_TAKEN: Final = Conflict("The address /status/acme is taken. Choose another slug.")
_MANY: Final = RateLimited("More than 60 requests for this page a minute. Try again in 17 s.", retry_after=17)
_AWAY: Final = Unavailable("The database cannot be reached just now.", retry_after=2)


class ComponentModel(BaseModel):
    """One line of the page. Nobody but the account's own people learns the id."""

    model_config = ConfigDict(extra="forbid")

    kind: ComponentKind
    id: Annotated[Text, Field(min_length=1, max_length=128)]
    name: Annotated[Text, Field(min_length=1, max_length=MAX_SHOWN_NAME)] = Field(
        description="As it is shown to everybody."
    )


class StatusPageInput(BaseModel):
    model_config = ConfigDict(extra="forbid")

    slug: Annotated[Text, Field(min_length=1, max_length=MAX_PAGE_SLUG, pattern=PAGE_SLUG_PATTERN)] = Field(
        description="The page is at /status/{slug}."
    )
    title: Annotated[Text, Field(min_length=1, max_length=MAX_TITLE)]
    note: Annotated[Text, Field(max_length=MAX_NOTE)] | None = Field(None, description="Plain text, shown at the top.")
    public: bool = Field(False, description="Whether everybody can read it.")
    components: Annotated[list[ComponentModel], Field(max_length=MAX_COMPONENTS)] = Field(
        default=[], description="What is on it, in this order."
    )


class StatusPageSettings(BaseModel):
    slug: str | None = Field(description="Null until it is set up.")
    title: str
    note: str | None
    public: bool
    components: list[ComponentModel] = Field(description="Without what was deleted.")
    url: str | None
    json_url: str | None
    updated_at: datetime | None


@router.get("/api/account/status-page", responses=problems(*JSON_API_ERRORS))
async def read_settings(session: SessionDep, principal: PrincipalDep, settings: SettingsDep) -> StatusPageSettings:
    """What is on the account's status page, and whether it is public."""
    return await settings_of(session, principal.account_id, settings.base_url)


@router.put("/api/account/status-page", responses=problems(*JSON_API_ERRORS, _TAKEN))
async def set_up(
    body: StatusPageInput, request: Request, sessions: SessionsDep, principal: PrincipalDep, settings: SettingsDep
) -> StatusPageSettings:
    """Sets up the status page as a whole. Other gateways show the change within half a minute."""
    components = [Component(item.kind, item.id, item.name) for item in body.components]
    check_components(components)
    async with transaction(sessions) as session:
        await get_account(session, principal.account_id, lock=True)
        before = await get_status_page(session, principal.account_id)
        old_slug = before.slug if before is not None else body.slug
        await _check_existing(session, principal.account_id, components)
        await keep_status_page(
            session,
            principal.account_id,
            slug=body.slug,
            title=body.title,
            note=body.note or None,
            is_public=body.public,
            components=components,
            now=utc_now(),
        )
        public = "yes" if body.public else "no"
        note(session, request, principal, "status_page.changed", None, name=body.title, slug=body.slug, public=public)
        after = await settings_of(session, principal.account_id, settings.base_url)
    pages: StatusPages = request.app.state.status_pages
    pages.forget(old_slug, body.slug)
    return after


@router.get(
    "/status/{slug}.json",
    openapi_extra=PUBLIC,
    responses=problems(InvalidRequest.of_field("slug", "is too long"), MISSING, _MANY, _AWAY),
)
async def read_public(
    slug: Text, request: Request, response: Response, sessions: SessionsDep, limiter: LimiterDep
) -> StatusView:
    """A public status page as data, for everybody."""
    status = await read_for_everybody(slug, request, sessions, limiter)
    response.headers.update(PUBLIC_HEADERS)
    return status_view(status)


async def read_for_everybody(slug: str, request: Request, sessions: Sessions, limiter: Limiter) -> Status:
    """Counts who asks: each page by itself, and all those together that are not there. Raises NotFound, RateLimited."""
    pages: StatusPages = request.app.state.status_pages
    if not is_page_slug(slug):
        raise MISSING
    limiter.hit_page(request.scope, f"status/{slug}", None)
    try:
        return await pages.read(sessions, slug)
    except NotFound:
        limiter.hit_page(request.scope, "status", None)
        raise


async def settings_of(session: AsyncSession, account_id: str, base_url: str) -> StatusPageSettings:
    page = await get_status_page(session, account_id)
    if page is None:
        account = await get_account(session, account_id)
        nothing: dict[str, Any] = dict.fromkeys(("slug", "note", "url", "json_url", "updated_at"))
        return StatusPageSettings(**nothing, title=account.name[:MAX_TITLE], public=False, components=[])
    there = await existing(session, account_id, page.shown())
    return StatusPageSettings(
        slug=page.slug,
        title=page.title,
        note=page.note,
        public=page.is_public,
        components=[
            ComponentModel(kind=item.kind, id=item.id, name=item.name) for item in page.shown() if item in there
        ],
        url=f"{base_url}/status/{page.slug}",
        json_url=f"{base_url}/status/{page.slug}.json",
        updated_at=in_utc(page.updated_at),
    )


async def _check_existing(session: AsyncSession, account_id: str, components: Sequence[Component]) -> None:
    there = await existing(session, account_id, components)
    for number, component in enumerate(components):
        if component not in there:
            kind = component.kind.replace("_", " ")
            raise InvalidRequest.of_field(f"components.{number}.id", f"is no {kind} of this account")
