"""Bars of uptime: a day each, told by more than colour."""

from datetime import date, timedelta

import pytest
from bs4 import BeautifulSoup, Tag

from api.dashboard.charts.uptime import HEIGHT, day_words, gist, tone_of, uptime_bars
from domain.uptime import DayUptime

TODAY = date(2025, 3, 12)
DAY = 86_400.0


def days(*down: float | None) -> list[DayUptime]:
    """Ending today: how long it was down on each, None for not watched."""
    first = TODAY - timedelta(days=len(down) - 1)
    return [
        DayUptime(first + timedelta(days=index), *((0.0, 0.0) if lost is None else (DAY - lost, lost)))
        for index, lost in enumerate(down)
    ]


def drawn(*down: float | None, name: str = "") -> Tag:
    svg = BeautifulSoup(str(uptime_bars(days(*down), name)), "html.parser").svg
    assert svg is not None
    return svg


@pytest.mark.parametrize(
    ("down", "tone", "words"),
    [
        (0, "good", "12 Mar 2025: 100 %"),
        (1, "warn", "12 Mar 2025: 99.99 %, down for 1 s"),
        (600, "warn", "12 Mar 2025: 99.31 %, down for 10 min"),
        (4320, "warn", "12 Mar 2025: 95 %, down for 1 h 12 min"),
        (4400, "bad", "12 Mar 2025: 94.91 %, down for 1 h 13 min"),
        (DAY, "bad", "12 Mar 2025: 0 %, down for 1 d"),
        (None, "none", "12 Mar 2025: not watched"),
    ],
)
def test_a_day(down: float | None, tone: str, words: str) -> None:
    [day] = days(down)
    assert (tone_of(day), day_words(day)) == (tone, words)


def test_the_worse_a_day_the_lower_its_bar() -> None:
    bars = drawn(0, 600, DAY, None).select("rect")
    heights = [int(str(bar["height"])) for bar in bars]
    assert heights == sorted(heights, reverse=True)
    assert len(set(heights)) == 4
    assert [int(str(bar.get("y") or 0)) + height for bar, height in zip(bars, heights, strict=True)] == [HEIGHT] * 4
    assert [bar["class"] for bar in bars] == [["f-good"], ["f-warn"], ["f-bad"], ["f-none"]]


def test_ninety_days_have_ninety_bars_that_say_what_they_are() -> None:
    svg = drawn(*[0.0] * 90)
    titles = [title.get_text() for title in svg.select("rect > title")]
    assert len(titles) == 90
    assert titles[0] == "13 Dec 2024: 100 %"
    assert titles[-1] == "12 Mar 2025: 100 %"
    assert len(str(svg)) < 10_000


@pytest.mark.parametrize(
    ("down", "said"),
    [
        ((), "Nothing is known of the last 0 days."),
        ((None, None), "Nothing is known of the last 2 days."),
        ((0, 0, 0), "Up all the time in the last 3 days."),
        ((None, 0), "Up all the time in the last 2 days."),
        ((0, 864, 0), "Up 99.67 % of the time in the last 3 days. Down for 14 min 24 s on 11 Mar 2025."),
        (
            (0, 600, 3000),
            "Up 98.61 % of the time in the last 3 days. Down on 2 days, for 1 h in all, the last time on 12 Mar 2025.",
        ),
    ],
)
def test_the_gist(down: tuple[float | None, ...], said: str) -> None:
    assert gist(days(*down)) == said
    assert drawn(*down)["aria-label"] == said


def test_whose_they_are_is_escaped() -> None:
    label = '"><script>alert(1)</script>'
    svg = drawn(0, name=label)
    assert str(svg["aria-label"]).startswith(label)
    assert not svg.select("script")
