"""An approval has one outcome, whoever comes at the same moment, and whatever the clocks of gateways say."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from itertools import permutations
from random import Random

import psycopg
import pytest

from cli.postgres import EmbeddedPostgres
from domain.approvals import (
    AlreadyVoted,
    ApprovalDecided,
    NotAnApprover,
)
from domain.errors import DomainError, InvalidRequest
from domain.letters import LetterTopic
from storage import deciding
from storage.approvals import (
    CHANGES,
)
from storage.base import Sessions
from tests.storage.approval_cases import ADA, BOB, CAROL, DEADLINE, PEOPLE, Open, opener
from tests.support.approvals import approve, by_link, deny
from tests.support.waiting import until

MOMENT = timedelta(microseconds=1)


@pytest.fixture
def opened(sessions: Sessions, account: str) -> Open:
    return opener(sessions, account)


@pytest.fixture
async def heard(postgres: EmbeddedPostgres) -> AsyncIterator[list[str]]:
    """What Postgres has told everybody."""
    url = postgres.url.replace("/pingpulse?", "/storage?")
    said: list[str] = []
    async with await psycopg.AsyncConnection.connect(url, autocommit=True) as connection:
        await connection.execute(f"LISTEN {CHANGES}")

        async def listen() -> None:
            async for notification in connection.notifies():
                said.append(notification.payload)

        listening = asyncio.create_task(listen())
        yield said
        listening.cancel()
        await asyncio.gather(listening, return_exceptions=True)


async def test_twenty_who_vote_at_once_decide_once(opened: Open, heard: list[str]) -> None:
    people = [f"p{number}@example.com" for number in range(20)]
    case = await opened(approvers=people, quorum=7)
    results = await asyncio.gather(*(case.vote(name, 5) for name in people), return_exceptions=True)
    refused = [result for result in results if result is not None]
    assert {type(error) for error in refused} == {ApprovalDecided}
    assert len(refused) == 13
    row = await case.check_ended()
    assert (row.status, row.revision) == ("approved", 8)
    assert {error.extra["decided_by"] for error in refused if isinstance(error, DomainError)} == {row.decided_by}
    await until(lambda: heard.count(case.id) == 7)


async def test_one_who_votes_twice_at_once_has_one_vote(opened: Open) -> None:
    case = await opened(approvers=[ADA, BOB], quorum=2)
    results = await asyncio.gather(*(case.vote(ADA, 5) for _ in range(8)), return_exceptions=True)
    assert [type(result) for result in results if result is not None] == [AlreadyVoted] * 7
    assert (await case.status(), (await case.row()).revision) == ("pending", 2)


ORDERS = list(permutations(["vote", "cancel", "deadline"]))


@pytest.mark.parametrize("order", ORDERS, ids="-".join)
async def test_the_first_of_vote_cancellation_and_deadline_counts(opened: Open, order: Sequence[str]) -> None:
    """Whatever the clocks say: all of them believe in their own."""
    case = await opened()
    acts = {
        "vote": lambda: case.vote(ADA, DEADLINE - 1),
        "cancel": lambda: case.cancel(DEADLINE - 2),
        "deadline": lambda: case.follow(DEADLINE),
    }
    results = [(await asyncio.gather(acts[name](), return_exceptions=True))[0] for name in order]
    row = await case.check_ended()
    assert row.status == {"vote": "approved", "cancel": "cancelled", "deadline": "denied"}[order[0]]
    for name, result in list(zip(order, results, strict=True))[1:]:
        assert isinstance(result, ApprovalDecided) is (name != "deadline"), result


async def test_vote_cancellation_and_deadline_at_once_have_one_outcome(opened: Open) -> None:
    """Many times, as it is chance who comes first."""
    seen = set()
    for _ in range(12):
        case = await opened()
        acts = [
            case.vote(ADA, DEADLINE - 1),
            case.cancel(DEADLINE - 1),
            case.follow(DEADLINE),
            case.vote(ADA, DEADLINE),
        ]
        results = await asyncio.gather(*acts, return_exceptions=True)
        row = await case.check_ended()
        seen.add(row.status)
        for result in results:
            if result is not None:
                assert isinstance(result, ApprovalDecided)
                assert result.extra == {
                    "approval_status": row.status,
                    "decided_by": row.decided_by,
                    "decided_at": row.decided_at.isoformat() if row.decided_at is not None else None,
                }
    assert seen <= {"approved", "denied", "cancelled"}


@pytest.mark.parametrize("action", ["approve", "deny"])
async def test_who_hears_that_it_expired_hears_what_stays(opened: Open, heard: list[str], action: str) -> None:
    """Nobody has looked at the deadline yet, and another gateway's clock is behind."""
    case = await opened(timeout_action=action)
    for late in (case.vote(ADA, DEADLINE + MOMENT.total_seconds()), case.vote(ADA, DEADLINE - 1), case.cancel(10)):
        with pytest.raises(ApprovalDecided) as refusal:
            await late
        assert refusal.value.extra["decided_by"] == "timeout"
    row = await case.check_ended()
    assert (row.decided_at, row.revision, row.followed_revision) == (case.at(DEADLINE), 2, 0)
    await until(lambda: heard.count(case.id) == 1)
    cancelled = await opened()
    with pytest.raises(ApprovalDecided):
        await cancelled.cancel(DEADLINE)
    assert (await cancelled.check_ended()).decided_by == "timeout"


async def test_a_vote_a_moment_before_the_deadline_is_in_time(opened: Open) -> None:
    case = await opened()
    await case.vote(ADA, DEADLINE - 1e-6)
    assert (await case.check_ended()).decided_by == ADA


@pytest.mark.parametrize("second", [-3600, 0, 60, 89])
async def test_a_gateway_whose_clock_is_behind_changes_no_past(opened: Open, second: float) -> None:
    case = await opened(
        approvers=[ADA, BOB, CAROL], quorum=2, reminders=[60], escalate_to=["eve@x.org"], escalate_after=70
    )
    await case.follow(75)
    await case.vote(ADA, 90)
    await case.vote(BOB, second)
    row = await case.check_ended()
    assert (row.decided_by, row.decided_at) == (BOB, case.at(90))
    assert (row.reminded, row.escalated_at) == (1, case.at(70))
    ats = [entry["at"] for entry in await case.audit()]
    assert ats[-3:] == [case.at(90).isoformat(timespec="microseconds")] * 3


@pytest.mark.parametrize("second", [-3600, 59, 60])
async def test_a_vote_does_not_undo_a_reminder(opened: Open, second: float) -> None:
    """The workflow's clock has reached the reminder and the escalation, and the gateway's has not."""
    case = await opened(reminders=[60], escalate_to=[BOB], escalate_after=60)
    await case.follow(60)
    await case.vote(BOB, second)
    row = await case.check_ended()
    assert (row.reminded, row.escalated_at, row.decided_at) == (1, case.at(60), case.at(60))
    cancelled = await opened(reminders=[60])
    await cancelled.follow(60)
    await cancelled.cancel(second)
    assert (await cancelled.check_ended()).decided_at == cancelled.at(60)


async def test_a_workflow_whose_clock_is_behind_sees_what_happened(opened: Open) -> None:
    case = await opened(approvers=[ADA, BOB], quorum=2, reminders=[60])
    await case.vote(ADA, 100)
    await case.follow(50)
    row = await case.row()
    # The vote has seen the reminder already.
    assert (row.reminded, row.followed_revision) == (1, row.revision)
    assert await case.letters(LetterTopic.REMINDER) == [ADA, BOB]
    await case.vote(BOB, 110)
    await case.follow(51)
    assert (await case.check_ended()).followed_revision == 3


KINDS = ("vote", "vote", "vote", "follow", "cancel")


@pytest.mark.parametrize("seed", range(25))
async def test_what_is_recorded_is_the_fold_of_the_votes(opened: Open, seed: int) -> None:
    """Whatever happens, in any order, by whatever clocks: nothing that was recorded is taken back."""
    chance = Random(seed)
    people = [*PEOPLE, "dave@example.com"]
    case = await opened(
        approvers=people[: chance.randint(1, 3)],
        quorum=chance.randint(1, 3),
        veto=chance.random() < 0.2,
        reminders=sorted(chance.sample(range(1, 300), 3)),
        escalate_to=people[3:],
        escalate_after=chance.randint(1, 299),
        timeout=chance.choice([DEADLINE, None]),
        timeout_action=chance.choice(["approve", "deny"]),
    )
    before = await case.row()
    for _ in range(12):
        kind, second = chance.choice(KINDS), chance.randint(0, 330)
        acts: dict[str, Callable[[], Awaitable[None]]] = {
            "vote": partial(case.vote, chance.choice(people), second, chance.choice([approve(), deny()])),
            "follow": partial(case.follow, second, chance.randint(0, 330)),
            "cancel": partial(case.cancel, second + 100),
        }
        with suppress(ApprovalDecided, AlreadyVoted, NotAnApprover):
            await acts[kind]()
        row = await case.row()
        assert row.reminded >= before.reminded
        assert before.escalated_at is None or row.escalated_at == before.escalated_at
        if before.outcome() is not None:
            assert (row.outcome(), row.audit_count) == (before.outcome(), before.audit_count)
        ats = [vote.at for vote in await case.votes()]
        assert ats == sorted(ats)
        before = row
    if before.outcome() is not None:
        await case.check_ended()
    assert len(await case.letters(LetterTopic.CALLBACK)) == (before.outcome() is not None)


async def test_an_error_leaves_nothing(opened: Open, heard: list[str]) -> None:
    case = await opened(choices=["red", "blue"], reminders=[60], approvers=[ADA, BOB], quorum=2)
    before = await case.row()
    with pytest.raises(InvalidRequest):
        await case.vote(ADA, 70, approve(choice="green"))
    with pytest.raises(NotAnApprover):
        await case.vote(CAROL, 70)
    async with case.sessions() as session:
        await deciding.vote(session, case.id, by_link(ADA), approve(choice="red"), case.at(70))
        await session.rollback()
    after = await case.row()
    assert (after.revision, after.reminded, after.audit_count) == (before.revision, 0, 1)
    assert (await case.alerts(), await case.letters(LetterTopic.REMINDER)) == (["requested"], [])
    await case.vote(ADA, 70, approve(choice="red"))
    await until(lambda: case.id in heard)
    assert heard.count(case.id) == 1
