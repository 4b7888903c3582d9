"""What a ping costs, and the day on which it is counted."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal, localcontext
from functools import cache
from typing import Final
from zoneinfo import ZoneInfo, available_timezones

from domain.errors import InvalidRequest
from domain.pings import Report
from domain.prices import OwnPrice, Source, price
from domain.usage import Usage

MAX_PERIOD_DAYS: Final = 3660

_DIGITS: Final = 60
"""Enough for the sum of all pings there can be: nothing is rounded."""


@dataclass(frozen=True)
class Terms:
    """By what an account's pings are priced and counted."""

    own_prices: tuple[OwnPrice, ...] = ()
    zone: tzinfo = UTC


@dataclass(frozen=True, slots=True)
class Cost:
    """`cost_usd` is None if, and only if, the source is `unpriced`. `day` is the account's day in which the ping came:
    like an entry in a ledger it stays where it is, whatever becomes of the account's time zone."""

    cost_usd: Decimal | None
    source: Source
    version: str | None
    day: date


def cost_of(report: Report, at: datetime, terms: Terms) -> Cost | None:
    """None for a ping that says nothing of costs: no model, no usage and no cost."""
    if not report.tells_costs:
        return None
    usage = Usage(
        report.input_tokens,
        report.output_tokens,
        report.cached_tokens,
        report.cache_write_tokens,
        report.reasoning_tokens,
    )
    priced = price(report.model_id, usage, at, stated=report.cost_usd, own=terms.own_prices)
    return Cost(priced.cost_usd, priced.source, priced.version, day_of(at, terms.zone))


def day_of(at: datetime, zone: tzinfo) -> date:
    return at.astimezone(zone).date()


def end_of(day: date, zone: tzinfo) -> datetime:
    """The first moment of the next day."""
    return datetime.combine(day + timedelta(days=1), time(), zone)


def zone_of(name: str) -> tzinfo:
    """The time zone of that name; UTC for one that is not known here, so that no ping is refused for it."""
    try:
        return ZoneInfo(name)
    except (KeyError, OSError, ValueError):
        return UTC


def check_zone(name: str) -> None:
    """Raises InvalidRequest naming `time_zone` for what is no IANA name: by one that only this host understands, such
    as `localtime`, each process would count other days. `Factory` is the database's own word for none."""
    if name in ("localtime", "Factory") or name not in _zones():
        raise InvalidRequest.of_field(
            "time_zone", f'"{name[:60]}" is not known; use a name such as "UTC" or "Europe/Berlin"'
        )


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())


def last_days(today: date, days: int) -> tuple[date, date]:
    """The first and the last of so many days, today the last."""
    return today - timedelta(days=days - 1), today


def average(total: Decimal | None, count: int) -> Decimal | None:
    """To 12 decimals; None of nothing, and of what is not known."""
    with localcontext(prec=_DIGITS):
        return round(total / count, 12) if total is not None and count else None


def difference(total: Decimal | None, part: Decimal | None) -> Decimal | None:
    """What is left of `total`; None if that is not known."""
    with localcontext(prec=_DIGITS):
        return None if total is None else total - (part or 0)


def total_of(costs: Sequence[Decimal | None], *, unpriced: int) -> Decimal | None:
    """The sum of what is known. Nothing reported costs 0, but if all that was reported is unpriced, nobody knows."""
    known = [cost for cost in costs if cost is not None]
    with localcontext(prec=_DIGITS):
        return None if not known and unpriced else sum(known, Decimal(0))
