"""The only two places that talk to the network: one waits, one awaits."""

from __future__ import annotations

import asyncio
import encodings.idna  # noqa: F401  (see _building)
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeVar
from weakref import WeakKeyDictionary, WeakSet

import httpx

from pingpulse._retries import Attempts, Policy
from pingpulse._settings import Settings
from pingpulse._wire import Call, Request, Response, read
from pingpulse.errors import ConfigurationError, ConnectionFailed, PingPulseError

T = TypeVar("T")

_USER_AGENT = f"pingpulse-client httpx/{httpx.__version__}"
_MOMENT = 0.05

_building = threading.RLock()
"""Held while a client is built, and by forks: httpx imports much of itself then, and the child of a fork in between
would keep modules that are half imported, for ever. `encodings.idna` is what sockets would import at the first use."""


def _options(settings: Settings) -> dict[str, Any]:
    headers = {"X-API-Key": settings.key, "User-Agent": _USER_AGENT, "Accept": "application/json"}
    return {**settings.http_options, "headers": {**settings.http_options.get("headers", {}), **headers}}


def _arguments(settings: Settings, request: Request, seconds_left: float | None) -> dict[str, Any]:
    """`seconds_left` shortens what an attempt may take."""
    seconds = settings.timeout if seconds_left is None else max(min(settings.timeout, seconds_left), _MOMENT)
    return {
        "method": request.method,
        "url": settings.url + request.path,
        "params": dict(request.query),
        "content": request.body,
        "headers": request.headers,
        "timeout": httpx.Timeout(seconds, read=seconds + request.extra_seconds),
    }


def _response(response: httpx.Response) -> Response:
    headers = {name.lower(): value for name, value in response.headers.items()}
    return Response(response.status_code, headers, response.content)


@contextmanager
def _translated(settings: Settings) -> Iterator[None]:
    """httpx's errors as ours."""
    try:
        yield
    except (httpx.UnsupportedProtocol, httpx.LocalProtocolError, httpx.InvalidURL) as error:
        raise ConfigurationError(f"{settings.url!r} cannot be used: {error}") from error
    except httpx.HTTPError as error:
        said = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        raise ConnectionFailed(f"PingPulse at {settings.url} cannot be reached ({said}).") from error


_transports: WeakSet[Transport] = WeakSet()


def _forget_all() -> None:
    _building.release()
    for transport in list(_transports):
        transport.forget()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_building.acquire, after_in_parent=_building.release, after_in_child=_forget_all)


class Transport:
    """Sends and waits. Safe for threads; after a fork, the child opens connections of its own."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._lock = threading.Lock()
        self._client: httpx.Client | None = None
        _transports.add(self)

    def send(self, call: Call[T], seconds_left: float | None = None) -> T:
        """One attempt. Raises PingPulseError."""
        self._settings.check()
        with _translated(self._settings):
            response = self._http().request(**_arguments(self._settings, call.request, seconds_left))
        return read(call, _response(response))

    def perform(self, call: Call[T], policy: Policy | None = None) -> T:
        """As many attempts as it takes, for `retry_seconds` unless the policy says otherwise."""
        attempts = Attempts(policy or Policy(self._settings.retry_seconds), time.monotonic())
        while True:
            try:
                return self.send(call)
            except PingPulseError as error:
                pause = attempts.pause_after(error, time.monotonic())
                if pause is None:
                    raise
            time.sleep(pause)

    def close(self) -> None:
        """Closes the connections; the next request opens others."""
        with self._lock:
            opened, self._client = self._client, None
        if opened is not None:
            opened.close()

    def forget(self) -> None:
        """For a child after a fork: the lock may be held for ever, and the connections are the parent's."""
        self._lock = threading.Lock()
        self._client = None

    def _http(self) -> httpx.Client:
        with self._lock:
            if self._client is None:
                with _building:
                    self._client = httpx.Client(**_options(self._settings))
            return self._client


class AsyncTransport:
    """Sends and awaits. Each event loop has connections of its own."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._process = os.getpid()
        self._clients: WeakKeyDictionary[asyncio.AbstractEventLoop, httpx.AsyncClient] = WeakKeyDictionary()

    async def send(self, call: Call[T]) -> T:
        """One attempt. Raises PingPulseError."""
        self._settings.check()
        with _translated(self._settings):
            response = await self._http().request(**_arguments(self._settings, call.request, None))
        return read(call, _response(response))

    async def perform(self, call: Call[T], policy: Policy | None = None) -> T:
        """As many attempts as it takes, for `retry_seconds` unless the policy says otherwise."""
        attempts = Attempts(policy or Policy(self._settings.retry_seconds), time.monotonic())
        while True:
            try:
                return await self.send(call)
            except PingPulseError as error:
                pause = attempts.pause_after(error, time.monotonic())
                if pause is None:
                    raise
            await asyncio.sleep(pause)

    async def close(self) -> None:
        """Closes this loop's connections; the next request opens others."""
        client = self._clients.pop(asyncio.get_running_loop(), None)
        if client is not None:
            await client.aclose()

    def _http(self) -> httpx.AsyncClient:
        if self._process != os.getpid():
            self._process, self._clients = os.getpid(), WeakKeyDictionary()
        loop = asyncio.get_running_loop()
        if loop not in self._clients:
            with _building:
                self._clients[loop] = httpx.AsyncClient(**_options(self._settings))
        return self._clients[loop]
