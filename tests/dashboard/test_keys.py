"""The page of API keys."""

import httpx

from tests.support.dashboard import Site

KEYS = "/settings/keys"
HOSTILE = '<script>alert("x")</script>\u202e'


async def test_a_key_is_made_shown_once_used_and_revoked(fresh: Site) -> None:
    screen = await fresh.submit(await fresh.open(KEYS), KEYS, name="nightly backup", scope="ping")
    shown = screen.main.select_one(".shown-once pre")
    assert shown is not None
    key = shown.get_text()
    async with httpx.AsyncClient(base_url=fresh.http.base_url, headers={"X-API-Key": key}) as program:
        assert (await program.get("/api/me")).json()["scope"] == "ping"
        screen = await fresh.open(KEYS)
        assert key not in screen.response.text
        assert "nightly backup" in screen.text
        assert f"by {fresh.email}" in screen.text
        assert "Used" in screen.text
        key_id = key.split("_")[1]
        done = await fresh.submit(screen, f"{KEYS}/{key_id}/revoke")
        assert "The key was revoked" in done.said
        assert "1 revoked key" in done.text
        assert (await program.get("/api/me")).status_code == 401


async def test_a_key_without_a_name_is_refused(fresh: Site) -> None:
    screen = await fresh.open(KEYS)
    refused = await fresh.submit(screen, KEYS, name=" ", scope="full")
    assert refused.status == 400
    assert refused.main.select_one("#f-name-wrong") is not None
    ticked = refused.main.select_one("input[name=scope][checked]")
    assert ticked is not None
    assert ticked["value"] == "full"
    assert (await fresh.submit(screen, KEYS, name="x" * 10_000)).status == 400
    assert (await fresh.submit(screen, KEYS, name="x", scope="all")).status == 400


async def test_hostile_names_are_words(fresh: Site) -> None:
    screen = await fresh.submit(await fresh.open(KEYS), KEYS, name=HOSTILE)
    assert "<script>alert" not in screen.response.text
    assert "\u202e" not in screen.response.text
    assert "alert(" in screen.text


async def test_viewers_see_no_forms_and_make_no_keys(site: Site, viewer: Site) -> None:
    screen = await viewer.open(KEYS)
    assert "tests" in screen.text
    assert not screen.main.select("form")
    token = ("csrf_token", viewer.http.cookies["csrf_token"])
    assert (await viewer.post(KEYS, [token, ("name", "mine"), ("scope", "full")])).status == 403
    key_id = site.key.split("_")[1]
    assert (await viewer.post(f"{KEYS}/{key_id}/revoke", [token])).status == 403


async def test_another_accounts_key_is_not_revoked(site: Site, fresh: Site) -> None:
    token = ("csrf_token", fresh.http.cookies["csrf_token"])
    assert (await fresh.post(f"{KEYS}/{site.key.split('_')[1]}/revoke", [token])).status == 403
    assert (await fresh.post(f"{KEYS}/nosuchkey0/revoke", [token])).status == 404
