"""Requests to the gateway on behalf of one caller, and what agents are told when they fail."""

import json
import re
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote
from uuid import uuid4

import anyio
import httpx
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from starlette.requests import Request

from domain.keys import redact

READ_SECONDS: Final = 15.0
PAUSES: Final = (0.2, 0.5, 1.0, 2.0)
"""Seconds between attempts. Clients give up on a tool after a minute, so there are not many."""

NO_MORE_ATTEMPTS_AFTER: Final = 20.0
"""Seconds."""

NOT_UNDERSTOOD: Final = (
    "The gateway's answer is not what this version of `pingpulse mcp` expects; its log has more. Tell the person who "
    "set it up to check PINGPULSE_URL, and to run the same version of both."
)

KEY_STATE: Final = "pingpulse_key"
"""What of an HTTP request's state holds the caller's key."""

_AGAIN: Final = frozenset({502, 503, 504})
STOP: Final = (
    "Stop here: do no further work for this run and send it no more pings. Tell the person you work for what the limit "
    "is, and ask how to go on."
)
_ADVICE: Final = {
    "unauthenticated": "Tell the person who set this server up: its PINGPULSE_API_KEY, or the key that your client "
    "sends as Authorization: Bearer, is not a good one.",
    "insufficient_scope": "The key of this server has the scope `ping`: it may ping, read trees, and ask for "
    "approvals. Go on without this, or ask for a key with the scope `full`.",
    "forbidden": "It belongs to another account, or the key may not do this. Check the id.",
    "instance_paused": STOP,
    "instance_terminated": STOP,
    "daily_budget_exceeded": STOP,
    "internal_error": "That is the gateway's fault; the person who runs it finds more in its log.",
}


@dataclass(frozen=True)
class Connection:
    """What all calls share. `key` is the server's own, if it may act with that; `static` are the workflows that are
    known to be of that kind."""

    http: httpx.AsyncClient
    key: str | None
    static: set[str] = field(default_factory=set)


Call = Context[Connection, Request]
"""A tool's call, as the SDK hands it in."""


class Unreachable(ToolError):
    """No answer, or one that asks to come again."""


class Refused(ToolError):
    """The gateway's own no."""

    def __init__(self, message: str, status: int, problem: dict[str, Any]) -> None:
        super().__init__(message)
        self.status = status
        self.problem = problem


@dataclass(frozen=True)
class Gateway:
    """The gateway as one caller sees it."""

    connection: Connection
    key: str = field(repr=False)

    async def get(self, path: str, *, read_seconds: float = READ_SECONDS, **params: object) -> Any:
        """The answer's JSON; parameters that are None or empty are left out. Raises Unreachable or Refused."""
        given = {name: str(value) for name, value in params.items() if value not in (None, "")}
        return await self._send("GET", path, params=given, timeout=httpx.Timeout(read_seconds, connect=5))

    async def post(self, path: str, body: dict[str, Any], idempotency_key: str | None = None) -> Any:
        """Raises Unreachable or Refused. Sent again without an answer, so with a key unless it may be done twice."""
        headers = {"Content-Type": "application/json"}
        if idempotency_key is not None:
            headers["Idempotency-Key"] = idempotency_key
        # In ASCII: what is no valid text is the gateway's to refuse.
        content = json.dumps(body).encode()
        timeout = httpx.Timeout(READ_SECONDS, connect=5)
        return await self._send("POST", path, content=content, headers=headers, timeout=timeout)

    async def _send(self, method: str, path: str, *, headers: dict[str, str] | None = None, **options: Any) -> Any:
        headers = {"X-API-Key": self.key, "Accept": "application/json", **(headers or {})}
        begun = anyio.current_time()
        for pause in (*PAUSES, None):
            failure: ToolError
            try:
                response = await self.connection.http.request(method, path, headers=headers, **options)
            except httpx.HTTPError as error:
                is_late = isinstance(error, httpx.TimeoutException)
                failure = Unreachable(_no_answer(self.connection.http.base_url, is_late=is_late))
            else:
                if response.is_success:
                    return self._document(response)
                failure = self._failure(response)
                if response.status_code not in _AGAIN:
                    raise failure
            if pause is None or anyio.current_time() - begun > NO_MORE_ATTEMPTS_AFTER:
                raise failure
            await anyio.sleep(pause)
        raise AssertionError("the last attempt has no pause after it")

    def late(self) -> Unreachable:
        """What a request that was given up says."""
        return Unreachable(_no_answer(self.connection.http.base_url, is_late=True))

    def _document(self, response: httpx.Response) -> Any:
        try:
            return response.json()
        except ValueError:
            raise self._not_ours(response) from None

    def _failure(self, response: httpx.Response) -> ToolError:
        try:
            problem = response.json()
            code, detail = str(problem["code"]), str(problem["detail"])
        except (ValueError, TypeError, KeyError):
            return self._not_ours(response)
        if response.status_code == 503:
            return Unreachable(
                f"PingPulse cannot take this at the moment: {self._clean(detail)} Try again in half a minute."
            )
        return Refused(self._clean(_refusal(response, code, detail, problem)), response.status_code, problem)

    def _not_ours(self, response: httpx.Response) -> Unreachable:
        return Unreachable(
            f"HTTP {response.status_code} from {_shown(self.connection.http.base_url)} is no answer of a PingPulse "
            "gateway. Tell the person who set this server up to check PINGPULSE_URL."
        )

    def _clean(self, text: str) -> str:
        return redact(text.replace(self.key, "***"))


def gateway_of(call: Call) -> Gateway:
    """The gateway with the key of whoever calls."""
    connection, request = call.request_context.lifespan_context, call.request_context.request
    key = connection.key if request is None else getattr(request.state, KEY_STATE)
    assert key is not None
    return Gateway(connection, key)


def segment(text: str) -> str:
    """As a part of a path."""
    return quote(text, safe="")


def new_idempotency_key() -> str:
    return f"mcp-{uuid4()}"


def _refusal(response: httpx.Response, code: str, detail: str, problem: dict[str, Any]) -> str:
    said = [f"{detail} (HTTP {response.status_code}, {code})"]
    for field_problem in problem.get("errors") or ():
        if (message := str(field_problem.get("message", ""))) not in detail:
            said.append(f"{field_problem.get('field')}: {message}.")
    if expected := problem.get("expected_stage"):
        said.append(f"Stage {expected} should have come.")
    if code == "rate_limited":
        said.append(f"Wait {response.headers.get('retry-after', '60')} seconds before you call again.")
    if advice := _ADVICE.get(code):
        said.append(advice)
    return " ".join(said)


def _no_answer(url: httpx.URL, *, is_late: bool) -> str:
    what = "did not answer in time" if is_late else "cannot be reached"
    return (
        f"The PingPulse gateway at {_shown(url)} {what}. Try again in half a minute; if that does not help, tell the "
        "person who set this server up to check PINGPULSE_URL and whether the gateway runs."
    )


def _shown(url: httpx.URL) -> str:
    """Without a password, if somebody has put one there."""
    return re.sub(r"//[^/]*@", "//", str(url)).rstrip("/")
