"""Reading a ping: parameters from the query and the body, and the rest of the body as payload."""

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import parse_qsl

from starlette.requests import Request

from domain.errors import InvalidRequest, PayloadTooLarge
from domain.ids import WORKFLOW_ID
from domain.keys import redact
from domain.paths import parse_path
from domain.pings import MAX_PAYLOAD_BYTES, MAX_TEXT, Report, understand

MAX_IDEMPOTENCY_KEY: Final = 255
MAX_LEVELS: Final = 64
"""Of nesting: what every reader of a payload, serializers included, copes with."""

_MAX_PARAMETERS: Final = 100
_FORM: Final = "application/x-www-form-urlencoded"
_FORM_NAMES: Final = frozenset(
    {
        "key", "status", "error", "exit_code", "rid", "run_id", "agent", "stage", "stagePath", "stagename", "start",
        "final", "instance_id", "idempotency_key", "create", "period", "grace", "cron", "timezone",
    }
)  # fmt: skip
# CI systems keep an address with its key as a secret, and their steps append ?stagePath=2 to it. No key has a question
# mark.
_KEY_AND_MORE: Final = re.compile(rb"(?<![^&])(key=[^&?]*)\?")

_YES: Final = frozenset({"yes", "true", "1", "y", "on"})
_NO: Final = frozenset({"no", "false", "0", "n", "off", ""})


@dataclass(frozen=True)
class Body:
    """A request's body: a JSON object, or text, or nothing."""

    members: dict[str, Any]
    text: str | None = None
    size_bytes: int = 0


@dataclass(frozen=True)
class Content:
    """What every ping may carry besides its own parameters. `payload` is JSON text without what was taken from it.

    `says_status`: whether the caller said how it went.
    """

    agent: str | None
    idempotency_key: str | None
    report: Report
    payload: str | None
    text: str | None
    size_bytes: int
    says_status: bool


_EMPTY: Final = Body({})


async def read_body(request: Request) -> Body:
    """The body of a POST. Raises PayloadTooLarge, and InvalidRequest for what is said to be JSON and is not."""
    if request.method != "POST":
        return _EMPTY
    raw = await request.body()
    if not raw:
        return _EMPTY
    if len(raw) > MAX_PAYLOAD_BYTES:
        raise PayloadTooLarge(
            f"The body has {len(raw)} bytes; a ping's payload may have {MAX_PAYLOAD_BYTES}. Send a link instead."
        )
    is_json = "json" in request.headers.get("content-type", "").lower()
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidRequest.of_field("body", "is not valid UTF-8") from None
    # curl -d says it sends a form whatever it sends, so what looks like an object is tried as one.
    if is_json or text.lstrip().startswith("{"):
        try:
            members = _loads(text)
        except ValueError as error:
            if is_json:
                raise InvalidRequest.of_field("body", f"cannot be read as JSON: {error}") from None
        else:
            if isinstance(members, dict):
                return Body(members, None, len(raw))
    if not is_json and (fields := _form_of(request, text)):
        return Body(fields, None, len(raw))
    if "\x00" in text:
        raise InvalidRequest.of_field("body", "contains NUL characters")
    return Body({}, redact(text), len(raw))


def _form_of(request: Request, text: str) -> dict[str, Any] | None:
    """The fields of a form that has nothing but parameters of pings. Any other is text: curl -d 'disk full'."""
    if not request.headers.get("content-type", "").lower().startswith(_FORM):
        return None
    try:
        pairs = parse_qsl(
            text, keep_blank_values=True, strict_parsing=True, errors="strict", max_num_fields=_MAX_PARAMETERS
        )
    except ValueError:
        return None
    fields = dict(reversed(pairs))
    return fields if fields.keys() <= _FORM_NAMES else None


def _loads(text: str) -> Any:
    """Strict JSON: no NaN, nothing nested too deep. Raises ValueError."""
    too_deep = ValueError(f"it is nested more than {MAX_LEVELS} levels deep")
    try:
        value = json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise too_deep from None
    if text.count("{") + text.count("[") > MAX_LEVELS and is_deeper(value, MAX_LEVELS):
        raise too_deep
    return value


def is_deeper(value: Any, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    items = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(is_deeper(item, levels - 1) for item in items)


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def read_query(request: Request) -> dict[str, str]:
    """The query's parameters, of repeated ones the first."""
    raw: bytes = request.scope["query_string"]
    if not raw:
        return {}
    if b"?" in raw:
        raw = _KEY_AND_MORE.sub(rb"\1&", raw, count=1)
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MAX_PARAMETERS)
    except UnicodeDecodeError:
        raise InvalidRequest.of_field("query", "is not valid UTF-8; percent-encode it") from None
    except ValueError:
        raise InvalidRequest.of_field("query", f"has more than {_MAX_PARAMETERS} parameters") from None
    return dict(reversed(pairs))


class Parameters:
    """Looks a parameter up in the query, then in the body; remembers which body members were taken."""

    def __init__(self, query: Mapping[str, str], members: Mapping[str, Any]) -> None:
        self._query = query
        self._members = members
        self._taken = {"key"}

    def get(self, *names: str) -> tuple[str, Any]:
        for name in names:
            if name in self._query:
                return name, self._query[name]
        for name in names:
            if name in self._members:
                self._taken.add(name)
                return name, self._members[name]
        return names[0], None

    def text(self, name: str, longest: int = MAX_TEXT) -> str | None:
        name, value = self.get(name)
        if value is None or value == "":
            return None
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise InvalidRequest.of_field(name, "must be text")
        text = str(value)
        if len(text) > longest:
            raise InvalidRequest.of_field(name, f"is longer than {longest} characters")
        _check_text(name, text)
        return text

    def flag(self, name: str) -> bool:
        name, value = self.get(name)
        word = str(value).strip().lower() if value is not None else ""
        if word in _YES:
            return True
        if word in _NO:
            return False
        raise InvalidRequest.of_field(name, "must be yes or no")

    def path(self, preferred: str, other: str) -> str:
        name, value = self.get(preferred, other)
        if value is None:
            raise InvalidRequest.of_field(preferred, f"is missing; send the stage, such as ?{preferred}=1")
        if isinstance(value, bool) or not isinstance(value, str | int):
            # As a number, 2.10 would be 2.1.
            raise InvalidRequest.of_field(name, 'must be a stage as text, such as "1" or "2.1"')
        path = parse_path(str(value), name)
        _check_text(name, path)
        return path

    def number(self, name: str, least: float, most: float) -> float | None:
        name, value = self.get(name)
        if value is None or value == "":
            return None
        try:
            number = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else math.nan
        except (ValueError, OverflowError):
            number = math.nan
        if not least <= number <= most:
            raise InvalidRequest.of_field(name, f"must be a number from {least:.15g} to {most:.15g}")
        return number

    def content(self, body: Body, idempotency_header: str | None, *, inner: str | None = None) -> Content:
        """All that is left, once every other parameter was asked for. The members of the object `inner`, if the body
        has it, are understood like those beside it."""
        agent = self.text("agent")
        key = self.text("idempotency_key", MAX_IDEMPOTENCY_KEY)
        if idempotency_header:
            _check_text("Idempotency-Key", idempotency_header)
            if len(idempotency_header) > MAX_IDEMPOTENCY_KEY:
                raise InvalidRequest.of_field("Idempotency-Key", f"is longer than {MAX_IDEMPOTENCY_KEY} characters")
        members = {member: value for member, value in self._members.items() if member not in self._taken}
        payload = None
        if members:
            payload = payload_text(members)
            if payload != (redacted := redact(payload)):
                members, payload = json.loads(redacted), redacted
        if isinstance(nested := members.get(inner or ""), dict):
            members = {**nested, **members}
        # Cron appends status=$? to the address.
        for field in ("status", "error"):
            if field in self._query:
                if problem := _problem_of(self._query[field]):
                    raise InvalidRequest.of_field(field, problem)
                members[field] = redact(self._query[field])
        return Content(
            agent=agent,
            idempotency_key=idempotency_header or key,
            report=understand(members),
            payload=payload,
            text=body.text,
            size_bytes=body.size_bytes,
            says_status="status" in members or "exit_code" in members,
        )


def _check_text(field: str, text: str) -> None:
    """For what identifies or names something: it goes to places where a key must never be."""
    if problem := _problem_of(text):
        raise InvalidRequest.of_field(field, problem)
    if redact(text) != text:
        raise InvalidRequest.of_field(field, "contains an API key; send that as key=… only")


def payload_text(members: dict[str, Any]) -> str:
    """Members as JSON text. Raises InvalidRequest naming one that Postgres could not keep."""
    try:
        text = json.dumps(members, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        text.encode()
    except ValueError:
        text = ""
    if (not text or "\\u0000" in text) and (found := _first_problem(members, "body")) is not None:
        raise InvalidRequest.of_field(*found)
    return text


def _first_problem(value: Any, field: str) -> tuple[str, str] | None:
    """The innermost field that cannot be kept, and why."""
    if isinstance(value, dict):
        if any(_problem_of(name) for name in value):
            return field, "has a member whose name is not valid text"
        return next(filter(None, (_first_problem(item, name) for name, item in value.items())), None)
    if isinstance(value, list):
        return next(filter(None, (_first_problem(item, field) for item in value)), None)
    problem = _problem_of(value)
    return (field, problem) if problem else None


def _problem_of(value: object) -> str | None:
    """Why Postgres could not keep a text or a number; None if it can."""
    if isinstance(value, float) and not math.isfinite(value):
        return "is a number beyond range"
    if not isinstance(value, str):
        return None
    if "\x00" in value:
        return "contains NUL characters"
    try:
        value.encode()
    except UnicodeEncodeError:
        return "is not valid Unicode"
    return None


def check_id(field: str, id_: str) -> str:
    """Raises InvalidRequest for an id, or a slug, that nothing can have."""
    # Clients fold a path of dots alone.
    if WORKFLOW_ID.fullmatch(id_) is None or not id_.strip("."):
        raise InvalidRequest.of_field(field, "must be 1 to 128 characters: letters, digits, _ - and . only")
    _check_text(field, id_)
    return id_
