"""What is known when a lineage event comes: whose its workflow is, what was told of its run and its stage before."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select, text
from sqlalchemy.ext.asyncio import AsyncSession

from domain.openlineage import End, EventType
from domain.pings import PingStatus
from domain.sloppy import moment_of
from domain.workflows import WorkflowDefinition
from storage.instances import Instance
from storage.workflows import Workflow


@dataclass(frozen=True)
class Owned:
    """Whose a workflow is, and the instance in it that was asked for. Without a definition while it is deleted."""

    account_id: str
    definition: WorkflowDefinition | None
    instance_id: str | None


@dataclass(frozen=True)
class Latest:
    """The event that a stage has its status of, by the order of the journal."""

    run_id: str
    type: EventType
    at: datetime
    status: PingStatus


@dataclass(frozen=True)
class StageEvents:
    """What events have told of a stage. Without `latest`, its latest ping is no event."""

    ends: tuple[End, ...] = ()
    latest: Latest | None = None


@dataclass(frozen=True)
class OpenStage:
    """A stage that is being worked on, by a run of that id."""

    path: str
    run_id: str


@dataclass(frozen=True)
class Told:
    """What events have told of a run before: of which stage it is, and when it started."""

    path: str | None = None
    started_at: datetime | None = None


_TOLD = text("""
SELECT path, payload ->> 'eventType' AS type, payload ->> 'eventTime' AS at
FROM pings
WHERE instance_id = :instance_id AND run_id = :run_id AND outcome = 'accepted'
ORDER BY received_at, id
LIMIT 5
""")

# Only ends say how a stage stands; what came late to one has its status, but is none. The latest of all comes last.
_STAGE = text("""
(
    SELECT run_id, payload ->> 'eventType' AS type, payload ->> 'eventTime' AS at, status, error,
           payload ->> 'assumed' IS NOT NULL AS assumed, false AS is_latest
    FROM pings
    WHERE instance_id = :instance_id AND path = :path AND outcome = 'accepted' AND status <> 'pending'
          AND upper(payload ->> 'eventType') = ANY(:ends)
    ORDER BY received_at DESC, id DESC
    LIMIT 20
) UNION ALL (
    SELECT run_id, payload ->> 'eventType', payload ->> 'eventTime', status, error,
           payload ->> 'assumed' IS NOT NULL, true
    FROM pings
    WHERE instance_id = :instance_id AND path = :path AND outcome = 'accepted'
    ORDER BY received_at DESC, id DESC
    LIMIT 1
)
""")

_OPEN = text("""
SELECT path, run_id FROM (
    SELECT DISTINCT ON (path) path, run_id, status
    FROM pings
    WHERE instance_id = :instance_id AND outcome = 'accepted'
    ORDER BY path, received_at DESC, id DESC
) latest
WHERE status = 'pending' AND run_id IS NOT NULL
""")


async def find_owners(session: AsyncSession, workflow_ids: Collection[str], external_id: str) -> dict[str, Owned]:
    """By id, those of the workflows that there are, with their instances of that external id."""
    of_it = (Instance.workflow_id == Workflow.id) & (Instance.external_id == external_id)
    query = select(Workflow, Instance.id).outerjoin(Instance, of_it).where(Workflow.id.in_(workflow_ids))
    owners: dict[str, Owned] = {}
    for workflow, instance_id in await session.execute(query):
        definition = workflow.definition() if workflow.deleted_at is None else None
        owners[workflow.id] = Owned(workflow.account_id, definition, instance_id)
    return owners


async def told_of(session: AsyncSession, instance_id: str, run_id: str) -> Told:
    """What the first events of a run have told."""
    rows = (await session.execute(_TOLD, {"instance_id": instance_id, "run_id": run_id})).all()
    starts = [_moment(row.at) for row in rows if str(row.type).upper() == EventType.START]
    return Told(rows[0].path if rows else None, min(filter(None, starts), default=None))


async def stage_events(session: AsyncSession, instance_id: str, path: str) -> StageEvents:
    """The latest ends, and the latest event."""
    asked = {"instance_id": instance_id, "path": path, "ends": [type_.value for type_ in EventType if type_.is_end]}
    ends: list[End] = []
    latest: Latest | None = None
    for row in await session.execute(_STAGE, asked):
        if row.run_id is None or (at := _moment(row.at)) is None:
            continue
        status = PingStatus(row.status)
        if row.is_latest:
            word = str(row.type).upper()
            # What was only assumed is no end of its own.
            is_known = word in EventType.__members__ and not row.assumed
            latest = Latest(row.run_id, EventType(word) if is_known else EventType.OTHER, at, status)
        else:
            ends.append(End(row.run_id, at, status, row.error, assumed=row.assumed))
    return StageEvents(tuple(ends), latest)


async def list_open_stages(session: AsyncSession, instance_id: str) -> list[OpenStage]:
    rows = await session.execute(_OPEN, {"instance_id": instance_id})
    return [OpenStage(row.path, row.run_id) for row in rows]


def _moment(value: object) -> datetime | None:
    try:
        return moment_of(value)
    except ValueError:
        return None
