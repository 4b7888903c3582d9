"""When an instance's pings could not be taken: no gateway lived, or nobody could say what became of one."""

from datetime import timedelta

from config.clock import utc_now
from domain.instances import Outage
from storage.base import Sessions, transaction
from storage.gateways import Life, register_gateway
from storage.outages import TO_SEND_AGAIN, list_outages_of
from storage.pings import withdraw
from tests.storage.conftest import STRICT, define


async def test_whoever_was_told_to_send_a_ping_again_has_time_for_it(sessions: Sessions, account: str) -> None:
    caller = await define(sessions, account, **STRICT)
    now = utc_now()
    since = now - timedelta(minutes=10)
    first, second, third = (now - timedelta(seconds=seconds) for seconds in (300, 270, 120))
    (opened,) = await caller.keep(caller.ping("1", agent="a", start=True, at=since))
    assert opened.instance_id is not None
    unanswered = [caller.ping("2", agent="a", instance_id=opened.instance_id, at=at) for at in (first, second, third)]
    async with transaction(sessions) as session:
        gateway_id = await register_gateway(session, host="test", process_id=1, now=now)
        session.add(Life(gateway_id=gateway_id, began_at=since, seen_at=now))
    kept = await caller.keep(*unanswered)
    async with transaction(sessions) as session:
        for item in kept:
            assert await withdraw(session, item.ping_id)
        assert await list_outages_of(session, opened.instance_id, since, now) == (
            Outage(first, second + TO_SEND_AGAIN),
            Outage(third, third + TO_SEND_AGAIN),
        )
        assert await list_outages_of(session, "dnobody00", since, now) == ()
