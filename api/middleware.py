"""What happens to every request, in one layer of plain ASGI: this is on the path of every ping."""

import os
import re
import traceback
from collections.abc import Iterable
from itertools import count
from time import perf_counter
from typing import Final

import structlog
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import lineage_input, otlp
from api.errors import InternalError, error_response
from api.security.limiter import QUOTA, Quota
from domain.errors import PayloadTooLarge
from domain.keys import redact

MAX_BODY_BYTES: Final = 1024 * 1024
"""Of any request; what a ping may carry is for its route to say."""

LARGE_BODIES: Final = {
    "/api/instances/import": 50 * 1024 * 1024,
    otlp.TRACES: otlp.MAX_BYTES,
    lineage_input.PATH: lineage_input.MAX_BYTES,
    lineage_input.BATCH_PATH: lineage_input.MAX_BYTES,
}
"""Of requests to these addresses, whose routes read the body by themselves, and not before they know the caller."""

REQUEST_ID: Final = "pingpulse.request_id"
"""Where a request's scope holds its id."""

PING_PREFIXES: Final = (
    *("/shk/", "/dhk/", "/hbk/", "/hhk/", "/hb/", "/phk/", "/api/v1/ingest/"),
    otlp.TRACES,
    lineage_input.PATH,
)

Headers = Iterable[tuple[bytes, bytes]]

_GONE = 499

# Pings come from anybody's web page with their key and never with our cookie: hence no credentials.
_CORS: Final = (
    (b"access-control-allow-origin", b"*"),
    (
        b"access-control-expose-headers",
        b"X-Request-ID, Retry-After, RateLimit-Limit, RateLimit-Remaining, RateLimit-Reset",
    ),
)
_PREFLIGHT: Final = (
    (b"access-control-allow-methods", b"GET, POST"),
    (b"access-control-allow-headers", b"Authorization, Content-Type, Idempotency-Key, X-API-Key, X-Request-ID"),
    (b"access-control-max-age", b"86400"),
)

# What follows lets somebody in.
_TOKENS: Final = re.compile(r"^(/start/|/invitations/)[^/]+")

_callers_id = re.compile(rb"[A-Za-z0-9_.\-]{1,64}")
_run = os.urandom(4).hex()
_serial = count(1)

access_log = structlog.get_logger("pingpulse.access")
error_log = structlog.get_logger("pingpulse.errors")


class GatewayMiddleware:
    """Request ids, the access log, the limit on bodies, CORS for pings, quota headers, and the last resort.

    The outermost middleware: what an app inside raises is answered here and goes no further, because the server
    would log it with everything it quotes. `log_pings`: whether successful pings are logged, at the debug level.
    """

    def __init__(self, app: ASGIApp, *, log_pings: bool = False) -> None:
        self._app = app
        self._log_pings = log_pings

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = perf_counter()
        is_ping = scope["path"].startswith(PING_PREFIXES)
        callers_id, size = _read_headers(scope["headers"])
        most = LARGE_BODIES.get(scope["path"], MAX_BODY_BYTES)
        request_id = callers_id or f"{_run}-{next(_serial):x}"
        scope[REQUEST_ID] = request_id
        status = 0

        async def respond(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                # A new list: a route may send the same Response object many times.
                message["headers"] = [
                    *message["headers"],
                    (b"x-request-id", request_id.encode()),
                    *_quota_headers(scope.get(QUOTA)),
                    *(_CORS if is_ping else ()),
                ]
            await send(message)

        try:
            if is_ping and scope["method"] == "OPTIONS":
                await _preflight(respond)
            elif size > most:
                await error_response(scope, PayloadTooLarge(_too_large(most)))(scope, receive, respond)
            else:
                await self._app(scope, receive if size >= 0 else _limited(receive, most), respond)
        except ClientDisconnect:
            status = status or _GONE
        except Exception as error:
            _log_unexpected(error, request_id)
            if status:
                raise ConnectionError(f"request {request_id} failed after its answer had begun") from None
            problem = InternalError("Something went wrong on our side.", request_id=request_id)
            await error_response(scope, problem)(scope, receive, respond)
        finally:
            if not is_ping or status >= 400 or self._log_pings:
                _log_access(scope, request_id, status, started, quiet=is_ping and status < 400)


def _read_headers(headers: Headers) -> tuple[str | None, int]:
    """The caller's request id if it is a sane one, and the body's size in bytes: -1 if only reading will tell."""
    request_id, size, unknown = None, 0, False
    for name, value in headers:
        if name == b"content-length":
            size = int(value) if value.isdigit() else -1
        elif name == b"transfer-encoding":
            unknown = True
        elif name == b"x-request-id" and _callers_id.fullmatch(value):
            request_id = value.decode()
    return request_id, -1 if unknown else size


def _quota_headers(quota: Quota | None) -> Headers:
    if quota is None:
        return ()
    limit, remaining, reset = quota
    return (
        (b"ratelimit-limit", b"%d" % limit),
        (b"ratelimit-remaining", b"%d" % remaining),
        (b"ratelimit-reset", b"%d" % reset),
    )


def _too_large(most: int) -> str:
    return f"The body has more than {most} bytes."


def _limited(receive: Receive, most: int) -> Receive:
    """`receive` for a body of unknown size, which stops reading after `most` bytes."""
    size = 0

    async def receive_up_to_the_limit() -> Message:
        nonlocal size
        message = await receive()
        size += len(message.get("body", b""))
        if size > most:
            # Not our PayloadTooLarge: of what reading a body raises, FastAPI lets only this class through.
            raise HTTPException(413, _too_large(most))
        return message

    return receive_up_to_the_limit


async def _preflight(respond: Send) -> None:
    await respond({"type": "http.response.start", "status": 204, "headers": list(_PREFLIGHT)})
    await respond({"type": "http.response.body", "body": b""})


def _log_access(scope: Scope, request_id: str, status: int, started: float, *, quiet: bool) -> None:
    # The raw path: percent-encoded, so that it cannot break a log line, and without the query, where keys are.
    path = scope.get("raw_path") or scope["path"].encode("utf-8", "replace")
    (access_log.debug if quiet else access_log.info)(
        "request",
        method=scope["method"],
        path=redact(_TOKENS.sub(r"\1***", path.decode("latin-1"))),
        status=status,
        ms=round((perf_counter() - started) * 1000, 1),
        request_id=request_id,
    )


def _log_unexpected(error: Exception, request_id: str) -> None:
    text = redact("".join(traceback.format_exception(error)))
    error_log.error("unexpected error", request_id=request_id, error=type(error).__name__, traceback=text)
