"""Requests to addresses that users have chosen."""

import asyncio
import socket
import struct
from collections.abc import Sequence
from datetime import UTC, datetime

import pytest

from activities.outgoing import Outgoing, Timeouts, retry_after_seconds
from activities.senders.base import Receipt, TryLater, Undeliverable
from config.clock import utc_now
from domain.networks import parse_networks
from tests.senders.builders import NOON
from tests.senders.conftest import LOOPBACK, outcome
from tests.support.receivers import Answer, Authority, HttpReceiver, http_receiver


class Names:
    """A name server of one's own; counts how often it was asked."""

    def __init__(self, **hosts: Sequence[str]) -> None:
        self.hosts = {name.replace("_", "."): addresses for name, addresses in hosts.items()}
        self.asked: list[str] = []

    async def resolve(self, host: str, port: int) -> Sequence[str]:
        self.asked.append(host)
        if host not in self.hosts:
            raise OSError(f"{host}: no such name")
        return self.hosts[host]


async def post(outgoing: Outgoing, url: str) -> Receipt | TryLater | Undeliverable:
    return await outcome(outgoing.post(url, b"{}", {"Content-Type": "application/json"}))


async def test_what_was_sent_arrives(outgoing: Outgoing, receiver: HttpReceiver) -> None:
    assert await post(outgoing, receiver.url("/hook?a=b%20c")) == Receipt(200, "ok")
    [request] = receiver.received
    assert (request.method, request.target, request.body) == ("POST", "/hook?a=b%20c", b"{}")
    assert request.headers["host"] == f"127.0.0.1:{receiver.port}"
    assert request.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1", "127.1", "2130706433", "0x7f000001", "0x7f.1", "017700000001", "0", "localhost",
        "LOCALHOST", "[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[64:ff9b::7f00:1]",
        "[2002:7f00:1::]", "169.254.169.254", "[fd00:ec2::254]", "10.0.0.1", "[fe80::1]", "1.1.1.1@127.0.0.1",
        "example.com\\@127.0.0.1", "user:password@127.0.0.1",
    ],
)  # fmt: skip
async def test_no_spelling_of_a_private_address_is_reached(receiver: HttpReceiver, host: str) -> None:
    outgoing = Outgoing((), utc_now)
    refused = await post(outgoing, f"http://{host}:{receiver.port}/latest/meta-data")
    assert isinstance(refused, Undeliverable)
    assert "PINGPULSE_OUTGOING_ALLOW" in refused.detail
    assert "password" not in refused.detail
    assert receiver.received == []
    await outgoing.aclose()


@pytest.mark.parametrize(
    "addresses",
    [
        ["127.0.0.1"],
        ["10.1.2.3"],
        ["1.1.1.1", "127.0.0.1"],
        ["2606:4700::1111", "::ffff:127.0.0.1"],
        ["169.254.169.254"],
    ],
)
async def test_a_name_is_refused_if_any_of_its_addresses_is_private(
    receiver: HttpReceiver, addresses: list[str]
) -> None:
    names = Names(rebind_example=addresses)
    outgoing = Outgoing((), utc_now, resolve=names.resolve)
    refused = await post(outgoing, receiver.url(host="rebind.example"))
    assert isinstance(refused, Undeliverable)
    assert receiver.received == []
    await outgoing.aclose()


async def test_a_name_is_resolved_once_and_its_address_pinned(receiver: HttpReceiver) -> None:
    names = Names(hooks_example=["127.0.0.1"])
    outgoing = Outgoing(LOOPBACK, utc_now, resolve=names.resolve)
    # There is no such name anywhere: only who goes by the address given here can get through.
    assert await post(outgoing, receiver.url(host="hooks.example")) == Receipt(200, "ok")
    assert names.asked == ["hooks.example"]
    assert receiver.received[0].headers["host"] == f"hooks.example:{receiver.port}"
    # A connection of before is no way around the check.
    names.hosts["hooks.example"] = ["10.0.0.1"]
    assert isinstance(await post(outgoing, receiver.url(host="hooks.example")), Undeliverable)
    await outgoing.aclose()


async def test_the_next_address_is_tried_when_one_refuses_connections(receiver: HttpReceiver) -> None:
    names = Names(hooks_example=["::1", "127.0.0.9", "127.0.0.1"])
    outgoing = Outgoing(LOOPBACK, utc_now, resolve=names.resolve)
    assert await post(outgoing, receiver.url(host="hooks.example")) == Receipt(200, "ok")
    await outgoing.aclose()


async def test_tls_asks_for_the_name_and_verifies_it(authority: Authority) -> None:
    names = Names(hooks_example=["127.0.0.1"], other_example=["127.0.0.1"])
    outgoing = Outgoing(LOOPBACK, utc_now, resolve=names.resolve, tls=authority.client_context())
    async with http_receiver(authority.server_context("hooks.example")) as receiver:
        assert await post(outgoing, receiver.url(host="hooks.example")) == Receipt(200, "ok")
        assert receiver.names == ["hooks.example"]
        # The same address under another name: a connection that was verified for the first must not serve it.
        refused = await post(outgoing, receiver.url(host="other.example"))
        assert isinstance(refused, TryLater)
        assert "CERTIFICATE_VERIFY_FAILED" in refused.detail
        assert len(receiver.received) == 1
    await outgoing.aclose()


async def test_a_certificate_of_unknown_origin_is_not_believed(authority: Authority) -> None:
    names = Names(hooks_example=["127.0.0.1"])
    outgoing = Outgoing(LOOPBACK, utc_now, resolve=names.resolve)
    async with http_receiver(authority.server_context("hooks.example")) as receiver:
        assert isinstance(await post(outgoing, receiver.url(host="hooks.example")), TryLater)
        assert receiver.received == []
    await outgoing.aclose()


async def test_a_login_in_the_address_is_sent_and_told_nobody(
    outgoing: Outgoing, receiver: HttpReceiver, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    receiver.answers = [Answer(403)]
    refused = await post(outgoing, receiver.url("/T0/s3cret").replace("://", "://ada:pass%20word@"))
    assert receiver.received[0].headers["authorization"] == "Basic YWRhOnBhc3Mgd29yZA=="
    assert isinstance(refused, Undeliverable)
    for text in (refused.detail, caplog.text):
        assert "s3cret" not in text
        assert "pass" not in text
        assert "YWRh" not in text


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "ALL_PROXY"])
async def test_no_proxy_of_the_environment_is_used(
    receiver: HttpReceiver, monkeypatch: pytest.MonkeyPatch, variable: str
) -> None:
    monkeypatch.setenv(variable, "http://127.0.0.1:1")
    outgoing = Outgoing(LOOPBACK, utc_now)
    assert await post(outgoing, receiver.url()) == Receipt(200, "ok")
    await outgoing.aclose()


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(outgoing: Outgoing, receiver: HttpReceiver, status: int) -> None:
    receiver.answers = [Answer(status, {"Location": receiver.url("/elsewhere")}), Answer()]
    refused = await post(outgoing, receiver.url())
    assert isinstance(refused, Undeliverable)
    assert refused.status_code == status
    assert "redirect" in refused.detail
    assert len(receiver.received) == 1


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (200, Receipt), (201, Receipt), (202, Receipt), (204, Receipt),
        (400, Undeliverable), (401, Undeliverable), (403, Undeliverable), (404, Undeliverable), (410, Undeliverable),
        (408, TryLater), (429, TryLater), (500, TryLater), (502, TryLater), (503, TryLater), (599, TryLater),
    ],
)  # fmt: skip
async def test_the_status_decides_whether_to_try_again(
    outgoing: Outgoing, receiver: HttpReceiver, status: int, kind: type
) -> None:
    receiver.answers = [Answer(status, body=b"" if status == 204 else b"because\x00 of\nthat")]
    answered = await post(outgoing, receiver.url())
    assert isinstance(answered, kind)
    assert answered.status_code == status
    if status != 204:
        assert (answered.detail or "").endswith("because of that")


@pytest.mark.parametrize("status", [408, 429, 500, 503])
async def test_retry_after_is_honoured(outgoing: Outgoing, receiver: HttpReceiver, status: int) -> None:
    receiver.answers = [Answer(status, {"Retry-After": "120"})]
    answered = await post(outgoing, receiver.url())
    assert isinstance(answered, TryLater)
    assert answered.retry_after == 120


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("0", 0), ("30", 30), ("1.5", 1.5), ("-3", 0), ("Mon, 04 May 2026 12:01:30 GMT", 90),
        ("Mon, 04 May 2026 11:00:00 GMT", 0), ("Monday, 04-May-26 12:00:10 GMT", 10), ("soon", None), ("nan", None),
        ("inf", None), ("", None), (None, None),
    ],
)  # fmt: skip
def test_retry_after_is_seconds_or_a_date(value: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(value, NOON) == seconds


async def test_who_does_not_answer_is_tried_later(outgoing: Outgoing, receiver: HttpReceiver) -> None:
    receiver.answers = [Answer(hangs=True)]
    quick = Outgoing(LOOPBACK, utc_now, timeouts=Timeouts(connect=1, total=0.3))
    answered = await post(quick, receiver.url())
    assert isinstance(answered, TryLater)
    assert answered.detail == "127.0.0.1 did not answer within 0.3 seconds."
    await quick.aclose()


async def test_an_answer_that_stalls_counts_by_its_status(outgoing: Outgoing, receiver: HttpReceiver) -> None:
    receiver.answers = [Answer(200, body=b"half of this", stalls=True)]
    assert await post(outgoing, receiver.url()) == Receipt(200, "half o")


async def test_of_a_long_answer_the_beginning_is_read(outgoing: Outgoing, receiver: HttpReceiver) -> None:
    receiver.answers = [Answer(200, body=b"x" * 5_000_000)]
    assert await post(outgoing, receiver.url()) == Receipt(200, "x" * 300)


async def test_broken_connections_are_tried_later(outgoing: Outgoing, receiver: HttpReceiver) -> None:
    receiver.answers = [Answer(drops=True)]
    dropped = await post(outgoing, receiver.url())
    assert isinstance(dropped, TryLater)
    assert dropped.detail.startswith("127.0.0.1 broke off: Server disconnected")
    nobody = await post(outgoing, "http://127.0.0.1:1/")
    assert isinstance(nobody, TryLater)
    assert nobody.detail.startswith("No connection to 127.0.0.1: ")


async def test_an_error_without_a_text_is_told_by_its_name(outgoing: Outgoing) -> None:
    async def reset(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = writer.get_extra_info("socket")
        # Closed like that, the connection is reset, for which httpx has no words.
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.close()

    async with await asyncio.start_server(reset, "127.0.0.1", 0) as server:
        broken = await post(outgoing, f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/")
    assert isinstance(broken, TryLater)
    assert broken.detail == "127.0.0.1 broke off: ReadError."


async def test_a_name_that_does_not_exist_is_tried_later() -> None:
    outgoing = Outgoing(parse_networks("127.0.0.0/8"), utc_now, resolve=Names().resolve)
    answered = await post(outgoing, "http://nowhere.example/")
    assert isinstance(answered, TryLater)
    assert "nowhere.example cannot be resolved" in answered.detail
    await outgoing.aclose()


@pytest.mark.parametrize(
    "url",
    [
        "ftp://1.1.1.1/",
        "file:///etc/passwd",
        "gopher://1.1.1.1",
        "//1.1.1.1",
        "http://",
        "x",
        "http://a..b/",
        "http://0177.0.0.1/",
        "http://[::1",
        "http://1.1.1.1:0/",
        "http://1.1.1.1:-1/",
        "http://1.1.1.1:65536/",
    ],
)
async def test_what_is_no_web_address_is_refused(outgoing: Outgoing, url: str) -> None:
    assert isinstance(await post(outgoing, url), Undeliverable)


def test_a_date_without_a_zone_is_utc() -> None:
    assert retry_after_seconds("Mon, 04 May 2026 12:00:05 -0000", datetime(2026, 5, 4, 12, tzinfo=UTC)) == 5
