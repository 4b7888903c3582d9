"""What there is to export of an instance, and instances that come from such a file."""

from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

import orjson
from sqlalchemy import JSON, Text, cast, select, text, tuple_
from sqlalchemy.dialects import postgresql
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.ext.asyncio import AsyncSession

from domain.evaluation import InstanceView, change_between
from domain.exports import Exported
from domain.forks import Origin
from domain.ids import new_instance_id, new_workflow_id, random_id
from domain.instances import InstanceStatus, Outage
from domain.routing import External, is_first_stage
from domain.subjects import instance_subject
from domain.timeline import SHOWN
from domain.transitions import Transition
from storage.instances import Instance, record_change
from storage.outages import list_outages_of
from storage.pings import Ping
from storage.slugs import slug_is_taken
from storage.workflows import Workflow, columns_of

NO_GATEWAY: Final = 0
"""Of the pings that no gateway has received here."""

_LOCAL: Final = frozenset(
    {"id", "gateway_id", "account_id", "workflow_id", "instance_id", "subject", "run_id"}
    | {"cost_day", "budget", "reservation_id"}
)
"""What says where a ping is, not what it is: whose day its cost falls on, and what its budget was, too."""

KEPT: Final = tuple(column.name for column in Ping.__table__.columns if column.name not in _LOCAL)
"""The columns that are exported of each ping, and imported again."""

LINEAGE: Final = ("origin", "parent_id", "root_id", "fork_depth", "fork_from_stage")

PAGE: Final = 1_000


async def list_kept(session: AsyncSession, instance_id: str) -> AsyncIterator[list[dict[str, Any]]]:
    """The steps of an instance in order, some at a time. JSON as it was sent is a fragment of JSON, money is text."""
    columns = [Ping.__table__.c[name] for name in KEPT]
    query = (
        select(Ping.id, *(cast(column, Text) if isinstance(column.type, JSON) else column for column in columns))
        .where(Ping.instance_id == instance_id, Ping.outcome.in_(SHOWN))
        .order_by(Ping.received_at, Ping.id)
        .limit(PAGE)
    )
    received_at, is_json = KEPT.index("received_at"), [isinstance(column.type, JSON) for column in columns]
    after: tuple[datetime, int] | None = None
    while True:
        page = query if after is None else query.where(tuple_(Ping.received_at, Ping.id) > after)
        rows = (await session.execute(page)).all()
        if not rows:
            return
        yield [_kept(row[1:], is_json) for row in rows]
        after = (rows[-1][1 + received_at], rows[-1][0])


def _kept(values: Sequence[Any], is_json: Sequence[bool]) -> dict[str, Any]:
    return {
        name: orjson.Fragment(value) if is_text and value is not None else value
        for name, value, is_text in zip(KEPT, values, is_json, strict=True)
    }


def lineage_of(instance: Instance) -> dict[str, Any]:
    """What an instance was made of. Of one that was imported, in the installation that it comes from."""
    if instance.imported is not None:
        return dict(instance.imported["lineage"])
    return {name: getattr(instance, name) for name in LINEAGE}


def external_id_of(instance: Instance) -> str | None:
    """Of one that was imported, in the installation that it comes from: here, it would take what comes of that id."""
    if instance.imported is not None:
        return instance.imported.get("external_id")
    return instance.external_id


def imported_from(instance: Instance) -> dict[str, Any] | None:
    """Where an instance that was imported comes from; None for any other."""
    if instance.imported is None:
        return None
    return {name: instance.imported[name] for name in ("instance_id", "workflow_id", "exported_at", "imported_at")}


async def outages_of(session: AsyncSession, instance: Instance, until: datetime) -> tuple[Outage, ...]:
    """When no gateway could take pings of the instance: those of the installation that took them."""
    if instance.imported is not None:
        return tuple(
            Outage(datetime.fromisoformat(start), datetime.fromisoformat(end))
            for start, end in instance.imported["outages"]
        )
    return await list_outages_of(session, instance.id, instance.opened_at, until)


async def still_times(session: AsyncSession, instance: Instance, until: datetime) -> tuple[Outage, ...]:
    """What an export has of the times that did not count for the instance's deadlines: its outages, and its pauses, one
    that goes on up to `until`. For whom it is imported, they are the same."""
    pauses = tuple(replace(pause, end=pause.end or max(pause.start, until)) for pause in instance.pauses_made())
    state = replace(instance.before_pings(), pauses=pauses, outages=await outages_of(session, instance, until))
    return state.still


async def import_instance(
    session: AsyncSession,
    account_id: str,
    exported: Exported,
    view: InstanceView,
    transitions: tuple[Transition, ...],
    pings: Sequence[str],
    origin: Mapping[str, Any],
    now: datetime,
) -> tuple[Instance, bool]:
    """A finished instance with copies of all pings, and whether its workflow was made for it.

    Nothing is told of it: no outbox, no alerts, no workflow at Temporal. `pings` are JSON lists of rows by KEPT, in
    order. `origin` is what stays known of where it comes from.
    """
    workflow_id, is_new = await _workflow_for(session, account_id, exported, now)
    definition = replace(exported.definition, id=workflow_id, account_id=account_id)
    external = exported.external or External()
    instance = Instance(
        id=new_instance_id(definition.kind),
        workflow_id=workflow_id,
        account_id=account_id,
        status=InstanceStatus.RUNNING.value,
        opened_at=exported.opened_at,
        first_stage_seen=not definition.is_static or any(map(is_first_stage, exported.facts)),
        definition=columns_of(definition),
        version=0,
        origin=Origin.IMPORT.value,
        correlation_id=external.correlation_id,
        started_at=external.started_at,
        ended_at=external.ended_at,
        imported={
            **origin,
            "external_id": external.id,
            "imported_at": now.isoformat(),
            "outages": [[outage.start.isoformat(), outage.end.isoformat()] for outage in exported.outages],
        },
    )
    session.add(instance)
    await session.flush()
    subject = instance_subject(workflow_id, instance.id)
    local = {"gateway_id": NO_GATEWAY, "account_id": account_id, "workflow_id": workflow_id}
    for rows in pings:
        await session.execute(_COPY, {**local, "instance_id": instance.id, "subject": subject, "rows": rows})
    change = change_between(instance.id, 1, None, view)
    # It is closed as of now, whatever is left of its grace: no ping can join it.
    await record_change(session, replace(change, closes_at=min(view.closes_at or now, now), transitions=transitions))
    await session.refresh(instance)
    return instance, is_new


def _types() -> str:
    dialect = postgresql.dialect()  # type: ignore[no-untyped-call]
    return ", ".join(f'"{name}" {Ping.__table__.c[name].type.compile(dialect)}' for name in KEPT)


_NAMES = ", ".join(f'"{name}"' for name in KEPT)

_COPY = text(
    f"INSERT INTO pings (gateway_id, account_id, workflow_id, instance_id, subject, {_NAMES}) "
    f"SELECT :gateway_id, :account_id, :workflow_id, :instance_id, :subject, {_NAMES} "
    f"FROM ROWS FROM (json_to_recordset(CAST(:rows AS json)) AS ({_types()})) WITH ORDINALITY "
    "ORDER BY ordinality"
)
"""The ids grow in the order of the rows, which settles which of two of the same moment came first."""


async def _workflow_for(session: AsyncSession, account_id: str, exported: Exported, now: datetime) -> tuple[str, bool]:
    """The account's workflow of that id and kind, or a new one; under its id if nobody has that."""
    definition = replace(exported.definition, account_id=account_id)
    existing = await session.get(Workflow, definition.id)
    if existing is not None:
        if (existing.account_id, existing.kind) == (account_id, definition.kind) and existing.deleted_at is None:
            return existing.id, False
        definition = replace(definition, id=new_workflow_id(definition.kind))
    if await slug_is_taken(session, Workflow, account_id, definition.slug):
        definition = replace(definition, slug=random_id(f"{definition.slug[:100]}-", 6))
    values = {**columns_of(definition), "created_at": now, "updated_at": now, "deleted_at": None}
    made = insert(Workflow).values(values).on_conflict_do_nothing().returning(Workflow.id)
    while await session.scalar(made) is None:
        # Another request was quicker to take the id or the slug.
        values |= {"id": new_workflow_id(definition.kind), "slug": random_id(f"{definition.slug[:100]}-", 6)}
        made = insert(Workflow).values(values).on_conflict_do_nothing().returning(Workflow.id)
    return str(values["id"]), True
