"""What a sender is given and what it may answer."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from domain.messages import MessageText, ToldAlert


@dataclass(frozen=True)
class Envelope:
    """A message on its way. `address` and `signing_secrets` are in plain text: they belong in no log.

    `message_id` is the same at every attempt, so that receivers can tell a repetition. `base_url` is where people
    find PingPulse.
    """

    message_id: str
    account_id: str
    channel_name: str
    address: str
    text: MessageText
    alerts: tuple[ToldAlert, ...]
    created_at: datetime
    base_url: str
    signing_secrets: tuple[str, ...] = ()
    is_test: bool = False

    def url_of(self, path: str) -> str:
        return self.base_url + path


@dataclass(frozen=True)
class Receipt:
    """It was taken. `detail` is what the receiver said, shortened."""

    status_code: int | None = None
    detail: str | None = None


class TryLater(Exception):
    """It may work later; not before `retry_after` seconds, if the receiver said so."""

    def __init__(self, detail: str, *, status_code: int | None = None, retry_after: float | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status_code = status_code
        self.retry_after = retry_after


class Undeliverable(Exception):
    """Trying again would not help."""

    def __init__(self, detail: str, *, status_code: int | None = None) -> None:
        super().__init__(detail)
        self.detail = detail
        self.status_code = status_code


class NotNeeded(Exception):
    """Meanwhile nobody needs it any more; `detail` says why. It is neither sent nor did it fail."""

    def __init__(self, detail: str) -> None:
        super().__init__(detail)
        self.detail = detail


Sender = Callable[[Envelope], Awaitable[Receipt]]
"""Sends, and raises TryLater or Undeliverable."""
