"""The pages of the guides: with the reader's own ids, address and key."""

import re

import pytest

from api.dashboard.guides import GUIDES
from storage.base import Sessions
from tests.api.calls import Calls, new_id
from tests.support.dashboard import Site, site_of


async def test_the_list_has_them_all(site: Site) -> None:
    screen = await site.open("/integrations")
    assert {f"/integrations/{name}" for name in GUIDES} <= set(screen.links.values())


@pytest.mark.parametrize("name", sorted(GUIDES))
async def test_each_is_there_with_the_address_of_this_installation(site: Site, name: str) -> None:
    screen = await site.open(f"/integrations/{name}")
    assert screen.status == 200
    assert screen.title == GUIDES[name].title
    assert len(screen.main.select("h1")) == 1
    assert screen.main.select("article pre")


async def test_what_is_chosen_is_put_in(fresh: Site, fresh_calls: Calls) -> None:
    pulse = await fresh_calls.post("/api/pulses", {"name": "My backup", "slug": "my-backup", "period_seconds": 60}, 201)
    assert pulse["slug"] == "my-backup"
    plain = await fresh.open("/integrations/cron")
    assert "/hbk/hourly-backup?" in plain.text
    filled = await fresh.open("/integrations/cron?pulse=my-backup")
    assert "/hbk/my-backup?" in filled.text
    assert "hourly-backup" not in filled.text
    assert filled.main.select_one('option[value="my-backup"][selected]')


async def test_only_what_is_ones_own_can_be_put_in(
    site: Site, calls: Calls, quick_gateway: str, sessions: Sessions
) -> None:
    workflow_id, _ = await calls.open(new_id())
    assert (
        workflow_id in (await site.open(f"/integrations/node?workflow={workflow_id}")).main.select("pre")[0].get_text()
    )
    async with site_of(quick_gateway, sessions) as stranger:
        for chosen in (workflow_id, "https://evil.example/", "<script>"):
            screen = await stranger.http.get("/integrations/node", params={"workflow": chosen})
            assert chosen not in screen.text
            assert "/dhk/node-etl" in screen.text


async def test_a_key_is_made_for_it_and_shown_once(fresh: Site, fresh_calls: Calls) -> None:
    await fresh_calls.open(workflow_id := new_id())
    page = await fresh.open(f"/integrations/shell?workflow={workflow_id}")
    made = await fresh.submit(page, "/integrations/shell")
    key = re.search(r"ppk_\w+", made.text)
    assert key is not None
    assert f"PINGPULSE_API_KEY={key[0]}" in made.text
    assert f"--workflow {workflow_id}" in made.text
    assert "YOUR_KEY" not in made.text
    assert key[0] not in (await fresh.open("/integrations/shell")).text
    assert "For Shell" in [one["name"] for one in (await fresh_calls.get("/api/keys"))["keys"]]


async def test_there_is_no_other_page(site: Site) -> None:
    for name in ("nothing", "..%2F..%2FREADME", "api"):
        assert (await site.open(f"/integrations/{name}")).status == 404
        csrf = ("csrf_token", site.http.cookies["csrf_token"])
        assert (await site.post(f"/integrations/{name}", [csrf])).status == 404


async def test_viewers_read_and_make_no_keys(viewer: Site) -> None:
    screen = await viewer.open("/integrations/cron")
    assert screen.status == 200
    assert not [form for form in screen.main.select("form") if form.get("method") == "post"]
    csrf = ("csrf_token", viewer.http.cookies["csrf_token"])
    assert (await viewer.post("/integrations/cron", [csrf])).status == 403
