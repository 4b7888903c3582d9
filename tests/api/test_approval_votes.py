"""Deciding on the approver's page: what its forms do, and that each does it once."""

import asyncio
import re
from collections.abc import AsyncIterator
from datetime import timedelta

import pytest
from sqlalchemy import update

from config.clock import utc_now
from storage.approval_access import ApprovalNonce, Nonce, forget_expired, new_nonce, spend_nonce
from storage.approval_audit import list_entries
from storage.approvals import Approval
from storage.base import transaction
from tests.support.approval_pages import (
    Browser,
    asked,
    browser,
    events_of,
    logged_in,
    member,
    nothing_is_decided,
    page_path,
    stored,
    voted,
)
from tests.support.approvals import approve, deny
from tests.support.stack import Stack

ADA, BOB, EVE = "ada@example.com", "bob@example.com", "eve@example.com"
EDITABLE = {
    "type": "object",
    "required": ["subject"],
    "properties": {
        "subject": {"type": "string", "title": "Subject", "minLength": 1, "maxLength": 20},
        "copies": {"type": "integer", "minimum": 1, "maximum": 9},
        "urgent": {"type": "boolean"},
        "list": {"type": "string", "enum": ["press", "all"]},
        "tags": {"type": "array", "items": {"type": "string"}},
        "text": {"type": "string"},
    },
}


@pytest.fixture
async def ada(stack: Stack) -> AsyncIterator[Browser]:
    async with browser(stack.url) as ada:
        yield ada


@pytest.fixture
async def bob(stack: Stack) -> AsyncIterator[Browser]:
    async with browser(stack.url) as bob:
        yield bob


# Deciding


async def test_a_decision_is_sent_once_and_shown_by_a_get(stack: Stack, ada: Browser) -> None:
    approval = await asked(stack)
    ada.http.headers["User-Agent"] = "Ada's browser"
    page = await ada.press(await ada.open(page_path(approval.id, ADA)), "approve", notes=" Looks good,\r\nproceed! ")
    assert [answer.status_code for answer in page.response.history] == [303]
    assert page.response.request.method == "GET"
    assert page.title.startswith("Approved: ")
    decided = await stored(stack.sessions, approval.id)
    assert (decided.status, decided.decided_by, decided.notes) == ("approved", ADA, "Looks good,\nproceed!")
    assert await events_of(stack.sessions, approval.id) == ["viewed", "voted", "decided", "viewed"]
    async with stack.sessions() as session:
        entry = (await list_entries(session, approval.id))[2].fields()
    assert (entry["actor"], entry["address"], entry["agent"]) == (ADA, "127.0.0.1", "Ada's browser")
    assert entry["details"]["via"] == "link"


async def test_a_choice_is_made_by_its_button(stack: Stack, ada: Browser) -> None:
    approval = await asked(stack, choices=["Blue", "Grün & <b>"])
    page = await ada.press(await ada.open(page_path(approval.id, ADA)), "choose:1")
    assert "Grün & <b>" in page.text
    assert (await stored(stack.sessions, approval.id)).choice == "Grün & <b>"


@pytest.mark.parametrize(
    "action", ["", "approve", "choose:2", "choose:-1", "choose:x", "choose:٣", "delete", "x" * 9999]
)
async def test_buttons_that_are_not_there(stack: Stack, ada: Browser, action: str) -> None:
    approval = await asked(stack, choices=["Blue", "Green"])
    page = await ada.press(await ada.open(page_path(approval.id, ADA)), action, notes="As typed")
    assert page.status == 400
    assert page.inputs["notes"] == "As typed"
    await nothing_is_decided(stack, approval)


async def test_fields_are_shown_edited_and_handed_on(stack: Stack, ada: Browser, bob: Browser) -> None:
    payload = {"subject": "Q4", "copies": 2, "urgent": True, "list": "press", "tags": ["a"], "text": "\n  One\nTwo "}
    approval = await asked(stack, payload=payload, editable=EDITABLE, approvers=[ADA, BOB], quorum=2)
    page = await ada.open(page_path(approval.id, ADA))
    shown = {name: value for name, value in page.inputs.items() if name.startswith("response.")}
    assert shown == {
        "response.subject": "Q4",
        "response.copies": "2",
        "response.urgent": "true",
        "response.list": "press",
        "response.tags": '[\n  "a"\n]',
        "response.text": "\n  One\nTwo ",
    }
    form = {**page.inputs, "response.subject": "Q4 <b>", "response.copies": "3", "action": "approve"}
    del form["response.urgent"]
    page = await ada.send(page, form)
    assert page.status == 200, page.text
    page = await bob.open(page_path(approval.id, BOB))
    assert (page.inputs["response.subject"], page.inputs.get("response.urgent")) == ("Q4 <b>", None)
    page = await bob.press(page, "approve")
    expected = {**payload, "subject": "Q4 <b>", "copies": 3, "urgent": False}
    assert (await stored(stack.sessions, approval.id)).response == expected
    assert "What was approved" in page.text


async def test_only_fields_that_may_be_missing_are_called_optional(stack: Stack, ada: Browser) -> None:
    approval = await asked(stack, editable=EDITABLE | {"required": ["subject", "text", "list"]})
    page = await ada.open(page_path(approval.id, ADA))
    assert sorted(re.findall(r">([\w ]+) <span class=\"aside\">\(optional\)", page.response.text)) == [
        "Copies",
        "Note",
        "Tags",
    ]
    # A text that must be there may be empty all the same.
    page = await ada.press(page, "approve", response__subject="Q4", response__list="all", response__text="")
    assert page.title.startswith("Approved: ")
    response = (await stored(stack.sessions, approval.id)).response
    assert response == {"subject": "Q4", "list": "all", "text": "", "urgent": False}


async def test_what_was_typed_stays_when_a_field_is_wrong(stack: Stack, ada: Browser) -> None:
    approval = await asked(stack, payload={"subject": "Q4", "urgent": True}, editable=EDITABLE)
    page = await ada.open(page_path(approval.id, ADA))
    first_nonce = page.inputs["nonce"]
    form = {
        **page.inputs,
        "response.subject": "x" * 21,
        "response.copies": "many",
        "response.tags": "[oops",
        "notes": "My note",
        "action": "approve",
    }
    del form["response.urgent"]
    page = await ada.send(page, form)
    assert page.status == 400
    assert page.title.startswith("Not done – ")
    kept = {name: page.inputs.get(name) for name in ("response.copies", "response.tags", "notes")}
    assert kept == {"response.copies": "many", "response.tags": "[oops", "notes": "My note"}
    assert "response.urgent" not in page.inputs
    for field in ("field-2", "field-5"):
        assert f'href="#{field}"' in page.response.text
        assert f'aria-describedby="{field}-wrong" aria-invalid="true"' in page.response.text
    await nothing_is_decided(stack, approval)
    # The refused form has not cost its nonce.
    good = {**page.inputs, "response.subject": "Q5", "response.copies": "3", "response.tags": "[]"}
    page = await ada.send(page, {**good, "nonce": first_nonce, "action": "approve"})
    assert page.title.startswith("Approved: ")


async def test_a_denial_does_not_care_for_fields(stack: Stack, ada: Browser) -> None:
    approval = await asked(stack, payload={"subject": "Q4"}, editable=EDITABLE)
    page = await ada.press(await ada.open(page_path(approval.id, ADA)), "deny", response__copies="many")
    assert page.title.startswith("Denied: ")


async def test_notes_that_are_too_long(stack: Stack, ada: Browser) -> None:
    approval = await asked(stack)
    page = await ada.press(await ada.open(page_path(approval.id, ADA)), "approve", notes="x" * 2001)
    assert page.status == 400
    assert "has 2001 characters; 2000 is the most" in page.text
    await nothing_is_decided(stack, approval)


# Nonces


async def test_a_nonce_is_good_once(stack: Stack, ada: Browser) -> None:
    approval = await asked(stack, approvers=[ADA, BOB], quorum=2)
    first = await ada.open(page_path(approval.id, ADA))
    await ada.press(first, "approve")
    again = await ada.press(first, "deny")
    assert again.status == 409
    assert "nothing was done a second time" in again.text
    assert "You have voted" in again.text
    assert (await events_of(stack.sessions, approval.id)).count("voted") == 1


async def test_both_clicks_of_a_double_click_make_one_vote(stack: Stack, ada: Browser) -> None:
    approval = await asked(stack)
    page = await ada.open(page_path(approval.id, ADA))
    pages = await asyncio.gather(*(ada.press(page, "approve") for _ in range(4)))
    assert sorted(page.status for page in pages) == [200, 409, 409, 409]
    assert all("Approved by you" in page.text for page in pages)
    assert (await events_of(stack.sessions, approval.id)).count("voted") == 1


async def test_of_two_tabs_the_first_one_counts(stack: Stack, ada: Browser) -> None:
    approval = await asked(stack, approvers=[ADA, BOB], quorum=2)
    one, two = [await ada.open(page_path(approval.id, ADA)) for _ in range(2)]
    await ada.press(one, "approve")
    page = await ada.press(two, "deny")
    assert page.status == 409
    assert "You have voted already" in page.text


async def test_whoever_comes_too_late_is_told_how_it_ended(stack: Stack, ada: Browser) -> None:
    approval = await asked(stack, approvers=[ADA, BOB])
    page = await ada.open(page_path(approval.id, ADA))
    await voted(stack.sessions, approval, BOB, deny(notes="No"))
    page = await ada.press(page, "approve", notes="Yes")
    assert page.status == 409
    assert "It was decided before your answer came." in page.text
    assert "Denied by bob@example.com" in page.text


async def test_a_vote_after_the_deadline_is_refused_and_the_deadline_kept(stack: Stack, ada: Browser) -> None:
    approval = await asked(stack)
    page = await ada.open(page_path(approval.id, ADA))
    past = utc_now() - timedelta(seconds=1)
    async with transaction(stack.sessions) as session:
        await session.execute(update(Approval).where(Approval.id == approval.id).values(expires_at=past))
    page = await ada.press(page, "approve")
    assert page.status == 409
    assert "Denied, because its time was over" in page.text
    assert (await stored(stack.sessions, approval.id)).decided_by == "timeout"


async def test_nonces_of_others_and_none_at_all(stack: Stack, ada: Browser, bob: Browser) -> None:
    approval, other = [await asked(stack, approvers=[ADA, BOB]) for _ in range(2)]
    page = await ada.open(page_path(approval.id, ADA))
    bobs = (await bob.open(page_path(approval.id, BOB))).inputs["nonce"]
    of_the_other = (await ada.open(page_path(other.id, ADA))).inputs["nonce"]
    wrong = {"": 403, bobs: 403, of_the_other: 403, "x": 409, "ü" * 500: 409}
    for nonce, status in wrong.items():
        answer = await ada.press(page, "approve", nonce=nonce)
        assert (nonce, answer.status) == (nonce, status)
        assert answer.actions == ["approve", "deny"]
    form = {name: value for name, value in page.inputs.items() if name != "nonce"}
    assert (await ada.send(page, {**form, "action": "approve"})).status == 403
    await nothing_is_decided(stack, approval)
    assert (await events_of(stack.sessions, approval.id)).count("refused") == 6
    # Each of them is still good where it belongs.
    assert (await bob.press(await bob.open(page_path(approval.id, BOB)), "approve", nonce=bobs)).status == 200


async def test_the_link_of_another_approval_or_approver_does_not_decide(
    stack: Stack, ada: Browser, bob: Browser
) -> None:
    approval, other = await asked(stack), await asked(stack, approvers=[BOB])
    page = await ada.open(page_path(approval.id, ADA))
    others = await bob.open(page_path(other.id, BOB))
    for token, status in ((others.inputs["token"], 404), ("nonsense", 404), ("", 403)):
        answer = await ada.press(page, "approve", token=token)
        assert answer.status == status
        assert "deploy bot" not in answer.text
    await nothing_is_decided(stack, approval)


async def test_a_link_shows_the_outcome_after_the_end(stack: Stack, ada: Browser) -> None:
    approval = await asked(stack)
    await voted(stack.sessions, approval, ADA, approve())
    page = await ada.open(page_path(approval.id, ADA))
    assert "nonce" not in page.inputs
    page = await ada.send(page, {"token": page_path(approval.id, ADA).partition("=")[2], "action": "deny"})
    assert page.status == 403
    assert (await stored(stack.sessions, approval.id)).status == "approved"


async def test_nonces_end_after_a_day_and_are_cleared_away(stack: Stack) -> None:
    approval, now = await asked(stack), utc_now()
    async with transaction(stack.sessions) as session:
        nonces = [await new_nonce(session, approval.id, ADA, now - timedelta(hours=hours)) for hours in (23, 24, 25)]
    for nonce, expected in zip(nonces, (Nonce.GOOD, Nonce.GONE, Nonce.GONE), strict=True):
        async with transaction(stack.sessions) as session:
            assert await spend_nonce(session, approval.id, ADA, nonce, now) is expected
    async with transaction(stack.sessions) as session:
        await new_nonce(session, approval.id, ADA, now)
        await forget_expired(session, now)
        left = await session.execute(ApprovalNonce.__table__.select().where(ApprovalNonce.approval_id == approval.id))
        assert len(left.all()) == 1


async def test_an_approver_has_one_vote_by_link_and_by_session(stack: Stack) -> None:
    email = await member(stack)
    approval = await asked(stack, approvers=[email, BOB], quorum=2)
    async with browser(stack.url) as at_home, browser(stack.url) as at_work:
        await logged_in(at_home, email)
        await at_home.press(await at_home.open(page_path(approval.id)), "approve")
        page = await at_work.open(page_path(approval.id, email))
    assert "You have voted" in page.text
