"""A real browser, for the pages that people use."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack

import pytest
from playwright.async_api import Browser, BrowserContext, Page

from tests.support.browser import launched
from tests.support.stack import Stack

OpenPage = Callable[..., Awaitable[Page]]


@pytest.fixture(scope="session")
async def chromium() -> AsyncIterator[Browser]:
    async with launched() as browser:
        yield browser


@pytest.fixture
async def open_page(chromium: Browser, stack: Stack) -> AsyncIterator[OpenPage]:
    """Opens a page of the gateway in a browser without scripts that nobody has used; options are those of a context."""
    async with AsyncExitStack() as contexts:

        async def open_page(path: str, **options: object) -> Page:
            settings = {"java_script_enabled": False, "base_url": stack.url, **options}
            context: BrowserContext = await chromium.new_context(**settings)  # type: ignore[arg-type]
            contexts.push_async_callback(context.close)
            page = await context.new_page()
            await page.goto(path)
            return page

        yield open_page
