"""The address of a channel: whether it can be one, and how much of it is shown."""

import logging
import re
import warnings
from functools import cache
from typing import Any, Final

import httpx
from email_validator import SPECIAL_USE_DOMAIN_NAMES, EmailNotValidError, validate_email

from activities.outgoing import parse_url
from activities.senders.base import Undeliverable
from activities.senders.pagerduty import destination
from domain.channels import ChannelKind
from domain.errors import InvalidRequest

# A company's own mail server may well serve `.local`, `.test` or the machine itself. The library's list is there to be
# changed.
SPECIAL_USE_DOMAIN_NAMES.clear()

MAX_LENGTH: Final = 2048
_ROUTING_KEY: Final = re.compile(r"[A-Za-z0-9_\-]{20,64}")
_SHOWN: Final = 4
_SHOWABLE: Final = 12
"""Of anything shorter, four characters would be too much."""


def address_field(kind: ChannelKind) -> str:
    """What the address of this kind is called in a request."""
    return "address" if kind in (ChannelKind.EMAIL, ChannelKind.PAGERDUTY) else "url"


def check_address(kind: ChannelKind, address: str) -> str:
    """The address as it is to be kept. Raises InvalidRequest with what is wrong, never with the address itself."""
    address = address.strip()
    problem = _problem(kind, address)
    if problem is not None:
        raise InvalidRequest.of_field(address_field(kind), problem)
    return address


def _problem(kind: ChannelKind, address: str) -> str | None:
    if not address or len(address) > MAX_LENGTH:
        return f"must have 1 to {MAX_LENGTH} characters"
    if not address.isprintable() or " " in address:
        return "must not contain spaces or control characters"
    return _PROBLEMS[kind](address)


def _email_problem(address: str) -> str | None:
    try:
        # Nor need the world reach them.
        validate_email(address, check_deliverability=False, globally_deliverable=False)
    except EmailNotValidError:
        return "must be one e-mail address, such as ada@example.com"
    return None


def _url_problem(address: str) -> str | None:
    try:
        parse_url(address)
    except Undeliverable:
        return "must be an http or https URL"
    return None


def _pagerduty_problem(address: str) -> str | None:
    try:
        _, routing_key = destination(address)
    except Undeliverable as error:
        return error.detail
    if not _ROUTING_KEY.fullmatch(routing_key):
        return (
            "must be the integration key (routing key) of an Events API v2 integration, or a URL with it, such as "
            "https://events.eu.pagerduty.com/v2/enqueue?routing_key=…"
        )
    return None


def apprise_problem(address: str) -> str | None:
    """What is wrong with an apprise URL, or None. Does not touch the network; the first call takes half a second."""
    schema = address.partition("://")[0].lower()
    plugins = _apprise_plugins()
    if not _SCHEMA.fullmatch(schema) or schema not in plugins:
        return "must be a URL of apprise, such as tgram://bot-token/chat-id; see https://github.com/caronc/apprise/wiki"
    # A service that can do without any address is this machine itself: its desktop, its syslog, its lamp.
    if any(str(template).rstrip("/") == "{schema}:" for template in plugins[schema].templates):
        return f"{schema}:// acts on the machine that PingPulse runs on, not on a service"
    if not plugins[schema].enabled:
        return f"{schema}:// needs a library that is not installed"
    import apprise

    if apprise.Apprise.instantiate(address) is None:
        return f"is not a complete {schema}:// URL; see https://github.com/caronc/apprise/wiki"
    return None


@cache
def _apprise_plugins() -> Any:
    """Services by schema. Loaded late: 20 MB that most processes never need."""
    with warnings.catch_warnings():
        # It looks whether a module of old Pythons is there.
        warnings.simplefilter("ignore", DeprecationWarning)
        from apprise.manager_plugins import NotificationManager

        plugins: Any = NotificationManager()  # type: ignore[no-untyped-call]
        plugins.load_modules()
    # What is wrong with an address is for its owner, not for our log.
    logging.getLogger("apprise").setLevel(logging.CRITICAL)
    return plugins


_SCHEMA: Final = re.compile(r"[a-z0-9]+")
_PROBLEMS: Final = {
    ChannelKind.EMAIL: _email_problem,
    ChannelKind.SLACK: _url_problem,
    ChannelKind.DISCORD: _url_problem,
    ChannelKind.PAGERDUTY: _pagerduty_problem,
    ChannelKind.WEBHOOK: _url_problem,
    ChannelKind.APPRISE: apprise_problem,
}


def masked(kind: ChannelKind, address: str) -> str:
    """What is shown: an e-mail address whole, of a URL the host, and four characters of what may be a secret."""
    if kind is ChannelKind.EMAIL:
        return address
    if kind is ChannelKind.APPRISE:
        # Here even the place of the host may hold a token.
        schema, _, rest = address.partition("://")
        return f"{schema}://{_tail(rest)}"
    if "://" not in address:
        return _tail(address)
    try:
        url = httpx.URL(address)
    except httpx.InvalidURL:
        return "…"
    shown = f"{url.scheme}://{url.netloc.decode('ascii')}"
    secret = url.raw_path.decode("ascii").strip("/")
    return f"{shown}/{_tail(secret)}" if secret else shown


def _tail(secret: str) -> str:
    return "…" + (secret[-_SHOWN:] if len(secret) >= _SHOWABLE else "")
