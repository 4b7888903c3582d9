"""The fold of an approval against a model of it that lets time pass second by second and tries out every future."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product

from hypothesis import given
from hypothesis import strategies as st

from domain.approvals import TIMEOUT, ApprovalTerms, Ballot, Decision, Standing, Vote, next_step, standing_at
from tests.domain.builders import NOON, at, properties

END = 12
PEOPLE = ("ada", "bob", "carol")
LATER = ("dave",)
VALUES = ("approve red", "approve blue", "deny")
KEY = "api-key:1"


@dataclass(frozen=True)
class Case:
    """`votes` are who, what and when, in order of time; `until` when somebody looks."""

    terms: ApprovalTerms
    votes: tuple[tuple[str, str, int], ...]

    @property
    def received(self) -> list[Vote]:
        return [Vote(name, _ballot(value), at(second)) for name, value, second in self.votes]


@st.composite
def cases(draw: st.DrawFn) -> Case:
    moments = st.none() | st.integers(1, END)
    expires, escalates = draw(moments), draw(moments)
    people = PEOPLE[: draw(st.integers(1, 3))]
    terms = ApprovalTerms(
        NOON,
        people,
        quorum=draw(st.integers(1, 3)),
        veto=draw(st.booleans()),
        expires_at=at(expires) if expires is not None else None,
        timeout_action=draw(st.sampled_from(Decision)),
        reminders=tuple(at(second) for second in sorted(draw(st.sets(st.integers(1, END), max_size=3)))),
        escalate_to=LATER if escalates is not None else (),
        escalate_at=at(escalates) if escalates is not None else None,
        requesters=frozenset(draw(st.sets(st.sampled_from(PEOPLE), max_size=1))),
        forbid_self=draw(st.booleans()),
    )
    # Only those who may vote, when they may: whoever else does is refused, and is in no fold.
    voters = draw(st.permutations(sorted({*terms.eligible(), KEY})))
    seconds = sorted(draw(st.lists(st.integers(0, END), max_size=len(voters))))
    votes = [
        (name, draw(st.sampled_from(VALUES)), second)
        for name, second in zip(voters, seconds, strict=False)
        if name not in LATER or (escalates is not None and escalates <= second)
    ]
    return Case(terms, tuple(votes))


def modelled(case: Case, end: int) -> tuple[str, str | None, int | None]:
    """Status, who decided and when, by going through time as a person with a list would."""
    terms, heard = case.terms, list[tuple[str, str]]()
    for second in range(end + 1):
        if terms.expires_at == at(second):
            is_denied = any(value == "deny" for _, value in heard)
            is_approved = terms.timeout_action is Decision.APPROVE and not is_denied
            return ("approved" if is_approved else "denied"), TIMEOUT, second
        for name, value, when in case.votes:
            if when != second:
                continue
            heard.append((name, value))
            said = [value for _, value in heard]
            if value != "deny" and said.count(value) >= terms.quorum:
                return "approved", name, second
            if value == "deny" and (terms.veto or said.count("deny") >= terms.quorum):
                return "denied", name, second
            if not _may_be_approved(terms, heard):
                return "denied", name, second
    return "pending", None, None


def _may_be_approved(terms: ApprovalTerms, heard: Sequence[tuple[str, str]]) -> bool:
    """Tries out everything that those who are left may say."""
    everybody = {*terms.approvers, *terms.escalate_to}
    if terms.forbid_self:
        everybody -= terms.requesters
    left = everybody - {name for name, _ in heard}
    said = [value for _, value in heard]
    return any(
        max([*said, *future].count(value) for value in VALUES[:2]) >= terms.quorum
        for future in product(VALUES, repeat=len(left))
    )


def _ballot(value: str) -> Ballot:
    decision, _, choice = value.partition(" ")
    return Ballot(Decision(decision), choice or None)


@properties
@given(cases(), st.integers(0, END))
def test_it_stands_as_the_model_says(case: Case, until: int) -> None:
    standing = standing_at(case.terms, case.received, at(until))
    outcome = standing.outcome
    told = (outcome.decided_by, round((outcome.at - NOON).total_seconds())) if outcome is not None else (None, None)
    assert (standing.status.value, *told) == modelled(case, until)


@properties
@given(cases())
def test_what_happened_stays(case: Case) -> None:
    before = Standing()
    for second in range(END + 2):
        after = standing_at(case.terms, case.received, at(second))
        assert after.reminded >= before.reminded
        assert after.is_escalated >= before.is_escalated
        if before.outcome is not None:
            assert after == before
        before = after


@properties
@given(cases(), st.sampled_from(VALUES))
def test_votes_after_the_outcome_change_nothing(case: Case, value: str) -> None:
    standing = standing_at(case.terms, case.received, at(END))
    if standing.outcome is not None:
        more = [*case.received, Vote("erin", _ballot(value), at(END))]
        assert standing_at(case.terms, more, at(END)) == standing


@properties
@given(cases())
def test_a_workflow_that_wakes_at_each_next_step_misses_nothing(case: Case) -> None:
    """Asked at the votes and at the moments it was told of, and only there, it passes through all that happens."""
    votes, standing, until, steps = case.received, Standing(), at(-1), 0
    while True:
        step = next_step(case.terms, standing)
        moments = [vote.at for vote in votes if vote.at > until] + ([step[0]] if step is not None else [])
        if not moments:
            break
        until = min(moments)
        before, standing = standing, standing_at(case.terms, votes, until)
        assert standing.reminded - before.reminded <= 1
        steps += 1
    assert standing == standing_at(case.terms, votes, at(END + 1))
    assert steps <= len(votes) + len(case.terms.reminders) + 2


@properties
@given(cases())
def test_an_outcome_has_its_reason(case: Case) -> None:
    terms, votes = case.terms, case.received
    outcome = standing_at(terms, votes, at(END)).outcome
    if outcome is None:
        return
    if outcome.decided_by == TIMEOUT:
        assert outcome.at == terms.expires_at
        assert outcome.reason is not None
        return
    counted = votes[: [vote.voter for vote in votes].index(outcome.decided_by) + 1]
    last = counted[-1]
    assert (outcome.at, outcome.decided_by) == (last.at, last.voter)
    agreeing = [vote for vote in counted if vote.ballot.agrees_with(last.ballot)]
    by_veto = terms.veto and last.ballot.decision is Decision.DENY
    assert len(agreeing) >= terms.quorum or by_veto or outcome.reason is not None
