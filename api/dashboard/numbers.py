"""How amounts, times and durations are written on pages."""

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import ROUND_HALF_EVEN, Decimal
from typing import Any, Final

import orjson
from markupsafe import Markup

from domain.durations import in_words


def when(at: datetime | None, style: str = "relative") -> Markup:
    """A time. Browsers write it in the reader's zone, `relative` to now, as a `date` or as a `clock` shows it with
    seconds; on hover it is exact."""
    if at is None:
        return Markup('<span class="soft">–</span>')
    at = at.astimezone(UTC)
    exact = f"{at.day} {at:%b %Y, %H:%M:%S} UTC"
    if style == "date":
        shown = f"{at.day} {at:%b %Y}"
    else:
        shown = f"{at:%H:%M:%S} UTC" if style == "clock" else f"{at.day} {at:%b %Y, %H:%M} UTC"
    return Markup('<time datetime="{}" data-style="{}" title="{}">{}</time>').format(
        at.isoformat(timespec="milliseconds"), style, exact, shown
    )


def money(amount: Decimal | float | str | None) -> str:
    """US dollars, to the cent; smaller amounts to two digits that count."""
    if amount is None:
        return "–"
    value = Decimal(str(amount))
    if value == 0:
        return "$0"
    if abs(value) >= Decimal("0.01"):
        return f"{'-' if value < 0 else ''}${abs(value).quantize(Decimal('0.01'), ROUND_HALF_EVEN):,}"
    digits = 1 - value.adjusted()
    return f"{'-' if value < 0 else ''}${abs(value).quantize(Decimal(1).scaleb(-digits)).normalize():f}"


def duration(seconds: float | None) -> str:
    """Two units at most: 840 ms, 2.4 s, 3 min 20 s, 2 h 5 min."""
    if seconds is None:
        return "–"
    if seconds < 0:
        return f"-{duration(-seconds)}"
    return f"{round(seconds * 1000)} ms" if seconds < 0.9995 else in_words(seconds)


def count(number: int | None) -> str:
    return "–" if number is None else f"{number:,}"


def percent(share: float | None, digits: int = 1) -> str:
    """Of a share from 0 to 1. Only what is whole is written as 100 %."""
    if share is None:
        return "–"
    if share >= 1:
        return "100 %"
    shown = f"{min(share * 100, 100 - 10**-digits):.{digits}f}"
    return f"{shown.rstrip('0').rstrip('.') if '.' in shown else shown} %"


def pretty(value: Any) -> str:
    """JSON for people."""
    return orjson.dumps(value, option=orjson.OPT_INDENT_2, default=str).decode()


def plural(number: int, one: str, many: str | None = None) -> str:
    return f"{number:,} {one if number == 1 else many or one + 's'}"


FILTERS: Final[dict[str, Callable[..., Any]]] = {
    "when": when,
    "money": money,
    "duration": duration,
    "count": count,
    "percent": percent,
    "pretty": pretty,
    "plural": plural,
}
