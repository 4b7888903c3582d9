"""What webhooks are signed with, as Standard Webhooks has it: base64 of 24 to 64 random bytes behind `whsec_`."""

import base64
import binascii
import secrets
from typing import Final

PREFIX: Final = "whsec_"
MIN_BYTES: Final = 24
MAX_BYTES: Final = 64


def new_signing_secret() -> str:
    return PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def check_signing_secret(text: str) -> str:
    """A secret that the caller has chosen. Raises ValueError, without quoting it."""
    try:
        size = len(base64.b64decode(text.removeprefix(PREFIX), validate=True)) if text.startswith(PREFIX) else 0
    except (binascii.Error, ValueError):
        size = 0
    if not MIN_BYTES <= size <= MAX_BYTES:
        raise ValueError(f"must be {PREFIX} and base64 of {MIN_BYTES} to {MAX_BYTES} random bytes")
    return text
