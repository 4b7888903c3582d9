"""`/settings/prices`: what models cost, where the account knows better."""

from datetime import date, datetime, time, timedelta
from importlib.metadata import version
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import Request
from starlette.responses import Response

from api.dashboard.forms import Form, build
from api.dashboard.rendering import see
from api.dashboard.visitors import FormDep, Visitor, VisitorDep
from api.deps import SessionsDep, SnapshotDep, Text
from api.routes.prices import PriceInput, remove, set_own
from config.clock import utc_now
from domain.costs import day_of, zone_of
from domain.errors import DomainError
from domain.prices import Priced, price
from domain.usage import MAX_MODEL_TEXT, Usage
from storage.base import snapshot
from storage.prices import PriceRow, list_prices, list_unpriced

router = APIRouter(include_in_schema=False)

UNPRICED_DAYS: Final = 30
MAX_UNPRICED: Final = 20
PAGE: Final = 50

_MILLION: Final = 1_000_000
_RATES: Final = ("input_per_million", "output_per_million", "cached_per_million")
_DONE: Final = {
    "set": "The price holds for pings that come from now on.",
    "replaced": "The price was replaced. It holds for pings that come from now on.",
    "removed": "The price was removed. Pings that come from now on are priced without it.",
}

ModelText = Annotated[Text, Query(max_length=MAX_MODEL_TEXT)]


@router.get("/settings/prices")
async def show_prices(
    visitor: VisitorDep,
    session: SnapshotDep,
    model: ModelText = "",
    look_up: ModelText = "",
    edit: Annotated[Text, Query(max_length=100)] = "",
    page: Annotated[int, Query(ge=1, le=1000)] = 1,
) -> Response:
    """`model` and `edit`, the id of a price, fill the form; `look_up` is a model whose price is asked for."""
    return await _page(visitor, session, model=model, look_up=look_up, edit=edit, page=page)


@router.post("/settings/prices")
async def set_price(request: Request, visitor: VisitorDep, form: FormDep, sessions: SessionsDep) -> Response:
    try:
        body = build(
            PriceInput,
            {
                "model": form.text("model") or "",
                "input_per_million": form.text("input_per_million") or "",
                "output_per_million": form.text("output_per_million") or "",
                "cached_per_million": form.text("cached_per_million"),
                "valid_from": _beginning(form.text("valid_from"), visitor.account.time_zone),
            },
        )
        answer = await set_own(body, request, sessions, visitor.principal)
    except DomainError as error:
        async with snapshot(sessions) as session:
            return await _page(visitor, session, form=form, error=error)
    return see(f"/settings/prices?done={'set' if answer.status_code == 201 else 'replaced'}")


@router.post("/settings/prices/{price_id}/remove")
async def remove_price(
    price_id: Text, request: Request, visitor: VisitorDep, form: FormDep, sessions: SessionsDep
) -> Response:
    await remove(price_id, request, sessions, visitor.principal)
    return see("/settings/prices?done=removed")


async def _page(
    visitor: Visitor,
    session: AsyncSession,
    *,
    model: str = "",
    look_up: str = "",
    edit: str = "",
    page: int = 1,
    form: Form | None = None,
    error: DomainError | None = None,
) -> Response:
    account = visitor.account
    rows = await list_prices(session, account.id)
    zone = zone_of(account.time_zone)
    since = day_of(utc_now(), zone) - timedelta(days=UNPRICED_DAYS)
    edited = next((row for row in rows if row.id == edit), None)
    start = (page - 1) * PAGE
    return visitor.page(
        "settings/prices.html",
        section="settings",
        done=_DONE,
        form=form,
        error=error,
        prices=rows[start : start + PAGE],
        next_page=page + 1 if len(rows) > start + PAGE else None,
        page=page,
        total=len(rows),
        given=_given(form, edited, model, account.time_zone),
        edited=edited,
        unpriced=await list_unpriced(session, account.id, since, limit=MAX_UNPRICED),
        unpriced_days=UNPRICED_DAYS,
        look_up=look_up,
        found=_look_up(look_up, rows) if look_up else None,
        table_version=version("genai-prices"),
        zone=zone,
        zone_name=account.time_zone,
    )


def _given(form: Form | None, edited: PriceRow | None, model: str, zone_name: str) -> dict[str, Any]:
    """What stands in the form."""
    if form:
        return {name: form.get(name) for name in ("model", *_RATES, "valid_from")}
    if edited is None:
        return {"model": model, **dict.fromkeys(_RATES, ""), "valid_from": ""}
    rates = {name: getattr(edited, name) for name in _RATES}
    begins = edited.valid_from
    return {
        "model": edited.model,
        **{name: "" if rate is None else f"{rate.normalize():f}" for name, rate in rates.items()},
        "valid_from": begins.astimezone(zone_of(zone_name)).date().isoformat() if begins is not None else "",
    }


def _beginning(day: str | None, zone_name: str) -> str | datetime | None:
    """Midnight of a day in the account's zone; what is no day is for the API to refuse."""
    try:
        return datetime.combine(date.fromisoformat(day), time(), zone_of(zone_name)) if day else None
    except ValueError:
        return day


def _look_up(model: str, rows: list[PriceRow]) -> tuple[Priced, Priced]:
    """What a million tokens would cost now, in and out."""
    own, now = [row.own_price() for row in rows], utc_now()
    return (
        price(model, Usage(input_tokens=_MILLION), now, own=own),
        price(model, Usage(output_tokens=_MILLION), now, own=own),
    )
