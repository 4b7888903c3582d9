"""The picture of the last day."""

from datetime import UTC, datetime, timedelta

from bs4 import BeautifulSoup

from api.dashboard.charts.day import HEIGHT, day_plot, gist
from storage.overview import Hour

START = datetime(2026, 1, 31, 10, tzinfo=UTC)


def hours(*counts: tuple[int, int, int | None]) -> list[Hour]:
    return [Hour(START + timedelta(hours=number), *count) for number, count in enumerate(counts)]


def test_the_gist_is_in_words() -> None:
    assert gist(hours((2, 1, 30), (1, 0, 4))) == (
        "In the last 24 hours 3 runs ended well, 1 failed; 34 pings."
    )  # fmt: skip
    assert gist(hours((0, 0, None), (0, 0, 1))).endswith("0 runs ended well, 0 failed; 1 ping counted.")


def test_each_hour_has_its_bars_and_says_its_numbers() -> None:
    picture = BeautifulSoup(day_plot(hours((3, 1, 10), (0, 0, None))), "html.parser")
    first, second = picture.select("g")
    assert first.select_one("title").get_text() == "10:00 UTC: 3 good, 1 failed, 10 pings"  # type: ignore[union-attr]
    assert second.select_one("title").get_text() == "11:00 UTC: 0 good, 0 failed, pings not counted"  # type: ignore[union-attr]
    assert first.select(".f-good")
    assert first.select(".f-bad")
    assert not second.select(".f-good, .f-bad, .f-c8")


def test_what_is_rare_is_still_seen_and_nothing_sticks_out() -> None:
    picture = BeautifulSoup(day_plot(hours((100_000, 1, 100_000), (1, 0, 1))), "html.parser")
    for bar in picture.select(".f-good, .f-bad, .f-c8"):
        assert float(str(bar["height"])) >= 2
        assert 0 <= float(str(bar["y"])) <= HEIGHT - float(str(bar["height"])) + 0.2


def test_a_day_without_anything_is_drawn() -> None:
    assert "0 runs" in day_plot(hours(*[(0, 0, 0)] * 24))
