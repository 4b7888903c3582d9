"""A verdict and a withdrawal race for one token; one of them gets it."""

import asyncio

from domain.instances import InstanceStatus
from domain.pings import Outcome
from domain.verdicts import Verdict
from storage.base import Sessions, transaction
from storage.instances import forget_if_never_begun, get_instance
from storage.pings import Decided, IdempotencyKey, decide, verdict_of, withdraw, withdraw_unanswered
from tests.storage.conftest import STRICT, Caller, define


async def ask(caller: Caller, count: int = 1, key: str | None = None) -> list[int]:
    """That many pings that wait for their verdicts."""
    pings = [caller.ping("1", agent="a", key=key) for _ in range(count)]
    return [journaled.ping_id for journaled in await caller.keep(*pings)]


def accept(ping_id: int) -> Verdict:
    return Verdict(ping_id, accepted=True, instance_status=InstanceStatus.RUNNING)


async def outcomes(caller: Caller) -> dict[int, str]:
    return {row.id: row.outcome for row in await caller.rows()}


async def test_one_of_the_two_wins(sessions: Sessions, account: str) -> None:
    caller = await define(sessions, account, "static", **STRICT)
    ping_ids = await ask(caller, 40)

    async def decides(ping_id: int) -> bool:
        async with transaction(sessions) as session:
            return not (await decide(session, [accept(ping_id)])).withdrawn

    async def withdraws(ping_id: int) -> bool:
        async with transaction(sessions) as session:
            return await withdraw(session, ping_id)

    wins: list[str] = []
    for number, ping_id in enumerate(ping_ids):
        racers = [decides(ping_id), withdraws(ping_id)]
        results = await asyncio.gather(*(racers if number % 2 else racers[::-1]))
        decided, withdrawn = results if number % 2 else results[::-1]
        assert decided != withdrawn
        wins.append(Outcome.ACCEPTED if decided else Outcome.WITHDRAWN)
        # Asked again, the loser hears the same.
        assert (await decides(ping_id), await withdraws(ping_id)) == (decided, False)
    assert list((await outcomes(caller)).values()) == wins
    assert len(set(wins)) == 2
    # What was accepted is told until Temporal has it.
    accepted = {ping_id for ping_id, outcome in (await outcomes(caller)).items() if outcome == Outcome.ACCEPTED}
    assert {ping_id: row.wants_verdict for ping_id, row in (await caller.outbox()).items()} == dict.fromkeys(
        accepted, False
    )


async def test_verdicts_are_written_all_or_none(sessions: Sessions, account: str) -> None:
    caller = await define(sessions, account, "static", **STRICT)
    first, second, third = await ask(caller, 3)
    async with transaction(sessions) as session:
        assert await withdraw(session, second)
    async with transaction(sessions) as session:
        assert await decide(session, [accept(first), accept(second), accept(third)]) == Decided(withdrawn=(second,))
    assert list((await outcomes(caller)).values()) == ["pending", "withdrawn", "pending"]
    rejected = Verdict(
        third, accepted=False, instance_status=InstanceStatus.FAILED, code="stage_missed", message="no", expected="2"
    )
    for newly_accepted in ((first,), ()):
        async with transaction(sessions) as session:
            assert await decide(session, [accept(first), rejected]) == Decided(accepted=newly_accepted)
    rows = {row.id: row for row in await caller.rows()}
    assert [verdict_of(rows[ping_id]) for ping_id in (first, second, third)] == [accept(first), None, rejected]
    assert set(await caller.outbox()) == {first}


async def test_a_verdict_is_final(sessions: Sessions, account: str) -> None:
    caller = await define(sessions, account, "static", **STRICT)
    (ping_id,) = await ask(caller)
    rejected = Verdict(ping_id, accepted=False, instance_status=InstanceStatus.RUNNING, code="stage_missed")
    for verdict in (accept(ping_id), rejected):
        async with transaction(sessions) as session:
            await decide(session, [verdict])
    assert await outcomes(caller) == {ping_id: Outcome.ACCEPTED}


async def test_what_is_taken_back_may_be_sent_again(sessions: Sessions, account: str) -> None:
    caller = await define(sessions, account, "static", **STRICT)
    (first,) = await ask(caller, key="k")
    async with transaction(sessions) as session:
        assert await withdraw(session, first)
        assert await session.get(IdempotencyKey, (account, "k")) is None
    (second,) = await ask(caller, key="k")
    async with transaction(sessions) as session:
        await withdraw_unanswered(session, [7])
    assert await outcomes(caller) == {first: Outcome.WITHDRAWN, second: Outcome.WITHDRAWN}
    assert len(await ask(caller, key="k")) == 1


async def test_an_instance_that_began_with_an_unanswered_ping_is_forgotten(sessions: Sessions, account: str) -> None:
    caller = await define(sessions, account, "static", **STRICT)
    (first,) = await caller.keep(caller.ping("1", agent="a"))
    assert first.instance_id is not None
    async with transaction(sessions) as session:
        assert first.instance_id in await withdraw_unanswered(session, [7])
        await forget_if_never_begun(session, first.instance_id)
        assert await get_instance(session, first.instance_id) is None
