"""Mails to approvers: what they say, and that they say it through a real mail server."""

import re
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import timedelta
from email.message import EmailMessage
from html.parser import HTMLParser
from typing import Any

import pytest

from activities.approval_links import ApprovalLinks
from activities.letters.asking import MAX_PAYLOAD, asking_mail, asking_sender, moment
from activities.letters.code import code_sender
from activities.letters.link import link_sender
from activities.mail import NoMailer, SmtpMailer, SmtpServer
from activities.senders.base import NotNeeded, Receipt, TryLater, Undeliverable
from domain.approvals import Vote
from domain.cleaning import cleaned
from storage.approval_access import CODE_LIFETIME, ApprovalCode
from storage.letters import Letter
from storage.vault import Vault
from tests.senders.builders import NASTY, NOON, letter
from tests.senders.conftest import outcome
from tests.support.approvals import approve
from tests.support.receivers import Authority, SmtpReceiver, smtp_receiver
from tests.support.telling import VAULT

FROM = "PingPulse <pingpulse@example.com>"
LINKS = ApprovalLinks("a secret for tests, of 32 characters or more", "https://pings.example.com")
OTHERS = ApprovalLinks("another secret for tests, of 32 characters", "https://pings.example.com")
INJECTED = f"{NASTY}\r\nBcc: eve@example.com\x00\x1b[2J"


class Page(HTMLParser):
    """What a mail program finds in a mail's HTML: words, links, and the names of elements."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.text, self.links, self.elements = "", dict[str, str](), set[str]()
        self.attributes: list[tuple[str, dict[str, str | None]]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.add(tag)
        self.attributes.append((tag, dict(attrs)))
        self.text += "\n" if tag == "br" else ""

    def handle_data(self, data: str) -> None:
        tag, attributes = self.attributes[-1] if self.attributes else ("", {})
        if tag == "a" and (url := attributes.get("href")) and data.strip():
            self.links.setdefault(data, url)
        self.text += data if tag not in ("style", "title") else ""


def parts(mail: EmailMessage) -> tuple[str, Page]:
    """The plain text, and the HTML."""
    plain, html = mail.get_body(("plain",)), mail.get_body(("html",))
    assert plain is not None
    assert html is not None
    return plain.get_content(), Page(html.get_content())


def written(*, topic: str = "request", **values: Any) -> tuple[str, Page]:
    return parts(asking_mail(letter(topic, **values), FROM, LINKS))


@pytest.fixture
async def post_office() -> AsyncIterator[SmtpReceiver]:
    async with smtp_receiver() as receiver:
        yield receiver


def mailer(receiver: SmtpReceiver, **options: Any) -> SmtpMailer:
    usual: dict[str, Any] = {"security": "none", "timeout_seconds": 5}
    return SmtpMailer(SmtpServer("localhost", receiver.port, **usual | options))


async def posted(receiver: SmtpReceiver, sent: Letter) -> EmailMessage:
    """The mail as the server received it."""
    assert await asking_sender(mailer(receiver), FROM, LINKS)(sent) == Receipt(250, "OK, kept")
    return receiver.mails[-1]


async def test_both_parts_lead_to_the_approvers_own_page(post_office: SmtpReceiver) -> None:
    sent = letter()
    plain, page = parts(await posted(post_office, sent))
    url = LINKS.url(sent.approval.id, "ada@example.com")
    assert page.links["Approve"] == f"{url}&intent=approve"
    assert page.links["Deny"] == f"{url}&intent=deny"
    assert re.findall(r"https://\S+token\S+", plain) == [f"{url}&intent=approve", f"{url}&intent=deny"]
    (token,) = set(re.findall(r"token=([^&\s]+)", plain))
    assert LINKS.approver(sent.approval.id, token) == "ada@example.com"
    assert LINKS.approver(letter().approval.id, token) is None
    assert OTHERS.approver(sent.approval.id, token) is None


async def test_each_approver_has_links_of_their_own(post_office: SmtpReceiver) -> None:
    first = letter(approvers=["ada@example.com", "bob@example.com"])
    tokens: list[str] = []
    for approver in first.approval.approvers:
        plain, _ = parts(await posted(post_office, letter(recipient=approver, approval=first.approval)))
        tokens += set(re.findall(r"token=([^&\s]+)", plain))
    assert [LINKS.approver(first.approval.id, token) for token in tokens] == first.approval.approvers


async def test_starttls(authority: Authority) -> None:
    async with smtp_receiver(starttls=authority.server_context("localhost")) as receiver:
        through = mailer(receiver, security="starttls", ca_file=authority.ca_file)
        assert await asking_sender(through, FROM, LINKS)(letter()) == Receipt(250, "OK, kept")
        assert receiver.encrypted == [True]


def test_it_says_all_that_is_to_be_known() -> None:
    mail = asking_mail(
        letter(
            title="Publish?",
            context="Q4 report\n\n  1,500 words",
            payload={"title": "Q4", "to": [1, 2]},
            approvers=["ada@example.com", "bob@example.com", "cy@example.com"],
            quorum=2,
            workflow_id="nightly",
            instance_id="s1234abcd",
            stage_path="2.1",
        ),
        FROM,
        LINKS,
    )
    assert mail["Subject"] == "Approval requested: Publish?"
    assert (mail["From"], mail["To"]) == (FROM, "ada@example.com")
    assert mail["Date"] == "Mon, 04 May 2026 12:00:00 +0000"
    assert (mail["Auto-Submitted"], mail["X-Auto-Response-Suppress"]) == ("auto-generated", "All")
    plain, page = parts(mail)
    for text in (plain, page.text.replace("\xa0", " ")):
        for said in (
            "deploy bot asks for your approval.",
            "Q4 report\n",
            "  1,500 words",
            "Expires: 4 May 2026, 12:05:00 UTC",
            "If nobody decides within 5 min, it is denied.",
            "2 of 3 must approve, in the same way. 2 denials deny it.",
            "Workflow: nightly",
            "Instance: s1234abcd",
            "Stage: 2.1",
            '"to": [',
            "Opening a link decides nothing",
        ):
            assert said in text, said


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"timeout": None}, "It waits until somebody decides."),
        ({"timeout_action": "approve"}, "it is approved."),
        ({"quorum": 2, "veto": True}, "One denial is enough to deny it."),
        ({"editable": {"type": "object"}}, "You may change some of the values"),
        ({"confirm": "code"}, "for a code that it mails to you"),
        ({"confirm": "login"}, "you must be logged in as ada@example.com"),
        ({"topic": "reminder"}, "deploy bot asked for approval on 4 May 2026, 12:00:00 UTC, and your decision"),
        ({"topic": "escalation"}, "It is still undecided, so you are asked to decide now."),
    ],
)
def test_what_is_special_is_said(values: dict[str, Any], said: str) -> None:
    plain, page = written(**values)
    assert said in plain
    assert said in page.text


@pytest.mark.parametrize(
    ("topic", "subject"),
    [
        ("request", "Approval requested: Publish the report"),
        ("reminder", "Reminder: Publish the report"),
        ("escalation", "Escalated to you: Publish the report"),
    ],
)
def test_the_subject_says_why_it_comes(topic: str, subject: str) -> None:
    assert asking_mail(letter(topic), FROM, LINKS)["Subject"] == subject


def test_a_choice_is_made_on_the_page() -> None:
    sent = letter(choices=["now", "tomorrow"])
    plain, page = parts(asking_mail(sent, FROM, LINKS))
    url = LINKS.url(sent.approval.id, "ada@example.com")
    assert page.links["Decide"] == url
    assert "Approve" not in page.links
    assert f"Decide:\n{url}\n" in plain
    assert "Choices: now, tomorrow" in plain


def test_repeated_attempts_are_the_same_mail() -> None:
    sent = letter()
    first, second = (asking_mail(sent, FROM, LINKS) for _ in range(2))
    assert first["Message-ID"] == "<msg_1@example.com>"
    assert first["Message-ID"] == second["Message-ID"]
    assert parts(first)[0] == parts(second)[0]


async def test_words_of_others_become_neither_headers_nor_html(post_office: SmtpReceiver) -> None:
    sent = letter(title=INJECTED, requested_by=INJECTED, context=INJECTED, payload={INJECTED: INJECTED})
    mail = await posted(post_office, sent)
    assert mail["Bcc"] is None
    assert "\n" not in mail["Subject"]
    plain, page = parts(mail)
    assert "script" not in page.elements
    assert page.text.count("<script>alert(1)</script>") >= 4
    for text in (plain, page.text):
        assert "\x1b" not in text
        assert "\x00" not in text


async def test_other_letters_and_long_lines_arrive(post_office: SmtpReceiver) -> None:
    context = "Größe 🎉 日本 " + "x" * 1200 + "\n" + "Zeile mit Wörtern " * 100
    mail = await posted(post_office, letter("request", "ada@exämple.de", title="Größe ändern? 🎉", context=context))
    assert mail["To"] == "ada@xn--exmple-cua.de"
    assert mail["Subject"] == "Approval requested: Größe ändern? 🎉"
    plain, page = parts(mail)
    for line in context.split("\n"):
        assert line.rstrip() in plain
        assert line.rstrip() in page.text


async def test_the_longest_context_arrives_whole(post_office: SmtpReceiver) -> None:
    context = "".join(f"line {number} & <more>\n" for number in range(1111))
    assert 19_900 < len(context) <= 20_000
    plain, page = parts(await posted(post_office, letter(context=context)))
    for text in (plain, page.text):
        assert [line.strip() for line in text.splitlines() if line.strip().startswith("line ")] == [
            line.strip() for line in context.splitlines()
        ]


def test_words_are_not_turned_around_unseen() -> None:
    assert cleaned("pay \u202e001\u2066 a\r\nb\rc\td 👩\u200d💻") == "pay \ufffd001\ufffd a\nb\nc    d 👩\u200d💻"
    plain, page = written(context="pay \u202e001")
    assert "\u202e" not in plain + page.text


@pytest.mark.parametrize(
    ("payload", "said", "not_said"),
    [
        ({"x": "y" * 20_000}, "This is only its beginning", "y" * MAX_PAYLOAD),
        ({"x": "y"}, '"x": "y"', "This is only its beginning"),
        ([False], "false", "null"),
        ({"sum": 10**300}, "0" * 300, "…"),
    ],
)
def test_a_payload_is_shown_as_far_as_there_is_room(payload: Any, said: str, not_said: str) -> None:
    plain, page = written(payload=payload)
    for text in (plain, page.text):
        assert said in text
        assert not_said not in text


def test_a_payload_of_too_many_levels_is_left_to_the_page() -> None:
    deep: Any = "x"
    for _ in range(5000):
        deep = [deep]
    plain, _ = written(payload=deep)
    assert "see the page" in plain


def test_the_html_can_be_read_by_everybody() -> None:
    sent = letter(title="Publish?", payload={"a": 1})
    _, page = parts(asking_mail(sent, FROM, LINKS))
    elements = dict(page.attributes)
    assert elements["html"]["lang"] == "en"
    assert all(attributes.get("role") == "presentation" for tag, attributes in page.attributes if tag == "table")
    labels = [attributes["aria-label"] for tag, attributes in page.attributes if "aria-label" in attributes]
    assert labels == ["Approve: Publish?", "Deny: Publish?"]
    # Nothing is loaded from anywhere: pictures would tell when somebody reads it.
    assert not page.elements & {"img", "link", "script", "iframe", "form"}


@pytest.mark.parametrize("recipient", ["ada", "ada@", "ada@x.de\r\nBcc: eve@x.de"])
async def test_what_is_no_address_is_refused(recipient: str) -> None:
    refused = await outcome(asking_sender(NoMailer(), FROM, LINKS)(letter("request", recipient)))
    assert isinstance(refused, Undeliverable)
    assert "e-mail address" in refused.detail


# Letters that nobody needs any more.


async def dropped(sending: Awaitable[Receipt]) -> str:
    with pytest.raises(NotNeeded) as caught:
        await sending
    return caught.value.detail


ENDED: dict[str, Any] = {"status": "approved", "decided_by": "bob@example.com", "decided_at": NOON}


@pytest.mark.parametrize("topic", ["request", "reminder", "escalation"])
async def test_once_it_is_decided_nobody_is_asked(post_office: SmtpReceiver, topic: str) -> None:
    send = asking_sender(mailer(post_office), FROM, LINKS)
    assert await dropped(send(letter(topic, **ENDED))) == "not needed any more: it was approved by bob@example.com"
    voted = (Vote("ada@example.com", approve(), NOON),)
    ada = letter(topic, quorum=2, approvers=["ada@example.com", "bob@example.com"], votes=voted)
    assert await dropped(send(ada)) == "not needed any more: ada@example.com has voted"
    assert post_office.mails == []
    await send(letter(topic, "bob@example.com", approval=ada.approval, votes=voted))
    assert len(post_office.mails) == 1


async def test_a_deadline_that_is_not_recorded_may_still_move(post_office: SmtpReceiver) -> None:
    send = asking_sender(mailer(post_office), FROM, LINKS)
    await send(letter(timeout=-1.0))
    assert len(post_office.mails) == 1
    expired: dict[str, Any] = {"status": "denied", "decided_by": "timeout", "decided_at": NOON}
    assert await dropped(send(letter(**expired))) == "not needed any more: it was denied at its deadline"


async def test_a_link_that_was_asked_for_is_mailed_after_the_end_too(post_office: SmtpReceiver) -> None:
    sent = letter("link", **ENDED)
    await link_sender(mailer(post_office), FROM, LINKS)(sent)
    plain, page = parts(post_office.mails[0])
    url = LINKS.url(sent.approval.id, "ada@example.com")
    assert page.links["Open"] == url
    assert url in plain
    assert post_office.mails[0]["Subject"] == f"Your link: {sent.approval.name}"


# Codes.


def code(text: str = "042137", **changes: Any) -> ApprovalCode:
    usual = {"code": VAULT.encrypt(text), "expires_at": NOON + CODE_LIFETIME, "tries_left": 5, "sent": 1}
    return ApprovalCode(**{"approval_id": "apr_1", "voter": "ada@example.com", "sent_at": NOON} | usual | changes)


SendCode = Callable[[Letter], Awaitable[Receipt]]


@pytest.fixture
def send_code(post_office: SmtpReceiver) -> SendCode:
    return code_sender(mailer(post_office), FROM, VAULT, LINKS.base_url, lambda: NOON + timedelta(seconds=1))


async def test_a_code_is_mailed(send_code: SendCode, post_office: SmtpReceiver) -> None:
    await send_code(letter("code", code=code(), title="Publish?", confirm="code"))
    [mail] = post_office.mails
    assert mail["Subject"] == "Your code to decide: Publish?"
    plain, page = parts(mail)
    for text in (plain, page.text):
        assert re.findall(r"\b\d{6}\b", text) == ["042137"]
        assert "valid until 4 May 2026, 12:10:00 UTC" in text
        assert "Publish?" in text
        assert "somebody else has your link" in text
        assert "token" not in text
    assert "042137" not in str(mail["Subject"])


@pytest.mark.parametrize(
    ("values", "why"),
    [
        ({"code": None}, "the code was used"),
        ({"code": code(), "is_superseded": True}, "a newer code was sent"),
        ({"code": code(expires_at=NOON)}, "the code is not valid any more"),
        ({"code": code(tries_left=0)}, "the code is not valid any more"),
        ({"code": code(), **ENDED}, "it was approved by bob@example.com"),
    ],
)
async def test_a_code_that_is_good_for_nothing_is_not_mailed(
    send_code: SendCode, post_office: SmtpReceiver, values: dict[str, Any], why: str
) -> None:
    assert await dropped(send_code(letter("code", **values))) == f"not needed any more: {why}"
    assert post_office.mails == []


async def test_without_the_key_a_code_waits_for_it(send_code: SendCode) -> None:
    other = Vault("another secret, of 32 characters or more")
    refused = await outcome(send_code(letter("code", code=code(code=other.encrypt("042137")))))
    assert isinstance(refused, TryLater)
    assert "PINGPULSE_SECRET_KEY" in refused.detail


def test_moments_are_said_in_utc() -> None:
    assert moment(NOON + timedelta(days=27)) == "31 May 2026, 12:00:00 UTC"
