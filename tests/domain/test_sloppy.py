"""What automation tools make of values, and what is meant."""

import json
import math
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from domain.sloppy import (
    EARLIEST,
    LATEST,
    is_absent,
    message_of,
    moment_of,
    number_of,
    object_of,
    says_nothing,
    text_of,
)

AT = datetime(2026, 1, 15, 9, 30, 4, tzinfo=UTC)
HALF = AT.replace(microsecond=500_000)

moments = st.datetimes(
    EARLIEST.replace(tzinfo=None), (LATEST - timedelta(days=1)).replace(tzinfo=None), timezones=st.just(UTC)
)


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        ("2026-01-15T09:30:04Z", AT),
        ("2026-01-15t09:30:04z", AT),
        (" 2026-01-15T09:30:04Z\n", AT),
        ("2026-01-15T10:30:04+01:00", AT),
        ("2026-01-15T10:30:04+0100", AT),
        ("2026-01-15T10:30:04+01", AT),
        ("2026-01-15T04:00:04-05:30", AT),
        ("2026-01-15 10:30:04 +0100", AT),
        ("2026-01-15 09:30:04", AT),
        ("2026-01-15T09:30:04", AT),
        ("2026-01-15 09:30:04 UTC", AT),
        ("2026-01-15 09:30:04 GMT", AT),
        ("2026-01-15 09:30:04 Z", AT),
        ("2026-01-15T10:30:04.000+01:00[Europe/Berlin]", AT),
        ("2026-01-15T09:30:04.5Z", HALF),
        ("2026-01-15T09:30:04.500Z", HALF),
        ("2026-01-15T09:30:04,500Z", HALF),
        ("2026-01-15T09:30:04.500000Z", HALF),
        ("2026-01-15T09:30:04.500000999Z", HALF),
        ("20260115T093004Z", AT),
        ("2026-01-15", datetime(2026, 1, 15, tzinfo=UTC)),
        ("2026-01-15T09:30Z", AT.replace(second=0)),
        ("Thu, 15 Jan 2026 09:30:04 GMT", AT),
        ("Thu, 15 Jan 2026 10:30:04 +0100", AT),
        ("Thu Jan 15 2026 10:30:04 GMT+0100 (Central European Standard Time)", AT),
        ("Thu Jan 15 2026 09:30:04 GMT+0000", AT),
        ("15 Jan 2026 10:30:04 +0100 (CET)", AT),
        ("Thursday, 15-Jan-26 09:30:04 GMT", AT),
        ("Thu Jan 15 09:30:04 2026", AT),
        ("Thu Jan 15 09:30:04 UTC 2026", AT),
        ("Thu, 15 Jan 2026 04:30:04 EST", AT),
        ("Jan 15, 2026, 9:30:04 AM", AT),
        ("Jan 15, 2026, 9:30:04\u202fAM", AT),
        ("Jan 15, 2026, 9:30:04.5 am UTC", HALF),
        ("2026-01-15 09:30:04 AM", AT),
        ("January 15, 2026 at 12:30:04 PM GMT+3", AT),
        ("15 Jan 2026 11:30:04 +2", AT),
        ("2026-01-15T11:30:04+2", AT),
        ("15 Jan 2026 11:30:04 UTC+02:00", AT),
        ("Nov 22, 2026, 8:00:00 PM", datetime(2026, 11, 22, 20, tzinfo=UTC)),
        ("22 Nov 2026 08:00 PM", datetime(2026, 11, 22, 20, tzinfo=UTC)),
        ("22 Nov 2026 12:30 AM", datetime(2026, 11, 22, 0, 30, tzinfo=UTC)),
        ("22 Nov 2026 12:30 p.m.", datetime(2026, 11, 22, 12, 30, tzinfo=UTC)),
        (1768469404, AT),
        (1768469404.5, HALF),
        ("1768469404", AT),
        ("1768469404.5", HALF),
        (1768469404500, HALF),
        ("1768469404500", HALF),
        ("1768469404500.0", HALF),
        (1768469404500000, HALF),
        (1768469404500000000, HALF),
    ],
)
def test_a_time(sent: Any, meant: datetime) -> None:
    assert moment_of(sent) == meant
    assert moment_of(sent).tzinfo is UTC


@pytest.mark.parametrize(
    "sent",
    ["yesterday", "15/01/2026", "01/02/2026 10:00", "10:30", "2026-13-01", "2026-01-15T25:00:00Z", "2026-01", "T",
     "[x]", True, False, [], {}, ["2026-01-15"], "{{ $now }}", "2026-01-15T09:30:04+99:00", "\ud800", "\x00", "now()",
     math.inf, math.nan, 10**400, "9" * 400, "1e999", "Thu, 99 Jan 2026 10:30:04 +0100", ",",
     "15 Jan 2026 20:00 PM", "12:30 AM", "15 Foo 2026 10:00", "01/02/2026 8:00 PM", "15 Jan 2026 10:00 +99:00",
     "Z[" * 50_000, " (" * 50_000],
)  # fmt: skip
def test_no_time(sent: Any) -> None:
    with pytest.raises(ValueError, match="is not a time"):
        moment_of(sent)


@pytest.mark.parametrize(
    "day", ["22 Nov 2026 20:00", "Nov 22, 2026, 8:00 PM", "2026-11-22 20:00:00", "2026-11-22T20:00"]
)
@pytest.mark.parametrize(
    "zone", [" CET", " IST", " CEST", " Europe/Berlin", "[Europe/Berlin]", " [Europe/Berlin]", " Etc/GMT+2", " EST+2"]
)
def test_a_time_of_a_zone_that_is_not_known_is_not_taken_for_utc(day: str, zone: str) -> None:
    with pytest.raises(ValueError, match="has a time zone that is not known; send ISO 8601"):
        moment_of(day + zone)


@given(moments)
def test_a_time_by_the_clock_of_12_hours_is_that_of_24(at: datetime) -> None:
    whole = at.replace(microsecond=0)
    for form in (
        "%b %d, %Y, %I:%M:%S %p",
        "%d %B %Y %I:%M:%S%p UTC",
        "%Y-%m-%d %I:%M:%S %p",
        "%a, %b %d %Y %I:%M:%S %p",
    ):
        assert moment_of(at.strftime(form)) == whole


@pytest.mark.parametrize(
    "sent",
    [0, 1, -1, 20260115, "20260115", "1970-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z",
     "1999-12-31T23:59:59.999Z", "2100-01-01", 5e9],
)  # fmt: skip
def test_a_time_that_no_run_has(sent: Any) -> None:
    with pytest.raises(ValueError, match="is not between 2000 and 2100|is not a time"):
        moment_of(sent)


offsets = st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(moments, offsets)
def test_a_time_is_the_same_at_any_offset_and_however_it_is_written(at: datetime, zone: timezone) -> None:
    there = at.astimezone(zone)
    whole = at.replace(microsecond=0)
    assert moment_of(there.isoformat()) == at
    assert moment_of(there.isoformat(" ")) == at
    assert moment_of(there.strftime("%Y-%m-%d %H:%M:%S.%f %z")) == at
    assert moment_of(at.replace(tzinfo=None).isoformat()) == at
    assert moment_of(at.isoformat().replace("+00:00", "Z")) == at
    assert moment_of(format_datetime(there)) == whole
    assert moment_of(there.strftime("%a %b %d %Y %H:%M:%S GMT%z")) == whole


@given(moments, st.sampled_from([(1, 1e-6), (10**3, 1e-6), (10**6, 2e-6), (10**9, 2e-6)]))
def test_a_number_since_1970_in_any_unit(at: datetime, unit: tuple[int, float]) -> None:
    per_second, off = unit
    number = (at - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) * per_second / 10**6
    for sent in (number, repr(number), f"{number:.6f}"):
        assert abs(moment_of(sent) - at) <= timedelta(seconds=off)


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)
digits = st.text("0123456789-+:.TZ eE,", max_size=30)


@given(anything | digits)
@example("24:00:00")
@example("2026-W03-4")
def test_whatever_is_sent_is_a_good_time_or_a_clear_refusal(sent: Any) -> None:
    try:
        at = moment_of(sent)
    except ValueError as refused:
        said = str(refused)
        assert "send ISO 8601" in said
        return
    assert EARLIEST <= at < LATEST
    assert at.utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        (1234, 1234),
        ("1234", 1234),
        (" 12.5 ", 12.5),
        ("1e3", 1000),
        ("+7", 7),
        (0, 0),
        ("0", 0),
        (99.9, 99.9),
        ("5.", 5),
    ],
)
def test_a_number(sent: Any, meant: float) -> None:
    assert number_of(sent, 0, 10_000) == meant


@pytest.mark.parametrize(
    "sent",
    [-1, "-1", 10_001, "10001", True, "true", "", "1,234", "1_000", "12 ms", "٣", "nan", "inf", math.nan, math.inf, [],
     {}, "1e999", 10**400],
)  # fmt: skip
def test_no_number(sent: Any) -> None:
    with pytest.raises(ValueError, match="must be a number from 0 to 10000"):
        number_of(sent, 0, 10_000)


@given(st.floats(0, 1e9))
def test_a_number_as_text_is_the_same_number(number: float) -> None:
    assert number_of(repr(number), 0, 1e9) == number_of(number, 0, 1e9) == number


@given(anything)
def test_whatever_is_sent_is_a_number_within_bounds_or_refused(sent: Any) -> None:
    with suppress(ValueError):
        assert 0 <= number_of(sent, 0, 100) <= 100


@pytest.mark.parametrize(
    ("sent", "meant"), [("a", "a"), (" a ", "a"), (1234, "1234"), (1234.0, "1234"), (1.5, "1.5"), ("01", "01")]
)
def test_a_text(sent: Any, meant: str) -> None:
    assert text_of(sent, 10) == meant


@pytest.mark.parametrize("sent", [True, [], {}, ["a"], {"a": 1}, "x" * 11, "a\x00b", "\udc00"])
def test_no_text(sent: Any) -> None:
    with pytest.raises(ValueError, match="must be text|is longer than 10|contains NUL|is not valid Unicode"):
        text_of(sent, 10)


@pytest.mark.parametrize("sent", [None, "", " ", "\t", "null", "NULL", " undefined ", "None"])
def test_nothing(sent: Any) -> None:
    assert is_absent(sent)


@pytest.mark.parametrize("sent", [0, False, [], {}, "0", "no", "nothing"])
def test_something(sent: Any) -> None:
    assert not is_absent(sent)


@given(st.dictionaries(st.text(), st.none() | st.integers() | st.text(), max_size=3))
def test_an_object_is_the_same_as_text(value: dict[str, Any]) -> None:
    assert object_of(json.dumps(value)) == object_of(value) == value


@pytest.mark.parametrize("sent", ["[]", "1", "text", '"{}"', [], 1, True, '{"a": NaN}', "{", "[" * 100_000])
def test_no_object(sent: Any) -> None:
    with pytest.raises(ValueError, match="must be a JSON object"):
        object_of(sent)


@pytest.mark.parametrize(
    ("sent", "meant"),
    [
        (" disk full ", "disk full"),
        ({"message": "disk full", "stack": "…"}, "disk full"),
        ('{"message":"inner"}', "inner"),
        ('{"message":null,"code":5}', '{"message":null,"code":5}'),
        ("{no JSON", "{no JSON"),
        ({"message": "", "code": 5}, '{"message": "", "code": 5}'),
        (["a", 1], '["a", 1]'),
        (429, "429"),
    ],
)
def test_a_message(sent: Any, meant: str) -> None:
    assert message_of(sent) == meant


@pytest.mark.parametrize("sent", [None, " ", "null", {}, [], False, "{}", " [] ", "false"])
def test_what_says_nothing(sent: Any) -> None:
    assert says_nothing(sent)


@pytest.mark.parametrize("sent", [0, True, "0", {"a": None}, [0], "no"])
def test_what_says_something(sent: Any) -> None:
    assert not says_nothing(sent)
