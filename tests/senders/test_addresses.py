"""Addresses of channels: which are taken, and what is shown of them."""

import pytest

from activities.senders.addresses import check_address, masked
from domain.channels import ChannelKind
from domain.errors import InvalidRequest

KEY = "0123456789abcdef0123456789abcdef"
EU = f"https://events.eu.pagerduty.com/v2/enqueue?routing_key={KEY}"


@pytest.mark.parametrize(
    ("kind", "address"),
    [
        ("email", "ada@example.com"), ("email", "ops@mail.internal"),
        ("slack", "https://hooks.slack.com/services/T0/B0/x"), ("discord", "https://discord.com/api/webhooks/1/x"),
        ("webhook", "http://127.0.0.1:9/hook"), ("webhook", "https://ada:pass@example.com/?a=b"),
        ("pagerduty", KEY), ("pagerduty", EU),
        ("apprise", "json://example.com/hook"), ("apprise", "tgram://123456789:abcdefghijklmnopqrstuvwxyz012345678/12315544"),
    ],
)  # fmt: skip
def test_these_are_taken(kind: str, address: str) -> None:
    assert check_address(ChannelKind(kind), f" {address}\n") == address


@pytest.mark.parametrize(
    ("kind", "address", "field"),
    [
        ("email", "", "address"), ("email", "ada", "address"), ("email", "a@x.de,b@x.de", "address"),
        ("email", "Ada <ada@x.de>", "address"), ("email", "ada@x.de\r\nBcc: b@x.de", "address"),
        ("slack", "hooks.slack.com/services", "url"), ("discord", "ftp://discord.com/x", "url"),
        ("webhook", "https://", "url"), ("webhook", "https://x.de/a b", "url"), ("webhook", "mailto:a@x.de", "url"),
        ("webhook", "https://x.de/" + "a" * 2048, "url"), ("webhook", "http://[::1", "url"),
        ("pagerduty", "short", "address"), ("pagerduty", "https://events.eu.pagerduty.com/v2/enqueue", "address"),
        ("pagerduty", "https://events.eu.pagerduty.com/v2/enqueue?routing_key=x", "address"),
        ("apprise", "nonsense://x", "url"), ("apprise", "x", "url"), ("apprise", "tgram://x", "url"),
        ("apprise", "syslog://", "url"), ("apprise", "dbus://", "url"), ("apprise", "windows://", "url"),
        ("apprise", "gnome://", "url"), ("apprise", "macosx://", "url"), ("apprise", "glib://", "url"),
        ("apprise", "blink1://", "url"), ("apprise", "file:///etc/passwd", "url"),
    ],
)  # fmt: skip
def test_these_are_not(kind: str, address: str, field: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_address(ChannelKind(kind), address)
    assert [error.field for error in caught.value.fields] == [field]


def test_what_is_wrong_is_said_without_the_secret() -> None:
    with pytest.raises(InvalidRequest) as caught:
        check_address(ChannelKind.PAGERDUTY, "s3cret key")
    assert "s3cret" not in caught.value.message


@pytest.mark.parametrize(
    ("kind", "address", "shown"),
    [
        ("email", "ada@example.com", "ada@example.com"),
        ("slack", "https://hooks.slack.com/services/T0/B0/abcdefgh", "https://hooks.slack.com/…efgh"),
        ("discord", "https://discord.com/api/webhooks/1/abcdefgh", "https://discord.com/…efgh"),
        ("webhook", "https://ada:pass@example.com:8443/hook?token=abcdefgh", "https://example.com:8443/…efgh"),
        ("webhook", "https://example.com/short", "https://example.com/…"),
        ("webhook", "https://example.com", "https://example.com"),
        ("pagerduty", KEY, "…cdef"),
        ("pagerduty", EU, "https://events.eu.pagerduty.com/…cdef"),
        ("apprise", "tgram://123456789:abcdefgh/987654", "tgram://…7654"),
        ("apprise", "pover://u@t", "pover://…"),
    ],
)
def test_of_an_address_no_more_is_shown_than_tells_it_apart(kind: str, address: str, shown: str) -> None:
    assert masked(ChannelKind(kind), address) == shown
