"""A database of its own, because the gateways of other tests look after the shared one."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select

from cli.postgres import EmbeddedPostgres
from config.clock import utc_now
from domain.errors import DomainError
from domain.ids import random_id
from domain.pings import PingFact, PingStatus, Report
from domain.routing import Request
from domain.workflows import StageDefinition, ValidationMode, WorkflowDefinition, WorkflowKind
from storage.accounts import create_account
from storage.base import Sessions, create_engine, create_sessions, transaction
from storage.journal import Appended, append
from storage.outbox import OutboxRow
from storage.pings import Ping
from storage.rows import Journaled, NewPing
from storage.workflows import Workflow, columns_of
from tests.conftest import copy_database

GATEWAY = 7


@pytest.fixture(scope="session")
async def sessions(postgres: EmbeddedPostgres) -> AsyncIterator[Sessions]:
    engine = create_engine(await copy_database(postgres, "storage"), application_name="tests")
    yield create_sessions(engine)
    await engine.dispose()


@pytest.fixture
async def account(sessions: Sessions) -> str:
    async with transaction(sessions) as session:
        return (await create_account(session, "tests", utc_now())).id


@dataclass(frozen=True)
class Caller:
    """Makes pings to one workflow."""

    sessions: Sessions
    account_id: str
    workflow_id: str
    kind: WorkflowKind = WorkflowKind.DYNAMIC

    def ping(
        self,
        path: str = "1",
        *,
        start: bool = False,
        instance_id: str | None = None,
        key: str | None = None,
        **fact: Any,
    ) -> NewPing:
        fact = {"status": PingStatus.HEALTHY, "at": utc_now(), **fact}
        request = Request(self.workflow_id, self.kind, PingFact(0, 0, path, **fact), start, instance_id)
        return NewPing(self.account_id, request, Report(), idempotency_key=key)

    async def append(self, *pings: NewPing, now: datetime | None = None, gateway: int = GATEWAY) -> list[Appended]:
        async with transaction(self.sessions) as session:
            return await append(session, gateway, pings, now or utc_now())

    async def keep(self, *pings: NewPing, now: datetime | None = None, gateway: int = GATEWAY) -> list[Journaled]:
        """All of them are expected to be kept."""
        return [kept(result) for result in await self.append(*pings, now=now, gateway=gateway)]

    async def rows(self) -> Sequence[Ping]:
        async with self.sessions() as session:
            return (
                await session.scalars(select(Ping).where(Ping.workflow_id == self.workflow_id).order_by(Ping.id))
            ).all()

    async def outbox(self) -> dict[int, OutboxRow]:
        query = select(OutboxRow).join(Ping, Ping.id == OutboxRow.ping_id).where(Ping.workflow_id == self.workflow_id)
        async with self.sessions() as session:
            return {row.ping_id: row for row in await session.scalars(query)}


def kept(result: Appended) -> Journaled:
    assert isinstance(result, Journaled), result
    return result


def refused(result: Appended) -> DomainError:
    assert isinstance(result, DomainError), result
    return result


async def define(sessions: Sessions, account_id: str, kind: str = "dynamic", stages: int = 3, **fields: Any) -> Caller:
    """A workflow that exists."""
    is_static = kind == "static"
    definition = WorkflowDefinition(
        id=random_id("w", 12),
        account_id=account_id,
        kind=WorkflowKind(kind),
        stages=tuple(StageDefinition(order) for order in range(1, stages + 1)) if is_static else (),
    )
    definition = replace(definition, slug=definition.id, **fields)
    async with transaction(sessions) as session:
        now = utc_now()
        session.add(Workflow(**columns_of(definition), created_at=now, updated_at=now, deleted_at=None))
    return Caller(sessions, account_id, definition.id, definition.kind)


STRICT: dict[str, Any] = {"validation_mode": ValidationMode.STRICT}
SECOND = timedelta(seconds=1)
