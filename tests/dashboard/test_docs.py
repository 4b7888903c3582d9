"""The API reference, on a network without any way out."""

import httpx
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import ConsoleMessage, Request

from api.dashboard.docs import CSP, vendor
from tests.support.browser import launched


async def test_its_files_are_our_own_and_kept_for_good(quick_gateway: str) -> None:
    async with httpx.AsyncClient(base_url=quick_gateway) as http:
        page = await http.get("/docs")
        assert page.headers["content-security-policy"] == CSP
        assert "'unsafe" not in CSP
        assert "https://" not in page.text
        for name in ("swagger-ui-bundle.js", "swagger-ui.css"):
            assert vendor(name) in page.text
            answer = await http.get(vendor(name))
            assert answer.status_code == 200
            assert "immutable" in answer.headers["cache-control"]
        assert (await http.get("/docs/assets/0/swagger-ui.css")).status_code == 404


async def test_it_renders_offline_without_complaints(quick_gateway: str) -> None:
    said: list[str] = []
    asked: list[str] = []

    def listen(message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            said.append(message.text)

    def note(request: Request) -> None:
        asked.append(request.url)

    async with launched() as browser:
        page = await browser.new_page()
        page.on("console", listen)
        page.on("pageerror", lambda error: said.append(str(error)))
        page.on("request", note)
        await page.goto(f"{quick_gateway}/docs")
        await page.get_by_role("button", name="Authorize").first.wait_for()
        await page.locator("#operations-tag-workflows").click()
        await page.locator("#operations-tag-workflows + * .opblock").first.wait_for()
        results = await Axe().run(page, context={"exclude": [["#reference"]]})
    assert said == []
    assert [url for url in asked if not url.startswith((quick_gateway, "data:"))] == []
    assert [found["id"] for found in results.response["violations"] if found["impact"] in ("serious", "critical")] == []
