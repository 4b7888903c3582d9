"""Takes the pictures of README and docs anew: `make screenshots`."""

from pathlib import Path
from typing import Final, Literal

from playwright.async_api import Browser

from storage.base import Sessions
from tests.api.conftest import calls_to
from tests.browser.pages import pages_of
from tests.browser.visiting import logged_in_context
from tests.support.dashboard import site_of
from tests.support.demo import furnish
from tests.support.receivers import http_receiver
from tests.support.stack import Stack

IMAGES: Final = Path(__file__).parents[2] / "docs" / "images"
SHOWN: Final = (
    *("overview", "workflows", "instance-at-a-step", "comparison", "pulses", "process-hook", "approvals", "costs"),
    *("channel", "members"),
)
SCHEMES: Final[tuple[Literal["light", "dark"], ...]] = ("light", "dark")
SIZE: Final = {"width": 1280, "height": 860}


async def test_pictures(chromium: Browser, stack: Stack, sessions: Sessions) -> None:
    IMAGES.mkdir(exist_ok=True)
    async with (
        site_of(stack.url, sessions, email="ada@acme.example") as site,
        calls_to(stack.url, site.account_id, site.key) as calls,
        http_receiver() as receiver,
        logged_in_context(chromium, stack.url, site, viewport=SIZE) as context,
    ):
        await calls.http.patch("/api/account", json={"name": "Acme"})
        demo = await furnish(calls, sessions, site.email, f"http://127.0.0.1:{receiver.port}/hook")
        page = await context.new_page()
        for name in SHOWN:
            for scheme in SCHEMES:
                await page.emulate_media(color_scheme=scheme)
                await page.goto(pages_of(demo)[name])
                await page.locator("h1").wait_for()
                await page.screenshot(path=IMAGES / f"{name}-{scheme}.png")
