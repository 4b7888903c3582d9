"""Defining pulses, and changing what they are held to."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query
from starlette.responses import Response

from api.dashboard.forms import AS_OF_FIELD, Form, as_of, build, check_as_of
from api.dashboard.moments import Moment, moments_of
from api.dashboard.pulse_fields import first_values, read_values, values_of, values_sent
from api.dashboard.pulses import MOST_CHANNELS, NEXT_TIMES
from api.dashboard.rendering import render, see
from api.dashboard.visitors import FormDep, Visitor, VisitorDep
from api.dashboard.zones import ZONES
from api.deps import SessionsDep, SettingsDep, Text
from api.pulse_fields import NewPulse, PulseChanges
from api.pulse_views import PulseView, pulse_views
from api.routes import pulses
from api.routes.pulses import owned_pulse
from config.clock import utc_now
from domain.cron_words import clock_change_words, cron_words
from domain.errors import DomainError, FieldError, Forbidden, InvalidRequest
from domain.schedules import MAX_CRON_TEXT, Cron, check_cron
from storage.base import Sessions, snapshot, transaction
from storage.channels import list_channels
from storage.pulse_lists import list_related

router = APIRouter(include_in_schema=False)

_LISTS: Final = frozenset({"tags", "success_keywords", "failure_keywords", "ignore_keywords", "depends_on", "channels"})


@router.get("/pulses/explain")
async def explain(
    visitor: VisitorDep,
    cron: Annotated[str, Query(max_length=10 * MAX_CRON_TEXT)] = "",
    timezone: Annotated[str, Query(max_length=200)] = "",
) -> Response:
    """A part of the page on which a pulse is defined: what a cron expression means."""
    return render("pulses/explained.html", explained=explained(cron, timezone or visitor.account.time_zone))


@router.get("/pulses/new")
async def show_new(visitor: VisitorDep, sessions: SessionsDep) -> Response:
    require_writer(visitor)
    return await _page(visitor, sessions, None, first_values(visitor.account.time_zone))


@router.post("/pulses/new")
async def create(visitor: VisitorDep, form: FormDep, sessions: SessionsDep, settings: SettingsDep) -> Response:
    if "check" in form:
        return await _page(visitor, sessions, None, values_sent(form), form=form)
    try:
        body = build(NewPulse, read_values(form))
        async with transaction(sessions) as session:
            view = await pulses.create(body, session, visitor.principal, settings, visitor.request)
    except DomainError as error:
        return await _page(visitor, sessions, None, values_sent(form), error=by_field(error), form=form)
    return see(f"/pulses/{view.id}?done=created")


@router.get("/pulses/{pulse_id}/edit")
async def show_edit(pulse_id: Text, visitor: VisitorDep, sessions: SessionsDep) -> Response:
    require_writer(visitor)
    view = await _view(visitor, sessions, pulse_id)
    values = await _values(visitor, sessions, view)
    return await _page(visitor, sessions, view, values, filled_from=as_of(values))


@router.post("/pulses/{pulse_id}/edit")
async def change(pulse_id: Text, visitor: VisitorDep, form: FormDep, sessions: SessionsDep) -> Response:
    view = await _view(visitor, sessions, pulse_id)
    if "check" in form:
        return await _page(visitor, sessions, view, values_sent(form), form=form, filled_from=form.get(AS_OF_FIELD))
    values = await _values(visitor, sessions, view)
    present = as_of(values)
    try:
        check_as_of(form, present)
        body = build(PulseChanges, read_values(form, values))
        await pulses.change(view.id, body, sessions, visitor.principal, visitor.request)
    except DomainError as error:
        sent = values_sent(form)
        return await _page(visitor, sessions, view, sent, error=by_field(error), form=form, filled_from=present)
    return see(f"/pulses/{view.id}?done=changed")


def require_writer(visitor: Visitor) -> None:
    """Raises Forbidden: a form that cannot be sent is of no use."""
    if not visitor.may_write:
        raise Forbidden("A viewer may look but not change anything; ask an owner of the account.")


@dataclass(frozen=True)
class Explained:
    """What a cron expression means, or what is wrong with it."""

    timezone: str
    problem: str | None = None
    words: str = ""
    times: Sequence[Moment] = ()
    clock_changes: str | None = None


def explained(cron: str, timezone: str) -> Explained | None:
    """None if there is no expression."""
    cron = cron.strip()
    if not cron:
        return None
    try:
        check_cron(cron, timezone)
    except InvalidRequest as error:
        field = error.fields[0]
        return Explained(timezone, f"{'The expression' if field.field == 'cron' else 'The time zone'} {field.message}.")
    schedule, now = Cron(cron, timezone), utc_now()
    times = moments_of(schedule, now, NEXT_TIMES)
    return Explained(timezone, None, cron_words(cron), times, clock_change_words(schedule, now))


async def _page(
    visitor: Visitor,
    sessions: Sessions,
    view: PulseView | None,
    values: Mapping[str, Any],
    *,
    error: DomainError | None = None,
    form: Form | None = None,
    filled_from: str | None = None,
) -> Response:
    async with snapshot(sessions) as session:
        channels = await list_channels(session, visitor.account.id, limit=MOST_CHANNELS, before=None)
    is_cron = values["schedule"] == "cron"
    return visitor.page(
        "pulses/form.html",
        section="pulses",
        error=error,
        form=form,
        pulse=view,
        as_of=filled_from,
        values=values,
        channels=channels,
        zones=ZONES,
        explained=explained(values["cron"], values["timezone"]) if is_cron or form else None,
    )


async def _view(visitor: Visitor, sessions: Sessions, pulse_id: str) -> PulseView:
    async with snapshot(sessions) as session:
        pulse = await owned_pulse(session, visitor.principal, pulse_id)
        return (await pulse_views(session, [pulse], ""))[0]


async def _values(visitor: Visitor, sessions: Sessions, view: PulseView) -> Mapping[str, Any]:
    async with snapshot(sessions) as session:
        pulse = await owned_pulse(session, visitor.principal, view.id)
        above, _ = await list_related(session, pulse)
    return values_of(view, [parent.slug for parent in above])


def by_field(error: DomainError) -> DomainError:
    """What is wrong with one item of a list is told of the field that they are all in."""
    if not isinstance(error, InvalidRequest):
        return error
    fields = {
        first if (first := item.field.split(".")[0]) in _LISTS else item.field: item.message for item in error.fields
    }
    return InvalidRequest(error.message, fields=tuple(FieldError(name, said) for name, said in fields.items()))
