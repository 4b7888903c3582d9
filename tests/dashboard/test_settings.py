"""Account, prices and retention, as somebody without scripts sets them."""

from datetime import timedelta

import pytest

from config.clock import utc_now
from storage.base import Sessions, transaction
from storage.instances import Instance
from storage.retention import get_retention
from storage.workflows import Workflow, columns_of
from tests.api.calls import Calls
from tests.support.dashboard import Screen, Site, fields_of, site_of

HOSTILE = "<script>alert(1)</script>\u202e & " + "x" * 100


async def test_the_settings_begin_with_the_account(site: Site) -> None:
    assert (await site.http.get("/settings")).headers["location"] == "/settings/account"
    screen = await site.open("/settings/account")
    assert (screen.status, screen.path, screen.title) == (200, "/settings/account", "Account")
    assert (
        screen.links
        | {
            "Account": "/settings/account",
            "Prices": "/settings/prices",
            "Retention": "/settings/retention",
            "Status page": "/settings/status",
        }
        == screen.links
    )
    assert site.account_id in screen.text


async def test_name_and_time_zone_are_changed(fresh: Site, fresh_calls: Calls) -> None:
    screen = await fresh.open("/settings/account")
    assert len(screen.main.select("datalist option")) > 300
    changed = await fresh.submit(screen, "/settings/account", name=HOSTILE, time_zone=" Asia/Kathmandu ")
    assert changed.said == "The account was changed."
    account = await fresh_calls.get("/api/account")
    assert (account["name"], account["time_zone"]) == (HOSTILE, "Asia/Kathmandu")
    assert "<script>alert" not in changed.response.text
    assert "Asia/Kathmandu" in changed.text


@pytest.mark.parametrize(("field", "value"), [("time_zone", "Mars/Olympus"), ("time_zone", ""), ("name", "  ")])
async def test_what_is_wrong_is_marked(site: Site, field: str, value: str) -> None:
    screen = await site.open("/settings/account")
    refused = await site.submit(screen, "/settings/account", **{"name": "other", field: value})
    assert refused.status == 400
    assert refused.main.select_one(f"#f-{field}-wrong")
    control = refused.main.select_one(f"#f-{field}")
    assert control is not None
    assert (control["aria-invalid"], control["value"]) == ("true", value)


@pytest.mark.parametrize("page", ["account", "prices", "retention", "status"])
async def test_viewers_look_and_change_nothing(viewer: Site, page: str) -> None:
    screen = await viewer.open(f"/settings/{page}")
    assert screen.status == 200
    assert [form["action"] for form in screen.main.select('form[method="post"]')] == []
    token = screen.soup.select_one("[name=csrf_token]")
    assert token is not None
    refused = await viewer.post(f"/settings/{page}", [("csrf_token", str(token["value"]))])
    assert refused.status == 403
    assert (await viewer.post(f"/settings/{page}", [("csrf_token", "wrong")])).status == 403


async def test_prices_are_set_changed_and_removed(fresh: Site, fresh_calls: Calls) -> None:
    screen = await fresh.open("/settings/prices")
    assert "There are none" in screen.text
    rates = {"input_per_million": "2.5", "output_per_million": "10"}
    screen = await fresh.submit(screen, "/settings/prices", model="House-*", **rates, valid_from="2026-02-01")
    assert screen.said.startswith("The price holds")
    assert screen.rows() == [["House-*", "$2.5", "$10", "–", "1 Feb 2026", "Change House-* Remove"]]
    screen = await fresh.open(screen.links["Change House-*"].partition("#")[0])
    screen = await fresh.submit(screen, "/settings/prices", cached_per_million="1")
    assert screen.said.startswith("The price was replaced")
    (price,) = (await fresh_calls.get("/api/prices"))["prices"]
    assert (price["model"], price["cached_per_million"], price["valid_from"]) == ("House-*", 1, "2026-02-01T00:00:00Z")
    look = await fresh.open("/settings/prices?look_up=house-7b")
    assert "Input $2.5 per million, your own price" in look.text
    screen = await fresh.submit(screen, f"/settings/prices/{price['id']}/remove")
    assert screen.said.startswith("The price was removed")
    assert (await fresh_calls.get("/api/prices"))["prices"] == []


async def test_a_day_is_midnight_in_the_account_s_zone(fresh: Site, fresh_calls: Calls) -> None:
    await fresh_calls.http.patch("/api/account", json={"time_zone": "Asia/Kathmandu"})
    screen = await fresh.open("/settings/prices?model=m")
    screen = await fresh.submit(
        screen, "/settings/prices", input_per_million="1", output_per_million="1", valid_from="2026-02-01"
    )
    (price,) = (await fresh_calls.get("/api/prices"))["prices"]
    assert (price["model"], price["valid_from"]) == ("m", "2026-01-31T18:15:00Z")
    edit = await fresh.open(f"/settings/prices?edit={price['id']}")
    day = edit.main.select_one("#f-valid_from")
    assert day is not None
    assert day["value"] == "2026-02-01"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("model", ""),
        ("model", "a*b"),
        ("input_per_million", "-1"),
        ("input_per_million", "much"),
        ("output_per_million", ""),
        ("cached_per_million", "5"),
        ("valid_from", "tomorrow"),
        ("valid_from", "0001-01-01"),
    ],
)
async def test_a_price_that_makes_no_sense_is_marked(site: Site, field: str, value: str) -> None:
    values = {"model": "m", "input_per_million": "1", "output_per_million": "1", field: value}
    refused = await site.submit(await site.open("/settings/prices"), "/settings/prices", **values)
    assert refused.status == 400
    assert [problem["id"] for problem in refused.main.select(".problem")] == [f"f-{field}-wrong"]
    assert "There are none" in refused.text


async def test_unpriced_models_fill_the_form(fresh: Site, fresh_calls: Calls) -> None:
    body = {"model": "house-7b<b>", "usage": {"input_tokens": 1000, "output_tokens": 500}}
    for number in range(2):
        params = {"stagePath": str(number + 1), "start": "yes"}
        (await fresh_calls.http.post("/dhk/house-work", params=params, json=body)).raise_for_status()
    screen = await fresh.open("/settings/prices")
    assert "house-7b<b> 2 pings, 3,000 tokens" in screen.text
    filled = await fresh.open(screen.links["Set its price house-7b<b>"].partition("#")[0])
    field = filled.main.select_one("#f-model")
    assert field is not None
    assert field["value"] == "house-7b<b>"


async def test_prices_of_others_cannot_be_removed(fresh: Site, site: Site, calls: Calls) -> None:
    made = await calls.http.put("/api/prices", json={"model": "x", "input_per_million": 1, "output_per_million": 1})
    price_id = made.json()["id"]
    screen = await fresh.open("/settings/prices")
    token = screen.soup.select_one("[name=csrf_token]")
    assert token is not None
    refused = await fresh.post(f"/settings/prices/{price_id}/remove", [("csrf_token", str(token["value"]))])
    assert refused.status == 403
    assert price_id in [price["id"] for price in (await calls.get("/api/prices"))["prices"]]
    await calls.http.delete(f"/api/prices/{price_id}")


async def old_instance(sessions: Sessions, account_id: str, workflow_id: str, days: int) -> str:
    at, id_ = utc_now() - timedelta(days=days), f"dold{days:05d}"
    async with transaction(sessions) as session:
        workflow = await session.get_one(Workflow, workflow_id)
        session.add(
            Instance(
                id=id_,
                workflow_id=workflow_id,
                account_id=account_id,
                status="completed",
                opened_at=at,
                completed_at=at,
                closes_at=at,
                first_stage_seen=True,
                definition=columns_of(workflow.definition()),
                version=1,
            )
        )
    return id_


async def preview(site: Site, screen: Screen, days: str) -> Screen:
    """By the other button of the form."""
    fields = dict(fields_of(screen.form("/settings/retention")))
    return await site.post("/settings/retention/preview", [*(fields | {"keep_days": days}).items()])


async def test_retention_is_previewed_and_then_set(fresh: Site, fresh_calls: Calls, sessions: Sessions) -> None:
    workflow_id, open_id = await fresh_calls.open()
    old = await old_instance(sessions, fresh.account_id, workflow_id, 40)
    screen = await fresh.open("/settings/retention")
    assert "everything is kept for good" in screen.text
    seen = await preview(fresh, screen, "30")
    assert seen.rows()[0] == ["Finished instances, with all that belongs to them", "1"]
    assert seen.rows()[-1][1] == "kept for good"
    unsure = await fresh.submit(seen, "/settings/retention", keep_days="30")
    assert (unsure.status, "has to be ticked" in unsure.text) == (400, True)
    async with sessions() as session:
        assert await get_retention(session, fresh.account_id) is None
    saved = await fresh.submit(unsure, "/settings/retention", keep_days="30", sure="yes")
    assert saved.said == "Saved. It holds from now on."
    assert (await fresh_calls.get("/api/account/retention"))["keep_days"] == 30
    assert (await fresh_calls.http.get(f"/api/instances/{open_id}")).status_code != 404
    assert old
    off = await fresh.submit(saved, "/settings/retention", keep_days="")
    assert "everything is kept for good" in off.text


@pytest.mark.parametrize("days", ["6", "0", "-1", "3661", "many", "7.5"])
@pytest.mark.parametrize("action", ["/settings/retention", "/settings/retention/preview"])
async def test_days_that_cannot_be_are_marked(site: Site, days: str, action: str) -> None:
    screen = await site.open("/settings/retention")
    token = screen.soup.select_one("[name=csrf_token]")
    assert token is not None
    refused = await site.post(action, [("csrf_token", str(token["value"])), ("keep_days", days), ("sure", "yes")])
    assert refused.status == 400
    assert refused.main.select_one("#f-keep_days-wrong")


async def test_members_cannot_say_what_is_deleted(quick_gateway: str, site: Site, sessions: Sessions) -> None:
    async with site_of(quick_gateway, sessions, "member", (site.account_id, site.key)) as member:
        screen = await member.open("/settings/retention")
        assert not screen.main.select('form[method="post"]')
        token = screen.soup.select_one("[name=csrf_token]")
        assert token is not None
        sent = [("csrf_token", str(token["value"])), ("keep_days", "7"), ("sure", "yes")]
        assert (await member.post("/settings/retention", sent)).status == 403
