"""What was decided, and the audit trail with its verification."""

from datetime import timedelta
from typing import Any

import pytest
from sqlalchemy import update

from api.dashboard import approval_history
from config.clock import utc_now
from storage.approvals import Approval
from storage.base import Sessions, transaction
from tests.api.approval_calls import ADA, ask, decide
from tests.api.calls import Calls
from tests.support.dashboard import Site

HOSTILE = "<script>alert(1)</script>\u202e"


async def decided(calls: Calls, title: str, decision: str = "approve", **body: Any) -> str:
    approval_id = await ask(calls, title=title, **body)
    await decide(calls, approval_id, decision, approver=(body.get("approvers") or [ADA])[0], notes=f"Note on {title}")
    return approval_id


async def titles(site: Site, query: str = "") -> list[str]:
    screen = await site.open(f"/approvals/history{query}")
    assert screen.status == 200, screen.text
    return [str(link.get_text()) for link in screen.main.select("table.history tbody th > a")]


async def test_an_empty_history_says_what_would_be_here(fresh: Site) -> None:
    assert "Nothing was decided yet" in (await fresh.open("/approvals/history")).text
    assert "Nothing fits" in (await fresh.open("/approvals/history?result=denied")).text


async def test_it_says_what_was_decided_by_whom_and_how_long_it_took(fresh: Site, fresh_calls: Calls) -> None:
    workflow_id, instance_id = await fresh_calls.open()
    first = await decided(fresh_calls, "First", workflow_id=workflow_id, instance_id=instance_id)
    await decided(fresh_calls, "Second", "deny")
    screen = await fresh.open("/approvals/history")
    assert await titles(fresh) == ["Second", "First"]
    row = next(row for row in screen.rows("table.history") if row[0].startswith("First"))
    assert "Note on First" in row[0]
    assert instance_id in row[0]
    assert (row[1], row[2]) == ("Approved", ADA)
    assert row[4].endswith(("ms", "s"))
    assert screen.links["First"] == f"/approvals/{first}"
    assert screen.links["Audit trail of First"] == f"/approvals/{first}/audit"


async def test_it_is_filtered(fresh: Site, fresh_calls: Calls) -> None:
    workflow_id = await fresh_calls.define("dynamic")
    await decided(fresh_calls, "Yes", workflow_id=workflow_id)
    await decided(fresh_calls, "No", "deny", approvers=["bob@example.com"])
    cancelled = await ask(fresh_calls, title="Never mind")
    await fresh_calls.post(f"/api/approvals/{cancelled}/cancel", {})
    today = utc_now().date()
    expected = {
        "": ["Never mind", "No", "Yes"],
        "?result=approved": ["Yes"],
        "?result=cancelled": ["Never mind"],
        f"?workflow={workflow_id}": ["Yes"],
        "?who=Bob@example.com": ["No"],
        f"?from={today}&to={today}": ["Never mind", "No", "Yes"],
        f"?to={today - timedelta(days=1)}": [],
        f"?from={today + timedelta(days=1)}": [],
    }
    for query, wanted in expected.items():
        assert await titles(fresh, query) == wanted, query


@pytest.mark.parametrize("query", ["result=maybe", "from=yesterday", "to=1-1-1", "from=2026-03-02&to=2026-03-01"])
async def test_a_wrong_filter_is_told(fresh: Site, query: str) -> None:
    screen = await fresh.open(f"/approvals/history?{query}")
    assert screen.status == 400
    assert screen.said


async def test_it_pages(fresh: Site, fresh_calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approval_history, "PAGE", 2)
    for number in range(5):
        await decided(fresh_calls, f"Number {number}")
    seen: list[str] = []
    address: str | None = "/approvals/history?result=approved"
    while address is not None:
        screen = await fresh.open(address)
        seen += [str(link.get_text()) for link in screen.main.select("table.history tbody th > a")]
        address = screen.links.get("Older")
    assert seen == [f"Number {number}" for number in (4, 3, 2, 1, 0)]


async def test_the_audit_trail_holds(fresh: Site, fresh_calls: Calls) -> None:
    approval_id = await decided(fresh_calls, "Audited")
    screen = await fresh.open(f"/approvals/{approval_id}/audit")
    assert screen.status == 200
    assert "The trail holds" in screen.text
    trail = await fresh_calls.get(f"/api/approvals/{approval_id}/audit")
    assert trail["head"] in screen.text
    entries = [" ".join(item.get_text(" ").split()) for item in screen.main.select("ol.trail > li")]
    assert len(entries) == len(trail["entries"])
    assert "Asked" in entries[0]
    assert "Decided" in entries[-1]
    for entry in trail["entries"]:
        assert entry["hash"] in screen.text
    assert "Request to ada@example.com" in screen.text


async def test_a_trail_that_was_tampered_with_says_so(fresh: Site, fresh_calls: Calls, sessions: Sessions) -> None:
    approval_id = await decided(fresh_calls, "Forged", "deny")
    async with transaction(sessions) as session:
        await session.execute(update(Approval).where(Approval.id == approval_id).values(status="approved"))
    screen = await fresh.open(f"/approvals/{approval_id}/audit")
    assert "The trail does not hold" in screen.text
    assert "it did not end as its trail says" in screen.text


async def test_a_long_trail_pages(fresh: Site, fresh_calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approval_history, "ENTRIES", 2)
    approval_id = await decided(fresh_calls, "Long")
    screen = await fresh.open(f"/approvals/{approval_id}/audit")
    assert len(screen.main.select("ol.trail > li")) == 2
    later = await fresh.open(screen.links["Later"])
    assert later.main.select("ol.trail > li .seq")[0].get_text() == "3"


async def test_hostile_notes_stay_words(fresh: Site, fresh_calls: Calls) -> None:
    approval_id = await ask(fresh_calls, title=HOSTILE, context=HOSTILE, requested_by=HOSTILE)
    await decide(fresh_calls, approval_id, approver=ADA, notes=HOSTILE + "x" * 1900)
    for path in ("/approvals/history", f"/approvals/{approval_id}/audit"):
        screen = await fresh.open(path)
        assert screen.status == 200
        assert "<script>alert" not in screen.response.text
        assert "\u202e" not in screen.response.text


async def test_a_viewer_may_look_and_others_may_not(site: Site, viewer: Site, calls: Calls, fresh: Site) -> None:
    approval_id = await decided(calls, "Ours")
    assert "Ours" in await titles(viewer)
    assert (await viewer.open(f"/approvals/{approval_id}/audit")).status == 200
    assert await titles(fresh) == []
    assert (await fresh.open(f"/approvals/{approval_id}/audit")).status == 403
    assert (await fresh.open("/approvals/apr_nothing/audit")).status == 404


async def test_the_approval_page_leads_back(fresh: Site, fresh_calls: Calls) -> None:
    approval_id = await decided(fresh_calls, "Linked")
    page = (await fresh.open(f"/approvals/{approval_id}")).response.text
    assert 'href="/approvals"' in page
    assert f'href="/approvals/{approval_id}/audit"' in page
