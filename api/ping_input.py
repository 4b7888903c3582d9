"""Reading a stage ping: parameters from the query and the body, and the rest of the body as payload."""

import json
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
_MAX_PARAMETERS: Final = 100
_YES: Final = frozenset({"yes", "true", "1", "y", "on"})
_NO: Final = frozenset({"no", "false", "0", "n", "off", ""})


@dataclass(frozen=True)
class Body:
    """A request's body: a JSON object, or text, or nothing."""

    members: dict[str, Any]
    text: str | None = None
    size_bytes: int = 0


@dataclass(frozen=True)
class StagePing:
    """What a caller said, validated. `payload` is JSON text without the parameters that were taken from it."""

    path: str
    name: str | None
    agent: str | None
    start: bool
    final: bool
    instance_id: str | None
    idempotency_key: str | None
    report: Report
    payload: str | None
    text: str | None
    size_bytes: int


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
        text = raw.decode()
    except UnicodeDecodeError:
        raise InvalidRequest.of_field("body", "is not valid UTF-8") from None
    # curl -d says it sends a form whatever it sends, so what looks like an object is tried as one.
    if is_json or text.lstrip().startswith("{"):
        try:
            members = _loads(text)
        except ValueError as error:
            if is_json:
                raise InvalidRequest.of_field("body", f"is not valid JSON: {error}") from None
        else:
            if isinstance(members, dict):
                return Body(members, None, len(raw))
    if "\x00" in text:
        raise InvalidRequest.of_field("body", "contains NUL characters")
    return Body({}, redact(text), len(raw))


def _loads(text: str) -> Any:
    """Strict JSON: no NaN, no text that is not Unicode, nothing nested too deep."""
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")


def read_query(request: Request) -> dict[str, str]:
    """The query's parameters, of repeated ones the first."""
    raw: bytes = request.scope["query_string"]
    if not raw:
        return {}
    try:
        pairs = parse_qsl(raw.decode("ascii"), keep_blank_values=True, errors="strict", max_num_fields=_MAX_PARAMETERS)
    except UnicodeDecodeError:
        raise InvalidRequest.of_field("query", "is not valid UTF-8; percent-encode it") from None
    except ValueError:
        raise InvalidRequest.of_field("query", f"has more than {_MAX_PARAMETERS} parameters") from None
    return dict(reversed(pairs))


class _Parameters:
    """Looks a parameter up in the query, then in the body; remembers which body members were taken."""

    def __init__(self, query: Mapping[str, str], members: Mapping[str, Any]) -> None:
        self._query = query
        self._members = members
        self.taken = {"key"}

    def get(self, *names: str) -> tuple[str, Any]:
        for name in names:
            if name in self._query:
                return name, self._query[name]
        for name in names:
            if name in self._members:
                self.taken.add(name)
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
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise InvalidRequest.of_field(name, 'must be a stage such as "1" or "2.1"')
        return parse_path(str(value), name)


def _check_text(field: str, text: str) -> None:
    if "\x00" in text:
        raise InvalidRequest.of_field(field, "contains NUL characters")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise InvalidRequest.of_field(field, "is not valid Unicode") from None


def parse_stage_ping(
    query: Mapping[str, str], body: Body, *, stage_parameter: str, idempotency_header: str | None
) -> StagePing:
    """Validates; raises InvalidRequest naming the field. `stage_parameter` is the endpoint's own name of the stage."""
    parameters = _Parameters(query, body.members)
    path = parameters.path(stage_parameter, "stage" if stage_parameter == "stagePath" else "stagePath")
    name, agent = parameters.text("stagename"), parameters.text("agent")
    start, final = parameters.flag("start"), parameters.flag("final")
    instance_id = parameters.text("instance_id", 64)
    key = parameters.text("idempotency_key", MAX_IDEMPOTENCY_KEY)
    if idempotency_header:
        _check_text("Idempotency-Key", idempotency_header)
        if len(idempotency_header) > MAX_IDEMPOTENCY_KEY:
            raise InvalidRequest.of_field("Idempotency-Key", f"is longer than {MAX_IDEMPOTENCY_KEY} characters")
    members = {member: value for member, value in body.members.items() if member not in parameters.taken}
    # Cron appends status=$? to the address.
    reported = {**members, **{field: query[field] for field in ("status", "error") if field in query}}
    for field in ("status", "error"):
        if isinstance(value := reported.get(field), str):
            _check_text(field, value)
    return StagePing(
        path=path,
        name=name,
        agent=agent,
        start=start,
        final=final,
        instance_id=instance_id,
        idempotency_key=idempotency_header or key,
        report=understand(reported),
        payload=_payload_text(members) if members else None,
        text=body.text,
        size_bytes=body.size_bytes,
    )


def _payload_text(members: dict[str, Any]) -> str:
    try:
        text = json.dumps(members, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
        text.encode()
    except ValueError as error:
        what = "text that is not valid Unicode" if isinstance(error, UnicodeError) else "a number beyond range"
        raise InvalidRequest.of_field("body", f"contains {what}") from None
    if "\\u0000" in text and (field := _field_with_nul(members)) is not None:
        raise InvalidRequest.of_field(field, "contains NUL characters")
    return redact(text)


def _field_with_nul(value: Any, name: str = "body") -> str | None:
    if isinstance(value, str):
        return name if "\x00" in value else None
    if isinstance(value, dict):
        for key, item in value.items():
            if "\x00" in key:
                return name
            if (found := _field_with_nul(item, key)) is not None:
                return found
    if isinstance(value, list):
        for item in value:
            if (found := _field_with_nul(item, name)) is not None:
                return found
    return None


def check_workflow_id(workflow_id: str) -> str:
    """Raises InvalidRequest for an id that no workflow can have."""
    if WORKFLOW_ID.fullmatch(workflow_id) is None:
        raise InvalidRequest.of_field("workflow_id", "must be 1 to 128 characters: letters, digits, _ - and . only")
    return workflow_id
