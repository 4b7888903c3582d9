"""Where mail goes: to an SMTP server, or into files that can be looked at."""

import asyncio
import os
import re
import ssl
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from pathlib import Path
from typing import Final, Literal, Protocol

import aiosmtplib

from activities.senders.base import Receipt, TryLater, Undeliverable

MAX_KEPT: Final = 1000
"""Mails an account has in the catcher; the oldest make room."""

Security = Literal["starttls", "tls", "none"]


class Mailer(Protocol):
    async def send(self, account_id: str, mail: EmailMessage) -> Receipt:
        """Raises TryLater and Undeliverable."""
        ...


@dataclass(frozen=True)
class SmtpServer:
    """The operator's own server, which may be anywhere: addresses are not checked.

    `starttls` and `tls` insist on it. `ca_file` has the authorities to believe, in place of the system's.
    """

    host: str
    port: int = 587
    username: str | None = None
    password: str | None = field(default=None, repr=False)
    security: Security = "starttls"
    ca_file: Path | None = None
    timeout_seconds: float = 30


def make_mailer(smtp: SmtpServer | None, mail_dir: Path | None, now: Callable[[], datetime]) -> Mailer:
    """A server goes before the catcher. With neither, every mail is Undeliverable. Raises OSError for a bad CA file."""
    if smtp is not None:
        return SmtpMailer(smtp)
    return MailCatcher(mail_dir, now) if mail_dir is not None else NoMailer()


class NoMailer:
    async def send(self, account_id: str, mail: EmailMessage) -> Receipt:
        raise Undeliverable("No mail server is set: set PINGPULSE_SMTP_HOST.")


class SmtpMailer:
    """A connection a mail."""

    def __init__(self, server: SmtpServer) -> None:
        self._server = server
        self._tls = None if server.security == "none" else ssl.create_default_context(cafile=server.ca_file)

    async def send(self, account_id: str, mail: EmailMessage) -> Receipt:
        server = self._server
        client = aiosmtplib.SMTP(
            hostname=server.host,
            port=server.port,
            username=server.username,
            password=server.password,
            use_tls=server.security == "tls",
            # None would be content without it.
            start_tls=server.security == "starttls",
            tls_context=self._tls,
            timeout=server.timeout_seconds,
        )
        try:
            async with asyncio.timeout(server.timeout_seconds):
                await client.connect()
                _, answer = await client.send_message(mail)
            with suppress(aiosmtplib.SMTPException, OSError):
                # The mail is taken: whether goodbye is heard makes no difference.
                await client.quit(timeout=1)
        except aiosmtplib.SMTPAuthenticationError as error:
            # Nothing is wrong with the mail, and settings can be mended.
            raise TryLater(
                f"{server.host} refuses the login: {_said(error)} Check PINGPULSE_SMTP_USERNAME and _PASSWORD.",
                status_code=error.code,
            ) from None
        except aiosmtplib.SMTPSenderRefused as error:
            raise TryLater(
                f"{server.host} refuses the sender: {_said(error)} Check PINGPULSE_SMTP_FROM and _USERNAME.",
                status_code=error.code,
            ) from None
        except aiosmtplib.SMTPRecipientsRefused as error:
            # One recipient a mail.
            raise _judged(server.host, error.recipients[0]) from None
        except aiosmtplib.SMTPResponseException as error:
            raise _judged(server.host, error) from None
        except (aiosmtplib.SMTPException, TimeoutError, OSError) as error:
            reason = (str(error) or "no answer in time")[:300].rstrip(". ")
            remedy = "Check PINGPULSE_SMTP_HOST, _PORT and _SECURITY."
            raise TryLater(f"No mail through {server.host}:{server.port}: {reason}. {remedy}") from None
        finally:
            client.close()
        return Receipt(250, answer[:300])


def _said(error: aiosmtplib.SMTPResponseException) -> str:
    return " ".join(f"{error.code} {error.message}".split())[:300].rstrip(".") + "."


def _judged(host: str, error: aiosmtplib.SMTPResponseException) -> TryLater | Undeliverable:
    """As RFC 5321 has it: 5xx is for good."""
    detail = f"{host} refuses the mail: {_said(error)}"
    # 421 and the made-up codes of broken connections are no answers to the mail.
    if 500 <= error.code < 600:
        return Undeliverable(detail, status_code=error.code)
    return TryLater(detail, status_code=error.code)


_SAFE_NAME: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.\-]{0,199}")


@dataclass(frozen=True)
class KeptMail:
    """`name` is the name of its file; names sort by time."""

    name: str
    mail: EmailMessage


class MailCatcher:
    """Keeps mails as files, `<directory>/<account>/<time>-<message>.eml`, for its owner only."""

    def __init__(self, directory: Path, now: Callable[[], datetime]) -> None:
        self._directory = directory
        self._now = now

    async def send(self, account_id: str, mail: EmailMessage) -> Receipt:
        try:
            path = await asyncio.to_thread(self._keep, account_id, mail)
        except OSError as error:
            raise TryLater(f"The mail cannot be kept in {self._directory}: {error.strerror}.") from None
        return Receipt(detail=f"Kept as {path.name}.")

    async def newest(self, account_id: str, limit: int) -> list[KeptMail]:
        return await asyncio.to_thread(self._newest, account_id, limit)

    async def read(self, account_id: str, name: str) -> EmailMessage | None:
        """None if there is no such mail."""
        return await asyncio.to_thread(self._read, account_id, name)

    def _folder(self, account_id: str) -> Path:
        assert _SAFE_NAME.fullmatch(account_id), account_id
        return self._directory / account_id

    def _keep(self, account_id: str, mail: EmailMessage) -> Path:
        folder = self._folder(account_id)
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        suffix = re.sub(r"[^A-Za-z0-9_\-]", "", str(mail["Message-ID"]).partition("@")[0])[:100]
        path = folder / f"{self._now():%Y%m%dT%H%M%S.%f}-{suffix}.eml"
        draft = folder / f".{path.name}.{os.getpid()}"
        descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(mail.as_bytes(policy=policy.SMTP))
        draft.replace(path)
        for name in self._names(account_id)[MAX_KEPT:]:
            (folder / name).unlink(missing_ok=True)
        return path

    def _names(self, account_id: str) -> list[str]:
        """Newest first; without drafts, which begin with a dot."""
        with suppress(FileNotFoundError):
            names = os.listdir(self._folder(account_id))
            return sorted((name for name in names if name.endswith(".eml") and name[0] != "."), reverse=True)
        return []

    def _newest(self, account_id: str, limit: int) -> list[KeptMail]:
        mails = ((name, self._read(account_id, name)) for name in self._names(account_id)[:limit])
        return [KeptMail(name, mail) for name, mail in mails if mail is not None]

    def _read(self, account_id: str, name: str) -> EmailMessage | None:
        if not _SAFE_NAME.fullmatch(name) or not name.endswith(".eml"):
            return None
        try:
            content = (self._folder(account_id) / name).read_bytes()
        except FileNotFoundError:
            return None
        return BytesParser(EmailMessage, policy=policy.default).parsebytes(content)
