"""Who may decide an approval, and what votes and deadlines make of it."""

from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from domain.approval_alerts import APPROVAL_DECIDED, APPROVAL_EXPIRED, ApprovalIdentity, ended, requested
from domain.approvals import (
    TIMEOUT,
    AlreadyVoted,
    ApprovalDecided,
    ApprovalStatus,
    ApprovalTerms,
    Ballot,
    Confirm,
    ConfirmationRequired,
    Decision,
    NotAnApprover,
    Outcome,
    OwnRequest,
    Standing,
    Via,
    Vote,
    Voter,
    check_vote,
    moved,
    next_step,
    standing_at,
)
from domain.errors import DomainError
from domain.instances import Outage
from tests.domain.builders import NOON, at

ADA, BOB, CAROL, DAVE = "ada@example.com", "bob@example.com", "carol@example.com", "dave@example.com"
KEY = "api-key:key_1"
MOMENT = timedelta(microseconds=1)
DEADLINE = 300


def terms(*approvers: str, timeout: float | None = DEADLINE, reminders: tuple[float, ...] = (), **rules: Any) -> Any:
    """Ada and Bob are asked, unless others are."""
    if "escalate_at" in rules:
        rules["escalate_at"] = at(rules["escalate_at"])
    return ApprovalTerms(
        NOON,
        approvers or (ADA, BOB),
        expires_at=at(timeout) if timeout is not None else None,
        reminders=tuple(at(second) for second in reminders),
        **rules,
    )


def yes(voter: str, second: float = 10, **values: Any) -> Vote:
    return Vote(voter, Ballot(Decision.APPROVE, **values), at(second))


def no(voter: str, second: float = 10, **values: Any) -> Vote:
    return Vote(voter, Ballot(Decision.DENY, **values), at(second))


def status(terms: ApprovalTerms, *votes: Vote, second: float = DEADLINE - 1) -> str:
    return standing_at(terms, votes, at(second)).status.value


@pytest.mark.parametrize(
    ("quorum", "votes", "expected"),
    [
        (1, [], "pending"),
        (1, [yes(ADA)], "approved"),
        (1, [no(ADA)], "denied"),
        (1, [no(ADA), yes(BOB)], "denied"),
        (2, [yes(ADA)], "pending"),
        (2, [yes(ADA), yes(BOB)], "approved"),
        (2, [yes(ADA), yes(KEY)], "approved"),
        (2, [no(ADA), no(BOB)], "denied"),
        (2, [no(ADA), yes(BOB)], "pending"),
        (2, [no(ADA), yes(BOB), yes(CAROL)], "approved"),
        (2, [no(ADA), yes(BOB), no(CAROL)], "denied"),
        (3, [yes(ADA), yes(BOB)], "pending"),
        (3, [yes(ADA), no(BOB)], "denied"),
        (3, [no(ADA)], "denied"),
        (3, [no(KEY)], "pending"),
    ],
)
def test_so_many_votes_of_one_kind_decide(quorum: int, votes: list[Vote], expected: str) -> None:
    assert status(terms(ADA, BOB, CAROL, quorum=quorum), *votes) == expected


def test_the_vote_that_completes_the_quorum_gives_time_notes_and_values() -> None:
    votes = [yes(ADA, 10, notes="fine", choice="blue"), yes(BOB, 20, notes="ok then", choice="blue")]
    outcome = standing_at(terms(quorum=2), votes, at(20)).outcome
    assert outcome == Outcome(ApprovalStatus.APPROVED, at(20), BOB, "ok then", choice="blue")


def test_a_denial_gives_no_values() -> None:
    outcome = standing_at(terms(), [no(ADA, notes="too dear", choice="blue", response={"n": 1})], at(20)).outcome
    assert outcome == Outcome(ApprovalStatus.DENIED, at(10), ADA, "too dear")


@pytest.mark.parametrize(
    ("votes", "expected"),
    [([no(ADA)], "denied"), ([yes(ADA), no(BOB)], "denied"), ([yes(ADA), yes(BOB)], "approved"), ([no(KEY)], "denied")],
)
def test_with_a_veto_one_denial_is_enough(votes: list[Vote], expected: str) -> None:
    assert status(terms(ADA, BOB, CAROL, quorum=2, veto=True), *votes) == expected


def test_a_quorum_that_cannot_be_reached_any_more_denies_at_once_and_says_why() -> None:
    split = [yes(ADA, 1, choice="red"), yes(BOB, 2, choice="blue")]
    assert status(terms(ADA, BOB, CAROL, quorum=2), *split) == "pending"
    outcome = standing_at(terms(ADA, BOB, CAROL, quorum=2), [*split, yes(CAROL, 3, choice="green")], at(9)).outcome
    assert outcome is not None
    assert (outcome.status, outcome.at, outcome.decided_by) == ("denied", at(3), CAROL)
    assert outcome.reason == "2 approvals of the same are not possible any more."
    assert (outcome.choice, outcome.response) == (None, None)


@pytest.mark.parametrize(
    ("rules", "votes", "expected"),
    [
        # Two who can still be added by the escalation may agree.
        ({"escalate_to": (CAROL, DAVE), "escalate_at": 60}, [yes(ADA), no(BOB)], "pending"),
        ({"escalate_to": (CAROL,), "escalate_at": 60}, [no(ADA), no(BOB)], "denied"),
        # One who asks for it does not count as somebody who is left.
        ({"requesters": frozenset({BOB}), "forbid_self": True}, [no(ADA)], "denied"),
        ({"requesters": frozenset({BOB})}, [no(ADA)], "pending"),
    ],
)
def test_who_may_still_vote_counts_for_what_is_possible(
    rules: dict[str, Any], votes: list[Vote], expected: str
) -> None:
    people = (ADA, BOB, CAROL) if "requesters" in rules else (ADA, BOB)
    assert status(terms(*people, quorum=2, **rules), *votes) == expected


@pytest.mark.parametrize(
    ("one", "other", "agree"),
    [
        (None, None, True),
        ({"n": 1}, {"n": 1}, True),
        ({"n": 1, "m": [1, {"a": None}]}, {"m": [1, {"a": None}], "n": 1}, True),
        ({"n": 1}, {"n": 1.0}, True),
        ({"n": 1}, {"n": 2}, False),
        ({"n": 1}, {"n": True}, False),
        ({"n": [0]}, {"n": [False]}, False),
        ({"n": "1"}, {"n": 1}, False),
        ({"n": [1]}, {"n": [1, 1]}, False),
        ({"n": {}}, {"n": []}, False),
        ({"n": None}, {}, False),
        ({}, None, False),
    ],
)
def test_approvals_of_different_values_are_not_one_decision(one: Any, other: Any, agree: bool) -> None:
    votes = [yes(ADA, response=one), yes(BOB, response=other)]
    assert status(terms(quorum=2), *votes) == ("approved" if agree else "denied")
    assert votes[0].ballot.agrees_with(votes[1].ballot) is votes[1].ballot.agrees_with(votes[0].ballot) is agree


def test_notes_and_denied_values_do_not_matter_for_agreement() -> None:
    assert status(terms(quorum=2), yes(ADA, notes="a"), yes(BOB, notes="b")) == "approved"
    assert status(terms(quorum=2), no(ADA, choice="a", response={"n": 1}), no(BOB, choice="b")) == "denied"


@pytest.mark.parametrize(("action", "expected"), [(Decision.DENY, "denied"), (Decision.APPROVE, "approved")])
def test_the_deadline_decides_either_way(action: Decision, expected: str) -> None:
    asked = terms(quorum=2, timeout_action=action)
    assert standing_at(asked, [yes(ADA)], at(DEADLINE) - MOMENT).outcome is None
    outcome = standing_at(asked, [yes(ADA)], at(DEADLINE)).outcome
    assert outcome is not None
    assert (outcome.status, outcome.at, outcome.decided_by) == (expected, at(DEADLINE), TIMEOUT)
    assert outcome.reason == "The quorum was not reached in time."
    silence = standing_at(asked, [], at(DEADLINE)).outcome
    assert silence is not None
    assert (silence.status, silence.reason) == (expected, "Nobody decided in time.")


def test_silence_does_not_overrule_a_denial() -> None:
    asked = terms(ADA, BOB, CAROL, quorum=2, timeout_action=Decision.APPROVE)
    outcome = standing_at(asked, [no(ADA)], at(DEADLINE)).outcome
    assert outcome is not None
    assert (outcome.status, outcome.decided_by) == ("denied", TIMEOUT)
    assert outcome.reason == "The quorum was not reached in time, and a denial stands."


def test_a_vote_at_the_deadline_is_too_late_and_one_before_it_is_not() -> None:
    in_time, late = replace(yes(ADA), at=at(DEADLINE) - MOMENT), yes(ADA, DEADLINE)
    assert standing_at(terms(), [in_time], at(9999)).outcome == Outcome(ApprovalStatus.APPROVED, in_time.at, ADA)
    assert standing_at(terms(), [late], at(9999)).status is ApprovalStatus.DENIED


@pytest.mark.parametrize(
    ("outages", "expected"),
    [
        ([], 300),
        ([(100, 200)], 300),
        ([(100, 249)], 300),
        ([(100, 250)], 450),
        ([(100, 180), (200, 270)], 450),
        ([(299, 310)], 311),
        ([(100, 110), (299, 310)], 311),
        ([(299, 310), (305, 320)], 326),
        ([(300, 310)], 300),
        ([(310, 500)], 300),
        ([(-50, 10)], 300),
        ([(-50, 400)], 700),
    ],
)
def test_a_deadline_moves_if_nobody_could_act_then_or_half_of_the_time(
    outages: list[tuple[float, float]], expected: float
) -> None:
    assert moved(NOON, DEADLINE, [Outage(at(start), at(end)) for start, end in outages]) == at(expected)


def test_without_a_deadline_it_waits_for_ever() -> None:
    asked = terms(timeout=None)
    assert status(asked, second=1e9) == "pending"
    assert next_step(asked, Standing()) is None
    assert status(asked, yes(ADA, 1e9), second=1e9) == "approved"


def test_a_reminder_at_the_moment_of_the_decision_counts_as_past() -> None:
    """Else a reminder that was sent would not have happened, once somebody votes in the same moment."""
    asked = terms(reminders=(60, 120), escalate_to=(CAROL,), escalate_at=60)
    assert standing_at(asked, [], at(60)) == Standing(1, True)
    decided = standing_at(asked, [yes(ADA, 60)], at(9999))
    assert (decided.reminded, decided.is_escalated) == (1, True)
    before = standing_at(asked, [replace(yes(ADA), at=at(60) - MOMENT)], at(9999))
    assert (before.reminded, before.is_escalated) == (0, False)


def test_what_comes_next() -> None:
    asked = terms(reminders=(60, 240), escalate_to=(CAROL,), escalate_at=120)
    steps, standing, until = [], Standing(), NOON
    while (step := next_step(asked, standing)) is not None:
        until = step[0]
        steps.append(((until - NOON).total_seconds(), step[1]))
        standing = standing_at(asked, [], until)
    assert steps == [
        (60, "the next reminder"),
        (120, "it is escalated"),
        (240, "the next reminder"),
        (300, "it expires"),
    ]


def test_the_escalation_adds_approvers_at_its_moment() -> None:
    asked = terms(ADA, escalate_to=(BOB, ADA), escalate_at=60)
    assert asked.approvers_at(standing_at(asked, [], at(60) - MOMENT)) == (ADA,)
    assert asked.approvers_at(standing_at(asked, [], at(60))) == (ADA, BOB)


def test_whoever_asks_is_not_asked_if_that_is_forbidden() -> None:
    asked = terms(ADA, BOB, requesters=frozenset({ADA}), forbid_self=True)
    assert asked.approvers_at(Standing()) == (BOB,)
    assert replace(asked, forbid_self=False).approvers_at(Standing()) == (ADA, BOB)


LINK = Voter(ADA, Via.LINK)
OWN_KEY = Voter(KEY, Via.KEY, KEY)
FOR_ADA = Voter(ADA, Via.KEY, KEY)
SELF: dict[str, Any] = {"requesters": frozenset({"deploy bot", KEY, ADA}), "forbid_self": True}


@pytest.mark.parametrize(
    ("rules", "voter", "refusal"),
    [
        ({}, LINK, None),
        ({}, OWN_KEY, None),
        ({}, FOR_ADA, None),
        ({}, Voter(CAROL, Via.SESSION), NotAnApprover),
        ({}, Voter(CAROL, Via.LINK), NotAnApprover),
        ({}, Voter(CAROL, Via.KEY, KEY), NotAnApprover),
        (SELF, LINK, OwnRequest),
        (SELF, OWN_KEY, OwnRequest),
        (SELF, Voter(BOB, Via.KEY, KEY), OwnRequest),
        (SELF, Voter(BOB, Via.LINK), None),
        (SELF, Voter("api-key:other", Via.KEY, "api-key:other"), None),
        (SELF | {"forbid_self": False}, LINK, None),
        (SELF | {"forbid_self": False}, OWN_KEY, None),
    ],
)
def test_who_may_vote(rules: dict[str, Any], voter: Voter, refusal: type[DomainError] | None) -> None:
    if refusal is None:
        check_vote(terms(**rules), Standing(), [], voter)
    else:
        with pytest.raises(refusal):
            check_vote(terms(**rules), Standing(), [], voter)


@pytest.mark.parametrize(
    ("confirm", "enough"),
    [(Confirm.LINK, set(Via)), (Confirm.CODE, {Via.CODE}), (Confirm.LOGIN, {Via.SESSION})],
)
@pytest.mark.parametrize("via", Via)
def test_what_an_approver_must_show(confirm: Confirm, enough: set[Via], via: Via) -> None:
    asked, voter = terms(confirm=confirm), Voter(ADA, via, KEY if via is Via.KEY else None)
    if via in enough:
        check_vote(asked, Standing(), [], voter)
    else:
        with pytest.raises(ConfirmationRequired) as refusal:
            check_vote(asked, Standing(), [], voter)
        assert refusal.value.extra["confirm"] == confirm.value


def test_somebody_votes_from_the_escalation_on() -> None:
    asked, carol = terms(escalate_to=(CAROL,), escalate_at=60), Voter(CAROL, Via.LINK)
    with pytest.raises(NotAnApprover):
        check_vote(asked, standing_at(asked, [], at(59)), [], carol)
    check_vote(asked, standing_at(asked, [], at(60)), [], carol)


def test_a_vote_stays() -> None:
    with pytest.raises(AlreadyVoted, match=r"ada@example\.com has voted already, at 2025-.*: approve\."):
        check_vote(terms(quorum=2), Standing(), [yes(ADA)], LINK)
    with pytest.raises(AlreadyVoted):
        check_vote(terms(quorum=2), Standing(), [yes(ADA)], FOR_ADA)
    check_vote(terms(quorum=2), Standing(), [yes(ADA)], OWN_KEY)


@pytest.mark.parametrize(
    ("decided_by", "words"),
    [(BOB, "It is approved already, by bob@example.com at"), (TIMEOUT, "It is approved already, by its timeout at")],
)
def test_what_is_decided_is_said_before_all_else(decided_by: str, words: str) -> None:
    standing = Standing(outcome=Outcome(ApprovalStatus.APPROVED, at(5), decided_by))
    for voter in (LINK, Voter(CAROL, Via.LINK)):
        with pytest.raises(ApprovalDecided, match=words) as refusal:
            check_vote(terms(**SELF), standing, [yes(ADA)], voter)
        assert refusal.value.extra == {
            "approval_status": "approved",
            "decided_by": decided_by,
            "decided_at": at(5).isoformat(),
        }


@pytest.mark.parametrize(
    ("status", "result"),
    [
        (ApprovalStatus.PENDING, None),
        (ApprovalStatus.APPROVED, 1),
        (ApprovalStatus.DENIED, 0),
        (ApprovalStatus.CANCELLED, 0),
    ],
)
def test_the_result_is_one_for_proceed_and_zero_for_do_not(status: ApprovalStatus, result: int | None) -> None:
    assert status.result == result


def test_alerts_say_who_asks_and_how_it_ended() -> None:
    approval = ApprovalIdentity("account", "apr_1", "Deploy 1.4", "approval/apr_1", "deploy bot", at(DEADLINE))
    assert requested(approval, NOON).title == "deploy bot asks for approval: Deploy 1.4"
    told = ended(approval, Outcome(ApprovalStatus.DENIED, at(5), ADA, "too late in the week"))
    assert (told.kind, told.title) == (APPROVAL_DECIDED, f"Deploy 1.4 was denied by {ADA}")
    assert (told.reason, told.data["result"], told.data["path"]) == ("too late in the week", 0, "/approvals/apr_1")
    expired = ended(approval, Outcome(ApprovalStatus.APPROVED, at(9), TIMEOUT, reason="Nobody decided in time."))
    assert (expired.kind, expired.title) == (APPROVAL_EXPIRED, "Deploy 1.4 expired and is approved")
    assert expired.reason == "Nobody decided in time."
    assert told.trouble == expired.trouble == requested(approval, NOON).trouble
