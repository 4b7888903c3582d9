"""`/settings/members`: who is in the account, and who is invited."""

from typing import Final

from fastapi import APIRouter
from sqlalchemy.ext.asyncio import AsyncSession
from starlette.responses import Response

from api.dashboard.forms import Form, build
from api.dashboard.rendering import see
from api.dashboard.visitors import FormDep, Visitor, VisitorDep
from api.deps import LimiterDep, SessionsDep, get_settings
from api.routes import invitations, members
from api.routes.invitations import NewInvitation, SentInvitationView, is_mail_sent
from api.routes.members import RoleChange
from domain.errors import DomainError
from storage.base import Sessions, snapshot, transaction

router = APIRouter(include_in_schema=False)

_DONE: Final = {
    "role": "The role was changed. It holds from their next click on.",
    "removed": "The member was removed, and is logged out everywhere.",
    "reset": "Two-factor login was reset: their next login asks for the password alone.",
    "revoked": "The invitation was revoked. Its link lets nobody in any more.",
}
ROLES: Final = (
    ("owner", "Owner", "May do everything: members and invitations, too."),
    ("member", "Member", "Sets up and looks after what is watched; makes keys."),
    ("viewer", "Viewer", "Looks at everything and changes nothing."),
)


@router.get("/settings/members")
async def show_members(visitor: VisitorDep, sessions: SessionsDep) -> Response:
    return await _page(visitor, sessions)


@router.post("/settings/members/{member_id}/role")
async def change_role(member_id: str, visitor: VisitorDep, form: FormDep, sessions: SessionsDep) -> Response:
    visitor.require_owner()
    try:
        body = build(RoleChange, {"role": form.get("role")})
        async with transaction(sessions) as session:
            await members.change(member_id, body, visitor.request, session, visitor.principal)
    except DomainError as error:
        return await _page(visitor, sessions, error=error)
    return see("/settings/members?done=role")


@router.post("/settings/members/{member_id}/remove")
async def remove(member_id: str, visitor: VisitorDep, form: FormDep, sessions: SessionsDep) -> Response:
    visitor.require_owner()
    try:
        async with transaction(sessions) as session:
            await members.remove(member_id, visitor.request, session, visitor.principal)
    except DomainError as error:
        return await _page(visitor, sessions, error=error)
    return see("/login" if member_id == visitor.user.id else "/settings/members?done=removed")


@router.post("/settings/members/{member_id}/second-factor/reset")
async def reset(member_id: str, visitor: VisitorDep, form: FormDep, sessions: SessionsDep) -> Response:
    visitor.require_owner()
    try:
        async with transaction(sessions) as session:
            await members.reset_second_factor(member_id, visitor.request, session, visitor.principal)
    except DomainError as error:
        return await _page(visitor, sessions, error=error)
    return see("/settings/members?done=reset")


@router.post("/settings/invitations")
async def invite(visitor: VisitorDep, form: FormDep, sessions: SessionsDep, limiter: LimiterDep) -> Response:
    visitor.require_owner()
    try:
        body = build(NewInvitation, {"email": form.text("email") or "", "role": form.get("role")})
        async with transaction(sessions) as session:
            sent = await invitations.create(body, visitor.request, Response(), session, limiter, visitor.principal)
    except DomainError as error:
        return await _page(visitor, sessions, form=form, error=error)
    return await _page(visitor, sessions, sent=sent)


@router.post("/settings/invitations/{invitation_id}/resend")
async def resend(
    invitation_id: str, visitor: VisitorDep, form: FormDep, sessions: SessionsDep, limiter: LimiterDep
) -> Response:
    visitor.require_owner()
    try:
        async with transaction(sessions) as session:
            sent = await invitations.resend(
                invitation_id, visitor.request, Response(), session, limiter, visitor.principal
            )
    except DomainError as error:
        return await _page(visitor, sessions, error=error)
    return await _page(visitor, sessions, sent=sent)


@router.post("/settings/invitations/{invitation_id}/revoke")
async def revoke(invitation_id: str, visitor: VisitorDep, form: FormDep, sessions: SessionsDep) -> Response:
    visitor.require_owner()
    try:
        async with transaction(sessions) as session:
            await invitations.revoke(invitation_id, visitor.request, session, visitor.principal)
    except DomainError as error:
        return await _page(visitor, sessions, error=error)
    return see("/settings/members?done=revoked")


async def _page(
    visitor: Visitor,
    sessions: Sessions,
    *,
    form: Form | None = None,
    error: DomainError | None = None,
    sent: SentInvitationView | None = None,
) -> Response:
    """`sent` is an invitation whose link is shown this once."""
    async with snapshot(sessions) as session:
        everybody, invited = await _read(session, visitor)
    return visitor.page(
        "settings/members.html",
        section="settings",
        done=_DONE,
        form=form,
        error=error,
        members=everybody.members,
        invitations=invited.invitations,
        sent=sent,
        roles=ROLES,
        is_mail_sent=is_mail_sent(get_settings(visitor.request)),
        owners=sum(member.role == "owner" for member in everybody.members),
    )


async def _read(session: AsyncSession, visitor: Visitor) -> tuple[members.MemberList, invitations.InvitationList]:
    return (
        await members.list_all(session, visitor.principal),
        await invitations.list_open(session, visitor.principal),
    )
