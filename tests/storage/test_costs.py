"""What pings cost is summed up in the transaction that keeps or accepts them: once, whoever else does the same."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from random import Random
from typing import Any

import pytest
from sqlalchemy import func, select

from cli.postgres import EmbeddedPostgres
from config.clock import utc_now
from domain.costs import Cost
from domain.instances import InstanceStatus
from domain.pings import Outcome, Report
from domain.verdicts import Verdict
from domain.workflows import WorkflowKind
from storage.base import Sessions, snapshot, transaction
from storage.batch import stage_row
from storage.cost_reads import (
    GROUPED_BY,
    Group,
    GroupBy,
    WorkflowCost,
    read_instance_cost,
    read_workflow_cost,
    sum_costs,
)
from storage.costs import CostRollup, InstanceCost, count_costs
from storage.joining import JoiningConnection
from storage.pings import Ping, decide, withdraw
from storage.rows import Journaled, NewPing
from storage.stage_pings import expire_early
from tests.storage.conftest import STRICT, Caller, define

DAY = date(2026, 3, 1)
FIRST, LAST = date(2026, 1, 1), date(2026, 12, 31)
TOKENS = ("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens")


def costing(
    ping: NewPing, cost: str | None = "0.5", day: date = DAY, model: str | None = "m", **report: Any
) -> NewPing:
    """The ping with what it costs; None is unpriced."""
    known = None if cost is None else Decimal(cost)
    return replace(
        ping,
        report=Report(model_id=model, **report),
        cost=Cost(known, "unpriced" if known is None else "caller", None, day),
    )


async def grouped(sessions: Sessions, account: str, group_by: GroupBy = "stage") -> list[Group]:
    async with snapshot(sessions) as session:
        return (await sum_costs(session, account, group_by, FIRST, LAST, limit=1000)).groups


async def total(sessions: Sessions, account: str) -> tuple[int, int, Decimal | None]:
    """Pings, those that are unpriced, and the cost."""
    groups = await grouped(sessions, account)
    known = [group.sums.cost_usd for group in groups if group.sums.cost_usd is not None]
    return (
        sum(group.sums.pings for group in groups),
        sum(group.sums.unpriced_pings for group in groups),
        sum(known, Decimal(0)) if known else None,
    )


@asynccontextmanager
async def joining(postgres: EmbeddedPostgres, gateway: int) -> AsyncIterator[JoiningConnection]:
    connection = JoiningConnection(postgres.url.replace("/pingpulse?", "/storage?"), gateway)
    yield connection
    await connection.close()


async def join(connection: JoiningConnection, pings: Sequence[NewPing], instance_id: str) -> None:
    """By the short way."""
    rows = [stage_row(ping, Outcome.ACCEPTED, InstanceStatus.RUNNING, instance_id) for ping in pings]
    assert await connection.keep(rows) is not None


async def test_a_batch_is_summed_up_as_it_is_kept(sessions: Sessions, account: str) -> None:
    caller = Caller(sessions, account, f"sums_{account}")
    kept = await caller.keep(
        costing(caller.ping("1", start=True, agent="a"), "0.1", input_tokens=10, output_tokens=1, cached_tokens=4),
        costing(caller.ping("1", agent="a"), "0.2", input_tokens=5, reasoning_tokens=3, cache_write_tokens=2),
        costing(caller.ping("2"), None, model="nobody-knows", input_tokens=7),
        caller.ping("3"),
    )
    first, second = await grouped(sessions, account)
    assert first.common == {"workflow_id": caller.workflow_id, "stage_path": "1"}
    assert first.sums.cost_usd == Decimal("0.3")
    assert [getattr(first.sums, name) for name in TOKENS] == [15, 1, 4, 2, 3]
    assert (first.sums.pings, first.sums.unpriced_pings) == (2, 0)
    assert (second.sums.pings, second.sums.unpriced_pings, second.sums.cost_usd) == (1, 1, None)
    rows = await caller.rows()
    assert [(row.cost_source, row.cost_usd, row.cost_day) for row in rows] == [
        ("caller", Decimal("0.1"), DAY),
        ("caller", Decimal("0.2"), DAY),
        ("unpriced", None, DAY),
        (None, None, None),
    ]
    assert (rows[0].cached_tokens, rows[1].cache_write_tokens, rows[1].reasoning_tokens) == (4, 2, 3)
    async with sessions() as session:
        cost = await read_instance_cost(session, str(kept[0].instance_id), start=1, limit=1)
    assert (cost.pings, cost.unpriced_pings, cost.cost_usd) == (3, 1, Decimal("0.3"))
    assert [ping.cost_usd for ping in cost.listed] == [Decimal("0.2")]


async def test_pings_without_costs_leave_no_sums(sessions: Sessions, account: str) -> None:
    caller = Caller(sessions, account, f"free_{account}")
    await caller.keep(caller.ping("1", start=True), caller.ping("2"))
    assert await grouped(sessions, account) == []


async def test_the_short_way_sums_up_too(sessions: Sessions, account: str, postgres: EmbeddedPostgres) -> None:
    caller = Caller(sessions, account, f"short_{account}")
    (opened,) = await caller.keep(costing(caller.ping("1", start=True)))
    async with joining(postgres, 8) as connection:
        batch = [costing(caller.ping("2")), caller.ping("3"), costing(caller.ping("2"), None)]
        await join(connection, batch, str(opened.instance_id))
        await join(connection, [caller.ping("4")], str(opened.instance_id))
    assert await total(sessions, account) == (3, 1, Decimal("1.0"))
    rows = await caller.rows()
    assert [row.cost_source for row in rows] == ["caller", "caller", None, "unpriced", None]


async def test_a_batch_that_is_not_kept_is_not_summed_up(
    sessions: Sessions, account: str, postgres: EmbeddedPostgres
) -> None:
    caller = Caller(sessions, account, f"moved_{account}")
    await caller.keep(caller.ping("1", start=True))
    async with joining(postgres, 8) as connection:
        rows = [stage_row(costing(caller.ping("2")), Outcome.ACCEPTED, InstanceStatus.RUNNING, "delsewhere")]
        assert await connection.keep(rows) is None
    assert await total(sessions, account) == (0, 0, None)


async def test_a_strict_ping_counts_once_it_is_accepted(sessions: Sessions, account: str) -> None:
    caller = await define(sessions, account, "static", **STRICT)
    kept = await caller.keep(*(costing(caller.ping("1", agent="a"), cost) for cost in ("1", "2", "4", "8")))
    accepted, rejected, withdrawn, _waiting = [item.ping_id for item in kept]
    assert await total(sessions, account) == (0, 0, None)
    verdicts = [
        Verdict(accepted, accepted=True, instance_status=InstanceStatus.RUNNING),
        Verdict(rejected, accepted=False, instance_status=InstanceStatus.RUNNING, code="stage_out_of_order"),
    ]
    # The second time as after an answer that was lost.
    for _ in range(2):
        async with transaction(sessions) as session:
            await count_costs(session, (await decide(session, verdicts)).accepted)
    async with transaction(sessions) as session:
        assert await withdraw(session, withdrawn)
    assert await total(sessions, account) == (1, 0, Decimal(1))


async def test_an_early_ping_counts_once_it_is_adopted(sessions: Sessions, account: str) -> None:
    caller = await define(sessions, account, grace_period_seconds=60)
    await caller.keep(costing(caller.ping("2"), "1"), costing(caller.ping("3"), "2"))
    assert await total(sessions, account) == (0, 0, None)
    (opened,) = await caller.keep(caller.ping("1", start=True))
    assert await total(sessions, account) == (2, 0, Decimal(3))
    # In one batch with the start.
    other = await define(sessions, account, grace_period_seconds=60)
    await other.keep(costing(other.ping("2"), "4"), costing(other.ping("1", start=True), "8"))
    assert await total(sessions, account) == (4, 0, Decimal(15))
    async with sessions() as session:
        assert (await read_instance_cost(session, str(opened.instance_id), start=0, limit=9)).cost_usd == 3


async def test_an_early_ping_that_nobody_adopts_costs_nothing(sessions: Sessions, account: str) -> None:
    caller = await define(sessions, account, grace_period_seconds=60)
    await caller.keep(costing(caller.ping("2")))
    async with transaction(sessions) as session:
        await expire_early(session, utc_now() + timedelta(seconds=61))
    await caller.keep(caller.ping("1", start=True))
    assert await total(sessions, account) == (0, 0, None)


async def test_what_is_inherited_costs_nothing(sessions: Sessions, account: str) -> None:
    caller = Caller(sessions, account, f"fork_{account}")
    (opened,) = await caller.keep(costing(caller.ping("1", start=True)))
    async with transaction(sessions) as session:
        ping = await session.get_one(Ping, opened.ping_id)
        ping.inherited = True
        await session.flush()
        cost = await read_instance_cost(session, str(opened.instance_id), start=0, limit=9)
        await count_costs(session, [opened.ping_id])
    assert (cost.pings, cost.cost_usd, cost.listed) == (0, None, [])
    assert await total(sessions, account) == (1, 0, Decimal("0.5"))


async def test_names_may_be_longer_than_an_index_holds(sessions: Sessions, account: str) -> None:
    # Random, because Postgres would compress a name that repeats itself.
    random = Random(5)
    model, agent, other = ("".join(chr(random.randint(0x10000, 0x10FFFF)) for _ in range(256)) for _ in range(3))
    caller = Caller(sessions, account, f"long_{account}")
    await caller.keep(costing(caller.ping("1", start=True, agent=agent), model=model))
    await caller.keep(costing(caller.ping("1", agent=agent), model=model), costing(caller.ping("1", agent=other)))
    groups = await grouped(sessions, account, "agent")
    assert [(group.common["agent"], group.sums.pings) for group in groups] == [(agent, 2), (other, 1)]


async def test_nothing_said_is_not_an_empty_name(sessions: Sessions, account: str) -> None:
    caller = Caller(sessions, account, f"empty_{account}")
    await caller.keep(costing(caller.ping("1", start=True), model=None), costing(caller.ping("1"), model=""))
    assert {group.common["model_id"] for group in await grouped(sessions, account, "model")} == {None, ""}


async def test_gateways_that_keep_the_same_costs_do_not_wait_in_circles(
    sessions: Sessions, account: str, postgres: EmbeddedPostgres
) -> None:
    dynamic = [Caller(sessions, account, f"circle{number}_{account}") for number in range(3)]
    opened = [(await caller.keep(caller.ping("1", start=True)))[0] for caller in dynamic]
    strict = await define(sessions, account, "static", **STRICT)
    await strict.keep(strict.ping("1", agent="a"))

    async def short(gateway: int) -> None:
        random = Random(gateway)
        async with joining(postgres, gateway) as connection:
            for _ in range(15):
                batch = list(zip(dynamic, opened, strict=True))
                random.shuffle(batch)
                rows = [
                    stage_row(
                        costing(caller.ping(path), "0.001"), Outcome.ACCEPTED, InstanceStatus.RUNNING, to.instance_id
                    )
                    for caller, to in batch
                    for path in random.sample("12345", 5)
                ]
                assert await connection.keep(rows) is not None

    async def long(gateway: int) -> None:
        random = Random(gateway)
        for _ in range(10):
            pings = [costing(caller.ping(path), "0.001") for caller in dynamic for path in "12345"]
            random.shuffle(pings)
            await dynamic[0].keep(*pings, gateway=gateway)

    async def judged(gateway: int) -> None:
        for _ in range(10):
            kept = await strict.keep(
                *(costing(strict.ping(path, agent="a"), "0.001") for path in "321"), gateway=gateway
            )
            verdicts = [Verdict(item.ping_id, accepted=True, instance_status=InstanceStatus.RUNNING) for item in kept]
            async with transaction(sessions) as session:
                await count_costs(session, (await decide(session, verdicts)).accepted)

    await asyncio.gather(
        *(short(number) for number in (1, 2, 3)), *(long(number) for number in (4, 5)), judged(6), judged(9)
    )
    count = 3 * 15 * 15 + 2 * 10 * 15 + 2 * 10 * 3
    assert await total(sessions, account) == (count, 0, count * Decimal("0.001"))


@pytest.mark.parametrize("seed", range(8))
async def test_sums_are_those_of_the_journal(
    sessions: Sessions, account: str, postgres: EmbeddedPostgres, seed: int
) -> None:
    random = Random(seed)
    callers = [Caller(sessions, account, f"sum{number}_{account}", WorkflowKind.DYNAMIC) for number in range(2)] + [
        await define(sessions, account, "static", **STRICT),
        await define(sessions, account, grace_period_seconds=60),
    ]

    def any_ping(caller: Caller) -> NewPing:
        ping = caller.ping(
            random.choice("123"),
            start=caller.kind is WorkflowKind.DYNAMIC and random.random() < 0.2,
            agent=random.choice(("a", "b")),
        )
        if random.random() < 0.3:
            return ping
        return costing(
            ping,
            random.choice((None, "0", "0.000000000000000001", "12.5", "1000000000")),
            DAY + timedelta(days=random.randrange(3)),
            random.choice((None, "m", "n")),
            **{name: random.choice((None, 0, 17, 2**53)) for name in TOKENS},
        )

    for _ in range(12):
        caller = random.choice(callers)
        results = await caller.append(*(any_ping(caller) for _ in range(random.randint(1, 6))))
        journaled = [item for item in results if isinstance(item, Journaled)]
        pending = [item.ping_id for item in journaled if item.outcome is Outcome.PENDING]
        for ping_id in pending:
            if random.random() < 0.3:
                continue
            verdict = Verdict(ping_id, accepted=random.random() < 0.7, instance_status=InstanceStatus.RUNNING)
            async with transaction(sessions) as session:
                await count_costs(session, (await decide(session, [verdict])).accepted)

    columns = {
        "day": (Ping.cost_day,),
        "workflow": (Ping.workflow_id,),
        "model": (Ping.model_id,),
        "agent": (Ping.agent,),
        "stage": (Ping.workflow_id, Ping.path),
    }
    counted = (Ping.account_id == account, Ping.outcome == Outcome.ACCEPTED, Ping.cost_source.is_not(None))
    sums = (
        func.count(),
        func.count().filter(Ping.cost_source == "unpriced"),
        *(func.coalesce(func.sum(getattr(Ping, name)), 0) for name in TOKENS),
        func.sum(Ping.cost_usd),
    )
    totals = set()
    async with snapshot(sessions) as session:
        for group_by in GROUPED_BY:
            journal = await session.execute(
                select(*columns[group_by], *sums).where(*counted).group_by(*columns[group_by])
            )
            summary = await sum_costs(session, account, group_by, FIRST, LAST, limit=1000)
            cut = await sum_costs(session, account, group_by, FIRST, LAST, limit=1)
            groups = summary.groups
            assert cut.total == summary.total
            assert summary.rest is None
            found = {
                tuple(value for name, value in group.common.items() if name != "workflow_name"): vars(group.sums)
                for group in groups
            }
            keys = len(columns[group_by])
            names = ("pings", "unpriced_pings", *TOKENS, "cost_usd")
            assert found == {tuple(row[:keys]): dict(zip(names, row[keys:], strict=True)) for row in journal}
            totals.add(sum((group.sums.cost_usd or 0 for group in groups), Decimal(0)))
            totals.add(summary.total.cost_usd or Decimal(0))
            if cut.rest is not None:
                rest, first_group = cut.rest, cut.groups[0].sums
                totals.add((rest.cost_usd or Decimal(0)) + (first_group.cost_usd or 0))
                assert (rest.cost_usd is None) == all(group.sums.cost_usd is None for group in groups[1:])
                assert rest.pings + first_group.pings == summary.total.pings
        by_instance = await session.execute(
            select(Ping.instance_id, Ping.cost_day, *sums[:2], sums[-1])
            .where(*counted)
            .group_by(Ping.instance_id, Ping.cost_day)
        )
        instance_ids = select(Ping.instance_id).where(*counted)
        rows = await session.execute(
            select(
                InstanceCost.instance_id,
                InstanceCost.day,
                InstanceCost.pings,
                InstanceCost.unpriced_pings,
                InstanceCost.cost_usd,
            ).where(InstanceCost.instance_id.in_(instance_ids))
        )
        kept = [(row[0], row[1], row[2], row[3], row[4]) for row in rows]
        assert set(kept) == {tuple(row) for row in by_instance}
        totals.add(sum((Decimal(row[-1] or 0) for row in kept), Decimal(0)))
        workflows = [await read_workflow_cost(session, caller.workflow_id, FIRST, LAST) for caller in callers]
        totals.add(sum((cost.cost_usd or 0 for cost in workflows), Decimal(0)))
    assert len(totals) == 1


async def test_a_workflow_knows_its_dearest_instance(sessions: Sessions, account: str) -> None:
    caller = Caller(sessions, account, f"dear_{account}")
    today = DAY + timedelta(days=1)
    instances = []
    for cost, day in (("1", DAY), ("5", DAY), ("3", today), (None, today)):
        (opened,) = await caller.keep(costing(caller.ping("1", start=True), cost, day))
        instances.append(opened.instance_id)
        await caller.keep(caller.ping("2", final=True))
    async with sessions() as session:
        both = await read_workflow_cost(session, caller.workflow_id, DAY, today)
        one = await read_workflow_cost(session, caller.workflow_id, today, today)
        none = await read_workflow_cost(session, "nobody", DAY, today)
        assert await session.scalar(select(func.count()).where(CostRollup.account_id == account)) == 2
    three, five, nine = Decimal(3), Decimal(5), Decimal(9)
    assert both == WorkflowCost(4, 1, 1, nine, three, 3, instances[1], five)
    assert one == WorkflowCost(2, 1, 1, three, three, 1, instances[2], three)
    assert none == WorkflowCost(0, 0, 0, None, None, 0, None, None)
