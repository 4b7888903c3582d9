"""Fields that requests of several nouns have."""

from collections.abc import Sequence
from enum import StrEnum
from typing import Annotated, TypeVar

from pydantic import Field

from api.deps import Text
from domain.errors import InvalidRequest
from domain.slugs import MAX_SLUG, SLUG_PATTERN

Slug = Annotated[str, Field(pattern=SLUG_PATTERN, max_length=MAX_SLUG)]

Tag = Annotated[Text, Field(min_length=1, max_length=50)]
Tags = Annotated[list[Tag], Field(max_length=20, description="Channels may want alerts with certain tags only.")]

ChannelIds = Annotated[
    list[Annotated[Text, Field(min_length=1, max_length=64)]],
    Field(max_length=50, description="Who is told of its alerts; without any, the account's default channels."),
]

Status = TypeVar("Status", bound=StrEnum)


def statuses_of(kind: type[Status], given: Sequence[str] | None) -> list[Status]:
    """Those that a filter names, comma-separated or repeated. Raises InvalidRequest naming `status`."""
    words = [word.strip() for item in given or [] for word in item.split(",") if word.strip()]
    try:
        return [kind(word) for word in words]
    except ValueError:
        raise InvalidRequest.of_field("status", f"must be one of {', '.join(kind)}") from None
