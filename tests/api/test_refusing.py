"""A gateway whose Postgres answers, and keeps no pings: as on a full disk."""

from collections.abc import AsyncIterator
from dataclasses import dataclass
from datetime import datetime

import httpx
import psycopg
import pytest
from temporalio.client import Client

from api.app import create_app
from cli.postgres import EmbeddedPostgres
from storage.base import create_engine, create_sessions
from tests.conftest import copy_database
from tests.support.serving import serve
from tests.support.stack import make_account, make_settings
from tests.support.waiting import until


@dataclass(frozen=True)
class Gateway:
    http: httpx.AsyncClient
    database: "psycopg.AsyncConnection[tuple[datetime]]"

    async def ping(self) -> int:
        return (await self.http.get("/hbk/disk?create=1")).status_code

    async def seen_at(self) -> datetime:
        row = await (await self.database.execute("SELECT max(seen_at) FROM lives")).fetchone()
        assert row is not None
        return row[0]


@pytest.fixture
async def gateway(postgres: EmbeddedPostgres, temporal: Client) -> AsyncIterator[Gateway]:
    url = await copy_database(postgres, "refusing")
    engine = create_engine(url)
    _, key = await make_account(create_sessions(engine))
    await engine.dispose()
    with serve(create_app(make_settings(url, temporal))) as address:
        headers = {"X-API-Key": key}
        async with (
            httpx.AsyncClient(base_url=address, headers=headers, timeout=30) as http,
            await psycopg.AsyncConnection.connect(url, autocommit=True) as database,
        ):
            yield Gateway(http, database)


async def test_pings_that_cannot_be_kept_are_an_outage_and_health_says_so(gateway: Gateway) -> None:
    assert await gateway.ping() == 200
    await gateway.database.execute("ALTER TABLE pings ADD CONSTRAINT full_disk CHECK (false) NOT VALID")

    async def has_stopped_beating() -> bool:
        assert await gateway.ping() == 503
        before = await gateway.seen_at()
        return all([await gateway.ping() == 503 and await gateway.seen_at() == before for _ in range(30)])

    await until(has_stopped_beating)
    health = await gateway.http.get("/health")
    assert (health.status_code, health.json()["status"], health.json()["database"]) == (503, "unavailable", "refusing")

    stood_at = await gateway.seen_at()
    await gateway.database.execute("ALTER TABLE pings DROP CONSTRAINT full_disk")
    assert await gateway.ping() == 200
    assert (await gateway.http.get("/health")).status_code == 200

    async def beats_again() -> bool:
        return await gateway.seen_at() > stood_at

    await until(beats_again)
