"""Accounts own everything; users belong to one account and have a role in it."""

import re
from typing import Final, Literal

from domain.errors import InvalidRequest

Role = Literal["owner", "member", "viewer"]
"""A `viewer` looks and changes nothing; who may do what beyond that is for each noun to say."""

ROLES: Final[tuple[Role, ...]] = ("owner", "member", "viewer")

MIN_PASSWORD_LENGTH: Final = 10
MAX_PASSWORD_LENGTH: Final = 1024
MAX_EMAIL_LENGTH: Final = 254

_EMAIL = re.compile(r"[^@\s\x00]+@[^@\s\x00]+")


def normal_email(email: str) -> str:
    """The e-mail address as it is stored and compared: without surrounding blanks and in lower case.

    Raises InvalidRequest naming `email` when it cannot be an address. Whether mail arrives there is not known.
    """
    email = email.strip().lower()
    if len(email) > MAX_EMAIL_LENGTH or not _EMAIL.fullmatch(email) or not email.isprintable():
        raise InvalidRequest.of_field("email", "must be an e-mail address such as ada@example.com")
    return email


def check_new_password(password: str, field: str = "password") -> None:
    """Raises InvalidRequest naming `field` when it is too short or absurdly long."""
    if not MIN_PASSWORD_LENGTH <= len(password) <= MAX_PASSWORD_LENGTH:
        raise InvalidRequest.of_field(field, f"must have {MIN_PASSWORD_LENGTH} to {MAX_PASSWORD_LENGTH} characters")
