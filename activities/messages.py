"""What a MessageWorkflow may do: send its message, and give it up."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from time import monotonic
from typing import Any, Final

import structlog
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncSession
from temporalio import activity
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from activities.letters.base import LetterSender
from activities.letters.invitation import InvitationSender
from activities.senders.base import Envelope, NotNeeded, Receipt, Sender, TryLater, Undeliverable
from domain.alerts import CHANNEL_TEST
from domain.channels import ChannelKind
from domain.letters import LetterTopic
from domain.messages import GIVE_UP_AFTER, ToldAlert, compose, gap_after
from storage import forming, messages
from storage.alerts import told_alert
from storage.base import Sessions, transaction
from storage.channels import Channel
from storage.letters import load_invitation_letter, load_letter
from storage.messages import Attempt, Message
from storage.vault import Vault, VaultError

log = structlog.get_logger(__name__)

SENDER_TIMEOUT: Final = 30.0
HEARTBEAT_SECONDS: Final = 3.0
RECORDING_GAPS: Final = (0.5, 2.0, 5.0)
"""Between attempts to record that a message was sent. If all fail, it is sent again."""

MAX_DETAIL: Final = 500

SENT: Final = "sent"
FAILED: Final = "failed"
RETRY: Final = "retry"
DROPPED: Final = "dropped"

Sending = Callable[[], Awaitable[Receipt]]
"""Sends what was read of a message. Raises TryLater, Undeliverable and NotNeeded."""


@dataclass(frozen=True)
class _Outcome:
    """Of an attempt. `gap`: another follows after that time."""

    name: str
    detail: str | None = None
    status_code: int | None = None
    gap: timedelta | None = None


class MessageActivities:
    """`senders` by kind of channel, `letters` by what a letter about an approval says, `invitations` sends those about
    invitations. `base_url` is where people find PingPulse."""

    def __init__(
        self,
        sessions: Sessions,
        clock: Callable[[], datetime],
        vault: Vault,
        senders: Mapping[ChannelKind, Sender],
        letters: Mapping[LetterTopic, LetterSender],
        base_url: str,
        invitations: InvitationSender | None = None,
    ) -> None:
        self._sessions = sessions
        self._clock = clock
        self._vault = vault
        self._senders = {kind.value: sender for kind, sender in senders.items()}
        self._letters = {topic.value: sender for topic, sender in letters.items()}
        self._invitations = invitations
        self._base_url = base_url

    @activity.defn
    async def send_message(self, message_id: str) -> str:
        """One attempt; returns the message's state: `sent`, `failed` or `dropped`. Raises ApplicationError if another
        follows.

        A message that is recorded as sent is not sent again, however often this is called.
        """
        async with _heartbeats():
            return await self._attempt(message_id)

    async def _attempt(self, message_id: str) -> str:
        async with transaction(self._sessions) as session:
            found = await messages.load_message(session, message_id)
            if found is None:
                raise ApplicationError(f"There is no message {message_id}.", type="NoMessage", non_retryable=True)
            message, channel = found
            if message.state != "pending":
                return message.state
            before = await messages.count_attempts(session, message_id)
            if channel is not None:
                send = await self._to_channel(session, message, channel)
            elif message.invitation_id is not None:
                send = await self._invitation(session, message)
            else:
                send = await self._letter(session, message)
        info = activity.info()
        started, began_at = monotonic(), self._clock()
        try:
            receipt = await _send(send, message_id)
            outcome = _Outcome(SENT, receipt.detail, receipt.status_code)
        except NotNeeded as reason:
            outcome = _Outcome(DROPPED, reason.detail)
        except Undeliverable as error:
            outcome = _Outcome(FAILED, error.detail, error.status_code)
        except TryLater as error:
            left = info.scheduled_time + GIVE_UP_AFTER - self._clock()
            gap = gap_after(info.attempt, error.retry_after, left)
            outcome = _Outcome(RETRY if gap is not None else FAILED, error.detail, error.status_code, gap)
        ended_at = self._clock()
        attempt = {
            # One that nobody lived to record is counted by Temporal.
            "number": max(before + 1, info.attempt),
            "at": began_at,
            "took_ms": round((monotonic() - started) * 1000),
            "outcome": outcome.name,
            "status_code": outcome.status_code,
            "detail": outcome.detail[:MAX_DETAIL] if outcome.detail is not None else None,
            "next_at": ended_at + outcome.gap if outcome.gap is not None else None,
        }
        await self._record(message_id, outcome, attempt, ended_at)
        if outcome.gap is not None:
            raise ApplicationError(
                outcome.detail or "It may work later.",
                type="TryLater",
                next_retry_delay=outcome.gap,
                category=ApplicationErrorCategory.BENIGN,
            )
        return outcome.name

    @activity.defn
    async def give_up(self, message_id: str) -> str:
        """Makes a message failed that could not be sent in all the time; returns its state."""
        async with transaction(self._sessions) as session:
            if await messages.finish_message(session, message_id, FAILED, self._clock()):
                await forming.drop_good_ends(session, message_id)
                return FAILED
            found = await messages.load_message(session, message_id)
        return FAILED if found is None else found[0].state

    async def _to_channel(self, session: AsyncSession, message: Message, channel: Channel) -> Sending:
        alerts = [told_alert(row) for row in await messages.alerts_of(session, message.id)]

        async def send() -> Receipt:
            if channel.deleted_at is not None:
                raise Undeliverable("the channel was deleted")
            sender, envelope = self._prepare(message, channel, alerts)
            return await sender(envelope)

        return send

    async def _letter(self, session: AsyncSession, message: Message) -> Sending:
        letter = await load_letter(session, message)

        async def send() -> Receipt:
            sender = self._letters.get(message.topic or "")
            if sender is None:
                # A worker of a later version may know it.
                raise TryLater(f"this version of PingPulse writes no letters with a {message.topic}")
            return await sender(letter)

        return send

    async def _invitation(self, session: AsyncSession, message: Message) -> Sending:
        letter = await load_invitation_letter(session, message)

        async def send() -> Receipt:
            if self._invitations is None:
                raise TryLater("this worker writes no invitations")
            return await self._invitations(letter)

        return send

    def _prepare(self, message: Message, channel: Channel, alerts: list[ToldAlert]) -> tuple[Sender, Envelope]:
        sender = self._senders.get(channel.kind)
        if sender is None:
            # A worker of a later version may know it.
            raise TryLater(f"this version of PingPulse cannot send to {channel.kind} channels")
        try:
            address = self._vault.decrypt(channel.address)
            secrets = [self._vault.decrypt(channel.signing_secret)] if channel.signing_secret is not None else []
        except VaultError as error:
            raise TryLater(str(error)) from None
        is_rotating = channel.old_secret_until is not None and channel.old_secret_until > self._clock()
        if is_rotating and channel.old_signing_secret is not None:
            # One from before the operator's key was changed is gone for good; the new one must do.
            with suppress(VaultError):
                secrets.append(self._vault.decrypt(channel.old_signing_secret))
        return sender, Envelope(
            message_id=message.id,
            account_id=message.account_id,
            channel_name=channel.name,
            address=address,
            text=compose(alerts),
            alerts=tuple(alerts),
            created_at=message.created_at,
            base_url=self._base_url,
            signing_secrets=tuple(secrets),
            is_test=any(alert.kind == CHANNEL_TEST.name for alert in alerts),
        )

    async def _record(self, message_id: str, outcome: _Outcome, attempt: Mapping[str, Any], now: datetime) -> None:
        """Once the receiver has the message, Postgres is asked more than once to remember it."""
        for gap in (*RECORDING_GAPS, None):
            try:
                async with transaction(self._sessions) as session:
                    session.add(Attempt(message_id=message_id, **attempt))
                    if outcome.name != RETRY:
                        await messages.finish_message(session, message_id, outcome.name, now)
                    if outcome.name == FAILED:
                        await forming.drop_good_ends(session, message_id)
                return
            except (SQLAlchemyError, OSError) as error:
                if gap is None:
                    raise
                log.warning("an attempt could not be recorded", message=message_id, error=type(error).__name__)
                await asyncio.sleep(gap)


async def _send(send: Sending, message_id: str) -> Receipt:
    """Raises nothing but TryLater, Undeliverable and NotNeeded."""
    try:
        async with asyncio.timeout(SENDER_TIMEOUT):
            return await send()
    except (TryLater, Undeliverable, NotNeeded):
        raise
    except TimeoutError:
        raise TryLater(f"no answer within {SENDER_TIMEOUT:.0f} s") from None
    except Exception as error:
        # Its words may hold the address, and the address a secret.
        log.error("a sender failed unexpectedly", message=message_id, error=type(error).__name__)
        raise TryLater(f"an unexpected error: {type(error).__name__}") from None


@asynccontextmanager
async def _heartbeats() -> AsyncIterator[None]:
    """Tells Temporal that we live, as long as the block takes."""

    async def beat() -> None:
        while True:
            await asyncio.sleep(HEARTBEAT_SECONDS)
            activity.heartbeat()

    beating = asyncio.create_task(beat())
    try:
        yield
    finally:
        beating.cancel()
