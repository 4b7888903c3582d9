"""What the forms of the page do, each in one transaction that holds the approval."""

import re
from datetime import datetime, timedelta
from typing import Final

from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import Request

from api.approval_page.reading import Form, read_ballot, read_decision
from api.approval_page.visitors import Visitor
from api.deciding import tell_of_vote
from api.deps import get_sessions, get_vault
from config.clock import utc_now
from domain.accounts import normal_email
from domain.approval_forms import parse_form
from domain.approvals import (
    Ballot,
    Confirm,
    ConfirmationRequired,
    Decision,
    Via,
    Vote,
    Voter,
    check_vote,
    decided_error,
)
from domain.errors import Conflict, DomainError, Forbidden, InvalidRequest
from domain.letters import LetterTopic
from storage import deciding
from storage.approval_access import (
    CODE_DIGITS,
    Nonce,
    forget_code,
    get_code,
    guess,
    link_was_sent,
    new_code,
    spend_nonce,
)
from storage.approvals import Approval
from storage.base import transaction
from storage.messages import write_letter

SEND_CODE: Final = "send-code"
SEND_LINK: Final = "send-link"
LOG_IN: Final = "log-in"

LINK_EVERY: Final = timedelta(minutes=1)

_CODE = re.compile(rf"\d{{{CODE_DIGITS}}}", re.ASCII)


class StaleForm(Conflict):
    """A form that was sent before, or lay about for too long."""

    code = "stale_form"


class ForeignForm(Forbidden):
    """A form without the nonce of a page that was rendered for this approval and this approver."""

    code = "foreign_form"


class WrongCode(Forbidden):
    """`tries_left` says how often one may still guess."""

    code = "wrong_code"


async def decide(request: Request, approval_id: str, visitor: Visitor, form: Form) -> None:
    """Takes the vote of a form. What it raises has decided nothing."""
    async with transaction(get_sessions(request)) as session:
        now = utc_now()
        approval, votes = await deciding.lock_settled(session, approval_id, now)
        await _spend(session, approval, votes, visitor, form, now)
        await _refuse_if_decided(session, approval)
        voter = visitor.voter(request, Via.CODE if approval.confirm == Confirm.CODE else None)
        _check(approval, votes, voter)
        refused = await _check_code(request, session, approval, voter, form, now)
        if refused is None:
            ballot = _ballot(approval, form)
            approval = await deciding.vote(session, approval_id, voter, ballot, now)
    # Not inside: the guess is to be counted.
    if refused is not None:
        raise refused
    tell_of_vote(request.app.state.gateway, approval, voter, ballot)


async def send_code(request: Request, approval_id: str, visitor: Visitor, form: Form) -> None:
    """Mails a code to the approver. Raises RateLimited, and what a vote would raise."""
    async with transaction(get_sessions(request)) as session:
        now = utc_now()
        approval, votes = await deciding.lock_settled(session, approval_id, now)
        await _spend(session, approval, votes, visitor, form, now)
        await _refuse_if_decided(session, approval)
        _check(approval, votes, visitor.voter(request, Via.CODE))
        if approval.confirm != Confirm.CODE:
            raise InvalidRequest("This approval takes no code; press one of the buttons below.")
        await new_code(session, approval_id, visitor.name, get_vault(request), now)
        write_letter(session, approval, LetterTopic.CODE, now, visitor.name)
        await deciding.note(session, approval_id, "code_sent", visitor.voter(request), now)


async def send_link(request: Request, approval_id: str, form: Form) -> None:
    """Mails an approver their link, at most once a minute, and says nothing of whether it did.

    Raises InvalidRequest for what is no e-mail address.
    """
    email = normal_email(form.get("email", ""))
    async with transaction(get_sessions(request)) as session:
        now = utc_now()
        approval, _ = await deciding.lock_settled(session, approval_id, now)
        if email not in approval.terms().approvers_at(approval.standing()):
            return
        if await link_was_sent(session, approval_id, email, now - LINK_EVERY):
            return
        write_letter(session, approval, LetterTopic.LINK, now, email)
        await deciding.note(session, approval_id, "link_sent", Visitor(email, Via.LINK).voter(request), now)


async def note_refused(request: Request, approval_id: str, visitor: Visitor, error: DomainError) -> None:
    """Into the audit trail; mistakes in filling in the form are nobody's business."""
    if isinstance(error, InvalidRequest):
        return
    async with transaction(get_sessions(request)) as session:
        await deciding.note(session, approval_id, "refused", visitor.voter(request), utc_now(), reason=error.code)


async def _spend(
    session: AsyncSession, approval: Approval, votes: list[Vote], visitor: Visitor, form: Form, now: datetime
) -> None:
    """Raises StaleForm and ForeignForm."""
    nonce = form.get("nonce")
    found = await spend_nonce(session, approval.id, visitor.name, nonce, now) if nonce else Nonce.FOREIGN
    if found is Nonce.FOREIGN:
        raise ForeignForm("That form was not made for you on this page, so nothing was done. Use the one below.")
    if found is Nonce.GONE:
        if approval.outcome() is not None or any(vote.voter == visitor.name for vote in votes):
            raise StaleForm("That form was sent before. What is shown below counts; nothing was done a second time.")
        raise StaleForm("That form was sent before, or is older than a day. Nothing was decided: please look again.")


async def _refuse_if_decided(session: AsyncSession, approval: Approval) -> None:
    """Raises ApprovalDecided. The approval must be settled; that it has ended is kept, because it is told."""
    if (outcome := approval.outcome()) is not None:
        await session.commit()
        raise decided_error(outcome)


def _check(approval: Approval, votes: list[Vote], voter: Voter) -> None:
    """What the vote itself checks, before a guess is spent on it."""
    try:
        check_vote(approval.terms(), approval.standing(), votes, voter)
    except ConfirmationRequired:
        raise ConfirmationRequired("Log in first; then decide. Nothing was done yet.") from None


async def _check_code(
    request: Request, session: AsyncSession, approval: Approval, voter: Voter, form: Form, now: datetime
) -> WrongCode | None:
    """What is to be raised once the wrong guess is committed. Raises InvalidRequest for what is no guess, and
    WrongCode if there is no code to guess."""
    if approval.confirm != Confirm.CODE:
        return None
    if read_decision(form["action"], approval) is None:
        return None
    code = await get_code(session, approval.id, voter.name)
    if code is None or not code.is_good(now):
        raise WrongCode("There is no code that could be entered now. Have one mailed to you, below.")
    text = re.sub(r"[\s-]", "", form.get("code", ""))
    if not _CODE.fullmatch(text):
        raise InvalidRequest.of_field("code", f"must be the {CODE_DIGITS} digits that were mailed to you")
    if guess(code, text, get_vault(request)):
        await forget_code(session, approval.id, voter.name)
        return None
    left = {0: "Have a new one mailed to you.", 1: "One try is left."}
    more = left.get(code.tries_left, f"{code.tries_left} tries are left.")
    return WrongCode(f"That is not the code. {more}", tries_left=code.tries_left)


def _ballot(approval: Approval, form: Form) -> Ballot:
    """Raises InvalidRequest."""
    decided = read_decision(form["action"], approval)
    is_edited = approval.editable is not None and decided is not None and decided[0] is Decision.APPROVE
    response = parse_form(approval.editable, form) if is_edited and approval.editable is not None else None
    return read_ballot(form["action"], form, approval, response)
