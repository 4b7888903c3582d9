"""What opens a run of a process hook, and what ends it."""

import asyncio
from datetime import timedelta

import pytest

from config.clock import utc_now
from domain.errors import Forbidden, NotFound
from domain.pings import Event
from domain.processes import (
    KEPT_OPEN_SECONDS,
    NoOpenRun,
    ProcessRunning,
    RoutedRun,
    RunAlreadyFinished,
    RunStatus,
)
from storage.accounts import create_account
from storage.base import Sessions, transaction
from tests.storage.hooks import Hook, define, opened


@pytest.fixture
async def hook(sessions: Sessions, account: str) -> Hook:
    return await define(sessions, account)


@pytest.fixture
async def lonely(sessions: Sessions, account: str) -> Hook:
    """Only one run of it at a time."""
    return await define(sessions, account, overlap=False)


async def test_a_start_opens_a_run_by_the_rules_of_its_hook(hook: Hook) -> None:
    ping = hook.ping(Event.START, agent="ci")
    (result,) = await hook.route(ping)
    assert isinstance(result, RoutedRun)
    assert result == RoutedRun(hook.id, result.run_id, f"process/{hook.id}/{result.run_id}", RunStatus.RUNNING)
    await hook.change(expected_seconds=99.0)
    run = await hook.run(result.run_id)
    assert len(run.id) == len("run_") + 12
    assert (run.started_at, run.ended_at, run.agent, run.status) == (ping.at, None, "ci", "running")
    assert (run.expected_seconds, run.grace_seconds, run.version) == (30, 5, 0)


async def test_an_end_ends_the_run_that_it_names_or_else_the_newest(hook: Hook) -> None:
    first, second, third = [await hook.start() for _ in range(3)]
    results = await hook.route(
        hook.ping(Event.FAIL, second), hook.ping(Event.SUCCESS), hook.ping(Event.SUCCESS, agent="late")
    )
    assert [(item.run_id, item.status, item.duration_seconds) for item in results if isinstance(item, RoutedRun)] == [
        (second, RunStatus.FAILED, 2),
        (third, RunStatus.FINISHED, 2),
        (first, RunStatus.FINISHED, 5),
    ]
    assert (await hook.run(first)).agent == "late"
    assert (await hook.run(first)).ended_at == hook.began_at + timedelta(seconds=6)


async def test_a_batch_is_decided_in_its_order(lonely: Hook) -> None:
    events = [Event.SUCCESS, Event.START, Event.START, Event.SUCCESS, Event.SUCCESS, Event.START, Event.FAIL]
    results = await lonely.route(*(lonely.ping(event, hook=lonely.slug) for event in events))
    shown = [item.status if isinstance(item, RoutedRun) else type(item) for item in results]
    assert shown == [NoOpenRun, "running", ProcessRunning, "finished", NoOpenRun, "running", "failed"]


async def test_what_cannot_be_ended(hook: Hook, account: str) -> None:
    other = await define(hook.sessions, account)
    run_id, others = await hook.start(), await other.start()
    first, double, nothing, unknown, strange = await hook.route(
        hook.ping(Event.SUCCESS, run_id),
        hook.ping(Event.FAIL, run_id),
        hook.ping(Event.SUCCESS),
        hook.ping(Event.SUCCESS, "run_unknown"),
        hook.ping(Event.SUCCESS, others),
    )
    assert isinstance(first, RoutedRun)
    assert isinstance(double, RunAlreadyFinished)
    ended_at = (hook.began_at + timedelta(seconds=2)).isoformat()
    assert (double.code, double.extra) == ("run_already_finished", {"ended_at": ended_at})
    assert isinstance(nothing, NoOpenRun)
    assert (nothing.code, nothing.message) == ("no_open_run", f"Nothing is running; call /phk/{hook.id}/start first.")
    assert isinstance(unknown, NotFound)
    assert isinstance(strange, NotFound)
    (again,) = await hook.route(hook.ping(Event.SUCCESS, run_id))
    assert isinstance(again, RunAlreadyFinished)


async def test_which_hook_is_meant(hook: Hook, sessions: Sessions) -> None:
    async with transaction(sessions) as session:
        others = (await create_account(session, "others", utc_now())).id
    namesake = await define(sessions, others, slug=hook.slug)
    impostor = await define(sessions, others, slug=hook.id)
    by_slug, theirs, unknown, by_id, own_slug = await hook.route(
        hook.ping(Event.START, hook=hook.slug),
        hook.ping(Event.START, hook=namesake.id),
        hook.ping(Event.START, hook="nothing"),
        hook.ping(Event.START),
        impostor.ping(Event.START, hook=hook.id),
    )
    assert [item.hook_id for item in (by_slug, by_id) if isinstance(item, RoutedRun)] == [hook.id, hook.id]
    assert isinstance(theirs, Forbidden)
    assert isinstance(unknown, NotFound)
    assert isinstance(own_slug, RoutedRun)
    assert own_slug.hook_id == impostor.id


async def test_a_deleted_hook_takes_no_pings(hook: Hook) -> None:
    await hook.change(deleted_at=utc_now())
    by_id, by_slug = await hook.route(hook.ping(Event.START), hook.ping(Event.START, hook=hook.slug))
    assert isinstance(by_id, NotFound)
    assert "was deleted" in by_id.message
    assert isinstance(by_slug, NotFound)


async def test_no_overlap_until_the_run_ends_or_is_given_up(lonely: Hook) -> None:
    run_id = await lonely.start(after=0.0)
    (refused,) = await lonely.route(lonely.ping(Event.START))
    assert isinstance(refused, ProcessRunning)
    assert (refused.code, refused.status, refused.extra) == ("process_running", 409, {"run_id": run_id})
    given_up = lonely.began_at + timedelta(seconds=35 + KEPT_OPEN_SECONDS)
    (refused,) = await lonely.route(lonely.ping(Event.START), now=given_up - timedelta(seconds=1))
    assert isinstance(refused, ProcessRunning)
    second = opened(await lonely.route(lonely.ping(Event.START), now=given_up))
    ended = await lonely.route(lonely.ping(Event.SUCCESS), lonely.ping(Event.SUCCESS, run_id), now=given_up)
    assert [item.run_id for item in ended if isinstance(item, RoutedRun)] == [second, run_id]


async def test_of_two_gateways_one_opens_and_one_ends_the_run(lonely: Hook) -> None:
    for _ in range(5):
        starts = await asyncio.gather(*(lonely.route(lonely.ping(Event.START)) for _ in range(4)))
        assert sorted(type(result).__name__ for (result,) in starts) == [*["ProcessRunning"] * 3, "RoutedRun"]
        (run_id,) = [result.run_id for (result,) in starts if isinstance(result, RoutedRun)]
        named = await asyncio.gather(*(lonely.route(lonely.ping(Event.SUCCESS, run_id)) for _ in range(4)))
        assert sorted(type(result).__name__ for (result,) in named) == ["RoutedRun", *["RunAlreadyFinished"] * 3]
        await lonely.start()
        unnamed = await asyncio.gather(*(lonely.route(lonely.ping(Event.SUCCESS)) for _ in range(4)))
        assert sorted(type(result).__name__ for (result,) in unnamed) == [*["NoOpenRun"] * 3, "RoutedRun"]


async def test_batches_of_the_same_hooks_do_not_block_each_other_for_good(sessions: Sessions, account: str) -> None:
    hooks = [await define(sessions, account) for _ in range(6)]
    orders = (hooks, hooks[::-1])
    batches = [[hook.ping(Event.START) for hook in orders[number % 2]] for number in range(8)]
    results = await asyncio.gather(*(hooks[0].route(*batch) for batch in batches))
    assert all(isinstance(result, RoutedRun) for batch in results for result in batch)
