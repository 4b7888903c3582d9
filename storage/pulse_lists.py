"""Lists of an account's pulses for people: what needs them first, and by name."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from sqlalchemy import ColumnElement, and_, case, func, or_, select, tuple_
from sqlalchemy.ext.asyncio import AsyncSession

from domain.pulses import PulseStatus
from storage.pulse_reads import may_have_status, recorded_status
from storage.pulses import Pulse, PulseStanding

MAX_TAGS: Final = 200

_ORDER: Final = (
    PulseStatus.DOWN,
    PulseStatus.LATE,
    PulseStatus.UNKNOWN,
    PulseStatus.UP,
    PulseStatus.PAUSED,
    PulseStatus.NEW,
)
_URGENCY: Final = {status.value: place for place, status in enumerate(_ORDER)}
"""Which comes first."""


@dataclass(frozen=True)
class Place:
    """Where a pulse stands in the list."""

    urgency: int
    name: str
    id: str


@dataclass(frozen=True)
class Named:
    """A pulse that others refer to."""

    id: str
    slug: str
    name: str


async def list_by_urgency(
    session: AsyncSession,
    account_id: str,
    *,
    limit: int,
    after: Place | None = None,
    statuses: Collection[str] = (),
    tag: str | None = None,
    name_part: str | None = None,
) -> list[tuple[Pulse, Place]]:
    """Those that are down first, then those that are late; by name among their like. `after` is the place of the last
    one of the page before. The other filters are as those of `list_pulses`."""
    urgency, name = case(_URGENCY, value=recorded_status(), else_=len(_URGENCY)), func.lower(_shown_name())
    query = (
        select(Pulse, urgency, name)
        .outerjoin(PulseStanding, PulseStanding.pulse_id == Pulse.id)
        .where(Pulse.account_id == account_id, Pulse.deleted_at.is_(None))
        .order_by(urgency, name, Pulse.id)
        .limit(limit)
    )
    if after is not None:
        query = query.where(tuple_(urgency, name, Pulse.id) > (after.urgency, after.name, after.id))
    if statuses:
        query = query.where(may_have_status(statuses))
    if tag is not None:
        query = query.where(Pulse.tags.contains([tag]))
    if name_part:
        query = query.where(or_(*(column.icontains(name_part, autoescape=True) for column in (Pulse.name, Pulse.slug))))
    return [(pulse, Place(place, named, pulse.id)) for pulse, place, named in await session.execute(query)]


async def count_by_status(session: AsyncSession, account_id: str) -> dict[PulseStatus, int]:
    """As recorded, those with the most urgent status first."""
    status = recorded_status()
    query = (
        select(status, func.count())
        .select_from(Pulse)
        .outerjoin(PulseStanding, PulseStanding.pulse_id == Pulse.id)
        .where(Pulse.account_id == account_id, Pulse.deleted_at.is_(None))
        .group_by(status)
    )
    counts = {PulseStatus(name): count for name, count in await session.execute(query)}
    return {status: counts[status] for status in _ORDER if status in counts}


async def list_tags(session: AsyncSession, account_id: str) -> list[str]:
    """The tags of all its pulses, MAX_TAGS at most."""
    tag = func.jsonb_array_elements_text(Pulse.tags).label("tag")
    query = select(tag).where(Pulse.account_id == account_id, Pulse.deleted_at.is_(None)).distinct()
    return sorted(await session.scalars(query.limit(MAX_TAGS)))


async def list_related(session: AsyncSession, pulse: Pulse) -> tuple[list[Named], list[Named]]:
    """What it depends on, and what depends on it."""
    is_above, is_below = Pulse.id.in_(pulse.depends_on), Pulse.depends_on.contains([pulse.id])
    query = (
        select(Pulse.id, Pulse.slug, _shown_name(), is_above)
        .where(and_(Pulse.account_id == pulse.account_id, Pulse.deleted_at.is_(None)), or_(is_above, is_below))
        .order_by(func.lower(_shown_name()), Pulse.id)
    )
    above: list[Named] = []
    below: list[Named] = []
    for id_, slug, name, is_parent in await session.execute(query):
        (above if is_parent else below).append(Named(id_, slug, name))
    return above, below


def _shown_name() -> ColumnElement[str]:
    return func.coalesce(func.nullif(Pulse.name, ""), Pulse.slug)
