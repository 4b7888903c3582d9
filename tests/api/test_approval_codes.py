"""What a decision of high risk takes: a mailed code or a login; and links that are mailed again."""

import asyncio
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

import pytest
from sqlalchemy import func, select, update

from config.clock import utc_now
from domain.letters import LetterTopic
from storage.approval_access import ApprovalCode, forget_expired, get_code, new_nonce
from storage.approval_audit import list_entries
from storage.approvals import Approval
from storage.base import transaction
from storage.messages import Message
from storage.vault import Vault
from tests.api.conftest import PASSWORD, make_user
from tests.conftest import StartGateway
from tests.dashboard.test_login import code_of as code_now
from tests.dashboard.test_login import protect
from tests.support.approval_pages import Browser, Page, browser, events_of, page_path, stored, voted
from tests.support.approvals import approve, ask
from tests.support.stack import SECRET, Stack

ADA, BOB = "ada@example.com", "bob@example.com"


@pytest.fixture
async def ada(stack: Stack) -> AsyncIterator[Browser]:
    async with browser(stack.url) as ada:
        yield ada


async def asked(stack: Stack, confirm: str, **values: Any) -> Approval:
    return await ask(stack.sessions, stack.account_id, confirm=confirm, **values)


async def new_user(stack: Stack) -> str:
    async with transaction(stack.sessions) as session:
        return await make_user(session, stack.account_id, f"{uuid4().hex[:8]}@example.com", "viewer")


async def code_of(stack: Stack, approval: Approval, approver: str = ADA) -> str:
    """As the mail has it."""
    async with stack.sessions() as session:
        code = await get_code(session, approval.id, approver)
        assert code is not None
        return Vault(SECRET).decrypt(code.code)


async def change_code(stack: Stack, approval: Approval, **values: Any) -> None:
    async with transaction(stack.sessions) as session:
        await session.execute(update(ApprovalCode).where(ApprovalCode.approval_id == approval.id).values(**values))


async def letters(stack: Stack, approval: Approval, topic: LetterTopic) -> list[str | None]:
    """Whom they went to."""
    async with stack.sessions() as session:
        query = select(Message.recipient).where(Message.approval_id == approval.id, Message.topic == topic.value)
        return list(await session.scalars(query))


async def pending(stack: Stack, approval: Approval) -> bool:
    return (await stored(stack.sessions, approval.id)).status == "pending"


def other_than(code: str) -> str:
    return f"{(int(code) + 1) % 10**8:08}"


async def with_code(stack: Stack, ada: Browser) -> tuple[Approval, Page, str]:
    """An approval, its page after a code was mailed, and the code."""
    approval = await asked(stack, "code")
    page = await ada.press(await ada.open(page_path(approval.id, ADA)), "send-code", notes="As typed")
    assert page.status == 200, page.text
    return approval, page, await code_of(stack, approval)


# Codes


async def test_a_code_is_mailed_and_decides(stack: Stack, ada: Browser) -> None:
    approval, page, code = await with_code(stack, ada)
    assert await letters(stack, approval, LetterTopic.CODE) == [ADA]
    assert page.actions == ["send-code", "approve", "deny"]
    assert "A code is on its way to ada@example.com" in page.text
    assert page.inputs["notes"] == "As typed"
    assert code not in page.response.text
    page = await ada.press(page, "approve", code=f" {code[:4]} {code[4:]} ")
    assert page.title.startswith("Approved: ")
    async with stack.sessions() as session:
        entries = [entry.fields() for entry in await list_entries(session, approval.id)]
        assert await get_code(session, approval.id, ADA) is None
    assert [entry["event"] for entry in entries] == ["requested", "viewed", "code_sent", "voted", "decided", "viewed"]
    assert entries[3]["details"]["via"] == "code"
    assert code not in str(entries)


async def test_the_code_is_kept_encrypted(stack: Stack, ada: Browser) -> None:
    approval, _, code = await with_code(stack, ada)
    async with stack.sessions() as session:
        kept = await get_code(session, approval.id, ADA)
        assert kept is not None
        assert code.encode() not in kept.code
        assert len(code) == 8


@pytest.mark.parametrize("action", ["approve", "deny"])
async def test_without_a_code_nothing_is_decided(stack: Stack, ada: Browser, action: str) -> None:
    approval = await asked(stack, "code")
    page = await ada.open(page_path(approval.id, ADA))
    answer = await ada.press(page, action, code="12345678")
    assert answer.status == 403
    assert "Have one mailed to you" in answer.text
    assert await pending(stack, approval)


@pytest.mark.parametrize(
    "code", ["", "123456", "1234567", "123456789", "abcdefgh", "１２３４５６７８", "٣٣٣٣٣٣٣٣", "x" * 5000]
)
async def test_what_is_no_code_costs_no_try(stack: Stack, ada: Browser, code: str) -> None:
    approval, page, _ = await with_code(stack, ada)
    page = await ada.press(page, "approve", code=code)
    assert page.status == 400
    assert "must be the 8 digits that were mailed to you" in page.text
    assert "tries left: 5" in page.text
    assert await pending(stack, approval)


async def test_wrong_guesses_run_out(stack: Stack, ada: Browser) -> None:
    approval, page, code = await with_code(stack, ada)
    for left in (
        "4 tries are left",
        "3 tries are left",
        "2 tries are left",
        "One try is left",
        "Have a new one mailed",
    ):
        page = await ada.press(page, "approve", code=other_than(code))
        assert page.status == 403
        assert f"That is not the code. {left}" in page.text
    assert page.actions == ["send-code"]
    page = await ada.press(page, "approve", code=code)
    assert page.status == 403
    assert await pending(stack, approval)
    assert (await events_of(stack.sessions, approval.id)).count("refused") == 6
    # A new one has tries of its own.
    page = await ada.press(page, "send-code")
    page = await ada.press(page, "deny", code=await code_of(stack, approval))
    assert page.title.startswith("Denied: ")


async def test_guesses_at_the_same_time_are_all_counted(stack: Stack, ada: Browser) -> None:
    approval, _, code = await with_code(stack, ada)
    pages = [await ada.open(page_path(approval.id, ADA)) for _ in range(8)]
    answers = await asyncio.gather(*(ada.press(page, "approve", code=other_than(code)) for page in pages))
    assert sorted("tries are left" in a.text or "One try" in a.text for a in answers) == [False] * 4 + [True] * 4
    async with stack.sessions() as session:
        kept = await get_code(session, approval.id, ADA)
        assert kept is not None
        assert kept.tries_left == 0


async def test_a_code_is_good_for_ten_minutes(stack: Stack, ada: Browser) -> None:
    approval, page, code = await with_code(stack, ada)
    async with stack.sessions() as session:
        kept = await get_code(session, approval.id, ADA)
        assert kept is not None
        assert kept.expires_at - kept.sent_at == timedelta(minutes=10)
    await change_code(stack, approval, expires_at=utc_now())
    page = await ada.press(page, "approve", code=code)
    assert page.status == 403
    assert await pending(stack, approval)


async def test_a_code_is_for_one_approver_and_one_approval(stack: Stack, ada: Browser) -> None:
    approval = await asked(stack, "code", approvers=[ADA, BOB])
    other = await asked(stack, "code")
    for one in (approval, other):
        await ada.press(await ada.open(page_path(one.id, ADA)), "send-code")
    async with browser(stack.url) as bob:
        page = await bob.press(await bob.open(page_path(approval.id, BOB)), "send-code")
        bobs = await code_of(stack, approval, BOB)
        for code in {await code_of(stack, approval), await code_of(stack, other)} - {bobs}:
            page = await bob.press(page, "approve", code=code)
            assert page.status == 403
    assert await pending(stack, approval)


async def test_a_new_code_replaces_the_one_before(stack: Stack, ada: Browser) -> None:
    approval, page, code = await with_code(stack, ada)
    page = await ada.press(page, "send-code")
    new = await code_of(stack, approval)
    if new != code:
        page = await ada.press(page, "approve", code=code)
        assert page.status == 403
    assert (await ada.press(page, "approve", code=new)).title.startswith("Approved: ")


async def test_a_right_code_with_a_wrong_field_may_be_sent_again(stack: Stack, ada: Browser) -> None:
    editable = {"type": "object", "properties": {"copies": {"type": "integer", "minimum": 1}}}
    approval = await asked(stack, "code", editable=editable, payload={"copies": 1})
    page = await ada.press(await ada.open(page_path(approval.id, ADA)), "send-code")
    code = await code_of(stack, approval)
    page = await ada.press(page, "approve", code=code, response__copies="0")
    assert page.status == 400
    page = await ada.press(page, "approve", code=code, response__copies="2")
    assert page.title.startswith("Approved: ")


async def test_five_codes_an_hour(stack: Stack, ada: Browser) -> None:
    approval = await asked(stack, "code")
    page = await ada.open(page_path(approval.id, ADA))
    for _ in range(5):
        page = await ada.press(page, "send-code")
        assert page.status == 200
    page = await ada.press(page, "send-code")
    assert page.status == 429
    assert "The next one can be mailed in" in page.text
    assert 0 < int(page.response.headers["retry-after"]) <= 3600
    assert await letters(stack, approval, LetterTopic.CODE) == [ADA] * 5
    await change_code(stack, approval, sent_at=utc_now() - timedelta(hours=1))
    assert (await ada.press(page, "send-code")).status == 200


async def test_a_code_takes_a_nonce(stack: Stack, ada: Browser) -> None:
    approval = await asked(stack, "code")
    page = await ada.open(page_path(approval.id, ADA))
    assert (await ada.press(page, "send-code", nonce="")).status == 403
    assert (await ada.press(page, "send-code")).status == 200
    assert (await ada.press(page, "send-code")).status == 409
    assert await letters(stack, approval, LetterTopic.CODE) == [ADA]


async def test_no_code_for_whom_it_would_not_help(stack: Stack, ada: Browser) -> None:
    plain = await asked(stack, "link")
    assert (await ada.press(await ada.open(page_path(plain.id, ADA)), "send-code")).status == 400
    expired = await asked(stack, "code")
    page = await ada.open(page_path(expired.id, ADA))
    async with transaction(stack.sessions) as session:
        await session.execute(update(Approval).where(Approval.id == expired.id).values(expires_at=utc_now()))
    answer = await ada.press(page, "send-code")
    assert answer.status == 409
    # What was told is kept.
    assert "Denied, because its time was over" in answer.text
    assert (await stored(stack.sessions, expired.id)).decided_by == "timeout"
    for approval in (plain, expired):
        assert await letters(stack, approval, LetterTopic.CODE) == []


async def test_a_deadline_that_passed_while_nobody_could_vote_takes_its_code(stack: Stack, ada: Browser) -> None:
    """It is moved by the time before there was a gateway, so a vote may still come."""
    day = 86_400.0
    approval = await asked(stack, "code", now=utc_now() - timedelta(days=10), timeout=5 * day)
    assert approval.expires_at is not None
    assert approval.expires_at < utc_now()
    async with transaction(stack.sessions) as session:
        nonces = [await new_nonce(session, approval.id, ADA, utc_now()) for _ in range(2)]
    path = page_path(approval.id, ADA)
    page = await ada.open(path)
    assert page.actions == []
    form = {"token": path.partition("token=")[2], "action": "approve"}
    for code in ("", "12345678"):
        answer = await ada.send(page, {**form, "nonce": nonces[0], "code": code})
        assert answer.status == 403
        assert "There is no code that could be entered now" in answer.text
        assert await pending(stack, approval)
    page = await ada.send(page, {**form, "nonce": nonces[1], "action": "send-code"})
    page = await ada.press(page, "approve", code=await code_of(stack, approval))
    assert page.title.startswith("Approved: ")


async def test_old_codes_are_cleared_away_once_their_hour_is_over(stack: Stack, ada: Browser) -> None:
    approval, _, _ = await with_code(stack, ada)
    count = select(func.count()).select_from(ApprovalCode).where(ApprovalCode.approval_id == approval.id)
    for minutes, left in ((0, 1), (11, 1), (61, 0)):
        async with transaction(stack.sessions) as session:
            await forget_expired(session, utc_now() + timedelta(minutes=minutes))
            assert await session.scalar(count) == left


# Logins


async def test_a_login_decides(stack: Stack, ada: Browser) -> None:
    email = await new_user(stack)
    approval = await asked(stack, "login", approvers=[email])
    page = await ada.open(page_path(approval.id, email))
    assert "nonce" not in page.inputs
    page = await ada.press(page, "log-in", password=PASSWORD)
    assert [answer.status_code for answer in page.response.history] == [303]
    assert "token" not in str(page.response.url)
    assert page.actions == ["approve", "deny"]
    assert "httponly" in str(page.response.history[0].headers).lower()
    page = await ada.press(page, "approve")
    assert page.title.startswith("Approved: ")
    async with stack.sessions() as session:
        [vote] = [e.fields() for e in await list_entries(session, approval.id) if e.fields()["event"] == "voted"]
    assert (vote["actor"], vote["details"]["via"]) == (email, "session")


async def test_a_login_with_two_factors_takes_both(stack: Stack, ada: Browser) -> None:
    email = await new_user(stack)
    approval = await asked(stack, "login", approvers=[email])
    secret, codes = await protect(stack.sessions, email)
    page = await ada.open(page_path(approval.id, email))
    assert "second_factor" in page.inputs
    page = await ada.press(page, "log-in", password=PASSWORD)
    assert (page.status, "This login needs a code, too" in page.text) == (401, True)
    for wrong in ("000000", codes[0][:-1]):
        page = await ada.press(page, "log-in", password=PASSWORD, second_factor=wrong)
        assert page.status == 401
        assert not ada.http.cookies
    page = await ada.press(page, "log-in", password=PASSWORD, second_factor=code_now(secret))
    assert page.actions == ["approve", "deny"]


async def test_a_link_alone_does_not_decide_what_takes_a_login(stack: Stack, ada: Browser) -> None:
    approval = await asked(stack, "login")
    other = await asked(stack, "link")
    page = await ada.open(page_path(approval.id, ADA))
    nonce = (await ada.open(page_path(other.id, ADA))).inputs["nonce"]
    for sent in ("", nonce):
        answer = await ada.press(page, "approve", nonce=sent)
        assert answer.status == 403
    assert await pending(stack, approval)


async def test_a_wrong_password_shows_the_form_again(stack: Stack, ada: Browser) -> None:
    email = await new_user(stack)
    approval = await asked(stack, "login", approvers=[email])
    for password, status in (("wrong password", 401), ("", 400), ("x" * 2000, 400)):
        page = await ada.press(await ada.open(page_path(approval.id, email)), "log-in", password=password)
        assert page.status == status
        assert page.actions == ["log-in"]
    assert not ada.http.cookies
    nobody = await asked(stack, "login")
    page = await ada.press(await ada.open(page_path(nobody.id, ADA)), "log-in", password=PASSWORD)
    assert (page.status, "The e-mail address or the password is wrong." in page.text) == (401, True)


async def test_the_login_of_somebody_else_does_not_decide(stack: Stack, ada: Browser) -> None:
    email, other = await new_user(stack), await new_user(stack)
    approval = await asked(stack, "login", approvers=[email])
    await ada.press(await ada.open(page_path(approval.id)), "log-in", email=other, password=PASSWORD)
    page = await ada.open(page_path(approval.id, email))
    assert page.actions == ["log-in"]
    # The form's address is not asked: the login is the approver's.
    page = await ada.press(page, "log-in", email=other, password="wrong password")
    assert page.status == 401
    assert await pending(stack, approval)


async def test_failed_logins_are_limited_as_everywhere(stack: Stack, start_gateway: StartGateway) -> None:
    email = await new_user(stack)
    approval = await asked(stack, "login", approvers=[email])
    async with browser(start_gateway(failed_logins_per_minute=2)) as visitor:
        page = await visitor.open(page_path(approval.id, email))
        tried = [await visitor.press(page, "log-in", password="wrong password") for _ in range(3)]
        door = await visitor.press(
            await visitor.open(page_path(approval.id)), "log-in", email=email, password="wrong password"
        )
        assert [answer.status for answer in (*tried, door)] == [401, 401, 429, 429]
        assert ["retry-after" in answer.response.headers for answer in (*tried, door)] == [False, False, True, True]
        assert 0 < int(door.response.headers["retry-after"]) <= 60
        answer = await visitor.http.post("/api/login", json={"email": email, "password": PASSWORD})
        assert answer.status_code == 429


async def test_the_door_logs_in(stack: Stack, ada: Browser) -> None:
    email = await new_user(stack)
    approval = await asked(stack, "link", approvers=[email])
    door = await ada.open(page_path(approval.id))
    page = await ada.press(door, "log-in", email=email, password="wrong password")
    assert (page.status, page.inputs["email"]) == (401, email)
    page = await ada.press(door, "log-in", email="no address", password=PASSWORD)
    assert page.status == 400
    page = await ada.press(door, "log-in", email=email.upper(), password=PASSWORD)
    assert page.actions == ["approve", "deny"]


# Links


async def test_a_link_is_mailed_again_once_a_minute(stack: Stack, ada: Browser) -> None:
    approval = await asked(stack, "link", approvers=[ADA, BOB])
    door = await ada.open(page_path(approval.id))
    said = {
        (await ada.press(door, "send-link", email=email)).text for email in (" Ada@Example.com ", ADA, "x@y.example")
    }
    assert len(said) == 1
    assert await letters(stack, approval, LetterTopic.LINK) == [ADA]
    await ada.press(door, "send-link", email=BOB)
    assert sorted(map(str, await letters(stack, approval, LetterTopic.LINK))) == [ADA, BOB]
    async with transaction(stack.sessions) as session:
        before = utc_now() - timedelta(minutes=1)
        await session.execute(update(Message).where(Message.approval_id == approval.id).values(created_at=before))
    await ada.press(door, "send-link", email=ADA)
    assert (await letters(stack, approval, LetterTopic.LINK)).count(ADA) == 2
    assert await events_of(stack.sessions, approval.id) == ["link_sent"] * 3


async def test_who_has_voted_gets_a_link_to_see_how_it_ended(stack: Stack, ada: Browser) -> None:
    approval = await asked(stack, "link")
    await voted(stack.sessions, approval, ADA, approve())
    page = await ada.press(await ada.open(page_path(approval.id)), "send-link", email=ADA)
    assert (page.status, "on its way" in page.text) == (200, True)
    assert await letters(stack, approval, LetterTopic.LINK) == [ADA]


@pytest.mark.parametrize("email", ["", "no address", "a@b\x01", "x" * 300 + "@example.com"])
async def test_a_link_needs_an_address(stack: Stack, ada: Browser, email: str) -> None:
    approval = await asked(stack, "link")
    page = await ada.press(await ada.open(page_path(approval.id)), "send-link", email=email)
    assert page.status == 400
    assert "must be an e-mail address" in page.text


async def test_no_links_to_what_does_not_exist(stack: Stack, ada: Browser) -> None:
    door = await ada.open(page_path((await asked(stack, "link")).id))
    answer = await ada.http.post("/approvals/apr_0", data={**door.inputs, "action": "send-link", "email": ADA})
    unknown = await ada.open("/approvals/apr_0")
    assert (answer.status_code, answer.text) == (404, unknown.response.text)
