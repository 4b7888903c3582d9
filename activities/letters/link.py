"""The mail with an approver's own link, for who came to the page without it."""

from email.message import EmailMessage

from activities.approval_links import ApprovalLinks
from activities.letters.base import LetterSender, letter_mail
from activities.letters.paper import Aside, Block, Button, Buttons, Paragraph
from activities.mail import Mailer
from activities.senders.base import Receipt
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
    return letter_mail(letter, subject, blocks, mail_from, links.base_url)
