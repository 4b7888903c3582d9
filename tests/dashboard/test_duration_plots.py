"""Runs as pictures."""

from datetime import UTC, datetime, timedelta

import pytest
from bs4 import BeautifulSoup, Tag

from api.dashboard.charts.durations import RunPoint, durations_plot, gist, run_strip, typical_seconds
from domain.processes import RunStatus

START = datetime(2025, 3, 1, 12, tzinfo=UTC)


def points(*runs: tuple[str, float]) -> list[RunPoint]:
    """A run a day, by how it went and the seconds it took."""
    return [
        RunPoint(
            f"run_{index}",
            RunStatus.FINISHED if how == "late" else RunStatus(how),
            START + timedelta(days=index),
            seconds,
            how in ("late", "overdue"),
        )
        for index, (how, seconds) in enumerate(runs)
    ]


def plot(*runs: tuple[str, float], expected: float = 60, grace: float = 30) -> Tag:
    svg = BeautifulSoup(str(durations_plot(points(*runs), expected, grace, "UTC")), "html.parser").svg
    assert svg is not None
    return svg


def marks(svg: Tag) -> list[Tag]:
    return svg.select("svg > svg")


EVERY = (("finished", 50.0), ("late", 100.0), ("failed", 20.0), ("overdue", 95.0), ("running", 5.0))


def test_each_run_is_a_point_that_says_what_it_was() -> None:
    svg = plot(*EVERY)
    assert [mark.title.get_text() for mark in marks(svg) if mark.title] == [
        "1 Mar 2025, 12:00 UTC: 50 s, finished",
        "2 Mar 2025, 12:00 UTC: 1 min 40 s, finished late",
        "3 Mar 2025, 12:00 UTC: 20 s, failed",
        "4 Mar 2025, 12:00 UTC: 1 min 35 s, overdue",
        "5 Mar 2025, 12:00 UTC: 5 s, running",
    ]
    shapes = {str(mark.find(["circle", "path"])) for mark in marks(svg)}
    assert len(shapes) == 5, "every look has a shape of its own"


def test_later_is_further_right_and_longer_is_higher() -> None:
    across = [float(str(mark["x"]).rstrip("%")) for mark in marks(plot(*EVERY))]
    assert across == sorted(across)
    assert (across[0], across[-1]) == (2, 98)
    up = [-float(str(mark["y"])) for mark in marks(plot(*(("finished", seconds) for seconds in (1.0, 20, 40, 80))))]
    assert up == sorted(up)


@pytest.mark.parametrize("seconds", [(0.0,), (0.001, 0.5), (1.0, 2.0, 9.0), (0.2, 40.0, 90_000.0), (9e6, 1.0), (3e7,)])
@pytest.mark.parametrize("expected", [1.0, 3600.0, 366 * 86_400.0])
def test_everything_is_inside_the_picture(seconds: tuple[float, ...], expected: float) -> None:
    svg = plot(*(("finished", value) for value in seconds), expected=expected)
    heights = [float(str(one[name])) for one in svg.select("[y], [y1]") for name in ("y", "y1") if one.get(name)]
    assert all(0 <= height <= float(str(svg["height"])) for height in heights)


def test_what_is_expected_is_drawn_as_lines() -> None:
    texts = [text.get_text() for text in plot(*EVERY).select("text.limit")]
    assert texts == ["Overdue after 1 min 30 s", "Expected 1 min"]
    assert [text.get_text() for text in plot(*EVERY, grace=0).select("text.limit")] == ["Expected 1 min"]


def axis(svg: Tag) -> list[str]:
    return [text.get_text() for text in svg.select("text:not(.limit):not([text-anchor])")]


def test_the_scale_is_logarithmic_only_if_runs_differ_much() -> None:
    assert axis(plot(*EVERY))[0] == "0"
    wide = axis(plot(*(("finished", 2.0**power) for power in range(16))))
    assert wide == ["1 s", "1 min", "1 h"]
    one_out_of_line = [("finished", 50.0)] * 60 + [("finished", 0.02)]
    assert axis(plot(*one_out_of_line))[0] == "0"


def test_the_gist_is_in_words() -> None:
    assert plot()["aria-label"] == "No runs yet."
    assert gist(points(*EVERY), 60) == (
        "How long the last 5 runs took: 1 finished, 1 finished late, 1 failed, 1 overdue, 1 running. "
        "The median is 1 min 15 s, 1 min are expected."
    )


def test_what_failed_says_nothing_of_how_long_runs_take() -> None:
    assert typical_seconds(points(("failed", 1.0), ("finished", 10.0), ("finished", 30.0))) == 20
    assert typical_seconds(points(("failed", 1.0))) is None


def test_a_strip_has_its_latest_run_on_the_right_and_names_it() -> None:
    svg = BeautifulSoup(str(run_strip(points(*EVERY), "<b>ETL</b>", 8)), "html.parser").svg
    assert svg is not None
    assert svg["aria-label"] == "5 runs of <b>ETL</b>; the last one: 5 s, running"
    assert [group["class"] for group in svg.select("g")] == [
        [f"f-{tone}"] for tone in ("good", "warn", "bad", "bad", "busy")
    ]
    assert [len(group.select("rect")) for group in svg.select("g")] == [1, 1, 2, 2, 1]
    last = svg.select("g")[-1].select("rect")[0]
    assert int(str(last["x"])) > int(str(svg["width"])) - 7


@pytest.mark.parametrize(
    ("seconds", "labels"),
    [
        (0.0, ["1 Mar, 12:00"]),
        (0.002, ["1 Mar, 12:00:00.000", "12:00:00.001", "12:00:00.002"]),
        (2.0, ["1 Mar, 12:00:00.000", "12:00:00.500", "12:00:01.000", "12:00:01.500", "12:00:02.000"]),
        (60.0, ["1 Mar, 12:00:00", "12:00:15", "12:00:30", "12:00:45", "12:01:00"]),
        (3600.0, ["1 Mar, 12:00", "12:15", "12:30", "12:45", "13:00"]),
        (86_400.0, ["1 Mar, 12:00", "18:00", "2 Mar, 00:00", "06:00", "12:00"]),
        (8 * 86_400.0, ["1 Mar", "3 Mar", "5 Mar", "7 Mar", "9 Mar"]),
        (400 * 86_400.0, ["1 Mar 2025", "9 Jun 2025", "17 Sep 2025", "26 Dec 2025", "5 Apr 2026"]),
    ],
)
def test_times_below_are_as_exact_as_it_takes_to_tell_them_apart(seconds: float, labels: list[str]) -> None:
    runs = [
        RunPoint(f"run_{at}", RunStatus.FINISHED, START + timedelta(seconds=at), 1)
        for at in dict.fromkeys((0.0, seconds))
    ]
    svg = BeautifulSoup(str(durations_plot(runs, 60, 30, "UTC")), "html.parser")
    assert [text.get_text() for text in svg.select("text[text-anchor]:not(.limit)")] == labels
