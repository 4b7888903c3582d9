"""What a channel is told at once, when, and that nothing is told twice or forgotten."""

import asyncio
from typing import Any

import pytest

from domain.alerts import CHANNEL_TEST
from domain.errors import Conflict
from storage import alerts, messages
from storage.base import Sessions, transaction
from storage.channels import Channel
from storage.forming import MAX_ALERTS, form_messages
from storage.messages import Attempt
from storage.telling import QUIET_HOURS, route_alerts
from tests.support.telling import Desk, make_desk

NIGHT = {"start": "11:00", "end": "13:00", "timezone": "UTC", "severity": "critical"}


@pytest.fixture
async def desk(sessions: Sessions) -> Desk:
    return await make_desk(sessions)


async def test_the_first_goes_at_once_and_what_follows_goes_together(desk: Desk) -> None:
    await desk.channel()
    await desk.raise_("a")
    assert await desk.step() == [["a"]]
    for name, seconds in (("b", 0.5), ("c", 1), ("d", 2.9)):
        await desk.raise_(name, seconds)
        await desk.route(seconds)
        formed = await desk.form(seconds)
        assert not formed.messages
        assert formed.next_at == desk.at(3)
    assert await desk.step(3) == [["b", "c", "d"]]
    assert (await desk.form(3)).next_at is None


async def test_channels_do_not_wait_for_each_other(desk: Desk) -> None:
    await desk.channel(free_at=desk.at(2))
    await desk.channel()
    await desk.raise_("a")
    assert await desk.step() == [["a"]]
    assert (await desk.form()).next_at == desk.at(2)
    assert await desk.step(2) == [["a"]]


async def test_a_channel_has_so_many_messages_a_minute_and_the_rest_as_one(desk: Desk) -> None:
    await desk.channel(messages_per_minute=2)
    for name, seconds in (("a", 0), ("b", 10)):
        await desk.raise_(name, seconds)
        assert await desk.step(seconds) == [[name]]
    for name, moment in (("c", 20), ("d", 30), ("e", 59.9)):
        await desk.raise_(name, moment)
        await desk.route(moment)
        formed = await desk.form(moment)
        assert formed == await desk.form(moment)
        assert formed.next_at == desk.at(60)
    assert await desk.step(60) == [["c", "d", "e"]]
    await desk.raise_("f", 65)
    assert await desk.step(65) == []
    assert await desk.step(70) == [["f"]]


async def test_a_cap_of_none_is_taken_for_one(desk: Desk) -> None:
    await desk.channel(messages_per_minute=0)
    await desk.raise_("a")
    assert await desk.step() == [["a"]]


async def test_a_message_has_so_many_alerts_and_the_next_has_the_rest(desk: Desk) -> None:
    await desk.channel()
    await desk.tell(*(desk.alert(f"job{number}") for number in range(MAX_ALERTS + 1)))
    await desk.route()
    await desk.route()
    assert [len(await desk.step(seconds)) for seconds in (0, 1, 3)] == [1, 0, 1]
    assert sorted(map(len, (await desk.told()).values())) == [1, MAX_ALERTS]


async def test_what_a_deleted_channel_was_to_be_told_is_not_forgotten(desk: Desk) -> None:
    channel = await desk.channel()
    await desk.raise_("a")
    await desk.route()
    await desk.change(channel, deleted_at=desk.noon)
    assert await desk.step() == [["a"]]


async def test_a_delivery_that_is_just_written_does_not_keep_a_channel_from_its_message(desk: Desk) -> None:
    await desk.channel()
    await desk.raise_("a")
    await desk.route()
    await desk.raise_("b")
    async with transaction(desk.sessions) as session:
        await route_alerts(session, desk.noon)
        assert len((await desk.form()).messages) == 1
    assert await desk.step(3) == [["b"]]


async def test_nothing_is_told_twice_or_forgotten_by_many_workers(desk: Desk) -> None:
    channels = [await desk.channel() for _ in range(5)]
    names = [f"job{number:03}" for number in range(200)]

    async def raise_all() -> None:
        for number, name in enumerate(names):
            await desk.raise_(name, number)

    async def work() -> None:
        for number in range(100):
            async with transaction(desk.sessions) as session:
                await route_alerts(session, desk.at(number * 10), limit=7)
            # Some take both steps in one transaction, and some make a mistake.
            try:
                async with transaction(desk.sessions) as session:
                    await route_alerts(session, desk.at(number * 10), limit=3)
                    await form_messages(session, desk.at(number * 10))
                    if number % 7 == 0:
                        raise ArithmeticError
            except ArithmeticError:
                continue

    await asyncio.gather(raise_all(), *(work() for _ in range(4)))
    for seconds in range(10_000, 10_300, 10):
        await desk.step(seconds)
    told: dict[str, list[str]] = {channel: [] for channel in channels}
    by_message = await desk.told()
    for message in await desk.messages():
        assert message.channel_id is not None
        told[message.channel_id] += by_message[message.id]
    assert {channel: sorted(found) for channel, found in told.items()} == dict.fromkeys(channels, names)


# The log, and telling again.


async def test_the_log_shows_each_channel_with_its_attempts(desk: Desk) -> None:
    first, second = await desk.channel(name="first"), await desk.channel(name="second", quiet_hours=NIGHT)
    await desk.raise_("a")
    await desk.step()
    (message,) = await desk.messages()
    async with transaction(desk.sessions) as session:
        for number, outcome in enumerate(("retry", "sent"), 1):
            session.add(Attempt(message_id=message.id, number=number, at=desk.noon, took_ms=5, outcome=outcome))
    async with desk.sessions() as session:
        (alert,) = await alerts.list_alerts(session, desk.account_id, limit=10)
        told, waits = await messages.list_deliveries(session, alert.id)
    if told.channel.id == second:
        told, waits = waits, told
    assert (told.channel.id, told.waits_until) == (first, None)
    assert told.message is not None
    assert told.message.id == message.id
    assert [attempt.outcome for attempt in told.attempts] == ["retry", "sent"]
    assert (waits.channel.id, waits.message, waits.attempts) == (second, None, ())
    assert (waits.waits_until, waits.delivery.waits_for) == (desk.at(3600), QUIET_HOURS)


async def test_alerts_are_listed_newest_first_page_by_page(desk: Desk) -> None:
    for number in range(5):
        await desk.raise_(f"job{number}", number, severity="critical" if number % 2 else "warning")
    await desk.raise_("job0", 5, ends=True)
    async with desk.sessions() as session:
        rows = await alerts.list_alerts(session, desk.account_id, limit=4)
        assert [row.name for row in rows] == ["job0", "job4", "job3", "job2"]
        before = rows[-1].created_at, rows[-1].id
        assert [row.name for row in await alerts.list_alerts(session, desk.account_id, limit=4, before=before)] == [
            "job1",
            "job0",
        ]
        filters: list[tuple[dict[str, Any], int]] = [
            ({"severity": "critical"}, 2),
            ({"kind": "process_recovered"}, 1),
            ({"subject": "process/job0/1"}, 2),
            ({"source": "process/job0", "severity": "warning"}, 1),
            ({"state": "new"}, 6),
            ({"state": "told"}, 0),
        ]
        for wanted, count in filters:
            assert len(await alerts.list_alerts(session, desk.account_id, limit=10, **wanted)) == count
        assert await alerts.get_alert(session, rows[0].id) is rows[0]
        assert await alerts.get_alert(session, "alr_unknown") is None


async def test_an_alert_is_told_again_where_it_was_told(desk: Desk) -> None:
    told, deleted = await desk.channel(), await desk.channel()
    await desk.raise_("a")
    await desk.step()
    await desk.finish("failed")
    await desk.change(deleted, deleted_at=desk.noon)
    async with transaction(desk.sessions) as session:
        (alert,) = await alerts.list_alerts(session, desk.account_id, limit=1)
        (message_id,) = await messages.redeliver(session, alert, None, desk.at(1))
    message = (await desk.messages())[-1]
    assert (message.id, message.channel_id, message.state, message.handed_over_at) == (
        message_id,
        told,
        "pending",
        None,
    )
    assert (await desk.told())[message_id] == ["a"]


async def test_telling_again_takes_the_place_of_what_waits(desk: Desk) -> None:
    channel = await desk.channel(quiet_hours=NIGHT)
    await desk.raise_("a")
    await desk.step()
    async with transaction(desk.sessions) as session:
        (alert,) = await alerts.list_alerts(session, desk.account_id, limit=1)
        await messages.redeliver(session, alert, None, desk.at(1))
    assert await desk.step(3600) == []
    (delivery,) = await desk.deliveries()
    assert (delivery.channel_id, delivery.waits_for) == (channel, None)


async def test_a_silent_alert_can_be_told_on_a_channel_and_its_end_too(desk: Desk) -> None:
    await desk.raise_("a")
    await desk.step()
    channel_id = await desk.channel()
    async with transaction(desk.sessions) as session:
        (alert,) = await alerts.list_alerts(session, desk.account_id, limit=1)
        with pytest.raises(Conflict):
            await messages.redeliver(session, alert, None, desk.at(1))
        channel = await session.get_one(Channel, channel_id)
        await messages.redeliver(session, alert, [channel], desk.at(1))
    assert await desk.states() == {"a": ("told", None)}
    await desk.finish()
    await desk.raise_("a", 2, ends=True)
    assert await desk.step(2) == [["+a"]]


async def test_a_test_message_goes_at_once_to_its_channel_alone(desk: Desk) -> None:
    channel_id, _ = (
        await desk.channel(quiet_hours=NIGHT, severity="critical", free_at=desk.at(60)),
        await desk.channel(),
    )
    async with transaction(desk.sessions) as session:
        message_id = await messages.test_message(session, await session.get_one(Channel, channel_id), desk.noon)
        again = await messages.test_message(session, await session.get_one(Channel, channel_id), desk.noon)
    assert {message.id for message in await desk.messages()} == {message_id, again}
    async with desk.sessions() as session:
        (alert,) = await messages.alerts_of(session, message_id)
        left = await messages.list_not_handed_over(session, limit=10)
        assert left == [(id_, desk.account_id) for id_, _ in left]
        assert {id_ for id_, _ in left} == {message_id, again}
    assert (alert.kind, alert.state) == (CHANNEL_TEST.name, "told")
    assert await desk.step(120) == []


async def test_a_message_is_handed_over_and_finished_once(desk: Desk) -> None:
    await desk.channel()
    await desk.raise_("a")
    await desk.step()
    (message,) = await desk.messages()
    async with transaction(desk.sessions) as session:
        for seconds in (1, 2):
            await messages.mark_handed_over(session, [message.id], desk.at(seconds))
        assert await messages.list_not_handed_over(session, limit=10) == []
        assert await messages.finish_message(session, message.id, "sent", desk.at(3))
        assert not await messages.finish_message(session, message.id, "failed", desk.at(4))
    (message,) = await desk.messages()
    assert (message.handed_over_at, message.finished_at) == (desk.at(1), desk.at(3))


async def test_only_what_is_pending_is_handed_over_again(desk: Desk) -> None:
    await desk.channel()
    for name, seconds in (("sent", 0), ("pending", 10), ("new", 20)):
        await desk.raise_(name, seconds)
        await desk.step(seconds)
    sent, pending, new = [message.id for message in await desk.messages()]
    async with transaction(desk.sessions) as session:
        await messages.mark_handed_over(session, [sent, pending], desk.at(21))
        await messages.finish_message(session, sent, "sent", desk.at(22))
        assert await messages.hand_over_again(session) == 1
        assert [id_ for id_, _ in await messages.list_not_handed_over(session, limit=10)] == [pending, new]
