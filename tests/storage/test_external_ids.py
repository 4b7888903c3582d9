"""Pings that name their instance by an id of their caller's: it is found, or it is opened."""

import asyncio
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import select, update

from config.clock import utc_now
from domain.errors import DomainError
from domain.instances import InstanceStatus
from domain.pings import Outcome, PingStatus
from domain.reports import RUN_PATH
from domain.routing import External, Request
from storage.base import Sessions, transaction
from storage.expectations import Interval, delete_pulse, expect, expected_by
from storage.instances import Instance, find_current_instance, list_correlated
from storage.joining import Shortcuts
from storage.journal import Appended, Repeated, append
from storage.outbox import OutboxRow
from storage.pings import Ping
from storage.pulses import get_pulse
from storage.rows import NewPing
from storage.workflows import Workflow, get_workflow
from tests.storage.conftest import GATEWAY, STRICT, Caller, define, kept, refused

ENDED = utc_now().replace(microsecond=0)


def of(caller: Caller, external: External, path: str = "1", **options: Any) -> NewPing:
    """A stage ping of an external id: a span of a trace."""
    ping = caller.ping(path, **options)
    assert isinstance(ping.request, Request)
    return replace(ping, request=replace(ping.request, external=external))


def report(caller: Caller, execution: str | None = "e1", *, failed: bool = False, ended: datetime = ENDED) -> NewPing:
    status = PingStatus.FAILED if failed else PingStatus.HEALTHY
    external = External(execution, started_at=ended - timedelta(seconds=5), ended_at=ended, is_whole=True)
    return of(caller, external, RUN_PATH, status=status, final=True)


async def instance(caller: Caller, instance_id: str | None) -> Instance:
    async with caller.sessions() as session:
        row = await session.get(Instance, instance_id)
        assert row is not None
        return row


async def test_pings_of_one_external_id_are_of_one_instance(sessions: Sessions, account: str) -> None:
    caller = await define(sessions, account)
    trace = External("trace-1", correlation_id="order-7")
    first, second, other = await caller.keep(
        of(caller, trace, "1"), of(caller, trace, "2"), of(caller, External("trace-2"), "1")
    )
    (later,) = await caller.keep(of(caller, trace, "3"))
    assert first.instance_id == second.instance_id == later.instance_id != other.instance_id
    row = await instance(caller, first.instance_id)
    assert (row.external_id, row.correlation_id, row.origin) == ("trace-1", "order-7", "external")
    async with sessions() as session:
        (linked,) = await list_correlated(session, account, "order-7", limit=5)
        assert linked.id == first.instance_id
        current = await find_current_instance(session, caller.workflow_id)
        assert current is not None
        assert current.id == other.instance_id


async def test_its_times_are_those_of_all_its_parts(sessions: Sessions, account: str) -> None:
    caller = await define(sessions, account)
    moments = [ENDED + timedelta(seconds=second) for second in range(4)]
    parts = [(2, 3), (0, 1), (1, 2)]
    spans = [External("trace", started_at=moments[start], ended_at=moments[end]) for start, end in parts]
    first, *_ = await caller.keep(*[of(caller, span, str(number)) for number, span in enumerate(spans, 1)])
    await caller.keep(of(caller, External("trace", correlation_id="late"), "4"))
    row = await instance(caller, first.instance_id)
    assert (row.started_at, row.ended_at, row.correlation_id) == (moments[0], moments[3], None)


async def test_it_is_none_of_those_that_other_pings_look_for(sessions: Sessions, account: str) -> None:
    caller = await define(sessions, account)
    (traced,) = await caller.keep(of(caller, External("trace")))
    (early,) = await caller.keep(caller.ping("2"))
    assert early.outcome is Outcome.EARLY
    (plain,) = await caller.keep(caller.ping("1", start=True))
    assert [fact.path for fact in plain.facts] == ["2", "1"]
    (traced_again, next_one) = await caller.keep(of(caller, External("trace"), "2"), caller.ping("3"))
    assert traced_again.instance_id == traced.instance_id
    assert next_one.instance_id == plain.instance_id != traced.instance_id


async def test_an_instance_that_is_named_by_its_own_id_goes_before(sessions: Sessions, account: str) -> None:
    caller = await define(sessions, account)
    (plain,) = await caller.keep(caller.ping("1", start=True))
    (named,) = await caller.keep(of(caller, External("trace"), "2", instance_id=plain.instance_id))
    assert named.instance_id == plain.instance_id


async def test_it_may_bring_a_dynamic_workflow_into_being(sessions: Sessions, account: str) -> None:
    caller = replace(await define(sessions, account), workflow_id=f"traces-{utc_now().timestamp()}")
    (error,) = await caller.append(of(caller, External("t"), "1"))
    assert refused(error).code == "not_found"
    first, second = await caller.keep(*[of(caller, External(name), "1", start=True) for name in "ab"])
    (again,) = await caller.keep(of(caller, External("a"), "2", start=True))
    assert again.instance_id == first.instance_id != second.instance_id


async def test_what_comes_after_the_end_still_belongs_to_it(sessions: Sessions, account: str) -> None:
    caller = await define(sessions, account)
    (first,) = await caller.keep(of(caller, External("trace"), final=True))
    long_ago = utc_now() - timedelta(days=1)
    async with transaction(sessions) as session:
        values = {"status": InstanceStatus.COMPLETED.value, "completed_at": long_ago, "closes_at": long_ago}
        await session.execute(update(Instance).where(Instance.id == first.instance_id).values(values))
    (late,) = await caller.keep(of(caller, External("trace"), "2"))
    assert late.instance_id == first.instance_id
    async with transaction(sessions) as session:
        values = {"status": InstanceStatus.TERMINATED.value}
        await session.execute(update(Instance).where(Instance.id == first.instance_id).values(values))
    (error,) = await caller.append(of(caller, External("trace"), "2"))
    assert refused(error).code == "instance_closed"


async def test_a_strict_workflow_judges_pings_of_external_ids_too(sessions: Sessions, account: str) -> None:
    caller = await define(sessions, account, **STRICT)
    (asked,) = await caller.keep(of(caller, External("trace"), agent="ada"))
    assert asked.outcome is Outcome.PENDING
    (error,) = await caller.append(report(caller))
    assert "is strict" in refused(error).message


async def test_many_gateways_at_once_open_one(sessions: Sessions, account: str) -> None:
    caller = await define(sessions, account)

    async def send(gateway: int) -> str | None:
        (result,) = await caller.keep(of(caller, External("trace"), str(gateway)), gateway=gateway)
        return result.instance_id

    assert len(set(await asyncio.gather(*map(send, range(1, 9))))) == 1


@pytest.mark.parametrize("blank", ["", " ", "\t\n"])
async def test_a_blank_id_is_none(sessions: Sessions, account: str, blank: str) -> None:
    caller = await define(sessions, account)
    opened = [(await caller.keep(of(caller, External(blank))))[0].instance_id for _ in range(2)]
    assert opened[0] != opened[1]
    assert (await instance(caller, opened[0])).external_id is None


async def test_the_short_way_does_not_know_them(sessions: Sessions, account: str) -> None:
    caller, shortcuts = await define(sessions, account), Shortcuts()
    traced = of(caller, External("trace"), "1", start=True)
    (result,) = await caller.keep(traced)
    shortcuts.learn(traced, result)
    plain = caller.ping("2")
    assert shortcuts.row(plain) is None
    opener = caller.ping("1", start=True)
    (opened,) = await caller.keep(opener)
    shortcuts.learn(opener, opened)
    assert shortcuts.row(plain) is not None
    assert shortcuts.row(of(caller, External("trace"), "2")) is None


# Reports


async def runs(sessions: Sessions, account: str) -> Caller:
    return await define(sessions, account, "run")


async def test_a_report_is_kept_with_the_times_it_says(sessions: Sessions, account: str) -> None:
    caller = await runs(sessions, account)
    before = utc_now()
    (result,) = await caller.keep(report(caller, ended=ENDED - timedelta(hours=3)))
    row = await instance(caller, result.instance_id)
    assert row.ended_at == ENDED - timedelta(hours=3)
    assert row.started_at == row.ended_at - timedelta(seconds=5)
    assert row.opened_at >= before
    assert row.id[0] == "r"


async def test_a_repetition_is_answered_with_what_it_repeats(sessions: Sessions, account: str) -> None:
    caller = await runs(sessions, account)
    first, second = await caller.append(report(caller), report(caller))
    assert second == Repeated(kept(first).ping_id)
    (third,) = await caller.append(report(caller, ended=ENDED + timedelta(minutes=1)))
    assert third == second
    assert len(await caller.rows()) == 1


async def test_failures_and_their_good_end_in_one_batch(sessions: Sessions, account: str) -> None:
    caller = await runs(sessions, account)
    later = ENDED + timedelta(minutes=1)
    results = await caller.append(
        report(caller, failed=True),
        report(caller, failed=True),
        report(caller, ended=later),
        report(caller, failed=True),
        report(caller, ended=later),
    )
    failed, healed = kept(results[0]), kept(results[2])
    assert results[1] == Repeated(failed.ping_id)
    assert results[3:] == [Repeated(healed.ping_id)] * 2
    assert failed.instance_id == healed.instance_id
    assert [failed.status, healed.status] == [InstanceStatus.FAILED, InstanceStatus.COMPLETED]
    assert (await instance(caller, failed.instance_id)).ended_at == later


async def test_a_success_is_answered_as_such_also_when_it_heals(sessions: Sessions, account: str) -> None:
    caller = await runs(sessions, account)
    (failed,) = await caller.keep(report(caller, failed=True))
    async with transaction(sessions) as session:
        failing = update(Instance).where(Instance.id == failed.instance_id)
        await session.execute(failing.values(status=InstanceStatus.FAILED.value))
    (healed,) = await caller.keep(report(caller, ended=ENDED + timedelta(minutes=1)))
    assert healed.status == InstanceStatus.COMPLETED


async def test_reports_of_one_execution_through_many_gateways(sessions: Sessions, account: str) -> None:
    caller = await runs(sessions, account)

    async def send(gateway: int) -> Appended:
        (result,) = await caller.append(report(caller, failed=gateway % 2 == 0), gateway=gateway)
        return result

    results = await asyncio.gather(*map(send, range(1, 11)))
    assert not [result for result in results if isinstance(result, DomainError)]
    rows = await caller.rows()
    assert len({row.instance_id for row in rows}) == 1
    assert [row.status for row in rows] in (["healthy"], ["failed", "healthy"])


# What is expected


@pytest.fixture
async def expected(sessions: Sessions, account: str) -> Caller:
    """A run workflow that reports every hour."""
    caller = await runs(sessions, account)
    async with transaction(sessions) as session:
        workflow = await get_workflow(session, caller.workflow_id)
        assert workflow is not None
        await expect(session, workflow, Interval(3600), utc_now())
    return caller


async def pulse_of(caller: Caller) -> str:
    async with caller.sessions() as session:
        workflow = await session.get(Workflow, caller.workflow_id)
        assert workflow is not None
        assert workflow.pulse_id is not None
        return workflow.pulse_id


async def test_a_report_is_a_sign_of_life_in_the_same_transaction(expected: Caller) -> None:
    pulse_id = await pulse_of(expected)
    first, second = await expected.keep(report(expected), report(expected, "e2", failed=True))
    for result in (first, second):
        (sign,) = result.also
        assert sign.subject == f"pulse/{pulse_id}"
        assert sign.ping_id > result.ping_id
        assert [fact.path for fact in sign.facts] == ["success"]
    async with expected.sessions() as session:
        query = select(Ping).where(Ping.subject == f"pulse/{pulse_id}").order_by(Ping.id)
        signs = list(await session.scalars(query))
        waiting = select(OutboxRow.ping_id).where(OutboxRow.subject == f"pulse/{pulse_id}").order_by(OutboxRow.ping_id)
        assert [sign.id for sign in signs] == list(await session.scalars(waiting))
    assert [sign.received_at for sign in signs] == [row.received_at for row in await expected.rows()]


async def test_neither_is_kept_without_the_other(expected: Caller) -> None:
    pulse_id = await pulse_of(expected)
    async with expected.sessions() as session:
        await append(session, GATEWAY, [report(expected)], utc_now())
        await session.rollback()
    async with expected.sessions() as session:
        assert not list(await session.scalars(select(Ping.id).where(Ping.subject == f"pulse/{pulse_id}")))
    assert not await expected.rows()


async def test_stage_pings_repetitions_and_deleted_pulses_are_none(expected: Caller) -> None:
    await expected.keep(report(expected))
    again, other = await expected.append(report(expected), report(expected, "e2"))
    assert isinstance(again, Repeated)
    assert len(kept(other).also) == 1
    async with transaction(expected.sessions) as session:
        workflow = await session.get(Workflow, expected.workflow_id)
        assert workflow is not None
        pulse = await expected_by(session, workflow, lock=True)
        assert pulse is not None
        await delete_pulse(session, pulse, utc_now())
    (third,) = await expected.keep(report(expected, "e3"))
    assert third.also == ()


async def test_an_interval_is_changed_in_place(expected: Caller) -> None:
    pulse_id = await pulse_of(expected)
    async with transaction(expected.sessions) as session:
        workflow = await session.get(Workflow, expected.workflow_id)
        assert workflow is not None
        await expect(session, workflow, Interval(60, 5), utc_now())
    assert await pulse_of(expected) == pulse_id
    async with expected.sessions() as session:
        pulse = await get_pulse(session, pulse_id)
        assert pulse is not None
        assert (pulse.period_seconds, pulse.grace_seconds, pulse.revision) == (60, 5, 2)
