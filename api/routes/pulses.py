"""Pulses: what must ping on a schedule."""

from dataclasses import replace
from datetime import datetime
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from api.deps import PrincipalDep, SessionDep, SessionsDep, SettingsDep, SnapshotDep, Text
from api.fields import statuses_of
from api.openapi import JSON_API_ERRORS, problems
from api.pages import Cursor, Limit, decode_cursor, encode_cursor
from api.pulse_fields import NULLABLE, NewPulse, PulseChanges
from api.pulse_telling import tell_of_new_rules
from api.pulse_views import PulseList, PulseView, pulse_views
from api.security import Principal, ensure_owner
from api.security.auditing import note
from config.clock import utc_now
from domain.errors import Conflict, InvalidRequest, NotFound
from domain.ids import random_id
from domain.maintenance import MaintenanceWindow
from domain.pulses import MAX_NAME, PulseDefinition, PulseStatus, validate
from domain.slugs import slug_of
from domain.subjects import pulse_source, pulse_subject
from storage.alerts import depend_held_alerts
from storage.base import Sessions, snapshot, transaction
from storage.channels import attach
from storage.expectations import delete_pulse
from storage.pulse_reads import list_pulses
from storage.pulses import (
    Pulse,
    columns_of,
    create_pulse,
    definition_of,
    depend_on,
    find_pulse,
    get_pulse,
    ids_by_name,
    lock_dependencies,
)
from storage.slugs import slug_is_taken

router = APIRouter(prefix="/api/pulses", tags=["pulses"])

_MISSING: Final = NotFound("There is no pulse nightly-backup.")
_TAKEN: Final = Conflict("The slug nightly-backup is taken; choose another.")


@router.post("", status_code=201, responses=problems(*JSON_API_ERRORS, _TAKEN))
async def create(
    body: NewPulse, session: SessionDep, principal: PrincipalDep, settings: SettingsDep, request: Request
) -> PulseView:
    """Defines a pulse. Nothing is expected of it before its first ping."""
    account_id, pulse_id = principal.account_id, random_id("pls_", 10)
    slug = body.slug or slug_of(body.name, pulse_id)
    if body.slug is None and await slug_is_taken(session, Pulse, account_id, slug):
        slug = random_id(f"{slug[:100]}-", 6)
    definition = await _changed(session, PulseDefinition(id=pulse_id, account_id=account_id, slug=slug), body)
    if not await create_pulse(session, definition, utc_now()):
        raise _taken(slug)
    await attach(session, account_id, pulse_source(pulse_id), body.channels or [])
    pulse = await get_pulse(session, pulse_id)
    assert pulse is not None
    note(session, request, principal, "pulse.created", f"pulse/{pulse_id}", name=pulse.name)
    return (await pulse_views(session, [pulse], settings.base_url))[0]


@router.get("", responses=problems(*JSON_API_ERRORS))
async def list_all(
    session: SnapshotDep,
    principal: PrincipalDep,
    settings: SettingsDep,
    limit: Limit = 50,
    cursor: Cursor = None,
    status: Annotated[
        list[str] | None, Query(description="Only these, comma-separated or repeated.", examples=["down,late"])
    ] = None,
    tag: Annotated[Text | None, Query(max_length=100, description="Only with this tag.")] = None,
    q: Annotated[Text | None, Query(max_length=MAX_NAME, description="A part of the name or of the slug.")] = None,
) -> PulseList:
    """The account's pulses, the newest first."""
    wanted = statuses_of(PulseStatus, status)
    rows = await list_pulses(
        session,
        principal.account_id,
        limit=limit + 1,
        before=decode_cursor(cursor),
        statuses=wanted,
        tag=tag,
        name_part=q,
    )
    page = rows[:limit]
    views = await pulse_views(session, page, settings.base_url)
    return PulseList(
        pulses=[view for view in views if not wanted or view.status in wanted],
        next_cursor=encode_cursor(page[-1].created_at, page[-1].id) if len(rows) > limit else None,
    )


@router.get("/{pulse_id}", responses=problems(*JSON_API_ERRORS, _MISSING))
async def read(pulse_id: Text, session: SnapshotDep, principal: PrincipalDep, settings: SettingsDep) -> PulseView:
    """One pulse, by its id or its slug."""
    pulse = await owned_pulse(session, principal, pulse_id)
    return (await pulse_views(session, [pulse], settings.base_url))[0]


@router.patch("/{pulse_id}", responses=problems(*JSON_API_ERRORS, _MISSING, _TAKEN))
async def change(
    pulse_id: Text, body: PulseChanges, sessions: SessionsDep, principal: PrincipalDep, request: Request
) -> PulseView:
    """Changes what the body names; a ping that is awaited is awaited by the new schedule. Setting cron clears
    period_seconds, and the other way round."""
    async with transaction(sessions) as session:
        if body.depends_on:
            await lock_dependencies(session, principal.account_id)
        pulse = await owned_pulse(session, principal, pulse_id, lock=True)
        await _hold_to(session, pulse, await _changed(session, definition_of(pulse), body), utc_now())
        changed = sorted(body.model_fields_set)
        note(session, request, principal, "pulse.changed", f"pulse/{pulse.id}", name=pulse.name, changed=changed)
        if body.channels is not None:
            await attach(session, pulse.account_id, pulse_source(pulse.id), body.channels)
    return await _told(sessions, pulse.id, request)


@router.post("/{pulse_id}/pause", responses=problems(*JSON_API_ERRORS, _MISSING))
async def pause(pulse_id: Text, sessions: SessionsDep, principal: PrincipalDep, request: Request) -> PulseView:
    """Expects nothing until it is resumed; pings are kept and do not count. Whoever was told that it is down is told
    of the end of that."""
    return await _set_paused(sessions, principal, pulse_id, True, request)


@router.post("/{pulse_id}/resume", responses=problems(*JSON_API_ERRORS, _MISSING))
async def resume(pulse_id: Text, sessions: SessionsDep, principal: PrincipalDep, request: Request) -> PulseView:
    """Expects the next ping by the schedule from now on."""
    return await _set_paused(sessions, principal, pulse_id, False, request)


@router.delete("/{pulse_id}", status_code=204, responses=problems(*JSON_API_ERRORS, _MISSING))
async def delete(pulse_id: Text, sessions: SessionsDep, principal: PrincipalDep, request: Request) -> None:
    """Takes no more pings and tells nobody any more. Its slug is free again."""
    async with transaction(sessions) as session:
        pulse = await owned_pulse(session, principal, pulse_id, lock=True)
        note(session, request, principal, "pulse.deleted", f"pulse/{pulse.id}", name=pulse.name)
        await delete_pulse(session, pulse, utc_now())
    await tell_of_new_rules(sessions, pulse.id, request)


async def owned_pulse(session: AsyncSession, principal: Principal, name: str, *, lock: bool = False) -> Pulse:
    """The pulse with this id or slug, if it is the principal's. Raises NotFound or Forbidden."""
    pulse = await find_pulse(session, principal.account_id, name, lock=lock)
    if pulse is None:
        raise NotFound(f"There is no pulse {name}.")
    ensure_owner(principal, pulse.account_id)
    return pulse


async def _changed(session: AsyncSession, definition: PulseDefinition, body: PulseChanges) -> PulseDefinition:
    """Raises InvalidRequest if what comes of it would be no good definition."""
    changes: dict[str, Any] = {
        name: getattr(body, name)
        for name in body.model_fields_set - {"channels"}
        if name in NULLABLE or getattr(body, name) is not None
    }
    for chosen, other in (("cron", "period_seconds"), ("period_seconds", "cron")):
        if changes.get(chosen) is not None:
            changes.setdefault(other, None)
    if "maintenance" in changes:
        changes["maintenance"] = [MaintenanceWindow(**window.model_dump()) for window in changes["maintenance"]]
    if "depends_on" in changes:
        changes["depends_on"] = await _pulses_named(session, definition, changes["depends_on"])
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in changes.items()
    }
    changed = replace(definition, **values)
    validate(changed)
    if changed.depends_on != definition.depends_on and await depend_on(session, changed.depends_on, changed.id):
        raise InvalidRequest.of_field("depends_on", f"would close a circle: one of them depends on {changed.id}")
    return changed


async def _pulses_named(session: AsyncSession, definition: PulseDefinition, names: list[str]) -> list[str]:
    """The ids, once each. Raises InvalidRequest for what the account does not have."""
    ids = await ids_by_name(session, definition.account_id, names)
    if unknown := sorted(set(names) - ids.keys()):
        raise InvalidRequest.of_field("depends_on", f"there is no pulse {', '.join(unknown)}")
    return list(dict.fromkeys(ids[name] for name in names))


async def _hold_to(session: AsyncSession, pulse: Pulse, definition: PulseDefinition, now: datetime) -> None:
    """Raises Conflict when the slug is taken."""
    if await slug_is_taken(session, Pulse, pulse.account_id, definition.slug, other_than=pulse.id):
        raise _taken(definition.slug)
    if definition.depends_on != tuple(pulse.depends_on):
        await depend_held_alerts(session, pulse_subject(pulse.id), definition.depends_on)
    for name, value in columns_of(definition).items():
        setattr(pulse, name, value)
    pulse.revision += 1
    pulse.updated_at = now
    try:
        await session.flush()
    except IntegrityError:
        raise _taken(definition.slug) from None


async def _set_paused(
    sessions: Sessions, principal: Principal, name: str, is_paused: bool, request: Request
) -> PulseView:
    now = utc_now()
    async with transaction(sessions) as session:
        pulse = await owned_pulse(session, principal, name, lock=True)
        if (pulse.paused_at is not None) != is_paused:
            definition = replace(definition_of(pulse), paused_at=now if is_paused else None)
            await _hold_to(session, pulse, definition, now)
            action = "pulse.paused" if is_paused else "pulse.resumed"
            note(session, request, principal, action, f"pulse/{pulse.id}", name=pulse.name)
    return await _told(sessions, pulse.id, request)


async def _told(sessions: Sessions, pulse_id: str, request: Request) -> PulseView:
    """The pulse as it is once its workflow was told of a change."""
    await tell_of_new_rules(sessions, pulse_id, request)
    async with snapshot(sessions) as session:
        pulse = await get_pulse(session, pulse_id)
        if pulse is None:
            raise NotFound(f"Pulse {pulse_id} was deleted just now.")
        return (await pulse_views(session, [pulse], request.app.state.settings.base_url))[0]


def _taken(slug: str) -> Conflict:
    return Conflict(f"The slug {slug} is taken; choose another.")
