"""A change of status: what is persisted and shown of every subject, and possibly told."""

from dataclasses import dataclass
from datetime import datetime


@dataclass(frozen=True)
class Transition:
    """A change of status of a subject (`path` None) or of one of its stages."""

    path: str | None
    before: str | None
    after: str
    at: datetime
    reason: str | None = None
