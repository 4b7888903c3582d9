"""`pingpulse mcp`: over standard input and output, or over HTTP."""

import ipaddress
import logging
import re
import signal
import socket
import sys
from collections.abc import Sequence
from contextlib import suppress
from hashlib import sha256
from typing import Final
from urllib.parse import urlsplit

import anyio
import uvicorn
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.transport_security import TransportSecuritySettings
from starlette.datastructures import Headers
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from cli.errors import CommandError
from cli.mcp_server.gateway import KEY_STATE
from cli.mcp_server.server import make_server

PATH: Final = "/mcp"
STOP_SECONDS: Final = 2

_KEY: Final = re.compile(r"[!-~]{1,512}")
_LOOPBACK_NAMES: Final = ("127.0.0.1", "localhost", "[::1]")
_CHATTY: Final = ("mcp.server.streamable_http", "mcp.server.streamable_http_manager", "mcp.server.lowlevel")
_FORWARDED: Final = ("forwarded", "via", "x-real-ip", "cf-connecting-ip")
_FORWARDED_START: Final = "x-forwarded-"


class Access:
    """Says with whose key a request acts: the caller's own, as `Authorization: Bearer`, or `own_key` where there is
    one. A session can then be used with the key alone that has opened it."""

    def __init__(self, app: ASGIApp, own_key: str | None) -> None:
        self._app = app
        self._own_key = own_key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            scope = {**scope, "headers": [_plain_host(name, value) for name, value in scope["headers"]]}
            key = self._key_of(Headers(scope=scope))
            if key is None:
                await _unauthorized(scope, receive, send)
                return
            token = AccessToken(token="", client_id=sha256(key.encode()).hexdigest(), scopes=[])
            state = {**scope.get("state", {}), KEY_STATE: key}
            scope = {**scope, "state": state, "user": AuthenticatedUser(token)}
        await self._app(scope, receive, send)

    def _key_of(self, headers: Headers) -> str | None:
        said = headers.getlist("authorization")
        if not said:
            # Through a proxy, somebody from elsewhere would get in with the key of whoever started this.
            is_forwarded = any(name in _FORWARDED or name.startswith(_FORWARDED_START) for name in headers)
            return self._own_key if not is_forwarded else None
        scheme, _, key = said[0].partition(" ")
        return key if len(said) == 1 and scheme.lower() == "bearer" and _KEY.fullmatch(key) else None


def serve_stdio(url: str, key: str | None) -> None:
    """Until standard input ends. Raises CommandError."""
    if key is None:
        raise CommandError("PINGPULSE_API_KEY must be set to an API key; `pingpulse keys create` makes one.")
    server = make_server(_checked_url(url), _checked_key(key))
    # Threads that read standard input cannot be interrupted, and would keep the process after Ctrl-C.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    anyio.run(server.run_stdio_async)


def serve_http(url: str, key: str | None, host: str, port: int, allowed_hosts: Sequence[str]) -> None:
    """Until SIGTERM or SIGINT. Raises CommandError."""
    url, key = _checked_url(url), _checked_key(key) if key is not None else None
    own_key = key if is_loopback(host) and not allowed_hosts else None
    if own_key is None and key is not None:
        print("pingpulse mcp: callers from elsewhere must bring keys of their own; PINGPULSE_API_KEY is not used.",
              file=sys.stderr)  # fmt: skip
    for name in _CHATTY:
        logging.getLogger(name).setLevel(logging.WARNING)
    try:
        listener = socket.create_server((host, port), family=socket.AF_INET6 if ":" in host else socket.AF_INET)
    except OSError as error:
        raise CommandError(f"Cannot listen on {host} port {port}: {error.strerror}. Choose another --port.") from None
    with listener:
        port = listener.getsockname()[1]
        security = transport_security(host, port, allowed_hosts)
        app = Access(make_server(url, own_key).streamable_http_app(transport_security=security), own_key)
        shown = f"[{host}]" if ":" in host else host
        print(f"PingPulse's MCP server: http://{shown}:{port}{PATH}", file=sys.stderr, flush=True)
        config = uvicorn.Config(
            app,
            ws="none",
            access_log=False,
            log_config=None,
            server_header=False,
            proxy_headers=False,
            timeout_graceful_shutdown=STOP_SECONDS,
        )
        with suppress(KeyboardInterrupt):
            uvicorn.Server(config).run(sockets=[listener])


def transport_security(host: str, port: int, allowed_hosts: Sequence[str]) -> TransportSecuritySettings:
    """Which Host and Origin headers are taken: pages of other sites must not reach a server in the browser's network
    by a name that they have pointed at it."""
    names = list(_LOOPBACK_NAMES)
    if not is_loopback(host) and host not in ("0.0.0.0", "::"):
        names.append(f"[{host}]".lower() if ":" in host else host.lower())
    hosts = [f"{name}:{port}" for name in names] + (names if port == 80 else [])
    origins = [f"http://{name}" for name in hosts]
    for name in map(str.lower, allowed_hosts):
        hosts += [name, f"{name}:*"]
        origins += [f"https://{name}", f"http://{name}"]
    return TransportSecuritySettings(allowed_hosts=hosts, allowed_origins=origins)


def is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _plain_host(name: bytes, value: bytes) -> tuple[bytes, bytes]:
    """A header, of Host in lower case: names of hosts are the same in any, and `transport_security` compares texts."""
    return name, value.lower() if name == b"host" else value


async def _unauthorized(scope: Scope, receive: Receive, send: Send) -> None:
    detail = "Send an API key of PingPulse as Authorization: Bearer."
    body = {"jsonrpc": "2.0", "id": None, "error": {"code": -32001, "message": detail}}
    await JSONResponse(body, 401, {"WWW-Authenticate": 'Bearer realm="pingpulse"'})(scope, receive, send)


def _checked_url(url: str) -> str:
    try:
        parts = urlsplit(url)
        is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_good = False
    if not is_good:
        raise CommandError("PINGPULSE_URL must be the gateway's address, such as http://localhost:8000.")
    return url


def _checked_key(key: str) -> str:
    if _KEY.fullmatch(key) is None:
        raise CommandError("PINGPULSE_API_KEY does not look like a key: it must be plain characters without spaces.")
    return key
