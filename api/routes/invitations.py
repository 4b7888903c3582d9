"""Invitations to an account."""

from datetime import datetime
from typing import Annotated

from fastapi import APIRouter, Request, Response
from pydantic import BaseModel, ConfigDict, Field

from activities.invitation_links import InvitationLinks
from api.deps import LimiterDep, OwnerDep, PrincipalDep, SessionDep, Text, get_settings
from api.openapi import JSON_API_ERRORS, problems
from api.security.auditing import note
from api.views import in_utc
from config.clock import utc_now
from config.settings import Settings
from domain.accounts import Role
from domain.errors import Conflict, EmailTaken, NotFound, Unavailable
from storage import invitations
from storage.accounts import get_account
from storage.invitations import Invitation, InvitationState
from storage.messages import write_invitation

router = APIRouter(prefix="/api/invitations", tags=["members"])

_NO_INVITATION = NotFound("There is no invitation with this id.")
_OVER = Conflict("This invitation was revoked; make another one.")


class NewInvitation(BaseModel):
    model_config = ConfigDict(extra="forbid")

    email: Annotated[Text, Field(max_length=254, description="Whom to invite; they log in with it.")]
    role: Role = "member"


class InvitationView(BaseModel):
    id: str
    email: str
    role: Role
    state: InvitationState = Field(description="`expired` ones may be sent again.")
    invited_by: str
    created_at: datetime
    sent_at: datetime
    expires_at: datetime


class SentInvitationView(InvitationView):
    url: str = Field(description="Lets whoever has it in, once. Keep it from others; it is not shown again.")
    is_mailed: bool = Field(description="Whether it goes out by mail, too; else hand it over yourself.")


class InvitationList(BaseModel):
    invitations: list[InvitationView]


def links_of(settings: Settings) -> InvitationLinks:
    """Raises Unavailable without a secret key."""
    if settings.secret_key is None:
        raise Unavailable("Links cannot be signed: set PINGPULSE_SECRET_KEY, and start gateway and worker again.")
    return InvitationLinks(settings.secret_key.get_secret_value(), settings.base_url)


def is_mail_sent(settings: Settings) -> bool:
    """Whether there is anywhere for mail to go."""
    return settings.smtp_host is not None or settings.mail_dir is not None


@router.post(
    "", status_code=201, responses=problems(*JSON_API_ERRORS, EmailTaken("ada@example.com belongs to another account."))
)
async def create(
    body: NewInvitation,
    request: Request,
    response: Response,
    session: SessionDep,
    limiter: LimiterDep,
    principal: OwnerDep,
) -> SentInvitationView:
    """Invites somebody: a link that is good for seven days, and a mail with it. For owners, who are logged in."""
    limiter.hit_letters(request.scope, principal, 1)
    await get_account(session, principal.account_id, lock=True)
    invitation = await invitations.invite(
        session, principal.account_id, body.email, body.role, principal.who, utc_now()
    )
    details = {"email": invitation.email, "role": invitation.role}
    note(session, request, principal, "invitation.created", f"invitation/{invitation.id}", **details)
    return _sent(session, request, response, invitation)


@router.get("", responses=problems(*JSON_API_ERRORS))
async def list_open(session: SessionDep, principal: PrincipalDep) -> InvitationList:
    """Those that were neither accepted nor revoked, without their links, the newest first."""
    found = await invitations.list_open(session, principal.account_id)
    return InvitationList(invitations=[view(one) for one in found])


@router.post("/{invitation_id}/resend", responses=problems(*JSON_API_ERRORS, _NO_INVITATION, _OVER))
async def resend(
    invitation_id: str,
    request: Request,
    response: Response,
    session: SessionDep,
    limiter: LimiterDep,
    principal: OwnerDep,
) -> SentInvitationView:
    """Sends it again, with another link and seven more days. The earlier link ends."""
    limiter.hit_letters(request.scope, principal, 1)
    invitation = await invitations.resend(session, principal.account_id, invitation_id, utc_now())
    note(session, request, principal, "invitation.resent", f"invitation/{invitation.id}", email=invitation.email)
    return _sent(session, request, response, invitation)


@router.delete("/{invitation_id}", status_code=204, responses=problems(*JSON_API_ERRORS, _NO_INVITATION, _OVER))
async def revoke(invitation_id: str, request: Request, session: SessionDep, principal: OwnerDep) -> None:
    """Ends an invitation: its link lets nobody in any more."""
    invitation = await invitations.revoke(session, principal.account_id, invitation_id, utc_now())
    note(session, request, principal, "invitation.revoked", f"invitation/{invitation.id}", email=invitation.email)


def view(invitation: Invitation) -> InvitationView:
    return InvitationView(
        id=invitation.id,
        email=invitation.email,
        role=invitation.role,
        state=invitation.state(utc_now()),
        invited_by=invitation.invited_by,
        created_at=in_utc(invitation.created_at),
        sent_at=in_utc(invitation.sent_at),
        expires_at=in_utc(invitation.expires_at),
    )


def _sent(session: SessionDep, request: Request, response: Response, invitation: Invitation) -> SentInvitationView:
    settings = get_settings(request)
    is_mailed = is_mail_sent(settings)
    if is_mailed:
        write_invitation(session, invitation, utc_now())
    response.headers["Cache-Control"] = "no-store"
    url = links_of(settings).url(invitation)
    return SentInvitationView(**view(invitation).model_dump(), url=url, is_mailed=is_mailed)
