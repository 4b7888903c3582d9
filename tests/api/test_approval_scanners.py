"""What must not decide: machines that open links, other sites, and odd input."""

import re
from collections.abc import AsyncIterator
from typing import Any

import httpx
import pytest

from activities.mail import MailCatcher
from config.clock import utc_now
from tests.api.conftest import PASSWORD
from tests.support.approval_pages import (
    FORM,
    Browser,
    asked,
    browser,
    events_of,
    nothing_is_decided,
    page_path,
)
from tests.support.stack import Stack
from tests.support.waiting import until

ADA, BOB, EVE = "ada@example.com", "bob@example.com", "eve@example.com"
SCANNERS = (
    "Mozilla/5.0 (Windows NT 10.0; Win64; x64) Microsoft Office/16.0 SafeLinks",
    "Slackbot-LinkExpanding 1.0 (+https://api.slack.com/robots)",
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/130.0 Safari/537.36",
)


@pytest.fixture
async def ada(stack: Stack) -> AsyncIterator[Browser]:
    async with browser(stack.url) as ada:
        yield ada


@pytest.fixture
async def bob(stack: Stack) -> AsyncIterator[Browser]:
    async with browser(stack.url) as bob:
        yield bob


# What must not decide


async def test_scanners_that_look_at_everything_decide_nothing(stack: Stack) -> None:
    approval = await asked(stack, title="Scan me")
    kept = MailCatcher(stack.settings.mail_dir, utc_now)  # type: ignore[arg-type]

    async def mail() -> Any:
        newest = await kept.newest(stack.account_id, 20)
        return next((one.mail for one in newest if "Scan me" in str(one.mail["Subject"])), None)

    bodies = [str(part.get_content()) for part in (await until(mail)).walk() if part.get_content_maintype() == "text"]
    paths = {
        found.replace("&amp;", "&")
        for body in bodies
        for found in re.findall(rf"(/approvals/{approval.id}[^\s\"<>)]*)", body)
    }
    assert any("token=" in path for path in paths)
    for agent in SCANNERS:
        async with browser(stack.url, **{"User-Agent": agent}) as scanner:
            for path in sorted(paths):
                for method in ("HEAD", "GET"):
                    answer = await scanner.http.request(method, path)
                    assert answer.status_code == 200
                page = await scanner.open(path)
                for link in page.links:
                    await scanner.http.get(httpx.URL(str(page.response.url)).join(link))
                # Some fill in what they find, by GET.
                await scanner.http.get(path.partition("?")[0], params={**page.inputs, "action": "approve"})
    await nothing_is_decided(stack, approval)
    assert set(await events_of(stack.sessions, approval.id)) == {"viewed"}


async def test_head_leaves_no_trace(stack: Stack, ada: Browser) -> None:
    approval = await asked(stack)
    answer = await ada.http.head(page_path(approval.id, ADA))
    assert (answer.status_code, answer.content) == (200, b"")
    assert await events_of(stack.sessions, approval.id) == []


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE", "OPTIONS"])
async def test_other_methods(stack: Stack, ada: Browser, method: str) -> None:
    approval = await asked(stack)
    answer = await ada.http.request(method, page_path(approval.id, ADA))
    assert answer.status_code == 405
    assert set(answer.headers["allow"].split(", ")) == {"GET", "HEAD", "POST"}
    assert answer.headers["content-type"].startswith("text/html")


async def test_forms_of_other_sites_do_nothing(stack: Stack, ada: Browser) -> None:
    approval = await asked(stack)
    page = await ada.open(page_path(approval.id, ADA))
    for action in ("approve", "send-link", "log-in"):
        form = {**page.inputs, "action": action, "email": ADA, "password": PASSWORD}
        answer = await ada.send(page, form, **{"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"})
        assert answer.status == 403
        assert "another site" in answer.text
    await nothing_is_decided(stack, approval)


BODIES: dict[str, tuple[bytes, str, int]] = {
    "JSON": (b'{"action": "approve"}', "application/json", 415),
    "a form with files": (b"--x--", "multipart/form-data; boundary=x", 415),
    "plain text": (b"action=approve", "text/plain", 415),
    "no type": (b"action=approve", "", 415),
    "not UTF-8": (b"action=approve&notes=\xff\xfe", FORM["Content-Type"], 400),
    "not UTF-8, encoded": (b"action=approve&notes=%FF%FE", FORM["Content-Type"], 400),
    "half a surrogate": (b"action=approve&notes=%ED%A0%80", FORM["Content-Type"], 400),
    "NUL": (b"action=approve&notes=a%00b", FORM["Content-Type"], 400),
    "too many fields": (b"&".join(b"a%d=1" % number for number in range(500)), FORM["Content-Type"], 400),
    "nothing": (b"", FORM["Content-Type"], 403),
    "a huge field": (b"notes=" + b"x" * (1 << 20), FORM["Content-Type"], 413),
    "no pairs": (b"%%%&&&===", FORM["Content-Type"], 403),
}


@pytest.mark.parametrize(("body", "content_type", "status"), BODIES.values(), ids=BODIES)
async def test_odd_bodies_get_a_page(stack: Stack, ada: Browser, body: bytes, content_type: str, status: int) -> None:
    approval = await asked(stack)
    headers = {"Content-Type": content_type} if content_type else {}
    answer = await ada.http.post(page_path(approval.id), content=body, headers=headers)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert "</html>" in answer.text
    await nothing_is_decided(stack, approval)


async def test_a_body_in_chunks_without_an_end_gets_a_page(stack: Stack, ada: Browser) -> None:
    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(40):
            yield b"x" * 65536

    answer = await ada.http.post(page_path((await asked(stack)).id), content=chunks(), headers=FORM)
    assert answer.status_code == 413
    assert "</html>" in answer.text


NASTY = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)> {{ 7 * 7 }} \u202e </textarea></title>"


async def test_what_people_wrote_is_never_html(stack: Stack, ada: Browser, bob: Browser) -> None:
    editable = {
        "type": "object",
        "properties": {
            "a": {"type": "string", "title": NASTY, "description": NASTY},
            "b": {"type": "string", "enum": [NASTY, "x"]},
        },
    }
    usual: dict[str, Any] = {
        "title": NASTY,
        "context": NASTY,
        "requested_by": NASTY,
        "approvers": [ADA, BOB],
        "quorum": 2,
    }
    edited = await asked(
        stack, **usual, payload={NASTY: NASTY, "a": NASTY, "b": NASTY}, editable=editable, stage_path=NASTY
    )
    chosen = await asked(stack, **usual, payload=[NASTY], choices=[NASTY])
    pages = [await ada.open(page_path(approval.id, ADA)) for approval in (edited, chosen)]
    pages.append(await ada.press(pages[0], "approve", notes="x" * 2001 + NASTY))
    pages.append(await ada.press(pages[2], "approve", notes=NASTY))
    pages.append(await ada.press(pages[1], "choose:0", notes=NASTY))
    pages += [await bob.open(page_path(approval.id, BOB)) for approval in (edited, chosen)]
    pages.append(await bob.press(pages[-1], "choose:0", notes=NASTY))
    pages.append(await bob.send(pages[-1], {"action": "send-link", "email": NASTY}))
    for page in pages:
        assert "<script" not in page.response.text
        assert "<img" not in page.response.text
        assert page.response.text.count("</title>") == 1
    assert all("{{ 7 * 7 }}" in page.text for page in pages[:-1])
    assert pages[0].inputs["response.a"] == NASTY
