"""The mail with an approver's own link, for who came to the page without it."""

from email.message import EmailMessage

from activities.approval_links import ApprovalLinks
from activities.letters.base import LetterSender
from activities.letters.paper import Aside, Block, Button, Buttons, Paragraph, as_html, as_plain
from activities.mail import Mailer
from activities.senders.base import Receipt
from activities.senders.email import make_mail
from storage.letters import Letter


def link_sender(mailer: Mailer, mail_from: str, links: ApprovalLinks) -> LetterSender:
    """Sent in any case: after the end, the page shows how it ended."""

    async def send(letter: Letter) -> Receipt:
        return await mailer.send(letter.message.account_id, link_mail(letter, mail_from, links))

    return send


def link_mail(letter: Letter, mail_from: str, links: ApprovalLinks) -> EmailMessage:
    """The same at every attempt. Raises Undeliverable for what is no address."""
    approval = letter.approval
    blocks: list[Block] = [
        Paragraph(f"Somebody, probably you, asked for your link to “{approval.name}”."),
        Buttons([Button("Open", approval.name, links.url(approval.id, letter.recipient))]),
        Aside("Opening it decides nothing. The link is yours alone; do not pass this mail on."),
    ]
    subject = f"Your link: {approval.name}"
    return make_mail(
        mail_from,
        letter.recipient,
        subject,
        message_id=letter.message.id,
        at=letter.message.created_at,
        plain=as_plain(blocks, links.base_url),
        html=as_html(subject, blocks, links.base_url),
    )
