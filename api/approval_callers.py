"""Who acts on an approval through the API, and what they say."""

from dataclasses import replace
from datetime import UTC
from typing import Annotated, Any

from fastapi import Request
from pydantic import AfterValidator, BaseModel, ConfigDict, Field
from sqlalchemy.ext.asyncio import AsyncSession

from api.approval_input import address_of
from api.deps import Text
from api.security import Principal, ensure_owner
from domain.approvals import Decision, Via, Voter
from domain.errors import Forbidden, InsufficientScope, NotFound, Unauthenticated
from storage.approval_seals import find_seal
from storage.approvals import Approval, get_approval
from storage.deciding import NO_APPROVAL
from storage.keys import get_key
from storage.users import find_user

Notes = Annotated[Text, Field(max_length=2000)]


class NewDecision(BaseModel):
    """Who decides is the user that is logged in; a key decides for itself, or for the approver whom it names."""

    model_config = ConfigDict(extra="forbid")

    decision: Decision
    notes: Notes | None = None
    response: dict[str, Any] | None = Field(None, description="Values of editable fields; those left out stay.")
    choice: Annotated[Text, Field(max_length=100)] | None = None
    approver: Annotated[Text, AfterValidator(address_of)] | None = Field(None, description="Only a key names one.")


class Cancellation(BaseModel):
    model_config = ConfigDict(extra="forbid")

    notes: Notes | None = None


async def caller_of(session: AsyncSession, principal: Principal, request: Request) -> tuple[Voter, str]:
    """Who makes a request, and what people call them."""
    address = request.client.host if request.client is not None else None
    agent = request.headers.get("user-agent")
    if principal.key_id is not None:
        name = f"api-key:{principal.key_id}"
        key = await get_key(session, principal.key_id)
        return Voter(name, Via.KEY, name, address, agent), key.name
    user = await find_user(session, principal.user_id or "")
    if user is None:
        raise Unauthenticated("This user is gone; log in again.")
    return Voter(user.email, Via.SESSION, None, address, agent), user.email


def voter_of(caller: Voter, approver: str | None) -> Voter:
    """In whose name the caller decides. Raises Forbidden for a user who names somebody else."""
    if approver is None or approver == caller.name:
        return caller
    if caller.via is not Via.KEY:
        raise Forbidden(f"You are logged in as {caller.name} and cannot decide for {approver}.")
    return replace(caller, name=approver)


def ensure_may_cancel(principal: Principal, caller: Voter, approval: Approval) -> None:
    """Raises InsufficientScope for a key that may only ask, if somebody else asked for this."""
    if principal.scope != "full" and caller.name not in approval.requesters:
        raise InsufficientScope(
            "This key may cancel only what it asked for itself; to cancel this takes a login, or a key with the scope "
            "`full`."
        )


async def owned_approval(session: AsyncSession, principal: Principal, approval_id: str) -> Approval:
    """The approval, if it is of the principal's account. Raises NotFound or Forbidden."""
    approval = await get_approval(session, approval_id)
    if approval is None:
        raise NotFound(await why_missing(session, principal, approval_id))
    ensure_owner(principal, approval.account_id)
    return approval


async def why_missing(session: AsyncSession, principal: Principal, approval_id: str) -> str:
    """In words. Of one that was deleted, what its seal tells."""
    seal = await find_seal(session, approval_id)
    if seal is not None and seal.account_id == principal.account_id:
        return (
            f"Approval {approval_id} was {seal.status} on {seal.decided_at.astimezone(UTC):%Y-%m-%d}, and deleted by "
            f"the account's retention on {seal.sealed_at.astimezone(UTC):%Y-%m-%d}. The audit trail had "
            f"{seal.audit_count} entries, the last with the hash {seal.audit_head.hex()}."
        )
    return NO_APPROVAL.format(approval_id)
