"""Two instances side by side, on a page: chosen from lists or by their ids, and what differs in words."""

from typing import Any

import pytest

from api.dashboard.compare import PAGE
from api.dashboard.compare_words import difference, figures, rows, shown
from tests.api.calls import Calls, new_id
from tests.api.test_comparisons import Stages, compare, run
from tests.support.dashboard import Site

HOSTILE = "</pre><script>alert(1)</script>\u202e"


@pytest.mark.parametrize(
    ("a", "b", "gap", "words"),
    [
        (10, 11, "1", "+1, 10 % more"),
        (10, 9, "1", "−1, 10 % fewer"),
        (10, 0, "10", "−10, 100 % fewer"),
        (10, 10, "0", "the same"),
        (0, 3, "3", "+3, more"),
        (1, 5, "4", "+4, 5.0 times as much"),
        (2, 5, "3", "+3, 150 % more"),
        (None, 5, "–", "not said by both"),
        (5, None, "–", "not said by both"),
    ],
)
def test_differences_in_words(a: int | None, b: int | None, gap: str, words: str) -> None:
    assert difference(a, b, gap, "more", "fewer") == words


def aggregates(**values: Any) -> dict[str, Any]:
    nothing = dict.fromkeys(("total_tokens", "input_tokens", "output_tokens", "total_cost_usd", "total_duration_ms"))
    return {
        **nothing,
        "total_steps": 1,
        "statuses": {},
        "unpriced_steps": 0,
        "elapsed_ms": 0,
        "agents": {},
        "models": {},
        "tool_calls": {},
        **values,
    }


def compared(a: dict[str, Any], b: dict[str, Any], *steps: dict[str, Any]) -> dict[str, Any]:
    return {
        "instance_a": {"id": "a", "aggregates": a},
        "instance_b": {"id": "b", "aggregates": b},
        "divergence_step": 0 if steps else None,
        "steps": list(steps),
    }


def test_sums_side_by_side() -> None:
    a = aggregates(total_cost_usd=0.25, elapsed_ms=2_000, agents={"ada": 2, "bob": 1}, statuses={"success": 3})
    b = aggregates(total_cost_usd=0.35, elapsed_ms=1_500, agents={"ada": 3, "eve": 1}, statuses={"failed": 1})
    found = {figure.name: (figure.a, figure.b, figure.difference) for figure in figures(compared(a, b))}
    assert found == {
        "Steps": ("1", "1", "the same"),
        "Cost": ("$0.25", "$0.35", "+$0.10, 40 % more"),
        "From first to last step": ("2 s", "1.5 s", "−500 ms, 25 % shorter"),
        "Failed steps": ("0", "1", "+1, more"),
        "Agents": ("ada ×2, bob ×1", "ada ×3, eve ×1", "+ eve, − bob, ada ×2 → ×3"),
    }


def test_what_cannot_be_written_is_shown_as_it_was_sent() -> None:
    broken = {"path": "/\ud800", "op": "replace", "a": {"x": "\ud800"}, "b": 10**40}
    step = {
        "stage_path": "1",
        "kind": "payload",
        "kinds": ["payload"],
        "a": None,
        "b": None,
        "payload_diff": [broken],
        "payload_diff_truncated": False,
    }
    (row,) = rows(compared(aggregates(), aggregates(), step))
    (change,) = row.changes
    assert (change.path, change.b, row.is_divergence) == ("/\\ud800", str(10**40), True)
    assert change.a is not None
    assert "\\ud800" in change.a
    assert shown("x" * 100 + "\ud800") == "x" * 80 + "…"


async def two_runs(calls: Calls) -> tuple[str, str, str]:
    """Of one workflow: the second has another payload at stage 2 and a stage more."""
    workflow_id = new_id()
    first: Stages = [("1", {"cost_usd": 0.1}), ("2", {"x": {"y": 1}, "gone": True}), ("3", {})]
    second: Stages = [
        ("1", {"cost_usd": 0.1}),
        ("2", {"x": {"y": HOSTILE}, "new": [1]}),
        ("3", {"cost_usd": 1}),
        ("4", {}),
    ]
    return workflow_id, await run(calls, first, workflow_id), await run(calls, second, workflow_id)


async def test_two_are_chosen_from_a_list_and_compared(site: Site, calls: Calls) -> None:
    workflow_id, a, b = await two_runs(calls)
    screen = await site.open(f"/compare?workflow={workflow_id}")
    assert [row[2] for row in screen.rows("table.picks")] == [b, a]
    answer = await site.submit(screen, "/comparisons", pick_a=a, pick_b=b)
    assert answer.path.startswith("/comparisons/")
    assert answer.title == f"{a} and {b}"
    assert "They differ from step 2 on" in answer.text
    sums = {row[0]: row[1:] for row in answer.rows("table.figures-table")}
    assert sums["Steps"] == ["3", "4", "+1, 33 % more"]
    assert sums["Cost"] == ["$0.10", "$1.10", "+$1.00, 11.0 times as much"]
    pairs = [row for row in answer.rows(".aligned table") if len(row) == 4]
    assert [(row[0].split(" ")[0], row[3]) for row in pairs] == [
        ("1", "Same"),
        ("2", "Payload"),
        ("3", "Cost"),
        ("4", "Only in B"),
    ]
    assert "no such step" in pairs[3][1]
    assert "first difference" in pairs[1][0]
    changes = [" ".join(item.get_text(" ").split()) for item in answer.main.select(".changes li")]
    assert changes == [
        "Removed /gone A true",
        "Added /new B [ 1 ]",
        'Changed /x/y A 1 B "</pre><script>alert(1)</script>\ufffd"',
    ]
    assert answer.main.select("script, [style]") == []
    assert answer.links["Swap A and B"] == f"/compare?a={b}&b={a}"
    again = await site.open("/compare")
    assert f"{a} and {b}" in again.text


async def test_other_pages_say_which_to_compare(site: Site, calls: Calls) -> None:
    _, a, b = await two_runs(calls)
    _, elsewhere = await calls.open()
    screen = await site.open(f"/compare?a={a}&b={elsewhere}")
    form = screen.form("/comparisons")
    checked = [box["value"] for box in form.select("input[checked]")]
    typed = {field["name"]: field["value"] for field in form.select("input[type=text]")}
    assert (checked, typed) == ([a], {"instance_a": "", "instance_b": elsewhere})
    answer = await site.post(
        "/comparisons", [("csrf_token", str(site.http.cookies["csrf_token"])), ("pick_a", a), ("instance_b", b)]
    )
    assert answer.title == f"{a} and {b}"


async def test_what_is_ignored_does_not_count(site: Site, calls: Calls) -> None:
    _, a, b = await two_runs(calls)
    token = ("csrf_token", str(site.http.cookies["csrf_token"]))
    given = [token, ("instance_a", a), ("instance_b", b)]
    answer = await site.post("/comparisons", [*given, ("ignore", "/x\n/gone\n\n/new")])
    assert "Payload" not in [row[3] for row in answer.rows(".aligned table") if len(row) == 4]
    refused = await site.post("/comparisons", [*given, ("ignore", "no pointer")])
    assert refused.status == 400
    area = refused.main.select_one("textarea[name=ignore]")
    assert area is not None
    assert (area["aria-invalid"], area.get_text().strip()) == ("true", "no pointer")
    assert "JSON pointers" in refused.text


@pytest.mark.parametrize(("a", "status"), [("", 400), ("dnothing1", 404), ("x" * 65, 400)])
async def test_what_is_not_there_is_told(site: Site, calls: Calls, a: str, status: int) -> None:
    _, instance_id = await calls.open()
    token = str(site.http.cookies["csrf_token"])
    answer = await site.post("/comparisons", [("csrf_token", token), ("instance_a", a), ("instance_b", instance_id)])
    assert answer.status == status
    assert answer.main.select_one("form.compare") is not None
    if status == 400:
        assert answer.main.select_one("[name=instance_a][aria-invalid]") is not None


async def test_only_differences_and_a_page_at_a_time(site: Site, calls: Calls) -> None:
    stages = [(str(number), {"n": number}) for number in range(1, PAGE + 6)]
    changed = [(path, {"n": -1} if path == str(PAGE + 2) else payload) for path, payload in stages]
    workflow_id = new_id()
    a, b = await run(calls, stages, workflow_id), await run(calls, changed, workflow_id)
    session_id = (await compare(calls, a, b))["session_id"]
    address = f"/comparisons/{session_id}"
    first = await site.open(address)
    assert len(first.main.select(".aligned tr.same")) == PAGE
    last = await site.open(first.links["Steps after"])
    assert f"{PAGE + 1} to {PAGE + 5} of {PAGE + 5}" in last.text
    assert first.links["Go there"] == f"{address}?from={PAGE}#pair-{PAGE + 1}"
    only = await site.open(first.links["Differences 1"])
    assert len(only.main.select(".aligned tr[id]")) == 1
    assert (await site.open(f"{address}?only=payload")).text.count("first difference") == 1
    assert "No step is like that" in (await site.open(f"{address}?only=added")).text


async def test_the_same_run_does_not_differ(site: Site, calls: Calls) -> None:
    _, a, _ = await two_runs(calls)
    session_id = (await compare(calls, a, a))["session_id"]
    assert "They do not differ" in (await site.open(f"/comparisons/{session_id}")).text


async def test_a_viewer_looks_and_does_not_compare(viewer: Site, calls: Calls) -> None:
    workflow_id, a, b = await two_runs(calls)
    session_id = (await compare(calls, a, b))["session_id"]
    assert (await viewer.open(f"/comparisons/{session_id}")).status == 200
    screen = await viewer.open(f"/compare?workflow={workflow_id}")
    assert screen.main.select("form[method=post]") == []
    token = str(viewer.http.cookies["csrf_token"])
    refused = await viewer.post("/comparisons", [("csrf_token", token), ("instance_a", a), ("instance_b", b)])
    assert refused.status == 403


async def test_nobody_sees_that_of_others(fresh: Site, calls: Calls) -> None:
    workflow_id, a, b = await two_runs(calls)
    session_id = (await compare(calls, a, b))["session_id"]
    assert (await fresh.open(f"/comparisons/{session_id}")).status == 403
    assert (await fresh.open("/comparisons/nothing")).status == 404
    assert (await fresh.open(f"/compare?workflow={workflow_id}")).status == 403
    empty = await fresh.open(f"/compare?a={a}")
    assert (empty.status, "There is nothing to compare yet" in empty.text) == (200, True)
    token = str(fresh.http.cookies["csrf_token"])
    refused = await fresh.post("/comparisons", [("csrf_token", token), ("instance_a", a), ("instance_b", b)])
    assert refused.status == 403
