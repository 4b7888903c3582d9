"""Reading the body of a report, in whatever form the tools of this world send it."""

import json
from typing import Any, Final
from urllib.parse import parse_qsl

from starlette.requests import Request

from api.ping_input import MAX_IDEMPOTENCY_KEY, MAX_LEVELS, is_deeper, payload_text
from domain.errors import InvalidRequest, PayloadTooLarge
from domain.keys import redact
from domain.pings import MAX_PAYLOAD_BYTES

MAX_FIELDS: Final = 200

_FORM: Final = "application/x-www-form-urlencoded"
_JSON_BEGINS: Final = ("{", "[", '"')
_HOW: Final = "must be a JSON object; send one with Content-Type: application/json"


async def read_members(request: Request) -> dict[str, Any]:
    """The fields: of a JSON object, whatever the Content-Type says, or of a form. Raises PayloadTooLarge and
    InvalidRequest."""
    raw = await request.body()
    if len(raw) > MAX_PAYLOAD_BYTES:
        raise PayloadTooLarge(f"The body has {len(raw)} bytes; a report may have {MAX_PAYLOAD_BYTES}.")
    content_type = request.headers.get("content-type", "").lower()
    if content_type.startswith("multipart/") and raw.lstrip().startswith(b"--"):
        raise InvalidRequest.of_field("body", f"is multipart, which is not read here; send JSON or a form as {_FORM}")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise InvalidRequest.of_field("body", "is not valid UTF-8") from None
    if content_type.startswith(_FORM) and not text.lstrip().startswith(_JSON_BEGINS):
        return _form(text)
    members = _unwrapped(_loads(text))
    if not isinstance(members, dict):
        raise InvalidRequest.of_field("body", _HOW)
    return members


def idempotency_key(request: Request) -> str | None:
    """Raises InvalidRequest for one that cannot be kept."""
    key = request.headers.get("idempotency-key") or None
    if key is not None and len(key) > MAX_IDEMPOTENCY_KEY:
        raise InvalidRequest.of_field("Idempotency-Key", f"is longer than {MAX_IDEMPOTENCY_KEY} characters")
    if key is not None and redact(key) != key:
        raise InvalidRequest.of_field("Idempotency-Key", "contains an API key; send that as key=… only")
    return key


def kept_text(document: dict[str, Any]) -> str:
    """A report as JSON text, to be kept. Raises InvalidRequest for what Postgres could not keep."""
    for name, value in document.items():
        if is_deeper(value, MAX_LEVELS - 1):
            raise InvalidRequest.of_field(name, f"is nested more than {MAX_LEVELS} levels deep")
    return redact(payload_text(document))


def _form(text: str) -> dict[str, Any]:
    try:
        pairs = parse_qsl(text, keep_blank_values=True, errors="strict", max_num_fields=MAX_FIELDS)
    except ValueError:
        raise InvalidRequest.of_field("body", f"is not a form of at most {MAX_FIELDS} fields in UTF-8") from None
    return dict(reversed(pairs))


def _unwrapped(value: Any) -> Any:
    """An object that was sent as text, or as the only item of a list, as nodes of n8n pass them on."""
    if isinstance(value, str):
        value = _loads(value)
    return value[0] if isinstance(value, list) and len(value) == 1 else value


def _loads(text: str) -> Any:
    if not text.strip():
        return {}
    try:
        return json.loads(text, parse_constant=_refuse_constant)
    except RecursionError:
        raise InvalidRequest.of_field("body", f"is nested more than {MAX_LEVELS} levels deep") from None
    except ValueError as error:
        raise InvalidRequest.of_field("body", f"cannot be read as JSON: {error}") from None


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} is not a JSON number")
