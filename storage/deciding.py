"""How an approval comes to its end: everything that happens to one, each in a transaction that holds its row.

So there is one order of events and one outcome, for whoever votes, for the deadline, and for all who look.
"""

from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from sqlalchemy.ext.asyncio import AsyncSession

from domain import approval_alerts
from domain.alerts import Alert
from domain.approval_forms import check_ballot, current_values
from domain.approvals import (
    TIMEOUT,
    ApprovalStatus,
    ApprovalTerms,
    Ballot,
    Outcome,
    Standing,
    Vote,
    Voter,
    check_vote,
    decided_error,
    moved,
    standing_at,
)
from domain.errors import NotFound
from domain.letters import LetterTopic
from domain.resuming import NotPaused
from domain.transitions import Transition
from storage.alerts import raise_alerts
from storage.approval_audit import OURSELVES, add_entry, terms_of
from storage.approvals import Approval, ApprovalVote, announce_change, get_approval, list_votes
from storage.gateways import list_outages
from storage.messages import write_letter
from storage.resuming import resume
from storage.transitions import add_transitions

NO_APPROVAL: Final = "There is no approval {}."


async def open_approval(session: AsyncSession, approval: Approval, requester: Voter | None) -> None:
    """Keeps a new approval and has everybody asked. `requester` is who made the request, for the audit trail; None is
    PingPulse itself."""
    now = approval.created_at
    session.add(approval)
    await session.flush()
    add_transitions(session, approval.subject, [Transition(None, None, ApprovalStatus.PENDING.value, now)])
    if requester is not None:
        _note(session, approval, "requested", requester, now, terms=terms_of(approval))
    else:
        add_entry(session, approval, "requested", OURSELVES, now, details={"terms": terms_of(approval)})
    for approver in approval.terms().approvers_at(approval.standing()):
        write_letter(session, approval, LetterTopic.REQUEST, now, approver)
    await session.flush()
    await raise_alerts(session, [approval_alerts.requested(approval.identity(), now)], now)


async def vote(session: AsyncSession, approval_id: str, voter: Voter, ballot: Ballot, now: datetime) -> Approval:
    """Takes a vote, and decides the approval if that completes it.

    Raises NotFound, InvalidRequest for a ballot that does not fit, and what `domain.approvals.check_vote` raises.
    If its deadline has decided it, that is committed.
    """
    approval, votes = await lock_approval(session, approval_id)
    now = _latest(approval, votes, now)
    await _refuse_if_decided(session, approval, votes, now)
    check_vote(approval.terms(), approval.standing(), votes, voter)
    ballot = check_ballot(approval.choices, approval.editable, approval.payload, votes, ballot)
    session.add(
        ApprovalVote(
            approval_id=approval.id,
            voter=voter.name,
            decision=ballot.decision.value,
            choice=ballot.choice,
            response=dict(ballot.response) if ballot.response is not None else None,
            notes=ballot.notes,
            at=now,
            via=voter.via.value,
            caller=voter.caller,
        )
    )
    said = {"decision": ballot.decision.value, "choice": ballot.choice, "notes": ballot.notes}
    if ballot.response is not None:
        _note(session, approval, "edited", voter, now, response=dict(ballot.response))
    _note(session, approval, "voted", voter, now, **{name: value for name, value in said.items() if value is not None})
    await _settle(session, approval, [*votes, Vote(voter.name, ballot, now)], now, now)
    await announce_change(session, approval, now)
    return approval


async def cancel(session: AsyncSession, approval_id: str, who: Voter, notes: str | None, now: datetime) -> Approval:
    """Ends an approval without a decision. Raises NotFound, and ApprovalDecided if it has ended; that its deadline
    has ended it is committed."""
    approval, votes = await lock_approval(session, approval_id)
    now = _latest(approval, votes, now)
    await _refuse_if_decided(session, approval, votes, now)
    _note(session, approval, "cancelled", who, now, **({"notes": notes} if notes else {}))
    await _end(session, approval, Outcome(ApprovalStatus.CANCELLED, now, who.name, notes), now)
    await announce_change(session, approval, now)
    return approval


async def follow(session: AsyncSession, approval_id: str, until: datetime, now: datetime) -> Approval | None:
    """What its workflow does at each look: reminders, escalation and deadline up to `until` take effect, and what has
    happened is taken notice of. None if there is no such approval."""
    approval = await get_approval(session, approval_id, lock=True)
    if approval is None:
        return None
    votes = [row.vote() for row in (await list_votes(session, [approval_id]))[approval_id]]
    if await _settle(session, approval, votes, until, now):
        await announce_change(session, approval, now)
    approval.followed_revision = approval.revision
    return approval


async def note(
    session: AsyncSession, approval_id: str, event: str, who: Voter, now: datetime, **details: Any
) -> Approval:
    """Writes into the audit trail what somebody did that decides nothing, such as to look. Raises NotFound."""
    approval = await get_approval(session, approval_id, lock=True)
    if approval is None:
        raise NotFound(NO_APPROVAL.format(approval_id))
    _note(session, approval, event, who, now, **details)
    return approval


async def lock_settled(session: AsyncSession, approval_id: str, now: datetime) -> tuple[Approval, list[Vote]]:
    """An approval as it stands now, with everything recorded that has happened, and held until the transaction ends.

    Whoever tells somebody of it must commit, whatever comes next. Raises NotFound.
    """
    approval, votes = await lock_approval(session, approval_id)
    now = _latest(approval, votes, now)
    if await _settle(session, approval, votes, now, now):
        await announce_change(session, approval, now)
    return approval, votes


async def lock_approval(session: AsyncSession, approval_id: str) -> tuple[Approval, list[Vote]]:
    """An approval and its votes, held until the transaction ends. Raises NotFound."""
    approval = await get_approval(session, approval_id, lock=True)
    if approval is None:
        raise NotFound(NO_APPROVAL.format(approval_id))
    return approval, [row.vote() for row in (await list_votes(session, [approval_id]))[approval_id]]


async def _refuse_if_decided(session: AsyncSession, approval: Approval, votes: list[Vote], now: datetime) -> None:
    """Raises ApprovalDecided.

    Whoever hears that it has expired must hear what stays: a vote of a gateway whose clock is behind could still come
    after a transaction that was rolled back.
    """
    is_news = await _settle(session, approval, votes, now, now)
    if (outcome := approval.outcome()) is not None:
        if is_news:
            await announce_change(session, approval, now)
            await session.commit()
        raise decided_error(outcome)


def _latest(approval: Approval, votes: list[Vote], moment: datetime) -> datetime:
    """A moment that is not before anything that is recorded: clocks differ, and the order of events is that of the
    lock."""
    reminders = approval.terms().reminders[: approval.reminded]
    known = [approval.created_at, approval.escalated_at, *reminders, *(vote.at for vote in votes)]
    return max([moment, *(at for at in known if at is not None)])


async def _settle(session: AsyncSession, approval: Approval, votes: list[Vote], until: datetime, now: datetime) -> bool:
    """Records what has happened up to `until` and is not recorded yet; whether there was anything."""
    before = approval.standing()
    if before.outcome is not None:
        return False
    until = _latest(approval, votes, until)
    after = standing_at(approval.terms(), votes, until)
    is_extended = await _extend(session, approval, before, after, max(until, now))
    if is_extended:
        after = standing_at(approval.terms(), votes, until)
    if after == before:
        return is_extended
    alerts = _step(session, approval, approval.terms(), before, after, {vote.voter for vote in votes}, now)
    await raise_alerts(session, alerts, now)
    if (outcome := after.outcome) is not None:
        is_approved = outcome.status is ApprovalStatus.APPROVED
        if outcome.decided_by == TIMEOUT and is_approved and approval.editable is not None:
            outcome = replace(outcome, response=current_values(approval.editable, approval.payload, votes))
        await _end(session, approval, outcome, now)
    return True


async def _extend(session: AsyncSession, approval: Approval, before: Standing, after: Standing, now: datetime) -> bool:
    """Moves deadline and escalation, if they are due, by the time in which no gateway lived that could have taken a
    vote; whether they were moved."""
    is_timeout = after.outcome is not None and after.outcome.decided_by == TIMEOUT
    if not is_timeout and after.is_escalated == before.is_escalated:
        return False
    outages = await list_outages(session, approval.created_at, now)
    if not outages:
        return False
    was = approval.expires_at, approval.escalate_at
    if approval.timeout_seconds is not None:
        approval.expires_at = moved(approval.created_at, approval.timeout_seconds, outages)
    if approval.escalate_after_seconds is not None and not before.is_escalated:
        approval.escalate_at = moved(approval.created_at, approval.escalate_after_seconds, outages)
    if was == (approval.expires_at, approval.escalate_at):
        return False
    moved_to = approval.expires_at.isoformat() if approval.expires_at is not None else None
    add_entry(session, approval, "extended", OURSELVES, now, details={"expires_at": moved_to})
    return True


def _step(
    session: AsyncSession,
    approval: Approval,
    terms: ApprovalTerms,
    before: Standing,
    after: Standing,
    voted: set[str],
    now: datetime,
) -> list[Alert]:
    """Escalates and reminds. What comes too late, because it is decided by now or another reminder is due too, is told
    to nobody."""
    alerts, is_open, new = [], after.outcome is None, set(terms.approvers_at(after)) - set(terms.approvers_at(before))
    if after.is_escalated and not before.is_escalated:
        assert terms.escalate_at is not None
        approval.escalated_at = terms.escalate_at
        to = [approver for approver in terms.escalate_to if approver in new]
        if is_open and to:
            due_at = terms.escalate_at.isoformat()
            add_entry(session, approval, "escalated", OURSELVES, now, details={"to": to, "due_at": due_at})
            for approver in to:
                write_letter(session, approval, LetterTopic.ESCALATION, now, approver)
            alerts.append(approval_alerts.escalated(approval.identity(), terms.escalate_at, to))
    if after.reminded > before.reminded and is_open:
        at = terms.reminders[after.reminded - 1]
        # Who is asked only now, need not be reminded.
        whom = [name for name in terms.approvers_at(after) if name not in voted | new]
        add_entry(session, approval, "reminded", OURSELVES, now, details={"whom": whom, "due_at": at.isoformat()})
        for approver in whom:
            write_letter(session, approval, LetterTopic.REMINDER, now, approver)
        alerts.append(approval_alerts.reminded(approval.identity(), at))
    approval.reminded = after.reminded
    return alerts


async def _end(session: AsyncSession, approval: Approval, outcome: Outcome, now: datetime) -> None:
    if approval.resumes and outcome.status is ApprovalStatus.APPROVED:
        outcome = await _resume(session, approval, outcome)
    approval.status = outcome.status.value
    approval.decided_at, approval.decided_by = outcome.at, outcome.decided_by
    approval.notes, approval.choice, approval.reason = outcome.notes, outcome.choice, outcome.reason
    approval.response = dict(outcome.response) if outcome.response is not None else None
    if outcome.status is not ApprovalStatus.CANCELLED:
        due_at = outcome.at.isoformat() if outcome.decided_by == TIMEOUT else None
        said = {"status": approval.status, "reason": outcome.reason, "due_at": due_at}
        details = {name: value for name, value in said.items() if value is not None}
        add_entry(session, approval, "decided", outcome.decided_by, now, details=details)
    change = Transition(None, ApprovalStatus.PENDING.value, approval.status, outcome.at, outcome.reason)
    add_transitions(session, approval.subject, [change])
    if approval.callback_url is not None:
        write_letter(session, approval, LetterTopic.CALLBACK, now)
    await raise_alerts(session, [approval_alerts.ended(approval.identity(), outcome)], now)


async def _resume(session: AsyncSession, approval: Approval, outcome: Outcome) -> Outcome:
    """Has the instance go on that was asked about. If it is not paused any more, the decision stands, and says so."""
    assert approval.instance_id is not None
    try:
        await resume(session, approval.instance_id, outcome.decided_by, outcome.at, approval_id=approval.id)
    except (NotPaused, NotFound) as error:
        return replace(outcome, reason=error.message)
    return outcome


def _note(session: AsyncSession, approval: Approval, event: str, who: Voter, at: datetime, **details: Any) -> None:
    caller = {"caller": who.caller} if who.caller not in (None, who.name) else {}
    add_entry(
        session,
        approval,
        event,
        who.name,
        at,
        address=who.address,
        agent=who.agent,
        details={"via": who.via.value, **caller, **details},
    )
