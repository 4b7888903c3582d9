"""When to try again. Pure: the time is an argument."""

from __future__ import annotations

import random
from dataclasses import dataclass

from pingpulse.errors import ApiError, PingPulseError


@dataclass(frozen=True)
class Policy:
    """Gaps in seconds between attempts, which double from `first_gap` to `longest_gap`; `total_seconds` bounds all
    attempts together."""

    total_seconds: float
    first_gap: float = 0.25
    longest_gap: float = 15.0

    def gap(self, failures: int) -> float:
        """After so many failures in a row, shortened by up to a half so that callers do not come all at once."""
        longest: float = min(self.first_gap * 2 ** min(failures - 1, 32), self.longest_gap)
        return longest * random.uniform(0.5, 1)


class Attempts:
    """The attempts of one request, the first of which begins at `now`."""

    def __init__(self, policy: Policy, now: float) -> None:
        self._policy = policy
        self._give_up_at = now + policy.total_seconds
        self._failures = 0

    def seconds_left(self, now: float) -> float:
        return max(self._give_up_at - now, 0.0)

    def pause_after(self, error: PingPulseError, now: float) -> float | None:
        """Seconds until the next attempt; None if there is none."""
        self._failures += 1
        if not error.is_temporary:
            return None
        pause = self._policy.gap(self._failures)
        if isinstance(error, ApiError) and error.retry_after is not None:
            pause = max(pause, error.retry_after)
        return pause if now + pause < self._give_up_at else None
