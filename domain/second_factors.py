"""Codes of an authenticator app (RFC 6238: six digits, every half minute another), and recovery codes."""

import hmac
import re
import secrets
from datetime import datetime
from typing import Final

import pyotp

STEP_SECONDS: Final = 30
DRIFT_STEPS: Final = 1
"""How many steps a phone's clock may be ahead or behind."""

RECOVERY_CODES: Final = 10
ISSUER: Final = "PingPulse"

_DIGITS: Final = re.compile(r"\d{6}", re.ASCII)
_RECOVERY: Final = re.compile(r"[a-z2-9]{12}", re.ASCII)
_ALPHABET: Final = "abcdefghjkmnpqrstuvwxyz23456789"
"""Without what looks like something else: i, l, o, 0 and 1."""


def new_secret() -> str:
    """Of 160 bits, in base 32, as apps take it."""
    return pyotp.random_base32()


def setup_address(secret: str, email: str) -> str:
    """What the QR code says: an `otpauth://` address."""
    return pyotp.TOTP(secret).provisioning_uri(name=email, issuer_name=ISSUER)


def in_groups(secret: str) -> str:
    """For typing it in: groups of four."""
    return " ".join(secret[start : start + 4] for start in range(0, len(secret), 4))


def normal_code(text: str) -> str:
    """A code without the blanks that apps show in it; empty for what cannot be one."""
    code = re.sub(r"[\s-]", "", text)
    return code if _DIGITS.fullmatch(code) else ""


def fitting_step(secret: str, code: str, now: datetime, last_step: int | None) -> int | None:
    """The step that a code is of, if that is now or as near as clocks may be off, and after the last one used."""
    this = int(now.timestamp()) // STEP_SECONDS
    totp = pyotp.TOTP(secret)
    found = None
    # All are compared, so that the time it takes does not tell which one fits.
    for step in range(this - DRIFT_STEPS, this + DRIFT_STEPS + 1):
        fits = hmac.compare_digest(totp.at(step * STEP_SECONDS), code)
        if fits and (last_step is None or step > last_step) and found is None:
            found = step
    return found


def new_recovery_codes() -> list[str]:
    """Each of 59 random bits, in groups of four: `k7mp-2xwa-qr9t`."""
    return ["-".join(_letters(4) for _ in range(3)) for _ in range(RECOVERY_CODES)]


def recovery_code(text: str) -> str | None:
    """As it was shown, however it was typed; None for what cannot be one."""
    code = re.sub(r"[\s-]", "", text).lower()
    return "-".join((code[:4], code[4:8], code[8:])) if _RECOVERY.fullmatch(code) else None


def _letters(count: int) -> str:
    return "".join(secrets.choice(_ALPHABET) for _ in range(count))
