"""Codes of authenticator apps, recovery codes, and browsers in words."""

import base64
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain import agents, audit
from domain.second_factors import (
    STEP_SECONDS,
    fitting_step,
    in_groups,
    new_recovery_codes,
    new_secret,
    normal_code,
    recovery_code,
    setup_address,
)

# RFC 6238, appendix B, for SHA-1; the last six of its eight digits.
RFC_SECRET = base64.b32encode(b"12345678901234567890").decode()
RFC = [(59, "287082"), (1111111109, "081804"), (1111111111, "050471"), (1234567890, "005924"), (2000000000, "279037")]


def at(seconds: float) -> datetime:
    return datetime.fromtimestamp(seconds, UTC)


@pytest.mark.parametrize(("seconds", "code"), RFC)
def test_codes_are_those_of_the_standard(seconds: int, code: str) -> None:
    step = seconds // STEP_SECONDS
    assert fitting_step(RFC_SECRET, code, at(seconds), None) == step


@pytest.mark.parametrize(("drift", "fits"), [(-2, False), (-1, True), (0, True), (1, True), (2, False)])
def test_a_phones_clock_may_be_one_step_off(drift: int, fits: bool) -> None:
    seconds, code = RFC[3]
    now = at(seconds) + timedelta(seconds=drift * STEP_SECONDS)
    assert (fitting_step(RFC_SECRET, code, now, None) is not None) == fits


def test_a_step_that_was_used_is_over_and_all_before_it() -> None:
    seconds, code = RFC[3]
    step = seconds // STEP_SECONDS
    assert fitting_step(RFC_SECRET, code, at(seconds), step - 1) == step
    assert fitting_step(RFC_SECRET, code, at(seconds), step) is None
    assert fitting_step(RFC_SECRET, code, at(seconds), step + 1) is None


@pytest.mark.parametrize("code", ["", "12345", "1234567", "abcdef", "１２３４５６"])
def test_what_cannot_be_a_code_fits_nothing(code: str) -> None:
    assert normal_code(code) == ""
    assert fitting_step(RFC_SECRET, normal_code(code), at(59), None) is None


def test_codes_are_typed_as_apps_show_them() -> None:
    assert normal_code(" 287 082 ") == normal_code("287-082") == "287082"


def test_what_the_app_is_given() -> None:
    secret = new_secret()
    assert len(base64.b32decode(secret)) == 20
    assert in_groups("ABCDEFGH") == "ABCD EFGH"
    address = setup_address(secret, "ada+tag@example.com")
    assert address.startswith(f"otpauth://totp/PingPulse:ada%2Btag%40example.com?secret={secret}")


def test_recovery_codes_are_read_however_they_are_typed() -> None:
    codes = new_recovery_codes()
    assert len(set(codes)) == 10
    for code in codes:
        assert recovery_code(code) == recovery_code(f" {code.upper().replace('-', ' ')} ") == code


@given(st.text(max_size=30))
def test_anything_may_be_typed(text: str) -> None:
    code = recovery_code(text)
    assert code is None or recovery_code(code) == code
    assert normal_code(text) == "" or normal_code(text).isdigit()


@pytest.mark.parametrize(
    ("header", "words"),
    [
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:130.0) Gecko/20100101 Firefox/130.0", "Firefox 130 on Windows"),
        (
            "Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/129.0.0.0 "
            "Safari/537.36 Edg/129.0.0.0",
            "Edge 129 on Windows",
        ),
        (
            "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.6 "
            "Safari/605.1.15",
            "Safari 17 on macOS",
        ),
        (
            "Mozilla/5.0 (iPhone; CPU iPhone OS 17_6 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) "
            "Version/17.6 Mobile/15E148 Safari/604.1",
            "Safari 17 on iPhone",
        ),
        (
            "Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/128.0.0.0 Mobile "
            "Safari/537.36",
            "Chrome 128 on Android",
        ),
        ("curl/8.5.0", "curl 8"),
        ("python-httpx/0.28.1", "Python"),
        ("<script>alert(1)</script>", "An unknown program"),
        (None, "An unknown program"),
    ],
)
def test_browsers_in_words(header: str | None, words: str) -> None:
    assert agents.in_words(header) == words


@pytest.mark.parametrize(
    ("action", "details", "words"),
    [
        ("key.created", {"name": "ci", "scope": "full"}, "Created the API key “ci” with the scope full"),
        ("workflow.deleted", {"name": "nightly"}, "Deleted the workflow “nightly”"),
        ("budget.changed", {"name": "nightly"}, "Changed the budget of the workflow “nightly”"),
        ("member.removed", {}, "Removed ?"),
        ("something.new", {"name": "x"}, "Something: new"),
    ],
)
def test_what_was_done_in_words(action: str, details: dict[str, str], words: str) -> None:
    assert audit.in_words(action, details) == words
