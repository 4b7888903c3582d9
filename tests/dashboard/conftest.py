"""Somebody at the dashboard of a whole gateway, with Temporal behind it."""

from collections.abc import AsyncIterator

import pytest

from storage.base import Sessions
from tests.api.calls import Calls
from tests.api.conftest import calls_to, quick_gateway
from tests.support.dashboard import Site, site_of

__all__ = ["quick_gateway"]


@pytest.fixture(scope="session")
async def site(quick_gateway: str, sessions: Sessions) -> AsyncIterator[Site]:
    """An owner, in an account that the tests of a file share."""
    async with site_of(quick_gateway, sessions) as site:
        yield site


@pytest.fixture(scope="session")
async def calls(quick_gateway: str, site: Site) -> AsyncIterator[Calls]:
    """What programs do in the same account."""
    async with calls_to(quick_gateway, site.account_id, site.key) as calls:
        yield calls


@pytest.fixture(scope="session")
async def viewer(quick_gateway: str, sessions: Sessions, site: Site) -> AsyncIterator[Site]:
    """Somebody who may only look, in the same account."""
    async with site_of(quick_gateway, sessions, "viewer", (site.account_id, site.key)) as viewer:
        yield viewer


@pytest.fixture
async def fresh(quick_gateway: str, sessions: Sessions) -> AsyncIterator[Site]:
    """An owner in an account in which nothing has happened yet."""
    async with site_of(quick_gateway, sessions) as site:
        yield site


@pytest.fixture
async def fresh_calls(quick_gateway: str, fresh: Site) -> AsyncIterator[Calls]:
    async with calls_to(quick_gateway, fresh.account_id, fresh.key) as calls:
        yield calls
