"""Values as automation tools send them: what is meant, or a ValueError that says why it cannot be.

Templates make text of everything and leave holes where something is missing, so numbers and times come as text, and
nothing as an empty text or as the word for it.
"""

import json
import math
import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, Final, NoReturn

EARLIEST: Final = datetime(2000, 1, 1, tzinfo=UTC)
LATEST: Final = datetime(2100, 1, 1, tzinfo=UTC)
"""Between them, everything that is meant as a time of a run lies; outside are only empty dates and other numbers."""

HOW_TO_SEND_A_TIME: Final = "send ISO 8601 such as 2026-01-31T09:30:00Z, or seconds or milliseconds since 1970"

_NOTHING: Final = frozenset({"", "null", "none", "undefined"})
_NUMBER: Final = re.compile(r"[+-]?[0-9]+(\.[0-9]*)?([eE][+-]?[0-9]{1,3})?", re.ASCII)
_EPOCHS: Final = ((1e11, 1), (1e14, 1e3), (1e17, 1e6), (1e20, 1e9))
"""Numbers below the first are seconds since 1970, below the next milliseconds, microseconds, nanoseconds: the second
of one is decades away from the same number of another."""

_OF_JAVASCRIPT: Final = re.compile(
    r"[A-Z][a-z]{2} ([A-Z][a-z]{2}) ([0-9]{2}) ([0-9]{4}) ([0-9:]{8}) GMT([+-][0-9]{4})( \(.*\))?"
)
_ZONE_NAME: Final = re.compile(r"\[[^\]]*\]$")
_SPACED_OFFSET: Final = re.compile(r" (?=[+-][0-9]{2})")


def is_absent(value: object) -> bool:
    """Whether nothing is said: None, an empty text, or what templates make of nothing."""
    return value is None or (isinstance(value, str) and value.strip().lower() in _NOTHING)


def text_of(value: object, longest: int) -> str:
    """A text that names something. Numbers are taken for their digits."""
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        value = int(value)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError("must be text")
    text = str(value).strip()
    if len(text) > longest:
        raise ValueError(f"is longer than {longest} characters")
    if "\x00" in text:
        raise ValueError("contains NUL characters")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("is not valid Unicode")
    return text


def number_of(value: object, least: float, most: float) -> float:
    """A number, also as text."""
    number = math.nan
    if isinstance(value, int | float) and not isinstance(value, bool):
        number = float(value) if abs(value) <= most else math.inf
    elif isinstance(value, str) and _NUMBER.fullmatch(value.strip()):
        number = float(value)
    if not least <= number <= most:
        raise ValueError(f"must be a number from {least:.15g} to {most:.15g}")
    return number


def object_of(value: object) -> dict[str, Any]:
    """A JSON object, also as text."""
    if isinstance(value, str):
        try:
            value = json.loads(value, parse_constant=_refuse_constant)
        except (ValueError, RecursionError):
            raise ValueError("must be a JSON object") from None
    if not isinstance(value, dict):
        raise ValueError("must be a JSON object")
    return value


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a JSON number")


def message_of(value: object) -> str:
    """What people are to read. Of an object its `message`, of anything else its JSON."""
    if isinstance(value, dict) and not is_absent(value.get("message")):
        value = value["message"]
    return value.strip() if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def moment_of(value: object) -> datetime:
    """A time in UTC: ISO 8601 with or without an offset (then it is UTC), what JavaScript and mails make of a date, or
    the seconds, milliseconds, microseconds or nanoseconds since 1970."""
    at: datetime | None = None
    if isinstance(value, int | float) and not isinstance(value, bool):
        at = _since_1970(float(value) if abs(value) < _EPOCHS[-1][0] else math.inf)
    elif isinstance(value, str):
        text = value.strip()
        at = _since_1970(float(text)) if _NUMBER.fullmatch(text) else _read(text)
    if at is None:
        raise ValueError(f"is not a time; {HOW_TO_SEND_A_TIME}")
    if not EARLIEST <= at < LATEST:
        raise ValueError(f"is not between {EARLIEST.year} and {LATEST.year}; {HOW_TO_SEND_A_TIME}")
    return at


def _since_1970(number: float) -> datetime | None:
    for most, unit in _EPOCHS:
        if abs(number) < most:
            return datetime.fromtimestamp(round(number / unit, 6), UTC)
    return None


def _read(text: str) -> datetime | None:
    if found := _OF_JAVASCRIPT.fullmatch(text):
        month, day, year, time, offset, _ = found.groups()
        text = f"{day} {month} {year} {time} {offset}"
    return _read_iso(text) or _read_mail(text)


def _read_iso(text: str) -> datetime | None:
    text = _SPACED_OFFSET.sub("", _ZONE_NAME.sub("", text).upper())
    for word in (" UTC", " GMT", " Z"):
        text = f"{text.removesuffix(word)}Z" if text.endswith(word) else text
    try:
        at = datetime.fromisoformat(text)
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _read_mail(text: str) -> datetime | None:
    try:
        at = parsedate_to_datetime(text)
        return at.replace(tzinfo=UTC) if at.tzinfo is None else at.astimezone(UTC)
    except (ValueError, OverflowError, TypeError, IndexError):
        return None
