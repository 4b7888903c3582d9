"""`/approvals/{id}`: GET shows and decides nothing; POST does what one of the page's own forms says."""

import re
from typing import Final
from urllib.parse import quote

from fastapi import APIRouter
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import Request
from starlette.responses import Response

from activities.approval_links import TOKEN
from api.approval_page import actions
from api.approval_page.reading import MAX_NOTES, Form, read_form
from api.approval_page.rendering import page, see
from api.approval_page.views import Look, Part, Said, standing_now
from api.approval_page.visitors import NOTHING_HERE, Visitor, visitor_of
from api.deps import get_limiter, get_sessions
from api.html import refused, words
from api.security.login import MAX_CODE, SecondFactorRequired, log_in
from config.clock import utc_now
from domain.accounts import MAX_PASSWORD_LENGTH
from domain.approvals import AlreadyVoted, ApprovalDecided, Decision, Vote
from domain.errors import DomainError, InvalidRequest, NotFound
from storage import deciding
from storage.approval_access import CODE_DIGITS, get_code, new_nonce
from storage.approvals import Approval, get_approval, list_votes
from storage.base import transaction

router = APIRouter()

_ID: Final = re.compile(r"apr_[a-z0-9]{1,32}")
_OF_DOOR: Final = {"email": "e-mail address", "password": "password"}
_INTENTS: Final = {decision.value: decision for decision in Decision}

LINK_SENT: Final = (
    "If that person is asked to decide here, and may still do so, a mail with their link is on its way. "
    "There is one a minute at most."
)

NOT_KNOWN = Said("Nothing was decided, because it is not known who you are. Say so below.", True)


async def approval_page(request: Request) -> Response:
    approval_id = request.path_params["approval_id"]
    if not _ID.fullmatch(approval_id):
        raise NOTHING_HERE
    if request.method == "POST":
        form = await read_form(request)
        return await _act(request, approval_id, form)
    visitor = await visitor_of(request, approval_id, request.query_params.get(TOKEN))
    _count(request, approval_id, visitor)
    return await _show(request, approval_id, visitor)


# Not as an operation of the API: it answers people, and reads its form itself.
router.add_route("/approvals/{approval_id}", approval_page, ["GET", "HEAD", "POST"], include_in_schema=False)


async def _act(request: Request, approval_id: str, form: Form) -> Response:
    visitor = await visitor_of(request, approval_id, form.get("token") or None)
    _count(request, approval_id, visitor)
    action = form.get("action", "")
    if action == actions.LOG_IN:
        return await _log_in(request, approval_id, visitor, form)
    if action == actions.SEND_LINK:
        return await _send_link(request, approval_id, form)
    if visitor is None or not await _may_see(request, approval_id, visitor):
        return await _show(request, approval_id, visitor, status=403, said=NOT_KNOWN)
    try:
        if action == actions.SEND_CODE:
            await actions.send_code(request, approval_id, visitor, form)
            said = Said(f"A code is on its way to {visitor.name}. It is good for ten minutes.")
            return await _show(request, approval_id, visitor, said=said, typed=form)
        await actions.decide(request, approval_id, visitor, {**form, "action": action})
    except DomainError as error:
        await actions.note_refused(request, approval_id, visitor, error)
        said = Said(_in_words(error), True, error.fields)
        shown = await _show(request, approval_id, visitor, status=error.status, said=said, typed=form)
        return refused(shown, error)
    return see(_address(approval_id, visitor))


async def _show(
    request: Request,
    approval_id: str,
    visitor: Visitor | None,
    *,
    status: int = 200,
    said: Said | None = None,
    typed: Form | None = None,
) -> Response:
    """The page as it is now. A GET of the approval is an entry in its audit trail. Raises NotFound."""
    async with transaction(get_sessions(request)) as session:
        approval, votes = await _read(session, approval_id, lock=request.method == "GET")
        now = utc_now()
        if visitor is None or not visitor.may_see(approval, standing_now(approval, votes, now)):
            if visitor is not None and visitor.token is not None:
                raise NOTHING_HERE
            return _door(approval_id, visitor, status if visitor is None else 403, said)
        if request.method == "GET":
            await deciding.note(session, approval_id, "viewed", visitor.voter(request), now)
        look = Look(
            approval,
            votes,
            visitor,
            now,
            code=await get_code(session, approval_id, visitor.name),
            intent=_INTENTS.get(request.query_params.get("intent", "")),
            said=said,
            typed=typed or {},
        )
        has_form = look.part is Part.DECIDE and request.method != "HEAD"
        nonce = await new_nonce(session, approval_id, visitor.name, now) if has_form else ""
    return page("approval.html", status, look=look, nonce=nonce, max_notes=MAX_NOTES, code_digits=CODE_DIGITS)


def _door(
    approval_id: str, visitor: Visitor | None, status: int = 200, said: Said | None = None, email: str = ""
) -> Response:
    """For whoever is not known yet. It shows nothing of the approval."""
    return page("door.html", status, approval_id=approval_id, visitor=visitor, said=said, email=email)


async def _may_see(request: Request, approval_id: str, visitor: Visitor) -> bool:
    async with get_sessions(request)() as session:
        approval, votes = await _read(session, approval_id)
    return visitor.may_see(approval, standing_now(approval, votes, utc_now()))


async def _read(session: AsyncSession, approval_id: str, *, lock: bool = False) -> tuple[Approval, list[Vote]]:
    """Raises NotFound."""
    approval = await get_approval(session, approval_id, lock=lock)
    if approval is None:
        raise NOTHING_HERE
    return approval, [row.vote() for row in (await list_votes(session, [approval_id]))[approval_id]]


async def _log_in(request: Request, approval_id: str, visitor: Visitor | None, form: Form) -> Response:
    """Who came by a link logs in as the approver of the link, nobody else."""
    by_link = visitor is not None and visitor.token is not None
    email = visitor.name if visitor is not None and by_link else form.get("email", "")
    try:
        password = form.get("password", "")
        if not 0 < len(password) <= MAX_PASSWORD_LENGTH:
            raise InvalidRequest.of_field("password", "is missing, or too long")
        login = await log_in(request, email, password, form.get("second_factor", "")[:MAX_CODE] or None)
    except DomainError as error:
        said = Said(_in_words(error), True, error.fields)
        if by_link:
            return refused(await _show(request, approval_id, visitor, status=error.status, said=said), error)
        return refused(_door(approval_id, visitor, error.status, said, email), error)
    response = see(approval_id)
    login.set_cookies(response)
    return response


async def _send_link(request: Request, approval_id: str, form: Form) -> Response:
    email = form.get("email", "")
    try:
        await actions.send_link(request, approval_id, form)
    except NotFound:
        raise NOTHING_HERE from None
    except InvalidRequest as error:
        return _door(approval_id, None, error.status, Said(_in_words(error), True, error.fields), email)
    return _door(approval_id, None, said=Said(LINK_SENT))


def _count(request: Request, approval_id: str, visitor: Visitor | None) -> None:
    """Raises RateLimited. Looks and forms are counted apart: who floods the page with looks keeps nobody from
    deciding."""
    page = f"{'form' if request.method == 'POST' else 'look'} {approval_id}"
    get_limiter(request).hit_page(request.scope, page, visitor.name if visitor is not None else None)


def _address(approval_id: str, visitor: Visitor) -> str:
    """Of the page, relative to itself: where it is below other addresses is for proxies to say."""
    return approval_id if visitor.token is None else f"{approval_id}?{TOKEN}={quote(visitor.token)}"


def _in_words(error: DomainError) -> str:
    if isinstance(error, SecondFactorRequired):
        return "This login needs a code, too: enter the password once more, and with it the code of your app."
    if isinstance(error, ApprovalDecided):
        return "It was decided before your answer came. Nothing was changed by it."
    if isinstance(error, AlreadyVoted):
        return "You have voted already, and a vote stays. Nothing was changed."
    if error.fields and error.fields[0].field in _OF_DOOR:
        return f"The {_OF_DOOR[error.fields[0].field]} {error.fields[0].message}."
    if error.fields:
        return "Nothing was decided yet: something has to be corrected first."
    return words(error)
