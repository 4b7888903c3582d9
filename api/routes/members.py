"""The members of an account: its users and their roles."""

from datetime import datetime

from fastapi import APIRouter, Request
from pydantic import BaseModel, ConfigDict, Field

from api.deps import OwnerDep, PrincipalDep, SessionDep
from api.openapi import JSON_API_ERRORS, problems
from api.security.auditing import note
from api.views import in_utc
from domain.accounts import Role
from domain.errors import Conflict, NotFound
from storage.second_factors import remove_second_factor, users_with_second_factor
from storage.users import LastOwner, User, change_role, get_member, list_members, remove_member

router = APIRouter(prefix="/api/members", tags=["members"])

_NO_MEMBER = NotFound("There is no member with this id in the account.")
_LAST = LastOwner("ada@example.com is the only owner of the account. Make somebody else an owner first.")


class MemberView(BaseModel):
    id: str
    email: str
    role: Role
    created_at: datetime
    has_second_factor: bool = Field(description="Whether their logins ask for a code, too.")


class MemberList(BaseModel):
    members: list[MemberView]


class RoleChange(BaseModel):
    model_config = ConfigDict(extra="forbid")

    role: Role = Field(description="`owner` may all, `member` all but members, `viewer` looks and changes nothing.")


@router.get("", responses=problems(*JSON_API_ERRORS))
async def list_all(session: SessionDep, principal: PrincipalDep) -> MemberList:
    """Everybody in the account, who has been in it longest first."""
    users = await list_members(session, principal.account_id)
    protected = await users_with_second_factor(session, [user.id for user in users])
    return MemberList(members=[_view(user, user.id in protected) for user in users])


@router.patch("/{member_id}", responses=problems(*JSON_API_ERRORS, _NO_MEMBER, _LAST))
async def change(
    member_id: str, body: RoleChange, request: Request, session: SessionDep, principal: OwnerDep
) -> MemberView:
    """Another role, from the member's next request on. For owners, who are logged in."""
    user, before = await change_role(session, principal.account_id, member_id, body.role)
    if before != body.role:
        details = {"email": user.email, "before": before, "after": body.role}
        note(session, request, principal, "member.role_changed", f"user/{user.id}", **details)
    return _view(user, bool(await users_with_second_factor(session, [user.id])))


@router.delete("/{member_id}", status_code=204, responses=problems(*JSON_API_ERRORS, _NO_MEMBER, _LAST))
async def remove(member_id: str, request: Request, session: SessionDep, principal: OwnerDep) -> None:
    """Removes a user; their sessions end at once. Keys belong to the account: those that they made go on."""
    user = await remove_member(session, principal.account_id, member_id)
    note(session, request, principal, "member.removed", f"user/{user.id}", email=user.email, role=user.role)


@router.delete(
    "/{member_id}/second-factor",
    status_code=204,
    responses=problems(*JSON_API_ERRORS, _NO_MEMBER, Conflict("Two-factor login is not on for ada@example.com.")),
)
async def reset_second_factor(member_id: str, request: Request, session: SessionDep, principal: OwnerDep) -> None:
    """For a member who has lost phone and recovery codes: the next login asks for the password alone. One's own is
    turned off with a code."""
    user = await get_member(session, principal.account_id, member_id)
    if user.id == principal.user_id:
        raise Conflict("Turn off your own two-factor login with a code, or have another owner reset it.")
    if not await remove_second_factor(session, user.id):
        raise Conflict(f"Two-factor login is not on for {user.email}.")
    note(session, request, principal, "second_factor.reset", f"user/{user.id}", email=user.email)


def _view(user: User, has_second_factor: bool) -> MemberView:
    return MemberView(
        id=user.id,
        email=user.email,
        role=user.role,
        created_at=in_utc(user.created_at),
        has_second_factor=has_second_factor,
    )
