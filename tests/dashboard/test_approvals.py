"""The inbox: what waits for somebody, decided where it stands, by the same rules as everywhere."""

from typing import Any

import pytest

from api.dashboard import approvals
from storage.base import Sessions
from tests.api.approval_calls import answer, ask, look
from tests.api.calls import Calls
from tests.support.dashboard import Site, site_of

HOSTILE = "<script>alert(1)</script>\u202e & <b>bold</b> " + "x" * 10_000
FIELDS = {
    "type": "object",
    "properties": {
        "amount": {"type": "integer", "minimum": 1, "maximum": 100, "title": "Amount"},
        "urgent": {"type": "boolean"},
        "to": {"type": "string", "maxLength": 50},
    },
    "required": ["amount"],
}


async def inbox(site: Site) -> tuple[list[str], list[str]]:
    """The headings of what waits for whoever looks, and for others."""
    screen = await site.open("/approvals")
    assert screen.status == 200, screen.text
    items = screen.main.select("li.request")
    mine = [item.h3.get_text(strip=True) for item in items if "mine" in item["class"] and item.h3]
    return mine, [item.h3.get_text(strip=True) for item in items if "mine" not in item["class"] and item.h3]


async def test_an_empty_inbox_says_what_would_be_here(fresh: Site) -> None:
    screen = await fresh.open("/approvals")
    assert screen.status == 200
    assert screen.title == "Approvals"
    assert "Nothing waits for you" in screen.text
    assert screen.links["How to ask"] == "/integrations"


async def test_mine_come_first_and_the_soonest_deadline_first(fresh: Site, fresh_calls: Calls) -> None:
    for title, approver, seconds in (
        ("for bob", "bob@example.com", 60),
        ("mine, for ever", fresh.email, None),
        ("mine, later", fresh.email, 7200),
        ("mine, soon", fresh.email, 3600),
    ):
        more = {"timeout_seconds": seconds} if seconds else {"timeout_seconds": None}
        await ask(fresh_calls, title=title, approvers=[approver], **more)
    assert await inbox(fresh) == (["mine, soon", "mine, later", "mine, for ever"], ["for bob"])


async def test_a_request_says_what_it_is_about(fresh: Site, fresh_calls: Calls) -> None:
    workflow_id, instance_id = await fresh_calls.open()
    approval_id = await ask(
        fresh_calls,
        title="Publish it",
        context="The whole text of what is to be published",
        payload={"pages": 12},
        approvers=[fresh.email, "bob@example.com"],
        quorum=2,
        workflow_id=workflow_id,
        instance_id=instance_id,
        stage_path="1",
    )
    screen = await fresh.open("/approvals")
    assert screen.links["Publish it"] == f"/approvals/{approval_id}"
    assert screen.links[instance_id] == f"/instances/{instance_id}"
    assert f"/workflows/{workflow_id}" in screen.links.values()
    assert screen.links["Audit trail of Publish it"] == f"/approvals/{approval_id}/audit"
    for words in ("0 of 2 approvals", "Waits for you", "The whole text", "pages 12", "stage 1", "Denied"):
        assert words in screen.text


@pytest.mark.parametrize(("button", "status", "said"), [("approve", "approved", "Approved."), ("deny", "denied", "De")])
async def test_it_is_decided_with_a_note_where_it_stands(
    fresh: Site, fresh_calls: Calls, button: str, status: str, said: str
) -> None:
    approval_id = await ask(fresh_calls, approvers=[fresh.email])
    screen = await fresh.open("/approvals")
    done = await fresh.submit(screen, f"/approvals/{approval_id}/decide", action=button, notes="As discussed\nin May")
    assert done.said.startswith(said)
    found = await look(fresh_calls, approval_id)
    assert (found["status"], found["decided_by"], found["notes"]) == (status, fresh.email, "As discussed\nin May")
    assert await inbox(fresh) == ([], [])


async def test_fields_are_edited_and_choices_chosen(fresh: Site, fresh_calls: Calls) -> None:
    approval_id = await ask(
        fresh_calls,
        approvers=[fresh.email],
        choices=["To all", "To a few"],
        editable=FIELDS,
        payload={"amount": 5, "to": "ops"},
    )
    screen = await fresh.open("/approvals")
    values: dict[str, Any] = {"action": "choose:1", "response__amount": "7", "response__urgent": "true"}
    done = await fresh.submit(screen, f"/approvals/{approval_id}/decide", **values)
    assert done.said.startswith("Approved.")
    found = await look(fresh_calls, approval_id)
    assert found["choice"] == "To a few"
    assert found["response"] == {"amount": 7, "urgent": True, "to": "ops"}


async def test_a_wrong_field_is_told_and_nothing_is_lost(fresh: Site, fresh_calls: Calls) -> None:
    approval_id = await ask(fresh_calls, approvers=[fresh.email], editable=FIELDS, payload={"amount": 5})
    other = await ask(fresh_calls, approvers=[fresh.email], editable=FIELDS, payload={"amount": 6})
    screen = await fresh.open("/approvals")
    action = f"/approvals/{approval_id}/decide"
    refused = await fresh.submit(
        screen, action, action="approve", response__amount="700", response__to="her", notes="My note"
    )
    assert refused.status == 400
    assert "Response.amount" in refused.said
    form = refused.form(action)
    amount = form.select_one("#f-response-amount")
    assert amount is not None
    assert (amount["value"], amount["aria-invalid"]) == ("700", "true")
    assert "My note" in form.get_text()
    assert refused.form(f"/approvals/{other}/decide").select_one("[aria-invalid]") is None
    assert (await look(fresh_calls, approval_id))["status"] == "pending"
    done = await fresh.submit(refused, action, action="approve", response__amount="70")
    assert done.said.startswith("Approved.")
    assert (await look(fresh_calls, approval_id))["response"] == {"amount": 70, "urgent": False, "to": "her"}


async def test_one_vote_of_two_counts_and_then_waits_for_others(fresh: Site, fresh_calls: Calls) -> None:
    approval_id = await ask(fresh_calls, title="Both", approvers=[fresh.email, "bob@example.com"], quorum=2)
    screen = await fresh.open("/approvals")
    done = await fresh.submit(screen, f"/approvals/{approval_id}/decide", action="approve")
    assert done.said.startswith("Your vote counts.")
    assert await inbox(fresh) == ([], ["Both"])
    screen = await fresh.open("/approvals")
    assert "You voted" in screen.text
    assert "1 of 2 approvals" in screen.text


async def test_who_was_first_is_told(fresh: Site, fresh_calls: Calls) -> None:
    approval_id = await ask(fresh_calls, approvers=[fresh.email, "bob@example.com"])
    screen = await fresh.open("/approvals")
    await answer(fresh_calls, approval_id, "deny", approver="bob@example.com")
    late = await fresh.submit(screen, f"/approvals/{approval_id}/decide", action="approve", notes="Yes")
    assert late.status == 409
    assert "bob@example.com was first, and it was denied" in late.said
    assert (await look(fresh_calls, approval_id))["status"] == "denied"


@pytest.mark.parametrize("confirm", ["code", "login"])
async def test_what_takes_more_is_decided_on_its_own_page(fresh: Site, fresh_calls: Calls, confirm: str) -> None:
    approval_id = await ask(fresh_calls, title="Risky", approvers=[fresh.email], confirm=confirm)
    screen = await fresh.open("/approvals")
    assert not screen.main.select("form.decide")
    assert screen.links["Open and confirm : Risky"] == f"/approvals/{approval_id}"
    assert f"Takes a {confirm}" in screen.text


async def test_a_code_is_not_gone_around(fresh: Site, fresh_calls: Calls) -> None:
    light = await ask(fresh_calls, approvers=[fresh.email])
    heavy = await ask(fresh_calls, approvers=[fresh.email], confirm="code")
    screen = await fresh.open("/approvals")
    token = str(screen.form(f"/approvals/{light}/decide").select("input[name=csrf_token]")[0]["value"])
    refused = await fresh.post(f"/approvals/{heavy}/decide", [("csrf_token", token), ("action", "approve")])
    assert refused.status == 403
    assert "code" in refused.said
    assert (await look(fresh_calls, heavy))["status"] == "pending"


async def test_nobody_decides_in_the_inbox_for_others(fresh: Site, fresh_calls: Calls) -> None:
    approval_id = await ask(fresh_calls, approvers=["bob@example.com"])
    screen = await fresh.open("/approvals")
    assert not screen.main.select("form.decide")
    cancel = screen.form(f"/approvals/{approval_id}/cancel")
    token = str(cancel.select("input[name=csrf_token]")[0]["value"])
    refused = await fresh.post(f"/approvals/{approval_id}/decide", [("csrf_token", token), ("action", "approve")])
    assert refused.status == 403
    assert "was not asked" in refused.said


async def test_an_owner_cancels(fresh: Site, fresh_calls: Calls) -> None:
    approval_id = await ask(fresh_calls, approvers=["bob@example.com"])
    done = await fresh.submit(await fresh.open("/approvals"), f"/approvals/{approval_id}/cancel")
    assert done.said.startswith("The request was cancelled.")
    assert (await look(fresh_calls, approval_id))["status"] == "cancelled"


async def test_a_form_without_its_token_does_nothing(fresh: Site, fresh_calls: Calls) -> None:
    approval_id = await ask(fresh_calls, approvers=[fresh.email])
    refused = await fresh.post(f"/approvals/{approval_id}/decide", [("action", "approve")])
    assert refused.status == 403
    assert (await look(fresh_calls, approval_id))["status"] == "pending"


async def test_a_viewer_has_no_forms_and_is_refused(site: Site, viewer: Site, calls: Calls) -> None:
    approval_id = await ask(calls, title="For the viewer", approvers=[viewer.email, site.email])
    screen = await viewer.open("/approvals")
    assert not screen.main.select("form")
    assert screen.links["Open to decide : For the viewer"] == f"/approvals/{approval_id}"
    token = str((await viewer.open("/approvals")).soup.select("input[name=csrf_token]")[0]["value"])
    for what in ("decide", "cancel"):
        refused = await viewer.post(f"/approvals/{approval_id}/{what}", [("csrf_token", token), ("action", "approve")])
        assert refused.status == 403
    assert (await look(calls, approval_id))["status"] == "pending"


async def test_another_account_sees_and_decides_nothing(fresh: Site, calls: Calls) -> None:
    approval_id = await ask(calls, approvers=[fresh.email])
    assert await inbox(fresh) == ([], [])
    token = str((await fresh.open("/approvals")).soup.select("input[name=csrf_token]")[0]["value"])
    for what in ("decide", "cancel"):
        refused = await fresh.post(f"/approvals/{approval_id}/{what}", [("csrf_token", token), ("action", "approve")])
        assert refused.status in (403, 404)
    unknown = await fresh.post("/approvals/apr_nothing/decide", [("csrf_token", token), ("action", "approve")])
    assert unknown.status == 404
    assert (await look(calls, approval_id))["status"] == "pending"


async def test_hostile_words_stay_words(fresh: Site, fresh_calls: Calls) -> None:
    await ask(
        fresh_calls,
        title=HOSTILE[:150],
        context=HOSTILE,
        payload={"<img src=x>": HOSTILE, "deep": [{"a": "</pre><script>1</script>"}]},
        approvers=[fresh.email],
        requested_by="<i>eve</i>",
    )
    screen = await fresh.open("/approvals")
    assert screen.status == 200
    assert "<script>alert" not in screen.response.text
    assert "<img src=x>" not in screen.response.text
    assert "\u202e" not in screen.response.text
    assert screen.main.select_one("li.request script, li.request img, li.request i") is None


async def test_a_value_that_hides_something_is_shown_as_it_is(fresh: Site, fresh_calls: Calls) -> None:
    editable = {"type": "object", "properties": {"text": {"type": "string", "default": "</textarea>\u202egpj"}}}
    await ask(fresh_calls, approvers=[fresh.email], editable=editable)
    screen = await fresh.open("/approvals")
    field = screen.main.select_one("[name='response.text']")
    assert field is not None
    assert field.get_text().removeprefix("\n") == "</textarea>\u202egpj"
    assert "Careful: this holds characters that are not seen" in screen.text


async def test_it_pages_from_mine_to_others(fresh: Site, fresh_calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(approvals, "PAGE", 2)
    for number in range(3):
        await ask(fresh_calls, title=f"Mine {number}", approvers=[fresh.email], timeout_seconds=600 + number)
        await ask(fresh_calls, title=f"Other {number}", approvers=["bob@example.com"], timeout_seconds=60 + number)
    seen: list[str] = []
    address: str | None = "/approvals"
    while address is not None:
        screen = await fresh.open(address)
        seen += [item.get_text(strip=True) for item in screen.main.select("li.request h3")]
        address = screen.links.get("More")
    assert seen == ["Mine 0", "Mine 1", "Mine 2", "Other 0", "Other 1", "Other 2"]
    assert (await fresh.open("/approvals?cursor=nothing")).status == 400


async def test_whoever_is_not_logged_in_is_sent_to(quick_gateway: str, sessions: Sessions) -> None:
    async with site_of(quick_gateway, sessions) as site:
        site.http.cookies.clear()
        for path in ("/approvals", "/approvals/history", "/approvals/apr_nothing/audit"):
            answer_ = await site.http.get(path, headers={"Accept": "text/html"})
            assert answer_.status_code == 303
            assert answer_.headers["location"].startswith("/login")
