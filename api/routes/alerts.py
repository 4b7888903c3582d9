"""Alerts: what was worth telling, and who was told of it when."""

from datetime import datetime
from typing import Annotated, Any, Literal, cast

from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncSession

from api.deps import PrincipalDep, SessionDep, SettingsDep, SnapshotDep, Text
from api.fields import ChannelIds
from api.message_views import AttemptView
from api.openapi import JSON_API_ERRORS, problems
from api.pages import Cursor, Limit, decode_cursor, encode_cursor
from api.security import Principal, ensure_owner
from config.clock import utc_now
from domain.alerts import Severity
from domain.channels import ChannelKind
from domain.errors import Conflict, NotFound
from storage.alerts import AlertRow, get_alert, list_alerts
from storage.channels import find_channels
from storage.messages import DeliveryLog, list_deliveries, redeliver

router = APIRouter(prefix="/api/alerts", tags=["alerts"])

AlertState = Literal["new", "told", "held", "silent"]
DeliveryState = Literal["waiting", "pending", "sent", "failed"]


class AlertView(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    id: str
    kind: str = Field(examples=["instance_failed"])
    severity: Severity
    resolves: bool = Field(description="Whether it is the good end of its trouble.")
    state: AlertState = Field(
        description="`new` for a moment; `told` once it was decided who is told; `held` while a pulse that it depends "
        "on is down; `silent` if nobody is told."
    )
    silent_reason: str | None = Field(description="Why nobody is told.")
    source: str = Field(description="What channels attach to.", examples=["workflow/nightly_etl"])
    subject: str = Field(examples=["instance/nightly_etl/d1234567"])
    name: str
    title: str
    reason: str | None
    trouble: str = Field(description="What all alerts about the same incident share, its good end too.")
    tags: list[str]
    depends_on: list[str] = Field(description="The pulses that keep it silent while they are down.")
    data: dict[str, Any]
    at: datetime = Field(description="When it happened.")
    created_at: datetime = Field(description="When it was noticed.")
    repeats: int = Field(description="How often the very same happened again without being told anew.")


class AlertList(BaseModel):
    alerts: list[AlertView]
    next_cursor: str | None


class DeliveryView(BaseModel):
    channel_id: str
    channel_name: str
    channel_kind: ChannelKind
    state: DeliveryState = Field(
        description="`waiting` for its message to be formed, `pending` while that is being sent."
    )
    waits_for: str | None = Field(description="Why it waits.")
    waits_until: datetime | None = Field(description="How long it waits at least.")
    message_id: str | None = Field(description="One message may tell of many alerts.")
    finished_at: datetime | None
    attempts: list[AttemptView]


class DeliveryList(BaseModel):
    deliveries: list[DeliveryView]


class Redelivery(BaseModel):
    model_config = ConfigDict(extra="forbid")

    channels: ChannelIds = Field([], description="Who is told; without any, whoever was told or was to be told.")


class Redelivered(BaseModel):
    message_ids: list[str] = Field(description="One message for each channel.")
    deliveries_url: str = Field(description="Where to see what became of them.")


_MISSING = NotFound("There is no alert alr_4f7k2m9x1b3d.")
_NOBODY = Conflict("Nobody was to be told of this alert, or the channels are deleted. Name channels to tell.")


@router.get("", responses=problems(*JSON_API_ERRORS))
async def list_all(
    session: SessionDep,
    principal: PrincipalDep,
    limit: Limit = 50,
    cursor: Cursor = None,
    state: AlertState | None = None,
    kind: Annotated[Text | None, Query(max_length=100, examples=["instance_failed"])] = None,
    severity: Severity | None = None,
    source: Annotated[Text | None, Query(max_length=300, examples=["workflow/nightly_etl"])] = None,
    subject: Annotated[Text | None, Query(max_length=300, examples=["pulse/pls_4f7k2m9x1b"])] = None,
) -> AlertList:
    """The account's alerts, the newest first."""
    rows = await list_alerts(
        session,
        principal.account_id,
        limit=limit + 1,
        before=decode_cursor(cursor),
        state=state,
        kind=kind,
        severity=severity,
        source=source,
        subject=subject,
    )
    page = rows[:limit]
    return AlertList(
        alerts=[AlertView.model_validate(row) for row in page],
        next_cursor=encode_cursor(page[-1].created_at, page[-1].id) if len(rows) > limit else None,
    )


@router.get("/{alert_id}", responses=problems(*JSON_API_ERRORS, _MISSING))
async def read(alert_id: Text, session: SessionDep, principal: PrincipalDep) -> AlertView:
    """One alert."""
    return AlertView.model_validate(await _owned(session, principal, alert_id))


@router.get("/{alert_id}/deliveries", responses=problems(*JSON_API_ERRORS, _MISSING))
async def read_deliveries(alert_id: Text, session: SnapshotDep, principal: PrincipalDep) -> DeliveryList:
    """The delivery log: for each channel what became of the alert, with every attempt to tell it."""
    await _owned(session, principal, alert_id)
    return DeliveryList(deliveries=[_delivery(log) for log in await list_deliveries(session, alert_id)])


@router.post("/{alert_id}/redeliver", status_code=202, responses=problems(*JSON_API_ERRORS, _MISSING, _NOBODY))
async def tell_again(
    alert_id: Text,
    session: SessionDep,
    principal: PrincipalDep,
    settings: SettingsDep,
    body: Redelivery | None = None,
) -> Redelivered:
    """Tells it again, alone and at once."""
    alert = await _owned(session, principal, alert_id)
    channels = None
    if body is not None and body.channels:
        channels = await find_channels(session, principal.account_id, body.channels)
    return Redelivered(
        message_ids=await redeliver(session, alert, channels, utc_now()),
        deliveries_url=f"{settings.base_url}/api/alerts/{alert_id}/deliveries",
    )


async def _owned(session: AsyncSession, principal: Principal, alert_id: str) -> AlertRow:
    """The alert, if it is the principal's. Raises NotFound or Forbidden."""
    alert = await get_alert(session, alert_id)
    if alert is None:
        raise NotFound(f"There is no alert {alert_id}.")
    ensure_owner(principal, alert.account_id)
    return alert


def _delivery(log: DeliveryLog) -> DeliveryView:
    return DeliveryView(
        channel_id=log.channel.id,
        channel_name=log.channel.name,
        channel_kind=ChannelKind(log.channel.kind),
        state=cast(DeliveryState, log.message.state if log.message is not None else "waiting"),
        waits_for=log.delivery.waits_for,
        waits_until=log.waits_until,
        message_id=log.delivery.message_id,
        finished_at=log.message.finished_at if log.message is not None else None,
        attempts=[AttemptView.model_validate(attempt) for attempt in log.attempts],
    )
