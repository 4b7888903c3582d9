"""The picture of an instance: which rows there are, when each was worked at, and where that is drawn."""

from datetime import UTC, datetime, timedelta
from decimal import Decimal
from typing import Any

import pytest
from bs4 import BeautifulSoup
from hypothesis import given
from hypothesis import strategies as st

from api.dashboard.charts import gantt
from api.dashboard.stage_spans import MAX_SPANS, Course, Span
from api.dashboard.stage_tree import Node, Wanted, excerpt, tree_of
from domain.evaluation import StageView, evaluate
from domain.instances import InstanceState, StageStatus, fold
from domain.workflows import WorkflowDefinition, WorkflowKind
from storage.instances import Instance
from storage.steps import Mark, facts_of
from storage.workflows import columns_of

START = datetime(2026, 1, 15, 9, 0, tzinfo=UTC)
RULES = WorkflowDefinition("wf", "acc", WorkflowKind.DYNAMIC, grace_period_seconds=60)


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def step(seconds: float, path: str, status: str = "healthy", **fields: Any) -> Mark:
    values: dict[str, Any] = dict.fromkeys(Mark._fields) | {
        "id": round(seconds * 1000) + 10**6,
        "path": path,
        "status": status,
        "at": at(seconds),
        "final": False,
        "outcome": "accepted",
        "inherited": False,
    }
    return Mark(**values | fields)


def course(*marks: Mark, end: float | None = None, **row: Any) -> Course:
    """The course of a dynamic instance that was opened at START."""
    instance = Instance(
        id="dabc12345", workflow_id="wf", status="running", opened_at=START, definition=columns_of(RULES), **row
    )
    until = at(end) if end is not None else marks[-1].at
    state = InstanceState(instance.id, RULES, START)
    return Course(instance, evaluate(fold(state, facts_of(marks), until=until)), marks, until)


def times(spans: list[Span]) -> list[tuple[float, float, str]]:
    return [
        ((span.start - START).total_seconds(), (span.end - START).total_seconds(), span.status.value) for span in spans
    ]


def test_a_stage_that_says_nothing_of_its_time_began_at_the_step_before() -> None:
    found = course(step(0, "1"), step(5, "2"), step(9, "3"))
    assert [times(found.spans(path)) for path in "123"] == [
        [(0, 0, "healthy")],
        [(0, 5, "healthy")],
        [(5, 9, "healthy")],
    ]
    assert not found.spans("2")[0].is_measured


def test_a_stage_that_was_announced_began_then_and_parallel_ones_overlap() -> None:
    found = course(step(0, "1.1", "pending"), step(1, "1.2", "pending"), step(8, "1.2"), step(9, "1.1"))
    assert times(found.spans("1.1")) == [(0, 9, "healthy")]
    assert times(found.spans("1.2")) == [(1, 8, "healthy")]


def test_what_a_ping_says_of_its_duration_counts_and_the_first_may_reach_back() -> None:
    found = course(step(0, "1", duration_ms=4000), step(10, "2", duration_ms=3000), step(12, "3", duration_ms=10**10))
    assert [times(found.spans(path)) for path in "123"] == [
        [(-4, 0, "healthy")],
        [(7, 10, "healthy")],
        [(-4, 12, "healthy")],
    ]
    assert found.start == at(-4)


def test_what_goes_on_grows_and_what_is_done_again_has_several_bars() -> None:
    found = course(step(0, "1", "pending"), step(3, "1", "failed"), step(5, "1", "pending"), end=20)
    assert times(found.spans("1")) == [(0, 3, "failed"), (5, 20, "pending")]
    assert [span.is_open for span in found.spans("1")] == [False, True]


def test_the_picture_ends_where_nothing_goes_on_any_more() -> None:
    assert course(step(0, "1"), step(5, "2"), end=900).finish == at(5)
    assert course(step(0, "1"), step(5, "2", "pending"), end=900).finish == at(900)


def test_rejected_steps_are_on_no_lane() -> None:
    found = course(step(0, "1"), step(2, "2", outcome="rejected"), step(5, "3"))
    assert found.spans("2") == []
    assert times(found.spans("3")) == [(0, 5, "healthy")]


def test_a_stage_that_was_never_done_ends_at_its_deadline() -> None:
    instance = Instance(id="d", workflow_id="wf", opened_at=START, definition=columns_of(RULES))
    marks = [step(0, "1"), step(4, "2")]
    view = evaluate(fold(InstanceState("d", RULES, START), facts_of(marks), until=at(9)))
    view.stages["3"] = StageView(StageStatus.TIMEOUT, at=at(34))
    assert times(Course(instance, view, marks, at(40)).spans("3")) == [(4, 34, "timeout")]


def test_what_a_fork_inherited_is_shown_right_before_it() -> None:
    old: dict[str, Any] = {"inherited": True}
    found = course(step(-500, "1", **old), step(-490, "2", **old), step(6, "3"), end=10)
    assert times(found.spans("2")) == [(-10, 0, "healthy")]
    assert times(found.spans("3")) == [(0, 6, "healthy")]
    assert found.start == at(-10)


def test_a_stage_of_a_thousand_goes_has_some_dozens_of_bars() -> None:
    marks = [step(number, "1", "failed" if number == 77 else "healthy") for number in range(1000)]
    spans = course(*marks).spans("1")
    assert len(spans) <= MAX_SPANS
    assert [span.status.value for span in spans].count("failed") == 1
    assert (spans[0].start, spans[-1].end) == (at(0), at(999))


def test_handoffs_tell_why_by_who_gave() -> None:
    found = course(
        step(0, "1", agent="a", handoff_reason="planned"),
        step(1, "1", agent="a"),
        step(2, "2", agent="b"),
        step(3, "2"),
        step(4, "3", agent="a", handoff_reason="took over"),
        step(5, "4", agent="c", outcome="rejected"),
    )
    assert [(one.giver, one.taker, one.step, one.reason) for one in found.handoffs()] == [
        ("a", "b", 2, "planned"),
        ("b", "a", 4, "took over"),
    ]
    assert found.agents() == {"a": 3, "b": 1}


@pytest.mark.parametrize(
    ("said", "handed"),
    [
        (
            [("ada", None), ("bob", "needs the web"), ("bob", None), ("ada", "done looking")],
            [("ada", "bob", "needs the web"), ("bob", "ada", "done looking")],
        ),
        ([("ada", None), ("bob", "mine"), ("ada", None)], [("ada", "bob", "mine"), ("bob", "ada", None)]),
        (
            [("ada", None), ("bob", "mine"), ("bob", "yours"), ("ada", "?")],
            [("ada", "bob", "mine"), ("bob", "ada", "yours")],
        ),
        (
            [("ada", "yours"), ("bob", "back soon"), ("ada", None)],
            [("ada", "bob", "yours"), ("bob", "ada", "back soon")],
        ),
        (
            [("ada", "first"), ("ada", "second"), ("bob", None), ("ada", None)],
            [("ada", "bob", "second"), ("bob", "ada", None)],
        ),
        ([("ada", None), ("bob", None)], [("ada", "bob", None)]),
    ],
)
def test_each_reason_is_told_of_one_handoff(
    said: list[tuple[str, str | None]], handed: list[tuple[str, str, str | None]]
) -> None:
    marks = [step(at, str(at + 1), agent=agent, handoff_reason=why) for at, (agent, why) in enumerate(said)]
    assert [(one.giver, one.taker, one.reason) for one in course(*marks).handoffs()] == handed


def test_costs_of_a_tree_add_up_without_what_was_inherited() -> None:
    found = course(
        step(0, "1", cost_usd=Decimal(9), inherited=True),
        step(1, "2.1.1", cost_usd=Decimal("0.1")),
        step(2, "2.1.2", cost_usd=Decimal("0.2")),
        step(3, "2.2", cost_usd=Decimal("0.4"), outcome="rejected"),
    )
    costs = found.costs()
    assert costs == {"2.1.1": Decimal("0.1"), "2.1.2": Decimal("0.2")}
    assert {path: one.cost_usd for path, one in found.sums(costs).items()} == {
        "2": Decimal("0.3"),
        "2.1": Decimal("0.3"),
    }


def nodes(*paths: str) -> list[Node]:
    return tree_of({path: StageView(StageStatus.HEALTHY, name=f"Name of {path}", agent="ada") for path in paths})


def test_the_tree_has_a_row_for_every_level_and_names_come_last() -> None:
    found = nodes("done", "10", "2.1.2", "2.1.1", "1")
    assert [(node.path, node.depth, node.below, node.view is not None) for node in found] == [
        ("1", 0, 0, True),
        ("2", 0, 2, False),
        ("2.1", 1, 2, False),
        ("2.1.1", 2, 0, True),
        ("2.1.2", 2, 0, True),
        ("10", 0, 0, True),
        ("done", 0, 0, True),
    ]


DEEP = nodes(*(f"{top}.{child}.{leaf}" for top in range(1, 4) for child in range(1, 4) for leaf in range(1, 5)))


@pytest.mark.parametrize(
    ("wanted", "page", "shown", "folded"),
    [
        (Wanted(), 100, 48, 0),
        (Wanted(), 20, 12, 9),
        (Wanted(), 5, 3, 3),
        (Wanted(under="2"), 10, 4, 3),
        (Wanted(under="2.1"), 10, 5, 0),
        (Wanted(under="2.1"), 3, 3, 0),
        (Wanted(find="2.1."), 100, 4, 0),
        (Wanted(find="NAME OF 1.1.1"), 100, 1, 0),
        (Wanted(find="ada"), 10, 10, 0),
        (Wanted(state="failed"), 100, 0, 0),
        (Wanted(under="9"), 100, 0, 0),
    ],
)
def test_what_is_too_much_is_folded_and_then_paged(wanted: Wanted, page: int, shown: int, folded: int) -> None:
    found = excerpt(DEEP, wanted, page)
    assert (len(found.nodes), len(found.folded)) == (shown, folded)


@given(st.integers(0, 400), st.integers(1, 60), st.integers(0, 500))
def test_pages_hold_every_row_once(count: int, page: int, start: int) -> None:
    flat = nodes(*(str(number) for number in range(1, count + 1)))
    found = excerpt(flat, Wanted(start=start), page)
    assert found.total == count
    assert found.start % page == 0
    assert [node.path for node in found.nodes] == [node.path for node in flat[found.start : found.start + page]]
    assert found.nodes or not count


@given(st.integers(0, 10**7), st.integers(0, 10**7), st.integers(0, 10**7))
def test_everything_is_on_the_picture(length: int, first: int, second: int) -> None:
    scale = gantt.Scale(START, at(length / 1000))
    early, late = sorted((first, second))
    span = Span(at(early / 1000), at(late / 1000), StageStatus.HEALTHY)
    svg = BeautifulSoup(gantt.lane(scale, [span], {}), "html.parser")
    bar = svg.select_one("rect")
    assert bar is not None
    left, width = (float(str(bar[name]).removesuffix("%")) for name in ("x", "width"))
    assert 0 <= left <= 100
    assert width > 0
    assert left + width <= 100.02
    marks = scale.marks()
    assert len(marks) <= 7
    assert all(0 <= x <= 100 for x, _ in marks)
    assert len({label for _, label in marks}) == len(marks)


@pytest.mark.parametrize(
    ("seconds", "labels"),
    [
        (0, ["0"]),
        (0.2, ["0", "50 ms", "100 ms", "150 ms", "200 ms"]),
        (4, ["0", "1 s", "2 s", "3 s", "4 s"]),
        (100, ["0", "30 s", "1 min", "1 min 30 s"]),
        (3 * 86_400, ["0", "1 d", "2 d", "3 d"]),
    ],
)
def test_times_are_named_as_clocks_have_them(seconds: float, labels: list[str]) -> None:
    assert [label for _, label in gantt.Scale(START, at(seconds)).marks()] == labels


def test_agents_have_letters_and_colours() -> None:
    agents = gantt.agents_of(f"agent {number}" for number in range(30))
    assert [agent.letters for agent in agents.values()][:2] == ["A", "B"]
    assert [agent.letters for agent in agents.values()][25:28] == ["Z", "AA", "AB"]
    assert {agent.colour for agent in agents.values()} == set(range(1, 9))


def test_a_bar_says_who_and_how_it_went_and_escapes_both() -> None:
    scale = gantt.Scale(START, at(100))
    agent = '<script>"x"</script>\u202e'
    spans = [
        Span(at(0), at(50), StageStatus.FAILED, 1, agent, is_measured=True),
        Span(at(60), at(100), StageStatus.PENDING, 2, agent, is_open=True),
    ]
    lane = gantt.lane(scale, spans, gantt.agents_of([agent]))
    assert "<script>" not in lane
    assert "\u202e" not in lane
    svg = BeautifulSoup(lane, "html.parser")
    first, second = svg.select("rect")
    assert "f-bad" in first["class"]
    assert {"f-c1", "open"} <= set(second["class"])
    assert "Failed · 50 s" in first.get_text()
    assert "so far" in second.get_text()
    assert [text.get_text() for text in svg.select("text")] == ["A", "×", "A"]
    assert svg.select_one("svg")["aria-label"] == "0 ms to 1 min 40 s, 2 times, and goes on"  # type: ignore[index]


def test_pauses_are_shaded_and_the_step_is_marked() -> None:
    scale = gantt.Scale(START, at(100))
    shades = [gantt.Shade(at(10), at(20), "a"), gantt.Shade(at(90), None, "b")]
    svg = BeautifulSoup(gantt.grid(scale, shades, [at(50)], at(60)), "html.parser")
    assert [(shade["x"], shade["width"]) for shade in svg.select(".shade")] == [
        ("10.00%", "10.00%"),
        ("90.00%", "10.00%"),
    ]
    assert [line["x1"] for line in svg.select(".change, .here")] == ["50.00%", "60.00%"]
