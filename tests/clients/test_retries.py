"""Trying again: what may be, how often, and that nothing counts twice."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pingpulse import ConnectionFailed, NotFound, PingPulse, RateLimited, Unavailable
from pingpulse._retries import Attempts, Policy
from pingpulse._wire import Response, _error
from tests.api.calls import Calls, new_id
from tests.clients.breakable import Breakable, Fault
from tests.clients.conftest import Kind

Connect = Callable[..., Any]


async def test_a_ping_whose_answer_is_lost_counts_once(
    connect: Connect, kind: Kind, proxy: Breakable, mine: Calls
) -> None:
    client, workflow_id = connect(proxy.url), new_id()
    proxy.faults.extend([Fault(loses=True), Fault(loses=True)])
    opened = await kind.call(client.stage, workflow_id, 1, start=True)
    assert len(proxy.seen) == 3
    assert len({seen.key for seen in proxy.seen}) == 1
    assert (await mine.get(f"/api/instances/{opened.instance_id}/timeline"))["total_steps"] == 1
    history = await mine.history(workflow_id)
    assert history["recent_instances"] == []
    assert history["running_instance"]["id"] == opened.instance_id


async def test_an_approval_whose_answer_is_lost_is_asked_for_once(
    connect: Connect, kind: Kind, proxy: Breakable, mine: Calls
) -> None:
    client = connect(proxy.url)
    proxy.faults.append(Fault(loses=True))
    asked = await kind.call(client.approvals.request, "Publish?", approvers=["ada@example.com"])
    assert len(proxy.seen) == 2
    approvals = (await mine.get("/api/approvals"))["approvals"]
    assert [approval["approval_id"] for approval in approvals] == [asked.approval_id]


async def test_each_ping_has_a_key_of_its_own_unless_it_is_given(
    connect: Connect, kind: Kind, proxy: Breakable
) -> None:
    client, workflow_id = connect(proxy.url), new_id()
    answers = [await kind.call(client.stage, workflow_id, 1, start=True) for _ in range(2)]
    assert answers[0].instance_id != answers[1].instance_id
    mine = [await kind.call(client.stage, workflow_id, 1, start=True, idempotency_key="mine") for _ in range(2)]
    assert mine[0] == mine[1]
    assert [seen.key for seen in proxy.seen[2:]] == ["mine", "mine"]


@pytest.mark.parametrize("status", [429, 503])
async def test_it_waits_as_long_as_it_is_told(connect: Connect, kind: Kind, proxy: Breakable, status: int) -> None:
    client = connect(proxy.url)
    proxy.faults.append(Fault(status, {"Retry-After": "1"}))
    await kind.call(client.stage, new_id(), 1, start=True)
    first, second = proxy.seen
    assert second.at - first.at >= 1
    assert first.key == second.key


async def test_what_is_refused_is_not_tried_again(connect: Connect, kind: Kind, proxy: Breakable) -> None:
    client = connect(proxy.url)
    for status in (400, 401, 403, 404, 408, 409, 413, 500):
        proxy.faults.append(Fault(status, {"Retry-After": "0"}))
        with pytest.raises(Exception, match=f"^{status} http_{status}: ") as refused:
            await kind.call(client.stage, "w", 1)
        assert not getattr(refused.value, "is_temporary")  # noqa: B009
    assert len(proxy.seen) == 8


async def test_trying_again_has_an_end(connect: Connect, kind: Kind, proxy: Breakable) -> None:
    proxy.break_()
    client = connect(proxy.url, retry_seconds=1.0)
    began = time.monotonic()
    with pytest.raises(ConnectionFailed, match=r"cannot be reached \(ConnectError"):
        await kind.call(client.stage, "w", 1)
    assert time.monotonic() - began < 5
    proxy.mend()
    proxy.faults.append(Fault(429, {"Retry-After": "3600"}))
    with pytest.raises(RateLimited) as limited:
        await kind.call(client.stage, "w", 1)
    assert limited.value.retry_after == 3600
    assert len(proxy.seen) == 1


async def test_a_gateway_that_does_not_answer_is_not_waited_for_long(
    connect: Connect, kind: Kind, proxy: Breakable
) -> None:
    client = connect(proxy.url, timeout=0.2, retry_seconds=0)
    proxy.faults.append(Fault(hangs=True))
    began = time.monotonic()
    with pytest.raises(ConnectionFailed, match="ReadTimeout"):
        await kind.call(client.stage, "w", 1)
    assert time.monotonic() - began < 5


async def test_a_gateway_that_comes_back_is_found(connect: Connect, kind: Kind, proxy: Breakable) -> None:
    client, workflow_id = connect(proxy.url), new_id()
    await kind.call(client.stage, workflow_id, 1, start=True)
    proxy.break_()
    waiting = asyncio.create_task(kind.call(client.stage, workflow_id, 2))
    await asyncio.sleep(0.3)
    assert not waiting.done()
    proxy.mend()
    assert (await waiting).stage_path == "2"


@given(
    st.integers(1, 1000),
    st.floats(0.01, 10),
    st.floats(10, 100),
)
def test_gaps_double_up_to_the_longest_and_are_not_all_alike(failures: int, first: float, longest: float) -> None:
    gap = Policy(60, first, longest).gap(failures)
    full = min(first * 2 ** min(failures - 1, 32), longest)
    assert full / 2 <= gap <= full


@given(st.floats(0, 100), st.floats(0, 1000), st.one_of(st.none(), st.floats(0, 200)))
def test_no_attempt_begins_after_the_end(total: float, now: float, retry_after: float | None) -> None:
    attempts = Attempts(Policy(total), 0)
    error = Unavailable(503, "unavailable", "", "", retry_after=retry_after)
    pause = attempts.pause_after(error, now)
    if pause is not None:
        assert now + pause < total
        assert pause >= (retry_after or 0)
    missing = NotFound(404, "not_found", "", "")
    assert attempts.pause_after(missing, 0) is None


@pytest.mark.parametrize(
    ("header", "seconds"),
    [("7", 7), ("0", 0), ("-1", None), ("soon", None), ("Wed, 21 Oct 2015 07:28:00 GMT", 0), ("9" * 400, 999_999_999)],
)
def test_retry_after_is_seconds_or_a_date(header: str, seconds: float | None) -> None:
    error = _error(Response(503, {"retry-after": header}, b""))
    assert isinstance(error, Unavailable)
    assert error.retry_after == seconds


def test_a_ping_made_by_two_threads_at_once_keeps_its_connection(pulse: PingPulse) -> None:
    workflow_id = new_id()
    pulse.stage(workflow_id, 1, start=True)

    async def ping_all() -> list[Any]:
        return await asyncio.gather(*(asyncio.to_thread(pulse.stage, workflow_id, f"2.{i}") for i in range(1, 21)))

    answers = asyncio.run(ping_all())
    assert len({answer.instance_id for answer in answers}) == 1
