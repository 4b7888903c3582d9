"""Requests and answers as values. Nothing here sends anything."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from decimal import Decimal
from email.utils import parsedate_to_datetime
from http.client import responses as phrases
from typing import Any, Generic, TypeVar
from urllib.parse import quote
from uuid import uuid4

from pingpulse.errors import FieldProblem, PayloadError, UnexpectedAnswer, error_class

T = TypeVar("T")

MAX_BODY_BYTES = 100_000
"""Of a ping, as PingPulse takes it."""

_SHOWN = 300
_KNOWN = frozenset({"type", "title", "status", "detail", "code", "errors", "retry_after"})


@dataclass(frozen=True)
class Request:
    """`extra_seconds` is how much longer than usual the answer may take. `lesser_bodies` say less and less: what may be
    sent instead if the body is refused."""

    method: str
    path: str
    query: Mapping[str, str] = field(default_factory=dict)
    body: bytes | None = None
    idempotency_key: str | None = None
    extra_seconds: float = 0.0
    lesser_bodies: tuple[bytes | None, ...] = ()

    @property
    def headers(self) -> dict[str, str]:
        headers = {}
        if self.body is not None:
            headers["Content-Type"] = "application/json"
        if self.idempotency_key is not None:
            headers["Idempotency-Key"] = self.idempotency_key
        return headers

    def with_query(self, **more: str) -> Request:
        return replace(self, query={**self.query, **more})

    def saying_less(self) -> Request | None:
        """The request with the next of its lesser bodies; None if there is none. It is another request, with an
        idempotency key of its own: with the old one, the answer would be the old refusal."""
        if not self.lesser_bodies:
            return None
        body, *rest = self.lesser_bodies
        return replace(self, body=body, lesser_bodies=tuple(rest), idempotency_key=uuid4().hex)


@dataclass(frozen=True)
class Response:
    status: int
    headers: Mapping[str, str]
    """By names in lower case."""
    body: bytes


@dataclass(frozen=True)
class Call(Generic[T]):
    """A request, and how its answer is read: `read` takes JSON whose floats are Decimal."""

    request: Request
    read: Callable[[Any], T]


def segment(id_: str) -> str:
    """An id or a slug as a part of a path. Raises ValueError for what would be another path."""
    text = str(id_)
    if not text.strip("."):
        raise ValueError(f"{text!r} is no id")
    return quote(text, safe="", errors="replace")


def encode(document: Mapping[str, Any]) -> bytes:
    """A body. Values that JSON does not have, such as dates and paths, become text. Raises PayloadError."""
    try:
        return json.dumps(document, default=str, allow_nan=False, separators=(",", ":")).encode("ascii")
    except (TypeError, ValueError, RecursionError) as error:
        raise PayloadError(f"This cannot be sent as JSON: {error}") from error
    except Exception as error:
        # A value's own __str__ may raise anything.
        raise PayloadError(f"A value cannot be sent as text: {type(error).__name__}") from error


def read(call: Call[T], response: Response) -> T:
    """Raises ApiError for a refusal, and UnexpectedAnswer."""
    if not 200 <= response.status < 300:
        raise _error(response)
    document = _json(response)
    if document is None:
        raise UnexpectedAnswer(f"Expected JSON and got {_excerpt(response)!r}. Does the address lead to PingPulse?")
    return call.read(document)


def _error(response: Response) -> Exception:
    if 300 <= response.status < 400:
        return UnexpectedAnswer(
            f"Redirected to {response.headers.get('location', 'nowhere')!r}; set the address to where PingPulse is."
        )
    document = _json(response)
    document = document if isinstance(document, dict) else {}
    status, title = response.status, phrases.get(response.status, "Error")
    problems = document.get("errors")
    fields = tuple(
        FieldProblem(str(item.get("field", "")), str(item.get("message", "")))
        for item in (problems if isinstance(problems, list) else [])
        if isinstance(item, dict)
    )
    return error_class(status)(
        status,
        str(document.get("code") or f"http_{status}"),
        str(document.get("title") or title),
        str(document.get("detail") or _excerpt(response) or title),
        fields,
        {name: _plain(value) for name, value in document.items() if name not in _KNOWN},
        _retry_after(response.headers.get("retry-after")),
    )


def _json(response: Response) -> Any:
    try:
        return json.loads(response.body, parse_float=Decimal)
    except (ValueError, RecursionError):
        return None


def _plain(value: Any) -> Any:
    return float(value) if isinstance(value, Decimal) else value


def _excerpt(response: Response) -> str:
    return response.body[:_SHOWN].decode("utf-8", "replace").strip()


def _retry_after(value: str | None) -> float | None:
    """Seconds from now, of seconds or of a date; None of anything else."""
    if value is None:
        return None
    if value.strip().isdecimal():
        return float(value[:9])
    try:
        at = parsedate_to_datetime(value)
    except (TypeError, ValueError):
        return None
    return max(0.0, _utc(at).timestamp() - time.time())


def _utc(at: datetime) -> datetime:
    return at if at.tzinfo is not None else at.replace(tzinfo=timezone.utc)
