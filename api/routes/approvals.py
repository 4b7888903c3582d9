"""Approvals: an agent asks, people decide, nothing goes on before."""

from functools import partial
from typing import Annotated, Final

from fastapi import APIRouter, Header, Query, Request, Response
from sqlalchemy.exc import IntegrityError
from sqlalchemy.ext.asyncio import AsyncSession

from api import deciding
from api.approval_callers import (
    Cancellation,
    NewDecision,
    caller_of,
    ensure_may_cancel,
    owned_approval,
    voter_of,
    why_missing,
)
from api.approval_input import MAX_IDEMPOTENCY_KEY, NewApproval, new_approval
from api.approval_views import (
    NO_STORE,
    ApprovalCreated,
    ApprovalDocument,
    ApprovalList,
    approval_document,
    json_response,
)
from api.deps import (
    LimiterDep,
    MemberDep,
    PollingPrincipalDep,
    PrincipalDep,
    SessionsDep,
    SettingsDep,
    SnapshotDep,
    Text,
    get_vault,
)
from api.fields import statuses_of
from api.gateway import Gateway
from api.openapi import JSON_API_ERRORS, Responses, problems
from api.pages import Cursor, Limit, decode_cursor, encode_cursor
from api.security import Principal, ensure_owner
from api.views import in_utc
from config.clock import utc_now
from config.settings import Settings
from domain.approvals import (
    AlreadyVoted,
    ApprovalDecided,
    ApprovalStatus,
    Ballot,
    ConfirmationRequired,
    NotAnApprover,
    OwnRequest,
    Vote,
)
from domain.errors import Conflict, NotFound
from storage.approval_reads import read_approval
from storage.approvals import Approval, find_by_idempotency_key, list_approvals, list_votes
from storage.base import Sessions, single_statements

router = APIRouter(prefix="/api/approvals", tags=["approvals"])

MAX_WAIT_SECONDS: Final = 60.0

Wait = Annotated[
    float,
    Query(ge=0, le=MAX_WAIT_SECONDS, allow_inf_nan=False, description="Seconds to wait for the decision, at most."),
]

_MISSING: Final = NotFound("There is no approval apr_8k2m4n6p0q1r.")
_DECIDED: Final = ApprovalDecided(
    "It is denied already, by ada@example.com at 2026-01-15T14:02:11+00:00.",
    approval_status="denied",
    decided_by="ada@example.com",
    decided_at="2026-01-15T14:02:11+00:00",
)
_VOTED: Final = AlreadyVoted(
    "ada@example.com has voted already, at 2026-01-15T14:02:11+00:00: approve. A vote stays.",
    voted_at="2026-01-15T14:02:11+00:00",
)
_REUSED: Final = Conflict("This idempotency key was used for another approval; send a new one.")
_DOCUMENT: Final[Responses] = {200: {"model": ApprovalDocument}}
_LIST: Final[Responses] = {200: {"model": ApprovalList}}


@router.post("", status_code=201, response_model_exclude_unset=True, responses=problems(*JSON_API_ERRORS, _REUSED))
async def create(
    body: NewApproval,
    request: Request,
    response: Response,
    sessions: SessionsDep,
    limiter: LimiterDep,
    principal: MemberDep,
    idempotency_key: Annotated[
        Text | None, Header(alias="Idempotency-Key", max_length=MAX_IDEMPOTENCY_KEY, description="As in the body.")
    ] = None,
) -> ApprovalCreated:
    """Asks people for approval. Keys of any scope may; then poll `GET /api/approvals/{id}`, or wait with `?wait=30`."""
    body.idempotency_key = body.idempotency_key or idempotency_key or None
    response.headers.update(NO_STORE)
    async with sessions() as session:
        if (created := await _created_before(session, body, principal, request)) is not None:
            return created
        who, requested_by = await caller_of(session, principal, request)
        vault = get_vault(request) if body.callback_url is not None else None
        approval, secret = await new_approval(session, body, principal.account_id, who, requested_by, vault, utc_now())
    limiter.hit_letters(request.scope, principal, len(approval.approvers))
    try:
        await deciding.open_approval(sessions, _gateway(request), approval, who, body.channels)
    except IntegrityError:
        async with sessions() as session:
            created = await _created_before(session, body, principal, request)
        if created is None:
            raise
        return created
    return _created(approval, secret)


@router.get("/{approval_id}", responses=_DOCUMENT | problems(*JSON_API_ERRORS, _MISSING))
async def read(
    approval_id: Text,
    request: Request,
    sessions: SessionsDep,
    settings: SettingsDep,
    principal: PollingPrincipalDep,
    wait: Wait = 0,
) -> Response:
    """How an approval stands. Keys of any scope may poll it; that counts as a ping, not as a request."""
    look = partial(_look, sessions, principal, approval_id)
    if not wait:
        return _answer(await look(), settings)
    watch = _gateway(request).approval_watch
    return _answer(await watch.wait(approval_id, look, _is_decided, wait, request), settings)


@router.get("", responses=_LIST | problems(*JSON_API_ERRORS))
async def list_all(
    session: SnapshotDep,
    settings: SettingsDep,
    principal: PrincipalDep,
    status: Annotated[
        list[str] | None, Query(description="Only these, comma-separated or repeated.", examples=["pending"])
    ] = None,
    instance_id: Annotated[Text | None, Query(max_length=128, description="Only of this instance.")] = None,
    limit: Limit = 50,
    cursor: Cursor = None,
) -> Response:
    """The account's approvals, the newest first."""
    rows = await list_approvals(
        session,
        principal.account_id,
        limit=limit + 1,
        statuses=statuses_of(ApprovalStatus, status),
        instance_id=instance_id,
        before=decode_cursor(cursor),
    )
    page, now = rows[:limit], utc_now()
    votes = await list_votes(session, [row.id for row in page])
    return json_response(
        {
            "approvals": [
                approval_document(row, [vote.vote() for vote in votes[row.id]], settings.base_url, now) for row in page
            ],
            "next_cursor": encode_cursor(page[-1].created_at, page[-1].id) if len(rows) > limit else None,
        }
    )


@router.post(
    "/{approval_id}/decide",
    responses=_DOCUMENT
    | problems(
        *JSON_API_ERRORS,
        NotAnApprover("eve@example.com was not asked; ada@example.com may decide."),
        OwnRequest("Nobody decides on their own request; another approver must. You may cancel it."),
        ConfirmationRequired("This takes the approver's login: decide on the approval's page.", confirm="login"),
        _MISSING,
        _DECIDED,
        _VOTED,
    ),
)
async def decide(
    approval_id: Text,
    body: NewDecision,
    request: Request,
    sessions: SessionsDep,
    settings: SettingsDep,
    principal: PrincipalDep,
) -> Response:
    """Votes. Whether that decides it, the answer says: with a quorum it may take more votes."""
    async with sessions() as session:
        await owned_approval(session, principal, approval_id)
        caller, _ = await caller_of(session, principal, request)
    ballot = Ballot(body.decision, body.choice, body.response, body.notes)
    await deciding.vote(sessions, _gateway(request), approval_id, voter_of(caller, body.approver), ballot)
    return _answer(await _look(sessions, principal, approval_id), settings)


@router.post("/{approval_id}/cancel", responses=_DOCUMENT | problems(*JSON_API_ERRORS, _MISSING, _DECIDED))
async def cancel(
    approval_id: Text,
    request: Request,
    sessions: SessionsDep,
    settings: SettingsDep,
    principal: MemberDep,
    body: Cancellation | None = None,
) -> Response:
    """Ends an approval that nobody needs any more; its `result` is 0. A key with the scope `ping` may cancel what it
    asked for itself."""
    async with sessions() as session:
        approval = await owned_approval(session, principal, approval_id)
        caller, _ = await caller_of(session, principal, request)
    ensure_may_cancel(principal, caller, approval)
    await deciding.cancel(sessions, _gateway(request), approval_id, caller, body.notes if body is not None else None)
    return _answer(await _look(sessions, principal, approval_id), settings)


async def _look(sessions: Sessions, principal: Principal, approval_id: str) -> tuple[Approval, list[Vote]]:
    """An approval of the principal's account with its votes. Raises NotFound or Forbidden."""
    async with single_statements(sessions) as session:
        found = await read_approval(session, approval_id)
        if found is None:
            raise NotFound(await why_missing(session, principal, approval_id))
    ensure_owner(principal, found[0].account_id)
    return found


def _answer(found: tuple[Approval, list[Vote]], settings: Settings) -> Response:
    return json_response(approval_document(*found, settings.base_url, utc_now()))


def _is_decided(found: tuple[Approval, list[Vote]]) -> bool:
    return found[0].status != ApprovalStatus.PENDING


async def _created_before(
    session: AsyncSession, body: NewApproval, principal: Principal, request: Request
) -> ApprovalCreated | None:
    """The first answer to an idempotency key. Raises Conflict if that was another request."""
    if body.idempotency_key is None:
        return None
    approval = await find_by_idempotency_key(session, principal.account_id, body.idempotency_key)
    if approval is None:
        return None
    if approval.request_hash != body.digest():
        raise Conflict(_REUSED.message)
    secret = get_vault(request).decrypt(approval.callback_secret) if approval.callback_secret is not None else None
    return _created(approval, secret)


def _created(approval: Approval, secret: str | None) -> ApprovalCreated:
    """The answer to the request, whatever became of it since."""
    created = ApprovalCreated(
        approval_id=approval.id,
        status=ApprovalStatus.PENDING,
        result=None,
        expires_at=in_utc(approval.expires_at) if approval.expires_at is not None else None,
    )
    if secret is not None:
        created.callback_secret = secret
    return created


def _gateway(request: Request) -> Gateway:
    gateway: Gateway = request.app.state.gateway
    return gateway
