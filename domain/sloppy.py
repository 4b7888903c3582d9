"""Values as automation tools send them: what is meant, or a ValueError that says why it cannot be.

Templates make text of everything and leave holes where something is missing, so numbers and times come as text, and
nothing as an empty text or as the word for it.
"""

import json
import math
import re
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
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

_MONTHS: Final = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH: Final = (
    r"(?P<month>jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sep(?:t(?:ember)?)?"
    r"|oct(?:ober)?|nov(?:ember)?|dec(?:ember)?)\.?"
)
_DAY: Final = r"(?P<day>\d{1,2})(?:st|nd|rd|th)?"
_CLOCK: Final = (
    r"(?P<hour>\d{1,2}):(?P<minute>\d\d)(?::(?P<second>\d\d)(?:[.,](?P<fraction>\d+))?)?"
    r"(?: ?(?P<half>[ap])(?:m|\.m\.))?"
)
_ZONE: Final = r"(?: ?(?P<zone>[a-z_/\[\]]*) ?(?P<offset>[+-]\d\d?(?::?\d\d)?)?)"
_WORDED: Final = tuple(
    re.compile(rf"(?:(?:mon|tue|wed|thu|fri|sat|sun)[a-z]* )?{form}", re.ASCII)
    for form in (
        rf"{_DAY}[ -]{_MONTH}[ -](?P<year>\d{{4}}|\d\d) (?:at )?{_CLOCK}{_ZONE}",
        rf"{_MONTH} {_DAY} (?P<year>\d{{4}}) (?:at )?{_CLOCK}{_ZONE}",
        rf"{_MONTH} {_DAY} {_CLOCK}{_ZONE} (?P<year>\d{{4}})",
        rf"(?P<year>\d{{4}})-(?P<month>\d\d)-(?P<day>\d\d)[ t]{_CLOCK}{_ZONE}",
    )
)
"""What mails, JavaScript and people make of a date, in lower case and without commas."""

_COMMA: Final = re.compile(r"(?<!:[0-9]{2}),")
_COMMENT: Final = re.compile(r" \([^()]*\)$")
_ZONES: Final = {
    **dict.fromkeys(("", "z", "ut", "utc", "gmt"), 0),
    "edt": -4,
    **dict.fromkeys(("est", "cdt"), -5),
    **dict.fromkeys(("cst", "mdt"), -6),
    **dict.fromkeys(("mst", "pdt"), -7),
    "pst": -8,
}
"""The names that mails may have, in hours. What other names mean depends on where and when they are said."""

_ZONE_NAME: Final = re.compile(r"(?<=[0-9Zz])\[[^\[\]]*\]$")
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


def says_nothing(value: object) -> bool:
    """Whether people would learn nothing of it: it is absent, or what templates make of an error that is not there."""
    if isinstance(value, str):
        return is_absent(value) or value.strip() in ("{}", "[]", "false")
    return value is None or value is False or value == {} or value == []


def message_of(value: object) -> str:
    """What people are to read. Of an object, also as text, its `message`, of anything else its JSON."""
    if isinstance(value, str) and value.lstrip().startswith("{"):
        with suppress(ValueError):
            said = object_of(value)
            value = value if is_absent(said.get("message")) else said
    if isinstance(value, dict) and not is_absent(value.get("message")):
        value = value["message"]
    return value.strip() if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def moment_of(value: object) -> datetime:
    """A time in UTC: ISO 8601 with or without an offset (then it is UTC), what JavaScript and mails make of a date, by
    24 hours or with AM and PM, or the seconds, milliseconds, microseconds or nanoseconds since 1970."""
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
    at = _read_iso(text)
    return at if at is not None else _read_worded(text)


def _read_iso(text: str) -> datetime | None:
    # A zone's name is a comment to an offset. Without one it would say what the time is, and must not be dropped.
    text, had_name = _ZONE_NAME.subn("", text)
    text = _SPACED_OFFSET.sub("", text.upper())
    for word in (" UTC", " GMT", " Z"):
        text = f"{text.removesuffix(word)}Z" if text.endswith(word) else text
    try:
        at = datetime.fromisoformat(text)
        if at.tzinfo is None:
            return at.replace(tzinfo=UTC) if not had_name else None
        return at.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _read_worded(text: str) -> datetime | None:
    """Raises ValueError for a zone that is not known: taken for UTC, the time would be another."""
    text = _COMMENT.sub("", " ".join(_COMMA.sub(" ", text.lower()).split()))
    found = next(filter(None, (form.fullmatch(text) for form in _WORDED)), None)
    if found is None:
        return None
    offset = _offset(found["zone"], found["offset"])
    month, year, hour = found["month"], int(found["year"]), int(found["hour"])
    if year < 100:
        year += 2000 if year < 69 else 1900
    if found["half"]:
        if hour > 12:
            return None
        hour = hour % 12 + (12 if found["half"] == "p" else 0)
    try:
        there = datetime(
            year,
            int(month) if month.isdigit() else _MONTHS.index(month[:3]) + 1,
            int(found["day"]),
            hour,
            int(found["minute"]),
            int(found["second"] or 0),
            int((found["fraction"] or "0")[:6].ljust(6, "0")),
            timezone(offset),
        )
        return there.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _offset(zone: str, offset: str | None) -> timedelta:
    hours = _ZONES.get(zone)
    if hours is None or (offset is not None and hours):
        raise ValueError(f"has a time zone that is not known; {HOW_TO_SEND_A_TIME}")
    if offset is None:
        return timedelta(hours=hours)
    digits = offset[1:].replace(":", "")
    whole, minutes = (digits[:-2], digits[-2:]) if len(digits) > 2 else (digits, "0")
    size = timedelta(hours=int(whole), minutes=int(minutes))
    return size if offset[0] == "+" else -size
