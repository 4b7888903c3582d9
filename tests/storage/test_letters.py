"""Letters about approvals: which are written, what they are read with, and how they are counted."""

from datetime import timedelta

import pytest
from sqlalchemy import select

from domain.letters import LetterTopic
from storage import messages
from storage.alerts import AlertRow
from storage.approvals import Approval
from storage.base import Sessions, transaction
from storage.deciding import follow, lock_approval, vote
from storage.letters import LetterLog, list_letters, load_letter
from storage.messages import Attempt, Message, finish_message, load_message, telling_stands, write_letter
from tests.support.approvals import approve, ask, by_link, gateway_lives
from tests.support.telling import NOON, VAULT, Desk, make_desk

TWO = ["ada@example.com", "bob@example.com"]


@pytest.fixture
async def desk(sessions: Sessions) -> Desk:
    return await make_desk(sessions)


async def logs(desk: Desk, approval: Approval) -> list[LetterLog]:
    async with desk.sessions() as session:
        return await list_letters(session, approval.id)


async def topics(desk: Desk, approval: Approval) -> list[tuple[str | None, str | None]]:
    return sorted((log.message.topic, log.message.recipient) for log in await logs(desk, approval))


async def test_everybody_is_asked_and_the_program_told(desk: Desk) -> None:
    url = VAULT.encrypt("https://example.com/")
    approval = await ask(desk.sessions, desk.account_id, now=NOON, approvers=TWO, callback_url=url)
    asked = [("request", "ada@example.com"), ("request", "bob@example.com")]
    assert await topics(desk, approval) == asked
    async with transaction(desk.sessions) as session:
        await vote(session, approval.id, by_link("ada@example.com"), approve(), desk.at(1))
    assert await topics(desk, approval) == [("callback", None), *asked]


async def test_a_letter_is_read_with_its_approval_and_the_votes(desk: Desk) -> None:
    approval = await ask(desk.sessions, desk.account_id, now=NOON, approvers=TWO, quorum=2)
    async with transaction(desk.sessions) as session:
        await vote(session, approval.id, by_link("ada@example.com"), approve(), desk.at(1))
    first = (await logs(desk, approval))[0].message
    async with desk.sessions() as session:
        found = await load_message(session, first.id)
        assert found is not None
        message, channel = found
        assert channel is None
        letter = await load_letter(session, message)
    assert (letter.approval.id, letter.recipient) == (approval.id, first.recipient)
    assert [one.voter for one in letter.votes] == ["ada@example.com"]
    assert (letter.code, letter.is_superseded) == (None, False)


async def test_of_several_codes_the_last_letter_counts(desk: Desk) -> None:
    approval = await ask(desk.sessions, desk.account_id, now=NOON, approvers=TWO)
    async with transaction(desk.sessions) as session:
        for seconds, approver in ((1, TWO[0]), (2, TWO[1]), (3, TWO[0])):
            write_letter(session, approval, LetterTopic.CODE, desk.at(seconds), approver)
    codes = [log.message for log in await logs(desk, approval) if log.message.topic == "code"]
    async with desk.sessions() as session:
        letters = [await load_letter(session, message) for message in codes]
    assert [letter.recipient for letter in letters] == [TWO[0], TWO[1], TWO[0]]
    assert [letter.is_superseded for letter in letters] == [True, False, False]


async def test_letters_are_handed_over_like_messages_to_channels(desk: Desk) -> None:
    approval = await ask(desk.sessions, desk.account_id, now=NOON)
    (log,) = await logs(desk, approval)
    async with transaction(desk.sessions) as session:
        assert await messages.list_not_handed_over(session, limit=10) == [(log.message.id, desk.account_id)]
        await messages.mark_handed_over(session, [log.message.id], desk.at(1))
        assert await messages.hand_over_again(session) == 1


async def test_channels_neither_wait_for_letters_nor_count_them(desk: Desk) -> None:
    await desk.channel(messages_per_minute=1)
    await ask(desk.sessions, desk.account_id, now=NOON, approvers=TWO)
    await desk.route()
    assert len((await desk.form()).messages) == 1


async def test_what_was_dropped_did_not_fail(desk: Desk) -> None:
    approval = await ask(desk.sessions, desk.account_id, now=NOON, approvers=[*TWO, "cy@example.com"])
    letters = [log.message for log in await logs(desk, approval)]
    async with transaction(desk.sessions) as session:
        assert (await telling_stands(session, desk.at(1))).pending == 3
        for letter, state in zip(letters, ("sent", "dropped", "failed"), strict=True):
            session.add(Attempt(message_id=letter.id, number=1, at=desk.at(1), took_ms=2, outcome=state))
            assert await finish_message(session, letter.id, state, desk.at(1))
            assert not await finish_message(session, letter.id, "sent", desk.at(1))
        stands = await telling_stands(session, desk.at(2))
    assert (stands.pending, stands.failed) == (0, 1)
    assert {log.message.id: [attempt.outcome for attempt in log.attempts] for log in await logs(desk, approval)} == {
        letter.id: [state] for letter, state in zip(letters, ("sent", "dropped", "failed"), strict=True)
    }


async def test_reminders_and_escalation_are_letters_too(desk: Desk) -> None:
    await gateway_lives(desk.sessions, desk.at(-1), desk.at(3600))
    approval = await ask(
        desk.sessions,
        desk.account_id,
        now=NOON,
        approvers=TWO,
        quorum=2,
        reminders=[10],
        escalate_to=["cy@example.com"],
        escalate_after=20,
    )
    async with transaction(desk.sessions) as session:
        await vote(session, approval.id, by_link(TWO[0]), approve(), desk.at(1))
    for seconds in (10, 20):
        async with transaction(desk.sessions) as session:
            await follow(session, approval.id, desk.at(seconds), desk.at(seconds))
    assert await topics(desk, approval) == [
        ("escalation", "cy@example.com"),
        ("reminder", "bob@example.com"),
        ("request", "ada@example.com"),
        ("request", "bob@example.com"),
    ]


@pytest.mark.parametrize(
    ("title", "context", "reason"),
    [
        (None, "Publish the report", None),
        ("Publish the report", "Publish  the report\n", None),
        ("Publish?", "The report\nof Q4", "The report of Q4"),
        (None, "long " * 100, ("long " * 100)[:299] + "…"),
    ],
)
async def test_channels_hear_how_the_context_begins(
    desk: Desk, title: str | None, context: str, reason: str | None
) -> None:
    approval = await ask(desk.sessions, desk.account_id, now=NOON, title=title, context=context)
    async with transaction(desk.sessions) as session:
        await lock_approval(session, approval.id)
        await follow(session, approval.id, NOON + timedelta(seconds=1), desk.at(1))
        alert = await session.scalar(select(AlertRow).where(AlertRow.subject == approval.subject))
        assert alert is not None
        assert (alert.kind, alert.reason) == ("approval_requested", reason)
        count = (await session.scalars(select(Message).where(Message.approval_id == approval.id))).all()
    assert len(count) == 1
