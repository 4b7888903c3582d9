"""One's own password, e-mail address, second factor and sessions."""

import re
from collections.abc import AsyncIterator

import httpx
import pyotp
import pytest

from config.clock import utc_now
from storage.base import Sessions, transaction
from storage.login_links import LinkState, link_state, new_login_link
from tests.api.calls import Calls
from tests.api.conftest import PASSWORD
from tests.dashboard.test_login import code_of, protect
from tests.support.dashboard import Screen, Site, site_of

SECURITY = "/settings/security"
NEW = "a new and longer password"


@pytest.fixture
async def elsewhere(quick_gateway: str, fresh: Site) -> AsyncIterator[Site]:
    """The same user in another browser."""
    headers = {"User-Agent": "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:130.0) Gecko/20100101 Firefox/130.0"}
    async with httpx.AsyncClient(base_url=quick_gateway, headers=headers, timeout=30) as http:
        site = Site(http, fresh.account_id, fresh.key, fresh.email)
        await site.log_in(fresh.email)
        yield site


async def is_logged_in(site: Site) -> bool:
    return (await site.http.get("/api/me")).status_code == 200


def shown_codes(screen: Screen) -> list[str]:
    codes = screen.main.select_one("pre")
    assert codes is not None, screen.text
    return codes.get_text().split()


async def test_another_password_takes_the_old_one_and_ends_the_other_sessions(fresh: Site, elsewhere: Site) -> None:
    screen = await fresh.open(SECURITY)
    action = f"{SECURITY}/password"
    refused = await fresh.submit(screen, action, password="wrong", new_password=NEW, again=NEW)
    assert (refused.status, "is not your password" in refused.said) == (400, True)
    refused = await fresh.submit(screen, action, password=PASSWORD, new_password=NEW, again=f"{NEW}?")
    assert "is not the same password" in refused.said
    refused = await fresh.submit(screen, action, password=PASSWORD, new_password="short", again="short")
    assert "must have 10 to 1024 characters" in refused.said
    assert await is_logged_in(elsewhere)
    done = await fresh.submit(screen, action, password=PASSWORD, new_password=NEW, again=NEW)
    assert "Your password was changed" in done.said
    assert await is_logged_in(fresh)
    assert not await is_logged_in(elsewhere)
    assert (await elsewhere.log_in(fresh.email)).status == 401
    await elsewhere.log_in(fresh.email, NEW)
    assert await is_logged_in(elsewhere)


async def test_another_e_mail_address_is_logged_in_with(fresh: Site, elsewhere: Site, site: Site) -> None:
    screen, action = await fresh.open(SECURITY), f"{SECURITY}/email"
    for wrong, problem in (("nobody", "must be an e-mail address"), (site.email, "Another user has")):
        refused = await fresh.submit(screen, action, email=wrong, password=PASSWORD)
        assert problem in refused.said
    done = await fresh.submit(screen, action, email=f"New.{fresh.email}", password=PASSWORD)
    assert "Your e-mail address was changed" in done.said
    assert not await is_logged_in(elsewhere)
    await elsewhere.log_in(f"new.{fresh.email}")
    assert await is_logged_in(elsewhere)


async def test_nobody_becomes_an_approver_by_another_e_mail_address(
    quick_gateway: str, sessions: Sessions, fresh: Site, fresh_calls: Calls
) -> None:
    boss, deputy = f"boss-{fresh.email}", f"deputy-{fresh.email}"
    body = {"context": "?", "approvers": [boss], "escalate_to": [deputy], "escalate_after_seconds": 60}
    asked = (await fresh_calls.post("/api/approvals", body, 201))["approval_id"]
    async with site_of(quick_gateway, sessions, "member", (fresh.account_id, fresh.key)) as member:
        screen, action = await member.open(SECURITY), f"{SECURITY}/email"
        for wanted in (boss, deputy.upper()):
            refused = await member.submit(screen, action, email=wanted, password=PASSWORD)
            assert (refused.status, "is asked to decide about something just now" in refused.said) == (409, True)
        assert (await member.http.get("/api/me")).json()["user"]["email"] == member.email
        await fresh_calls.post(f"/api/approvals/{asked}/cancel", {})
        assert "was changed" in (await member.submit(screen, action, email=boss, password=PASSWORD)).said


async def test_a_viewers_e_mail_address_stays(quick_gateway: str, sessions: Sessions, fresh: Site) -> None:
    async with site_of(quick_gateway, sessions, "viewer", (fresh.account_id, fresh.key)) as viewer:
        screen = await viewer.open(SECURITY)
        assert "ask an owner of the account to invite it" in screen.text
        assert f"{SECURITY}/email" not in [form.get("action") for form in screen.main.select("form")]
        for wanted in (f"new.{viewer.email}", fresh.email):
            fields = [*await token(viewer), ("email", wanted), ("password", PASSWORD)]
            assert (await viewer.post(f"{SECURITY}/email", fields)).status == 403
        csrf = {"X-CSRF-Token": viewer.http.cookies["csrf_token"]}
        # What changes nothing is no change.
        same = {"password": PASSWORD, "email": viewer.email.upper()}
        assert (await viewer.http.patch("/api/me", json=same, headers=csrf)).status_code == 200


async def test_another_password_and_leaving_end_the_login_links(
    quick_gateway: str, sessions: Sessions, fresh: Site
) -> None:
    async with site_of(quick_gateway, sessions, "member", (fresh.account_id, fresh.key)) as member:
        user_id = (await member.http.get("/api/me")).json()["user"]["id"]
        links = []
        for _ in range(2):
            async with transaction(sessions) as session:
                links.append(await new_login_link(session, user_id, utc_now()))
            screen = await member.open(SECURITY)
            if len(links) == 1:
                values = {"password": PASSWORD, "new_password": NEW, "again": NEW}
                await member.submit(screen, f"{SECURITY}/password", **values)
        async with sessions() as session:
            states = [await link_state(session, link, utc_now()) for link in links]
        assert states == [LinkState.USED, LinkState.GOOD]
        csrf = {"X-CSRF-Token": fresh.http.cookies["csrf_token"]}
        assert (await fresh.http.delete(f"/api/members/{user_id}", headers=csrf)).status_code == 204
        async with sessions() as session:
            assert await link_state(session, links[1], utc_now()) is LinkState.UNKNOWN


async def test_after_ten_wrong_codes_a_setup_is_begun_again(fresh: Site) -> None:
    begin, confirm = f"{SECURITY}/two-factor/begin", f"{SECURITY}/two-factor/confirm"
    for tries, is_on in ((10, False), (9, True)):
        setup = await fresh.submit(await fresh.open(SECURITY), begin, password=PASSWORD)
        secret = next(iter(re.findall(r'name="secret" value="([A-Z2-7]{32})"', setup.response.text)))
        for _ in range(tries):
            assert (await fresh.submit(setup, confirm, code="no code")).status == 400
        ended = await fresh.submit(setup, confirm, code=pyotp.TOTP(secret).at(utc_now()))
        assert (ended.status, "Begin again" in ended.said) == ((200, False) if is_on else (409, True))
        assert (await fresh.http.get("/api/second-factor")).json()["is_on"] is is_on


async def test_two_factor_login_from_set_up_to_turning_it_off(fresh: Site, elsewhere: Site) -> None:
    screen = await fresh.open(SECURITY)
    begin, confirm = f"{SECURITY}/two-factor/begin", f"{SECURITY}/two-factor/confirm"
    assert "is not your password" in (await fresh.submit(screen, begin, password="wrong")).said
    setup = await fresh.submit(screen, begin, password=PASSWORD)
    assert setup.main.select_one("svg path") is not None
    assert "style=" not in setup.response.text
    secret = next(iter(re.findall(r'name="secret" value="([A-Z2-7]{32})"', setup.response.text)))
    shown = setup.main.select_one("pre")
    assert shown is not None
    assert shown.get_text().replace(" ", "") == secret

    wrong = await fresh.submit(setup, confirm, code="12 34 56")
    assert "does not fit" in wrong.said
    assert secret in wrong.response.text
    # Until it is confirmed, nobody is asked for a code.
    await elsewhere.log_in(fresh.email)
    assert await is_logged_in(elsewhere)

    code = pyotp.TOTP(secret).at(utc_now())
    codes = shown_codes(await fresh.submit(wrong, confirm, code=f"{code[:3]} {code[3:]}"))
    assert len(set(codes)) == 10
    screen = await fresh.open(SECURITY)
    assert "10 recovery codes left" in screen.text
    assert codes[0] not in screen.response.text
    assert (await elsewhere.log_in(fresh.email)).title == "Enter your code"

    renew, off = f"{SECURITY}/two-factor/codes", f"{SECURITY}/two-factor/off"
    assert "wrong" in (await fresh.submit(screen, renew, password=PASSWORD, code="000000")).said
    others = shown_codes(await fresh.submit(screen, renew, password=PASSWORD, code=codes[0]))
    assert not {*codes} & {*others}
    assert "wrong" in (await fresh.submit(screen, off, password=PASSWORD, code=codes[1])).said
    assert "is not your password" in (await fresh.submit(screen, off, password="wrong", code=others[1])).said
    done = await fresh.submit(screen, off, password=PASSWORD, code=others[1])
    assert "Two-factor login is off" in done.said
    await elsewhere.log_in(fresh.email)
    assert await is_logged_in(elsewhere)


async def test_sessions_are_listed_and_ended(fresh: Site, elsewhere: Site) -> None:
    screen = await fresh.open(SECURITY)
    assert "Firefox 130 on Windows" in screen.text
    assert "this one" in screen.text
    found = (await fresh.http.get("/api/sessions")).json()["sessions"]
    other = next(one for one in found if not one["is_this"])
    assert (other["browser"], other["address"]) == ("Firefox 130 on Windows", "127.0.0.1")
    done = await fresh.submit(screen, f"{SECURITY}/sessions/{other['id']}/end")
    assert "That session has ended" in done.said
    assert not await is_logged_in(elsewhere)
    gone = await fresh.post(f"{SECURITY}/sessions/{other['id']}/end", await token(fresh))
    assert gone.status == 404
    await elsewhere.log_in(fresh.email)
    await fresh.submit(await fresh.open(SECURITY), f"{SECURITY}/sessions/end-others")
    assert not await is_logged_in(elsewhere)
    assert await is_logged_in(fresh)


async def test_nobody_ends_the_sessions_of_others(fresh: Site, site: Site) -> None:
    theirs = (await site.http.get("/api/sessions")).json()["sessions"][0]["id"]
    assert (await fresh.post(f"{SECURITY}/sessions/{theirs}/end", await token(fresh))).status == 404
    assert await is_logged_in(site)


async def test_viewers_care_for_their_own_login(viewer: Site) -> None:
    screen, action = await viewer.open(SECURITY), f"{SECURITY}/password"
    done = await viewer.submit(screen, action, password=PASSWORD, new_password=PASSWORD, again=PASSWORD)
    assert "Your password was changed" in done.said


async def test_forms_without_the_token_are_refused(fresh: Site) -> None:
    for part in ("password", "email", "two-factor/begin", "two-factor/off", "sessions/end-others"):
        assert (await fresh.post(f"{SECURITY}/{part}", [("password", PASSWORD)])).status == 403


async def test_the_pages_secret_is_not_told_to_who_has_not_seen_it(fresh: Site, sessions: Sessions) -> None:
    screen = await fresh.open(SECURITY)
    await fresh.submit(screen, f"{SECURITY}/two-factor/begin", password=PASSWORD)
    again = await fresh.post(f"{SECURITY}/two-factor/confirm", [*await token(fresh), ("code", "123456")])
    assert "<path" not in str(again.main)
    evil = [*await token(fresh), ("code", "123456"), ("secret", '"><script>alert(1)</script>')]
    assert "<script>alert" not in (await fresh.post(f"{SECURITY}/two-factor/confirm", evil)).response.text


async def test_a_key_has_no_login_to_care_for(fresh: Site) -> None:
    async with httpx.AsyncClient(base_url=fresh.http.base_url, headers={"X-API-Key": fresh.key}) as program:
        answers = [
            await program.get("/api/sessions"),
            await program.delete("/api/sessions"),
            await program.get("/api/second-factor"),
            await program.post("/api/second-factor/setup", json={}),
            await program.patch("/api/me", json={"password": PASSWORD, "new_password": NEW}),
        ]
    assert [answer.status_code for answer in answers] == [403] * 5


async def test_the_api_asks_for_a_code_too(fresh: Site, sessions: Sessions) -> None:
    secret, codes = await protect(sessions, fresh.email)
    form = {"email": fresh.email, "password": PASSWORD}
    async with httpx.AsyncClient(base_url=fresh.http.base_url) as client:
        asked = await client.post("/api/login", json=form)
        assert (asked.status_code, asked.json()["code"]) == (401, "second_factor_required")
        assert "set-cookie" not in asked.headers
        wrong = await client.post("/api/login", json={**form, "code": "000000"})
        assert (wrong.status_code, wrong.json()["code"]) == (401, "second_factor_wrong")
        # The code alone is nothing.
        assert (await client.post("/api/login", json={**form, "password": "no idea", "code": code_of(secret)})).json()[
            "code"
        ] == "unauthenticated"
        assert (await client.post("/api/login", json={**form, "code": code_of(secret)})).status_code == 200
        assert (await client.post("/api/login", data={**form, "code": codes[0]})).status_code == 200
        assert (await client.get("/api/second-factor")).json()["recovery_codes_left"] == 9


async def token(site: Site) -> list[tuple[str, str]]:
    return [("csrf_token", site.http.cookies["csrf_token"])]
