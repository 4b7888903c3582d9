"""Stacked bars: every cent is in one of them, and what is not known is never drawn as nothing."""

from datetime import date, timedelta
from decimal import Decimal

import pytest
from bs4 import BeautifulSoup
from hypothesis import given
from hypothesis import strategies as st

from api.dashboard.charts import bars, stacks
from api.dashboard.charts.stacks import Bucket, Part

FIRST = date(2026, 3, 2)


@given(
    st.dates(min_value=date(2020, 1, 1), max_value=date(2030, 1, 1)),
    st.integers(min_value=0, max_value=3659),
    st.data(),
)
def test_spans_follow_each_other_and_parts_keep_their_sums(first: date, more: int, data: st.DataObject) -> None:
    last = first + timedelta(days=more)
    spans = stacks.spans(first, last)
    assert (spans[0][0], spans[-1][1]) == (first, last)
    assert all(one[1] + timedelta(days=1) == other[0] for one, other in zip(spans, spans[1:], strict=False))
    assert len(spans) <= 125
    parts = data.draw(
        st.lists(
            st.builds(
                Part,
                st.integers(min_value=0, max_value=more).map(lambda days: first + timedelta(days=days)),
                st.integers(min_value=0, max_value=2),
                st.none() | st.decimals(min_value=0, max_value=1000, places=6),
                st.integers(min_value=1, max_value=9),
                st.integers(min_value=0, max_value=1),
            ),
            max_size=20,
        )
    )
    found = stacks.buckets(first, last, parts, 3)
    assert sum(bar.total for bar in found) == sum(part.cost_usd or 0 for part in parts)
    assert sum(bar.pings for bar in found) == sum(part.pings for part in parts)
    assert sum(bar.unpriced_pings for bar in found) == sum(part.unpriced_pings for part in parts)
    for number in range(3):
        expected = sum(part.cost_usd or 0 for part in parts if part.series == number)
        assert sum(bar.costs[number] for bar in found) == expected


def test_days_weeks_and_months_have_names() -> None:
    assert Bucket(FIRST, FIRST, [], 0, 0).label == "2 Mar 2026"
    assert Bucket(FIRST, FIRST + timedelta(days=6), [], 0, 0).label == "2 Mar to 8 Mar 2026"
    assert Bucket(date(2026, 3, 1), date(2026, 3, 31), [], 0, 0).label == "Mar 2026"


def drawn(found: list[Bucket], names: list[str], *, has_others: bool = False) -> BeautifulSoup:
    return BeautifulSoup(stacks.draw(found, stacks.series_of(names, has_others=has_others)), "html.parser")


def test_a_bar_says_what_it_is() -> None:
    day = Bucket(FIRST, FIRST, [Decimal(3), Decimal("1.5"), Decimal("0.5")], 9, 2)
    picture = drawn([day, Bucket(FIRST + timedelta(days=1), FIRST + timedelta(days=1), [Decimal(0)] * 3, 0, 0)],
                    ["gpt", "claude"], has_others=True)  # fmt: skip
    titles = [title.get_text() for title in picture.select("title")]
    assert titles == [
        "2 Mar 2026 · A gpt: $3.00",
        "2 Mar 2026 · B claude: $1.50",
        "2 Mar 2026 · + All others: $0.50",
        "2 Mar 2026: $5.00; 2 pings unpriced",
    ]
    assert [letter.get_text() for letter in picture.select("text.letter")] == ["A", "B", "+"]
    label = picture.select_one("[role=img]")
    assert label is not None
    assert label["aria-label"] == "Costs by day: $5.00 in all, most in 2 Mar 2026 with $5.00. 2 pings unpriced."
    heights = [float(str(rect["height"])) for rect in picture.select("rect")]
    assert sum(heights) == pytest.approx(stacks.HEIGHT)
    assert heights[0] == pytest.approx(2 * heights[1])


def test_what_nobody_knows_is_a_mark_and_no_bar() -> None:
    picture = drawn([Bucket(FIRST, FIRST, [Decimal(0)], 4, 4)], ["All"])
    assert not picture.select("rect")
    mark = picture.select_one("circle title")
    assert mark is not None
    assert mark.get_text() == "2 Mar 2026: cost not known; 4 pings unpriced"
    label = picture.select_one("[role=img]")
    assert label is not None
    assert label["aria-label"] == "Costs by day: not known, 4 pings unpriced."


def test_hostile_names_stay_words() -> None:
    picture = str(stacks.draw([Bucket(FIRST, FIRST, [Decimal(1), Decimal(1)], 2, 0)],
                              stacks.series_of(["<script>", '"onload="'], has_others=False)))  # fmt: skip
    assert "<script>" not in picture
    assert "&lt;script&gt;" in picture


def test_nothing_is_drawn_of_nothing() -> None:
    assert stacks.gist([]) == "Costs by day: nothing was reported."
    assert not drawn([Bucket(FIRST, FIRST, [Decimal(0)], 0, 0)], ["All"]).select("rect, circle")


@pytest.mark.parametrize(
    ("part", "whole", "share"),
    [(None, 5, None), (1, None, None), (1, 0, None), (Decimal("0.5"), 2, 0.25), (0, 2, 0), (3, 2, 1.5)],
)
def test_shares(part: Decimal | None, whole: int | None, share: float | None) -> None:
    assert bars.share_of(part, whole) == share


@pytest.mark.parametrize(
    ("share", "tone", "width"),
    [(None, "f-good", "0.00"), (0.5, "f-good", "50.00"), (0.8, "f-warn", "80.00"), (1.4, "f-bad", "100.00")],
)
def test_what_is_used_up_has_a_tone_and_stays_in_its_place(share: float | None, tone: str, width: str) -> None:
    assert bars.tone_of(share) == tone
    assert f'width="{width}%"' in bars.meter(share, bars.tone_of(share))
