"""Reservations: an agent asks for money of the budget before it spends it."""

from datetime import datetime, timedelta
from decimal import Decimal
from typing import Annotated, Any, Final

from fastapi import APIRouter, Header, Response
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StrictInt
from pydantic.json_schema import SkipJsonSchema

from api.approval_input import MAX_IDEMPOTENCY_KEY
from api.budget_input import ExactRoute, Limit
from api.deps import MemberDep, SessionsDep, Text
from api.openapi import JSON_API_ERRORS, Responses, problems
from api.routes.instances import owned_instance
from api.timeline_views import Money, answer, money
from api.views import in_utc
from config.clock import utc_now
from domain.errors import NotFound
from domain.reservations import DEFAULT_TTL_SECONDS, MAX_TTL_SECONDS, BudgetExhausted, Room
from domain.verdicts import InstanceClosed, InstancePaused, InstanceTerminated
from storage.base import transaction
from storage.reservations import reserve, settle

router = APIRouter(prefix="/api/instances/{instance_id}/budget", tags=["costs"], route_class=ExactRoute)

_MISSING: Final = NotFound("There is no instance dabc45678.")
_UNKNOWN: Final = NotFound("Instance dabc45678 has no reservation rsv_8k2m4n6p0q1r.")
_EXHAUSTED: Final = BudgetExhausted(
    "$0.50 cannot be set aside: there is only $0.20 of the run's limit left.",
    remaining_usd=Decimal("0.2"),
    remaining_today_usd=Decimal("14.75"),
)


def _not_here(value: object) -> None:
    raise ValueError("is told by the ping, which may name the reservation_id and settles it then")


class NewReservation(BaseModel):
    model_config = ConfigDict(extra="forbid")

    amount_usd: Limit = Field(description="What is to be spent at most, in US dollars.", examples=[0.5])
    ttl_seconds: Annotated[StrictInt, Field(ge=1, le=MAX_TTL_SECONDS)] = Field(
        DEFAULT_TTL_SECONDS, description="After so many seconds it is given back, if nobody settles it before."
    )


class Settlement(BaseModel):
    model_config = ConfigDict(extra="forbid")

    reservation_id: Annotated[Text, Field(min_length=1, max_length=64)]
    cost_usd: SkipJsonSchema[Annotated[Any, AfterValidator(_not_here)]] = None


class Remaining(BaseModel):
    model_config = ConfigDict(extra="forbid")

    reservation_id: str
    remaining_usd: Money | None = Field(
        description="Of the instance's limit, without all that it has spent or holds; null without a limit."
    )
    remaining_today_usd: Money | None = Field(
        description="Of the workflow's daily limit, without what all instances have spent today, or hold; null without "
        "a limit."
    )


class ReservationView(Remaining):
    instance_id: str
    amount_usd: Money
    expires_at: datetime
    settled_at: datetime | None = Field(
        description="Of a key that was used before: nothing is held any more since then."
    )
    is_expired: bool = Field(description="Of a key that was used before: nobody settled it in time.")


class SettledReservation(Remaining):
    settled_at: datetime
    is_expired: bool = Field(description="Nobody settled it in time: its money was given back before.")


_RESERVED: Final[Responses] = {201: {"model": ReservationView}}
_SETTLED: Final[Responses] = {200: {"model": SettledReservation}}


@router.post(
    "/reserve",
    status_code=201,
    responses=_RESERVED
    | problems(*JSON_API_ERRORS, _MISSING, _EXHAUSTED, InstancePaused, InstanceTerminated, InstanceClosed),
)
async def set_aside(
    instance_id: Text,
    body: NewReservation,
    sessions: SessionsDep,
    principal: MemberDep,
    idempotency_key: Annotated[
        Text | None,
        Header(
            alias="Idempotency-Key",
            max_length=MAX_IDEMPOTENCY_KEY,
            description="The same key for the same instance answers the same reservation.",
        ),
    ] = None,
) -> Response:
    """Sets money aside, if the budget has as much left that nobody else holds. Keys of any scope may. If all who spend
    ask before, and go by the answer, they never spend more than the budget allows, however many they are."""
    ttl = timedelta(seconds=body.ttl_seconds)
    async with transaction(sessions) as session:
        instance = await owned_instance(session, principal, instance_id)
        reserved = await reserve(session, instance, body.amount_usd, ttl, idempotency_key or None, utc_now())
    reservation = reserved.reservation
    response = answer(
        {
            "reservation_id": reservation.id,
            "instance_id": reservation.instance_id,
            "amount_usd": money(reservation.amount_usd),
            "expires_at": in_utc(reservation.expires_at),
            "settled_at": in_utc(reservation.settled_at) if reservation.settled_at is not None else None,
            "is_expired": reserved.is_expired,
            **_remaining(reserved.room),
        }
    )
    response.status_code = 201
    return response


@router.post("/settle", responses=_SETTLED | problems(*JSON_API_ERRORS, _UNKNOWN))
async def give_back(instance_id: Text, body: Settlement, sessions: SessionsDep, principal: MemberDep) -> Response:
    """Gives back what a reservation holds. A ping that names the `reservation_id` does so itself, in the same step in
    which its cost counts."""
    async with transaction(sessions) as session:
        instance = await owned_instance(session, principal, instance_id)
        settled = await settle(session, instance, body.reservation_id, utc_now())
    reservation = settled.reservation
    assert reservation.settled_at is not None
    return answer(
        {
            "reservation_id": reservation.id,
            "settled_at": in_utc(reservation.settled_at),
            "is_expired": settled.is_expired,
            **_remaining(settled.room),
        }
    )


def _remaining(room: Room) -> dict[str, Any]:
    return {"remaining_usd": money(room.left_usd), "remaining_today_usd": money(room.left_today_usd)}
