"""Channels: where people are told, whether that works, and what they were told."""

from typing import Annotated, Final

from fastapi import APIRouter, Query
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from activities.senders.addresses import address_field
from api.dashboard.channel_forms import KINDS, given_values, shown_values
from api.dashboard.forms import Form, as_of, build, check_as_of
from api.dashboard.links import with_query
from api.dashboard.rendering import see
from api.dashboard.visitors import FormDep, Visitor, VisitorDep
from api.dashboard.zones import ZONES
from api.deps import SessionsDep, SettingsDep, SnapshotDep, Text, VaultDep
from api.pages import Cursor, decode_cursor, encode_cursor
from api.routes import channels
from config.clock import utc_now
from domain.alerts import Severity
from domain.channels import ChannelKind
from domain.errors import DomainError, NotFound
from storage.base import snapshot, transaction
from storage.channels import Channel, get_channel
from storage.delivery_log import last_attempts, list_attached, list_messages, read_waiting

router = APIRouter(include_in_schema=False)

PAGE: Final = 25
LOG_PAGE: Final = 20

DONE: Final = {
    "created": "The channel was added. Send a test to see whether it works.",
    "changed": "The channel was changed.",
    "tested": "A test is on its way. What comes of it is below, in the delivery log.",
    "deleted": "The channel was deleted. What it was told stays with the alerts.",
}


@router.get("/channels")
async def show_list(visitor: VisitorDep, session: SnapshotDep, cursor: Cursor = None) -> Response:
    found = await channels.list_all(session, visitor.principal, limit=PAGE, cursor=cursor)
    return visitor.page(
        "channels/list.html",
        section="channels",
        live="account",
        done=DONE,
        channels=found.channels,
        standings=await last_attempts(session, [channel.id for channel in found.channels]),
        kinds=KINDS,
        next=with_query("/channels", cursor=found.next_cursor) if found.next_cursor else None,
        first="/channels" if cursor else None,
    )


@router.get("/channels/new")
async def show_new(visitor: VisitorDep, kind: Annotated[str, Query(max_length=20)] = "") -> Response:
    chosen = ChannelKind(kind) if kind in set(ChannelKind) else None
    return _new_page(visitor, chosen)


@router.post("/channels/new")
async def create(visitor: VisitorDep, form: FormDep, sessions: SessionsDep, vault: VaultDep) -> Response:
    kind = ChannelKind(form.get("kind")) if form.get("kind") in set(ChannelKind) else None
    if kind is None:
        return _new_page(visitor, None)
    try:
        body = build(channels.NewChannel, given_values(form, kind, is_new=True))
        async with transaction(sessions) as session:
            created = await channels.create(body, Response(), session, visitor.principal, vault, visitor.request)
    except DomainError as error:
        return _new_page(visitor, kind, error=error, form=form)
    if created.signing_secret is None:
        return see(f"/channels/{created.id}?done=created")
    return _secret_page(visitor, created.id, created.name, created.signing_secret)


@router.get("/channels/{channel_id}")
async def show(channel_id: Text, visitor: VisitorDep, session: SnapshotDep, cursor: Cursor = None) -> Response:
    return await _page(visitor, session, channel_id, cursor)


@router.get("/channels/{channel_id}/edit")
async def show_edit(channel_id: Text, visitor: VisitorDep, session: SnapshotDep) -> Response:
    return _edit_page(visitor, await _owned(visitor, session, channel_id))


@router.post("/channels/{channel_id}/edit")
async def change(
    channel_id: Text, visitor: VisitorDep, form: FormDep, sessions: SessionsDep, vault: VaultDep
) -> Response:
    async with snapshot(sessions) as session:
        channel = await _owned(visitor, session, channel_id)
    try:
        check_as_of(form, _as_of(channel))
        values = given_values(form, ChannelKind(channel.kind), is_new=False)
        if not values["name"]:
            # None would keep what it is called.
            build(channels.NewChannel, {**values, "kind": channel.kind})
        body = build(channels.ChannelInput, values)
        async with transaction(sessions) as session:
            await channels.change(channel_id, body, session, visitor.principal, vault, visitor.request)
    except DomainError as error:
        if error.status in (403, 404):
            raise
        return _edit_page(visitor, channel, error=error, form=form)
    return see(f"/channels/{channel_id}?done=changed")


@router.post("/channels/{channel_id}/test")
async def test(
    channel_id: Text, visitor: VisitorDep, form: FormDep, sessions: SessionsDep, settings: SettingsDep
) -> Response:
    async with transaction(sessions) as session:
        await channels.test(channel_id, session, visitor.principal, settings)
    return see(f"/channels/{channel_id}?done=tested")


@router.post("/channels/{channel_id}/rotate-secret")
async def rotate_secret(
    channel_id: Text, visitor: VisitorDep, form: FormDep, sessions: SessionsDep, vault: VaultDep
) -> Response:
    try:
        async with transaction(sessions) as session:
            rotated = await channels.rotate_secret(
                channel_id, Response(), session, visitor.principal, vault, visitor.request
            )
    except DomainError as error:
        if error.status in (403, 404):
            raise
        async with snapshot(sessions) as session:
            return await _page(visitor, session, channel_id, None, error=error)
    async with snapshot(sessions) as session:
        channel = await _owned(visitor, session, channel_id)
    return _secret_page(visitor, channel.id, channel.name, rotated.signing_secret, is_rotated=True)


@router.post("/channels/{channel_id}/delete")
async def delete(channel_id: Text, visitor: VisitorDep, form: FormDep, sessions: SessionsDep) -> Response:
    async with transaction(sessions) as session:
        await channels.delete(channel_id, session, visitor.principal, visitor.request)
    return see("/channels?done=deleted")


async def _owned(visitor: Visitor, session: AsyncSession, channel_id: str) -> Channel:
    """Raises NotFound and Forbidden."""
    await channels.read(channel_id, session, visitor.principal)
    channel = await get_channel(session, channel_id)
    if channel is None:
        raise NotFound(f"There is no channel {channel_id}.")
    return channel


async def _page(
    visitor: Visitor, session: AsyncSession, channel_id: str, cursor: str | None, *, error: DomainError | None = None
) -> Response:
    channel = await channels.read(channel_id, session, visitor.principal)
    row = await _owned(visitor, session, channel_id)
    messages = await list_messages(session, channel_id, limit=LOG_PAGE + 1, before=decode_cursor(cursor))
    page = messages[:LOG_PAGE]
    path, last = f"/channels/{channel_id}", page[-1].message if page else None
    next_cursor = encode_cursor(last.created_at, last.id) if last is not None and len(messages) > LOG_PAGE else None
    quiet = row.quiet()
    return visitor.page(
        "channels/channel.html",
        section="channels",
        live="account" if cursor is None else None,
        done=DONE,
        error=error,
        channel=channel,
        kind=KINDS[channel.kind],
        is_signed=row.signing_secret is not None,
        quiet_until=quiet.until(utc_now()) if quiet is not None else None,
        attached=await list_attached(session, channel_id),
        waiting=await read_waiting(session, channel_id),
        messages=page,
        next=with_query(path, cursor=next_cursor) if next_cursor else None,
        first=path if cursor else None,
    )


def _as_of(channel: Channel) -> str:
    """Of when it was changed: of its secret address the form shows too little to tell it from another one."""
    return as_of(channel.updated_at)


def _new_page(
    visitor: Visitor, kind: ChannelKind | None, *, error: DomainError | None = None, form: Form | None = None
) -> Response:
    if kind is None:
        return visitor.page("channels/kinds.html", section="channels", kinds=KINDS)
    values = shown_values(form or Form(()), None)
    if not form:
        values["quiet_hours"]["timezone"] = visitor.account.time_zone
    return visitor.page(
        "channels/form.html",
        section="channels",
        error=error,
        form=form,
        channel=None,
        as_of=None,
        kind=kind,
        words=KINDS[kind],
        field_name=address_field(kind),
        values=values,
        severities=list(Severity),
        time_zones=ZONES,
    )


def _edit_page(
    visitor: Visitor, channel: Channel, *, error: DomainError | None = None, form: Form | None = None
) -> Response:
    kind = ChannelKind(channel.kind)
    return visitor.page(
        "channels/form.html",
        section="channels",
        error=error,
        form=form,
        channel=channel,
        as_of=_as_of(channel),
        kind=kind,
        words=KINDS[kind],
        field_name=address_field(kind),
        values=shown_values(form or Form(()), channel),
        severities=list(Severity),
        time_zones=ZONES,
    )


def _secret_page(visitor: Visitor, channel_id: str, name: str, secret: str, *, is_rotated: bool = False) -> Response:
    return visitor.page(
        "channels/secret.html",
        section="channels",
        channel_id=channel_id,
        name=name,
        secret=secret,
        is_rotated=is_rotated,
    )
