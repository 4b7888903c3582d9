"""The mail catcher: files in a directory, and the page that shows them."""

import re
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from pydantic import SecretStr

from activities import mail as mail_room
from activities.mail import MailCatcher, SmtpMailer, SmtpServer, make_mailer
from activities.senders.base import TryLater
from activities.senders.email import email_sender
from api.errors import install_error_handlers
from api.middleware import GatewayMiddleware
from api.routes import dev_mail
from api.security import install_security
from config.clock import utc_now
from config.settings import Settings
from storage.base import Sessions, create_engine, create_sessions
from tests.senders.builders import NASTY, envelope
from tests.senders.conftest import outcome
from tests.support.serving import serve
from tests.support.stack import SECRET, make_account

FROM = "PingPulse <pingpulse@example.com>"


async def keep(directory: Path, account_id: str = "acc_1", **changes: Any) -> None:
    send = email_sender(MailCatcher(directory, utc_now), FROM)
    await send(envelope("ada@example.com", account_id=account_id, **changes))


async def test_a_mail_is_kept_whole_and_for_its_owner_only(tmp_path: Path) -> None:
    await keep(tmp_path / "mail", headline="äöü is down")
    [path] = (tmp_path / "mail" / "acc_1").iterdir()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    mail = await MailCatcher(tmp_path / "mail", utc_now).read("acc_1", path.name)
    assert mail is not None
    assert mail["Subject"] == "äöü is down"


async def test_mails_are_listed_newest_first_by_account(tmp_path: Path) -> None:
    for number in range(5):
        await keep(tmp_path, message_id=f"msg_{number}", headline=f"mail {number}")
    await keep(tmp_path, "acc_2", headline="theirs")
    catcher = MailCatcher(tmp_path, utc_now)
    assert [kept.mail["Subject"] for kept in await catcher.newest("acc_1", 3)] == ["mail 4", "mail 3", "mail 2"]
    assert await catcher.newest("acc_3", 3) == []


async def test_the_oldest_make_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mail_room, "MAX_KEPT", 3)
    for number in range(5):
        await keep(tmp_path, headline=f"mail {number}")
    kept = await MailCatcher(tmp_path, utc_now).newest("acc_1", 10)
    assert [one.mail["Subject"] for one in kept] == ["mail 4", "mail 3", "mail 2"]


@pytest.mark.parametrize(
    "name", ["../acc_2/x.eml", "/etc/passwd", "..", "", ".x.eml", "x", "x.eml/..", "a" * 300 + ".eml", "x\x00.eml"]
)
async def test_no_name_leads_out_of_the_directory(tmp_path: Path, name: str) -> None:
    (tmp_path / "acc_2").mkdir()
    (tmp_path / "acc_2" / "x.eml").write_text("Subject: theirs\n\n")
    (tmp_path / "acc_1").mkdir()
    (tmp_path / "acc_1" / ".x.eml").write_text("Subject: half\n\n")
    assert await MailCatcher(tmp_path, utc_now).read("acc_1", name) is None


async def test_a_directory_that_cannot_be_written_is_tried_later(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    refused = await outcome(email_sender(MailCatcher(tmp_path / "file", utc_now), FROM)(envelope("ada@example.com")))
    assert isinstance(refused, TryLater)
    assert "Not a directory" in refused.detail


def test_a_server_goes_before_the_catcher(tmp_path: Path) -> None:
    assert isinstance(make_mailer(SmtpServer("x", security="none"), tmp_path, utc_now), SmtpMailer)
    assert isinstance(make_mailer(None, tmp_path, utc_now), MailCatcher)


# The page


@asynccontextmanager
async def gateway(database_url: str, **settings: Any) -> AsyncIterator[httpx.AsyncClient]:
    engine = create_engine(database_url, application_name="tests")
    values = Settings(_env_file=None, secret_key=SecretStr(SECRET), **settings)

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        yield
        await engine.dispose()

    app = FastAPI(lifespan=lifespan)
    app.state.settings, app.state.sessions = values, create_sessions(engine)
    install_security(app, values, app.state.sessions)
    install_error_handlers(app)
    app.add_middleware(GatewayMiddleware, log_pings=False)
    app.include_router(dev_mail.router)
    with serve(app) as url:
        async with httpx.AsyncClient(base_url=url) as client:
            yield client


async def test_the_page_shows_the_mail_of_ones_own_account(
    database_url: str, sessions: Sessions, tmp_path: Path
) -> None:
    ours, key = await make_account(sessions, "mail ours")
    theirs, their_key = await make_account(sessions, "mail theirs")
    await keep(tmp_path, ours, headline=f"First {NASTY}")
    await keep(tmp_path, ours, headline="Second")
    async with gateway(database_url, mail_dir=tmp_path) as client:
        page = await client.get("/dev/mail", params={"key": key})
        assert page.status_code == 200
        assert page.text.index("Second") < page.text.index("First")
        assert "<script>" not in page.text
        assert "default-src 'none'" in page.headers["Content-Security-Policy"]
        link = page.text.split('href="')[1].split('"')[0]
        mail = await client.get(link)
        assert mail.status_code == 200
        assert "ada@example.com" in mail.text
        assert 'sandbox="allow-popups allow-popups-to-escape-sandbox"' in mail.text
        assert 'srcdoc="&lt;base target=&quot;_blank&quot;&gt;&lt;!doctype html&gt;' in mail.text
        assert mail.headers["Cache-Control"] == "no-store"
        name = link.partition("?")[0]
        assert (await client.get(name, headers={"X-API-Key": key})).status_code == 200
        assert (await client.get(name, headers={"X-API-Key": their_key})).status_code == 404
        assert (await client.get(name)).status_code == 401
        assert "No mail yet" in (await client.get("/dev/mail", headers={"X-API-Key": their_key})).text
        for escape in ("..%2f..%2fsecret", f"..%2f{ours}%2f{name.rpartition('/')[2]}", "%2e%2e"):
            assert (await client.get(f"/dev/mail/{escape}", headers={"X-API-Key": their_key})).status_code == 404


async def test_web_addresses_in_the_text_are_links_and_nothing_else_is(
    database_url: str, sessions: Sessions, tmp_path: Path
) -> None:
    account_id, key = await make_account(sessions, "mail links")
    mail = EmailMessage()
    mail["Subject"] = "Links"
    mail.set_content(
        "Approve:\nhttp://localhost:8000/approvals/apr_1?token=a&intent=approve\n"
        '(see https://example.com/a.) <https://b.example/> "https://c.example/\'x"\n'
        'javascript:alert(1) ftp://d.example https:// <a href=https://e.example/>"><script>'
    )
    await MailCatcher(tmp_path, utc_now).send(account_id, mail)
    async with gateway(database_url, mail_dir=tmp_path) as client:
        page = await client.get("/dev/mail", params={"key": key})
        text = (await client.get(page.text.split('href="')[1].split('"')[0])).text
    text = text.partition("<pre>")[2].partition("</pre>")[0]
    assert re.findall("<[^/].*?>", text) == [
        f'<a href="{url}" target="_blank" rel="noreferrer noopener">'
        for url in (
            "http://localhost:8000/approvals/apr_1?token=a&amp;intent=approve",
            "https://example.com/a",
            "https://b.example/",
            "https://c.example/&#x27;x",
            "https://e.example/",
        )
    ]


@pytest.mark.parametrize(
    ("settings", "remedy"),
    [({}, "PINGPULSE_MAIL_DIR"), ({"smtp_host": "mail.example", "mail_dir": Path("mail")}, "PINGPULSE_SMTP_HOST")],
)
async def test_when_the_catcher_is_off_the_page_says_why(
    database_url: str, sessions: Sessions, settings: dict[str, Any], remedy: str
) -> None:
    _, key = await make_account(sessions, "mail nowhere")
    async with gateway(database_url, **settings) as client:
        for path in ("/dev/mail", "/dev/mail/x.eml"):
            answer = await client.get(path, headers={"X-API-Key": key})
            assert answer.status_code == 404
            assert answer.headers["Content-Type"] == "application/problem+json"
            assert remedy in answer.json()["detail"]
