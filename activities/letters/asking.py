"""The mails that ask an approver to decide: the request, reminders, and escalation."""

import json
from collections.abc import Iterator
from datetime import UTC, datetime
from email.message import EmailMessage
from typing import Any, Final

from activities.approval_links import ApprovalLinks
from activities.letters.base import LetterSender, check_is_awaited, letter_mail
from activities.letters.paper import (
    GREEN,
    RED,
    Aside,
    Block,
    Button,
    Buttons,
    Facts,
    Heading,
    Paragraph,
    Quote,
)
from activities.mail import Mailer
from activities.senders.base import Receipt
from activities.senders.wording import one_line
from domain.approvals import Confirm
from domain.letters import LetterTopic
from storage.approvals import Approval
from storage.letters import Letter

MAX_PAYLOAD: Final = 4000
"""Characters of it that are shown; the page shows all."""

_MAX_NAME: Final = 200

_SUBJECTS: Final = {
    LetterTopic.REQUEST: "Approval requested: {name}",
    LetterTopic.REMINDER: "Reminder: {name}",
    LetterTopic.ESCALATION: "Escalated to you: {name}",
}
_INTRODUCTIONS: Final = {
    LetterTopic.REQUEST: "{who} asks for your approval.",
    LetterTopic.REMINDER: "{who} asked for approval on {at}, and your decision is still awaited.",
    LetterTopic.ESCALATION: "{who} asked for approval on {at}. It is still undecided, so you are asked to decide now.",
}
_PROOFS: Final = {
    Confirm.LINK: "Opening a link decides nothing: the page asks you once more. The links are yours alone; whoever has "
    "them can decide in your name, so do not pass this mail on.",
    Confirm.CODE: "Opening a link decides nothing: the page asks you once more, and for a code that it mails to you.",
    Confirm.LOGIN: "Opening a link decides nothing: the page asks you once more, and you must be logged in as "
    "{recipient}.",
}


def asking_sender(mailer: Mailer, mail_from: str, links: ApprovalLinks) -> LetterSender:
    """`mail_from` is what From says, such as `PingPulse <pingpulse@example.com>`."""

    async def send(letter: Letter) -> Receipt:
        check_is_awaited(letter)
        return await mailer.send(letter.message.account_id, asking_mail(letter, mail_from, links))

    return send


def asking_mail(letter: Letter, mail_from: str, links: ApprovalLinks) -> EmailMessage:
    """The same at every attempt. Raises Undeliverable for what is no address."""
    subject = _SUBJECTS[LetterTopic(letter.message.topic or "")].format(name=letter.approval.name)
    blocks = list(_blocks(letter, links))
    return letter_mail(letter, subject, blocks, mail_from, links.base_url)


def _blocks(letter: Letter, links: ApprovalLinks) -> Iterator[Block]:
    approval = letter.approval
    who = one_line(approval.requested_by, _MAX_NAME)
    introduction = _INTRODUCTIONS[LetterTopic(letter.message.topic or "")]
    yield Paragraph(introduction.format(who=who, at=moment(approval.created_at)))
    if approval.title:
        yield Heading(one_line(approval.title, _MAX_NAME))
    yield Quote(approval.context)
    yield Facts(list(_facts(approval)))
    yield Buttons(_buttons(approval, links.url(approval.id, letter.recipient)))
    yield Aside(_PROOFS[Confirm(approval.confirm)].format(recipient=letter.recipient))
    if approval.payload is not None:
        yield from _payload(approval.payload)


def _facts(approval: Approval) -> Iterator[tuple[str, str]]:
    expires = moment(approval.expires_at) if approval.expires_at is not None else "never"
    yield "Expires", f"{expires}. {approval.at_its_deadline()}"
    if approval.choices:
        yield "Choices", ", ".join(one_line(choice, _MAX_NAME) for choice in approval.choices)
    if approval.editable is not None:
        yield "Editable", "You may change some of the values on the page."
    if (rule := _quorum(approval)) is not None:
        yield "Votes", rule
    parts = {"Workflow": approval.workflow_id, "Instance": approval.instance_id, "Stage": approval.stage_path}
    for name, value in parts.items():
        if value is not None:
            yield name, one_line(value, _MAX_NAME)


def _quorum(approval: Approval) -> str | None:
    if approval.quorum == 1:
        return None
    whom = len(approval.terms().eligible())
    denials = "One denial is enough to deny it." if approval.veto else f"{approval.quorum} denials deny it."
    return f"{approval.quorum} of {whom} must approve, in the same way. {denials}"


def _buttons(approval: Approval, url: str) -> list[Button]:
    if approval.choices:
        return [Button("Decide", approval.name, url)]
    return [
        Button("Approve", approval.name, f"{url}&intent=approve", GREEN),
        Button("Deny", approval.name, f"{url}&intent=deny", RED),
    ]


def _payload(payload: Any) -> Iterator[Block]:
    yield Paragraph("What was handed over with it:")
    try:
        text = json.dumps(payload, indent=2, ensure_ascii=False)
    except RecursionError:
        yield Aside("It is nested too deeply for a mail; see the page.")
        return
    yield Quote(text if len(text) <= MAX_PAYLOAD else text[:MAX_PAYLOAD] + "\n…", is_code=True)
    if len(text) > MAX_PAYLOAD:
        yield Aside("This is only its beginning; the page shows all of it.")


def moment(at: datetime) -> str:
    """Such as "4 May 2026, 12:05:00 UTC". Not in how long: nobody knows when a mail is read."""
    at = at.astimezone(UTC)
    return f"{at.day} {_MONTHS[at.month - 1]} {at:%Y, %H:%M:%S} UTC"


# `%B` would be in the language of the machine.
_MONTHS: Final = (
    "January", "February", "March", "April", "May", "June", "July", "August", "September", "October", "November",
    "December",
)  # fmt: skip
