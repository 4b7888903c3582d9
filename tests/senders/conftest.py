"""Receivers, and an Outgoing that may reach them."""

from collections.abc import AsyncIterator, Awaitable, Callable
from ipaddress import ip_network

import pytest

from activities.outgoing import Outgoing, Timeouts
from activities.senders.base import Envelope, Receipt, TryLater, Undeliverable
from config.clock import utc_now
from tests.support.receivers import Authority, HttpReceiver, http_receiver, make_authority

LOOPBACK = (ip_network("127.0.0.0/8"), ip_network("::1/128"))


@pytest.fixture
async def receiver() -> AsyncIterator[HttpReceiver]:
    async with http_receiver() as receiver:
        yield receiver


@pytest.fixture
async def outgoing() -> AsyncIterator[Outgoing]:
    outgoing = Outgoing(LOOPBACK, utc_now, timeouts=Timeouts(connect=1, total=2, answer=0.2))
    yield outgoing
    await outgoing.aclose()


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return make_authority(tmp_path_factory.mktemp("authority"))


async def outcome(sending: Awaitable[Receipt]) -> Receipt | TryLater | Undeliverable:
    try:
        return await sending
    except (TryLater, Undeliverable) as error:
        return error


Send = Callable[[Envelope], Awaitable[Receipt]]
