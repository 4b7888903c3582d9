"""What people do with the dashboard, from end to end, in a real browser with scripts. Pages change by themselves."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass

import pytest
from playwright.async_api import Browser, Page, expect

from activities.mail import MailCatcher
from config.clock import utc_now
from domain.accounts import Role
from storage.base import Sessions
from tests.api.calls import Calls
from tests.api.conftest import PASSWORD, calls_to
from tests.browser.visiting import logged_in_context
from tests.support.approval_pages import events_of
from tests.support.dashboard import Site, site_of
from tests.support.receivers import http_receiver
from tests.support.stack import Stack
from tests.support.waiting import until

PATIENCE_MS = 30_000
"""For what workflows, timers and senders do; pages do the rest within seconds."""


@dataclass(frozen=True)
class Someone:
    """Somebody at the dashboard, and what programs do in the same account."""

    page: Page
    site: Site
    calls: Calls


Visit = Callable[..., Awaitable[Someone]]


@pytest.fixture
async def visit(chromium: Browser, stack: Stack, sessions: Sessions) -> AsyncIterator[Visit]:
    """Somebody of this role who is logged in, in a new account."""
    async with AsyncExitStack() as leaving:

        async def visit(role: Role = "owner") -> Someone:
            site = await leaving.enter_async_context(site_of(stack.url, sessions, role))
            calls = await leaving.enter_async_context(calls_to(stack.url, site.account_id, site.key))
            context = await leaving.enter_async_context(logged_in_context(chromium, stack.url, site))
            return Someone(await context.new_page(), site, calls)

        expect.set_options(timeout=PATIENCE_MS)
        yield visit


async def is_live(page: Page) -> None:
    await expect(page.locator("body[data-is-live]")).to_have_count(1)


async def press(page: Page, name: str) -> None:
    """Returns when the answer is there."""
    async with page.expect_navigation():
        await page.get_by_role("button", name=name, exact=True).click()


async def test_the_first_ping_is_seen_as_it_arrives(visit: Visit) -> None:
    someone = await visit()
    page = someone.page
    await page.goto("/welcome")
    await press(page, "Make a key for this")
    line = await page.locator("pre", has_text="curl").first.inner_text()
    await is_live(page)
    await expect(page.get_by_text("Waiting for your first ping")).to_be_visible()
    # The tests' gateway listens elsewhere than its settings say.
    address = re.search(r'"http://[^/]+(/[^"]+)"', line)
    assert address is not None, line
    assert (await someone.site.http.get(address[1])).status_code == 200
    await expect(page.get_by_text("It arrived")).to_be_visible()


async def test_a_static_workflow_is_created_and_seen_to_fail_by_timeout(visit: Visit) -> None:
    someone = await visit()
    page = someone.page
    await page.goto("/workflows/new")
    await page.get_by_label("Name", exact=True).fill("Nightly load")
    rows = page.locator(".stage-rows li")
    await rows.nth(0).get_by_role("textbox").nth(0).fill("Extract")
    await page.get_by_role("button", name="Add a stage").click()
    await rows.nth(1).get_by_role("textbox").nth(0).fill("Load")
    await rows.nth(1).get_by_role("textbox").nth(1).fill("2 s")
    await page.get_by_label("Grace period").fill("1 s")
    await press(page, "Create workflow")
    await expect(page.get_by_role("heading", level=1)).to_contain_text("Nightly load")
    workflow_id = page.url.rpartition("/")[2].partition("?")[0]
    answer = await someone.calls.static(workflow_id, 1)
    await page.goto(f"/instances/{answer['instance_id']}")
    await is_live(page)
    await expect(page.locator("#standing-part .state").first).to_contain_text("Running")
    await expect(page.locator("#standing-part .state").first).to_contain_text("Failed")
    await expect(page.locator("#standing-part")).to_contain_text("Stage 2 timeout")


async def test_a_run_is_stepped_through_forked_and_compared(visit: Visit) -> None:
    someone = await visit()
    page, calls = someone.page, someone.calls
    workflow_id, instance_id = await calls.open(stage="1", agent="planner")
    for stage, agent in (("2", "writer"), ("3", "critic")):
        body = {"stagePath": stage, "agent": agent, "instance_id": instance_id, "payload": {"draft": stage}}
        await calls.post(f"/dhk/{workflow_id}", body)
    await calls.dynamic(workflow_id, "4", instance_id=instance_id, agent="publisher", final="yes")
    await calls.settled(instance_id, "completed")
    await page.goto(f"/instances/{instance_id}")
    stages = page.locator("#stages-part")
    await expect(stages).to_contain_text("publisher")
    slider = page.get_by_role("slider")
    await slider.focus()
    for _ in range(2):
        await slider.press("ArrowLeft")
    await expect(page).to_have_url(re.compile(r"step=1\b"))
    await expect(stages).to_contain_text("writer")
    await expect(stages).not_to_contain_text("critic")
    await page.get_by_role("link", name="Fork from here").click()
    await page.get_by_label("A fork").check()
    await press(page, "Make it")
    await expect(page.locator("#standing-part")).to_contain_text("fork of")
    fork_id = page.url.rpartition("/")[2].partition("?")[0]
    assert fork_id != instance_id
    await calls.dynamic(workflow_id, "3", instance_id=fork_id, agent="other critic", final="yes")
    await page.goto(f"/compare?a={instance_id}&b={fork_id}")
    await press(page, "Compare")
    await expect(page).to_have_url(re.compile("/comparisons/"))
    await expect(page.locator("main")).to_contain_text("other critic")


async def test_a_budget_trips_and_the_run_is_resumed(visit: Visit) -> None:
    someone = await visit()
    page, calls = someone.page, someone.calls
    workflow_id = await calls.define("dynamic", name="Agents")
    await page.goto(f"/workflows/{workflow_id}/budget")
    await page.get_by_label("Limit of a run, $").fill("1.50")
    await page.get_by_label("Tell and pause the run").check()
    await press(page, "Save budget")
    answer = await calls.post(f"/dhk/{workflow_id}", {"stagePath": "1", "start": "yes", "cost_usd": "1.00"})
    instance_id = str(answer["instance_id"])
    await page.goto(f"/instances/{instance_id}")
    await is_live(page)
    await calls.post(f"/dhk/{workflow_id}", {"stagePath": "2", "instance_id": instance_id, "cost_usd": "0.75"})
    await expect(page.get_by_role("heading", name="Paused by its budget")).to_be_visible()
    await page.get_by_label("New limit in US dollars").fill("5")
    await press(page, "Resume")
    await expect(page.locator("#standing-part .state").first).to_contain_text("Running")
    after = await calls.post(f"/dhk/{workflow_id}", {"stagePath": "3", "instance_id": instance_id, "cost_usd": "1.00"})
    assert after["workflow_status"] == "running"


async def test_a_pulse_goes_down_and_recovers(visit: Visit) -> None:
    someone = await visit()
    page, calls = someone.page, someone.calls
    await page.goto("/pulses/new")
    await page.get_by_label("Name", exact=True).fill("Robot 7")
    await page.get_by_label("Every so often").check()
    await page.get_by_label("Every", exact=True).fill("2 s")
    await page.get_by_label("Grace", exact=True).fill("1 s")
    await press(page, "Create pulse")
    pulse_id = page.url.rpartition("/")[2].partition("?")[0]
    await calls.get(f"/hbk/{pulse_id}")
    await is_live(page)
    state = page.locator("#standing .state").first
    await expect(state).to_contain_text("Down")
    await calls.get(f"/hbk/{pulse_id}")
    await expect(state).to_contain_text("Up")
    await expect(page.locator("#events")).to_contain_text("Down")


async def test_a_channel_is_created_and_tested(visit: Visit) -> None:
    someone = await visit()
    page = someone.page
    async with http_receiver() as receiver:
        await page.goto("/channels/new?kind=webhook")
        await page.get_by_label("Name", exact=True).fill("On call")
        await page.get_by_label("URL").fill(f"http://127.0.0.1:{receiver.port}/hook")
        await press(page, "Add channel")
        await page.goto("/channels")
        await page.get_by_role("link", name="On call").click()
        await press(page, "Send a test")
        await is_live(page)
        await expect(page.locator("#log-part .state").first).to_contain_text("Sent")
        assert receiver.received[0].target == "/hook"


async def test_a_viewer_is_invited_and_cannot_write(visit: Visit, chromium: Browser, stack: Stack) -> None:
    someone = await visit()
    page = someone.page
    workflow_id = await someone.calls.define("dynamic", name="Agents")
    email = f"viewer-{someone.site.account_id[4:]}@example.com"
    await page.goto("/settings/members")
    await page.get_by_label("E-mail address").fill(email)
    await page.get_by_label("Viewer").check()
    await press(page, "Invite")
    link = (await page.locator("pre", has_text="/invitations/").inner_text()).strip()
    guest = await (await chromium.new_context(base_url=stack.url)).new_page()
    await guest.goto(f"/invitations/{link.rpartition('/')[2]}")
    await guest.get_by_label("Choose a password").fill(PASSWORD)
    await guest.get_by_label("The same once more").fill(PASSWORD)
    await press(guest, "Join")
    await guest.goto(f"/workflows/{workflow_id}")
    await expect(guest.get_by_role("heading", level=1)).to_contain_text("Agents")
    await guest.goto("/workflows/new")
    assert await guest.get_by_role("button", name="Create workflow").count() == 0
    token = next(one["value"] for one in await guest.context.cookies() if one["name"] == "csrf_token")
    form: dict[str, str | float | bool] = {
        "csrf_token": token,
        "kind": "dynamic",
        "name": "Mine",
        "grace_period_seconds": "60",
    }
    answer = await guest.request.post("/workflows/new", form=form, headers={"Accept": "text/html"})
    assert (answer.status, "viewer" in await answer.text()) == (403, True)
    assert len((await someone.calls.get("/api/workflows"))["workflows"]) == 1
    await guest.context.close()


async def link_in_mail(stack: Stack, account_id: str) -> str:
    """Where the newest mail of the account leads, below the address of the gateway."""
    assert stack.settings.mail_dir is not None
    catcher = MailCatcher(stack.settings.mail_dir, utc_now)
    kept = await until(lambda: catcher.newest(account_id, 1))
    text = kept[0].mail.get_body(("plain",)).get_content()
    link = re.search(r"/approvals/\S+token=\S+", text)
    assert link is not None, text
    return link[0]


async def test_a_question_is_answered_from_its_mail_and_kept_in_the_history(visit: Visit, stack: Stack) -> None:
    someone = await visit()
    page = someone.page
    asked = {"title": "Publish the figures?", "context": "1,204 rows differ.", "approvers": [someone.site.email]}
    approval = await someone.calls.post("/api/approvals", {**asked, "timeout_seconds": 600}, 201)
    await page.goto("/approvals")
    await is_live(page)
    await expect(page.get_by_role("link", name="Publish the figures?", exact=True)).to_be_visible()
    deciding = await page.context.new_page()
    await deciding.goto(await link_in_mail(stack, someone.site.account_id))
    await press(deciding, "Approve")
    await expect(page.get_by_role("heading", name="Nothing waits for you")).to_be_visible()
    await page.goto("/approvals/history")
    await expect(page.locator("main")).to_contain_text("Publish the figures?")
    await expect(page.locator("main")).to_contain_text("Approved")
    assert "voted" in await events_of(stack.sessions, str(approval["approval_id"]))


async def logged_out(someone: Someone) -> None:
    """The login ends without a word."""
    await someone.page.context.clear_cookies()


async def test_what_is_typed_outlives_a_login_that_ended(visit: Visit) -> None:
    someone = await visit()
    page = someone.page
    await page.goto("/pulses/new")
    await page.get_by_label("Name", exact=True).fill("Robot 7")
    await page.get_by_label("At certain times").check()
    await page.get_by_label("Cron expression").fill("5 4 * * *")
    await logged_out(someone)
    await press(page, "Create pulse")
    await expect(page.get_by_role("status")).to_contain_text("nothing was saved")
    await page.get_by_label("E-mail address").fill(someone.site.email)
    await page.get_by_label("Password").fill(PASSWORD)
    await press(page, "Log in")
    await expect(page.get_by_text("What you had typed is here again")).to_be_visible()
    await expect(page.get_by_label("Name", exact=True)).to_have_value("Robot 7")
    await press(page, "Create pulse")
    assert (await someone.calls.get("/api/pulses"))["pulses"][0]["cron"] == "5 4 * * *"


async def test_a_live_page_says_so_when_the_login_has_ended_and_stays(visit: Visit) -> None:
    someone = await visit()
    page = someone.page
    await page.goto("/approvals")
    await is_live(page)
    await logged_out(someone)
    await someone.calls.open()
    await expect(page.get_by_role("link", name="Log in again")).to_be_visible()
    assert page.url.endswith("/approvals")


async def test_a_live_page_says_so_when_its_subject_was_deleted(visit: Visit) -> None:
    someone = await visit()
    page, calls = someone.page, someone.calls
    pulse = await calls.post("/api/pulses", {"name": "Robot", "period_seconds": 600}, 201)
    await calls.get(f"/hbk/{pulse['id']}")
    await page.goto(f"/pulses/{pulse['id']}")
    await is_live(page)
    await expect(page.locator("#standing .state").first).to_contain_text("Up")
    assert (await calls.http.delete(f"/api/pulses/{pulse['id']}")).status_code == 204
    await expect(page.get_by_text("it was deleted")).to_be_visible()
    await expect(page.get_by_role("button", name="Pause")).to_be_disabled()


async def test_a_reload_does_nothing_twice(visit: Visit) -> None:
    someone = await visit()
    page = someone.page
    await page.goto("/welcome")
    before = len((await someone.calls.get("/api/keys"))["keys"])
    await press(page, "Make a key for this")
    await page.reload()
    await expect(page.get_by_role("button", name="Make a key for this")).to_be_visible()
    assert len((await someone.calls.get("/api/keys"))["keys"]) == before + 1
