"""What one commit of the journal does."""

import asyncio
import json
from dataclasses import replace
from datetime import timedelta

import pytest
from sqlalchemy import select

from config.clock import utc_now
from domain.errors import Conflict, Forbidden, NotFound
from domain.instances import InstanceStatus
from domain.pings import Outcome, PingStatus
from storage.accounts import create_account
from storage.base import Sessions, transaction
from storage.instances import Instance
from storage.journal import KeyInUseElsewhere, Repeated, append, forget_old_keys
from storage.pings import IdempotencyKey
from storage.stage_pings import expire_early
from storage.workflows import Workflow
from tests.storage.conftest import GATEWAY, SECOND, STRICT, Caller, define, kept, refused


async def test_a_batch_is_kept_in_its_order(sessions: Sessions, account: str) -> None:
    caller = Caller(sessions, account, f"batch_{account}")
    results = await caller.append(
        caller.ping("1", start=True, instance_id="dnothing1"),
        caller.ping("1", start=True),
        *(caller.ping(str(number)) for number in range(2, 50)),
        caller.ping("1", instance_id="dnothing1"),
        caller.ping("50", status=PingStatus.FAILED, error="full"),
        caller.ping("51", final=True),
    )
    assert isinstance(refused(results[0]), NotFound)
    assert isinstance(refused(results[50]), NotFound)
    journaled = [kept(result) for result in (*results[1:50], *results[51:])]
    ids = [item.ping_id for item in journaled]
    assert ids == sorted(ids)
    assert len({(item.instance_id, item.subject) for item in journaled}) == 1
    assert [item.status for item in journaled[-3:]] == ["running", "failed", "completed"]
    rows = await caller.rows()
    assert [(row.id, row.path) for row in rows] == list(zip(ids, map(str, range(1, 52)), strict=True))
    assert [item.facts for item in journaled] == [(row.fact(),) for row in rows]
    assert {row.outcome for row in rows} == {Outcome.ACCEPTED}
    outbox = await caller.outbox()
    assert sorted(outbox) == ids
    assert {(row.gateway_id, row.wants_verdict) for row in outbox.values()} == {(GATEWAY, False)}


async def test_a_payload_is_kept_as_its_text(sessions: Sessions, account: str) -> None:
    caller = Caller(sessions, account, f"payload_{account}")
    payload = '{"b":1,"a":1e2,"c":[' + "9" * 400 + '],"d":"\\\\u0000 ü"}'
    await caller.keep(replace(caller.ping(start=True), payload=payload, size_bytes=len(payload)))
    (row,) = await caller.rows()
    assert row.payload == json.loads(payload)
    assert list(row.payload) == ["b", "a", "c", "d"]


async def test_strict_pings_wait_for_a_verdict(sessions: Sessions, account: str) -> None:
    caller = await define(sessions, account, "static", **STRICT)
    (journaled,) = await caller.keep(caller.ping("1", agent="a"))
    assert journaled.outcome is Outcome.PENDING
    assert (await caller.outbox())[journaled.ping_id].wants_verdict
    (rejected,) = await caller.keep(caller.ping("1"))
    assert rejected.rejection is not None
    assert (rejected.outcome, rejected.rejection.code, rejected.facts) == (Outcome.REJECTED, "agent_required", ())
    assert list(await caller.outbox()) == [journaled.ping_id]


async def test_a_static_instance_is_known_by_its_journal(sessions: Sessions, account: str) -> None:
    caller = await define(sessions, account, "static")
    (first,) = await caller.keep(caller.ping("2"))
    batch = await caller.keep(caller.ping("3"), caller.ping("1"), caller.ping("1"))
    assert [item.status for item in (first, *batch)] == ["running", "running", "completed", "running"]
    assert [item.instance_id == first.instance_id for item in batch] == [True, True, False]
    assert [item.status for item in await caller.keep(caller.ping("2"), caller.ping("3"))] == ["running", "completed"]
    whole_run = await caller.keep(*(caller.ping(path) for path in ("1", "2", "3")))
    assert [item.status for item in whole_run] == ["running", "running", "completed"]


async def test_of_a_busy_instance_the_status_is_only_predicted(
    sessions: Sessions, account: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("storage.routing.MAX_COUNTED", 3)
    caller = await define(sessions, account, "static")
    await caller.keep(*(caller.ping("2") for _ in range(3)))
    await caller.keep(caller.ping("1"))
    (last,) = await caller.keep(caller.ping("3"))
    assert last.status is InstanceStatus.RUNNING


async def test_one_instance_however_many_gateways_open_it(sessions: Sessions, account: str) -> None:
    for _ in range(5):
        caller = await define(sessions, account, "static", stages=9)
        batches = [caller.keep(caller.ping(str(stage)), gateway=stage) for stage in range(9, 0, -1)]
        results = await asyncio.gather(*batches)
        assert len({journaled.instance_id for (journaled,) in results}) == 1


async def test_two_accounts_that_start_the_same_id(sessions: Sessions, account: str) -> None:
    async with transaction(sessions) as session:
        other_account = (await create_account(session, "others", utc_now())).id
    callers = [Caller(sessions, owner, f"contested_{account}") for owner in (account, other_account)]
    results = await asyncio.gather(*(caller.append(caller.ping(start=True)) for caller in callers))
    assert sorted(isinstance(result, Forbidden) for (result,) in results) == [False, True]
    one, other = callers
    both = await one.append(one.ping(start=True), other.ping(start=True))
    assert sorted(isinstance(result, Forbidden) for result in both) == [False, True]


async def test_a_deleted_workflow_comes_back(sessions: Sessions, account: str) -> None:
    caller = await define(sessions, account, **STRICT)
    async with transaction(sessions) as session:
        workflow = await session.get_one(Workflow, caller.workflow_id)
        workflow.deleted_at = utc_now()
    assert isinstance(refused((await caller.append(caller.ping("2")))[0]), NotFound)
    (back,) = await caller.keep(caller.ping(start=True))
    async with sessions() as session:
        revived = await session.get_one(Workflow, caller.workflow_id)
        assert (revived.deleted_at, revived.validation_mode) == (None, "flexible")
        assert (await session.get_one(Instance, back.instance_id)).account_id == account


# Early pings


async def test_a_start_adopts_what_came_early(sessions: Sessions, account: str) -> None:
    caller = await define(sessions, account, grace_period_seconds=10.0)
    now = utc_now()
    ages = {"too-late": 11, "2": 9, "3": 1}
    early = await caller.keep(*(caller.ping(path, at=now - age * SECOND) for path, age in ages.items()), gateway=1)
    assert [(item.outcome, item.instance_id, item.facts) for item in early] == [(Outcome.EARLY, None, ())] * 3
    assert not await caller.outbox()
    (start,) = await caller.keep(caller.ping("1", start=True, at=now), now=now, gateway=2)
    assert [fact.path for fact in start.facts] == ["2", "3", "1"]
    assert {fact.gateway for fact in start.facts} == {2}
    assert [(row.path, row.outcome, row.instance_id, row.gateway_id) for row in await caller.rows()] == [
        ("too-late", "early", None, 1),
        ("2", "accepted", start.instance_id, 2),
        ("3", "accepted", start.instance_id, 2),
        ("1", "accepted", start.instance_id, 2),
    ]
    assert sorted(await caller.outbox()) == [fact.id for fact in start.facts]
    (second,) = await caller.keep(caller.ping("1", start=True, at=now), now=now)
    assert [fact.path for fact in second.facts] == ["1"]


async def test_a_start_in_the_same_batch_adopts_too(sessions: Sessions, account: str) -> None:
    caller = await define(sessions, account)
    early, start = await caller.keep(caller.ping("2"), caller.ping("1", start=True))
    assert (early.instance_id, early.outcome) == (start.instance_id, Outcome.ACCEPTED)
    assert [fact.path for fact in (*early.facts, *start.facts)] == ["2", "1"]
    assert sorted(await caller.outbox()) == [early.ping_id, start.ping_id]


async def test_early_pings_and_starts_at_the_same_time(sessions: Sessions, account: str) -> None:
    for _ in range(10):
        caller = await define(sessions, account)
        await asyncio.gather(
            *(caller.keep(caller.ping(str(number))) for number in range(2, 6)),
            caller.keep(caller.ping("1", start=True), gateway=8),
        )
        assert {(row.outcome, row.instance_id is None) for row in await caller.rows()} == {("accepted", False)}


async def test_what_nothing_adopts_expires(sessions: Sessions, account: str) -> None:
    caller = await define(sessions, account, grace_period_seconds=10.0)
    now = utc_now()
    await caller.keep(*(caller.ping(str(age), at=now - age * SECOND) for age in (9, 11)))
    async with transaction(sessions) as session:
        expired = await expire_early(session, now)
    assert [
        (ping.path, ping.outcome, ping.reason_code) for ping in expired if ping.workflow_id == caller.workflow_id
    ] == [("11", "rejected", "no_open_instance")]
    async with transaction(sessions) as session:
        assert caller.workflow_id not in {ping.workflow_id for ping in await expire_early(session, now)}
    (start,) = await caller.keep(caller.ping("1", start=True, at=now), now=now)
    assert [fact.path for fact in start.facts] == ["9", "1"]


# Idempotency keys


async def test_a_key_is_used_once(sessions: Sessions, account: str) -> None:
    caller = Caller(sessions, account, f"keys_{account}")
    (first,) = await caller.keep(caller.ping(start=True, key="k"))
    again, other_stage, new = await caller.append(
        caller.ping(start=True, key="k"), caller.ping("2"), caller.ping("2", key="l")
    )
    assert again == Repeated(first.ping_id)
    assert kept(other_stage).instance_id == kept(new).instance_id == first.instance_id
    assert isinstance(refused((await caller.append(caller.ping("2", key="k")))[0]), Conflict)
    assert len(await caller.rows()) == 3


async def test_a_key_in_use_by_another_gateway(sessions: Sessions, account: str) -> None:
    caller = await define(sessions, account)
    (opened,) = await caller.keep(caller.ping(start=True))
    for commits in (True, False):
        key = f"commits {commits}"
        async with sessions() as session:
            (first,) = await append(session, 1, [caller.ping("2", key=key)], utc_now())
            second = asyncio.create_task(caller.append(caller.ping("2", key=key), gateway=2))
            await asyncio.sleep(0.1)
            assert not second.done()
            await (session.commit() if commits else session.rollback())
        if commits:
            with pytest.raises(KeyInUseElsewhere):
                await second
            assert await caller.append(caller.ping("2", key=key), gateway=2) == [Repeated(kept(first).ping_id)]
        else:
            assert kept((await second)[0]).instance_id == opened.instance_id
    assert len(await caller.rows()) == 3


async def test_keys_are_forgotten_after_a_day(sessions: Sessions, account: str) -> None:
    caller = await define(sessions, account)
    now = utc_now()
    (first,) = await caller.keep(caller.ping(start=True, key="k"), now=now - timedelta(hours=25))
    (second,) = await caller.keep(caller.ping(start=True, key="k"), now=now)
    assert first.ping_id != second.ping_id
    await caller.keep(caller.ping(start=True, key="old"), now=now - timedelta(hours=25))
    async with transaction(sessions) as session:
        await forget_old_keys(session, now - timedelta(hours=24))
        keys = await session.scalars(select(IdempotencyKey.key).where(IdempotencyKey.account_id == account))
        assert list(keys) == ["k"]
