"""Postgres from the wheel, as `up` runs it."""

import asyncio
import os
import pwd
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import psycopg
import pytest

from cli.errors import CommandError
from cli.postgres import EmbeddedPostgres
from cli.probes import check_database
from cli.supervisor.supervisor import Backoff, Supervisor
from tests.support.waiting import is_gone, until


@asynccontextmanager
async def running(directory: Path) -> AsyncIterator[tuple[EmbeddedPostgres, int]]:
    """Postgres under a supervisor; yields it with its process id."""
    postgres = EmbeddedPostgres(directory / "postgres", directory / "logs" / "postgres.log")
    supervisor = Supervisor(Backoff(first=0.05))
    try:
        await postgres.initialise()
        await supervisor.start(postgres.service())
        await postgres.create_database()
        yield postgres, supervisor.pids["Postgres"]
    finally:
        await supervisor.stop()
        postgres.clean_up()


async def test_it_starts_keeps_what_was_written_and_leaves_nothing_running(tmp_path: Path) -> None:
    async with running(tmp_path) as (postgres, pid):
        if os.geteuid() == 0:
            assert pwd.getpwuid(psutil.Process(pid).uids().real).pw_name == "pgserver"
        assert not psutil.Process(pid).net_connections(kind="inet")
        async with await psycopg.AsyncConnection.connect(postgres.url) as connection:
            await connection.execute("CREATE TABLE kept AS SELECT 1 AS one")
            settings = await connection.execute("SELECT name, setting FROM pg_settings WHERE name ~ 'fsync|^max_conn'")
            assert dict(await settings.fetchall()) == {"fsync": "on", "max_connections": "200"}
        await check_database(postgres.url)
        family = [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    assert all(is_gone(member) for member in family)
    async with running(tmp_path) as (postgres, pid):
        async with await psycopg.AsyncConnection.connect(postgres.url) as connection:
            assert await (await connection.execute("SELECT one FROM kept")).fetchone() == (1,)
        os.kill(pid, signal.SIGKILL)
        await until(lambda: is_gone(pid))

        async def answers() -> bool:
            try:
                await check_database(postgres.url)
            except CommandError:
                return False
            return True

        await until(answers)


async def test_a_long_path_gets_its_socket_elsewhere_and_a_leftover_is_waited_for(tmp_path: Path) -> None:
    directory = tmp_path / ("long" * 20)
    directory.mkdir()
    first = EmbeddedPostgres(directory / "postgres", directory / "postgres.log")
    await first.initialise()
    assert len(first.url) < 120
    left_behind = Supervisor(Backoff(first=3600))
    await left_behind.start(first.service())
    pid = left_behind.pids["Postgres"]
    async with running(directory) as (_, successor):
        assert is_gone(pid)
        assert successor != pid
    await left_behind.stop()
    first.clean_up()


async def test_files_of_another_version_are_left_alone(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "PG_VERSION").write_text("16\n")
    postgres = EmbeddedPostgres(tmp_path / "postgres", tmp_path / "postgres.log")
    with pytest.raises(CommandError, match=r"was made by Postgres 16, this PingPulse carries 18: dump it"):
        await postgres.initialise()
    postgres.clean_up()


async def test_a_directory_that_is_none_of_postgres_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "postgres").mkdir()
    (tmp_path / "postgres" / "photo.jpg").touch()
    with pytest.raises(CommandError, match=r"is not a Postgres directory"):
        await EmbeddedPostgres(tmp_path / "postgres", tmp_path / "postgres.log").initialise()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql://ada:hunter2@127.0.0.1:1/pings", r"Postgres at postgresql(\+psycopg)?://ada:\*\*\*@127.0.0.1:1"),
        ("nonsense hunter2", "is not an address of Postgres"),
        ("mysql://ada:hunter2@127.0.0.1/pings", "is not an address of Postgres"),
    ],
)
async def test_a_database_out_of_reach_is_named_without_its_password(url: str, message: str) -> None:
    with pytest.raises(CommandError, match=message) as caught:
        await asyncio.wait_for(check_database(url), 10)
    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)
