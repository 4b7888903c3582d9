"""Approvals: a question to people, with a deadline and what happens if nobody answers.

`standing_at` folds the votes, and the deadlines that pass before each, from the beginning: what an approval is at any
moment follows from its terms and its votes alone, whoever asks and however often.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Any, Final

from domain.errors import Conflict, Forbidden
from domain.ids import random_id
from domain.instances import Outage, due

TIMEOUT: Final = "timeout"
"""Who decides at the deadline: `decided_by` says so."""

MAX_TIMEOUT_SECONDS: Final = 366 * 86_400.0


class ApprovalStatus(StrEnum):
    PENDING = "pending"
    APPROVED = "approved"
    DENIED = "denied"
    CANCELLED = "cancelled"

    @property
    def result(self) -> int | None:
        """What the requester's program goes by: null means keep polling, 1 proceed, 0 do not."""
        return {ApprovalStatus.PENDING: None, ApprovalStatus.APPROVED: 1}.get(self, 0)


class Decision(StrEnum):
    APPROVE = "approve"
    DENY = "deny"


class Confirm(StrEnum):
    """What an approver must show besides the link from the mail."""

    LINK = "link"
    """Nothing; an API key may decide, too."""

    CODE = "code"
    """A code that was mailed when the page asked for it."""

    LOGIN = "login"
    """A login of the user with the approver's address."""


class Via(StrEnum):
    """How a voter was known."""

    LINK = "link"
    CODE = "code"
    SESSION = "session"
    KEY = "key"


ENOUGH: Final = {
    Confirm.LINK: frozenset(Via),
    Confirm.CODE: frozenset({Via.CODE}),
    Confirm.LOGIN: frozenset({Via.SESSION}),
}
"""What is enough to decide."""


class ApprovalDecided(Conflict):
    """It is decided, cancelled or expired; `approval_status`, `decided_by` and `decided_at` say how."""

    code = "approval_decided"
    title = "Approval is decided"


class AlreadyVoted(Conflict):
    """Each approver has one vote, and it stays."""

    code = "already_voted"
    title = "Already voted"


class NotAnApprover(Forbidden):
    """Somebody who was not asked."""

    code = "not_an_approver"
    title = "Not an approver"


class OwnRequest(Forbidden):
    """Nobody decides on their own request."""

    code = "own_request"
    title = "Own request"


class ConfirmationRequired(Forbidden):
    """This approval wants to know better who decides; `confirm` says how."""

    code = "confirmation_required"
    title = "Confirmation required"


@dataclass(frozen=True)
class ApprovalTerms:
    """What was asked for. Approvers are e-mail addresses in lower case; `reminders` are in ascending order.

    `quorum` votes of one kind decide; with `veto` one denial does. From `escalate_at` on, those in `escalate_to` are
    approvers too. `requesters` are the names of whoever asked; with `forbid_self` none of them may vote.
    """

    created_at: datetime
    approvers: tuple[str, ...]
    quorum: int = 1
    veto: bool = False
    expires_at: datetime | None = None
    timeout_action: Decision = Decision.DENY
    reminders: tuple[datetime, ...] = ()
    escalate_to: tuple[str, ...] = ()
    escalate_at: datetime | None = None
    requesters: frozenset[str] = frozenset()
    forbid_self: bool = False
    confirm: Confirm = Confirm.LINK

    def approvers_at(self, standing: "Standing") -> tuple[str, ...]:
        """Who may vote by now, each of them once."""
        asked = self.approvers + self.escalate_to if standing.is_escalated else self.approvers
        refused = self.requesters if self.forbid_self else frozenset()
        return tuple(name for name in dict.fromkeys(asked) if name not in refused)

    def eligible(self) -> frozenset[str]:
        """Whoever may ever vote as an approver."""
        return frozenset(self.approvers_at(Standing(is_escalated=True)))


@dataclass(frozen=True)
class Ballot:
    """What somebody answers. `choice` is one of those offered, if any are; `response` the fields that may be edited."""

    decision: Decision
    choice: str | None = None
    response: Mapping[str, Any] | None = None
    notes: str | None = None

    def agrees_with(self, other: "Ballot") -> bool:
        """Whether both want the same done. Approvals of different values are not one decision."""
        if self.decision is not other.decision:
            return False
        if self.decision is Decision.DENY:
            return True
        return self.choice == other.choice and _is_same(self.response, other.response)


@dataclass(frozen=True)
class Vote:
    """A ballot as it was received. `voter` is an approver's address, or `api-key:<id>`."""

    voter: str
    ballot: Ballot
    at: datetime


@dataclass(frozen=True)
class Voter:
    """Whoever decides, or looks. `name` counts; `caller` is who acts for them, if that is not they themselves:
    `api-key:<id>`. `address` is where the request came from, `agent` its User-Agent."""

    name: str
    via: Via
    caller: str | None = None
    address: str | None = None
    agent: str | None = None

    @property
    def names(self) -> frozenset[str]:
        return frozenset({self.name, *([self.caller] if self.caller else [])})


@dataclass(frozen=True)
class Outcome:
    """How it ended. `decided_by` is the voter that completed it, whoever cancelled it, or `timeout`.

    `reason` is there if it is not plain from that.
    """

    status: ApprovalStatus
    at: datetime
    decided_by: str
    notes: str | None = None
    choice: str | None = None
    response: Mapping[str, Any] | None = None
    reason: str | None = None


@dataclass(frozen=True)
class Standing:
    """Where an approval stands: how many of its reminders are past, whether it was escalated, how it ended."""

    reminded: int = 0
    is_escalated: bool = False
    outcome: Outcome | None = None

    @property
    def status(self) -> ApprovalStatus:
        return self.outcome.status if self.outcome is not None else ApprovalStatus.PENDING


def new_approval_id() -> str:
    return random_id("apr_", 12)


def standing_at(terms: ApprovalTerms, votes: Iterable[Vote], until: datetime) -> Standing:
    """Where an approval stands at a moment; `votes` are in the order in which they were received."""
    outcome = _outcome(terms, votes, until)
    # What falls into the moment of the decision counts: it may have been done before the vote came.
    last = outcome.at if outcome is not None else until
    return Standing(
        reminded=sum(at <= last for at in terms.reminders),
        is_escalated=terms.escalate_at is not None and terms.escalate_at <= last,
        outcome=outcome,
    )


def next_step(terms: ApprovalTerms, standing: Standing) -> tuple[datetime, str] | None:
    """When something happens if nobody votes, and what; None if nothing ever does."""
    if standing.outcome is not None:
        return None
    steps = [(at, "the next reminder") for at in terms.reminders[standing.reminded :][:1]]
    if terms.escalate_at is not None and not standing.is_escalated:
        steps.append((terms.escalate_at, "it is escalated"))
    if terms.expires_at is not None:
        steps.append((terms.expires_at, "it expires"))
    return min(steps, default=None)


def moved(base: datetime, seconds: float, outages: Sequence[Outage]) -> datetime:
    """`seconds` after `base`, moved by `outages` (in order of start) if nobody could act in that moment, or in half of
    the time before it. A restart in the middle changes nothing."""
    in_full = due(base, seconds, outages)
    if (in_full - base).total_seconds() >= 1.5 * seconds:
        return in_full
    at = base + timedelta(seconds=seconds)
    for outage in outages:
        if max(outage.start, base) < at <= outage.end:
            at += outage.end - max(outage.start, base)
    return at


def check_vote(terms: ApprovalTerms, standing: Standing, votes: Iterable[Vote], voter: Voter) -> None:
    """Whether somebody may vote now. Raises ApprovalDecided, OwnRequest, NotAnApprover,
    ConfirmationRequired and AlreadyVoted.

    An API key that names no approver votes for itself.
    """
    if standing.outcome is not None:
        raise decided_error(standing.outcome)
    if terms.forbid_self and voter.names & terms.requesters:
        raise OwnRequest("Nobody decides on their own request; another approver must. You may cancel it.")
    approvers = terms.approvers_at(standing)
    if voter.name not in approvers and voter.name != voter.caller:
        raise NotAnApprover(f"{voter.name} was not asked; {', '.join(approvers)} may decide.")
    if voter.via not in ENOUGH[terms.confirm]:
        how = "a code that is mailed to the approver" if terms.confirm is Confirm.CODE else "the approver's login"
        raise ConfirmationRequired(f"This takes {how}: decide on the approval's page.", confirm=terms.confirm.value)
    for vote in votes:
        if vote.voter == voter.name:
            raise AlreadyVoted(
                f"{voter.name} has voted already, at {vote.at.isoformat()}: {vote.ballot.decision}. A vote stays.",
                voted_at=vote.at.isoformat(),
            )


def decided_error(outcome: Outcome) -> ApprovalDecided:
    by = "its timeout" if outcome.decided_by == TIMEOUT else outcome.decided_by
    return ApprovalDecided(
        f"It is {outcome.status} already, by {by} at {outcome.at.isoformat()}.",
        approval_status=outcome.status.value,
        decided_by=outcome.decided_by,
        decided_at=outcome.at.isoformat(),
    )


def _outcome(terms: ApprovalTerms, votes: Iterable[Vote], until: datetime) -> Outcome | None:
    counted: list[Vote] = []
    for vote in votes:
        if vote.at > until or (terms.expires_at is not None and terms.expires_at <= vote.at):
            break
        counted.append(vote)
        if (outcome := _decided(terms, counted)) is not None:
            return outcome
    if terms.expires_at is not None and terms.expires_at <= until:
        # Silence does not overrule who has said no.
        is_denied = any(vote.ballot.decision is Decision.DENY for vote in counted)
        is_approved = terms.timeout_action is Decision.APPROVE and not is_denied
        status = ApprovalStatus.APPROVED if is_approved else ApprovalStatus.DENIED
        return Outcome(status, terms.expires_at, TIMEOUT, reason=_reason(counted))
    return None


def _reason(votes: Sequence[Vote]) -> str:
    """Why the deadline decided."""
    if not votes:
        return "Nobody decided in time."
    if any(vote.ballot.decision is Decision.DENY for vote in votes):
        return "The quorum was not reached in time, and a denial stands."
    return "The quorum was not reached in time."


def _decided(terms: ApprovalTerms, votes: Sequence[Vote]) -> Outcome | None:
    """What the last of the votes has brought about."""
    last = votes[-1]
    agreeing = sum(vote.ballot.agrees_with(last.ballot) for vote in votes)
    if last.ballot.decision is Decision.APPROVE:
        if agreeing >= terms.quorum:
            return _ended(ApprovalStatus.APPROVED, last)
    elif agreeing >= terms.quorum:
        return _ended(ApprovalStatus.DENIED, last)
    elif terms.veto:
        return _ended(ApprovalStatus.DENIED, last, "One denial is enough.")
    if _most_possible(terms, votes) < terms.quorum:
        reason = f"{terms.quorum} approvals of the same are not possible any more."
        return _ended(ApprovalStatus.DENIED, last, reason)
    return None


def _most_possible(terms: ApprovalTerms, votes: Sequence[Vote]) -> int:
    """How many approvals of the same there can be, if everybody who is left joins the greatest group."""
    approvals = [vote for vote in votes if vote.ballot.decision is Decision.APPROVE]
    groups = (sum(vote.ballot.agrees_with(other.ballot) for other in approvals) for vote in approvals)
    return max(groups, default=0) + len(terms.eligible() - {vote.voter for vote in votes})


def _ended(status: ApprovalStatus, vote: Vote, reason: str | None = None) -> Outcome:
    is_approved = status is ApprovalStatus.APPROVED
    return Outcome(
        status,
        vote.at,
        vote.voter,
        vote.ballot.notes,
        choice=vote.ballot.choice if is_approved else None,
        response=vote.ballot.response if is_approved else None,
        reason=reason,
    )


def _is_same(one: Any, other: Any) -> bool:
    """Whether two JSON values are the same. To Python, true is 1."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return one.keys() == other.keys() and all(_is_same(value, other[name]) for name, value in one.items())
    if isinstance(one, list) and isinstance(other, list):
        return len(one) == len(other) and all(map(_is_same, one, other))
    return isinstance(one, bool) == isinstance(other, bool) and bool(one == other)
