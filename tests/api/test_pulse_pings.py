"""Pings of pulses, as callers send them."""

import asyncio
from datetime import datetime
from typing import Any

import pytest
from sqlalchemy import select

from domain.subjects import pulse_subject
from storage.alerts import AlertRow
from storage.base import Sessions
from tests.api.calls import Calls, new_id
from tests.api.pulse_calls import create, patch, read, recorded
from tests.api.test_errors import fields, problem
from tests.support.waiting import until


async def pings(calls: Calls, pulse_id: str, **params: Any) -> list[dict[str, Any]]:
    """The newest first."""
    return list((await calls.get(f"/api/pulses/{pulse_id}/pings", **params))["pings"])


async def events(calls: Calls, pulse_id: str) -> list[str]:
    """Those of its pings, the oldest first."""
    return [ping["event"] for ping in reversed(await pings(calls, pulse_id))]


async def alerts(sessions: Sessions, pulse_id: str) -> list[AlertRow]:
    async with sessions() as session:
        query = select(AlertRow).where(AlertRow.subject == pulse_subject(pulse_id)).order_by(AlertRow.created_at)
        return list(await session.scalars(query))


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_every_address_of_a_ping(ours: Calls, method: str) -> None:
    slug = new_id("slug")
    pulse_id = (await create(ours, slug=slug))["id"]
    for name in (pulse_id, slug):
        for path in ("/hbk/{}", "/hhk/{}", "/hb/{}/ping", "/hbk/{}/start", "/hhk/{}/fail", "/hb/{}/log"):
            response = await ours.http.request(method, path.format(name))
            assert response.status_code == 200, response.text
            assert (response.json()["status"], response.json()["target_id"]) == ("success", pulse_id)
    assert await events(ours, pulse_id) == ["success", "success", "success", "start", "fail", "log"] * 2


@pytest.mark.parametrize(
    ("status", "event"),
    [
        ("success", "success"),
        ("ok", "success"),
        ("0", "success"),
        ("", "success"),
        ("failed", "fail"),
        ("error", "fail"),
        ("1", "fail"),
        ("137", "fail"),
        ("-9", "fail"),
    ],
)
async def test_a_status_is_a_word_or_an_exit_code(ours: Calls, status: str, event: str) -> None:
    pulse_id = (await create(ours))["id"]
    await ours.get(f"/hbk/{pulse_id}", status=status)
    await ours.post(f"/hbk/{pulse_id}", {"status": status})
    await ours.post(f"/hbk/{pulse_id}", {"exit_code": int(status) if status.lstrip("-").isdecimal() else status})
    assert await events(ours, pulse_id) == [event] * 3
    assert (await read(ours, pulse_id))["status"] == ("up" if event == "success" else "down")


async def test_what_comes_along_is_kept(ours: Calls) -> None:
    pulse_id = (await create(ours))["id"]
    path = f"/hbk/{pulse_id}"
    payload = {"rows": 10**20, "nested": {"ü": [1, None, 2.5]}, "duration": 12.5}
    await ours.post(path, payload, agent="robot-7")
    await ours.http.post(path, content="Zeile 1\nZeile 2 ✓".encode())
    await ours.post(f"{path}/fail", {"error": "disk full", "rid": "a"})
    failed, text, plain = await pings(ours, pulse_id)
    assert (plain["payload"], plain["text"], plain["agent"]) == (payload, None, "robot-7")
    assert (plain["duration_seconds"], plain["size_bytes"] > 50, plain["rid"]) == (12.5, True, None)
    assert (text["payload"], text["text"], text["size_bytes"]) == (None, "Zeile 1\nZeile 2 ✓", 19)
    assert (failed["event"], failed["status"], failed["error"], failed["rid"]) == ("fail", "failed", "disk full", "a")
    assert (await read(ours, pulse_id))["reason"] == "disk full"
    assert datetime.fromisoformat(failed["received_at"]) >= datetime.fromisoformat(text["received_at"])


async def test_keywords_decide_what_a_plain_ping_means(ours: Calls) -> None:
    rules = {"success_keywords": ["done"], "failure_keywords": ["error"]}
    pulse_id = (await create(ours, **rules))["id"]
    for body in ("All DONE", "done with 1 error", "half way", '{"result": "done"}', '{"result": "Error"}'):
        await ours.http.post(f"/hbk/{pulse_id}", content=body)
    await ours.http.post(f"/hbk/{pulse_id}?status=ok", content="error")
    await ours.http.post(f"/hbk/{pulse_id}/fail", content="done")
    await ours.get(f"/hbk/{pulse_id}")
    assert await events(ours, pulse_id) == ["success", "fail", "log", "success", "fail", "success", "fail", "success"]
    assert [ping["text"] for ping in await pings(ours, pulse_id, event="log")] == ["half way"]
    await patch(ours, pulse_id, success_keywords=[], failure_keywords=["half"])
    await ours.http.post(f"/hbk/{pulse_id}", content="half way, error")
    await ours.http.post(f"/hbk/{pulse_id}", content="error")
    assert (await events(ours, pulse_id))[-2:] == ["fail", "success"]


async def test_the_answer_and_the_reason_say_how_the_ping_was_understood(ours: Calls) -> None:
    pulse_id = (await create(ours, failure_keywords=["error"]))["id"]
    answer = (await ours.http.post(f"/hbk/{pulse_id}", content="1 error: disk full")).json()
    assert answer["event"] == "fail"
    assert (await read(ours, pulse_id))["reason"] == "1 error: disk full"
    assert (await ours.get(f"/hbk/{pulse_id}", status=0))["event"] == "success"
    assert (await ours.get(f"/hbk/{pulse_id}", status=3))["event"] == "fail"
    await ours.get(f"/hbk/{pulse_id}")
    await ours.http.post(f"/hbk/{pulse_id}/fail", content="no space left")
    assert (await read(ours, pulse_id))["reason"] == "no space left"


async def test_pings_page_by_page(ours: Calls) -> None:
    pulse_id = (await create(ours))["id"]
    for number in range(5):
        await ours.post(f"/hbk/{pulse_id}{'/fail' if number % 2 else ''}", {"number": number})
    seen: list[int] = []
    cursor = ""
    while cursor is not None:
        page = await ours.get(f"/api/pulses/{pulse_id}/pings", limit=2, cursor=cursor)
        seen += [ping["payload"]["number"] for ping in page["pings"]]
        cursor = page["next_cursor"]
    assert seen == [4, 3, 2, 1, 0]
    assert [ping["payload"]["number"] for ping in await pings(ours, pulse_id, event="fail")] == [3, 1]
    problem(await ours.http.get(f"/api/pulses/{pulse_id}/pings?event=boom"), 400, "invalid_request")


async def test_a_ping_may_create_its_pulse(ours: Calls) -> None:
    slug = new_id("made")
    problem(await ours.http.get(f"/hbk/{slug}"), 404, "not_found")
    answer = await ours.get(f"/hbk/{slug}", create=1, period=60, grace=0)
    pulse = await read(ours, slug)
    assert (pulse["id"], pulse["name"], pulse["period_seconds"]) == (answer["target_id"], slug, 60)
    assert (pulse["grace_seconds"], pulse["status"]) == (0, "up")
    await ours.get(f"/hbk/{slug}", create=1, period=5)
    assert (await read(ours, slug))["period_seconds"] == 60
    default = await ours.post(f"/hbk/{new_id('made')}/start", {"create": True})
    pulse = await read(ours, default["target_id"])
    assert (pulse["period_seconds"], pulse["grace_seconds"], len(pulse["running"])) == (86_400, 300, 1)
    longest = await ours.get(f"/hbk/{new_id('x') + 'x' * 114}", create=1)
    assert (await patch(ours, longest["target_id"], grace_seconds=1))["grace_seconds"] == 1
    for params, field in (({"period": 0.5}, "period"), ({"grace": -1}, "grace"), ({"period": "nan"}, "period")):
        response = await ours.http.get(f"/hbk/{new_id('made')}", params={"create": 1, **params})
        assert fields(problem(response, 400, "invalid_request")) == [field]
    response = await ours.http.get("/hbk/Not-A-Slug", params={"create": 1})
    assert fields(problem(response, 400, "invalid_request")) == ["target"]


async def test_many_at_once_make_one_pulse(ours: Calls, ours_elsewhere: Calls) -> None:
    slug = new_id("made")
    answers = await asyncio.gather(
        *(calls.get(f"/hbk/{slug}", create=1, period=60) for calls in (ours, ours_elsewhere) * 10)
    )
    assert len({answer["target_id"] for answer in answers}) == 1
    assert len((await ours.get("/api/pulses", q=slug))["pulses"]) == 1
    assert await events(ours, slug) == ["success"] * 20


async def test_what_is_unknown_foreign_or_deleted(ours: Calls, theirs: Calls) -> None:
    slug = new_id("slug")
    pulse_id = (await create(ours, slug=slug))["id"]
    await ours.get(f"/hbk/{slug}")
    problem(await theirs.http.get(f"/hbk/{pulse_id}"), 403, "forbidden")
    problem(await theirs.http.get(f"/hbk/{slug}"), 404, "not_found")
    problem(await ours.http.get(f"/hbk/{new_id()}"), 404, "not_found")
    problem(await ours.http.get(f"/hbk/{slug}", headers={"X-API-Key": "ppk_wrong"}), 401, "unauthenticated")
    problem(await ours.http.get("/hbk/a%00"), 400, "invalid_request")
    assert len(await pings(ours, pulse_id)) == 1
    await ours.http.delete(f"/api/pulses/{pulse_id}")
    for name in (slug, pulse_id):
        problem(await ours.http.get(f"/hbk/{name}"), 404, "not_found")
        problem(await ours.http.get(f"/hbk/{name}/start"), 404, "not_found")
    assert (await ours.get(f"/hbk/{slug}", create=1))["target_id"] != pulse_id


async def test_a_slug_that_moves_takes_its_pings_along(ours: Calls, ours_elsewhere: Calls) -> None:
    """Gateways remember where a slug has led."""
    old, new = new_id("slug"), new_id("slug")
    first = (await create(ours, slug=old))["id"]
    for calls in (ours, ours_elsewhere):
        assert (await calls.get(f"/hbk/{old}"))["target_id"] == first
    await patch(ours, first, slug=new)
    for calls in (ours, ours_elsewhere):
        problem(await calls.http.get(f"/hbk/{old}"), 404, "not_found")
        assert (await calls.get(f"/hbk/{new}"))["target_id"] == first
    second = (await create(ours, slug=old))["id"]
    for calls in (ours, ours_elsewhere):
        assert (await calls.get(f"/hbk/{old}"))["target_id"] == second
    assert (len(await pings(ours, first)), len(await pings(ours, second))) == (4, 2)


async def test_looking_is_not_pinging(ours: Calls) -> None:
    pulse_id = (await create(ours))["id"]
    for path in (f"/hbk/{pulse_id}", f"/hb/{pulse_id}/ping", f"/hbk/{pulse_id}/fail"):
        for method in ("OPTIONS", "HEAD", "PUT", "DELETE"):
            response = await ours.http.request(method, path)
            assert response.status_code in (204, 405), (method, response.status_code)
    assert await pings(ours, pulse_id) == []
    assert (await read(ours, pulse_id))["status"] == "new"


async def test_an_idempotency_key_counts_once(ours: Calls, ours_elsewhere: Calls) -> None:
    pulse_id = (await create(ours))["id"]
    headers = {"Idempotency-Key": new_id("key")}
    answers = await asyncio.gather(
        *(calls.http.post(f"/hbk/{pulse_id}/fail", headers=headers) for calls in (ours, ours_elsewhere) * 3)
    )
    assert {answer.text for answer in answers} == {answers[0].text}
    assert answers[0].json() == {"status": "success", "target_id": pulse_id, "event": "fail"}
    problem(await ours.http.post(f"/hbk/{pulse_id}", headers=headers), 409, "conflict")
    assert await events(ours, pulse_id) == ["fail"]
    assert (await read(ours, pulse_id))["consecutive_failures"] == 1


async def test_runs_take_as_long_as_from_start_to_end(ours: Calls) -> None:
    pulse_id = (await create(ours))["id"]
    path = f"/hbk/{pulse_id}"
    await ours.get(f"{path}/start")
    for rid in "ab":
        await ours.get(f"{path}/start", rid=rid)
    assert [run["rid"] for run in (await read(ours, pulse_id))["running"]] == [None, "a", "b"]
    await ours.get(path, rid="b")
    await ours.http.post(f"{path}/log", content="still at it")
    await ours.get(path)
    await ours.get(f"{path}/fail", rid="a")
    await ours.get(path)
    shown, listed = await read(ours, pulse_id), await pings(ours, pulse_id)
    assert (shown["running"], shown["status"]) == ([], "up")
    at = [datetime.fromisoformat(ping["received_at"]) for ping in listed]
    durations = [(at[end] - at[start]).total_seconds() for end, start in ((1, 6), (2, 7), (4, 5))]
    assert [ping["duration_seconds"] for ping in listed] == [None, *durations[:2], None, durations[2], *[None] * 3]
    assert shown["last_duration_seconds"] == pytest.approx(durations[0], abs=0.001)


async def test_a_run_that_is_not_over_in_time_takes_its_pulse_down(ours: Calls) -> None:
    pulse_id = (await create(ours, max_duration_seconds=0.5))["id"]
    await ours.get(f"/hbk/{pulse_id}/start", rid="hung")
    await ours.get(f"/hbk/{pulse_id}/start", rid="good")
    await ours.get(f"/hbk/{pulse_id}", rid="good")
    down, _ = await recorded(ours, pulse_id, "up", "down")
    assert down["reason"].startswith("run hung started at")


async def test_durations_have_bounds(ours: Calls) -> None:
    pulse_id = (await create(ours, min_duration_seconds=5, max_duration_seconds=10))["id"]
    for seconds, status in ((7, "up"), (1, "down"), (10, "up"), (11, "down")):
        await ours.post(f"/hbk/{pulse_id}", {"duration": seconds})
        shown = await read(ours, pulse_id)
        assert (shown["status"], shown["last_duration_seconds"]) == (status, seconds)
    assert shown["reason"] == "ran 11 s, longer than 10 s"


async def test_a_failure_is_down_at_once_and_told(ours: Calls, sessions: Sessions) -> None:
    pulse_id = (await create(ours, tags=["db"]))["id"]
    await ours.get(f"/hbk/{pulse_id}")
    await ours.post(f"/hbk/{pulse_id}/fail", {"error": "disk full"})
    assert (await read(ours, pulse_id))["status"] == "down"

    async def are_told(count: int) -> list[AlertRow] | None:
        rows = await alerts(sessions, pulse_id)
        return rows if len(rows) == count else None

    (down,) = await until(lambda: are_told(1))
    assert (down.kind, down.reason, down.tags, down.resolves) == ("pulse_down", "disk full", ["db"], False)
    await ours.get(f"/hbk/{pulse_id}/fail")
    await ours.get(f"/hbk/{pulse_id}")
    assert (await read(ours, pulse_id))["status"] == "up"
    _, recovered = await until(lambda: are_told(2))
    assert (recovered.kind, recovered.trouble, recovered.resolves) == ("pulse_recovered", down.trouble, True)
    listed = await ours.get("/api/alerts", subject=pulse_subject(pulse_id))
    assert [alert["id"] for alert in listed["alerts"]] == [recovered.id, down.id]


async def test_so_many_failures_in_a_row_as_asked_for(ours: Calls) -> None:
    pulse_id = (await create(ours, alert_after=3))["id"]
    path = f"/hbk/{pulse_id}"
    for failed, status, failures in (
        (True, "up", 1),
        (True, "up", 2),
        (False, "up", 0),
        (True, "up", 1),
        (True, "up", 2),
        (True, "down", 3),
    ):
        await ours.get(f"{path}/fail" if failed else path)
        shown = await read(ours, pulse_id)
        assert (shown["status"], shown["consecutive_failures"]) == (status, failures)


async def test_silence_is_noticed(ours: Calls, sessions: Sessions) -> None:
    pulse_id = (await create(ours, period_seconds=1, grace_seconds=1, notify_late=True))["id"]
    await ours.get(f"/hbk/{pulse_id}")
    (ping,) = await pings(ours, pulse_id)
    down, late, _ = await recorded(ours, pulse_id, "up", "late", "down")
    last_at, late_at, down_at = (
        datetime.fromisoformat(moment) for moment in (ping["received_at"], late["at"], down["at"])
    )
    assert ((late_at - last_at).total_seconds(), (down_at - last_at).total_seconds()) == (1, 2)
    assert [row.kind for row in await alerts(sessions, pulse_id)] == ["pulse_late", "pulse_down"]
    assert (await ours.get(f"/api/pulses/{pulse_id}/uptime"))["downtimes"][0]["reason"] == down["reason"]


async def test_maintenance_keeps_silent(ours: Calls, sessions: Sessions) -> None:
    window = {"starts_at": "2026-01-01T00:00:00Z", "ends_at": "2199-01-01T00:00:00Z"}
    pulse_id = (await create(ours, maintenance=[window]))["id"]
    await ours.get(f"/hbk/{pulse_id}")
    await ours.get(f"/hbk/{pulse_id}/fail")
    await recorded(ours, pulse_id, "up")
    shown = await read(ours, pulse_id)
    assert (shown["status"], shown["next_due_at"]) == ("up", "2199-01-01T00:00:00Z")
    assert await alerts(sessions, pulse_id) == []
