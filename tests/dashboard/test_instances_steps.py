"""The steps of an instance: all of them in a list, each with its payload, which is never anything but text."""

import json
from typing import Any

import pytest

from api.dashboard.instance_steps import ALL, LONG, PAGE
from api.dashboard.payloads import body_of, indented
from tests.api.calls import Calls
from tests.dashboard.instance_calls import agents_at_work
from tests.support.dashboard import Screen, Site

HOSTILE = "</pre><script>alert(1)</script><img src=x onerror=alert(1)>"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('{"a":1}', '{\n  "a": 1\n}'),
        ("[]", "[]"),
        ('{"a":{},"b":[]}', '{\n  "a": {},\n  "b": []\n}'),
        ('[1,[2,{"x":null}]]', '[\n  1,\n  [\n    2,\n    {\n      "x": null\n    }\n  ]\n]'),
        ('{"n":123456789012345678901234567890.10}', '{\n  "n": 123456789012345678901234567890.10\n}'),
        ('{"text":"a, {b}: [c] \\"d\\" \\\\"}', '{\n  "text": "a, {b}: [c] \\"d\\" \\\\"\n}'),
        ('{"umlaut":"\\u00fc","half":"\\ud800"}', '{\n  "umlaut": "ü",\n  "half": "\\ud800"\n}'),
        (' { "a" : [ 1 , 2 ] } ', '{\n  "a": [\n    1,\n    2\n  ]\n}'),
    ],
)
def test_json_has_a_line_for_each_member_and_is_else_as_it_was_sent(text: str, shown: str) -> None:
    body = body_of(text, 1_000)
    assert body is not None
    assert (body.text, body.is_json, body.is_cut, body.is_deceptive) == (shown, True, False, False)
    assert json.loads(shown) == json.loads(text)


def test_text_is_shown_as_it_was_sent() -> None:
    body = body_of(json.dumps("one\ntwo \u202e <b>"), 100)
    assert body is not None
    assert (body.text, body.is_json, body.is_deceptive) == ("one\ntwo \u202e <b>", False, True)
    assert body_of(None, 100) is None


def test_what_is_long_or_deep_is_cut_before_it_takes_long() -> None:
    deep = "[" * 5_000 + "]" * 5_000
    cut = body_of(deep, 1_000)
    assert cut is not None
    assert (len(cut.text), cut.is_cut, cut.size) == (1_000, True, 10_000)
    assert len(indented(json.dumps(list(range(100_000))), 1_000)) < 1_100
    whole = body_of(json.dumps("x" * ALL), ALL)
    assert whole is not None
    assert (len(whole.text), whole.is_cut) == (ALL, False)
    assert max(map(len, indented(deep[:600], 10**6).splitlines())) <= 100


def payload_of(screen: Screen) -> str:
    shown = screen.main.select_one("#payload")
    assert shown is not None, screen.text
    return shown.get_text()


async def step_with(site: Site, calls: Calls, body: Any, query: str = "", **headers: str) -> tuple[str, Screen]:
    """Of a new instance whose second step carries `body`."""
    workflow_id, instance_id = await calls.open()
    content = body if isinstance(body, str) else json.dumps(body)
    kind = headers or {"content-type": "application/json"}
    answer = await calls.http.post(f"/dhk/{workflow_id}?stagePath=2", content=content.encode(), headers=kind)
    assert answer.status_code == 200, answer.text
    address = f"/instances/{instance_id}/steps/1"
    return address, await site.open(address + query)


async def test_a_step_shows_what_its_ping_carried(site: Site, calls: Calls) -> None:
    _, instance_id = await agents_at_work(calls)
    screen = await site.open(f"/instances/{instance_id}/steps/1")
    assert screen.title == f"Step 2 of {instance_id}"
    assert '"lines": 12' in payload_of(screen)
    assert "Cost $0.20 $0.30 so far" in screen.text
    assert screen.links["Fork from here"] == f"/instances/{instance_id}/go-on?stage=2.1"
    assert (screen.links["Previous step"][-1], screen.links["Next step"][-1]) == ("0", "2")
    assert "carried no payload" in (await step_without_payload(site, calls)).text


async def step_without_payload(site: Site, calls: Calls) -> Screen:
    _, instance_id = await calls.open()
    return await site.open(f"/instances/{instance_id}/steps/0")


async def test_a_payload_is_never_html(site: Site, calls: Calls) -> None:
    _, screen = await step_with(site, calls, {HOSTILE: HOSTILE, "around": "abc\u202edef\x07"})
    assert json.loads(payload_of(screen)) == {HOSTILE: HOSTILE, "around": "abc\ufffddef\x07"}
    assert screen.main.select("script, img") == []
    assert "\u202e" not in screen.response.text
    assert "Holds characters that cannot be seen" in screen.text
    assert "script-src 'self';" in screen.response.headers["content-security-policy"]


async def test_text_is_told_apart_from_json(site: Site, calls: Calls) -> None:
    _, screen = await step_with(site, calls, HOSTILE + "\nsecond line", **{"content-type": "text/plain"})
    assert payload_of(screen) == HOSTILE + "\nsecond line"
    assert "Text, as it was sent" in screen.text


async def test_big_payloads_are_cut_until_all_is_asked_for(site: Site, calls: Calls) -> None:
    address, screen = await step_with(site, calls, {"big": "x" * 60_000, "deep": json.loads("[" * 30 + "]" * 30)})
    assert len(payload_of(screen)) == LONG + 1
    assert screen.links["Show all"] == f"{address}?all=yes"
    whole = await site.open(f"{address}?all=yes")
    assert json.loads(payload_of(whole))["big"] == "x" * 60_000
    assert "Show all" not in whole.links
    beside = await site.open(address.replace("/steps/1", "?step=1"))
    assert beside.links["Show all"] == address


async def test_steps_that_are_not_there(site: Site, calls: Calls) -> None:
    _, instance_id = await calls.open()
    for number in ("1", "-1", "x", "99999999999", "²"):
        assert (await site.open(f"/instances/{instance_id}/steps/{number}")).status == 404


async def test_a_rejected_step_says_why(site: Site, calls: Calls) -> None:
    workflow_id = await calls.define(validation_mode="strict")
    instance_id = (await calls.static(workflow_id, 1, agent="a"))["instance_id"]
    await calls.static(workflow_id, 3, 400, agent="a")
    screen = await site.open(f"/instances/{instance_id}/timeline")
    rejected = screen.main.select_one(".rejected")
    assert rejected is not None
    assert "Stage 3 came before stage 2" in rejected.get_text()
    then = await site.open(f"/instances/{instance_id}?step=1")
    assert "Rejected Stage 3 came before stage 2" in then.text
    assert "Stage 2 was expected" in then.text
    assert "Fork from here" not in then.links
    assert "1 rejected" in then.text


async def test_all_steps_are_listed_with_what_happened_between_them(site: Site, calls: Calls) -> None:
    _, instance_id = await agents_at_work(calls)
    await calls.settled(instance_id, "failed")
    screen = await site.open(f"/instances/{instance_id}/timeline")
    items = [" ".join(item.get_text(" ").split()) for item in screen.main.select(".timeline > li")]
    assert items[0].startswith("1 1 Plan Success")
    assert any(item.startswith("The instance became running") for item in items)
    assert any("The instance went from running to failed : Stage 2.2 failed" in item for item in items)
    assert len(screen.main.select(".timeline .one")) == 4


async def test_a_long_timeline_pages(fresh: Site, fresh_calls: Calls) -> None:
    workflow_id, instance_id = await fresh_calls.open()
    for number in range(PAGE + 4):
        await fresh_calls.dynamic(workflow_id, number % 3 + 1)
    first = await fresh.open(f"/instances/{instance_id}/timeline")
    assert f"Steps 1 to {PAGE} of {PAGE + 5}" in first.text
    last = await fresh.open(first.links["Later steps"])
    assert f"Steps {PAGE + 1} to {PAGE + 5} of {PAGE + 5}" in last.text
    assert last.links["Earlier steps"].endswith("from=0")
    assert "No steps yet" in (await fresh.open(f"/instances/{instance_id}/timeline?from=1000")).text
