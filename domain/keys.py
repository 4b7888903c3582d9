"""API keys: what one looks like, new ones, and keeping them out of sight."""

import re
import secrets
import string
from typing import Final, Literal

from domain.ids import random_id

KeyScope = Literal["ping", "full"]
"""`ping` may ping, read trees and ask for approvals; `full` may do what the JSON API offers."""

KEY: Final = re.compile(r"ppk_([a-z0-9]{10})_([A-Za-z0-9]{32,64})")
"""The whole text of a key. Neither part holds an underscore, so there is one way to split it."""

HOW_TO_SEND_A_KEY: Final = (
    'Send an API key as ?key=…, as "key" in the JSON body of a ping, in the X-API-Key header, '
    "or as Authorization: Bearer …"
)

_ANYWHERE = re.compile(r"(ppk_[a-z0-9]{10}_)[A-Za-z0-9]+")
_SECRET_ALPHABET = string.ascii_letters + string.digits
_SECRET_LENGTH = 40


def new_key() -> tuple[str, str]:
    """The id of a new key and its whole text, whose secret is worth 238 bits."""
    key_id = random_id("", 10)
    secret = "".join(secrets.choice(_SECRET_ALPHABET) for _ in range(_SECRET_LENGTH))
    return key_id, f"ppk_{key_id}_{secret}"


def key_id_of(key: str) -> str | None:
    """The id inside a well-formed key, else None; whether the key is a good one is for the storage to say."""
    match = KEY.fullmatch(key)
    return match[1] if match else None


def redact(text: str) -> str:
    """`text` with the secret of every key in it replaced, for logs and for messages that quote."""
    return _ANYWHERE.sub(r"\1***", text) if "ppk_" in text else text
