"""How messages are shown: every attempt to send one."""

from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field


class AttemptView(BaseModel):
    model_config = ConfigDict(from_attributes=True)

    number: int
    at: datetime
    took_ms: int
    outcome: Literal["sent", "retry", "failed", "dropped"]
    status_code: int | None
    detail: str | None
    next_at: datetime | None = Field(description="When it is tried again, at the earliest.")
