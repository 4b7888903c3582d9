"""The attributes of OpenTelemetry's spans as values that can be kept."""

import base64
import json
import math
import re
from collections.abc import Mapping
from typing import Any, Final

from domain.keys import redact
from domain.pings import MAX_TEXT

MAX_NAME: Final = 256
"""Of an attribute, in characters."""
MAX_LEVELS: Final = 24
"""Of nesting in an attribute; what is deeper is left out."""

_TEXT_LENGTHS: Final = (20_000, 5_000, 1_000, 200)
_UNKEEPABLE: Final = re.compile("[\x00\ud800-\udfff]")
_JSON: Final[dict[str, Any]] = {"ensure_ascii": False, "separators": (",", ":")}


def json_of(value: object) -> str:
    return json.dumps(value, **_JSON)


def size_of(value: object) -> int:
    """In bytes, as JSON."""
    return len(json_of(value).encode())


def fitting(attributes: Mapping[str, Any], room: int) -> Mapping[str, Any]:
    """The attributes, if there is room for them; else with their longest texts cut, and at last without those for which
    there is none."""
    fits = attributes
    for longest in (None, *_TEXT_LENGTHS):
        if longest is not None:
            fits = {name: shortened(value, longest) for name, value in attributes.items()}
        if size_of(fits) <= room:
            return fits
    kept: dict[str, Any] = {}
    for name, value in fits.items():
        if (size := size_of({name: value})) <= room:
            kept[name] = value
            room -= size
    return kept


def shortened(value: Any, longest: int) -> Any:
    if isinstance(value, str):
        return value if len(value) <= longest else value[: longest - 1] + "…"
    if isinstance(value, list):
        return [shortened(item, longest) for item in value]
    if isinstance(value, dict):
        return {name: shortened(item, longest) for name, item in value.items()}
    return value


def plain(value: object, levels: int = MAX_LEVELS) -> Any:
    """An attribute's value as JSON has it. Bytes become base64, numbers that JSON does not have become text."""
    match value:
        case None | bool():
            return value
        case str():
            return clean(value)
        case int():
            return value if abs(value) < 2**64 else hex(value)[:MAX_TEXT]
        case float():
            return value if math.isfinite(value) else str(value)
        case bytes():
            return base64.b64encode(value).decode()
        case dict() if levels:
            return {clean(str(name))[:MAX_NAME]: plain(item, levels - 1) for name, item in value.items()}
        case list() | tuple() if levels:
            return [plain(item, levels - 1) for item in value]
    return None


def clean(text: str) -> str:
    """Without what Postgres could not keep, and without the secrets of keys."""
    return redact(_UNKEEPABLE.sub("\ufffd", text))


def text_of(attributes: Mapping[str, Any], longest: int, *names: str) -> str | None:
    """The first of these attributes that is a text and says something."""
    for name in names:
        value = attributes.get(name)
        if isinstance(value, str) and (text := clean(value).strip()):
            return text[:longest]
    return None
