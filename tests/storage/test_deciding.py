"""What happens to an approval, and all that follows from it in the same transaction."""

from datetime import datetime, timedelta

import pytest

from config.clock import utc_now
from domain.approvals import (
    AlreadyVoted,
    ApprovalDecided,
    ApprovalStatus,
    Ballot,
    NotAnApprover,
    OwnRequest,
    Standing,
    Via,
    Voter,
)
from domain.errors import NotFound
from domain.letters import LetterTopic
from storage import deciding
from storage.approval_audit import terms_of
from storage.approvals import (
    approvals_stand,
    list_pending,
    list_unfollowed,
)
from storage.base import Sessions, transaction
from tests.storage.approval_cases import ADA, BOB, CAROL, DEADLINE, PEOPLE, Open, opener
from tests.support.approvals import AGENT, approve, by_link, deny


@pytest.fixture
def opened(sessions: Sessions, account: str) -> Open:
    return opener(sessions, account)


async def test_a_request_asks_everybody_and_says_so(opened: Open) -> None:
    case = await opened(approvers=[ADA, BOB])
    assert await case.letters(LetterTopic.REQUEST) == [ADA, BOB]
    assert await case.alerts() == ["requested"]
    assert await case.transitions() == [("pending", 0)]
    (entry,) = await case.audit()
    assert (entry["event"], entry["actor"], entry["seq"]) == ("requested", "api-key:agent", 1)
    assert entry["details"] == {"via": "key", "terms": terms_of(case.approval)}
    row = await case.row()
    assert (row.revision, row.followed_revision, row.standing()) == (1, 0, Standing())


async def test_whoever_may_not_decide_is_not_asked(opened: Open) -> None:
    case = await opened(approvers=[ADA, BOB], requesters=[ADA], forbid_self=True, reminders=[60])
    await case.follow(60)
    assert await case.letters(LetterTopic.REQUEST) == await case.letters(LetterTopic.REMINDER) == [BOB]
    with pytest.raises(OwnRequest):
        await case.vote(ADA, 70)


@pytest.mark.parametrize(("ballot", "status"), [(approve(notes="go"), "approved"), (deny(notes="no"), "denied")])
async def test_a_vote_decides_and_all_that_follows_is_there(opened: Open, ballot: Ballot, status: str) -> None:
    case = await opened()
    await case.vote(ADA, 5, ballot)
    row = await case.check_ended()
    assert (row.status, row.decided_by, row.decided_at, row.notes) == (status, ADA, case.at(5), ballot.notes)
    assert await case.events() == ["requested", "voted", "decided"]
    voted = (await case.audit())[1]
    assert (voted["actor"], voted["address"], voted["agent"]) == (ADA, "127.0.0.1", "Browser/1")
    assert voted["details"] == {"via": "link", "decision": ballot.decision.value, "notes": ballot.notes}
    assert await case.alerts() == ["requested", "decided"]


async def test_a_quorum_takes_its_time(opened: Open) -> None:
    case = await opened(approvers=[*PEOPLE], quorum=2)
    await case.vote(ADA, 5)
    assert (await case.status(), await case.alerts()) == ("pending", ["requested"])
    with pytest.raises(AlreadyVoted):
        await case.vote(ADA, 6, deny())
    await case.vote(CAROL, 7)
    row = await case.check_ended()
    assert (row.status, row.decided_by, row.revision) == ("approved", CAROL, 3)
    with pytest.raises(ApprovalDecided) as refusal:
        await case.vote(BOB, 8)
    assert refusal.value.extra["decided_by"] == CAROL
    await case.check_ended()


async def test_a_key_votes_for_somebody_or_for_itself(opened: Open) -> None:
    case = await opened(approvers=[ADA, BOB], quorum=2)
    await case.vote(ADA, 1, voter=Voter(ADA, Via.KEY, "api-key:k"))
    await case.vote("", 2, voter=Voter("api-key:k", Via.KEY, "api-key:k"))
    row = await case.check_ended()
    assert (row.status, row.decided_by) == ("approved", "api-key:k")
    first, second = (entry for entry in await case.audit() if entry["event"] == "voted")
    assert (first["actor"], first["details"]["caller"]) == (ADA, "api-key:k")
    assert second["actor"] == "api-key:k"
    assert "caller" not in second["details"]


@pytest.mark.parametrize("action", ["approve", "deny"])
async def test_the_deadline_takes_effect_at_the_workflows_look(opened: Open, action: str) -> None:
    case = await opened(timeout_action=action)
    await case.follow(DEADLINE - 1)
    assert await case.status() == "pending"
    # A look that comes late changes nothing about the time.
    await case.follow(DEADLINE + 3600)
    row = await case.check_ended()
    assert (row.status, row.decided_by) == ("approved" if action == "approve" else "denied", "timeout")
    assert (row.decided_at, row.reason) == (case.at(DEADLINE), "Nobody decided in time.")
    assert row.followed_revision == row.revision
    assert await case.events() == ["requested", "decided"]
    await case.follow(DEADLINE + 7200)
    assert (await case.check_ended()).revision == row.revision


async def test_a_cancelled_one_is_over(opened: Open) -> None:
    case = await opened()
    await case.cancel(5, "not needed")
    row = await case.check_ended()
    assert (row.status, row.decided_by, row.notes) == ("cancelled", "api-key:agent", "not needed")
    for late in (case.vote(ADA, 6), case.cancel(6)):
        with pytest.raises(ApprovalDecided, match="It is cancelled already"):
            await late
    await case.follow(DEADLINE)
    await case.check_ended()
    assert await case.events() == ["requested", "cancelled"]


async def test_reminders_and_the_escalation_go_to_those_who_have_not_voted(opened: Open) -> None:
    case = await opened(
        approvers=[ADA, BOB], quorum=2, reminders=[60.0, 120.0, 180.0], escalate_to=[CAROL, ADA], escalate_after=90.0
    )
    await case.follow(60)
    assert await case.letters(LetterTopic.REMINDER) == [ADA, BOB]
    await case.vote(ADA, 70)
    with pytest.raises(NotAnApprover):
        await case.vote(CAROL, 80)
    await case.follow(90)
    assert await case.letters(LetterTopic.ESCALATION) == [CAROL]
    await case.follow(120)
    assert await case.letters(LetterTopic.REMINDER) == [ADA, BOB, BOB, CAROL]
    assert await case.alerts() == ["requested", "reminder", "escalated", "reminder"]
    await case.vote(CAROL, 130)
    await case.check_ended()
    assert [(item["event"], item["details"].get("whom")) for item in await case.audit() if item["seq"] > 1] == [
        ("reminded", [ADA, BOB]),
        ("voted", None),
        ("escalated", None),
        ("reminded", [BOB, CAROL]),
        ("voted", None),
        ("decided", None),
    ]


async def test_of_reminders_that_come_late_one_is_sent_and_none_after_the_end(opened: Open) -> None:
    late = await opened(reminders=[60, 120, 180], escalate_to=[BOB], escalate_after=60)
    await late.follow(150)
    # Who is asked in this moment needs no reminder.
    assert await late.letters(LetterTopic.REMINDER) == [ADA]
    assert await late.letters(LetterTopic.ESCALATION) == [BOB]
    assert (await late.row()).reminded == 2
    too_late = await opened(reminders=[60, 120], escalate_to=[BOB], escalate_after=60)
    await too_late.follow(DEADLINE + 1)
    assert await too_late.letters(LetterTopic.REMINDER) == await too_late.letters(LetterTopic.ESCALATION) == []
    assert await too_late.alerts() == ["requested", "expired"]
    await too_late.check_ended()


async def test_a_vote_finds_the_escalation_before_its_workflow_does(opened: Open) -> None:
    case = await opened(escalate_to=[BOB], escalate_after=60)
    await case.vote(BOB, 60)
    row = await case.check_ended()
    assert (row.decided_by, row.escalated_at) == (BOB, case.at(60))
    assert await case.events() == ["requested", "escalated", "voted", "decided"]


LONG_AGO = utc_now() - timedelta(days=3000)
"""When no gateway of other tests lived."""


async def test_time_in_which_nobody_could_decide_does_not_count(opened: Open) -> None:
    case = await opened(
        now=LONG_AGO,
        lives=[(-1, 100), (250, 1000)],
        timeout_action="approve",
        escalate_to=[BOB],
        escalate_after=200,
        quorum=2,
    )
    await case.follow(255)
    row = await case.row()
    assert (row.expires_at, row.escalate_at, row.escalated_at) == (case.at(DEADLINE + 150), case.at(350), None)
    assert await case.events() == ["requested", "extended"]
    await case.vote(ADA, DEADLINE + 20)
    await case.follow(350)
    assert await case.letters(LetterTopic.ESCALATION) == [BOB]
    await case.follow(DEADLINE + 150)
    row = await case.check_ended()
    assert (row.status, row.decided_by, row.decided_at) == ("approved", "timeout", case.at(DEADLINE + 150))


async def test_a_restart_in_the_middle_changes_nothing(opened: Open) -> None:
    case = await opened(
        now=LONG_AGO + timedelta(days=3), lives=[(-1, 100), (180, 1000)], escalate_to=[BOB], escalate_after=200
    )
    await case.follow(200)
    await case.follow(DEADLINE)
    row = await case.check_ended()
    assert (row.escalated_at, row.decided_at) == (case.at(200), case.at(DEADLINE))
    assert "extended" not in await case.events()


async def test_a_vote_after_an_outage_finds_more_time_too(opened: Open) -> None:
    case = await opened(now=LONG_AGO + timedelta(days=1), lives=[(-1, 100), (400, 1000)])
    await case.vote(ADA, DEADLINE + 110)
    assert (await case.check_ended()).decided_by == ADA


async def test_while_no_gateway_lives_no_deadline_is_called(opened: Open) -> None:
    case = await opened(now=LONG_AGO + timedelta(days=2), lives=[(-1, 100)], timeout_action="approve")
    await case.follow(DEADLINE)
    await case.follow(DEADLINE + 200)
    row = await case.row()
    assert (row.status, row.expires_at) == ("pending", case.at(DEADLINE + 400))
    await case.cancel(DEADLINE + 201)
    await case.follow(DEADLINE + 202)


async def test_what_silence_approves_has_every_value(opened: Open) -> None:
    editable = {"type": "object", "properties": {"to": {"type": "integer"}, "text": {"type": "string"}}}
    case = await opened(timeout_action="approve", editable=editable, payload={"to": 5, "else": 1})
    await case.follow(DEADLINE)
    assert (await case.check_ended()).response == {"to": 5, "text": ""}


async def test_the_trail_says_when_things_were_done_and_when_they_were_due(opened: Open) -> None:
    case = await opened(reminders=[60], escalate_to=[BOB], escalate_after=90)
    await case.follow(100)
    await case.follow(DEADLINE + 7)
    entries = (await case.audit())[1:]
    assert [entry["event"] for entry in entries] == ["escalated", "reminded", "decided"]
    done = [datetime.fromisoformat(entry["at"]) for entry in entries]
    assert done == [case.at(100), case.at(100), case.at(DEADLINE + 7)]
    due = [datetime.fromisoformat(entry["details"]["due_at"]) for entry in entries]
    assert due == [case.at(90), case.at(60), case.at(DEADLINE)]


async def test_what_is_not_there_is_not_found(sessions: Sessions) -> None:
    async with transaction(sessions) as session:
        now = utc_now()
        assert await deciding.follow(session, "apr_none", now, now) is None
        for act in (
            deciding.vote(session, "apr_none", by_link(ADA), approve(), now),
            deciding.cancel(session, "apr_none", AGENT, None, now),
            deciding.note(session, "apr_none", "viewed", AGENT, now),
            deciding.lock_approval(session, "apr_none"),
        ):
            with pytest.raises(NotFound, match=r"There is no approval apr_none\."):
                await act


async def test_a_look_at_the_page_is_noted_and_is_no_news(opened: Open) -> None:
    case = await opened()
    async with transaction(case.sessions) as session:
        await deciding.note(session, case.id, "viewed", by_link(ADA), case.at(3), page="question")
    assert (await case.row()).revision == 1
    assert (await case.audit())[1] == {
        "approval_id": case.id,
        "seq": 2,
        "at": case.at(3).isoformat(timespec="microseconds"),
        "event": "viewed",
        "actor": ADA,
        "address": "127.0.0.1",
        "agent": "Browser/1",
        "details": {"via": "link", "page": "question"},
    }


async def test_what_no_workflow_has_noticed_is_found(opened: Open) -> None:
    case, other = await opened(), await opened()
    await other.follow(1)

    async def unfollowed(second: float) -> set[str]:
        async with case.sessions() as session:
            return {case.id, other.id} & set(await list_unfollowed(session, case.at(second)))

    assert (await unfollowed(0), await unfollowed(5)) == (set(), {case.id})
    await case.follow(6)
    await other.vote(ADA, 10)
    assert (await unfollowed(10), await unfollowed(20)) == (set(), {other.id})
    async with case.sessions() as session:
        assert {case.id, other.id} & set(await list_pending(session)) == {case.id}
    await other.follow(11)
    assert await unfollowed(20) == set()


async def test_how_all_approvals_stand(opened: Open) -> None:
    async def stands(now: datetime) -> tuple[int, int, int]:
        async with case.sessions() as session:
            stand = await approvals_stand(session, now)
        return stand.pending, stand.unfollowed, stand.late

    # In a time of its own, before that of all other tests.
    case = await opened(now=utc_now() - timedelta(days=4000))
    before = await stands(case.at(0))
    assert before[1:] == (0, 0)
    assert (await stands(case.at(61)))[1:] == (1, 0)
    await case.follow(62)
    assert (await stands(case.at(DEADLINE + 60)))[1:] == (0, 0)
    assert (await stands(case.at(DEADLINE + 61)))[1:] == (0, 1)
    await case.follow(DEADLINE + 62)
    assert await stands(case.at(DEADLINE + 100)) == (before[0] - 1, 0, 0)
    assert await case.status() == ApprovalStatus.DENIED
