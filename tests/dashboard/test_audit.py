"""The account's audit trail: what is written down, how it reads, and for whom."""

import httpx

from domain.keys import key_id_of
from storage.base import Sessions
from tests.api.budget_calls import set_budget
from tests.api.calls import Calls
from tests.api.conftest import PASSWORD
from tests.dashboard.test_login import protect
from tests.support.dashboard import Site, site_of

AUDIT = "/settings/audit"
HOSTILE = "<script>alert(1)</script>"


async def words_of(site: Site, limit: int = 100) -> list[str]:
    """Of all entries, the oldest first."""
    page = (await site.http.get("/api/audit", params={"limit": limit})).json()
    return [entry["words"] for entry in reversed(page["entries"])]


async def test_every_change_is_written_down_with_who_did_it(fresh: Site, fresh_calls: Calls) -> None:
    http = fresh_calls.http
    workflow_id = await fresh_calls.define("dynamic", name="Nightly")
    await http.patch(f"/api/workflows/{workflow_id}", json={"name": "Nightly load"})
    await set_budget(fresh_calls, workflow_id, budget_limit_usd=5)
    pulse = await fresh_calls.post("/api/pulses", {"name": "Backup", "period_seconds": 3600}, 201)
    for action in ("pause", "pause", "resume"):
        await fresh_calls.post(f"/api/pulses/{pulse['id']}/{action}", {})
    await http.patch(f"/api/pulses/{pulse['id']}", json={"grace_seconds": 90})
    hook = await fresh_calls.post("/api/process-hooks", {"name": "Export", "expected_seconds": 60}, 201)
    await http.patch(f"/api/process-hooks/{hook['id']}", json={"name": "Export of all"})
    new_channel = {"kind": "webhook", "name": "Pager", "url": "http://127.0.0.1:9/"}
    channel = await fresh_calls.post("/api/channels", new_channel, 201)
    await http.patch(f"/api/channels/{channel['id']}", json={"severity": "error"})
    await fresh_calls.post(f"/api/channels/{channel['id']}/rotate-secret", {})
    price = {"model": "gpt-x", "input_per_million": 1, "output_per_million": 2}
    price_id = (await http.put("/api/prices", json=price)).json()["id"]
    _, instance_id = await fresh_calls.open()
    forked = await fresh_calls.post(f"/api/instances/{instance_id}/fork", {"fork_from_stage": "1"}, 201)
    rerun = await fresh_calls.post(f"/api/instances/{instance_id}/rerun", {}, 201)
    for address in (
        f"channels/{channel['id']}",
        f"process-hooks/{hook['id']}",
        f"pulses/{pulse['id']}",
        f"workflows/{workflow_id}",
        f"prices/{price_id}",
    ):
        assert (await http.delete(f"/api/{address}")).status_code == 204, address
    assert await words_of(fresh) == [
        "Logged in",
        "Created the workflow “Nightly”",
        "Changed the workflow “Nightly load”",
        "Changed the budget of the workflow “Nightly load”",
        "Created the pulse “Backup”",
        "Paused the pulse “Backup”",
        "Resumed the pulse “Backup”",
        "Changed the pulse “Backup”",
        "Created the process hook “Export”",
        "Changed the process hook “Export of all”",
        "Created the channel “Pager”",
        "Changed the channel “Pager”",
        "Made a new signing secret for the channel “Pager”",
        "Set the price of “gpt-x”",
        f"Forked the instance {instance_id} as {forked['forked_instance_id']}",
        f"Asked for a rerun of the instance {instance_id}, as {rerun['new_instance_id']}",
        "Deleted the channel “Pager”",
        "Deleted the process hook “Export of all”",
        "Deleted the pulse “Backup”",
        "Deleted the workflow “Nightly load”",
        "Removed the price of “gpt-x”",
    ]
    entry = (await fresh.http.get("/api/audit", params={"limit": 1})).json()["entries"][0]
    assert (entry["who"], entry["key_name"]) == (f"api-key:{key_id_of(fresh.key)}", "tests")
    assert (entry["address"], entry["subject"]) == ("127.0.0.1", f"price/{price_id}")
    screen = await fresh.open(AUDIT)
    assert "the key tests" in screen.text
    assert "Asked for a rerun" in screen.text


async def test_what_is_refused_is_not_written_down(fresh: Site, fresh_calls: Calls) -> None:
    before = await words_of(fresh)
    assert (await fresh_calls.http.post("/api/pulses", json={"name": "x", "cron": "no"})).status_code == 400
    assert (await fresh_calls.http.post("/api/keys", json={"name": ""})).status_code == 400
    assert (await fresh_calls.http.delete("/api/workflows/nothing")).status_code == 404
    assert await words_of(fresh) == before


async def test_logins_and_wrong_codes_are_written_down(fresh: Site, sessions: Sessions) -> None:
    _, codes = await protect(sessions, fresh.email)
    form = {"email": fresh.email, "password": PASSWORD}
    async with httpx.AsyncClient(base_url=fresh.http.base_url) as client:
        for more, status in (({}, 401), ({"code": "000000"}, 401), ({"code": codes[0]}, 200)):
            assert (await client.post("/api/login", json=form | more)).status_code == status
    csrf = {"X-CSRF-Token": fresh.http.cookies["csrf_token"]}
    assert (await fresh.http.delete("/api/sessions", headers=csrf)).json() == {"ended": 1}
    assert await words_of(fresh) == [
        "Logged in",
        "Gave the right password and a wrong code",
        "Used a recovery code; 9 left",
        "Logged in",
        "Logged out everywhere else: 1 sessions ended",
    ]


async def test_the_trail_pages(fresh: Site, fresh_calls: Calls) -> None:
    for number in range(60):
        await fresh_calls.post("/api/keys", {"name": f"key {number}"}, 201)
    screen = await fresh.open(AUDIT)
    assert "key 59" in screen.text
    assert "“key 5”" not in screen.text
    screen = await fresh.open(screen.links["Older"])
    assert "“key 5”" in screen.text
    assert "Logged in" in screen.text
    assert "Back to the newest" in screen.links
    seen, cursor = [], None
    while True:
        page = (
            await fresh.http.get("/api/audit", params={"limit": 25} | ({"cursor": cursor} if cursor else {}))
        ).json()
        seen += [entry["id"] for entry in page["entries"]]
        if (cursor := page["next_cursor"]) is None:
            break
    assert len(seen) == len(set(seen)) == 61
    for bad in ("x", "-1", "9" * 25, "１"):
        assert (await fresh.http.get("/api/audit", params={"cursor": bad})).status_code == 400


async def test_hostile_names_are_words(fresh: Site, fresh_calls: Calls) -> None:
    await fresh_calls.post("/api/keys", {"name": f"{HOSTILE}\u202e{{0}}"}, 201)
    async with httpx.AsyncClient(base_url=fresh.http.base_url, headers={"User-Agent": HOSTILE * 50}) as client:
        assert (await client.post("/api/login", json={"email": fresh.email, "password": PASSWORD})).status_code == 200
    screen = await fresh.open(AUDIT)
    assert HOSTILE not in screen.response.text
    assert HOSTILE in screen.text
    assert "An unknown program" in screen.text


async def test_viewers_are_not_told_from_where_and_others_nothing(
    site: Site, viewer: Site, quick_gateway: str, sessions: Sessions
) -> None:
    entries = (await viewer.http.get("/api/audit")).json()["entries"]
    assert entries
    assert {(entry["address"], entry["agent"]) for entry in entries} == {(None, None)}
    assert "127.0.0.1" not in (await viewer.open(AUDIT)).text
    async with site_of(quick_gateway, sessions) as stranger:
        theirs = (await stranger.http.get("/api/audit")).json()["entries"]
        assert {entry["who"] for entry in theirs} == {stranger.email}
