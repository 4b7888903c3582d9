"""Services by apprise: in a process of its own, behind the same fence."""

import asyncio
import sys
import time

import psutil
import pytest

from activities.senders.apprise import apprise_sender
from activities.senders.base import Receipt, TryLater, Undeliverable
from domain.alerts import Severity
from tests.senders.builders import alert, envelope
from tests.senders.conftest import LOOPBACK, outcome
from tests.support.receivers import Answer, Authority, HttpReceiver, http_receiver
from tests.support.waiting import until


def address(receiver: HttpReceiver, scheme: str = "json", host: str = "127.0.0.1", query: str = "") -> str:
    return f"{scheme}://{host}:{receiver.port}/hook{query}"


async def test_a_service_is_told(receiver: HttpReceiver) -> None:
    assert await apprise_sender(LOOPBACK)(envelope(address(receiver))) == Receipt()
    [request] = receiver.received
    assert request.json["title"] == "backup 1 is down"
    assert request.json["message"] == "backup 1 is down: No ping came."
    assert request.json["type"] == "failure"


async def test_tls_is_verified_behind_the_fence_too(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    async with http_receiver(authority.server_context("localhost")) as receiver:
        told = envelope(address(receiver, scheme="jsons", host="localhost"))
        assert isinstance(await outcome(apprise_sender(LOOPBACK)(told)), TryLater)
        assert receiver.received == []
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority.ca_file))
        assert await apprise_sender(LOOPBACK)(told) == Receipt()
        assert len(receiver.received) == 1


async def test_good_news_is_a_success(receiver: HttpReceiver) -> None:
    good = alert(resolves=True, severity=Severity.INFO)
    await apprise_sender(LOOPBACK)(envelope(address(receiver), good))
    assert receiver.received[0].json["type"] == "success"


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "2130706433"])
async def test_a_private_address_is_refused(receiver: HttpReceiver, host: str) -> None:
    refused = await outcome(apprise_sender(())(envelope(address(receiver, host=host))))
    assert isinstance(refused, Undeliverable)
    assert "PINGPULSE_OUTGOING_ALLOW" in refused.detail
    assert receiver.received == []


@pytest.mark.parametrize(
    "url", ["rsyslog://127.0.0.1:{port}", "irc://127.0.0.1:{port}/#ops", "mailtos://a:b@127.0.0.1:{port}"]
)
async def test_no_library_gets_around_the_fence(receiver: HttpReceiver, url: str) -> None:
    refused = await outcome(apprise_sender(())(envelope(url.format(port=receiver.port))))
    assert isinstance(refused, Undeliverable), refused
    assert receiver.received == []


async def test_a_redirect_leads_nowhere(receiver: HttpReceiver) -> None:
    receiver.answers = [Answer(302, {"Location": "http://169.254.169.254/latest/meta-data"})]
    for query in ("", "?redirect=yes"):
        assert isinstance(await outcome(apprise_sender(LOOPBACK)(envelope(address(receiver, query=query)))), Exception)


async def test_no_proxy_of_ours_is_used(receiver: HttpReceiver, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    assert await apprise_sender(LOOPBACK)(envelope(address(receiver))) == Receipt()


@pytest.mark.parametrize(
    "attempt",
    [
        "open('/etc/passwd')",
        "open('/proc/self/environ')",
        "open('/tmp/new', 'w')",
        "os.open('/etc/hostname', os.O_RDONLY)",
        "os.system('true')",
        "subprocess.run(['true'])",
        "os.posix_spawn('/bin/true', ['true'], {})",
        "socket.create_connection(('127.0.0.1', PORT))",
        "socket.create_connection(('localhost', PORT))",
        "socket.socket().connect(('127.0.0.1', PORT))",
        "socket.socket().connect(('localhost', PORT))",
        "socket.socket().connect_ex(('127.0.0.1', PORT))",
        "socket.socket(socket.AF_INET6).connect(('::ffff:127.0.0.1', PORT))",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendto(b'x', ('127.0.0.1', PORT))",
        "socket.socket(socket.AF_INET, socket.SOCK_DGRAM).sendmsg([b'x'], [], 0, ('127.0.0.1', PORT))",
        "socket.socket(socket.AF_UNIX).connect('/dev/log')",
        "asyncio.run(asyncio.open_connection('127.0.0.1', PORT))",
        "urllib.request.urlopen('http://127.0.0.1:PORT/')",
    ],
)
async def test_the_fence_stops_whatever_is_tried(receiver: HttpReceiver, attempt: str) -> None:
    program = f"""
import asyncio, os, socket, subprocess, urllib.request
from activities.senders.apprise_process import Fence, Refused
from domain.networks import Reach
fence = Fence(Reach())
fence.raise_up()
try:
    {attempt.replace("PORT", str(receiver.port))}
except OSError as error:
    reason = getattr(error, "reason", error)
    print("refused" if isinstance(reason, Refused) else repr(error))
"""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-P", "-c", program, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT
    )
    output, _ = await process.communicate()
    assert output.decode() == "refused\n"
    assert receiver.received == []


@pytest.mark.parametrize(
    ("status", "kind"), [(400, Undeliverable), (404, Undeliverable), (429, TryLater), (500, TryLater), (503, TryLater)]
)
async def test_a_refusal_is_told_with_its_status(receiver: HttpReceiver, status: int, kind: type) -> None:
    receiver.answers = [Answer(status)]
    answered = await outcome(apprise_sender(LOOPBACK)(envelope(address(receiver))))
    assert isinstance(answered, kind)
    assert not isinstance(answered, Receipt)
    assert answered.status_code == status


async def test_a_name_that_does_not_exist_is_tried_later() -> None:
    answered = await outcome(apprise_sender(())(envelope("json://nowhere.invalid/hook")))
    assert isinstance(answered, TryLater)
    assert answered.detail == "nowhere.invalid cannot be resolved."


@pytest.mark.parametrize(
    "url", ["syslog://", "dbus://", "gnome://", "windows://", "macosx://", "nonsense://x", "tgram://"]
)
async def test_what_is_no_service_is_refused(url: str) -> None:
    assert isinstance(await outcome(apprise_sender(LOOPBACK)(envelope(url))), Undeliverable)


def processes() -> list[psutil.Process]:
    return [child for child in psutil.Process().children() if "activities.senders.apprise_process" in child.cmdline()]


async def test_one_that_hangs_is_killed(receiver: HttpReceiver) -> None:
    receiver.answers = [Answer(hangs=True)]
    begun = time.monotonic()
    answered = await outcome(apprise_sender(LOOPBACK, timeout_seconds=2)(envelope(address(receiver))))
    assert isinstance(answered, TryLater)
    assert time.monotonic() - begun < 8
    assert processes() == []


async def test_one_that_is_given_up_is_killed(receiver: HttpReceiver) -> None:
    receiver.answers = [Answer(hangs=True)]
    sending = asyncio.ensure_future(apprise_sender(LOOPBACK)(envelope(address(receiver))))
    await until(lambda: receiver.received)
    sending.cancel()
    with pytest.raises(asyncio.CancelledError):
        await sending
    assert processes() == []


async def test_an_answer_without_an_end_is_given_up(receiver: HttpReceiver) -> None:
    receiver.answers = [Answer(further_bytes=4 << 30)]
    answered = await outcome(apprise_sender(LOOPBACK)(envelope(address(receiver))))
    assert isinstance(answered, TryLater)
    assert answered.detail == "The service's answer is too large."
    assert processes() == []
