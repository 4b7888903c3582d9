"""Accepting an invitation: the link of the mail, and a password of one's own."""

from sqlalchemy.ext.asyncio import AsyncSession
from starlette.requests import Request

from activities.invitation_links import InvitationLinks
from api.deps import get_sessions
from api.security.auditing import note_as
from api.security.login import Login, begin
from config.clock import utc_now
from domain.errors import Conflict
from storage.accounts import Account, get_account
from storage.base import transaction
from storage.invitations import Invitation, InvitationState, get_invitation
from storage.users import create_user


class InvitationOver(Conflict):
    """An invitation whose link lets nobody in, or nobody any more."""

    code = "invitation_over"
    title = "Invitation over"
    status = 410


_OVER = {
    InvitationState.ACCEPTED: "This invitation was accepted already. Log in with your e-mail address and password.",
    InvitationState.REVOKED: "This invitation was revoked. Ask whoever invited you for another one.",
    InvitationState.EXPIRED: "This invitation is more than seven days old. Ask whoever invited you to send it again.",
}
_UNKNOWN = "This link leads to no invitation. Open it from the mail again: it may have been cut off."
_OLD = "This invitation was sent again since. Use the link of the latest mail."


async def read_invitation(
    session: AsyncSession, links: InvitationLinks, token: str, *, lock: bool = False
) -> tuple[Invitation, Account]:
    """What a link leads to. Raises InvitationOver with what to do."""
    invitation_id = links.invitation_id(token)
    invitation = await get_invitation(session, invitation_id, lock=lock) if invitation_id is not None else None
    if invitation is None:
        raise InvitationOver(_UNKNOWN)
    state = invitation.state(utc_now())
    if state is not InvitationState.OPEN:
        raise InvitationOver(_OVER[state])
    if not links.is_of(token, invitation):
        raise InvitationOver(_OLD)
    return invitation, await get_account(session, invitation.account_id)


async def accept_invitation(request: Request, links: InvitationLinks, token: str, password: str) -> Login:
    """Makes the user and logs them in. Raises InvitationOver, InvalidRequest for a password that will not do, and
    EmailTaken."""
    async with transaction(get_sessions(request)) as session:
        now = utc_now()
        invitation, _ = await read_invitation(session, links, token, lock=True)
        user = await create_user(session, invitation.account_id, invitation.email, password, now, role=invitation.role)
        invitation.accepted_at = now
        details = {"role": user.role, "invited_by": invitation.invited_by}
        note_as(session, request, user.account_id, user.email, "member.joined", f"user/{user.id}", **details)
        return await begin(session, request, user, "login")
