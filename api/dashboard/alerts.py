"""Alerts: what was worth telling, who was told of it, and telling it again."""

from collections.abc import Mapping
from typing import Annotated, Final, cast

from fastapi import APIRouter, Query
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from api.dashboard.forms import Form, build
from api.dashboard.links import subject_url, temporal_url, with_query
from api.dashboard.rendering import see
from api.dashboard.visitors import FormDep, Visitor, VisitorDep
from api.deps import SessionsDep, SettingsDep, SnapshotDep, Text
from api.pages import Cursor
from api.routes import alerts
from api.routes.alerts import AlertState
from config.settings import Settings
from domain.alerts import KINDS, Severity
from domain.errors import DomainError
from storage.alerts import get_alert
from storage.base import snapshot, transaction
from storage.channels import list_channels
from storage.delivery_log import list_trouble

router = APIRouter(include_in_schema=False)

PAGE: Final = 50
MAX_TROUBLE: Final = 50
MAX_CHANNELS: Final = 100

STATES: Final[Mapping[str, str]] = {
    "new": "new, decided on in a moment",
    "told": "told",
    "held": "held back while something it depends on is down",
    "silent": "silent: nobody is told",
}
DONE: Final = {"told": "It is being told again. What comes of it is below."}


@router.get("/alerts")
async def show_list(
    visitor: VisitorDep,
    session: SnapshotDep,
    cursor: Cursor = None,
    severity: Annotated[str, Query(max_length=20)] = "",
    state: Annotated[str, Query(max_length=20)] = "",
    source: Annotated[Text, Query(max_length=300)] = "",
) -> Response:
    found = await alerts.list_all(
        session,
        visitor.principal,
        limit=PAGE,
        cursor=cursor,
        state=cast(AlertState, state) if state in STATES else None,
        severity=Severity(severity) if severity in set(Severity) else None,
        source=source.strip() or None,
    )
    chosen = {"severity": severity, "state": state, "source": source.strip()}
    return visitor.page(
        "alerts/list.html",
        section="alerts",
        live="account" if cursor is None else None,
        alerts=found.alerts,
        severities=list(Severity),
        states=STATES,
        chosen=chosen,
        is_filtered=any(chosen.values()),
        next=with_query("/alerts", cursor=found.next_cursor, **chosen) if found.next_cursor else None,
        first=with_query("/alerts", **chosen) if cursor else None,
    )


@router.get("/alerts/{alert_id}")
async def show(alert_id: Text, visitor: VisitorDep, session: SnapshotDep, settings: SettingsDep) -> Response:
    return await _page(visitor, session, settings, alert_id)


@router.post("/alerts/{alert_id}/redeliver")
async def tell_again(
    alert_id: Text, visitor: VisitorDep, form: FormDep, sessions: SessionsDep, settings: SettingsDep
) -> Response:
    try:
        body = build(alerts.Redelivery, {"channels": form.all("channels")})
        async with transaction(sessions) as session:
            await alerts.tell_again(alert_id, session, visitor.principal, settings, body)
    except DomainError as error:
        if error.status in (403, 404):
            raise
        async with snapshot(sessions) as session:
            return await _page(visitor, session, settings, alert_id, error=error, form=form)
    return see(f"/alerts/{alert_id}?done=told")


async def _page(
    visitor: Visitor,
    session: AsyncSession,
    settings: Settings,
    alert_id: str,
    *,
    error: DomainError | None = None,
    form: Form | None = None,
) -> Response:
    alert = await alerts.read(alert_id, session, visitor.principal)
    row = await get_alert(session, alert_id)
    assert row is not None
    log = await alerts.read_deliveries(alert_id, session, visitor.principal)
    trouble = await list_trouble(session, row, limit=MAX_TROUBLE)
    channels = await list_channels(session, visitor.account.id, limit=MAX_CHANNELS, before=None)
    is_temporal = not alert.subject.startswith("channel/")
    return visitor.page(
        "alerts/alert.html",
        section="alerts",
        live="account",
        done=DONE,
        error=error,
        form=form,
        alert=alert,
        kind_is_known=alert.kind in KINDS,
        states=STATES,
        deliveries=log.deliveries,
        trouble=trouble if len(trouble) > 1 else [],
        channels=channels,
        source_url=subject_url(alert.source),
        temporal=temporal_url(settings, alert.subject) if is_temporal else None,
    )
