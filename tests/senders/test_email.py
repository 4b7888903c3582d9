"""E-mail: what it looks like, and how it goes through real mail servers."""

from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from activities.mail import NoMailer, SmtpMailer, SmtpServer, make_mailer
from activities.senders.base import Envelope, Receipt, TryLater, Undeliverable
from activities.senders.email import email_message, email_sender
from config.clock import utc_now
from tests.senders.builders import NASTY, alert, envelope
from tests.senders.conftest import outcome
from tests.support.receivers import Authority, HttpReceiver, SmtpReceiver, smtp_receiver

FROM = "PingPulse <pingpulse@example.com>"
HEADERS = f"{NASTY}\r\nBcc: eve@example.com\x00\x1b"
LOGIN = ("pulse", "s3cret")
MAIL = envelope("ada@example.com", alert(1), alert(2), headline="2 pulses are down")


def test_it_has_a_text_and_a_html_part() -> None:
    mail = email_message(MAIL, FROM)
    plain, html = mail.get_body(("plain",)), mail.get_body(("html",))
    assert plain is not None
    assert html is not None
    assert "- backup 1 is down: No ping came." in plain.get_content()
    assert "https://pings.example.com" in plain.get_content()
    assert "<li" in html.get_content()
    assert (mail["From"], mail["To"]) == (FROM, "ada@example.com")
    assert mail["Subject"] == "2 pulses are down"
    assert mail["Auto-Submitted"] == "auto-generated"
    assert mail["Date"] == "Mon, 04 May 2026 12:00:00 +0000"


def test_repeated_attempts_are_recognisable() -> None:
    assert email_message(MAIL, FROM)["Message-ID"] == "<msg_1@example.com>"
    other = email_message(replace(MAIL, message_id="msg_2"), FROM)
    assert other["Message-ID"] != email_message(MAIL, FROM)["Message-ID"]


def test_a_domain_of_other_letters_is_written_in_ascii() -> None:
    assert email_message(replace(MAIL, address="ada@exämple.de"), FROM)["To"] == "ada@xn--exmple-cua.de"


def test_words_of_others_become_neither_headers_nor_html() -> None:
    told = envelope(
        "ada@example.com", alert(title=NASTY), headline=f"{NASTY}\r\nBcc: eve@example.com\x00\x1b" + "x" * 500
    )
    mail = email_message(told, FROM)
    assert mail["Bcc"] is None
    assert len(mail["Subject"]) == 200
    assert "\n" not in mail["Subject"]
    html = mail.get_body(("html",))
    assert html is not None
    assert "<script>" not in html.get_content()
    assert "&lt;script&gt;" in html.get_content()


@pytest.mark.parametrize("address", ["", "ada", "ada@", "ada@x.de\r\nBcc: eve@x.de", "ada@x.de, eve@x.de"])
async def test_what_is_no_address_is_refused(address: str) -> None:
    assert isinstance(await outcome(email_sender(NoMailer(), FROM)(replace(MAIL, address=address))), Undeliverable)


async def test_without_a_mail_server_it_says_what_to_set() -> None:
    refused = await outcome(email_sender(make_mailer(None, None, utc_now), FROM)(MAIL))
    assert isinstance(refused, Undeliverable)
    assert refused.detail == "No mail server is set: set PINGPULSE_SMTP_HOST."


def server(receiver: SmtpReceiver, **options: Any) -> SmtpServer:
    defaults: dict[str, Any] = {"host": "localhost", "port": receiver.port, "security": "none", "timeout_seconds": 5}
    return SmtpServer(**defaults | options)


async def send(smtp: SmtpServer, told: Envelope = MAIL) -> Receipt | TryLater | Undeliverable:
    return await outcome(email_sender(SmtpMailer(smtp), FROM)(told))


@pytest.fixture
async def plain() -> AsyncIterator[SmtpReceiver]:
    async with smtp_receiver() as receiver:
        yield receiver


async def test_it_goes_through_a_server_without_tls_when_told_so(plain: SmtpReceiver) -> None:
    assert await send(server(plain)) == Receipt(250, "OK, kept")
    [mail] = plain.mails
    assert mail["Subject"] == "2 pulses are down"
    assert plain.encrypted == [False]


async def test_starttls_and_login(authority: Authority) -> None:
    async with smtp_receiver(starttls=authority.server_context("localhost"), login=LOGIN) as receiver:
        smtp = server(receiver, security="starttls", username=LOGIN[0], password=LOGIN[1], ca_file=authority.ca_file)
        assert await send(smtp) == Receipt(250, "OK, kept")
        assert (receiver.encrypted, receiver.logins) == ([True], ["pulse"])


async def test_tls_from_the_start_and_login(authority: Authority) -> None:
    async with smtp_receiver(tls=authority.server_context("localhost"), login=LOGIN) as receiver:
        smtp = server(receiver, security="tls", username=LOGIN[0], password=LOGIN[1], ca_file=authority.ca_file)
        assert await send(smtp) == Receipt(250, "OK, kept")
        assert (receiver.encrypted, receiver.logins) == ([True], ["pulse"])


async def test_a_server_without_starttls_gets_neither_mail_nor_password(plain: SmtpReceiver) -> None:
    refused = await send(server(plain, security="starttls", username=LOGIN[0], password=LOGIN[1]))
    assert isinstance(refused, TryLater)
    assert "STARTTLS" in refused.detail
    assert "_SECURITY" in refused.detail
    assert plain.mails == []


@pytest.mark.parametrize("name", ["localhost", "other.example"])
async def test_the_certificate_must_be_of_a_known_authority_and_name(authority: Authority, name: str) -> None:
    ca_file: Path | None = None if name == "localhost" else authority.ca_file
    async with smtp_receiver(starttls=authority.server_context(name)) as receiver:
        refused = await send(server(receiver, security="starttls", ca_file=ca_file))
        assert isinstance(refused, TryLater)
        assert "CERTIFICATE_VERIFY_FAILED" in refused.detail
        assert receiver.mails == []


async def test_a_refused_login_can_be_mended(authority: Authority) -> None:
    async with smtp_receiver(starttls=authority.server_context("localhost"), login=LOGIN) as receiver:
        smtp = server(receiver, security="starttls", ca_file=authority.ca_file)
        for one in (replace(smtp, username="pulse", password="wrong"), smtp):
            refused = await send(one)
            assert isinstance(refused, TryLater)
            assert "PINGPULSE_SMTP_" in refused.detail
            assert "_USERNAME" in refused.detail
            assert "wrong" not in refused.detail
        assert receiver.mails == []


@pytest.mark.parametrize("stage", ["rcpt", "data"])
@pytest.mark.parametrize(
    ("answer", "kind"),
    [("450 mailbox busy", TryLater), ("421 shutting down", TryLater), ("550 no such user", Undeliverable)],
)
async def test_the_code_decides_whether_to_try_again(plain: SmtpReceiver, stage: str, answer: str, kind: type) -> None:
    setattr(plain, stage, answer)
    refused = await send(server(plain))
    assert isinstance(refused, kind)
    assert not isinstance(refused, Receipt)
    assert refused.status_code == int(answer[:3])
    assert answer[4:] in refused.detail
    assert plain.mails == []


async def test_a_refused_sender_is_a_setting_to_mend(plain: SmtpReceiver) -> None:
    plain.sender = "550 not yours"
    refused = await send(server(plain))
    assert isinstance(refused, TryLater)
    assert "PINGPULSE_SMTP_FROM" in refused.detail


async def test_a_server_that_is_away_is_tried_later(plain: SmtpReceiver) -> None:
    for smtp in (server(plain, port=1), server(plain, host="nowhere.invalid")):
        refused = await send(smtp)
        assert isinstance(refused, TryLater)
        assert smtp.host in refused.detail


async def test_a_server_that_says_nothing_is_tried_later(receiver: HttpReceiver) -> None:
    # It waits for a request, as the client waits for its greeting.
    silent = SmtpServer("localhost", receiver.port, security="none", timeout_seconds=0.3)
    assert isinstance(await send(silent), TryLater)
