"""Reading pulses: lists, how they stand, and their history."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import BigInteger, ColumnElement, and_, case, cast, func, literal, or_, select, text, tuple_
from sqlalchemy.ext.asyncio import AsyncSession
from sqlalchemy.orm import aliased, defer

from domain.pings import Event, PingFact
from domain.pulses import PulseStatus
from domain.subjects import pulse_subject
from storage.outbox import OutboxRow
from storage.pings import MAX_UNRECORDED, Ping
from storage.pulses import Pulse, PulseStanding, delivered_of
from storage.transitions import TransitionRow

MAX_TRANSITIONS: Final = 50_000
"""That are read at once."""

LOOKED_BACK: Final = 500
"""Pings in which the start of a run is looked for."""


@dataclass(frozen=True)
class Recorded:
    """How a pulse stands as its workflow has recorded it, and the pings that are not part of that yet."""

    standing: PulseStanding | None = None
    unrecorded: tuple[PingFact, ...] = ()


@dataclass(frozen=True)
class StatusChange:
    """A transition, and when those before and after it came."""

    row: TransitionRow
    before_at: datetime | None
    after_at: datetime | None


async def list_pulses(
    session: AsyncSession,
    account_id: str,
    *,
    limit: int,
    before: tuple[datetime, str] | None = None,
    statuses: Collection[str] = (),
    tag: str | None = None,
    name_part: str | None = None,
) -> list[Pulse]:
    """Newest first; `before` is the creation time and id of the last one of the page before.

    Of `statuses`, as recorded; with them come those whose latest pings or rules are not recorded yet: what they make
    of the status, only folding tells. `name_part` is part of the name or of the slug.
    """
    query = select(Pulse).where(Pulse.account_id == account_id, Pulse.deleted_at.is_(None))
    if before is not None:
        query = query.where(tuple_(Pulse.created_at, Pulse.id) < before)
    if tag is not None:
        query = query.where(Pulse.tags.contains([tag]))
    if name_part:
        query = query.where(or_(*(column.icontains(name_part, autoescape=True) for column in (Pulse.name, Pulse.slug))))
    if statuses:
        query = query.outerjoin(PulseStanding, PulseStanding.pulse_id == Pulse.id).where(may_have_status(statuses))
    query = query.order_by(Pulse.created_at.desc(), Pulse.id.desc()).limit(limit)
    return list((await session.scalars(query)).all())


async def list_recorded(session: AsyncSession, pulse_ids: Collection[str]) -> dict[str, Recorded]:
    """By pulse."""
    query = (
        select(Pulse.id, PulseStanding, _is_behind())
        .outerjoin(PulseStanding, PulseStanding.pulse_id == Pulse.id)
        .where(Pulse.id.in_(pulse_ids))
    )
    standings: dict[str, PulseStanding | None] = {}
    behind: dict[str, Mapping[int, int]] = {}
    for pulse_id, standing, is_behind in await session.execute(query):
        standings[pulse_id] = standing
        if is_behind:
            behind[pulse_subject(pulse_id)] = delivered_of(standing)
    unrecorded = await _list_unrecorded(session, behind) if behind else {}
    return {
        pulse_id: Recorded(standing, tuple(unrecorded.get(pulse_subject(pulse_id), ())))
        for pulse_id, standing in standings.items()
    }


async def _list_unrecorded(
    session: AsyncSession, delivered: Mapping[str, Mapping[int, int]]
) -> dict[str, list[PingFact]]:
    """By subject, the pings that are newer than all that were `delivered` by any gateway, and those on their way.

    For looking only: one that has overtaken another from a gateway of old may be left out for a moment. Looking for
    it would mean to read all since that gateway's last one.
    """
    facts = select(Ping).where(Ping.workflow_id.is_(None)).order_by(Ping.id).limit(MAX_UNRECORDED)
    facts = facts.options(*(defer(column) for column in (Ping.payload, Ping.text, Ping.usage, Ping.tool_calls)))
    newer = [
        and_(Ping.subject == subject, Ping.id > max(last.values(), default=0)) for subject, last in delivered.items()
    ]
    on_their_way = select(OutboxRow.ping_id).where(OutboxRow.subject.in_(delivered))
    found = {ping.id: ping for ping in await session.scalars(facts.where(or_(*newer)))}
    found |= {ping.id: ping for ping in await session.scalars(facts.where(Ping.id.in_(on_their_way)))}
    by_subject: dict[str, list[PingFact]] = {}
    for ping in found.values():
        assert ping.subject is not None
        if ping.id > delivered[ping.subject].get(ping.gateway_id, 0):
            by_subject.setdefault(ping.subject, []).append(ping.fact())
    return by_subject


def may_have_status(statuses: Collection[str]) -> ColumnElement[bool]:
    """Of pulses with their standing joined to them; see `list_pulses`."""
    return or_(recorded_status().in_(statuses), PulseStanding.revision < Pulse.revision, _is_behind())


def recorded_status() -> ColumnElement[str]:
    """Of pulses with their standing joined to them."""
    never_pinged = case((Pulse.paused_at.is_not(None), PulseStatus.PAUSED.value), else_=PulseStatus.NEW.value)
    return func.coalesce(PulseStanding.status, never_pinged)


def _is_behind() -> ColumnElement[bool]:
    """Whether there are pings that a pulse's standing, joined to it, may not know.

    It looks at the newest one alone, and at the outbox, in which others wait: one look into an index each.
    """
    subject = literal(pulse_subject("")).concat(Pulse.id)
    newest = (
        select(Ping.id).where(Ping.subject == subject, Ping.workflow_id.is_(None)).order_by(Ping.id.desc()).limit(1)
    )
    delivered = func.jsonb_each_text(PulseStanding.delivered).table_valued("key", "value")
    known = select(func.max(cast(delivered.c.value, BigInteger))).scalar_subquery()
    is_on_its_way = select(OutboxRow.ping_id).where(OutboxRow.subject == subject).exists()
    return or_(func.coalesce(newest.scalar_subquery(), 0) > func.coalesce(known, 0), is_on_its_way)


async def is_followed(session: AsyncSession, pulse_id: str) -> bool:
    """Whether it has a workflow, or is to have one: it was pinged, or is awaited."""
    is_pinged = select(Ping.id).where(Ping.subject == pulse_subject(pulse_id), Ping.workflow_id.is_(None)).exists()
    has_standing = select(PulseStanding.pulse_id).where(PulseStanding.pulse_id == pulse_id).exists()
    return bool(await session.scalar(select(or_(has_standing, is_pinged))))


async def list_pulse_pings(
    session: AsyncSession, subject: str, *, limit: int, before: int | None = None, event: Event | None = None
) -> list[Ping]:
    """Newest first; `before` is the last id of the page before."""
    query = select(Ping).where(Ping.subject == subject, Ping.workflow_id.is_(None))
    if before is not None:
        query = query.where(Ping.id < before)
    if event is not None:
        query = query.where(Ping.path == event.value)
    return list((await session.scalars(query.order_by(Ping.id.desc()).limit(limit))).all())


_RUN_SECONDS: Final = text("""
SELECT ended.id, extract(epoch FROM ended.received_at - began.received_at)
FROM pings ended
CROSS JOIN LATERAL (
    SELECT path, received_at FROM (
        SELECT id, path, run_id, received_at FROM pings
        WHERE subject = ended.subject AND workflow_id IS NULL AND id < ended.id
        ORDER BY id DESC LIMIT :looked_back
    ) earlier
    WHERE coalesce(run_id, '') = coalesce(ended.run_id, '') AND path <> 'log'
    ORDER BY id DESC LIMIT 1
) began
WHERE ended.id = ANY(:ping_ids) AND ended.path IN ('success', 'fail') AND began.path = 'start'
""")


async def run_seconds(session: AsyncSession, ping_ids: Collection[int]) -> dict[int, float]:
    """By the ping that ended a run, how long that took; a start that lies LOOKED_BACK pings back is not found."""
    rows = await session.execute(_RUN_SECONDS, {"ping_ids": list(ping_ids), "looked_back": LOOKED_BACK})
    return {row[0]: float(row[1]) for row in rows}


async def list_changes(
    session: AsyncSession,
    subject: str,
    *,
    limit: int,
    before: int | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
) -> list[StatusChange]:
    """Newest first; `before` is the last id of the page before."""
    other = aliased(TransitionRow)
    same = select(other.at).where(other.subject == subject)
    earlier = same.where(other.id < TransitionRow.id).order_by(other.id.desc()).limit(1).scalar_subquery()
    later = same.where(other.id > TransitionRow.id).order_by(other.id).limit(1).scalar_subquery()
    query = select(TransitionRow, earlier, later).where(TransitionRow.subject == subject)
    if before is not None:
        query = query.where(TransitionRow.id < before)
    if since is not None:
        query = query.where(TransitionRow.at >= since)
    if until is not None:
        query = query.where(TransitionRow.at < until)
    rows = await session.execute(query.order_by(TransitionRow.id.desc()).limit(limit))
    return [StatusChange(*row) for row in rows]


async def transitions_since(session: AsyncSession, subject: str, since: datetime) -> list[TransitionRow]:
    """In order, and before them the last one before `since`, if there was one. The latest MAX_TRANSITIONS at most."""
    of_subject = select(TransitionRow).where(TransitionRow.subject == subject).order_by(TransitionRow.id.desc())
    inside = (await session.scalars(of_subject.where(TransitionRow.at > since).limit(MAX_TRANSITIONS))).all()
    rows = list(reversed(inside))
    if len(rows) < MAX_TRANSITIONS:
        first = await session.scalar(of_subject.where(TransitionRow.at <= since).limit(1))
        rows = [*([first] if first is not None else []), *rows]
    return rows
