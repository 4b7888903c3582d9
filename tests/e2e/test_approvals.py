"""A program asks, people answer: the public API's own example against a real `pingpulse up`, with a mail server and a
browser."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator
from email.message import EmailMessage
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
from playwright.async_api import Browser

from tests.support.browser import launched
from tests.support.receivers import SmtpReceiver, http_receiver, smtp_receiver
from tests.support.up import Up, running_up
from tests.support.waiting import until

EXAMPLE = Path(__file__).parent / "examples" / "request_approval.py"
WHAT_IT_LEAVES_OUT = """
def publish_article():
    print("published")


def save_as_draft():
    print("saved")
"""
SCANNERS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) SafeLinks",
    "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
    "Mozilla/5.0 (X11; Linux x86_64) HeadlessChrome/120.0.0.0 Safari/537.36",
)


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def mailbox() -> AsyncIterator[SmtpReceiver]:
    async with smtp_receiver() as receiver:
        yield receiver


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def up(tmp_path_factory: pytest.TempPathFactory, mailbox: SmtpReceiver) -> AsyncIterator[Up]:
    mail = {
        "PINGPULSE_SMTP_HOST": "127.0.0.1",
        "PINGPULSE_SMTP_PORT": str(mailbox.port),
        "PINGPULSE_SMTP_SECURITY": "none",
        "PINGPULSE_OUTGOING_ALLOW": "127.0.0.0/8",
    }
    async with running_up(tmp_path_factory.mktemp("home"), **mail) as up:
        yield up


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def browser() -> AsyncIterator[Browser]:
    async with launched() as browser:
        yield browser


async def start_example(up: Up) -> asyncio.subprocess.Process:
    text = EXAMPLE.read_text().replace("https://pingpulsehq.com", up.runtime.gateway_url).replace("YOUR_KEY", up.key)
    return await asyncio.create_subprocess_exec(
        sys.executable, "-u", "-c", WHAT_IT_LEAVES_OUT + text, stdout=asyncio.subprocess.PIPE
    )


async def mail_about(mailbox: SmtpReceiver, approval_id: str) -> EmailMessage:
    def found() -> EmailMessage | None:
        return next((mail for mail in mailbox.mails if approval_id in plain(mail)), None)

    mail: EmailMessage = await until(found, timeout=20)
    return mail


def plain(mail: EmailMessage) -> str:
    part = mail.get_body(("plain",))
    assert part is not None
    return str(part.get_content())


def links(mail: EmailMessage) -> list[str]:
    """Every address in either part."""
    part = mail.get_body(("html",))
    assert part is not None
    text = plain(mail) + str(part.get_content()).replace("&amp;", "&")
    return list(dict.fromkeys(re.findall(r"https?://[^\s\"'<>]+", text)))


@pytest.mark.parametrize(("button", "expected"), [("Approve", "published"), ("Deny", "saved")])
async def test_the_example_does_what_is_clicked_in_the_browser(
    up: Up, mailbox: SmtpReceiver, browser: Browser, button: str, expected: str
) -> None:
    process = await start_example(up)
    assert process.stdout is not None
    first = (await asyncio.wait_for(process.stdout.readline(), 30)).decode()
    approval_id = first.removeprefix("Approval requested: ").strip()
    mail = await mail_about(mailbox, approval_id)
    assert mail["To"] == up.email
    context = await browser.new_context(java_script_enabled=False)
    page = await context.new_page()
    (link,) = [link for link in links(mail) if link.endswith(f"intent={button.lower()}")]
    await page.goto(link)
    assert "Publish article: Q4 Earnings Report" in await page.inner_text("main")
    await page.get_by_role("button", name=button).click()
    assert up.email in await page.inner_text("main")
    await context.close()
    rest = (await asyncio.wait_for(process.stdout.read(), 30)).decode()
    assert await process.wait() == 0
    assert rest.splitlines()[-1] == expected


async def test_scanners_that_follow_every_link_decide_nothing(up: Up, mailbox: SmtpReceiver) -> None:
    async with up.client() as api:
        asked = (await api.post("/api/approvals", json={"context": "Delete the old volumes?"})).json()
        seen = set(links(await mail_about(mailbox, asked["approval_id"])))
        assert any("token=" in link for link in seen)
        for agent in SCANNERS:
            await follow(set(seen), agent)
        stands = (await api.get(f"/api/approvals/{asked['approval_id']}")).json()
        trail = (await api.get(f"/api/approvals/{asked['approval_id']}/audit")).json()
    assert (stands["status"], stands["votes"]) == ("pending", [])
    agents = {entry["agent"] for entry in trail["entries"] if entry["event"] == "viewed"}
    assert agents == set(SCANNERS)
    assert trail["is_intact"]


async def follow(open_links: set[str], agent: str) -> None:
    """Opens each link to this machine by HEAD and GET, and each that is on the pages it finds."""
    known: set[str] = set()
    async with httpx.AsyncClient(headers={"User-Agent": agent}, follow_redirects=True) as client:
        while open_links and len(known) < 30:
            link = open_links.pop()
            known.add(link)
            if httpx.URL(link).host not in ("localhost", "127.0.0.1"):
                continue
            await client.head(link)
            page = await client.get(link)
            found = {str(page.url.join(href)) for href in re.findall(r"(?:href|src|action)=\"([^\"]*)\"", page.text)}
            open_links |= found - known


async def test_the_requesters_program_is_called_back(up: Up, mailbox: SmtpReceiver) -> None:
    async with http_receiver() as receiver, up.client() as api:
        body = {"context": "Deploy?", "callback_url": receiver.url(), "choices": ["staging", "production"]}
        asked = (await api.post("/api/approvals", json=body)).json()
        path = f"/api/approvals/{asked['approval_id']}"
        waiting = asyncio.create_task(api.get(path, params={"wait": 20}))
        decision = {"decision": "approve", "choice": "staging", "approver": up.email}
        decided = await api.post(f"{path}/decide", json=decision)
        assert decided.status_code == 200, decided.text
        assert (await waiting).json()["choice"] == "staging"
        await until(lambda: receiver.received, timeout=20)
        called = receiver.received[0].json
    assert (called["type"], called["data"]["choice"]) == ("approval.decided", "staging")
