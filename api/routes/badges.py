"""Badges of pulses: public, for whoever knows the address."""

from typing import Annotated, Final, Literal

from fastapi import APIRouter, Query, Response
from pydantic import BaseModel, Field
from sqlalchemy.ext.asyncio import AsyncSession

from api.badges import Badge, badge_of, draw
from api.deps import SnapshotDep, Text
from api.openapi import PUBLIC, Responses, problems
from api.pulse_views import current_states
from domain.errors import InvalidRequest, NotFound, Unavailable
from storage.pulses import definition_of, find_by_badge

router = APIRouter(prefix="/badge", tags=["badges"])

Label = Annotated[
    Text | None, Query(max_length=100, description="What stands on the left, if not the name of the pulse.")
]

# Pages keep pictures for long, and proxies for longer.
_FRESH: Final = {"Cache-Control": "no-cache"}
_PICTURE: Final = {**_FRESH, "Content-Security-Policy": "default-src 'none'", "X-Content-Type-Options": "nosniff"}
_ERRORS: Final = problems(
    InvalidRequest.of_field("label", "String should have at most 100 characters"),
    NotFound("There is no badge at this address."),
    Unavailable("The database cannot be reached just now.", retry_after=2),
)
_SVG: Final[Responses] = {
    200: {"description": "The picture.", "content": {"image/svg+xml": {"schema": {"type": "string"}}}}
}


class BadgeView(BaseModel):
    """As shields.io's endpoint badge wants it."""

    schemaVersion: Literal[1] = 1
    label: str
    message: str = Field(examples=["up"])
    color: str = Field(examples=["brightgreen"])


@router.get("/{token}.svg", openapi_extra=PUBLIC, response_class=Response, responses=_SVG | _ERRORS)
async def draw_badge(token: Text, session: SnapshotDep, label: Label = None) -> Response:
    """The status of a pulse as a picture."""
    picture = draw(await _badge(session, token, label))
    return Response(picture, media_type="image/svg+xml", headers=_PICTURE)


@router.get("/{token}.json", openapi_extra=PUBLIC, responses=_ERRORS)
async def read_badge(token: Text, session: SnapshotDep, response: Response, label: Label = None) -> BadgeView:
    """The status of a pulse as data, for shields.io and the like."""
    badge = await _badge(session, token, label)
    response.headers.update(_FRESH)
    return BadgeView(label=badge.label, message=badge.message, color=badge.color)


async def _badge(session: AsyncSession, token: str, label: str | None) -> Badge:
    pulse = await find_by_badge(session, token)
    if pulse is None:
        raise NotFound("There is no badge at this address.")
    states = await current_states(session, [pulse])
    return badge_of(definition_of(pulse).shown_name if label is None else label, states[pulse.id].status)
