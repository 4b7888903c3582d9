"""The mail with the code that an approval's page asks for."""

from collections.abc import Callable
from datetime import datetime
from email.message import EmailMessage

from activities.letters.asking import moment
from activities.letters.base import LetterSender, check_is_awaited, letter_mail, opened
from activities.letters.paper import Aside, Block, Code, Paragraph
from activities.mail import Mailer
from activities.senders.base import NotNeeded, Receipt
from activities.senders.wording import one_line
from storage.approval_access import ApprovalCode
from storage.letters import Letter
from storage.vault import Vault


def code_sender(
    mailer: Mailer, mail_from: str, vault: Vault, base_url: str, now: Callable[[], datetime]
) -> LetterSender:
    async def send(letter: Letter) -> Receipt:
        check_is_awaited(letter)
        code = _good_code(letter, now())
        mail = code_mail(letter, opened(vault, code.code), code.expires_at, mail_from, base_url)
        return await mailer.send(letter.message.account_id, mail)

    return send


def code_mail(letter: Letter, code: str, expires_at: datetime, mail_from: str, base_url: str) -> EmailMessage:
    """Raises Undeliverable for what is no address."""
    approval = letter.approval
    # Without the code: a subject is shown on locked screens.
    subject = f"Your code to decide: {approval.name}"
    blocks: list[Block] = [
        Paragraph(f"Your code to decide on “{approval.name}”, for which {one_line(approval.requested_by, 200)} asks:"),
        Code(code),
        Paragraph(f"It is valid until {moment(expires_at)}, for this approval and for you alone."),
        Aside(
            "If you did not ask for it, somebody else has your link: do not pass the code on, and tell whoever runs "
            "PingPulse for you."
        ),
    ]
    return letter_mail(letter, subject, blocks, mail_from, base_url)


def _good_code(letter: Letter, now: datetime) -> ApprovalCode:
    """Raises NotNeeded."""
    code = letter.code
    if code is None:
        raise NotNeeded("not needed any more: the code was used")
    if letter.is_superseded:
        raise NotNeeded("not needed any more: a newer code was sent")
    if not code.is_good(now):
        raise NotNeeded("not needed any more: the code is not valid any more")
    return code
