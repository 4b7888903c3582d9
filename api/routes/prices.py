"""An account's own prices for models."""

from datetime import datetime
from decimal import Decimal
from typing import Annotated, Any, Final

from fastapi import APIRouter, Request, Response
from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from api.budget_input import ExactRoute
from api.deps import PrincipalDep, SessionDep, SessionsDep, Text
from api.gateway import Gateway
from api.openapi import JSON_API_ERRORS, Responses, problems
from api.security import ensure_owner
from api.security.auditing import note
from api.timeline_views import Money, answer, money
from api.views import in_utc
from config.clock import utc_now
from domain.errors import Conflict, InvalidRequest, NotFound
from domain.prices import MAX_PRICE_DECIMALS, MAX_PRICE_PER_MILLION, OwnPrice
from domain.usage import MAX_MODEL_TEXT
from storage.base import transaction
from storage.prices import MAX_PRICES, PriceRow, get_price, list_prices, set_price

router = APIRouter(prefix="/api/prices", tags=["costs"], route_class=ExactRoute)

FIRST_YEAR, LAST_YEAR = 2000, 9000

# Normalized, because zeros at the end are no decimals too many.
Rate = Annotated[
    Decimal,
    Field(
        ge=0,
        le=MAX_PRICE_PER_MILLION,
        description=f"US dollars for a million tokens, with at most {MAX_PRICE_DECIMALS} decimals.",
    ),
    AfterValidator(Decimal.normalize),
]

_MISSING: Final = NotFound("There is no price with this id.")
_TOO_MANY: Final = Conflict(f"An account may have {MAX_PRICES} prices.")


class PriceInput(BaseModel):
    model_config = ConfigDict(extra="forbid", protected_namespaces=())

    model: Annotated[
        Text,
        Field(
            min_length=1,
            max_length=MAX_MODEL_TEXT,
            description="As pings name it, in any case of letters; a star at its end stands for any ending.",
        ),
    ]
    input_per_million: Rate
    output_per_million: Rate
    cached_per_million: Rate | None = Field(None, description="If left out, cached tokens cost what others do.")
    valid_from: AwareDatetime | None = Field(None, description="From ever if left out.")


class PriceView(BaseModel):
    model_config = ConfigDict(extra="forbid")

    id: str
    model: str
    input_per_million: Money
    output_per_million: Money
    cached_per_million: Money | None
    valid_from: datetime | None
    created_at: datetime = Field(description="When it was set, or replaced.")


class PriceList(BaseModel):
    prices: list[PriceView]


_LIST: Final[Responses] = {200: {"model": PriceList}}
_SET: Final[Responses] = {200: {"model": PriceView}, 201: {"model": PriceView, "description": "It is new."}}


@router.get("", responses=_LIST | problems(*JSON_API_ERRORS))
async def list_all(session: SessionDep, principal: PrincipalDep) -> Response:
    """The account's own prices, by model."""
    return answer({"prices": [_document(row) for row in await list_prices(session, principal.account_id)]})


@router.put(
    "",
    responses=_SET | problems(*JSON_API_ERRORS, _TOO_MANY),
)
async def set_own(body: PriceInput, request: Request, sessions: SessionsDep, principal: PrincipalDep) -> Response:
    """Sets a price, or replaces that of the same model from the same moment. It holds for pings that come from now on:
    what others cost stays as it was."""
    if body.valid_from is not None and not FIRST_YEAR <= body.valid_from.year <= LAST_YEAR:
        raise InvalidRequest.of_field("valid_from", f"must be in the years {FIRST_YEAR} to {LAST_YEAR}")
    own = OwnPrice(**body.model_dump())
    async with transaction(sessions) as session:
        row, is_new = await set_price(session, principal.account_id, own, utc_now())
        note(session, request, principal, "price.set", f"price/{row.id}", name=own.model, price=own.version)
    _forget(request, principal.account_id)
    response = answer(_document(row))
    response.status_code = 201 if is_new else 200
    return response


@router.delete("/{price_id}", status_code=204, responses=problems(*JSON_API_ERRORS, _MISSING))
async def remove(price_id: Text, request: Request, sessions: SessionsDep, principal: PrincipalDep) -> None:
    """Pings that come from now on are priced without it."""
    async with transaction(sessions) as session:
        row = await get_price(session, price_id)
        if row is None:
            raise _MISSING
        ensure_owner(principal, row.account_id)
        note(session, request, principal, "price.removed", f"price/{row.id}", name=row.model)
        await session.delete(row)
    _forget(request, principal.account_id)


def _forget(request: Request, account_id: str) -> None:
    gateway: Gateway = request.app.state.gateway
    gateway.pricing.forget(account_id)


def _document(row: PriceRow) -> dict[str, Any]:
    return {
        "id": row.id,
        "model": row.model,
        "input_per_million": money(row.input_per_million),
        "output_per_million": money(row.output_per_million),
        "cached_per_million": money(row.cached_per_million),
        "valid_from": in_utc(row.valid_from) if row.valid_from is not None else None,
        "created_at": in_utc(row.created_at),
    }
