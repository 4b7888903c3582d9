"""How much of each day pulses were up, against the fold of one pulse's changes."""

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from random import Random

import pytest
from sqlalchemy.ext.asyncio import AsyncSession

from domain.ids import random_id
from domain.subjects import pulse_subject
from domain.transitions import Transition
from domain.uptime import latest_days, share_of, uptime
from storage.base import Sessions, transaction
from storage.transitions import add_transitions
from storage.uptime import daily_uptime

NOW = datetime(2025, 4, 10, 15, 30, tzinfo=UTC)
STATUSES = ("new", "up", "late", "down", "paused", "unknown")


async def add(session: AsyncSession, *steps: tuple[str, datetime]) -> str:
    """A pulse to which this happened."""
    pulse_id, before = random_id("pls_", 10), None
    transitions = []
    for after, at in steps:
        transitions.append(Transition(None, before, after, at))
        before = after
    add_transitions(session, pulse_subject(pulse_id), transitions)
    await session.flush()
    return pulse_id


async def test_a_downtime_over_midnight_counts_on_both_days(sessions: Sessions) -> None:
    async with transaction(sessions) as session:
        pulse_id = await add(
            session,
            ("up", NOW - timedelta(days=200)),
            ("late", datetime(2025, 4, 8, 21, tzinfo=UTC)),
            ("down", datetime(2025, 4, 8, 22, tzinfo=UTC)),
            ("up", datetime(2025, 4, 9, 6, tzinfo=UTC)),
        )
        days = (await daily_uptime(session, [pulse_id], NOW, "UTC", 4))[pulse_id]
    hour = 3600.0
    assert [(day.day.day, day.up_seconds / hour, day.down_seconds / hour) for day in days] == [
        (7, 24, 0),
        (8, 22, 2),
        (9, 18, 6),
        (10, 15.5, 0),
    ]
    assert share_of(days) == pytest.approx(1 - 8 / 87.5)


async def test_days_are_those_of_the_time_zone(sessions: Sessions) -> None:
    """In Berlin the 30th of March 2025 had 23 hours."""
    async with transaction(sessions) as session:
        pulse_id = await add(session, ("up", NOW - timedelta(days=200)))
        days = (await daily_uptime(session, [pulse_id], NOW, "Europe/Berlin", 13))[pulse_id]
    assert {day.day.isoformat(): day.up_seconds / 3600 for day in days if day.up_seconds != 86_400} == {
        "2025-03-30": 23,
        "2025-04-10": 17.5,
    }


async def test_one_of_which_nothing_is_known_has_its_days_all_the_same(sessions: Sessions) -> None:
    async with transaction(sessions) as session:
        days = (await daily_uptime(session, ["pls_nobody"], NOW, "UTC", 90))["pls_nobody"]
    assert [day.share for day in days] == [None] * 90
    assert share_of(days) is None


@pytest.mark.parametrize("seed", range(8))
async def test_it_adds_up_as_the_fold_does(sessions: Sessions, seed: int) -> None:
    """Of several pulses at once, in a zone whose clocks change, with days in which much happens or nothing."""
    random, zone, count = Random(seed), "America/New_York", 40
    stories: dict[str, list[tuple[str, datetime]]] = {}
    async with transaction(sessions) as session:
        for _ in range(4):
            offsets = sorted(random.uniform(0, 60 * 86_400) for _ in range(random.choice((0, 1, 3, 60))))
            at = [NOW - timedelta(days=60) + timedelta(seconds=offset) for offset in offsets]
            story = [(random.choice(STATUSES), moment) for moment in at]
            stories[await add(session, *story)] = story
        found = await daily_uptime(session, list(stories), NOW, zone, count)
    _, bounds = latest_days(NOW, zone, count)
    for pulse_id, story in stories.items():
        transitions = [Transition(None, None, after, at) for after, at in story]
        for day, (since, until) in zip(found[pulse_id], pairwise(bounds), strict=True):
            status = next((item.after for item in reversed(transitions) if item.at <= since), None)
            expected = uptime(transitions, since, until, status)
            assert day.up_seconds == pytest.approx(expected.up_seconds, abs=0.001)
            assert day.down_seconds == pytest.approx(expected.down_seconds, abs=0.001)
