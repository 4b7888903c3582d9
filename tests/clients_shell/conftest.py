from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from storage.base import Sessions
from tests.api.calls import Calls
from tests.api.conftest import calls_to
from tests.clients_shell.shells import SHELLS, Script
from tests.support.receivers import HttpReceiver, http_receiver
from tests.support.stack import Stack, make_account


@pytest.fixture(scope="session")
async def stack(stack: Stack, sessions: Sessions) -> Stack:
    """As an account of one's own: pages and examples have names that others have too."""
    account_id, key = await make_account(sessions)
    return replace(stack, account_id=account_id, key=key)


@pytest.fixture(scope="session")
async def ours(stack: Stack) -> AsyncIterator[Calls]:
    async with calls_to(stack.url, stack.account_id, stack.key) as calls:
        yield calls


@pytest.fixture(params=SHELLS)
def script(request: pytest.FixtureRequest, stack: Stack, tmp_path: Path) -> Script:
    """Under each shell."""
    return Script(SHELLS[request.param], tmp_path, stack.url, stack.key)


@pytest.fixture
def one_script(stack: Stack, tmp_path: Path) -> Script:
    """Where the shell makes no difference."""
    return Script(("sh",), tmp_path, stack.url, stack.key)


@pytest.fixture
async def receiver() -> AsyncIterator[HttpReceiver]:
    """Takes the gateway's place where that misbehaves, or where every request must be seen."""
    async with http_receiver() as receiver:
        yield receiver
