"""How often a workflow is told of its approval, by a Temporal that takes note of it, or is away."""

import asyncio
from datetime import timedelta

from temporalio.service import RPCError, RPCStatusCode

from api.delivery import Temporal
from api.following import AT_ONCE, LONGEST_GAP, Follower
from config.clock import utc_now
from temporal_workflows.approval import ApprovalEvent


class NotedTemporal(Temporal):
    def __init__(self) -> None:
        self.told: list[tuple[str, str]] = []
        self.changed: list[str] = []
        self.is_away = False
        self.lets_go = asyncio.Event()
        self.lets_go.set()
        self.calls, self.most_calls = 0, 0

    async def tell_of_approval(self, approval_id: str, event: ApprovalEvent) -> None:
        self.calls += 1
        self.most_calls = max(self.calls, self.most_calls)
        try:
            await self.lets_go.wait()
            if self.is_away:
                raise RPCError("away", RPCStatusCode.UNAVAILABLE, b"")
            self.told.append((approval_id, event.what))
        finally:
            self.calls -= 1

    async def tell_of_change(self, subject: str) -> None:
        self.changed.append(subject)


async def test_who_takes_no_notice_is_told_after_longer_and_longer_times() -> None:
    temporal, start = NotedTemporal(), utc_now()
    follower = Follower(temporal)
    times: list[int] = []
    for second in range(0, 1500, 5):
        follower.tell_again(["apr_1"], start + timedelta(seconds=second))
        await follower.finish(5)
        if len(temporal.told) > len(times):
            times.append(second)
    assert times[:7] == [0, 5, 15, 35, 75, 155, 315]
    gaps = {later - earlier for earlier, later in zip(times[7:], times[8:], strict=False)}
    assert gaps == {LONGEST_GAP.total_seconds()}


async def test_instances_are_told_of_as_approvals_are_and_apart_from_them() -> None:
    temporal, start = NotedTemporal(), utc_now()
    follower = Follower(temporal)
    told: list[int] = []
    for second in range(0, 60, 5):
        follower.tell_again(["apr_1"] if second == 5 else [], start + timedelta(seconds=second))
        follower.tell_of_changes_again(["instance/w/d1"], start + timedelta(seconds=second))
        await follower.finish(5)
        told.append(len(temporal.changed))
    assert told == [1, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 4]
    assert set(temporal.changed) == {"instance/w/d1"}
    assert len(temporal.told) == 1


async def test_who_has_taken_notice_begins_anew() -> None:
    temporal, start = NotedTemporal(), utc_now()
    follower = Follower(temporal)
    for second in (0, 5, 6):
        follower.tell_again(["apr_1"], start + timedelta(seconds=second))
    follower.tell_again([], start + timedelta(seconds=7))
    follower.tell_again(["apr_1"], start + timedelta(seconds=8))
    await follower.finish(5)
    assert temporal.told == [("apr_1", "noticed")] * 3


async def test_one_that_fails_stops_no_other() -> None:
    temporal = NotedTemporal()
    follower = Follower(temporal)
    temporal.is_away = True
    follower.tell("apr_1", ApprovalEvent("approve", "ada@example.com"))
    await follower.finish(5)
    temporal.is_away = False
    follower.tell("apr_2", ApprovalEvent("deny", "ada@example.com"))
    await follower.finish(5)
    assert temporal.told == [("apr_2", "deny")]


async def test_a_burst_takes_turns_and_a_stop_does_not_wait_for_it() -> None:
    temporal = NotedTemporal()
    temporal.lets_go.clear()
    follower = Follower(temporal)
    for number in range(100):
        follower.tell(f"apr_{number}", ApprovalEvent("requested"))
    await follower.finish(0.05)
    assert temporal.most_calls == AT_ONCE
    assert (temporal.calls, temporal.told) == (0, [])
