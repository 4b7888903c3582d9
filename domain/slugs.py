"""Slugs: short names that people choose, for use in addresses."""

import re
from typing import Final

from domain.errors import InvalidRequest

SLUG_PATTERN: Final = r"^[a-z0-9](?:[a-z0-9_.\-]*[a-z0-9])?$"
MAX_SLUG: Final = 128

_SLUG = re.compile(SLUG_PATTERN)


def check_slug(field: str, slug: str) -> str:
    """Raises InvalidRequest naming `field` for what cannot be a slug."""
    if len(slug) > MAX_SLUG or not _SLUG.fullmatch(slug):
        raise InvalidRequest.of_field(
            field, f"must be a slug: 1 to {MAX_SLUG} of a-z, 0-9, _ - and . that begins and ends with a letter or digit"
        )
    return slug


def slug_of(name: str, otherwise: str) -> str:
    """A slug made of a name, or `otherwise` if the name has nothing to make one of."""
    words = "".join(letter if letter.isascii() and letter.isalnum() else " " for letter in name).lower().split()
    return "-".join(words)[:120].strip("-") or otherwise.lower()
