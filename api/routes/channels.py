"""Channels: where people are told."""

import asyncio
from datetime import datetime, time, timedelta
from typing import Annotated, Any, Final

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncSession

from activities.senders.addresses import address_field, check_address, masked
from api.deps import PrincipalDep, SessionDep, SettingsDep, Text, VaultDep
from api.fields import Tags
from api.openapi import JSON_API_ERRORS, problems
from api.pages import Cursor, Limit, decode_cursor, encode_cursor
from api.security import Principal, ensure_owner
from api.security.auditing import note
from api.signing import new_signing_secret
from config.clock import utc_now
from domain.alerts import Severity
from domain.channels import DEFAULT_MESSAGES_PER_MINUTE, ChannelKind, QuietHours
from domain.errors import Conflict, InvalidRequest, NotFound
from domain.ids import random_id
from storage.channels import Channel, delete_channel, get_channel, list_channels
from storage.messages import alerts_of, test_message

router = APIRouter(prefix="/api/channels", tags=["channels"])

OLD_SECRET_HOURS: Final = 24
MAX_ADDRESS: Final = 2000

Name = Annotated[Text, Field(min_length=1, max_length=200)]
Address = Annotated[Text, Field(min_length=1, max_length=MAX_ADDRESS)]
Clock = Annotated[str, Field(pattern=r"^(?:[01][0-9]|2[0-3]):[0-5][0-9]$", examples=["22:00"])]
Url = Annotated[
    Address | None, Field(description="Of a Slack, Discord or generic webhook, or one that apprise understands.")
]
EmailOrKey = Annotated[
    Address | None,
    Field(description="An e-mail address; of PagerDuty the integration key of an Events API v2 service."),
]


class QuietHoursInput(BaseModel):
    """What is less severe waits for the end of them."""

    model_config = ConfigDict(extra="forbid")

    start: Clock
    end: Clock
    timezone: Annotated[Text, Field(min_length=1, max_length=64, examples=["Europe/Berlin"])]
    severity: Severity = Field(Severity.CRITICAL, description="From here on, nothing waits.")


class ChannelInput(BaseModel):
    """What may be changed of a channel. Exactly one of `url` and `address` says where it is."""

    model_config = ConfigDict(extra="forbid")

    name: Name | None = None
    url: Url = None
    address: EmailOrKey = None
    default: bool = Field(False, description="Told of everything that has no channels of its own.")
    severity: Severity = Field(Severity.INFO, description="The least severe alert that it is told of.")
    tags: Tags = Field([], description="Told only of alerts with one of these, if there are any.")
    quiet_hours: QuietHoursInput | None = None
    messages_per_minute: int = Field(DEFAULT_MESSAGES_PER_MINUTE, ge=1, le=600, description="The rest is put together.")


class NewChannel(ChannelInput):
    kind: ChannelKind
    name: Name


class ChannelView(BaseModel):
    id: str
    kind: ChannelKind
    name: str
    address: str = Field(description="The URL or address, its secrets masked.")
    default: bool
    severity: Severity
    tags: list[str]
    quiet_hours: QuietHoursInput | None
    messages_per_minute: int
    old_secret_until: datetime | None = Field(description="Until then the webhook's former secret signs along.")
    created_at: datetime
    updated_at: datetime


class CreatedChannelView(ChannelView):
    signing_secret: str | None = Field(
        description="What a generic webhook is signed with, by Standard Webhooks. Keep it: it is not shown again."
    )


class RotatedSecret(BaseModel):
    signing_secret: str = Field(description="The new secret. Keep it: it is not shown again.")
    old_secret_until: datetime = Field(description="Until then the former secret signs along.")


class ChannelList(BaseModel):
    channels: list[ChannelView]
    next_cursor: str | None


class ChannelTest(BaseModel):
    alert_id: str
    deliveries_url: str = Field(description="Where to see what became of it.")


_MISSING = NotFound("There is no channel chn_4f7k2m9x1b.")
_NO_WEBHOOK = Conflict("Only generic webhooks are signed; this is a channel of kind email.")


@router.post("", status_code=201, responses=problems(*JSON_API_ERRORS))
async def create(
    body: NewChannel,
    response: Response,
    session: SessionDep,
    principal: PrincipalDep,
    vault: VaultDep,
    request: Request,
) -> CreatedChannelView:
    """A new channel. `POST /api/channels/{id}/test` shows whether it works."""
    address = await _address_of(body.kind, body)
    if address is None:
        raise InvalidRequest.of_field(address_field(body.kind), f"is needed for a channel of kind {body.kind}")
    secret = new_signing_secret() if body.kind is ChannelKind.WEBHOOK else None
    now = utc_now()
    channel = Channel(
        id=random_id("chn_", 10),
        account_id=principal.account_id,
        kind=body.kind.value,
        name=body.name,
        address=vault.encrypt(address),
        shown_address=masked(body.kind, address),
        signing_secret=vault.encrypt(secret) if secret else None,
        is_default=body.default,
        severity=body.severity.value,
        tags=body.tags,
        quiet_hours=_quiet_hours(body),
        messages_per_minute=body.messages_per_minute,
        created_at=now,
        updated_at=now,
    )
    session.add(channel)
    await session.flush()
    note(session, request, principal, "channel.created", f"channel/{channel.id}", name=channel.name, kind=channel.kind)
    response.headers["Cache-Control"] = "no-store"
    return CreatedChannelView(**_view(channel).model_dump(), signing_secret=secret)


@router.get("", responses=problems(*JSON_API_ERRORS))
async def list_all(
    session: SessionDep, principal: PrincipalDep, limit: Limit = 50, cursor: Cursor = None
) -> ChannelList:
    """The account's channels, the newest first."""
    rows = await list_channels(session, principal.account_id, limit=limit + 1, before=decode_cursor(cursor))
    page = rows[:limit]
    return ChannelList(
        channels=[_view(row) for row in page],
        next_cursor=encode_cursor(page[-1].created_at, page[-1].id) if len(rows) > limit else None,
    )


@router.get("/{channel_id}", responses=problems(*JSON_API_ERRORS, _MISSING))
async def read(channel_id: Text, session: SessionDep, principal: PrincipalDep) -> ChannelView:
    """One channel."""
    return _view(await _owned(session, principal, channel_id))


@router.patch("/{channel_id}", responses=problems(*JSON_API_ERRORS, _MISSING))
async def change(
    channel_id: Text,
    body: ChannelInput,
    session: SessionDep,
    principal: PrincipalDep,
    vault: VaultDep,
    request: Request,
) -> ChannelView:
    """Changes what the body names. A changed address is where messages under way go, too."""
    channel = await _owned(session, principal, channel_id, lock=True)
    kind = ChannelKind(channel.kind)
    address = await _address_of(kind, body, shown=channel.shown_address)
    if address is not None:
        channel.address, channel.shown_address = vault.encrypt(address), masked(kind, address)
    changes: dict[str, Any] = body.model_dump(exclude_unset=True, mode="json", exclude={"url", "address"})
    if changes.get("name", "") is None:
        del changes["name"]
    if "default" in changes:
        changes["is_default"] = changes.pop("default")
    if "quiet_hours" in changes:
        changes["quiet_hours"] = _quiet_hours(body)
    for name, value in changes.items():
        setattr(channel, name, value)
    channel.updated_at = utc_now()
    await session.flush()
    changed = sorted(body.model_fields_set)
    note(session, request, principal, "channel.changed", f"channel/{channel.id}", name=channel.name, changed=changed)
    return _view(channel)


@router.delete("/{channel_id}", status_code=204, responses=problems(*JSON_API_ERRORS, _MISSING))
async def delete(channel_id: Text, session: SessionDep, principal: PrincipalDep, request: Request) -> None:
    """Detaches it from everything. What it was still to be told of fails; the delivery log stays."""
    channel = await _owned(session, principal, channel_id, lock=True)
    note(session, request, principal, "channel.deleted", f"channel/{channel.id}", name=channel.name)
    await delete_channel(session, channel, utc_now())


@router.post("/{channel_id}/test", status_code=202, responses=problems(*JSON_API_ERRORS, _MISSING))
async def test(channel_id: Text, session: SessionDep, principal: PrincipalDep, settings: SettingsDep) -> ChannelTest:
    """Sends a test message, at once and whatever the channel wants to be told of."""
    channel = await _owned(session, principal, channel_id)
    (alert,) = await alerts_of(session, await test_message(session, channel, utc_now()))
    return ChannelTest(alert_id=alert.id, deliveries_url=f"{settings.base_url}/api/alerts/{alert.id}/deliveries")


@router.post("/{channel_id}/rotate-secret", responses=problems(*JSON_API_ERRORS, _MISSING, _NO_WEBHOOK))
async def rotate_secret(
    channel_id: Text,
    response: Response,
    session: SessionDep,
    principal: PrincipalDep,
    vault: VaultDep,
    request: Request,
) -> RotatedSecret:
    """A new signing secret. For 24 hours messages are signed with both; of earlier ones only the latest signs along."""
    channel = await _owned(session, principal, channel_id, lock=True)
    if channel.signing_secret is None:
        raise Conflict(f"Only generic webhooks are signed; this is a channel of kind {channel.kind}.")
    secret, now = new_signing_secret(), utc_now()
    until = now + timedelta(hours=OLD_SECRET_HOURS)
    channel.old_signing_secret, channel.old_secret_until = channel.signing_secret, until
    channel.signing_secret, channel.updated_at = vault.encrypt(secret), now
    note(session, request, principal, "channel.secret_rotated", f"channel/{channel.id}", name=channel.name)
    response.headers["Cache-Control"] = "no-store"
    return RotatedSecret(signing_secret=secret, old_secret_until=until)


async def _owned(session: AsyncSession, principal: Principal, channel_id: str, *, lock: bool = False) -> Channel:
    """The channel, if it is the principal's. Raises NotFound or Forbidden."""
    channel = await get_channel(session, channel_id, lock=lock)
    if channel is None:
        raise NotFound(f"There is no channel {channel_id}.")
    ensure_owner(principal, channel.account_id)
    return channel


async def _address_of(kind: ChannelKind, body: ChannelInput, *, shown: str | None = None) -> str | None:
    """Where the channel is, as the body says; None if it says nothing, or gives back what is `shown`.

    Raises InvalidRequest for an address that cannot be meant, without quoting it: it may be a secret.
    """
    if body.url is not None and body.address is not None:
        raise InvalidRequest.of_field("url", "give either url or address, not both")
    field = "url" if body.url is not None else "address"
    address = body.url if body.url is not None else body.address
    if address is None or address == shown:
        return None
    if field != address_field(kind) and not (kind is ChannelKind.PAGERDUTY and field == "url"):
        raise InvalidRequest.of_field(field, f"a channel of kind {kind} takes {address_field(kind)} instead")
    # In a thread: to read an address of apprise, its many modules are loaded.
    return await asyncio.to_thread(check_address, kind, address)


def _quiet_hours(body: ChannelInput) -> dict[str, str] | None:
    """As they are kept. Raises InvalidRequest if they make no sense."""
    if (hours := body.quiet_hours) is None:
        return None
    QuietHours(time.fromisoformat(hours.start), time.fromisoformat(hours.end), hours.timezone, hours.severity)
    return hours.model_dump(mode="json")


def _view(channel: Channel) -> ChannelView:
    until = channel.old_secret_until
    return ChannelView(
        id=channel.id,
        kind=ChannelKind(channel.kind),
        name=channel.name,
        address=channel.shown_address,
        default=channel.is_default,
        severity=Severity(channel.severity),
        tags=channel.tags,
        quiet_hours=QuietHoursInput(**channel.quiet_hours) if channel.quiet_hours else None,
        messages_per_minute=channel.messages_per_minute,
        old_secret_until=until if until is not None and until > utc_now() else None,
        created_at=channel.created_at,
        updated_at=channel.updated_at,
    )
