"""The inbox: what waits for whoever looks, and for others of the account. What is light to decide, is decided here."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Final

import orjson
from fastapi import APIRouter, Request
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from api.approval_callers import Cancellation, NewDecision, owned_approval
from api.approval_page.reading import MAX_NOTES, read_ballot, read_decision
from api.approval_page.views import Look, Part, Said
from api.approval_page.visitors import Visitor as Approver
from api.dashboard.forms import Form, build
from api.dashboard.links import with_query
from api.dashboard.rendering import see
from api.dashboard.visitors import FormDep, Visitor, VisitorDep
from api.deps import SessionsDep, SettingsDep, SnapshotDep, Text
from api.html import relative
from api.pages import Cursor, decode_cursor, encode_cursor
from api.routes import approvals
from config.clock import utc_now
from domain.approval_forms import parse_form
from domain.approvals import TIMEOUT, AlreadyVoted, ApprovalDecided, Confirm, Decision, Via
from domain.errors import DomainError, InvalidRequest
from storage.approval_lists import Listed, Place, count_waiting, list_waiting, place_of
from storage.approvals import Approval, list_votes
from storage.base import snapshot

router = APIRouter(include_in_schema=False)

PAGE: Final = 25

_INBOX: Final = "/approvals"
_ME, _OTHERS = "me", "others"

DONE: Final = {
    "approved": "Approved. Whoever asked gets your answer.",
    "denied": "Denied. Whoever asked gets your answer.",
    "voted": "Your vote counts. It takes more votes before this is decided.",
    "cancelled": "The request was cancelled. Whoever asked is told not to go on.",
}

CONFIRM_WORDS: Final = {
    Confirm.CODE: "Takes a code by mail",
    Confirm.LOGIN: "Takes a login",
}
"""What is shown of requests that are more than light."""


@dataclass(frozen=True)
class Item:
    """One request as whoever looks sees it. `is_refused`: it is the one whose form was refused just now."""

    look: Look
    workflow_name: str | None
    for_others: bool
    may_cancel: bool
    is_refused: bool

    @property
    def approval(self) -> Approval:
        return self.look.approval

    @property
    def is_decided_here(self) -> bool:
        return self.look.part is Part.DECIDE and self.approval.confirm == Confirm.LINK

    @property
    def prefix(self) -> str:
        """Of the ids of its fields. What is said of a refused form leads to `f-…`."""
        return "f" if self.is_refused else f"f-{self.approval.id}"

    def id_of(self, name: str) -> str:
        return f"{self.prefix}-{name.replace('.', '-').replace(' ', '_')}"


@router.get(_INBOX)
async def show_inbox(visitor: VisitorDep, session: SnapshotDep, cursor: Cursor = None) -> Response:
    return await _inbox(visitor, session, cursor)


@router.post(_INBOX + "/{approval_id}/decide")
async def decide(
    approval_id: Text,
    request: Request,
    visitor: VisitorDep,
    form: FormDep,
    sessions: SessionsDep,
    settings: SettingsDep,
) -> Response:
    async with sessions() as session:
        approval = await owned_approval(session, visitor.principal, approval_id)
    try:
        body = _decision(form, approval)
        answer = await approvals.decide(approval_id, body, request, sessions, settings, visitor.principal)
    except DomainError as error:
        return await _refused(visitor, sessions, approval_id, form, error)
    status = orjson.loads(answer.body)["status"]
    return see(with_query(_INBOX, done=status if status in DONE else "voted"))


@router.post(_INBOX + "/{approval_id}/cancel")
async def cancel(
    approval_id: Text,
    request: Request,
    visitor: VisitorDep,
    form: FormDep,
    sessions: SessionsDep,
    settings: SettingsDep,
) -> Response:
    async with sessions() as session:
        await owned_approval(session, visitor.principal, approval_id)
    try:
        body = build(Cancellation, {"notes": form.text("notes")})
        await approvals.cancel(approval_id, request, sessions, settings, visitor.principal, body)
    except DomainError as error:
        return await _refused(visitor, sessions, approval_id, form, error)
    return see(f"{_INBOX}?done=cancelled")


def _decision(form: Form, approval: Approval) -> NewDecision:
    """What the form says, read as on the approval's own page. Raises InvalidRequest."""
    action, editable = form.get("action"), approval.editable
    decided = read_decision(action, approval)
    response = None
    if editable is not None and decided is not None and decided[0] is Decision.APPROVE:
        response = parse_form(editable, _typed(form, approval))
    ballot = read_ballot(action, {"notes": form.get("notes")}, approval, response)
    values = {"notes": ballot.notes, "choice": ballot.choice, "response": ballot.response}
    return build(NewDecision, {"decision": ballot.decision} | {name: one for name, one in values.items() if one})


def _typed(form: Form, approval: Approval) -> Mapping[str, str]:
    """The fields that may be edited, as they were sent."""
    names = [f"response.{name}" for name in approval.editable["properties"]] if approval.editable is not None else []
    return {name: form.get(name) for name in (*names, "notes", "action") if name in form}


async def _refused(
    visitor: Visitor, sessions: SessionsDep, approval_id: str, form: Form, error: DomainError
) -> Response:
    async with snapshot(sessions) as session:
        try:
            return await _inbox(visitor, session, form.text("cursor"), _Refusal(approval_id, form, _told(error)))
        except InvalidRequest:
            # Of the cursor, with which nobody but a tampered form comes.
            return await _inbox(visitor, session, None, _Refusal(approval_id, form, _told(error)))


def _told(error: DomainError) -> DomainError:
    """Who was first, where somebody was."""
    if isinstance(error, ApprovalDecided):
        by, at = str(error.extra["decided_by"]), datetime.fromisoformat(str(error.extra["decided_at"]))
        who = "its deadline was" if by == TIMEOUT else f"{by} was"
        how = f"{error.extra['approval_status']} {relative(at, utc_now())}"
        return ApprovalDecided(f"Your answer came too late: {who} first, and it was {how}. Nothing was changed.")
    if isinstance(error, AlreadyVoted):
        return AlreadyVoted("You have voted on this already, and a vote stays. Nothing was changed.")
    return error


@dataclass(frozen=True)
class _Refusal:
    """A form that was not taken."""

    approval_id: str
    form: Form
    error: DomainError


async def _inbox(
    visitor: Visitor, session: AsyncSession, cursor: str | None, refusal: _Refusal | None = None
) -> Response:
    account_id, email = visitor.account.id, visitor.user.email
    rows = await list_waiting(session, account_id, email, limit=PAGE + 1, after=_place(cursor))
    page = rows[:PAGE]
    votes = await list_votes(session, [row.approval.id for row in page])
    now = utc_now()
    items = []
    for row in page:
        cast = [vote.vote() for vote in votes[row.approval.id]]
        refused = refusal if refusal is not None and refusal.approval_id == row.approval.id else None
        look = Look(
            row.approval,
            cast,
            Approver(email, Via.SESSION, None, account_id),
            now,
            said=Said("", True, refused.error.fields) if refused is not None else None,
            typed=_typed(refused.form, row.approval) if refused is not None else {},
        )
        may_cancel = visitor.is_owner or email in row.approval.requesters
        items.append(Item(look, row.workflow_name, row.for_others, may_cancel, refused is not None))
    return visitor.page(
        "approvals/inbox.html",
        section="approvals",
        live="account",
        done=DONE,
        error=refusal.error if refusal is not None else None,
        form=refusal.form if refusal is not None else None,
        waiting=await count_waiting(session, account_id, email),
        for_me=[item for item in items if not item.for_others],
        for_others=[item for item in items if item.for_others],
        confirm_words=CONFIRM_WORDS,
        max_notes=MAX_NOTES,
        cursor=cursor,
        next=with_query(_INBOX, cursor=_cursor(page[-1])) if len(rows) > PAGE else None,
        first=_INBOX if cursor else None,
    )


def _cursor(last: Listed) -> str:
    place = place_of(last)
    return encode_cursor(place.deadline, f"{_OTHERS if place.for_others else _ME} {place.approval_id}")


def _place(cursor: str | None) -> Place | None:
    """Raises InvalidRequest for what is no cursor of this list."""
    if (decoded := decode_cursor(cursor)) is None:
        return None
    deadline, rest = decoded
    whose, _, approval_id = rest.partition(" ")
    if whose not in (_ME, _OTHERS) or not approval_id:
        raise InvalidRequest.of_field("cursor", "is not a next_cursor of this list")
    return Place(whose == _OTHERS, deadline, approval_id)
