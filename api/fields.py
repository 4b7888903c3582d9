"""Fields that requests of several nouns have."""

from typing import Annotated

from pydantic import Field

from api.deps import Text

Tag = Annotated[Text, Field(min_length=1, max_length=50)]
Tags = Annotated[list[Tag], Field(max_length=20, description="Channels may want alerts with certain tags only.")]

ChannelIds = Annotated[
    list[Annotated[Text, Field(min_length=1, max_length=64)]],
    Field(max_length=50, description="Who is told of its alerts; without any, the account's default channels."),
]
