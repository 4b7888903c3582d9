"""The approver's page as people use it: by mouse, by touch, by keyboard and by ear, without scripts."""

import re
from collections.abc import Awaitable, Callable
from typing import Any
from uuid import uuid4

import pytest
from axe_playwright_python.async_playwright import Axe
from playwright.async_api import Page, expect

from storage.approval_access import get_code
from storage.base import transaction
from storage.vault import Vault
from tests.api.conftest import PASSWORD, make_user
from tests.browser.conftest import OpenPage
from tests.support.approval_pages import events_of, page_path, stored, voted
from tests.support.approvals import approve, ask
from tests.support.stack import SECRET, Stack

ADA, BOB = "ada@example.com", "bob@example.com"
LONG = "https://example.com/" + "x" * 300
EDITABLE: dict[str, Any] = {
    "type": "object",
    "required": ["subject"],
    "properties": {
        "subject": {
            "type": "string",
            "title": "Subject of the mail",
            "maxLength": 80,
            "description": "It comes first.",
        },
        "copies": {"type": "integer", "minimum": 1, "maximum": 9},
        "urgent": {"type": "boolean", "description": "It goes out at once."},
        "list": {"type": "string", "enum": ["press", "customers"]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "text": {"type": "string"},
    },
}
VALUES = {"subject": "Q4", "copies": 2, "list": "press", "tags": ["a"], "text": f"See {LONG}"}
PHONE: dict[str, Any] = {"viewport": {"width": 360, "height": 740}, "has_touch": True, "is_mobile": True}
TARGET = 44


async def asked(stack: Stack, **values: Any) -> str:
    """The id of a new approval."""
    return (await ask(stack.sessions, stack.account_id, **{"title": "Publish the report?", **values})).id


async def press(page: Page, name: str) -> None:
    """Returns when the answer is there."""
    async with page.expect_navigation():
        await page.get_by_role("button", name=name, exact=True).click()


async def test_without_scripts_a_click_decides(stack: Stack, open_page: OpenPage) -> None:
    approval_id = await asked(stack, payload=VALUES, editable=EDITABLE)
    page = await open_page(page_path(approval_id, ADA))
    await page.get_by_label("Subject of the mail").fill("Q4, final")
    await page.get_by_label("Copies").fill("3")
    await page.get_by_label("Urgent").check()
    await page.get_by_label("List").select_option("customers")
    await page.get_by_label("Note").fill("Looks good, proceed!")
    await press(page, "Approve")
    assert await page.title() == "Approved: Publish the report? · PingPulse"
    assert await page.get_by_role("status").inner_text() == "Approved by you (ada@example.com)."
    decided = await stored(stack.sessions, approval_id)
    changed = {"subject": "Q4, final", "copies": 3, "urgent": True, "list": "customers"}
    assert (decided.response, decided.notes) == ({**VALUES, **changed}, "Looks good, proceed!")


async def test_a_refused_form_keeps_what_was_typed_and_names_what_is_wrong(stack: Stack, open_page: OpenPage) -> None:
    approval_id = await asked(stack, payload=VALUES, editable=EDITABLE)
    page = await open_page(page_path(approval_id, ADA))
    await page.get_by_label("Tags").fill("[oops")
    await page.get_by_label("Note").fill("Typed")
    await press(page, "Approve")
    alert = page.get_by_role("alert")
    assert "something has to be corrected" in await alert.inner_text()
    await alert.get_by_role("link", name="Tags").click()
    assert await page.get_by_label("Tags").input_value() == "[oops"
    assert await page.get_by_label("Note").input_value() == "Typed"
    await page.get_by_label("Tags").fill("[]")
    await press(page, "Approve")
    assert (await page.title()).startswith("Approved: ")


async def test_a_double_click_votes_once(stack: Stack, open_page: OpenPage) -> None:
    approval_id = await asked(stack)
    page = await open_page(page_path(approval_id, ADA))
    await page.get_by_role("button", name="Approve").dblclick()
    await expect(page).to_have_title(re.compile("Approved: Publish the report"))
    assert (await events_of(stack.sessions, approval_id)).count("voted") == 1


async def test_back_and_reload_after_a_decision_decide_nothing(stack: Stack, open_page: OpenPage) -> None:
    approval_id = await asked(stack, approvers=[ADA, BOB, "eve@example.com"], quorum=2)
    page = await open_page(page_path(approval_id, ADA))
    await press(page, "Deny")
    for move in (page.reload, page.go_back, page.go_forward, page.reload):
        await move()
        assert await page.get_by_role("heading", name="You have voted").is_visible()
        assert await page.get_by_role("button").count() == 0
    assert (await events_of(stack.sessions, approval_id)).count("voted") == 1


async def test_a_form_from_an_old_tab_says_what_happened(stack: Stack, open_page: OpenPage) -> None:
    approval_id = await asked(stack)
    one, two = [await open_page(page_path(approval_id, ADA)) for _ in range(2)]
    await press(one, "Approve")
    await press(two, "Deny")
    assert "before your answer came" in await two.get_by_role("alert").inner_text()
    assert (await stored(stack.sessions, approval_id)).status == "approved"


async def test_no_address_leaves_the_page(stack: Stack, open_page: OpenPage) -> None:
    """The link is a secret: nothing that the page loads or sends tells it to others."""
    approval_id = await asked(stack, context=LONG)
    page = await open_page("about:blank")
    seen: list[Any] = []
    page.on("request", lambda request: seen.append(request))
    await page.goto(page_path(approval_id, ADA))
    await press(page, "Approve")
    assert {request.url.partition("?")[0] for request in seen} == {f"{stack.url}/approvals/{approval_id}"}
    headers = [await request.all_headers() for request in seen]
    assert all("referer" not in sent for sent in headers)
    assert [sent["origin"] for sent in headers if "origin" in sent] == ["null"]


# On a phone


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_a_phone_shows_it_all(stack: Stack, open_page: OpenPage, scheme: str) -> None:
    approval_id = await asked(
        stack,
        title="Pneumonoultramicroscopicsilicovolcanoconiosis" * 2,
        context=f"See {LONG}",
        payload={**VALUES, "k" * 200: "v" * 200},
        editable=EDITABLE,
        requested_by="b" * 200,
        stage_path="s" * 100,
        workflow_id="w" * 100,
    )
    chosen_id = await asked(stack, choices=["c" * 100, "Green", "Blue"], payload=dict.fromkeys("ab", "v" * 300))
    for path in (page_path(approval_id, ADA), page_path(chosen_id, ADA, "deny"), page_path(chosen_id)):
        page = await open_page(path, color_scheme=scheme, **PHONE)
        assert await page.evaluate("document.documentElement.scrollWidth") <= 360
        # A link in the middle of a sentence is as tall as its line.
        for target in await page.locator(
            "button:not(.nothing), input:visible:not([type=checkbox]), select, .jump a"
        ).all():
            box = await target.bounding_box()
            assert box is not None
            assert box["height"] >= TARGET
            assert box["x"] >= 0
            assert box["x"] + box["width"] <= 360
    await page.close()


@pytest.mark.parametrize(
    ("payload", "last"),
    [
        ({f"field {number}": f"value {number}" for number in range(40)}, "value 39"),
        ([f"word {number}" for number in range(200)], "word 199"),
        ({"text": "word " * 1000 + "end"}, "word end"),
    ],
)
async def test_a_long_payload_does_not_push_the_decision_away(
    stack: Stack, open_page: OpenPage, payload: Any, last: str
) -> None:
    context = "Please read this."
    page = await open_page(page_path(await asked(stack, context=context, payload=payload), ADA), **PHONE)
    box = await page.get_by_role("button", name="Approve").bounding_box()
    assert box is not None
    assert box["y"] < 2 * PHONE["viewport"]["height"]
    assert await page.get_by_text(context).is_visible()
    content = page.get_by_text(last)
    assert not await content.is_visible()
    summary = page.locator("summary")
    assert "Show what was sent along (" in await summary.inner_text()
    size = await summary.bounding_box()
    assert size is not None
    assert size["height"] >= TARGET
    await summary.tap()
    assert await content.is_visible()


async def test_a_short_payload_is_open(stack: Stack, open_page: OpenPage) -> None:
    payload = {f"field {number}": f"value {number}" for number in range(12)}
    page = await open_page(page_path(await asked(stack, payload=payload), ADA), **PHONE)
    assert await page.get_by_text("value 11").is_visible()
    assert await page.locator("details").count() == 0


# By keyboard


async def test_by_keyboard_only(stack: Stack, open_page: OpenPage) -> None:
    approval_id = await asked(stack, payload=VALUES, editable=EDITABLE)
    page = await open_page(page_path(approval_id, ADA))
    seen = []
    for _ in range(20):
        await page.keyboard.press("Tab")
        focused = page.locator(":focus")
        if not await focused.count():
            break
        seen.append(await focused.evaluate("one => one.name || one.hash || one.tagName"))
        assert await focused.evaluate("one => getComputedStyle(one).outlineStyle") == "solid"
        if await focused.get_attribute("value") == "deny":
            break
    fields = [f"response.{name}" for name in EDITABLE["properties"]]
    assert seen == ["#decide", "SUMMARY", *fields, "notes", "action", "action"]
    # Back to "Approve".
    await page.keyboard.press("Shift+Tab")
    await page.keyboard.press("Enter")
    await page.get_by_role("heading", name="Outcome").wait_for()
    assert (await stored(stack.sessions, approval_id)).status == "approved"


@pytest.mark.parametrize("field", ["Subject of the mail", "Copies", "Urgent", "Code from the mail"])
async def test_enter_in_a_field_decides_nothing(stack: Stack, open_page: OpenPage, field: str) -> None:
    approval_id = await asked(stack, payload=VALUES, editable=EDITABLE, confirm="code")
    page = await open_page(page_path(approval_id, ADA))
    await press(page, "Mail me a code")
    await page.get_by_label("Copies").fill("")
    await page.get_by_label(field).press("Enter")
    assert "press one of the buttons" in await page.get_by_role("alert").inner_text()
    assert await page.get_by_label("Copies").input_value() == ""
    assert await events_of(stack.sessions, approval_id) == ["viewed", "code_sent"]


async def test_a_reload_mails_no_second_code(stack: Stack, open_page: OpenPage) -> None:
    approval_id = await asked(stack, confirm="code")
    page = await open_page(page_path(approval_id, ADA))
    await press(page, "Mail me a code")
    await page.reload()
    assert "was sent before" in await page.get_by_role("alert").inner_text()
    assert await page.get_by_label("Code from the mail").is_visible()
    assert (await events_of(stack.sessions, approval_id)).count("code_sent") == 1


async def test_the_link_to_the_decision_leads_there(stack: Stack, open_page: OpenPage) -> None:
    page = await open_page(page_path(await asked(stack, context="line\n" * 100), ADA))
    await page.get_by_role("link", name="Go to the decision").press("Enter")
    await page.keyboard.press("Tab")
    assert await page.locator(":focus").get_attribute("name") == "notes"


# What takes more than a link


async def test_a_code_from_the_mail(stack: Stack, open_page: OpenPage) -> None:
    approval_id = await asked(stack, confirm="code")
    page = await open_page(page_path(approval_id, ADA))
    await page.get_by_label("Note").fill("Typed before")
    await press(page, "Mail me a code")
    async with stack.sessions() as session:
        code = await get_code(session, approval_id, ADA)
        assert code is not None
    await page.get_by_label("Code from the mail").fill(Vault(SECRET).decrypt(code.code))
    await press(page, "Approve")
    assert (await page.title()).startswith("Approved: ")
    assert (await stored(stack.sessions, approval_id)).notes == "Typed before"


async def test_a_login(stack: Stack, open_page: OpenPage) -> None:
    email = await new_user(stack)
    page = await open_page(page_path(await asked(stack, confirm="login", approvers=[email]), email))
    await page.get_by_label("Password").fill(PASSWORD)
    await page.get_by_label("Password").press("Enter")
    await press(page, "Approve")
    assert (await page.title()).startswith("Approved: ")


# By ear


async def new_user(stack: Stack) -> str:
    async with transaction(stack.sessions) as session:
        return await make_user(session, stack.account_id, f"{uuid4().hex[:8]}@example.com", "member")


async def question(stack: Stack) -> str:
    values = {"payload": {"order": 1, "note": "x"}, "workflow_id": "blog", "escalate_to": [BOB], "escalate_after": 90.0}
    return page_path(await asked(stack, **values), ADA)


async def question_after_deny_in_the_mail(stack: Stack) -> str:
    return page_path(await asked(stack), ADA, "deny")


async def long_payload(stack: Stack) -> str:
    return page_path(await asked(stack, payload={f"field {number}": "value" for number in range(40)}), ADA)


async def deceptive_values(stack: Stack) -> str:
    return page_path(await asked(stack, payload={**VALUES, "subject": "pay \u202e001"}, editable=EDITABLE), ADA)


async def unfold(page: Page) -> None:
    await page.locator("summary").click()


async def form(stack: Stack) -> str:
    return page_path(await asked(stack, payload=VALUES, editable=EDITABLE), ADA)


async def choices(stack: Stack) -> str:
    return page_path(await asked(stack, choices=["Blue", "Green"], payload=[1, {"a": "b"}]), ADA)


async def code(stack: Stack) -> str:
    return page_path(await asked(stack, confirm="code"), ADA)


async def login(stack: Stack) -> str:
    return page_path(await asked(stack, confirm="login"), ADA)


async def have_voted(stack: Stack) -> str:
    approval = await ask(stack.sessions, stack.account_id, approvers=[ADA, BOB], quorum=2)
    await voted(stack.sessions, approval, ADA, approve(notes="Go"))
    return page_path(approval.id, ADA)


async def decided(stack: Stack) -> str:
    approval = await ask(stack.sessions, stack.account_id, approvers=[ADA, BOB], payload=VALUES, editable=EDITABLE)
    await voted(stack.sessions, approval, BOB, approve(notes="Go"))
    return page_path(approval.id, ADA)


async def expired(stack: Stack) -> str:
    return page_path(await asked(stack, timeout=0.001), ADA)


async def own_request(stack: Stack) -> str:
    return page_path(await asked(stack, requesters=[ADA], forbid_self=True), ADA)


async def door(stack: Stack) -> str:
    return page_path(await asked(stack))


async def not_found(stack: Stack) -> str:
    return "/approvals/apr_0"


async def wrong_fields(page: Page) -> None:
    await page.get_by_label("Tags").fill("[oops")
    await press(page, "Approve")


async def wrong_code(page: Page) -> None:
    await press(page, "Mail me a code")
    await page.get_by_label("Code from the mail").fill("1")
    await press(page, "Deny")


async def wrong_password(page: Page) -> None:
    await page.get_by_label("Password").fill("wrong password")
    await press(page, "Log in")


async def decision(page: Page) -> None:
    await page.get_by_label("Note").fill("Go")
    await press(page, "Deny")


async def nothing(_: Page) -> None:
    pass


STATES: dict[str, tuple[Callable[[Stack], Awaitable[str]], Callable[[Page], Awaitable[None]]]] = {
    "question": (question, nothing),
    "after a click in the mail": (question_after_deny_in_the_mail, nothing),
    "long payload": (long_payload, nothing),
    "long payload, unfolded": (long_payload, unfold),
    "deceptive values": (deceptive_values, nothing),
    "form": (form, nothing),
    "wrong fields": (form, wrong_fields),
    "choices": (choices, nothing),
    "just decided": (choices, decision),
    "code": (code, nothing),
    "wrong code": (code, wrong_code),
    "login": (login, nothing),
    "wrong password": (login, wrong_password),
    "have voted": (have_voted, nothing),
    "decided": (decided, nothing),
    "expired": (expired, nothing),
    "own request": (own_request, nothing),
    "door": (door, nothing),
    "not found": (not_found, nothing),
}


@pytest.mark.parametrize(("path_of", "act"), STATES.values(), ids=STATES)
async def test_nothing_stands_in_the_way_of_anybody(
    stack: Stack,
    open_page: OpenPage,
    path_of: Callable[[Stack], Awaitable[str]],
    act: Callable[[Page], Awaitable[None]],
) -> None:
    # The audit is a script; the page's own policy would not let it in.
    page = await open_page(await path_of(stack), java_script_enabled=True, bypass_csp=True)
    await act(page)
    for scheme in ("light", "dark"):
        await page.emulate_media(color_scheme=scheme)
        found = (await Axe().run(page)).response["violations"]
        assert [(one["id"], [node["html"] for node in one["nodes"]]) for one in found] == []
    assert await page.locator("h1").count() == 1
    assert await page.locator("main").count() == 1


async def test_whoever_may_only_look(stack: Stack, open_page: OpenPage) -> None:
    email = await new_user(stack)
    page = await open_page(page_path(await asked(stack)), java_script_enabled=True, bypass_csp=True)
    await page.locator("#email").fill(email)
    await page.get_by_label("Password").fill(PASSWORD)
    await press(page, "Log in")
    assert await page.get_by_role("heading", name="You may look, but not decide").is_visible()
    assert (await Axe().run(page)).violations_count == 0


async def test_the_policy_of_the_page_lets_its_style_in_and_no_script(stack: Stack, open_page: OpenPage) -> None:
    page = await open_page("about:blank", java_script_enabled=True)
    said: list[str] = []
    page.on("console", lambda message: said.append(message.text))
    await page.goto(page_path(await asked(stack), ADA))
    assert await page.evaluate("getComputedStyle(document.querySelector('.card')).borderRadius") == "14px"
    assert said == []
    await page.evaluate(
        "document.body.append(Object.assign(document.createElement('script'), {text: 'window.ran = 1'}))"
    )
    assert await page.evaluate("window.ran") is None
