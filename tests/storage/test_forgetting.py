"""What is over and old is deleted, and nothing else: whatever is young, open or waits stays, and so do all sums."""

import asyncio
from collections.abc import AsyncIterator
from datetime import date, datetime, timedelta
from decimal import Decimal

import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.ext.asyncio import AsyncSession

from cli.postgres import EmbeddedPostgres
from config.clock import utc_now
from domain.errors import InvalidRequest, NotFound
from domain.forks import Origin
from domain.ids import random_id
from domain.retention import MAX_DAYS, MIN_DAYS, Retention
from domain.workflows import WorkflowDefinition, WorkflowKind
from storage import forgetting, old_things
from storage.accounts import create_account
from storage.base import Sessions, create_engine, create_sessions, transaction
from storage.costs import CostRollup, InstanceCost
from storage.forgetting import forget_some
from storage.forks import add_descendant, descendant
from storage.instances import Instance
from storage.reservations import Reservation
from storage.retention import get_retention, keep_for
from storage.run_standings import RunStandingRow
from storage.workflows import Workflow, columns_of
from tests.conftest import copy_database
from tests.storage.retention_cases import World
from tests.support.approvals import ask

DYNAMIC = WorkflowKind.DYNAMIC

_boundary_of = old_things.boundary_of


@pytest.fixture(autouse=True)
def any_order(monkeypatch: pytest.MonkeyPatch) -> None:
    """Our pings come in any order of their times, among those of other tests: there is no boundary between them."""

    async def nowhere(*_: object) -> int:
        return 2**62

    monkeypatch.setattr(old_things, "boundary_of", nowhere)


@pytest.fixture
async def world(sessions: Sessions, account: str) -> AsyncIterator[World]:
    world = World(sessions, account)
    yield world
    await world.keep(None)


@pytest.mark.parametrize("days", [MIN_DAYS - 1, 0, -1, MAX_DAYS + 1])
@pytest.mark.parametrize("name", ["keep_days", "keep_approvals_days"])
def test_the_days_have_limits(days: int, name: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        Retention(**{name: days})
    assert [field.field for field in caught.value.fields] == [name]


async def test_everything_of_an_old_instance_goes(world: World) -> None:
    workflow_id = await world.workflow()
    old, young = await world.instance(workflow_id, 31), await world.instance(workflow_id, 29)
    compared = await world.compare(old, young)
    kept = await world.compare(young, young)
    alert = await world.alert(f"instance/{workflow_id}/{old}", 31)
    async with transaction(world.sessions) as session:
        session.add(
            Reservation(
                id=f"r{old}",
                account_id=world.account_id,
                workflow_id=workflow_id,
                instance_id=old,
                amount_usd=Decimal(1),
                created_at=world.ago(31),
                expires_at=world.ago(31),
            )
        )
    await world.keep()
    nothing = {"process_runs": 0, "pulse_pings": 0, "rejected_pings": 0}
    assert await world.preview() == {"instances": 1, "alerts": 1, **nothing}
    assert await world.forget() == {"instances": 1, "alerts": 1}
    assert await world.ids("instances") == {young}
    assert await world.ids("comparisons", "session_id") == {kept} != {compared}
    assert alert not in await world.ids("alerts")
    for table in ("pings", "stages", "reservations"):
        assert await world.count(table, instance_id=old) == 0
    assert await world.count("pings", instance_id=young) == 2
    assert await world.count("transitions", subject=f"instance/{workflow_id}/{old}") == 0
    assert await world.count("messages", account_id=world.account_id) == 0


@pytest.mark.parametrize(
    ("why", "stays"),
    [
        ("nothing", False),
        ("open", True),
        ("made lately", True),
        ("ping on its way", True),
        ("approval pending", True),
        ("approval decided", False),
        ("unheard", True),
        ("alert untold", True),
        ("alert waits for quiet hours to end", True),
        ("message being sent", True),
        ("money set aside", True),
    ],
)
async def test_an_old_instance_stays_while_something_waits(world: World, why: str, stays: bool) -> None:
    workflow_id = await world.workflow()
    id_ = await world.instance(
        workflow_id,
        100,
        is_open=why == "open",
        opened=3 if why == "made lately" else None,
        is_unheard=why == "unheard",
    )
    subject = f"instance/{workflow_id}/{id_}"
    match why:
        case "ping on its way":
            await world.put_on_its_way(subject)
        case "approval pending" | "approval decided":
            approval = await ask(world.sessions, world.account_id, instance_id=id_, workflow_id=workflow_id)
            if why == "approval decided":
                async with transaction(world.sessions) as session:
                    await session.execute(
                        text("UPDATE approvals SET status = 'approved' WHERE id = :id"), {"id": approval.id}
                    )
        case "alert untold":
            await world.alert(subject, 100, state="new", message=None)
        case "alert waits for quiet hours to end":
            await world.alert(subject, 100, waits=True)
        case "message being sent":
            await world.alert(subject, 100, message="pending")
        case "money set aside":
            async with transaction(world.sessions) as session:
                session.add(
                    Reservation(
                        id=f"r{id_}",
                        account_id=world.account_id,
                        workflow_id=workflow_id,
                        instance_id=id_,
                        amount_usd=Decimal(1),
                        created_at=world.now,
                        expires_at=world.now + timedelta(hours=1),
                    )
                )
    await world.keep()
    await world.forget()
    assert (await world.ids("instances") == {id_}) is stays
    assert (await world.count("pings", instance_id=id_) == 2) is stays


async def test_a_tree_goes_as_a_whole_once_its_youngest_may(world: World) -> None:
    workflow_id = await world.workflow()

    async def tree(*ages: float) -> list[str]:
        root = await world.instance(workflow_id, ages[0])
        others = [
            await world.instance(workflow_id, age, root_id=root, parent_id=root, origin="fork", fork_depth=1)
            for age in ages[1:]
        ]
        return [root, *others]

    old, mixed = await tree(90, 60, 31), await tree(90, 60, 5)
    root, pending = await world.instance(workflow_id, 90), None
    pending = await world.instance(workflow_id, 90, is_open=True, root_id=root, parent_id=root, origin="rerun")
    await world.keep()
    assert await world.forget(batch=1) == {"instances": 3}
    assert await world.ids("instances") == {*mixed, root, pending}
    assert not set(old) & await world.ids("instances")
    await world.keep(7)
    assert await world.forget(now=world.now + timedelta(days=3)) == {"instances": 3}
    assert await world.ids("instances") == {root, pending}


async def fork(session: AsyncSession, parent: Instance, now: datetime) -> None:
    workflow = await session.get_one(Workflow, parent.workflow_id)
    made = descendant(parent, Origin.FORK, now)
    made.definition = columns_of(workflow.definition())
    await add_descendant(session, made, [])


async def test_nobody_forks_what_is_being_deleted(world: World) -> None:
    workflow_id = await world.workflow()
    parent = Instance(id=await world.instance(workflow_id, 90), workflow_id=workflow_id, account_id=world.account_id)
    parent.fork_depth, parent.definition = 0, columns_of(WorkflowDefinition(workflow_id, world.account_id, DYNAMIC))
    await world.keep()
    async with transaction(world.sessions) as forking:
        await fork(forking, parent, world.now)
        # It is held: nothing is deleted, not even waited for.
        assert await world.forget() == {}
    assert len(await world.ids("instances")) == 2
    # Once it is there, it keeps its root.
    assert await world.forget(now=world.now + timedelta(days=1)) == {}
    async with transaction(world.sessions) as session:
        await session.execute(text("DELETE FROM instances WHERE root_id = :id"), {"id": parent.id})
    assert await world.forget(now=world.now + timedelta(days=2)) == {"instances": 1}
    with pytest.raises(NotFound, match="any more"):
        async with transaction(world.sessions) as session:
            await fork(session, parent, world.now)


async def test_runs(world: World) -> None:
    young, old = await world.run(29), await world.run(31)
    running, overdue, lost = (
        await world.run(90, ended=False),
        await world.run(36, ended=False, overdue=36),
        await world.run(90, ended=False, overdue=38),
    )
    await world.keep()
    assert (await world.preview())["process_runs"] == 2
    assert await world.forget() == {"process_runs": 2}
    assert await world.ids("process_runs") == {young, running, overdue}
    assert {old, lost}.isdisjoint(await world.ids("process_runs"))
    assert await world.count("pings", account_id=world.account_id) == 3


async def test_pings_of_a_pulse_go_if_they_are_part_of_its_standing(world: World) -> None:
    busy, quiet, unknown = await world.pulse(90, 40, 31, 29, 1), await world.pulse(90, 60), None
    unknown = await world.pulse(90, 80, known=False)
    gone = await world.pulse(90, 80, known=False, deleted_at=world.ago(70))
    await world.keep()
    assert (await world.preview())["pulse_pings"] == 5
    assert await world.forget(batch=2) == {"pulse_pings": 5}
    # The latest stays, however old.
    for pulse_id, pings in ((busy, 2), (quiet, 1), (unknown, 2), (gone, 1)):
        assert await world.count("pings", subject=f"pulse/{pulse_id}") == pings
        assert await world.count("transitions", subject=f"pulse/{pulse_id}") == 1


async def test_what_was_refused_goes_unless_its_instance_is_there(world: World) -> None:
    workflow_id = await world.workflow()
    open_id = await world.instance(workflow_id, 90, is_open=True, pings=0)
    kept = {await world.rejected(workflow_id, 90, open_id), await world.rejected(workflow_id, 20)}
    await world.rejected(workflow_id, 90)
    await world.rejected(workflow_id, 60, "dgone0000")
    await world.keep()
    assert await world.forget(batch=1) == {"rejected_pings": 2}
    assert await world.ids("pings") == kept


async def test_alerts(world: World) -> None:
    workflow_id = await world.workflow()
    open_id = await world.instance(workflow_id, 90, is_open=True)
    up, down = await world.pulse(), await world.pulse(status="down", since=60)
    running = await world.run(90, ended=False)
    failing = await world.workflow()
    async with transaction(world.sessions) as session:
        session.add(RunStandingRow(workflow_id=failing, failing_since=world.ago(60)))
    pending = await ask(world.sessions, world.account_id)
    stay = [
        await world.alert(f"pulse/{up}", 29),
        await world.alert(f"pulse/{up}", 90, state="held", message=None),
        await world.alert(f"pulse/{up}", 90, message="pending"),
        await world.alert(f"pulse/{up}", 90, waits=True),
        await world.alert(f"pulse/{down}", 60),
        await world.alert(f"pulse/{down}", 50),
        await world.alert(f"instance/{workflow_id}/{open_id}", 90),
        await world.alert(f"process/x/{running}", 90),
        await world.alert(f"approval/{pending.id}", 90),
        await world.alert(f"instance/{failing}/dgone0000", 60, source=f"workflow/{failing}"),
        await world.alert("pulse/other", 90, trouble="still to be told", state="new", message=None),
        await world.alert("pulse/other", 90, trouble="still to be told"),
    ]
    go = [
        await world.alert(f"pulse/{up}", 31),
        await world.alert(f"pulse/{up}", 31, state="silent", message=None),
        await world.alert(f"pulse/{down}", 61, message="failed"),
        await world.alert(f"instance/{workflow_id}/dgone0000", 90),
        await world.alert(f"instance/{failing}/dgone0000", 61, source=f"workflow/{failing}"),
        await world.alert("approval/apr_gone", 90),
    ]
    ours = await world.ids("alerts")
    assert set(go) | set(stay) <= ours
    await world.keep()
    assert (await world.preview())["alerts"] == len(go)
    assert await world.forget(batch=2) == {"alerts": len(go)}
    assert await world.ids("alerts") == ours - set(go)
    deliveries = await world.count("deliveries d JOIN alerts a ON a.id = d.alert_id", account_id=world.account_id)
    assert deliveries == 10
    letters_to_approvers = 1
    assert await world.count("messages", account_id=world.account_id) == 9 + letters_to_approvers


async def test_a_message_stays_as_long_as_one_of_its_alerts(world: World) -> None:
    one = await world.alert("pulse/one", 31)
    other = await world.alert("pulse/other", 20, message=None)
    async with transaction(world.sessions) as session:
        await session.execute(
            text(
                "INSERT INTO deliveries (alert_id, channel_id, message_id, not_before) "
                "SELECT :other, channel_id, message_id, not_before FROM deliveries WHERE alert_id = :one"
            ),
            {"one": one, "other": other},
        )
    await world.keep()
    assert await world.forget() == {"alerts": 1}
    assert await world.count("messages", account_id=world.account_id) == 1
    assert await world.forget(now=world.now + timedelta(days=11)) == {"alerts": 1}
    assert await world.count("messages", account_id=world.account_id) == 0


async def test_sums_stay_as_they_are(world: World) -> None:
    workflow_id = await world.workflow()
    id_ = await world.instance(workflow_id, 90)
    day = world.ago(90).date()
    async with transaction(world.sessions) as session:
        counts = {"pings": 2, "unpriced_pings": 0, "cost_usd": Decimal("0.2")}
        tokens = ("input_tokens", "output_tokens", "cached_tokens", "cache_write_tokens", "reasoning_tokens")
        session.add(CostRollup(account_id=world.account_id, day=day, key=b"x", **counts, **dict.fromkeys(tokens, 1)))
        session.add(InstanceCost(instance_id=id_, day=day, workflow_id=workflow_id, **counts))
    before = await _sums(world, workflow_id, day)
    await world.keep()
    assert await world.forget() == {"instances": 1}
    assert await _sums(world, workflow_id, day) == before


async def _sums(world: World, workflow_id: str, day: date) -> list[object]:
    async with world.sessions() as session:
        rollups = await session.execute(
            text("SELECT day, sum(cost_usd), sum(pings) FROM cost_rollups WHERE account_id = :id GROUP BY 1"),
            {"id": world.account_id},
        )
        instances = await session.execute(
            text("SELECT sum(cost_usd), count(*) FROM instance_costs WHERE workflow_id = :id AND day = :day"),
            {"id": workflow_id, "day": day},
        )
        return [*map(tuple, rollups), *map(tuple, instances)]


class Killed(Exception):
    pass


async def test_who_dies_in_the_middle_has_deleted_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    workflow_id = await world.workflow()
    ids = {await world.instance(workflow_id, 90) for _ in range(4)}
    await world.keep()

    async def delete_and_die(*arguments: object) -> None:
        await delete(*arguments)  # type: ignore[arg-type]
        raise Killed

    delete = forgetting.delete_instances
    monkeypatch.setattr(forgetting, "delete_instances", delete_and_die)
    with pytest.raises(Killed):
        await world.forget(batch=2)
    assert await world.ids("instances") == ids
    assert await world.count("pings", workflow_id=workflow_id) == 8
    monkeypatch.undo()
    assert await world.forget(batch=2) == {"instances": 4}
    assert await world.count("pings", workflow_id=workflow_id) == 0


async def test_two_at_once_share_no_account(world: World) -> None:
    workflow_id = await world.workflow()
    for _ in range(6):
        await world.instance(workflow_id, 90)
    await world.keep()
    async with transaction(world.sessions) as first:
        assert await forget_some(first, world.now, 2) is True
        async with transaction(world.sessions) as second:
            assert await forget_some(second, world.now, 2) is None
    await asyncio.gather(*(world.forget(batch=1) for _ in range(3)))
    async with world.sessions() as session:
        row = await get_retention(session, world.account_id)
    assert row is not None
    assert (row.deleted, row.deleting, row.looked_at) == ({"instances": 6}, {}, world.now)


async def test_it_is_off_until_somebody_asks_for_it(world: World) -> None:
    workflow_id = await world.workflow()
    id_ = await world.instance(workflow_id, 3000)
    async with transaction(world.sessions) as session:
        assert await forget_some(session, world.now) is None
    await world.keep(30)
    await world.keep(None)
    async with transaction(world.sessions) as session:
        assert await forget_some(session, world.now) is None
    assert await world.ids("instances") == {id_}


async def test_other_accounts_lose_nothing(world: World, sessions: Sessions) -> None:
    async with transaction(sessions) as session:
        other = World(sessions, (await create_account(session, "others", utc_now())).id)
    workflow_id = await other.workflow()
    await other.instance(workflow_id, 90)
    await other.alert("pulse/x", 90)
    await other.pulse(90, 80)
    await other.run(90)
    await world.instance(await world.workflow(), 90)
    await world.keep(7, 7)
    assert await world.forget() == {"instances": 1}
    for table, count in (("instances", 1), ("alerts", 1), ("process_runs", 1), ("pings", 5)):
        assert await other.count(table, account_id=other.account_id) == count


@pytest.mark.parametrize(
    "ages", [(), (90,), (5,), (90, 60, 31, 29, 5), (90, 31, 32, 29, 30.5, 5), (60, 50, 40), (9, 8)]
)
async def test_the_boundary_between_old_and_young_pings(postgres: EmbeddedPostgres, ages: tuple[float, ...]) -> None:
    """Seconds between gateways move it by a few pings at most."""
    url = await copy_database(postgres, random_id("boundary_", 8).lower())
    engine = create_engine(url)
    sessions = create_sessions(engine)
    async with transaction(sessions) as session:
        world = World(sessions, (await create_account(session, "tests", utc_now())).id)
    ids = [await world.rejected("w", age) for age in ages]
    async with sessions() as session:
        boundary = await _boundary_of(session, world.ago(30))
    await engine.dispose()
    before = [age for id_, age in zip(ids, ages, strict=True) if id_ < boundary]
    wrong = [age for age in before if age < 30] + [age for age in ages if age > 30 and age not in before]
    assert len(wrong) <= 1
    if list(ages) == sorted(ages, reverse=True):
        assert wrong == []


ITEMS = st.lists(
    st.tuples(
        st.sampled_from(["instance", "open", "run", "running", "alert", "untold", "pulse"]),
        st.integers(1, 60),
        st.integers(0, 2),
    ),
    max_size=8,
)


@settings(
    max_examples=12,
    deadline=None,
    phases=(Phase.generate,),
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(items=ITEMS, days=st.integers(7, 40), batch=st.integers(1, 4))
async def test_what_is_over_and_old_goes_and_nothing_else(
    sessions: Sessions, items: list[tuple[str, int, int]], days: int, batch: int
) -> None:
    async with transaction(sessions) as session:
        world = World(sessions, (await create_account(session, "tests", utc_now())).id)
    workflow_id = await world.workflow()
    stay: set[str] = set()
    pulse_pings = 0
    for what, age, forks in items:
        is_old = age > days
        match what:
            case "instance" | "open":
                root = await world.instance(workflow_id, age, is_open=what == "open")
                tree = [root]
                for number in range(forks):
                    young = age / (number + 2)
                    tree.append(await world.instance(workflow_id, young, opened=age, root_id=root, origin="fork"))
                youngest = age / (forks + 1) if forks else age
                if what == "open" or youngest <= days:
                    stay |= set(tree)
            case "run" | "running":
                id_ = await world.run(age, ended=what == "run")
                if what == "running" or not is_old:
                    stay.add(id_)
            case "alert" | "untold":
                id_ = await world.alert("pulse/x", age, message="sent" if what == "alert" else "pending")
                if what == "untold" or not is_old:
                    stay.add(id_)
            case _:
                await world.pulse(age, age / 2, age / 3)
                pulse_pings += 1 + sum(one <= days for one in (age, age / 2))
    await world.keep(days)
    would = await world.preview(days)
    done = await world.forget(batch=batch)
    assert {kind: count for kind, count in would.items() if count} == done
    left = await world.ids("instances") | await world.ids("process_runs") | await world.ids("alerts")
    assert left == stay
    counted = await world.count("pings g", account_id=world.account_id)
    runs = sum(id_.startswith("run_") for id_ in stay)
    assert counted == pulse_pings + runs + 2 * sum(id_.startswith("d") for id_ in stay)
    async with transaction(sessions) as session:
        await keep_for(session, world.account_id, Retention(), world.now)
