"""An account of one's own at the gateway of all tests, and agents who work for it."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path

import pytest

from config.clock import utc_now
from storage.base import Sessions, transaction
from storage.keys import create_key
from tests.api.calls import Calls
from tests.api.conftest import calls_to
from tests.mcp_server.agents import Agent, over_stdio
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


@pytest.fixture
def agents(tmp_path: Path, stack: Stack, mine: Calls) -> Agents:
    """Starts an agent over standard input and output, with the account's key unless another one is given."""
    return partial(over_stdio, tmp_path, stack.url, mine.key)


@pytest.fixture
async def ping_key(mine: Calls, sessions: Sessions) -> str:
    async with transaction(sessions) as session:
        return (await create_key(session, mine.account_id, "an agent's", "ping", utc_now()))[1]
