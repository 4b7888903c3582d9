"""An account's time zone changes: the day of a budget goes on in the new one, and so does its stop."""

from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from random import Random
from zoneinfo import ZoneInfo

import pytest

from domain.budgets import Action
from domain.costs import day_of, end_of
from storage.accounts import create_account, get_account
from storage.base import Sessions, transaction
from storage.budgets import change_time_zone
from storage.costs import WorkflowDayCost
from tests.storage.conftest import Caller
from tests.storage.spending import (
    DAY,
    NOON,
    PAUSE,
    budget_row,
    budgeted,
    change_budget,
    crossings,
    instance_of,
    run_of,
    spend,
    sums,
    take_in,
)

WEST, EAST = "Etc/GMT+12", "Pacific/Kiritimati"
"""26 hours apart: at noon in Greenwich, one has the day before until noon, the other has tomorrow since ten."""

TOMORROW, YESTERDAY = DAY + timedelta(days=1), DAY - timedelta(days=1)


async def move(caller: Caller, account: str, zone: str, now: datetime = NOON) -> None:
    async with transaction(caller.sessions) as session:
        await change_time_zone(session, await get_account(session, account, lock=True), zone, now)


async def stopped(caller: Caller) -> tuple[str | None, datetime | None]:
    """The day that is stopped, and until when."""
    row = await budget_row(caller)
    return row.stop_key.split("/")[3] if row.stop_key is not None else None, row.stopped_until


async def spends(caller: Caller, instance_id: str, zone: str, cost: str = "2", at: datetime = NOON) -> str:
    ping = spend(caller, cost, instance_id=instance_id, at=at, day=day_of(at, ZoneInfo(zone)))
    (verdict,) = await take_in(caller, instance_id, await caller.keep(ping, now=at), now=at)
    return verdict.code or "accepted"


@pytest.mark.parametrize(
    ("zone", "until"),
    [
        ("Europe/Berlin", "2026-03-10T23:00:00Z"),
        ("America/Los_Angeles", "2026-03-11T07:00:00Z"),
        # It is yesterday there, but what a run was stopped for it does not go on with.
        ("Etc/GMT+12", "2026-03-11T12:00:00Z"),
        # It is tomorrow there: the day is over.
        ("Pacific/Kiritimati", None),
    ],
)
async def test_a_stop_ends_with_its_day_in_the_new_zone(
    sessions: Sessions, account: str, zone: str, until: str | None
) -> None:
    now = NOON - timedelta(minutes=1)
    caller = await budgeted(sessions, account, now=now, daily_limit_usd="1", **PAUSE)
    run, _ = await run_of(caller, at=now)
    other, _ = await run_of(caller, at=now)
    assert await spends(caller, run, "UTC", at=now) == "accepted"
    assert await stopped(caller) == (str(DAY), datetime(2026, 3, 11, tzinfo=UTC))
    await move(caller, account, zone, now)
    if until is None:
        assert await stopped(caller) == (None, None)
        assert await spends(caller, other, zone, "1", at=now) == "accepted"
    else:
        end = datetime.fromisoformat(until)
        assert await stopped(caller) == (str(DAY), end)
        assert await spends(caller, other, zone, at=end - timedelta(seconds=1)) == "instance_paused"
    assert len(await crossings(caller)) == 1


async def test_a_day_that_goes_on_is_not_told_again_and_goes_on_being_stopped(sessions: Sessions, account: str) -> None:
    """Its end in Greenwich would let everybody go on, and nobody would be stopped any more: the line was told."""
    caller = await budgeted(sessions, account, daily_limit_usd="1", **PAUSE)
    other, _ = await run_of(caller)
    run, _ = await run_of(caller, "2")
    await move(caller, account, "America/Los_Angeles")
    after = NOON + timedelta(hours=13)
    assert await spends(caller, other, "America/Los_Angeles", at=after) == "instance_paused"
    assert (await instance_of(caller, run)).status == "paused"
    assert len(await crossings(caller)) == 1
    assert (await sums(caller))[0] == 2


async def test_there_and_back_again_the_day_is_still_stopped(sessions: Sessions, account: str) -> None:
    caller = await budgeted(sessions, account, daily_limit_usd="1", **PAUSE)
    await run_of(caller, "2")
    before = await stopped(caller)
    await move(caller, account, EAST)
    other, _ = await run_of(caller)
    assert await spends(caller, other, EAST) == "accepted"
    assert await stopped(caller) == (str(TOMORROW), datetime(2026, 3, 11, 10, tzinfo=UTC))
    # Both days are spent now, and each is stopped until it ends, wherever one looks from.
    await move(caller, account, "UTC")
    assert await stopped(caller) == (str(TOMORROW), datetime(2026, 3, 12, tzinfo=UTC))
    await move(caller, account, WEST)
    assert await stopped(caller) == (str(TOMORROW), datetime(2026, 3, 12, 12, tzinfo=UTC))
    assert [key.split("/")[3] for _, key, _, _ in await crossings(caller)] == [str(DAY), str(TOMORROW)]
    assert before == (str(DAY), datetime(2026, 3, 11, tzinfo=UTC))


async def test_a_changed_budget_does_not_lift_the_stop_of_a_later_day(sessions: Sessions, account: str) -> None:
    before_noon = NOON - timedelta(minutes=1)
    caller = await budgeted(sessions, account, now=before_noon, daily_limit_usd="1", **PAUSE)
    run, _ = await run_of(caller, at=before_noon)
    assert await spends(caller, run, "UTC", at=before_noon) == "accepted"
    await move(caller, account, WEST, before_noon)
    held = await stopped(caller)
    assert held[0] == str(DAY)
    await change_budget(caller, now=before_noon, daily_limit_usd="1", limit_usd="50", **PAUSE)
    assert await stopped(caller) == held
    await change_budget(caller, now=before_noon, daily_limit_usd="3", **PAUSE)
    assert await stopped(caller) == (None, None)
    await change_budget(caller, now=before_noon, daily_limit_usd="1", **PAUSE)
    assert await stopped(caller) == held


async def test_whoever_was_resumed_goes_on_in_the_new_zone(sessions: Sessions, account: str) -> None:
    """The stop keeps its name, though the budget would call it another by now."""
    caller = await budgeted(sessions, account, daily_limit_usd="1", **PAUSE)
    await run_of(caller, "2")
    await change_budget(caller, daily_limit_usd="1.5", **PAUSE)
    name = (await budget_row(caller)).stop_key
    await move(caller, account, "Asia/Kathmandu")
    assert (await budget_row(caller)).stop_key == name
    assert name is not None
    assert name.endswith("/1/pause")


async def test_other_accounts_stay_as_they_are(sessions: Sessions, account: str) -> None:
    async with transaction(sessions) as session:
        other = (await create_account(session, "others", NOON)).id
    caller = await budgeted(sessions, other, daily_limit_usd="1", **PAUSE)
    await run_of(caller, "2")
    before = await stopped(caller)
    mine = await budgeted(sessions, account, daily_limit_usd="1")
    await move(mine, account, "America/Los_Angeles")
    assert await stopped(caller) == before


@pytest.mark.parametrize("seed", range(4))
async def test_no_day_that_is_spent_and_told_lets_anybody_pass(sessions: Sessions, account: str, seed: int) -> None:
    """Wherever the account moves, and whatever is set: who finds the day of now spent beyond a line that was told finds
    it stopped; no line tells twice, and nothing that was counted moves to another day."""
    random = Random(seed)
    zones = ["UTC", WEST, EAST, "Asia/Kathmandu", "America/Los_Angeles", "Europe/Berlin"]
    zone, now = "UTC", NOON
    caller = await budgeted(sessions, account, daily_limit_usd="1", **PAUSE)
    runs = [(await run_of(caller))[0] for _ in range(30)]
    counted: dict[date, Decimal] = {}
    for run in runs:
        now += timedelta(minutes=random.randint(1, 300))
        if random.random() < 0.5:
            zone = random.choice(zones)
            await move(caller, account, zone, now)
        if random.random() < 0.2:
            await change_budget(caller, now=now, daily_limit_usd=random.choice(["1", "3"]), **PAUSE)
        row, today = await budget_row(caller), day_of(now, ZoneInfo(zone))
        told = [key for _, key, _, _ in await crossings(caller)]
        assert len(told) == len(set(told))
        assert row.daily_limit_usd is not None
        line = f"workflow/{caller.workflow_id}/day/{today}/{row.daily_limit_usd.normalize():f}/pause"
        if counted.get(today, 0) > row.daily_limit_usd and line in told:
            assert row.stopped_until is not None
            assert row.stopped_until >= end_of(today, ZoneInfo(zone))
        cost = random.choice(["0.4", "1.1"])
        if await spends(caller, run, zone, cost, at=now) == "accepted":
            assert row.stopped_until is None or row.stopped_until <= now
            counted[today] = counted.get(today, Decimal(0)) + Decimal(cost)
    async with sessions() as session:
        for day, total in counted.items():
            found = await session.get(WorkflowDayCost, (caller.workflow_id, day))
            assert found is not None
            assert found.cost_usd == total
    assert {action for _, _, _, action in await crossings(caller)} <= {Action.PAUSE.value}
