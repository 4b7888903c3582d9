"""What messages say, and how long is waited between attempts to deliver them."""

import re
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.alerts import KINDS, Severity
from domain.instance_alerts import INSTANCE_FAILED, INSTANCE_RECOVERED, STAGE_FAILED
from domain.messages import (
    ATTEMPT_LIMIT,
    GIVE_UP_AFTER,
    LONGEST_GAP,
    MAX_HEADLINE,
    MAX_LINE,
    MAX_LINES,
    ToldAlert,
    compose,
    gap_after,
)
from domain.process_alerts import PROCESS_OVERDUE, PROCESS_RECOVERED
from tests.domain.builders import at, properties

OVERDUE, RECOVERED = PROCESS_OVERDUE.name, PROCESS_RECOVERED.name


def alert(kind: str, name: str = "backup", seconds: float = 0, **values: Any) -> ToldAlert:
    known = KINDS.get(kind)
    fields = {
        "id": f"alr_{name}_{seconds}",
        "severity": known.severity if known else Severity.WARNING,
        "resolves": known.resolves if known else False,
        "source": f"process/{name}",
        "subject": f"process/{name}/1",
        "title": f"{name} {known.one if known else kind}",
        "trouble": f"process/{name}/1",
    }
    return ToldAlert(kind=kind, name=name, at=at(seconds), **{**fields, **values})


def many(kind: str, count: int, prefix: str = "job", seconds: float = 0) -> list[ToldAlert]:
    return [alert(kind, f"{prefix}{number}", seconds) for number in range(1, count + 1)]


@pytest.mark.parametrize(
    ("alerts", "headline"),
    [
        ([alert(OVERDUE)], "backup is overdue"),
        ([alert(OVERDUE, title="backup is overdue:\n no finish")], "backup is overdue: no finish"),
        ([alert(RECOVERED)], "backup finished after all"),
        ([alert(OVERDUE), alert(RECOVERED, seconds=12)], "backup was overdue for 12 s and finished after all"),
        # Of one trouble the gravest speaks.
        (
            [alert(STAGE_FAILED.name, seconds=1), alert(INSTANCE_FAILED.name, seconds=1)],
            "backup failed (2 alerts)",
        ),
        (
            [alert(STAGE_FAILED.name), alert(INSTANCE_FAILED.name), alert(INSTANCE_RECOVERED.name, seconds=90)],
            "backup failed and recovered after 1 min 30 s (3 alerts)",
        ),
        # It may begin again.
        ([alert(OVERDUE), alert(RECOVERED, seconds=1), alert(OVERDUE, seconds=2)], "backup is overdue (3 alerts)"),
        (many(OVERDUE, 2), "2 process runs are overdue: job1, job2"),
        (many(OVERDUE, 37), "37 process runs are overdue: job1, job2, job3 and 34 more"),
        (
            many(RECOVERED, 2, "good") + many(OVERDUE, 5),
            "5 process runs are overdue, 2 process runs finished after all: job1, job2, job3 and 4 more",
        ),
        ([alert(OVERDUE, "a"), alert(RECOVERED, "b")], "a is overdue, b finished after all"),
        (
            [*many(OVERDUE, 5), alert(RECOVERED, "b")],
            "5 process runs are overdue, b finished after all: job1, job2, job3 and 2 more",
        ),
        (
            [alert(OVERDUE, "a"), *(alert(f"kind_{number}", f"x{number}") for number in range(4))],
            "a is overdue, 1 of the kind kind 0, 1 of the kind kind 1, 2 other alerts: x0, x1, x2 and 1 more",
        ),
        # Two runs of one workflow have one name.
        (
            [alert(OVERDUE, trouble="1"), alert(OVERDUE, trouble="2")],
            "2 process runs are overdue: backup",
        ),
        # Kinds of a later version.
        ([alert("approval_wanted", title="Deploy?")], "Deploy?"),
        (many("approval_wanted", 2), "2 of the kind approval wanted: job1, job2"),
        (
            [alert("approval_wanted", title="Deploy?"), alert(RECOVERED, seconds=3)],
            "Deploy?; it finished after all after 3 s",
        ),
    ],
)
def test_headlines(alerts: list[ToldAlert], headline: str) -> None:
    assert compose(alerts).headline == headline


def test_lines_give_reasons_once_and_what_lasts_comes_first() -> None:
    text = compose(
        [
            alert(OVERDUE, "a", 0, reason="no finish within 5 s"),
            alert(OVERDUE, "b", 1, title="b is overdue: too slow", reason="too slow"),
            alert(RECOVERED, "a", 5),
            alert(OVERDUE, "c", 6, reason="line one\nline two"),
        ]
    )
    assert text.lines == (
        "b is overdue: too slow",
        "c is overdue: line one line two",
        "a was overdue for 5 s and finished after all",
    )


def test_the_lines_are_bounded_and_the_rest_is_counted() -> None:
    text = compose(many(OVERDUE, 1000))
    assert len(text.lines) == MAX_LINES + 1
    assert text.lines[-1] == "and 950 more"


@pytest.mark.parametrize(
    ("alerts", "severity", "resolves"),
    [
        ([alert(OVERDUE)], Severity.ERROR, False),
        ([alert(RECOVERED)], Severity.INFO, True),
        ([alert(OVERDUE), alert(RECOVERED, seconds=1)], Severity.INFO, True),
        ([alert(OVERDUE, "a"), alert(RECOVERED, "b")], Severity.ERROR, False),
        (
            [alert(INSTANCE_FAILED.name, "a"), alert(INSTANCE_RECOVERED.name, "a", 1), alert(OVERDUE, "b")],
            Severity.ERROR,
            False,
        ),
    ],
)
def test_the_severity_is_that_of_the_gravest_that_lasts(
    alerts: list[ToldAlert], severity: Severity, resolves: bool
) -> None:
    text = compose(alerts)
    assert (text.severity, text.resolves) == (severity, resolves)


words = st.text(max_size=300)
told = st.builds(
    ToldAlert,
    id=st.uuids().map(str),
    kind=st.sampled_from([*KINDS, "of_a_later_version", ""]),
    severity=st.sampled_from(Severity),
    resolves=st.booleans(),
    source=words,
    subject=words,
    name=words | st.sampled_from(["a", "b", "c"]),
    title=words,
    trouble=st.sampled_from([str(number) for number in range(70)]),
    at=st.integers(0, 1_000_000).map(at),
    reason=st.none() | words,
)


@properties
@given(st.lists(told, min_size=1, max_size=120))
def test_any_message_can_be_composed_and_fits(alerts: list[ToldAlert]) -> None:
    text = compose(alerts)
    assert len(text.headline) <= MAX_HEADLINE
    assert len(text.lines) <= MAX_LINES + 1
    assert all(len(line) <= MAX_LINE and "\n" not in line for line in [text.headline, *text.lines])
    assert text.severity in {alert.severity for alert in alerts}


@properties
@given(
    st.lists(
        st.tuples(st.sampled_from([OVERDUE, RECOVERED, "later"]), st.integers(0, 99), st.integers(0, 60)),
        min_size=1,
        max_size=150,
    )
)
def test_every_trouble_is_named_or_counted(drawn: Sequence[tuple[str, int, int]]) -> None:
    alerts = [alert(kind, f"job{number:02}", seconds) for kind, number, seconds in drawn]
    troubles = {one.trouble for one in alerts}
    text = compose(alerts)
    names = {one.name for one in alerts}
    assert _covered(" ".join(text.lines), names) == len(troubles)
    assert _covered(text.headline, names) == len(troubles)


def _covered(text: str, names: set[str]) -> int:
    more = re.search(r"and (\d+) more", text)
    return sum(name in text for name in names) + (int(more[1]) if more else 0)


@pytest.mark.parametrize(
    ("attempt", "retry_after", "seconds"),
    [
        (1, None, 5),
        (2, None, 10),
        (3, None, 20),
        (10, None, 2560),
        (11, None, 3600),
        (10_000, None, 3600),
        (1, 0.0, 5),
        (1, 120.0, 120),
        (3, 7.5, 20),
        (1, 86_400.0, 86_400),
        (1, 1e12, GIVE_UP_AFTER.total_seconds() - ATTEMPT_LIMIT.total_seconds()),
    ],
)
def test_gaps_grow_and_receivers_are_not_asked_before_they_wish(
    attempt: int, retry_after: float | None, seconds: float
) -> None:
    assert gap_after(attempt, retry_after, GIVE_UP_AFTER) == timedelta(seconds=seconds)


@properties
@given(st.integers(1, 100), st.none() | st.floats(0, 1e9), st.floats(-10, GIVE_UP_AFTER.total_seconds()))
def test_the_last_attempt_fits_into_the_time(attempt: int, retry_after: float | None, left: float) -> None:
    gap = gap_after(attempt, retry_after, timedelta(seconds=left))
    if gap is None:
        assert left < LONGEST_GAP.total_seconds() + ATTEMPT_LIMIT.total_seconds()
    else:
        assert timedelta(seconds=5) <= gap <= timedelta(seconds=left) - ATTEMPT_LIMIT
