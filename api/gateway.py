"""A gateway's life: who it is among its likes, its journal and its courier, and the path of one ping."""

import asyncio
import os
import socket
from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Final

import structlog
from sqlalchemy import exc
from temporalio.client import WorkflowQueryFailedError
from temporalio.service import RPCError

from api import metrics
from api.approval_watch import ApprovalWatch
from api.courier import Courier
from api.delivery import Temporal
from api.following import Follower
from api.housekeeping import Housekeeping
from api.journal import Journal
from api.live import LiveWatch
from api.pricing import Pricing
from config.clock import utc_now
from config.settings import Settings
from domain.budgets import BudgetReport
from domain.errors import DomainError, Unavailable
from domain.evaluation import InstanceView
from domain.instances import InstanceStatus
from domain.pings import Outcome
from domain.subjects import instance_subject
from domain.verdicts import Verdict
from storage import gateways, instances, outbox
from storage.base import Sessions, transaction
from storage.joining import JoiningConnection
from storage.journal import Repeated
from storage.pings import Ping, get_ping, verdict_of, withdraw
from storage.rows import Journaled, NewPing

DRAIN_SECONDS: Final = 3.0
RETRY_SECONDS: Final = 2
MAX_DELETED_AT_ONCE: Final = 1_000
CLEAR_EVERY_SECONDS: Final = 0.05

log = structlog.get_logger(__name__)


@dataclass(frozen=True)
class Receipt:
    """The answer to a ping that was taken, under this number. Without a subject it came early: no instance is open
    yet."""

    subject: str | None
    status: str | None = None
    ping_id: int | None = None
    budget: BudgetReport | None = None


class Gateway:
    """Everything between a parsed ping and its answer. Started and stopped with the app."""

    def __init__(self, settings: Settings, sessions: Sessions, temporal: Temporal) -> None:
        self._settings = settings
        self._sessions = sessions
        self.temporal = temporal
        self.follower = Follower(temporal)
        self._tasks: list[asyncio.Task[None]] = []
        self.courier = Courier(
            temporal,
            self._forget,
            window_seconds=settings.courier_window_seconds,
            verdict_timeout_seconds=settings.verdict_timeout_seconds,
            concurrency=settings.courier_concurrency,
            memory=settings.courier_memory,
        )
        self._delivered: list[int] = []
        self._has_delivered = asyncio.Event()
        self._answers: dict[int, asyncio.Future[Verdict | None]] = {}
        self.pricing = Pricing(sessions)

    async def start(self) -> None:
        """Registers this process. Raises what the driver raises if Postgres does not answer."""
        await self.pricing.load()
        async with transaction(self._sessions) as session:
            self.id = await gateways.register_gateway(
                session, host=socket.gethostname(), process_id=os.getpid(), now=utc_now()
            )
        assert self._settings.database_url is not None
        database_url = self._settings.database_url.get_secret_value()
        self._joining = JoiningConnection(database_url, self.id)
        self.approval_watch = ApprovalWatch(database_url)
        self.approval_watch.start()
        self.live = LiveWatch(self._sessions)
        self.live.start()
        self.journal = Journal(self._sessions, self.id, self._joining, self._kept, utc_now)
        self._housekeeping = Housekeeping(
            self._sessions, self.courier, self.temporal, self.follower, self.id, lambda: self.journal.is_refusing
        )
        self._tasks = [
            asyncio.create_task(self.journal.run(), name="journal"),
            asyncio.create_task(self._clear_outbox(), name="outbox"),
            *self._housekeeping.start(),
        ]

    def release(self) -> None:
        """Answers those who wait for something to happen; from now on nobody does. For use before `stop`."""
        self.approval_watch.release()
        self.live.release()

    async def stop(self) -> None:
        """Delivers what it holds, for a few seconds, and leaves the rest to the others."""
        await self.approval_watch.stop()
        await self.live.stop()
        await self.courier.drain(DRAIN_SECONDS)
        await self.follower.finish(DRAIN_SECONDS)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        try:
            await self._joining.close()
            await self._delete_delivered()
            async with transaction(self._sessions) as session:
                await gateways.retire_gateway(session, self.id, utc_now())
        except Exception as error:
            log.warning("stopped without saying goodbye; others take over after a while", error=str(error))

    async def take(self, ping: NewPing) -> Receipt:
        """Journals a ping and, where its rules answer with one, waits for the verdict.

        Raises the DomainError it is refused with, and Unavailable if it could not be kept or no verdict could be
        had; then it is never applied.
        """
        if ping.report.tells_costs:
            ping = await self._priced(ping)
        result = await self.journal.append(ping)
        match result:
            case DomainError():
                raise result
            case Repeated(ping_id):
                return await self._answer_again(ping_id)
            case Journaled(rejection=DomainError() as rejection):
                raise rejection
            case Journaled(outcome=Outcome.PENDING):
                return await self._await_verdict(result)
        return Receipt(result.subject, result.status, result.ping_id)

    async def _priced(self, ping: NewPing) -> NewPing:
        try:
            return replace(ping, cost=await self.pricing.cost_of(ping))
        except (exc.SQLAlchemyError, OSError) as error:
            log.error("a ping could not be priced", error=type(error).__name__)
            raise Unavailable("The ping could not be kept; send it again.", retry_after=RETRY_SECONDS) from error

    async def ask_tree(self, subject: str) -> InstanceView | None:
        """The instance as its workflow shows it, own pings included; None if Temporal does not answer in time."""
        timeout = self._settings.tree_timeout_seconds
        if not await self.courier.flush(subject, self.id, timeout):
            return None
        try:
            return await self.temporal.query(subject, timeout)
        except (RPCError, WorkflowQueryFailedError) as error:
            log.info("a tree was folded from the journal", subject=subject, error=str(error))
            return None

    async def end_instances(self, workflow_id: str, instance_ids: Iterable[str]) -> None:
        """Tells workflows that their instances were ended; one that is not told finds out at its next deadline."""
        ended = list(instance_ids)
        told = await asyncio.gather(
            *(self.temporal.end(instance_subject(workflow_id, instance_id)) for instance_id in ended),
            return_exceptions=True,
        )
        if untold := sum(isinstance(answer, Exception) for answer in told):
            log.info("workflows were not told that they were ended", workflow=workflow_id, instances=untold)

    def _kept(self, kept: Journaled) -> None:
        """Called in the order of the journal, before anything else runs: lanes must get pings in that order."""
        if kept.subject is None or not kept.facts:
            return
        if kept.outcome is Outcome.PENDING:
            *adopted, fact = kept.facts
            self.courier.offer(kept.subject, adopted)
            self._answers[kept.ping_id] = self.courier.ask(kept.subject, fact)
        else:
            self._housekeeping.offer(kept.subject, kept.facts, kept.window_seconds)

    async def _await_verdict(self, kept: Journaled) -> Receipt:
        started = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout(self._settings.verdict_timeout_seconds):
                verdict = await self._answers.pop(kept.ping_id)
        except TimeoutError:
            verdict = await self._withdraw_or_read(kept)
        if verdict is None:
            verdict = await self._read_verdict(kept.ping_id)
        metrics.VERDICT_LATENCY.observe(asyncio.get_running_loop().time() - started)
        if not verdict.accepted:
            raise verdict.error()
        return Receipt(kept.subject, verdict.instance_status, kept.ping_id, verdict.budget)

    async def _withdraw_or_read(self, kept: Journaled) -> Verdict:
        """Gives up waiting: takes the ping back and raises Unavailable, unless the verdict was given after all."""
        assert kept.subject is not None
        fact = kept.facts[-1]
        if await self._withdraw(kept):
            self.courier.drop(kept.subject, fact)
            raise Unavailable(
                "Temporal gave no verdict in time, so the ping was taken back; send it again.",
                retry_after=RETRY_SECONDS,
            )
        verdict = await self._read_verdict(kept.ping_id)
        if verdict.accepted:
            self.courier.stop_asking(kept.subject, fact)
        else:
            self.courier.drop(kept.subject, fact)
        return verdict

    async def _withdraw(self, kept: Journaled) -> bool:
        """Whether the ping could be taken back. While Postgres is down nobody knows, so the caller waits."""
        while True:
            try:
                return await self._try_to_withdraw(kept)
            except exc.DBAPIError as error:
                log.warning("cannot tell yet whether a ping is to be taken back", ping=kept.ping_id, error=str(error))
                await asyncio.sleep(1)

    async def _try_to_withdraw(self, kept: Journaled) -> bool:
        async with transaction(self._sessions) as session:
            was_withdrawn = await withdraw(session, kept.ping_id)
            if was_withdrawn and kept.instance_id is not None:
                await instances.forget_if_never_begun(session, kept.instance_id)
            return was_withdrawn

    async def _read_verdict(self, ping_id: int) -> Verdict:
        async with self._sessions() as session:
            ping = await get_ping(session, ping_id)
        verdict = verdict_of(ping) if ping is not None else None
        if verdict is None:
            raise Unavailable("The ping was taken back; send it again.", retry_after=RETRY_SECONDS)
        return verdict

    async def _answer_again(self, ping_id: int) -> Receipt:
        """The first answer to an idempotency key; waits for it while it is still being decided."""
        loop = asyncio.get_running_loop()
        give_up_at = loop.time() + self._settings.verdict_timeout_seconds
        while True:
            async with self._sessions() as session:
                ping = await get_ping(session, ping_id)
            if ping is None or ping.outcome == Outcome.WITHDRAWN:
                raise Unavailable("The first ping with this key was taken back; send it again.", retry_after=1)
            if ping.outcome != Outcome.PENDING:
                return _receipt_of(ping)
            if loop.time() > give_up_at:
                raise Unavailable("The first ping with this key has no verdict yet.", retry_after=RETRY_SECONDS)
            await asyncio.sleep(0.05)

    def _forget(self, ping_ids: Iterable[int]) -> None:
        self._delivered.extend(ping_ids)
        self._has_delivered.set()

    async def _clear_outbox(self) -> None:
        while True:
            await self._has_delivered.wait()
            await asyncio.sleep(CLEAR_EVERY_SECONDS)
            self._has_delivered.clear()
            try:
                await self._delete_delivered()
            except Exception as error:
                log.warning("outbox rows could not be deleted; trying again", error=str(error))
                await asyncio.sleep(1)
                self._has_delivered.set()

    async def _delete_delivered(self) -> None:
        """In the order of delivery, so that what is left of a subject is always its latest pings."""
        while self._delivered:
            ping_ids = self._delivered[:MAX_DELETED_AT_ONCE]
            async with transaction(self._sessions) as session:
                await outbox.delete_delivered(session, ping_ids)
            del self._delivered[: len(ping_ids)]


def _receipt_of(ping: Ping) -> Receipt:
    """The answer as it was given, whatever became of the ping since. Raises the error if it was one."""
    if ping.workflow_id is None:
        return Receipt(ping.subject, ping.answered_status, ping.id)
    verdict = verdict_of(ping)
    was_refused = verdict is not None and not verdict.accepted and ping.instance_id is not None
    if ping.answered_status == InstanceStatus.PENDING and not was_refused:
        # It came early; an instance may have adopted it since, or it is in the failed queue.
        return Receipt(None, InstanceStatus.PENDING, ping.id)
    if verdict is not None and not verdict.accepted:
        raise verdict.error()
    budget = verdict.budget if verdict is not None else None
    return Receipt(ping.subject, ping.answered_status, ping.id, budget)
