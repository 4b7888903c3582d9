"""HTTP requests to addresses that users have chosen: they may reach the public internet and nothing else."""

import asyncio
import socket
import ssl
from base64 import b64encode
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from math import isfinite
from typing import Final

import httpx

from activities.senders.base import Receipt, TryLater, Undeliverable
from domain.networks import Network, Reach

MAX_ANSWER_BYTES: Final = 4096
MAX_DETAIL: Final = 300
REFUSAL: Final = (
    "{host} is at {address}, which is not a public address. If it is meant, whoever runs PingPulse may allow it with "
    "PINGPULSE_OUTGOING_ALLOW."
)

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]
"""The addresses of a host, best first. Raises OSError when there are none."""


@dataclass(frozen=True)
class Timeouts:
    """In seconds. `answer` is for reading what was answered, once it is known how the request ended."""

    connect: float = 5
    total: float = 15
    answer: float = 2


async def system_resolve(host: str, port: int) -> Sequence[str]:
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(address[0]) for *_, address in found))


class Outgoing:
    """Posts to URLs. Names are resolved once, every address is checked, and the connection goes to one of those.

    No connection is used twice: a pool goes by address, and would hand a connection that was verified for one name
    to another name at the same address. It speaks to the transport itself, because a client logs whole URLs, and
    the URL of a webhook is a secret.
    """

    def __init__(
        self,
        allowed_networks: Sequence[Network],
        now: Callable[[], datetime],
        *,
        resolve: Resolve = system_resolve,
        tls: ssl.SSLContext | None = None,
        timeouts: Timeouts = Timeouts(),
    ) -> None:
        self.reach: Final = Reach(tuple(allowed_networks))
        self._now = now
        self._resolve = resolve
        self._timeouts = timeouts
        self._transport = httpx.AsyncHTTPTransport(
            verify=tls or httpx.create_ssl_context(),
            trust_env=False,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=0),
        )

    async def aclose(self) -> None:
        await self._transport.aclose()

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> Receipt:
        """Posts once. Raises TryLater for what may pass, and Undeliverable for what will not."""
        target = parse_url(url)
        host = target.raw_host.decode("ascii")
        try:
            async with asyncio.timeout(self._timeouts.total):
                addresses = await self._addresses(host, target.port or _DEFAULT_PORTS[target.scheme])
                response = await self._send(target, host, addresses, body, headers)
        except TimeoutError:
            raise TryLater(f"{host} did not answer within {self._timeouts.total:g} seconds.") from None
        return self._judge(response, host, await self._answer_of(response))

    async def _addresses(self, host: str, port: int) -> Sequence[str]:
        try:
            addresses = await self._resolve(host, port)
        except UnicodeError:
            raise Undeliverable(f"{host[:100]} is not the name of a host.") from None
        except OSError as error:
            raise TryLater(f"{host} cannot be resolved: {error.strerror or error}.") from None
        if not addresses:
            raise TryLater(f"{host} has no address.")
        for address in addresses:
            if not self.reach.admits(address):
                raise Undeliverable(REFUSAL.format(host=host, address=address))
        return addresses

    async def _send(
        self, target: httpx.URL, host: str, addresses: Sequence[str], body: bytes, headers: Mapping[str, str]
    ) -> httpx.Response:
        """The answer of the first address that a connection can be made to; its body is still to be read."""
        sent = {
            "Host": target.netloc.decode("ascii"),
            "User-Agent": "PingPulse",
            "Accept-Encoding": "identity",
            **_authorization(target),
            **headers,
        }
        failure = ""
        for address in addresses:
            request = httpx.Request(
                "POST",
                httpx.URL(scheme=target.scheme, host=address, port=target.port, raw_path=target.raw_path),
                content=body,
                headers=sent,
                extensions={
                    "timeout": httpx.Timeout(self._timeouts.total, connect=self._timeouts.connect).as_dict(),
                    # What the server is asked for and what its certificate must say; the URL has the address only.
                    "sni_hostname": host.rstrip("."),
                },
            )
            try:
                return await self._transport.handle_async_request(request)
            except (httpx.ConnectError, httpx.ConnectTimeout) as error:
                failure = f"No connection to {host}: {str(error) or 'it does not answer'}."
            except httpx.TransportError as error:
                raise TryLater(f"{host} broke off: {str(error) or type(error).__name__}.") from None
        raise TryLater(failure)

    async def _answer_of(self, response: httpx.Response) -> str:
        """The beginning of the body. How the request ended is known already, so what goes wrong here is no failure."""
        answer = bytearray()
        try:
            with suppress(TimeoutError, httpx.TransportError):
                async with asyncio.timeout(self._timeouts.answer):
                    async for chunk in response.aiter_raw():
                        answer += chunk
                        if len(answer) >= MAX_ANSWER_BYTES:
                            break
        finally:
            await response.aclose()
        text = answer[:MAX_ANSWER_BYTES].decode("utf-8", errors="replace")
        printable = "".join(character if character.isprintable() else " " for character in text)
        return " ".join(printable.split())[:MAX_DETAIL]

    def _judge(self, response: httpx.Response, host: str, answer: str) -> Receipt:
        status = response.status_code
        if 200 <= status < 300:
            return Receipt(status, answer or None)
        detail = f"{host} answered {status}" + (f": {answer}" if answer else ".")
        if status in (408, 429) or status >= 500:
            retry_after = retry_after_seconds(response.headers.get("Retry-After"), self._now())
            raise TryLater(detail, status_code=status, retry_after=retry_after)
        if 300 <= status < 400:
            detail = f"{host} answered {status}, a redirect, which is not followed: set the address it leads to."
        raise Undeliverable(detail, status_code=status)


_DEFAULT_PORTS: Final = {"http": 80, "https": 443}


def parse_url(url: str) -> httpx.URL:
    """Raises Undeliverable for what is not an http or https URL with a host."""
    try:
        target = httpx.URL(url)
    except httpx.InvalidURL:
        raise Undeliverable("The address is not a URL.") from None
    if target.scheme not in _DEFAULT_PORTS or not target.raw_host:
        raise Undeliverable("The address is not an http or https URL.")
    # httpx takes any number for a port.
    if target.port is not None and not 1 <= target.port <= 65535:
        raise Undeliverable("The address has a port that cannot be; they go from 1 to 65535.")
    return target


def _authorization(target: httpx.URL) -> dict[str, str]:
    if not target.userinfo:
        return {}
    credentials = f"{target.username}:{target.password}".encode()
    return {"Authorization": f"Basic {b64encode(credentials).decode('ascii')}"}


def retry_after_seconds(value: str | None, now: datetime) -> float | None:
    """A Retry-After header, which is a number of seconds or a date, in seconds from `now`; None if it is neither."""
    if value is None:
        return None
    with suppress(ValueError):
        seconds = float(value)
        return max(seconds, 0.0) if isfinite(seconds) else None
    with suppress(ValueError, TypeError, OverflowError):
        at = parsedate_to_datetime(value)
        return max((at.replace(tzinfo=at.tzinfo or UTC) - now).total_seconds(), 0.0)
    return None
