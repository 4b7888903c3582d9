"""Pings whose bodies are forms, as curl -d sends them, and what a ping cannot say."""

from typing import Any

import pytest

from tests.api.calls import Calls, new_id
from tests.api.pulse_calls import create
from tests.api.test_errors import fields, problem
from tests.api.test_process_hooks import define, run_of, start
from tests.api.test_pulse_pings import pings

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


async def post_form(calls: Calls, path: str, body: str, content_type: str = FORM["Content-Type"]) -> dict[str, Any]:
    response = await calls.http.post(path, content=body.encode(), headers={"Content-Type": content_type})
    assert response.status_code == 200, response.text
    return dict(response.json())


@pytest.mark.parametrize(
    ("body", "event", "payload"),
    [
        ("status=1", "fail", {"status": "1"}),
        ("status=0", "success", {"status": "0"}),
        ("exit_code=137", "fail", {"exit_code": "137"}),
        ("status=failed&error=disk+full%21", "fail", {"status": "failed", "error": "disk full!"}),
        ("status=1&status=0", "fail", {"status": "1"}),
        ("status=", "success", {"status": ""}),
        ("rid=7", "success", None),
    ],
)
async def test_a_form_of_parameters_is_read(ours: Calls, body: str, event: str, payload: dict[str, Any] | None) -> None:
    pulse_id = (await create(ours))["id"]
    await post_form(ours, f"/hbk/{pulse_id}", body, "application/x-www-form-urlencoded; charset=utf-8")
    [ping] = await pings(ours, pulse_id)
    assert (ping["event"], ping["payload"], ping["text"]) == (event, payload, None)


@pytest.mark.parametrize(
    "body",
    ["disk full", "result=ok", "status=1&result=ok", "message=disk full", "status=1&", "status=%ff", "{status=1"],
)
async def test_any_other_form_is_text(ours: Calls, body: str) -> None:
    pulse_id = (await create(ours))["id"]
    await post_form(ours, f"/hbk/{pulse_id}", body)
    [ping] = await pings(ours, pulse_id)
    assert (ping["event"], ping["payload"], ping["text"]) == ("success", None, body)


async def test_what_is_not_said_to_be_a_form_is_text(ours: Calls) -> None:
    pulse_id = (await create(ours))["id"]
    await post_form(ours, f"/hbk/{pulse_id}", "status=1", "text/plain")
    assert [(ping["event"], ping["text"]) for ping in await pings(ours, pulse_id)] == [("success", "status=1")]


async def test_a_form_names_the_run_that_it_ends(ours: Calls) -> None:
    hook = await define(ours)
    first, second = await start(ours, hook), await start(ours, hook)
    assert (await post_form(ours, f"/phk/{hook['id']}/finish", f"run_id={first}"))["run_id"] == first
    assert (await run_of(ours, hook, second))["status"] == "running"


@pytest.mark.parametrize("name", ["cron", "timezone"])
@pytest.mark.parametrize("where", ["params", "json", "data"])
async def test_a_ping_cannot_give_a_cron(ours: Calls, name: str, where: str) -> None:
    slug = new_id("nightly").replace("_", "-")
    said: dict[str, Any] = {where: {"create": "1", name: "UTC"}}
    refused = await ours.http.post(f"/hbk/{slug}", **said)
    found = problem(refused, 400, "invalid_request")
    assert fields(found) == ["cron"]
    assert "POST /api/pulses" in found["detail"]
    assert (await ours.http.get(f"/api/pulses/{slug}")).status_code == 404


async def test_bounds_are_told_in_plain_numbers(ours: Calls) -> None:
    refused = await ours.http.get("/hbk/nightly", params={"create": "1", "period": "1e12"})
    assert "must be a number from 1 to 31622400" in problem(refused, 400, "invalid_request")["detail"]
