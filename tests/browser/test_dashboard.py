"""Every page of the dashboard in a real browser: for all eyes and ears, on a phone, in both themes, without errors."""

from collections.abc import AsyncIterator

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Browser, BrowserContext, Page

from storage.base import Sessions
from tests.api.conftest import calls_to
from tests.browser.pages import WITHOUT_LOGIN, pages_of
from tests.browser.visiting import logged_in_context
from tests.support.dashboard import Site, site_of
from tests.support.demo import Demo, furnish
from tests.support.receivers import http_receiver
from tests.support.stack import Stack

NAMES = tuple(pages_of(Demo(*"abcdefghijklmno")))
PHONE = {"width": 360, "height": 740}
DESK = {"width": 1280, "height": 900}


@pytest.fixture(scope="module")
async def owner(stack: Stack, sessions: Sessions) -> AsyncIterator[Site]:
    async with site_of(stack.url, sessions) as site:
        yield site


@pytest.fixture(scope="module")
async def demo(stack: Stack, sessions: Sessions, owner: Site) -> AsyncIterator[Demo]:
    async with http_receiver() as receiver, calls_to(stack.url, owner.account_id, owner.key) as calls:
        yield await furnish(calls, sessions, owner.email, f"http://127.0.0.1:{receiver.port}/hook")


@pytest.fixture(scope="module")
async def context(chromium: Browser, stack: Stack, owner: Site) -> AsyncIterator[BrowserContext]:
    async with logged_in_context(chromium, stack.url, owner) as context:
        yield context


async def serious(page: Page) -> list[str]:
    """What the rules of axe find, and where."""
    found = (await Axe().run(page)).response["violations"]
    return [
        f"{one['id']}: {node['html'][:200]}"
        for one in found
        if one["impact"] in ("serious", "critical")
        for node in one["nodes"][:3]
    ]


async def is_too_wide(page: Page) -> bool:
    return bool(await page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth"))


@pytest.mark.parametrize("name", NAMES)
async def test_a_page_is_for_everybody(name: str, context: BrowserContext, demo: Demo) -> None:
    page = await context.new_page()
    errors: list[str] = []
    page.on("console", lambda message: errors.append(message.text) if message.type in ("error", "warning") else None)
    page.on("pageerror", lambda error: errors.append(str(error)))
    answer = await page.goto(pages_of(demo)[name], wait_until="domcontentloaded")
    assert answer is not None
    assert answer.status == 200
    assert await page.locator("h1").count() == 1
    for scheme, size in (("light", DESK), ("dark", PHONE)):
        await page.emulate_media(color_scheme=scheme)  # type: ignore[arg-type]
        await page.set_viewport_size(size)  # type: ignore[arg-type]
        assert await serious(page) == [], f"{scheme}, {size['width']} px wide"
        assert not await is_too_wide(page), f"{size['width']} px wide"
    assert errors == []
    await page.close()


@pytest.mark.parametrize("name", WITHOUT_LOGIN)
async def test_so_is_a_page_for_whoever_is_not_logged_in(name: str, chromium: Browser, stack: Stack) -> None:
    context = await chromium.new_context(base_url=stack.url)
    page = await context.new_page()
    await page.goto(WITHOUT_LOGIN[name], wait_until="domcontentloaded")
    assert await serious(page) == []
    await context.close()
