"""The Python client against a whole gateway, with Temporal and Postgres behind it."""

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from api.app import create_app
from pingpulse import AsyncPingPulse, PingPulse
from storage.base import Sessions
from tests.api.calls import Calls
from tests.api.conftest import calls_to
from tests.clients.breakable import Breakable, breakable
from tests.support.serving import serve
from tests.support.stack import Stack, make_account

Client = PingPulse | AsyncPingPulse


@dataclass(frozen=True)
class Kind:
    """One of the two clients, so that a test is said once for both."""

    make: Callable[..., Any]

    async def call(self, function: Callable[..., Any], *arguments: Any, **named: Any) -> Any:
        """The result of a method, awaited or from a thread, so that the loop of the servers goes on."""
        if inspect.iscoroutinefunction(function):
            return await function(*arguments, **named)
        return await asyncio.to_thread(function, *arguments, **named)


@pytest.fixture(params=[PingPulse, AsyncPingPulse], ids=["sync", "async"])
def kind(request: pytest.FixtureRequest) -> Kind:
    return Kind(request.param)


@pytest.fixture(scope="session")
def gateway_url(stack: Stack) -> Iterator[str]:
    """A gateway that signals often, so that tests need not wait for its windows."""
    with serve(create_app(stack.settings.model_copy(update={"courier_window_seconds": 0.05}))) as url:
        yield url


@pytest.fixture
async def mine(gateway_url: str, sessions: Sessions) -> AsyncIterator[Calls]:
    """An account that nobody else pings for."""
    async with calls_to(gateway_url, *await make_account(sessions)) as calls:
        yield calls


@pytest.fixture
def proxy(gateway_url: str) -> Iterator[Breakable]:
    """The gateway behind a server that can be broken."""
    with breakable(gateway_url) as server:
        yield server


@pytest.fixture
async def connect(mine: Calls, gateway_url: str, kind: Kind) -> AsyncIterator[Callable[..., Any]]:
    """Makes clients of the kind that is tested, of one's own account, which are closed in the end."""
    async with AsyncExitStack() as closing:

        def make(url: str = gateway_url, **options: Any) -> Any:
            client = kind.make(url, mine.key, **{"exit_seconds": 0.0, **options})
            closing.push_async_callback(kind.call, client.close)
            return client

        yield make


@pytest.fixture
async def pulse(mine: Calls, gateway_url: str) -> AsyncIterator[PingPulse]:
    client = PingPulse(gateway_url, mine.key)
    yield client
    await asyncio.to_thread(client.close)
