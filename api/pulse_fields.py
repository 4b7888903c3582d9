"""What a request may say of a pulse."""

from datetime import datetime
from typing import Annotated, Final

from pydantic import BaseModel, ConfigDict, Field

from api.deps import Text
from api.fields import ChannelIds, Tags
from domain.maintenance import MAX_WINDOW_SECONDS
from domain.pulses import (
    DEFAULT_GRACE_SECONDS,
    DEFAULT_TIMEZONE,
    MAX_ALERT_AFTER,
    MAX_ITEMS,
    MAX_KEYWORD,
    MAX_NAME,
    MAX_SECONDS,
    MIN_REMINDER_SECONDS,
)
from domain.schedules import MAX_CRON_TEXT, MAX_PERIOD_SECONDS, MIN_PERIOD_SECONDS
from domain.slugs import MAX_SLUG, SLUG_PATTERN

Name = Annotated[Text, Field(min_length=1, max_length=MAX_NAME)]
Cron = Annotated[Text, Field(min_length=1, max_length=MAX_CRON_TEXT, examples=["0 3 * * 1-5"])]
Timezone = Annotated[Text, Field(min_length=1, max_length=100, examples=["Europe/Berlin"])]
Seconds = Annotated[float, Field(ge=0, le=MAX_SECONDS)]
Keywords = Annotated[
    list[Annotated[Text, Field(min_length=1, max_length=MAX_KEYWORD)]],
    Field(max_length=MAX_ITEMS, description="Looked for in the body of a plain ping, in any case."),
]


class WindowInput(BaseModel):
    """Once, from `starts_at` to `ends_at`; or each time that `cron` says so, for `duration_seconds`."""

    model_config = ConfigDict(extra="forbid")

    starts_at: datetime | None = None
    ends_at: datetime | None = None
    cron: Cron | None = None
    timezone: Timezone = DEFAULT_TIMEZONE
    duration_seconds: Annotated[float, Field(ge=1, le=MAX_WINDOW_SECONDS)] | None = None


class PulseChanges(BaseModel):
    """What may be changed of a pulse. What is left out stays; null clears what may be null, and leaves the rest."""

    model_config = ConfigDict(extra="forbid")

    name: Name | None = None
    slug: Annotated[str, Field(pattern=SLUG_PATTERN, max_length=MAX_SLUG)] | None = Field(
        None, description="Pings may name it instead of the id. Made of the name at first."
    )
    tags: Tags | None = None
    period_seconds: Annotated[float, Field(ge=MIN_PERIOD_SECONDS, le=MAX_PERIOD_SECONDS)] | None = Field(
        None, description="Between two pings; or else give cron."
    )
    cron: Cron | None = Field(None, description="When it pings: five fields, or six with the seconds in front.")
    timezone: Timezone | None = Field(None, description=f"Of cron; {DEFAULT_TIMEZONE} at first.")
    grace_seconds: Seconds | None = Field(
        None, description=f"How late a ping may be, and how long a run may take; {DEFAULT_GRACE_SECONDS:g} at first."
    )
    start_grace_seconds: Seconds | None = Field(None, description="How late a ping may be, if not grace_seconds.")
    min_duration_seconds: Seconds | None = Field(None, description="A run that is shorter counts as failed.")
    max_duration_seconds: Seconds | None = Field(None, description="How long a run may take, if not grace_seconds.")
    alert_after: Annotated[int, Field(ge=1, le=MAX_ALERT_AFTER)] | None = Field(
        None, description="So many misses or failures in a row take it down; 1 at first."
    )
    reminder_seconds: Annotated[float, Field(ge=MIN_REMINDER_SECONDS, le=MAX_SECONDS)] | None = Field(
        None, description="Between reminders while it is down; without it there are none."
    )
    notify_late: bool | None = Field(None, description="Whether to tell when it is late, too.")
    success_keywords: Keywords | None = None
    failure_keywords: Keywords | None = None
    ignore_keywords: Keywords | None = None
    maintenance: Annotated[list[WindowInput], Field(max_length=MAX_ITEMS)] | None = Field(
        None, description="Times in which silence and failures do not count."
    )
    depends_on: (
        Annotated[list[Annotated[Text, Field(min_length=1, max_length=MAX_SLUG)]], Field(max_length=MAX_ITEMS)] | None
    ) = Field(None, description="Pulses, by id or slug. While one of them is down, nobody is told of this one.")
    channels: ChannelIds | None = None


class NewPulse(PulseChanges):
    """With period_seconds or cron."""

    name: Name


NULLABLE: Final = frozenset(
    {"period_seconds", "cron", "start_grace_seconds", "min_duration_seconds", "max_duration_seconds"}
    | {"reminder_seconds"}
)
"""What null clears."""
