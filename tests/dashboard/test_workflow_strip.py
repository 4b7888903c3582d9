"""The strip of bars: what each bar says, how high it is, and what is said instead of the picture."""

from datetime import UTC, datetime

import pytest
from bs4 import BeautifulSoup, Tag

from api.dashboard.charts.strip import HEIGHT, LEAST, LEGEND, PITCH, gist_of, height_of, strip, words_of
from domain.instances import InstanceStatus
from storage.workflow_overview import Run

AT = datetime(2026, 3, 10, 9, 5, tzinfo=UTC)


def run(status: str, seconds: float | None = None, instance_id: str = "d12345678") -> Run:
    return Run(instance_id, InstanceStatus(status), AT, seconds)


def drawn(*runs: Run, median: float | None = None, room: int = 30, in_tab_order: bool = False) -> Tag:
    picture = BeautifulSoup(strip(runs, median, room, in_tab_order=in_tab_order), "html.parser").svg
    assert picture is not None
    return picture


@pytest.mark.parametrize(
    ("seconds", "median", "height"),
    [
        (60.0, 60.0, 0.5),
        (120.0, 60.0, 1.0),
        (999.0, 60.0, 1.0),
        (30.0, 60.0, 0.25),
        (0.0, 60.0, LEAST),
        (None, 60.0, 0.5),
        (60.0, None, 0.5),
        (60.0, 0.0, 0.5),
    ],
)
def test_the_height_is_the_duration_beside_the_median(
    seconds: float | None, median: float | None, height: float
) -> None:
    assert height_of(seconds, median) == height


def test_each_bar_says_how_it_went_and_leads_to_its_run() -> None:
    (link,) = drawn(run("failed", 200.0), median=200.0).select("a")
    assert link["href"] == "/instances/d12345678"
    assert link.get_text(strip=True) == "Failed after 3 min 20 s, begun 10 Mar 2026, 09:05 UTC, d12345678"
    assert words_of(run("running")) == "Running, begun 10 Mar 2026, 09:05 UTC, d12345678"


def test_the_newest_is_on_the_right_also_if_there_are_few() -> None:
    picture = drawn(run("completed", 1.0, "d1"), run("completed", 2.0, "d2"), room=5)
    bars = [float(str(bar["x"])) for bar in picture.select("a rect:not(.strip-room)")]
    assert bars == [3 * PITCH, 4 * PITCH]
    assert len(picture.select("rect.f-none")) == 3
    # Without a median the longest is the measure.
    assert [float(str(bar["height"])) for bar in picture.select("a rect:not(.strip-room)")] == [HEIGHT / 4, HEIGHT / 2]


@pytest.mark.parametrize("status", list(InstanceStatus))
def test_no_state_is_told_by_its_colour_alone(status: InstanceStatus) -> None:
    marks = drawn(run(status)).select("path.strip-mark")
    assert len(marks) == (0 if status is InstanceStatus.COMPLETED else 1)
    assert (status.value in LEGEND) is bool(marks)


def test_bars_are_in_the_tab_order_where_asked_for() -> None:
    assert [link.get("tabindex") for link in drawn(run("completed")).select("a")] == ["-1"]
    assert [link.get("tabindex") for link in drawn(run("completed"), in_tab_order=True).select("a")] == [None]


def test_the_picture_has_a_text_besides() -> None:
    runs = [run("failed"), run("completed"), run("completed"), run("running")]
    assert gist_of(runs) == "The last 4 runs, the newest last: 1 failed, 2 completed, 1 running"
    assert drawn(*runs)["aria-label"] == gist_of(runs)
    assert (drawn()["role"], drawn()["aria-label"]) == ("img", "No runs yet")


def test_an_id_from_elsewhere_cannot_break_out() -> None:
    (link,) = drawn(run("completed", 1.0, '"><script>alert(1)</script>')).select("a")
    assert str(link["href"]).startswith("/instances/%22%3E%3Cscript")
    assert link.script is None
