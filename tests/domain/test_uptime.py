"""The share of the time up."""

import pytest

from domain.transitions import Transition
from domain.uptime import Downtime, uptime
from tests.domain.builders import at


def became(status: str, seconds: float, reason: str | None = None) -> Transition:
    return Transition(None, None, status, at(seconds), reason)


@pytest.mark.parametrize(
    ("before", "transitions", "share", "up", "down", "downtimes"),
    [
        (None, [], None, 0, 0, []),
        ("new", [], None, 0, 0, []),
        ("up", [], 1.0, 100, 0, []),
        ("late", [], 1.0, 100, 0, []),
        ("paused", [became("up", 60)], 1.0, 40, 0, []),
        ("down", [], 0.0, 0, 100, [(0, None, None)]),
        ("down", [became("up", 25)], 0.75, 75, 25, [(0, 25, None)]),
        ("up", [became("late", 50), became("down", 75, "silent")], 0.75, 75, 25, [(75, None, "silent")]),
        ("up", [became("unknown", 40), became("up", 60)], 1.0, 80, 0, []),
        ("up", [became("down", 10, "a"), became("up", 20), became("down", 30, "b"), became("paused", 40)], 0.5, 20, 20,
         [(10, 20, "a"), (30, 40, "b")]),
        # What lies outside of the time asked for does not count, and at its very end nothing is left of it.
        ("up", [became("down", -5), became("down", 100), became("up", 101)], 1.0, 100, 0, []),
    ],
)  # fmt: skip
def test_up_and_late_count_as_up(
    before: str | None,
    transitions: list[Transition],
    share: float | None,
    up: float,
    down: float,
    downtimes: list[tuple[float, float | None, str | None]],
) -> None:
    found = uptime(transitions, at(0), at(100), before)
    assert (found.share, found.up_seconds, found.down_seconds) == (share, up, down)
    assert found.downtimes == tuple(
        Downtime(at(start), None if end is None else at(end), reason) for start, end, reason in downtimes
    )
