"""The mail that invites somebody to an account."""

from collections.abc import Awaitable, Callable
from datetime import datetime
from email.message import EmailMessage
from typing import Final

from activities.invitation_links import InvitationLinks
from activities.letters.asking import moment
from activities.letters.paper import Aside, Block, Button, Buttons, Paragraph, as_html, as_plain
from activities.mail import Mailer
from activities.senders.base import NotNeeded, Receipt
from activities.senders.email import make_mail
from activities.senders.wording import one_line
from storage.invitations import InvitationState
from storage.letters import InvitationLetter

InvitationSender = Callable[[InvitationLetter], Awaitable[Receipt]]
"""Sends, and raises TryLater, Undeliverable and NotNeeded."""

_ROLES: Final = {
    "owner": "an owner, who may do everything",
    "member": "a member, who sets up and looks after what is watched",
    "viewer": "a viewer, who may look at everything and change nothing",
}


def invitation_sender(
    mailer: Mailer, mail_from: str, links: InvitationLinks, now: Callable[[], datetime]
) -> InvitationSender:
    async def send(letter: InvitationLetter) -> Receipt:
        _check_is_awaited(letter, now())
        return await mailer.send(letter.message.account_id, invitation_mail(letter, mail_from, links))

    return send


def invitation_mail(letter: InvitationLetter, mail_from: str, links: InvitationLinks) -> EmailMessage:
    """The same at every attempt. Raises Undeliverable for what is no address."""
    invitation = letter.invitation
    account = one_line(letter.account_name, 200)
    subject = f"You are invited to “{account}” on PingPulse"
    blocks: list[Block] = [
        Paragraph(f"{one_line(invitation.invited_by, 200)} invites you to “{account}” on PingPulse."),
        Paragraph(f"You would be {_ROLES[invitation.role]}."),
        Buttons([Button("Join", account, links.url(invitation))]),
        Aside(
            f"The link is good until {moment(invitation.expires_at)}, once, and for you alone: whoever has it can join "
            "in your place, so do not pass this mail on. If you expect no invitation, do nothing."
        ),
    ]
    return make_mail(
        mail_from,
        invitation.email,
        subject,
        message_id=letter.message.id,
        at=letter.message.created_at,
        plain=as_plain(blocks, links.base_url),
        html=as_html(subject, blocks, links.base_url),
    )


def _check_is_awaited(letter: InvitationLetter, now: datetime) -> None:
    """Raises NotNeeded."""
    invitation = letter.invitation
    state = invitation.state(now)
    if state is not InvitationState.OPEN:
        raise NotNeeded(f"not needed any more: the invitation is {state.value}")
    if letter.message.created_at < invitation.sent_at:
        raise NotNeeded("not needed any more: the invitation was sent again")
