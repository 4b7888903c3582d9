"""Forms that come from elsewhere, and what is in them; looks at heads; leaving."""

from collections.abc import AsyncIterator

import httpx
import pytest

from storage.base import Sessions
from tests.api.calls import Calls
from tests.api.conftest import PASSWORD
from tests.conftest import StartGateway
from tests.support.dashboard import FORM, PAGE, Site, site_of


@pytest.fixture
async def nobody(quick_gateway: str) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(base_url=quick_gateway, headers=PAGE | FORM) as http:
        yield http


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "Cross-Site"},
        {"Sec-Fetch-Site": "same-site"},
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
    ],
)
@pytest.mark.parametrize("path", ["/login", "/login/code", "/start/x", "/invitations/x", "/api/login"])
async def test_nobody_is_logged_in_by_another_site(
    nobody: httpx.AsyncClient, path: str, headers: dict[str, str]
) -> None:
    answer = await nobody.post(path, content="email=a@example.com&password=x", headers=headers)
    assert answer.status_code == 403
    assert not answer.cookies


@pytest.mark.parametrize("origin", [None, "http://{host}", "http://localhost:8000"])
async def test_our_own_page_may(site: Site, nobody: httpx.AsyncClient, origin: str | None) -> None:
    """Also behind a proxy that calls us by another name, as the settings know."""
    headers = {"Origin": origin.format(host=nobody.base_url.netloc.decode())} if origin else {}
    answer = await nobody.post("/login", data={"email": site.email, "password": PASSWORD}, headers=headers)
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


@pytest.mark.parametrize("address", ["//[", "//user@[::1", "//evil.example", "https://evil.example", "/\\evil", "x"])
async def test_the_login_leads_nowhere_else(site: Site, nobody: httpx.AsyncClient, address: str) -> None:
    answer = await nobody.post("/login", data={"email": site.email, "password": PASSWORD, "next": address})
    assert (answer.status_code, answer.headers["location"]) == (303, "/")


async def test_numbers_without_end(site: Site, calls: Calls) -> None:
    workflow_id = await calls.define("dynamic")
    path = f"/workflows/{workflow_id}/budget"
    screen = await site.submit(await site.open(path), path, max_pings_per_instance="9" * 5_000)
    assert screen.status == 400
    token = site.http.cookies["csrf_token"]
    fields = [("csrf_token", token), ("component", "pulse/x"), ("position pulse/x", "9" * 5_000)]
    assert (await site.post("/settings/status", fields)).status == 400


@pytest.mark.parametrize("path", ["/", "/workflows", "/settings/keys", "/login"])
async def test_looks_at_the_head_alone(site: Site, path: str) -> None:
    answer = await site.http.head(path, headers=PAGE)
    assert (answer.status_code, answer.content) == (200, b"")


async def test_whoever_has_used_up_the_quota_may_still_leave(start_gateway: StartGateway, sessions: Sessions) -> None:
    url = start_gateway(requests_per_minute=3)
    async with site_of(url, sessions) as site:
        answers = [(await site.http.get("/workflows", headers=PAGE)).status_code for _ in range(5)]
        assert answers[-1] == 429
        fields = [("csrf_token", site.http.cookies["csrf_token"])]
        assert (await site.post("/logout", fields)).path == "/login"


@pytest.mark.parametrize(
    ("referer", "target"),
    [
        ("{base}/pulses/new?x=1", "/login?next=%2Fpulses%2Fnew%3Fx%3D1%26again%3Dyes&lost=yes"),
        ("http://evil.example/pulses", "/login?lost=yes"),
        ("http://[", "/login?lost=yes"),
        (None, "/login?lost=yes"),
    ],
)
async def test_a_form_without_a_login_leads_back_to_its_page(
    nobody: httpx.AsyncClient, referer: str | None, target: str
) -> None:
    headers = {"Referer": referer.format(base=str(nobody.base_url).rstrip("/"))} if referer else {}
    answer = await nobody.post("/pulses/new", content="name=x", headers=headers)
    assert (answer.status_code, answer.headers["location"]) == (303, target)
    assert "nothing was saved" in (await nobody.get(target)).text
