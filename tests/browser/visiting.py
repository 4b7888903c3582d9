"""A browser in which somebody is logged in."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from playwright.async_api import Browser, BrowserContext

from tests.support.dashboard import Site


@asynccontextmanager
async def logged_in_context(browser: Browser, url: str, who: Site, **options: Any) -> AsyncIterator[BrowserContext]:
    """With the session that they have already: passwords are slow by intention."""
    context = await browser.new_context(base_url=url, **options)
    await context.add_cookies([{"name": name, "value": value, "url": url} for name, value in who.http.cookies.items()])
    try:
        yield context
    finally:
        await context.close()
