"""How long an account keeps what is over."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Final

from domain.errors import InvalidRequest

MIN_DAYS: Final = 7
"""Far more than a workflow of ours may lag behind, and than anybody may take to send a ping again."""

MAX_DAYS: Final = 3660


@dataclass(frozen=True)
class Retention:
    """Days after which what is over is deleted; None keeps it for good. Raises InvalidRequest naming the field."""

    keep_days: int | None = None
    keep_approvals_days: int | None = None

    def __post_init__(self) -> None:
        for name in ("keep_days", "keep_approvals_days"):
            days = getattr(self, name)
            if days is not None and not MIN_DAYS <= days <= MAX_DAYS:
                raise InvalidRequest.of_field(name, f"must be {MIN_DAYS} to {MAX_DAYS} days, or null to keep for good")

    @property
    def deletes(self) -> bool:
        return self.keep_days is not None or self.keep_approvals_days is not None


def cutoff(days: int, now: datetime) -> datetime:
    """What was over before that moment is old."""
    return now - timedelta(days=days)
