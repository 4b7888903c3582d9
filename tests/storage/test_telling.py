"""Which channels are told of an alert, and why nobody is."""

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import event, select, text, update

from storage import telling
from storage.alerts import AlertRow
from storage.base import Sessions, transaction
from storage.forming import drop_good_ends
from storage.messages import telling_stands
from storage.pulses import Pulse
from storage.telling import route_alerts
from tests.support.telling import Desk, make_desk

NIGHT = {"start": "11:00", "end": "13:00", "timezone": "UTC", "severity": "critical"}


@pytest.fixture
async def desk(sessions: Sessions) -> Desk:
    return await make_desk(sessions)


async def channels_told(desk: Desk) -> set[str]:
    return {delivery.channel_id for delivery in await desk.deliveries()}


async def test_the_default_channels_are_told(desk: Desk) -> None:
    first, second, _ = await desk.channel(), await desk.channel(), await desk.channel(default=False)
    await desk.raise_()
    await desk.route()
    assert await channels_told(desk) == {first, second}
    assert await desk.states() == {"backup": ("told", None)}


async def test_channels_of_the_source_are_told_in_place_of_the_default_ones(desk: Desk) -> None:
    default = await desk.channel()
    attached = await desk.channel(default=False, sources=["process/backup", "process/other"])
    both = await desk.channel(sources=["process/backup"])
    await desk.raise_()
    await desk.route()
    assert await channels_told(desk) == {attached, both}
    await desk.raise_("unattached")
    await desk.route()
    assert await channels_told(desk) == {attached, both, default}


async def test_deleted_channels_are_not_told(desk: Desk) -> None:
    default = await desk.channel()
    await desk.channel(deleted_at=desk.noon)
    await desk.channel(deleted_at=desk.noon, sources=["process/backup"])
    await desk.raise_()
    await desk.route()
    assert await channels_told(desk) == {default}


async def test_channels_of_other_accounts_are_not_told(desk: Desk, account: str) -> None:
    stranger = Desk(desk.sessions, account)
    await stranger.channel(sources=["process/backup"])
    await desk.raise_()
    await desk.route()
    assert await desk.states() == {"backup": ("silent", telling.NO_CHANNEL)}


@pytest.mark.parametrize(
    ("channel", "is_told"),
    [
        ({"severity": "error"}, True),
        ({"severity": "critical"}, False),
        ({"tags": ["db", "eu"]}, True),
        ({"tags": ["web"]}, False),
        ({"tags": ["db"], "severity": "critical"}, False),
    ],
)
async def test_channels_are_told_what_they_want(desk: Desk, channel: dict[str, Any], is_told: bool) -> None:
    await desk.channel(**channel)
    await desk.raise_(tags=("db",), severity="error")
    await desk.route()
    assert await desk.states() == {"backup": ("told", None) if is_told else ("silent", telling.NOT_WANTED)}


async def test_an_alert_is_told_once_however_often_it_is_raised(desk: Desk) -> None:
    await desk.channel()
    for _ in range(3):
        await desk.raise_()
        assert len(await desk.step()) <= 1
    assert len(await desk.told()) == 1


# Good ends.


async def test_a_good_end_is_told_where_the_trouble_was(desk: Desk) -> None:
    told = await desk.channel(severity="error")
    await desk.channel(severity="critical")
    await desk.raise_(severity="error")
    await desk.step()
    await desk.finish()
    # It does not matter what they want now, nor that another is attached meanwhile.
    await desk.channel(sources=["process/backup"])
    await desk.raise_(ends=True, seconds=10)
    assert await desk.step(10) == [["+backup"]]
    assert await channels_told(desk) == {told}


async def test_a_good_end_in_the_same_breath_goes_with_its_trouble(desk: Desk) -> None:
    await desk.channel()
    await desk.tell(desk.alert(ends=True, seconds=1), desk.alert())
    assert await desk.step() == [["backup", "+backup"]]


@pytest.mark.parametrize("severity", [None, "critical"])
async def test_nobody_is_told_that_something_ended_which_nobody_was_told_of(desk: Desk, severity: str | None) -> None:
    if severity is not None:
        await desk.channel(severity=severity)
    await desk.raise_()
    await desk.raise_(ends=True, seconds=1)
    assert await desk.step(1) == []
    assert (await desk.states())["+backup"] == ("silent", telling.NOBODY_TOLD)


async def test_a_message_that_failed_told_nobody(desk: Desk) -> None:
    await desk.channel()
    await desk.raise_()
    await desk.step()
    await desk.finish("failed")
    await desk.raise_(ends=True, seconds=1)
    assert await desk.step(10) == []
    assert (await desk.states())["+backup"] == ("silent", telling.NOBODY_TOLD)


async def test_a_deleted_channel_is_not_told_of_the_end(desk: Desk) -> None:
    channel = await desk.channel()
    await desk.raise_()
    await desk.step()
    await desk.change(channel, deleted_at=desk.noon)
    await desk.raise_(ends=True, seconds=1)
    assert await desk.step(10) == []
    assert (await desk.states())["+backup"] == ("silent", telling.TOLD_ARE_GONE)


async def test_a_good_end_waits_until_its_trouble_has_arrived(desk: Desk) -> None:
    await desk.channel()
    await desk.raise_()
    await desk.step()
    await desk.raise_(ends=True, seconds=1)
    await desk.raise_("other", seconds=1)
    assert await desk.step(5) == [["other"]]
    assert await desk.step(4000) == []
    await desk.finish()
    assert await desk.step(4001) == [["+backup"]]


async def test_a_good_end_that_waits_is_dropped_when_its_trouble_cannot_be_told(desk: Desk) -> None:
    await desk.channel()
    other = await desk.channel(default=False)
    await desk.raise_()
    await desk.raise_("both", source="process/both")
    await desk.step()
    await desk.raise_(ends=True, seconds=1)
    await desk.route(1)
    (message,) = await desk.messages()
    await desk.finish("failed")
    async with transaction(desk.sessions) as session:
        await drop_good_ends(session, message.id)
    assert (await desk.states())["+backup"] == ("silent", telling.NOBODY_TOLD)
    assert await desk.step(10) == []
    assert {delivery.channel_id for delivery in await desk.deliveries()} == {message.channel_id} != {other}


async def test_a_good_end_waits_for_what_is_not_decided_on_its_trouble(desk: Desk) -> None:
    await desk.channel()
    await desk.raise_()
    async with transaction(desk.sessions) as session:
        # Raised again at this moment: its row is locked, and passed over.
        await session.execute(update(AlertRow).where(AlertRow.account_id == desk.account_id).values(repeats=1))
        await desk.raise_(ends=True, seconds=1)
        assert await desk.step(1) == []
        assert {state for state, _ in (await desk.states()).values()} == {"new"}
    assert await desk.step(2) == [["backup", "+backup"]]


# Dependencies.


async def test_alerts_are_held_while_what_they_depend_on_is_down(desk: Desk) -> None:
    await desk.channel()
    database, network = await desk.pulse("database", "down", -5), await desk.pulse("network")
    await desk.raise_("child", -2, depends_on=(database, network))
    await desk.raise_("free")
    await desk.raise_("lucky", -2, depends_on=(network,))
    assert await desk.step() == [["lucky", "free"]]
    assert (await desk.states())["child"] == ("held", "while database is down")
    assert await desk.step(100_000) == []


async def test_what_goes_down_a_moment_before_what_it_depends_on_is_held_too(desk: Desk) -> None:
    await desk.channel()
    database, network = await desk.pulse("database"), await desk.pulse("network")
    await desk.raise_("child", depends_on=(database,))
    await desk.raise_("lonely", depends_on=(network,))
    assert await desk.step() == []
    await desk.stand(database, "down", 1)
    assert await desk.step(1) == []
    assert await desk.step(2) == [["lonely"]]
    assert (await desk.states())["child"] == ("held", "while database is down")


async def test_a_held_alert_is_told_when_it_lasts_for_longer_than_what_it_depends_on(desk: Desk) -> None:
    await desk.channel()
    database = await desk.pulse("database", "down", -5)
    await desk.raise_("child", -2, depends_on=(database,))
    await desk.route()
    await desk.stand(database, "up", 100)
    assert await desk.step(101) == []
    # Late is not down, and its changes do not put off the alert.
    await desk.stand(database, "late", 150)
    assert await desk.step(160) == []
    assert await desk.step(162) == [["child"]]
    assert await desk.states() == {"child": ("told", None)}


async def test_a_held_alert_begins_to_settle_anew_when_what_it_depends_on_goes_down_again(desk: Desk) -> None:
    await desk.channel()
    database = await desk.pulse("database", "down", -5)
    await desk.raise_("child", -2, depends_on=(database,))
    for status, seconds in (("down", 1), ("up", 10), ("down", 50), ("up", 80)):
        await desk.stand(database, status, seconds)
        assert await desk.step(seconds) == []
    assert await desk.step(139) == []
    assert await desk.step(140) == [["child"]]


@pytest.mark.parametrize("is_up_again", [False, True])
async def test_a_trouble_that_ends_while_it_is_held_is_not_told_at_all(desk: Desk, is_up_again: bool) -> None:
    await desk.channel()
    database = await desk.pulse("database", "down", -5)
    await desk.raise_("child", -2, depends_on=(database,))
    await desk.route()
    if is_up_again:
        await desk.stand(database, "up", 10)
        await desk.route(11)
    await desk.raise_("child", ends=True, seconds=20, depends_on=(database,))
    assert await desk.step(20) == []
    reason = "while database was down"
    assert await desk.states() == {"child": ("silent", reason), "+child": ("silent", reason)}
    assert await desk.step(1000) == []


async def test_the_end_of_a_trouble_that_was_told_is_told_whatever_is_down(desk: Desk) -> None:
    await desk.channel()
    database = await desk.pulse("database")
    await desk.raise_("child", -2, depends_on=(database,))
    await desk.step()
    await desk.finish()
    await desk.stand(database, "down", 10)
    # A reminder.
    await desk.raise_("child", seconds=20, depends_on=(database,), dedupe_key="reminder")
    assert await desk.step(22) == []
    await desk.raise_("child", ends=True, seconds=30, depends_on=(database,))
    assert await desk.step(30) == [["+child"]]
    assert (await desk.states())["child"] == ("silent", "while database was down")


async def test_a_deleted_pulse_holds_nothing(desk: Desk) -> None:
    await desk.channel()
    database = await desk.pulse("database", "down")
    async with transaction(desk.sessions) as session:
        await session.execute(update(Pulse).where(Pulse.id == database).values(deleted_at=desk.noon))
    await desk.raise_("child", -2, depends_on=(database, "pls_unknown"))
    assert await desk.step() == [["child"]]


# Quiet hours.


async def test_less_grave_alerts_wait_for_the_end_of_the_quiet_hours(desk: Desk) -> None:
    await desk.channel(quiet_hours=NIGHT)
    await desk.raise_("error", severity="error")
    await desk.raise_("critical", severity="critical")
    assert await desk.step() == [["critical"]]
    (waiting,) = [delivery for delivery in await desk.deliveries() if delivery.message_id is None]
    assert (waiting.not_before, waiting.waits_for) == (desk.at(3600), telling.QUIET_HOURS)
    await desk.raise_("error", ends=True, seconds=60)
    assert await desk.step(3599) == []
    assert await desk.step(3600) == [["error", "+error"]]
    assert {delivery.waits_for for delivery in await desk.deliveries()} == {None}


async def test_the_end_of_what_was_told_in_quiet_hours_is_told_in_them_too(desk: Desk) -> None:
    await desk.channel(quiet_hours=NIGHT)
    await desk.raise_(severity="critical")
    await desk.step()
    await desk.finish()
    await desk.raise_(ends=True, seconds=60)
    assert await desk.step(60) == [["+backup"]]


async def test_a_time_zone_that_is_not_known_does_not_keep_an_alert(desk: Desk) -> None:
    await desk.channel(quiet_hours={**NIGHT, "timezone": "Mars/Olympus"})
    await desk.raise_()
    assert await desk.step() == [["backup"]]


# Several workers, and many alerts.


async def test_one_worker_at_a_time_routes(desk: Desk) -> None:
    await desk.channel()
    await desk.raise_()
    async with transaction(desk.sessions) as session:
        assert (await route_alerts(session, desk.noon)).count == 1
        assert (await desk.route()).is_busy
        assert await desk.states() == {"backup": ("new", None)}
    assert len(await desk.deliveries()) == 1
    assert not (await desk.route()).is_busy


async def test_a_worker_that_hangs_does_not_hold_up_the_others_for_ever(desk: Desk) -> None:
    async with transaction(desk.sessions) as session:
        await route_alerts(session, desk.noon)
        shown = await session.scalar(text("SHOW idle_in_transaction_session_timeout"))
        assert shown == "10s"
    async with transaction(desk.sessions) as session:
        assert await session.scalar(text("SHOW idle_in_transaction_session_timeout")) == "0"


@contextmanager
def counted(sessions: Sessions) -> Iterator[list[str]]:
    """The statements of the block."""
    engine, statements = sessions.kw["bind"].sync_engine, list[str]()

    def note(connection: Any, cursor: Any, statement: str, *others: Any) -> None:
        statements.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    try:
        yield statements
    finally:
        event.remove(engine, "before_cursor_execute", note)


async def test_a_thousand_alerts_are_routed_in_a_few_statements(desk: Desk) -> None:
    await desk.channel()
    await desk.channel()
    for number in range(10):
        await desk.tell(*(desk.alert(f"job{number}-{one}") for one in range(150)))
    with counted(desk.sessions) as statements:
        assert (await desk.route()).count == 1000
    assert len(statements) <= 8
    assert (await desk.route()).count == 500
    assert len(await desk.deliveries()) == 3000
    for number in range(10):
        await desk.tell(*(desk.alert(f"job{number}-{one}", ends=True, seconds=1) for one in range(100)))
    with counted(desk.sessions) as statements:
        assert (await desk.route()).count == 1000
    assert len(statements) <= 8
    assert len(await desk.deliveries()) == 5000


async def test_many_held_alerts_cost_little(desk: Desk) -> None:
    await desk.channel()
    database = await desk.pulse("database", "down", -5)
    for number in range(10):
        await desk.tell(*(desk.alert(f"job{number}-{one}", depends_on=(database,)) for one in range(100)), seconds=-2)
    assert (await desk.route()).count == 1000
    async with desk.sessions() as session:
        states = select(AlertRow.state).where(AlertRow.account_id == desk.account_id).distinct()
        assert set(await session.scalars(states)) == {"held"}
    await desk.stand(database, "up", 10)
    await desk.route(10)
    with counted(desk.sessions) as statements:
        assert (await desk.route(10 + telling.SETTLING / timedelta(seconds=1))).count == 1000
    assert len(statements) <= 12


async def test_what_is_stuck_is_counted(desk: Desk) -> None:
    await desk.raise_("forgotten", -120)
    async with desk.sessions() as session:
        stands = await telling_stands(session, desk.at(30))
    assert stands.overdue >= 1
    assert stands.oldest_seconds >= 150
