"""From alerts to deliveries: which channels are told of what, or why nobody is."""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy import ColumnElement, Text, Update, cast, func, insert, select, tuple_, update
from sqlalchemy.ext.asyncio import AsyncSession

from domain.alerts import Severity
from domain.errors import InvalidRequest
from domain.pulses import PulseStatus
from storage.alerts import AlertRow
from storage.channels import Attachment, Channel
from storage.messages import Delivery, Message
from storage.pulses import Pulse, PulseStanding

SETTLING: Final = timedelta(seconds=60)
"""When what an alert depends on is up again, its own trouble is given this long to end too."""

HINDSIGHT: Final = timedelta(seconds=2)
"""What depends on something waits for so long: both may go down in one moment, and in any order."""

ROUTING_LOCK: Final = 0x50756C7365  # any number that nobody else locks

NOBODY_TOLD: Final = "nobody was told of the trouble"
TOLD_ARE_GONE: Final = "every channel that was told of the trouble was deleted"
NO_CHANNEL: Final = "no channel is attached and the account has no default channel"
NOT_WANTED: Final = "no channel wants it: their severity or tags do not fit"
QUIET_HOURS: Final = "quiet hours"

Trouble = tuple[str, str]
"""Account and trouble."""


@dataclass(frozen=True)
class Routed:
    """`count` alerts were decided on. With `is_busy` another worker does it at this moment, and nothing was done."""

    count: int = 0
    is_busy: bool = False


@dataclass
class _Parents:
    """What alerts depend on: pulses by id, with name, whether each is down, and since when it stands as it does."""

    pulses: dict[str, tuple[str, bool, datetime | None]]

    def are_down(self, depends_on: Iterable[str]) -> bool:
        return any(self.pulses[id_][1] for id_ in depends_on if id_ in self.pulses)

    def now(self, alert: AlertRow) -> str:
        """Why it is held."""
        names = [self.pulses[id_][0] for id_ in alert.depends_on if id_ in self.pulses and self.pulses[id_][1]]
        return f"while {' and '.join(names)} {'is' if len(names) == 1 else 'are'} down"

    def meanwhile(self, alert: AlertRow) -> str:
        """Why one that was held is not told: what was down at some time since, or else all that it depends on."""
        known = [self.pulses[id_] for id_ in alert.depends_on if id_ in self.pulses]
        names = [name for name, is_down, since in known if is_down or (since is not None and since > alert.created_at)]
        names = names or [name for name, _, _ in known] or ["what it depends on"]
        return f"while {' and '.join(names)} {'was' if len(names) == 1 else 'were'} down"


@dataclass
class _Decisions:
    """What becomes of alerts, written at once at the end: thousands of them may come together."""

    states: dict[tuple[str, str | None], list[str]] = field(default_factory=dict)
    deliveries: list[dict[str, object]] = field(default_factory=list)
    count: int = 0

    def decide(self, alert: AlertRow, state: str, reason: str | None = None) -> None:
        self.states.setdefault((state, reason), []).append(alert.id)
        self.count += 1

    def tell(self, alert: AlertRow, channels: Iterable[tuple[Channel, Severity]], now: datetime) -> None:
        """`channels` with the severity that decides whether their quiet hours matter."""
        self.decide(alert, "told")
        for channel, severity in channels:
            quiet_until = _quiet_until(channel, severity, now)
            self.deliveries.append(
                {
                    "alert_id": alert.id,
                    "channel_id": channel.id,
                    "not_before": quiet_until or now,
                    "waits_for": QUIET_HOURS if quiet_until is not None else None,
                }
            )

    async def write(self, session: AsyncSession) -> int:
        """Returns the number of decisions."""
        for (state, reason), ids in self.states.items():
            changes = {"state": state, "silent_reason": reason, "settles_at": None}
            await session.execute(_update().where(AlertRow.id.in_(ids)).values(**changes))
        if self.deliveries:
            await session.execute(insert(Delivery), self.deliveries)
        return self.count


async def route_alerts(session: AsyncSession, now: datetime, *, limit: int = 1000) -> Routed:
    """Decides which channels are told of new alerts, and of held ones whose time has come.

    One worker at a time: a good end needs to know what was decided on its trouble.
    """
    # A worker that is stopped or cut off in the middle of it must not keep the others from telling for ever.
    begin = select(
        func.pg_try_advisory_xact_lock(ROUTING_LOCK),
        func.set_config("idle_in_transaction_session_timeout", "10s", True),
    )
    if not (await session.execute(begin)).one()[0]:
        return Routed(is_busy=True)
    is_ripe = AlertRow.resolves | (AlertRow.depends_on == []) | (AlertRow.created_at <= now - HINDSIGHT)
    new = await _take(session, AlertRow.state == "new", is_ripe, limit=limit)
    held_for = await _held_for(session)
    parents = await _parents(session, [*(alert.depends_on for alert in new), *held_for.values()])
    count = await _route_bad_news(session, now, [alert for alert in new if not alert.resolves], parents)
    if held_for:
        settled = await _settled(session, now, held_for, parents, limit=limit)
        count += await _route_bad_news(session, now, settled, parents)
    count += await _route_good_ends(session, now, [alert for alert in new if alert.resolves])
    return Routed(count)


async def _take(session: AsyncSession, *conditions: ColumnElement[bool], limit: int) -> Sequence[AlertRow]:
    """Trouble before good ends, and those in the order in which they came."""
    query = (
        select(AlertRow)
        .where(*conditions)
        .order_by(AlertRow.resolves, AlertRow.created_at, AlertRow.id)
        .limit(limit)
        .with_for_update(skip_locked=True)
        # The session may know them from an earlier round.
        .execution_options(populate_existing=True)
    )
    return (await session.scalars(query)).all()


async def _held_for(session: AsyncSession) -> dict[str, list[str]]:
    """What held alerts depend on, by its text in the table: few, even if many alerts are held."""
    column = cast(AlertRow.depends_on, Text)
    held = select(column, func.min(AlertRow.id)).where(AlertRow.state == "held").group_by(column)
    found = {row[0]: row[1] for row in await session.execute(held)}
    if not found:
        return {}
    one_of_each = select(AlertRow.id, AlertRow.depends_on).where(AlertRow.id.in_(found.values()))
    depends_on = {row[0]: row[1] for row in await session.execute(one_of_each)}
    return {written: depends_on[id_] for written, id_ in found.items() if id_ in depends_on}


async def _parents(session: AsyncSession, depends_on: Iterable[Iterable[str]]) -> _Parents:
    if not (ids := {id_ for ids in depends_on for id_ in ids}):
        return _Parents({})
    query = (
        select(Pulse.id, Pulse.name, PulseStanding.status, PulseStanding.since)
        .join(PulseStanding, PulseStanding.pulse_id == Pulse.id)
        # One that was deleted while it was down would stay down for ever.
        .where(Pulse.id.in_(ids), Pulse.deleted_at.is_(None))
    )
    rows = await session.execute(query)
    return _Parents({id_: (name, status == PulseStatus.DOWN, since) for id_, name, status, since in rows})


async def _settled(
    session: AsyncSession, now: datetime, held_for: dict[str, list[str]], parents: _Parents, *, limit: int
) -> Sequence[AlertRow]:
    """Held alerts that have waited for long enough since nothing they depend on was down any more."""
    free = [written for written, depends_on in held_for.items() if not parents.are_down(depends_on)]
    is_free = cast(AlertRow.depends_on, Text).in_(free)
    held = _update().where(AlertRow.state == "held")
    await session.execute(held.where(~is_free, AlertRow.settles_at.is_not(None)).values(settles_at=None))
    if not free:
        return []
    await session.execute(held.where(is_free, AlertRow.settles_at.is_(None)).values(settles_at=now + SETTLING))
    return await _take(session, AlertRow.state == "held", is_free, AlertRow.settles_at <= now, limit=limit)


async def _route_bad_news(session: AsyncSession, now: datetime, alerts: Sequence[AlertRow], parents: _Parents) -> int:
    if not alerts:
        return 0
    channels, decisions = await _channels_of(session, alerts), _Decisions()
    for alert in alerts:
        severity = Severity(alert.severity)
        candidates = channels[alert.account_id, alert.source]
        told = [channel for channel in candidates if channel.routing().wants(severity, alert.tags)]
        if parents.are_down(alert.depends_on):
            decisions.decide(alert, "held", parents.now(alert))
        elif told:
            decisions.tell(alert, [(channel, severity) for channel in told], now)
        else:
            decisions.decide(alert, "silent", NOT_WANTED if candidates else NO_CHANNEL)
    return await decisions.write(session)


async def _channels_of(session: AsyncSession, alerts: Sequence[AlertRow]) -> dict[tuple[str, str], list[Channel]]:
    """By account and source: the attached channels or, without any, the account's default ones."""
    sources = {(alert.account_id, alert.source) for alert in alerts}
    on = (Attachment.channel_id == Channel.id) & Attachment.source.in_({source for _, source in sources})
    query = (
        select(Channel, Attachment.source)
        .outerjoin(Attachment, on)
        .where(
            Channel.account_id.in_({account_id for account_id, _ in sources}),
            Channel.deleted_at.is_(None),
            Channel.is_default | Attachment.source.is_not(None),
        )
        .order_by(Channel.id)
        .execution_options(populate_existing=True)
    )
    attached: dict[tuple[str, str], list[Channel]] = {}
    default: dict[str, dict[str, Channel]] = {}
    for channel, source in await session.execute(query):
        if source is not None:
            attached.setdefault((channel.account_id, source), []).append(channel)
        if channel.is_default:
            default.setdefault(channel.account_id, {})[channel.id] = channel
    return {key: attached.get(key) or list(default.get(key[0], {}).values()) for key in sources}


@dataclass
class _History:
    """What was decided on a trouble before its good end."""

    is_undecided: bool = False
    held: dict[str, AlertRow] = field(default_factory=dict)
    told: dict[str, tuple[Channel, Severity]] = field(default_factory=dict)
    """Channels that were told, and the gravest of what they were told."""
    told_are_gone: bool = False


async def _route_good_ends(session: AsyncSession, now: datetime, alerts: Sequence[AlertRow]) -> int:
    """The end of a trouble is told to whoever was told of the trouble, and at once.

    A trouble that is held is over: it is not told any more.
    """
    if not alerts:
        return 0
    decisions, silent = _Decisions(), dict[Trouble, str]()
    histories = await _histories(session, {(alert.account_id, alert.trouble) for alert in alerts})
    held = [alert for history in histories.values() for alert in history.held.values()]
    parents = await _parents(session, [alert.depends_on for alert in held])
    for alert in held:
        reason = silent[alert.account_id, alert.trouble] = parents.meanwhile(alert)
        decisions.decide(alert, "silent", reason)
    for alert in alerts:
        key = alert.account_id, alert.trouble
        history = histories.get(key, _History())
        if history.is_undecided:
            continue
        if history.told:
            # Whom trouble woke at night, its end may wake too.
            own = Severity(alert.severity)
            decisions.tell(
                alert, [(channel, max(own, grave, key=_rank)) for channel, grave in history.told.values()], now
            )
        else:
            decisions.decide(alert, "silent", silent.get(key, TOLD_ARE_GONE if history.told_are_gone else NOBODY_TOLD))
    return await decisions.write(session)


async def _histories(session: AsyncSession, troubles: Collection[Trouble]) -> dict[Trouble, _History]:
    query = (
        select(AlertRow, Channel, Message.state)
        .outerjoin(Delivery, Delivery.alert_id == AlertRow.id)
        .outerjoin(Channel, Channel.id == Delivery.channel_id)
        .outerjoin(Message, Message.id == Delivery.message_id)
        .where(tuple_(AlertRow.account_id, AlertRow.trouble).in_(troubles), AlertRow.resolves.is_(False))
        .order_by(Delivery.id)
        .execution_options(populate_existing=True)
    )
    histories: dict[Trouble, _History] = {}
    for alert, channel, message_state in await session.execute(query):
        history = histories.setdefault((alert.account_id, alert.trouble), _History())
        # Not ripe, more than fit into this round, or locked by somebody else.
        history.is_undecided |= alert.state == "new"
        if alert.state == "held":
            history.held[alert.id] = alert
        if channel is None or message_state == "failed":
            continue
        if channel.deleted_at is not None:
            history.told_are_gone = True
            continue
        severity = Severity(alert.severity)
        _, before = history.told.get(channel.id, (channel, severity))
        history.told[channel.id] = channel, max(before, severity, key=_rank)
    return histories


def _rank(severity: Severity) -> int:
    return severity.rank


def _quiet_until(channel: Channel, severity: Severity, now: datetime) -> datetime | None:
    try:
        quiet = channel.quiet()
    except InvalidRequest:
        # A time zone that this machine does not know: rather loud than silent.
        return None
    return None if quiet is None or severity.rank >= quiet.severity.rank else quiet.until(now)


def _update() -> Update:
    """Of alerts in the table; what the session has of them is read anew before it is used."""
    return update(AlertRow).execution_options(synchronize_session=False)
