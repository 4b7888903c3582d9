"""Real servers for all tests: Postgres and Temporal once a run, a database and a stack where a test asks for them."""

import shutil
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

import psycopg
import pytest
from argon2 import PasswordHasher
from temporalio.client import Client

from api.app import create_app
from cli.postgres import EmbeddedPostgres
from cli.supervisor.supervisor import Supervisor
from storage import users
from storage.base import Sessions, create_engine, create_sessions
from storage.migrate import upgrade
from tests.support.serving import serve
from tests.support.stack import Stack, make_account, make_settings, temporal_server
from worker.main import worker_on

StartGateway = Callable[..., str]

ONE_AT_A_TIME = ("tests/crash/", "tests/e2e/", "tests/cli/")
"""Tests of many processes each, which kill them and look at the clock: side by side they would starve one another."""

BROWSER = "tests/browser/"
"""One browser is work enough for the machine."""

SLOW = (*ONE_AT_A_TIME, BROWSER, "tests/clients_shell/", "tests/workflows/", "tests/mcp_server/")
"""They are first: what is begun last is waited for alone."""


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """A temporary directory for this session alone. The one that pytest's sessions share is closed to all other users
    whenever one begins, and the servers of those that run cannot come back after a crash."""
    if config.option.basetemp is None and not hasattr(config, "workerinput"):
        config.option.basetemp = mkdtemp(prefix="pingpulse-tests-")


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        shutil.rmtree(config.option.basetemp, ignore_errors=True)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A file is for one worker, and so are all files of tests that need the machine for themselves."""
    items.sort(key=lambda item: next((at for at, path in enumerate(SLOW) if item.nodeid.startswith(path)), len(SLOW)))
    for item in items:
        item.add_marker(pytest.mark.xdist_group(_group(item.nodeid)))


def _group(node: str) -> str:
    if node.startswith(ONE_AT_A_TIME):
        return "processes"
    return "browser" if node.startswith(BROWSER) else node.partition("::")[0]


@pytest.fixture(scope="session", autouse=True)
def quick_passwords() -> Iterator[None]:
    """Whoever logs in costs a tenth of a second, twice; with these parameters, nothing. What is stored says which were
    used, and the processes that tests start use the real ones."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(users, "_hasher", PasswordHasher(time_cost=1, memory_cost=8, parallelism=1))
        yield


@pytest.fixture(scope="session")
async def postgres() -> AsyncIterator[EmbeddedPostgres]:
    """A server whose database `pingpulse` is migrated and empty: the template of all others."""
    with TemporaryDirectory(prefix="pingpulse-tests-") as directory:
        server = EmbeddedPostgres(Path(directory, "postgres"), Path(directory, "postgres.log"))
        supervisor = Supervisor()
        try:
            await server.initialise()
            await supervisor.start(server.service())
            await server.create_database()
            upgrade(server.url)
            yield server
        finally:
            await supervisor.stop()
            server.clean_up()


async def copy_database(postgres: EmbeddedPostgres, name: str) -> str:
    """The URL of a new migrated database."""
    async with await psycopg.AsyncConnection.connect(
        postgres.url.replace("/pingpulse?", "/postgres?"), autocommit=True
    ) as connection:
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE pingpulse")
    return postgres.url.replace("/pingpulse?", f"/{name}?")


@pytest.fixture(scope="session")
async def database_url(postgres: EmbeddedPostgres) -> str:
    """The database that tests share; each makes an account of its own in it."""
    return await copy_database(postgres, "shared")


@pytest.fixture(scope="session")
async def sessions(database_url: str) -> AsyncIterator[Sessions]:
    engine = create_engine(database_url, application_name="tests")
    yield create_sessions(engine)
    await engine.dispose()


@pytest.fixture(scope="session")
async def temporal() -> AsyncIterator[Client]:
    """A dev server: real updates, continue-as-new and search attributes."""
    async with temporal_server() as client:
        yield client


@pytest.fixture(scope="session")
async def stack(
    database_url: str, sessions: Sessions, temporal: Client, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stack]:
    """Gateway, worker, Postgres and Temporal, running throughout the session."""
    settings = make_settings(
        database_url, temporal, outgoing_allow="127.0.0.0/8", mail_dir=tmp_path_factory.mktemp("mail")
    )
    account_id, key = await make_account(sessions)
    async with worker_on(temporal, sessions, settings):
        with serve(create_app(settings)) as url:
            yield Stack(url, key, account_id, sessions, temporal, settings)


@pytest.fixture
def start_gateway(stack: Stack) -> Iterator[StartGateway]:
    """Starts further gateways on the same servers, with settings of their own; gives their URLs."""
    with ExitStack() as running:

        def start(**changes: object) -> str:
            return running.enter_context(serve(create_app(stack.settings.model_copy(update=changes))))

        yield start
