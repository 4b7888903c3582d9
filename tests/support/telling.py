"""Channels and alerts of one account, as tests of telling need them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any, Final

from sqlalchemy import delete, select, update
from temporalio import activity

from activities.messages import MessageActivities
from activities.senders.base import Envelope, Receipt
from domain.alerts import Alert, Severity
from domain.channels import ChannelKind
from domain.ids import random_id
from domain.process_alerts import PROCESS_OVERDUE, PROCESS_RECOVERED
from domain.pulses import PulseDefinition
from storage.accounts import create_account
from storage.alerts import AlertRow, raise_alerts
from storage.base import Sessions, transaction
from storage.channels import Attachment, Channel
from storage.forming import Formed, form_messages
from storage.messages import Attempt, Delivery, Message
from storage.pulses import Pulse, PulseStanding, columns_of
from storage.telling import Routed, route_alerts
from storage.vault import Vault

TROUBLE: Final = PROCESS_OVERDUE
GOOD_END: Final = PROCESS_RECOVERED
VAULT: Final = Vault("a secret for tests, of 32 characters or more")
NOON: Final = datetime(2025, 1, 15, 12, tzinfo=UTC)


@dataclass
class Desk:
    """Where the alerts of an account are told. Times are in seconds after `noon`."""

    sessions: Sessions
    account_id: str
    noon: datetime = NOON

    def at(self, seconds: float) -> datetime:
        return self.noon + timedelta(seconds=seconds)

    async def channel(self, *, default: bool = True, sources: Iterable[str] = (), **values: Any) -> str:
        """The id of a new channel, attached to `sources`."""
        id_ = random_id("chn_", 12)
        fields = {
            "kind": "webhook",
            "name": "ops",
            "address": VAULT.encrypt("https://example.com/secret"),
            "shown_address": "https://example.com/…",
            "severity": "info",
            "tags": [],
            "messages_per_minute": 10,
            "created_at": self.noon,
            "updated_at": self.noon,
            **values,
        }
        async with transaction(self.sessions) as session:
            session.add(Channel(id=id_, account_id=self.account_id, is_default=default, **fields))
            await session.flush()
            session.add_all(Attachment(source=source, channel_id=id_) for source in sources)
        return id_

    async def change(self, channel_id: str, **values: Any) -> None:
        async with transaction(self.sessions) as session:
            await session.execute(update(Channel).where(Channel.id == channel_id).values(**values))

    async def pulse(self, name: str, status: str = "up", seconds: float = 0) -> str:
        """The id of a new pulse that stands so since then."""
        definition = PulseDefinition(random_id("pls_", 12), self.account_id, name, slug=name, period_seconds=60.0)
        definition = replace(definition, slug=definition.id)
        async with transaction(self.sessions) as session:
            times = {"created_at": self.noon, "updated_at": self.noon}
            session.add(Pulse(**columns_of(definition), badge_token=definition.id, **times))
            await session.flush()
            session.add(
                PulseStanding(
                    pulse_id=definition.id,
                    version=1,
                    revision=1,
                    status=status,
                    since=self.at(seconds),
                    failures=0,
                    state={},
                    delivered={},
                )
            )
        return definition.id

    async def stand(self, pulse_id: str, status: str, seconds: float) -> None:
        async with transaction(self.sessions) as session:
            values = {"status": status, "since": self.at(seconds)}
            await session.execute(update(PulseStanding).where(PulseStanding.pulse_id == pulse_id).values(**values))

    def alert(self, name: str = "backup", seconds: float = 0, *, ends: bool = False, **values: Any) -> Alert:
        kind = GOOD_END if ends else TROUBLE
        if severity := values.pop("severity", None):
            kind = replace(kind, severity=Severity(severity))
        fields = {
            "kind": kind,
            "account_id": self.account_id,
            "source": f"process/{name}",
            "subject": f"process/{name}/1",
            "name": name,
            "title": f"{name} {kind.one}",
            "trouble": f"process/{name}/1",
            "dedupe_key": f"{name}/{seconds}/{kind.name}",
            "at": self.at(seconds),
        }
        return Alert(**{**fields, **values})

    async def tell(self, *alerts: Alert, seconds: float = 0) -> None:
        async with transaction(self.sessions) as session:
            await raise_alerts(session, alerts, self.at(seconds))

    async def raise_(self, name: str = "backup", seconds: float = 0, **values: Any) -> None:
        await self.tell(self.alert(name, seconds, **values), seconds=seconds)

    async def route(self, seconds: float = 0, **options: Any) -> Routed:
        async with transaction(self.sessions) as session:
            return await route_alerts(session, self.at(seconds), **options)

    async def form(self, seconds: float = 0) -> Formed:
        async with transaction(self.sessions) as session:
            return await form_messages(session, self.at(seconds))

    async def step(self, seconds: float = 0) -> list[list[str]]:
        """Routes and forms; returns what each message tells."""
        await self.route(seconds)
        formed = await self.form(seconds)
        told = await self.told()
        return [told[message.id] for message in formed.messages]

    async def told(self) -> dict[str, list[str]]:
        """By message in the order of their creation, the names in it; those of good ends with a `+`."""
        query = (
            select(Message.id, AlertRow.name, AlertRow.resolves)
            .join(Delivery, Delivery.message_id == Message.id)
            .join(AlertRow, AlertRow.id == Delivery.alert_id)
            .where(Message.account_id == self.account_id)
            .order_by(Message.created_at, Message.id, AlertRow.at, AlertRow.resolves, AlertRow.name)
        )
        found: dict[str, list[str]] = {}
        async with self.sessions() as session:
            for message_id, name, resolves in await session.execute(query):
                found.setdefault(message_id, []).append(f"+{name}" if resolves else name)
        return found

    async def states(self) -> dict[str, tuple[str, str | None]]:
        """By name as in `told`, what became of the alerts, and why."""
        query = select(AlertRow).where(AlertRow.account_id == self.account_id).order_by(AlertRow.at)
        async with self.sessions() as session:
            return {
                ("+" if row.resolves else "") + row.name: (row.state, row.silent_reason)
                for row in await session.scalars(query)
            }

    async def deliveries(self) -> list[Delivery]:
        query = (
            select(Delivery)
            .join(Channel, Channel.id == Delivery.channel_id)
            .where(Channel.account_id == self.account_id)
            .order_by(Delivery.id)
        )
        async with self.sessions() as session:
            return list((await session.scalars(query)).all())

    async def messages(self) -> list[Message]:
        query = select(Message).where(Message.account_id == self.account_id).order_by(Message.created_at, Message.id)
        async with self.sessions() as session:
            return list((await session.scalars(query)).all())

    async def attempts(self, message_id: str) -> list[Attempt]:
        async with self.sessions() as session:
            query = select(Attempt).where(Attempt.message_id == message_id).order_by(Attempt.id)
            return list((await session.scalars(query)).all())

    async def finish(self, state: str = "sent") -> None:
        """Every pending message is `sent` or `failed` now."""
        async with transaction(self.sessions) as session:
            pending = update(Message).where(Message.account_id == self.account_id, Message.state == "pending")
            await session.execute(pending.values(state=state, finished_at=self.noon))


async def make_desk(sessions: Sessions, noon: datetime = NOON) -> Desk:
    """In a database in which nothing else is to be told any more."""
    async with transaction(sessions) as session:
        for table in (Attempt, Delivery, Message, AlertRow):
            await session.execute(delete(table))
        account = await create_account(session, "desk", noon)
    return Desk(sessions, account.id, noon)


@dataclass
class Receiver:
    """Stands for the outside world: takes envelopes, and answers each as it is told to; the last answer for ever."""

    answers: list[Receipt | Exception] = field(default_factory=lambda: [Receipt(200, "ok")])
    taken: list[Envelope] = field(default_factory=list)
    times: list[datetime] = field(default_factory=list)

    async def __call__(self, envelope: Envelope) -> Receipt:
        self.taken.append(envelope)
        self.times.append(activity.info().started_time)
        answer = self.answers[min(len(self.taken), len(self.answers)) - 1]
        if isinstance(answer, Exception):
            raise answer
        return answer

    @property
    def gaps(self) -> list[int]:
        """Whole seconds between attempts."""
        return [int((after - before).total_seconds()) for before, after in pairwise(self.times)]

    def activities(self, sessions: Sessions, clock: Callable[[], datetime]) -> MessageActivities:
        return MessageActivities(sessions, clock, VAULT, {ChannelKind.WEBHOOK: self}, {}, "https://pingpulse.example")
