"""The mail catcher in a browser: how an approver gets from the mail to the page while there is no mail server."""

from collections.abc import Awaitable, Callable

import pytest
from playwright.async_api import Page, Request

from activities.approval_links import ApprovalLinks
from activities.letters.asking import asking_mail
from activities.mail import MailCatcher
from config.clock import utc_now
from storage.approvals import Approval
from tests.browser.conftest import OpenPage
from tests.senders.builders import letter
from tests.support.approval_pages import events_of
from tests.support.approvals import ask
from tests.support.stack import SECRET, Stack, make_account

EVIL = """\
<base href="https://elsewhere.example/">
<script>top.location = "/dev/mail"; document.title = "ran"</script>
<a href="javascript:document.body.append('ran')">script</a>
<a href="/dev/mail" target="_top">top</a>
<form action="/approvals/apr_0" method="post"><button>form</button></form>
<img src="/healthz" onerror="document.body.append('ran')">
"""


async def kept(stack: Stack, approval: Approval, html: str | None = None) -> None:
    """The mail about it, with links to this gateway; or another `html`."""
    mail = asking_mail(letter(approval=approval), "PingPulse <ping@example.com>", ApprovalLinks(SECRET, stack.url))
    part = mail.get_body(("html",))
    if html is not None and part is not None:
        part.set_content(html, subtype="html")
    assert stack.settings.mail_dir is not None
    await MailCatcher(stack.settings.mail_dir, utc_now).send(approval.account_id, mail)


async def opened(
    stack: Stack, open_page: OpenPage, html: str | None = None, **options: object
) -> tuple[Page, Approval]:
    """The mail, in a browser."""
    account_id, key = await make_account(stack.sessions, "mail in a browser")
    approval = await ask(stack.sessions, account_id, title="Publish the report?")
    await kept(stack, approval, html)
    page = await open_page(f"/dev/mail?key={key}", **options)
    await page.get_by_role("link", name="Publish the report?").first.click()
    await page.get_by_role("heading", name="HTML").wait_for()
    return page, approval


async def by_button(page: Page) -> None:
    await page.frame_locator("iframe").get_by_role("link", name="Approve").click()


async def by_text(page: Page) -> None:
    await page.locator("pre").get_by_role("link").first.click()


@pytest.mark.parametrize("click", [by_button, by_text])
async def test_from_the_mail_to_the_decision(
    stack: Stack, open_page: OpenPage, click: Callable[[Page], Awaitable[None]]
) -> None:
    page, approval = await opened(stack, open_page)
    at_first = page.url
    requests: list[Request] = []
    page.context.on("request", lambda request: requests.append(request))
    async with page.context.expect_page() as tab:
        await click(page)
    decision = await tab.value
    await decision.get_by_role("heading", name="Your decision", exact=True).wait_for()
    # The key is in the address of the mail.
    assert [request for request in requests if "referer" in await request.all_headers()] == []
    assert page.url == at_first
    # What it opens is a page like any other, and no longer in a sandbox.
    async with decision.expect_navigation():
        await decision.get_by_role("button", name="Approve", exact=True).click()
    assert (await decision.title()).startswith("Approved: ")
    assert (await events_of(stack.sessions, approval.id)).count("voted") == 1


async def test_a_mail_can_do_nothing_else(stack: Stack, open_page: OpenPage) -> None:
    page, _ = await opened(stack, open_page, EVIL, java_script_enabled=True)
    at_first, requests = page.url, list[Request]()
    page.context.on("request", lambda request: requests.append(request))
    frame = page.frame_locator("iframe")
    for name in ("script", "top"):
        await frame.get_by_role("link", name=name).click(no_wait_after=True)
    await frame.get_by_role("button", name="form").click(no_wait_after=True)
    assert "ran" not in await frame.locator("body").inner_text()
    assert page.url == at_first
    assert await page.title() != "ran"
    assert [request.url for request in requests] == []
