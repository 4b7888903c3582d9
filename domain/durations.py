"""How long things take, in words."""

import re
from decimal import Decimal
from typing import Final

from domain.errors import InvalidRequest

_UNITS: Final = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))


def in_words(seconds: float) -> str:
    """A duration as people say it, such as "42 min" or "1 h 5 min"; no more than two units of it."""
    if seconds < 9.95:
        return f"{seconds:.1f}".removesuffix(".0") + " s"
    whole, parts = round(seconds), list[tuple[int, str]]()
    for unit, size in _UNITS:
        count, whole = divmod(whole, size)
        if count or parts:
            parts.append((count, unit))
    return " ".join(f"{count} {unit}" for count, unit in parts[:2] if count)


_PARTS: Final = re.compile(r"(\d+(?:\.\d+)?)\s*([a-z]*)\s*", re.ASCII)
_SECONDS: Final = {
    word: size
    for size, words in (
        (1, ("", "s", "sec", "secs", "second", "seconds")),
        (60, ("m", "min", "mins", "minute", "minutes")),
        (3_600, ("h", "hr", "hrs", "hour", "hours")),
        (86_400, ("d", "day", "days")),
        (604_800, ("w", "week", "weeks")),
    )
    for word in words
}
MAX_DURATION_TEXT: Final = 64


def parse_duration(text: str) -> float:
    """The seconds of what people write: "90", "5 min", "1h 30m". Raises InvalidRequest."""
    rest, seconds, is_plain = text.strip().lower(), 0.0, False
    refusal = InvalidRequest.of_field("duration", "must be a duration such as 90 s, 5 min, 1 h 30 min or 2 days")
    if not rest or len(rest) > MAX_DURATION_TEXT:
        raise refusal
    while rest:
        found = _PARTS.match(rest)
        # A number without a unit is seconds; beside others it could be anything.
        if found is None or found[2] not in _SECONDS or is_plain:
            raise refusal
        is_plain = not found[2]
        if is_plain and found.end() != len(rest) or is_plain and seconds:
            raise refusal
        seconds += float(found[1]) * _SECONDS[found[2]]
        rest = rest[found.end() :]
    return seconds


def as_text(seconds: float | None) -> str:
    """A duration as `parse_duration` reads it, exactly: for fields of forms."""
    if seconds is None:
        return ""
    for unit, size in _UNITS:
        if seconds >= size and seconds % size == 0:
            return f"{round(seconds / size)} {unit}"
    return f"{Decimal(repr(seconds)):f} s"
