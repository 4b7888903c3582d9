"""Search: by what people remember of a thing."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage.base import Sessions
from storage.search import LAST_CHARACTER, MAX_QUERY, cleaned_query, find_things
from tests.api.calls import Calls, new_id
from tests.support.dashboard import Site, site_of


@pytest.fixture(scope="module")
async def things(calls: Calls) -> dict[str, Any]:
    """One of each kind, all of them in the account that the tests of a file share."""
    workflow_id = await calls.define(name="Quarterly 100% report", slug="quarterly-report", tags=["Finance"])
    _, instance_id = await calls.open(new_id("search"))
    pulse = await calls.post(
        "/api/pulses", {"name": "Backup_of\\disk", "slug": "disk-backup", "period_seconds": 60}, 201
    )
    hook = await calls.post("/api/process-hooks", {"name": "Nightly import", "expected_seconds": 60}, 201)
    run = await calls.get(f"/phk/{hook['id']}/start")
    asked = {"context": "Long story", "title": "Publish the annual report", "approvers": ["b@x.org"]}
    approval = await calls.post("/api/approvals", asked, 201)
    channel = {"kind": "email", "name": "Reporters", "address": "team@reporters.example"}
    channel = await calls.post("/api/channels", channel, 201)
    reported = await calls.define("run", name="Leads", slug="leads-of-search", stages=0)
    report = {"workflow_id": reported, "ended_at": "2026-01-15T09:00:04Z"}
    ids = {"external_execution_id": "Exec-9/ü", "correlation_id": "order_77"}
    answer = await calls.http.post("/api/v1/ingest/run-success", json={**report, **ids})
    assert answer.status_code == 202, answer.text
    return {
        "workflow": workflow_id,
        "instance": instance_id,
        "pulse": pulse["id"],
        "hook": hook["id"],
        "run": run["run_id"],
        "approval": approval["approval_id"],
        "channel": channel["id"],
        "reported": answer.json()["instance_id"],
    }


def address(kind: str, things: dict[str, Any]) -> str:
    return {
        "workflow": "/workflows/{workflow}",
        "instance": "/instances/{instance}",
        "reported": "/instances/{reported}",
        "pulse": "/pulses/{pulse}",
        "hook": "/process-hooks/{hook}",
        "run": "/process-hooks/{hook}/runs/{run}",
        "approval": "/approvals/{approval}",
        "channel": "/channels/{channel}",
    }[kind].format(**things)


@pytest.mark.parametrize(
    ("query", "kind"),
    [
        ("quarterly", "workflow"),
        ("100%", "workflow"),
        ("FINANCE", "workflow"),
        ("Backup_of", "pulse"),
        ("of\\disk", "pulse"),
        ("import", "hook"),
        ("annual", "approval"),
        ("reporters.ex", "channel"),
        ("Exec-9/", "reported"),
        ("order_", "reported"),
    ],
)
async def test_what_is_found_by_a_part(site: Site, things: dict[str, Any], query: str, kind: str) -> None:
    screen = await site.http.get("/search", params={"q": f" {query} "})
    assert screen.status_code == 200
    assert f'href="{address(kind, things)}"' in screen.text


@pytest.mark.parametrize("kind", ["workflow", "instance", "pulse", "hook", "run", "approval", "channel"])
async def test_an_exact_id_goes_to_its_page(site: Site, things: dict[str, Any], kind: str) -> None:
    answer = await site.http.get("/search", params={"q": things[kind]})
    assert (answer.status_code, answer.headers["location"]) == (303, address(kind, things))


@pytest.mark.parametrize("kind", ["instance", "run"])
async def test_the_beginning_of_an_id_is_enough(site: Site, things: dict[str, Any], kind: str) -> None:
    answer = await site.http.get("/search", params={"q": things[kind][:-2].upper()})
    assert f'href="{address(kind, things)}"' in answer.text


async def test_an_exact_slug_and_an_exact_external_id_go_to_their_pages(site: Site, things: dict[str, Any]) -> None:
    for query, kind in (("disk-backup", "pulse"), ("Exec-9/ü", "reported")):
        assert (await site.http.get("/search", params={"q": query})).headers["location"] == address(kind, things)


@pytest.mark.parametrize("query", ["%", "_", "\\", "%%%", "\x00", "x" * 200, "'; --", "\u202e", "😀", "\ud83d"])
async def test_odd_queries_find_nothing_and_break_nothing(fresh: Site, query: str) -> None:
    screen = await fresh.http.get("/search", params={"q": query.encode("utf-8", "surrogatepass")})
    assert screen.status_code == 200
    assert "<h1" in screen.text


async def test_signs_mean_themselves(site: Site, things: dict[str, Any]) -> None:
    for query in ("1%0", "Backup.of", "q_arterly"):
        assert "Nothing found" in (await site.http.get("/search", params={"q": query})).text


async def test_what_was_typed_is_escaped(site: Site) -> None:
    screen = await site.http.get("/search", params={"q": '"><script>alert(1)</script>'})
    assert "<script>alert" not in screen.text


async def test_nothing_of_another_account_is_found(
    things: dict[str, Any], quick_gateway: str, sessions: Sessions
) -> None:
    async with site_of(quick_gateway, sessions) as stranger:
        for query in ("report", "Exec-9", "order_", *things.values()):
            answer = await stranger.http.get("/search", params={"q": query})
            assert answer.status_code == 200
            assert "Nothing found" in answer.text


async def test_groups_are_limited(fresh: Site, fresh_calls: Calls) -> None:
    for number in range(10):
        await fresh_calls.post("/api/pulses", {"name": f"Probe {number}", "period_seconds": 60}, 201)
    screen = await fresh.open("/search?q=probe")
    assert len(screen.main.select(".list > li")) == 8
    assert "There is more" in screen.text


async def test_without_a_query_it_says_what_can_be_found(site: Site) -> None:
    assert "What are you looking for?" in (await site.open("/search")).text


@given(st.text(max_size=300))
def test_a_cleaned_query_can_be_kept(typed: str) -> None:
    query = cleaned_query(typed)
    assert len(query) <= MAX_QUERY
    assert query == query.strip()
    assert "\x00" not in query
    query.encode()


async def test_nothing_is_looked_for_without_a_query(sessions: Sessions) -> None:
    async with sessions() as session:
        assert await find_things(session, "acc", "", limit=5) == {}
        assert await find_things(session, "acc", LAST_CHARACTER, limit=5) == {}
