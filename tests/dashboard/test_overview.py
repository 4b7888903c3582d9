"""The overview and the first run: what needs a human, what runs, what came of the day, and the first ping."""

import re
from collections.abc import AsyncIterator
from datetime import timedelta

import httpx
import pytest
from sqlalchemy import text, update

from config.clock import utc_now
from storage.base import Sessions, transaction
from storage.pulses import PulseStanding
from tests.api.calls import Calls, new_id
from tests.api.conftest import calls_to
from tests.support.dashboard import Screen, Site, site_of
from tests.support.waiting import until

CALM = "Nothing needs you"


async def shows(site: Site, words: str, path: str = "/") -> Screen:
    """The page, once it has these words."""

    async def has_them() -> Screen | None:
        screen = await site.open(path)
        return screen if words in screen.text else None

    screen: Screen = await until(has_them)
    return screen


def matters(screen: Screen) -> dict[str, str]:
    """What needs a human: its heading, and all that is said of it."""
    return {
        " ".join(card.select_one("h3").get_text(" ").split()): " ".join(card.get_text(" ").split())  # type: ignore[union-attr]
        for card in screen.main.select(".matters")
    }


async def test_an_account_without_any_ping_is_shown_how_to_send_one(fresh: Site) -> None:
    screen = await fresh.open("/")
    assert screen.status == 200
    assert CALM in screen.text
    assert "/hbk/first-ping?create=1&period=86400&key=YOUR_KEY" in screen.text
    assert "Runs now" not in screen.text
    assert screen.main.select_one("#begin[data-part] #send") is not None


async def test_the_first_ping_by_the_line_that_is_shown(fresh: Site, fresh_calls: Calls) -> None:
    welcome = await fresh.open("/welcome")
    assert "Waiting for your first ping" in welcome.text
    made = await fresh.submit(welcome, "/welcome")
    line = re.search(r'curl -fsS "([^"]+)"', made.text)
    assert line is not None
    assert "ppk_" in line[1]
    assert made.response.headers["cache-control"] == "no-store"
    path = re.sub(r"^https?://[^/]+", "", line[1])
    assert (await fresh_calls.http.get(path, headers={"X-API-Key": ""})).status_code == 200
    arrived = await shows(fresh, "It arrived", "/welcome")
    assert "Waiting" not in arrived.text
    assert arrived.links["first-ping"].startswith("/pulses/pls_")
    overview = await fresh.open("/")
    assert "Send your first ping" not in overview.text
    assert overview.main.select_one("#begin[data-part]") is not None, "it is exchanged on pages that are open"


async def test_the_key_is_shown_once_and_may_only_ping(fresh: Site) -> None:
    made = await fresh.submit(await fresh.open("/welcome"), "/welcome")
    key = re.search(r"ppk_\w+", made.text)
    assert key is not None
    assert key[0] not in (await fresh.open("/welcome")).text
    async with httpx.AsyncClient(base_url=fresh.http.base_url, headers={"X-API-Key": key[0]}) as program:
        assert (await program.get("/api/keys")).status_code == 403


async def test_each_kind_of_matter_has_its_reason_and_its_link(fresh: Site, fresh_calls: Calls) -> None:
    workflow_id = await fresh_calls.define(name="Nightly ETL")
    failed = (await fresh_calls.static(workflow_id, 1))["instance_id"]
    await fresh_calls.static(workflow_id, 2, status="failed", error="out of memory")
    await fresh_calls.get("/hbk/robot/fail", create=1)
    await fresh_calls.post(
        "/api/approvals", {"context": "Pay?", "title": "Pay 12 invoices", "approvers": ["b@x.org"]}, 201
    )
    mine = {"context": "Publish?", "title": "Publish the report", "approvers": [fresh.email]}
    await fresh_calls.post("/api/approvals", mine, 201)
    screen = await shows(fresh, "1 pulse is down")
    screen = await shows(fresh, "1 workflow failed")
    found = matters(screen)
    assert list(found) == [
        "Down 1 pulse is down",
        "Failed 1 workflow failed, with no good run since",
        "Waits 2 approvals wait for a decision",
    ]
    assert "out of memory" in found["Failed 1 workflow failed, with no good run since"]
    assert screen.links["Nightly ETL"] == f"/instances/{failed}"
    assert screen.links["robot"].startswith("/pulses/pls_")
    waits = found["Waits 2 approvals wait for a decision"]
    assert waits.index("Publish the report asks you") < waits.index("Pay 12 invoices")
    assert screen.links["Decide : Publish the report"].startswith("/approvals/apr_")
    assert CALM not in screen.text


async def test_a_good_run_ends_the_matter_of_a_failed_one(fresh: Site, fresh_calls: Calls) -> None:
    workflow_id = new_id()
    for _ in range(2):
        await fresh_calls.dynamic(workflow_id, "1", start="yes", status="failed")
    assert "2 runs failed" in (await shows(fresh, "2 runs failed")).text
    good = (await fresh_calls.dynamic(workflow_id, "1", start="yes", final="yes"))["instance_id"]
    await fresh_calls.settled(good, "completed")
    screen = await shows(fresh, CALM)
    assert not matters(screen)
    day = screen.main.select_one("svg.day")
    assert day is not None
    assert day["aria-label"] == "In the last 24 hours 1 run ended well, 2 failed; 3 pings."


async def test_paused_runs_stopped_days_and_overdue_jobs(fresh: Site, fresh_calls: Calls, sessions: Sessions) -> None:
    workflow_id, instance_id = await fresh_calls.open()
    hook = await fresh_calls.post("/api/process-hooks", {"name": "Import", "expected_seconds": 60}, 201)
    run = await fresh_calls.get(f"/phk/{hook['id']}/start")
    await until(lambda: _are_recorded(sessions, instance_id, run["run_id"]))
    now = utc_now()
    async with transaction(sessions) as session:
        # As their workflows would record it.
        await session.execute(
            text("UPDATE instances SET status = 'paused', failure_reason = 'Cost limit reached' WHERE id = :id"),
            {"id": instance_id},
        )
        await session.execute(
            text("UPDATE process_runs SET status = 'overdue', overdue_at = :now WHERE id = :id"),
            {"id": run["run_id"], "now": now},
        )
    body = {"budget_daily_limit_usd": 5, "budget_action": "pause"}
    assert (await fresh_calls.http.put(f"/api/workflows/{workflow_id}/budget", json=body)).is_success
    async with transaction(sessions) as session:
        await session.execute(
            text("UPDATE budgets SET stop_reason = '$5 spent', stopped_until = :at WHERE workflow_id = :id"),
            {"id": workflow_id, "at": now + timedelta(hours=3)},
        )
    screen = await fresh.open("/")
    found = matters(screen)
    assert "Cost limit reached" in found["Paused 1 run is paused"]
    assert "$5 spent" in found["Stopped 1 workflow is stopped for the day by its budget"]
    assert f"/workflows/{workflow_id}/budget" in screen.links.values()
    assert f"/process-hooks/{hook['id']}/runs/{run['run_id']}" in screen.links.values()
    assert "Overdue 1 job is overdue" in found


async def _are_recorded(sessions: Sessions, instance_id: str, run_id: str) -> bool:
    """Their workflows have begun, and write nothing more of themselves."""
    async with sessions() as session:
        query = text("""SELECT (SELECT version > 0 FROM instances WHERE id = :instance_id)
            AND (SELECT version > 0 FROM process_runs WHERE id = :run_id)""")
        return bool(await session.scalar(query, {"instance_id": instance_id, "run_id": run_id}))


async def test_a_channel_that_cannot_be_reached_needs_somebody(fresh: Site, fresh_calls: Calls) -> None:
    await fresh_calls.get("/hbk/robot", create=1)
    body = {"kind": "webhook", "name": "On call", "url": "http://127.0.0.1:9/hook"}
    channel = await fresh_calls.post("/api/channels", body, 201)
    await fresh_calls.post(f"/api/channels/{channel['id']}/test", {}, 202)
    screen = await shows(fresh, "1 channel cannot be reached")
    assert screen.links["On call"] == f"/channels/{channel['id']}"


async def test_what_runs_is_shown_with_its_stage_and_agent(fresh: Site, fresh_calls: Calls) -> None:
    workflow_id, instance_id = await fresh_calls.open(agent="planner")
    await fresh_calls.dynamic(workflow_id, "research", instance_id=instance_id, agent="reader")
    hook = await fresh_calls.post("/api/process-hooks", {"name": "Import", "expected_seconds": 600}, 201)
    await fresh_calls.get(f"/phk/{hook['id']}/start", agent="worker-1")
    screen = await shows(fresh, "research")
    run, job = screen.rows()
    assert run[0].endswith(instance_id)
    assert run[1].startswith("research")
    assert run[1].endswith("by reader")
    assert run[4] == "not known yet"
    assert "by worker-1" in job[1]
    assert screen.soup.body is not None
    assert screen.soup.body["data-live"] == "account"


async def test_names_are_escaped(fresh: Site, fresh_calls: Calls) -> None:
    name = "<script>alert(1)</script>\u202e" + "x" * 150
    workflow_id = await fresh_calls.define(name=name)
    await fresh_calls.static(workflow_id, 1, status="failed", error="<img src=x onerror=alert(1)>" * 200)
    screen = await shows(fresh, "1 workflow failed")
    assert "<script>alert" not in screen.response.text
    assert "<img" not in screen.response.text
    assert "\u202e" not in screen.response.text


async def test_nothing_of_another_account_is_shown(fresh: Site, quick_gateway: str, sessions: Sessions) -> None:
    async with (
        site_of(quick_gateway, sessions) as other,
        calls_to(quick_gateway, other.account_id, other.key) as theirs,
    ):
        await theirs.get("/hbk/their-robot/fail", create=1)
        await shows(other, "their-robot")
        assert "their-robot" not in (await fresh.open("/")).text


async def test_viewers_see_it_and_make_no_keys(viewer: Site) -> None:
    screen = await viewer.open("/welcome")
    assert not [form for form in screen.main.select("form") if form.get("method") == "post"]
    assert (await viewer.post("/welcome", [])).status == 403


@pytest.fixture(scope="module")
async def crowd(quick_gateway: str, sessions: Sessions) -> AsyncIterator[Site]:
    """An account with 200 pulses, of which 30 are down."""
    async with site_of(quick_gateway, sessions) as site, calls_to(quick_gateway, site.account_id, site.key) as calls:
        ids = [
            (await calls.post("/api/pulses", {"name": f"Probe {number}", "period_seconds": 86400}, 201))["id"]
            for number in range(30)
        ]
        await calls.get("/hbk/probe-0")
        async with transaction(sessions) as session:
            await session.execute(
                text("""INSERT INTO pulse_standings
                    (pulse_id, version, revision, status, since, failures, state, delivered)
                SELECT id, 0, revision, 'down', now(), 0, '{}', '{}' FROM pulses WHERE id = ANY(:ids)
                ON CONFLICT (pulse_id) DO NOTHING"""),
                {"ids": ids},
            )
            await session.execute(update(PulseStanding).where(PulseStanding.pulse_id.in_(ids)).values(status="down"))
        yield site


async def test_of_many_a_few_are_shown_and_all_are_counted(crowd: Site) -> None:
    screen = await crowd.open("/")
    (heading,) = [heading for heading in matters(screen) if heading.startswith("Down")]
    assert int(heading.split()[1]) >= 29
    assert len(screen.main.select(".matters .list > li")) == 5
    assert any(link.endswith(" more") for link in screen.links)
