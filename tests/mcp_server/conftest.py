"""An account of one's own at the gateway of all tests, and agents who work for it."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import pytest

from config.clock import utc_now
from storage.base import Sessions, transaction
from storage.keys import create_key
from tests.api.calls import Calls
from tests.api.conftest import calls_to
from tests.mcp_server.agents import Agent, HttpServer, Mode, http_server, over_http
from tests.support.stack import Stack, make_account

Agents = Callable[..., AbstractAsyncContextManager[Agent]]


@pytest.fixture
async def mine(stack: Stack, sessions: Sessions) -> AsyncIterator[Calls]:
    """An account that nobody else pings for."""
    async with calls_to(stack.url, *await make_account(sessions)) as calls:
        yield calls


@pytest.fixture
async def theirs(stack: Stack, sessions: Sessions) -> AsyncIterator[Calls]:
    async with calls_to(stack.url, *await make_account(sessions)) as calls:
        yield calls


@pytest.fixture(scope="session")
async def server(tmp_path_factory: pytest.TempPathFactory, stack: Stack) -> AsyncIterator[HttpServer]:
    """One for all whom it makes no difference to: a process of one's own takes a second to start."""
    async with http_server(tmp_path_factory.mktemp("mcp"), stack.url, None) as server:
        yield server


@pytest.fixture
def agents(server: HttpServer, mine: Calls) -> Agents:
    """Starts an agent with the account's key."""

    @asynccontextmanager
    async def start(mode: Mode = "auto") -> AsyncIterator[Agent]:
        async with over_http(server.url, mode, Authorization=f"Bearer {mine.key}") as agent:
            yield agent

    return start


@pytest.fixture
async def ping_key(mine: Calls, sessions: Sessions) -> str:
    async with transaction(sessions) as session:
        return (await create_key(session, mine.account_id, "an agent's", "ping", utc_now()))[1]
