"""What a ping costs, on which day it is counted, and what sums say of what is not known."""

from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.costs import Cost, Terms, average, cost_of, day_of, last_days, total_of, zone_of
from domain.pings import understand
from domain.prices import OwnPrice
from tests.domain.builders import properties

AT = datetime(2026, 3, 1, 23, 30, tzinfo=UTC)
OWN = Terms((OwnPrice("house", Decimal(1), Decimal(2)),), zone_of("Europe/Berlin"))


@pytest.mark.parametrize(
    "payload",
    [
        {"model_id": "m"},
        {"cost_usd": 0},
        {"usage": {"input_tokens": 0}},
        {"usage": {"total_tokens": 5}},
        {"usageMetadata": {"promptTokenCount": 5}},
        {"gen_ai.usage.output_tokens": 5},
        {"usage": {"reasoning_tokens": 1}},
        {"usage": {"cached_tokens": 1}},
        {"usage": {"cache_write_tokens": 0}},
    ],
)
def test_who_says_anything_of_costs_has_a_source(payload: dict[str, Any]) -> None:
    cost = cost_of(understand(payload), AT, Terms())
    assert cost is not None
    assert (cost.cost_usd is None) == (cost.source == "unpriced")


@pytest.mark.parametrize("payload", [{}, {"status": "ok"}, {"task": "x", "error": "no"}, {"usage": {}}, {"model": ""}])
def test_who_says_nothing_of_costs_has_none(payload: dict[str, Any]) -> None:
    assert cost_of(understand(payload), AT, OWN) is None


def test_a_ping_is_priced_by_the_account_s_terms() -> None:
    report = understand({"model": "house", "usage": {"input_tokens": 1000, "output_tokens": 10}})
    assert cost_of(report, AT, OWN) == Cost(Decimal("0.00102"), "own", "house 1/2", date(2026, 3, 2))
    assert cost_of(report, AT, Terms()) == Cost(None, "unpriced", None, date(2026, 3, 1))


@pytest.mark.parametrize(
    ("zone", "day"),
    [
        ("UTC", 1),
        ("Asia/Kathmandu", 2),
        ("Pacific/Kiritimati", 2),
        ("Pacific/Pago_Pago", 1),
        ("nowhere", 1),
        ("", 1),
        ("../etc/passwd", 1),
        ("\x00", 1),
    ],
)
def test_days_are_those_of_the_zone_or_of_utc(zone: str, day: int) -> None:
    assert day_of(AT, zone_of(zone)) == date(2026, 3, day)


def test_a_period_ends_today() -> None:
    assert last_days(date(2026, 3, 1), 1) == (date(2026, 3, 1), date(2026, 3, 1))
    assert last_days(date(2026, 3, 1), 7) == (date(2026, 2, 23), date(2026, 3, 1))


costs = st.lists(st.none() | st.decimals(0, 10**9, places=18), max_size=9)


@given(costs)
@properties
def test_a_total_is_of_what_is_known(found: list[Decimal | None]) -> None:
    known = [cost for cost in found if cost is not None]
    total = total_of(found, unpriced=len(found) - len(known))
    if not found:
        assert total == 0
    elif not known:
        assert total is None
    else:
        assert total == sum(known)


def test_large_sums_keep_their_last_decimal() -> None:
    large, small = Decimal(10**18), Decimal("0.000000000000000001")
    assert total_of([large, small, None], unpriced=1) == Decimal("1000000000000000000.000000000000000001")
    assert average(large * 3 + 1, 3) == Decimal("1000000000000000000.333333333333")


def test_an_average_is_of_those_that_are_known() -> None:
    assert average(Decimal(10), 4) == Decimal("2.5")
    assert average(Decimal(1), 3) == Decimal("0.333333333333")
    assert average(Decimal(0), 0) is None
    assert average(None, 0) is None
